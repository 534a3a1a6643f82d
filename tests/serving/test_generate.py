"""Sampling does what its settings say, and streams whole characters and nothing past a stop text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made import sentences, write_documents

from forja.models.presets import resolve_config
from forja.models.transformer import KVCache, Transformer
from forja.recipe import ModelSection, TokenizerSection
from forja.serving.generate import chat_reply, generate, stream_text
from forja.tokens.bpe import Tokenizer, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_documents(folder, [sentences(seed, 20) for seed in range(40)])
    train_tokenizer(TokenizerSection(vocabulary=512), folder, folder)
    return load_tokenizer(folder)


def small_model(preset: str, **keys: object) -> Transformer:
    section = ModelSection.model_validate({"preset": preset, "layers": 2, "heads": 4, "width": 64, **keys})
    model = Transformer(resolve_config(section, vocabulary=512, context=32))
    with torch.no_grad():
        source = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2, generator=source)
    return model.eval()


PROMPT = [0, 200, 300, 210, 170]


@pytest.mark.parametrize(("preset", "keys"), [("gpt2", {}), ("modern", {}), ("modern", {"kv_heads": 2})])
def test_the_cache_changes_no_hidden_state(preset: str, keys: dict[str, object]) -> None:
    model = small_model(preset, **keys)
    tokens = torch.randint(0, 512, (2, 32), generator=torch.Generator().manual_seed(0))
    cache = KVCache(model.config, 2)
    cuts = [0, 5, 9, *range(10, 33)]
    with torch.no_grad():
        parts = [model(tokens[:, a:b], cache=cache) for a, b in zip(cuts, cuts[1:], strict=False)]
        assert torch.allclose(torch.cat(parts, dim=1), model(tokens), atol=1e-4)


@pytest.mark.parametrize("preset", ["gpt2", "modern"])
def test_greedy_takes_the_likeliest_token_each_time(preset: str) -> None:
    model = small_model(preset)
    seen = list(PROMPT)
    for token in generate(model, PROMPT, max_tokens=12, temperature=0):
        with torch.no_grad():
            expected = int(model.logits(model(torch.tensor([seen])))[0, -1].argmax())
        assert token == expected
        seen.append(token)
    assert len(seen) == len(PROMPT) + 12


def test_the_same_seed_gives_the_same_tokens_and_another_others() -> None:
    model = small_model("modern")
    once, again, other = (list(generate(model, PROMPT, max_tokens=20, temperature=1.5, seed=s)) for s in (1, 1, 2))
    assert once == again != other


def test_top_k_one_and_a_tiny_top_p_are_greedy() -> None:
    model = small_model("modern")
    greedy = list(generate(model, PROMPT, max_tokens=10, temperature=0))
    assert list(generate(model, PROMPT, max_tokens=10, top_k=1, seed=5)) == greedy
    assert list(generate(model, PROMPT, max_tokens=10, top_p=0.0, seed=5)) == greedy


@pytest.mark.parametrize("preset", ["gpt2", "modern"])
def test_it_goes_on_past_the_context(preset: str) -> None:
    model = small_model(preset)
    assert len(list(generate(model, PROMPT * 20, max_tokens=80, temperature=0.9, seed=1))) == 80


def test_control_tokens_and_padding_are_never_text(tokenizer: Tokenizer) -> None:
    model = small_model("modern")
    text = "".join(stream_text(model, tokenizer, "The", max_tokens=200, temperature=3.0, seed=0))
    assert "<|control" not in text
    assert "<|sentinel" not in text


def test_nothing_of_a_stop_text_is_shown(tokenizer: Tokenizer) -> None:
    model = small_model("modern")
    settings = {"max_tokens": 60, "temperature": 1.0, "seed": 4}
    whole = "".join(stream_text(model, tokenizer, "The", **settings))
    stop = whole[20:26]
    pieces = list(stream_text(model, tokenizer, "The", **settings, stop=[stop]))
    assert "".join(pieces) == whole[: whole.find(stop)]


def test_pieces_join_to_what_the_tokens_decode_to(tokenizer: Tokenizer) -> None:
    text = "Grüße, 👩‍👩‍👧 at 12:30 <|endoftext|>\r\n"
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) + decoder.finish() == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("tuned", [True, False])
def test_a_chat_longer_than_the_context_still_gets_a_reply(tokenizer: Tokenizer, tuned: bool) -> None:
    model = small_model("modern")
    messages = [{"role": "user", "content": sentences(1, 30)}]
    reply = "".join(chat_reply(model, tokenizer, messages, max_tokens=8, seed=1, chat_tuned=tuned))
    assert "\nUser:" not in reply
