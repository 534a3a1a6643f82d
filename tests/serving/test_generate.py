"""Sampling does what its settings say, and streams whole characters and nothing past a stop text."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.errors import ForjaError
from forja.models.presets import resolve_config
from forja.models.transformer import KVCache, Transformer
from forja.recipe import ModelSection, TokenizerSection
from forja.serving.generate import chat_reply, generate, stream_text
from forja.tokens.bpe import Tokenizer, load_tokenizer, train_tokenizer
from made import sentences, write_documents


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_documents(folder, [sentences(seed, 20) for seed in range(40)])
    train_tokenizer(TokenizerSection(vocabulary=512), folder, folder)
    return load_tokenizer(folder)


@cache
def small_model(preset: str) -> Transformer:
    section = ModelSection.model_validate({"preset": preset, "layers": 2, "heads": 4, "width": 64})
    model = Transformer(resolve_config(section, vocabulary=512, context=32))
    with torch.no_grad():
        source = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2, generator=source)
    return model.eval()


PROMPT = [0, 200, 300, 210, 170]


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
    reply = "".join(
        chat_reply(model, tokenizer, messages, max_tokens=8, seed=1, encode=tokenizer.encode_chat if tuned else None)
    )
    assert "\nUser:" not in reply


@settings(max_examples=25, deadline=None)
@given(
    temperature=st.floats(1e-30, 5),
    top_k=st.integers(0, 20),
    top_p=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_only_tokens_that_the_settings_leave_in_are_taken(
    temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    model = small_model("gpt2")
    banned = torch.zeros(512, dtype=torch.bool)
    banned[:164] = True
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([PROMPT])))[0, -1].masked_fill(banned, -torch.inf)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "banned": banned}
    (token,) = generate(model, PROMPT, max_tokens=1, **settings)
    assert token >= 164
    if top_k:
        assert token in logits.topk(top_k).indices
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    probabilities = ((logits - logits.max()) / temperature).softmax(dim=0)
    likelier = probabilities[probabilities > probabilities[token]].sum().item()
    assert likelier <= top_p + 1e-4


def test_samples_follow_the_models_probabilities() -> None:
    model = small_model("modern")
    with torch.no_grad():
        probabilities = model.logits(model(torch.tensor([PROMPT])))[0, -1].softmax(dim=0)
    best = int(probabilities.argmax())
    draws = [next(generate(model, PROMPT, max_tokens=1, temperature=1.0, seed=seed)) for seed in range(150)]
    share = draws.count(best) / 150
    expected = probabilities[best].item()
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 150) ** 0.5 + 1e-3


def test_it_ends_before_a_stop_id() -> None:
    model = small_model("modern")
    free = list(generate(model, PROMPT, max_tokens=12, temperature=1.0, seed=2))
    stop = free[6]
    ended = list(generate(model, PROMPT, max_tokens=12, temperature=1.0, seed=2, stop_ids=frozenset({stop})))
    assert ended == free[: free.index(stop)]


def test_the_cache_is_no_larger_than_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from forja.models import transformer as module

    made: list[int] = []

    def recorded(*arguments: object, capacity: int, **rest: object) -> KVCache:
        made.append(capacity)
        return KVCache(*arguments, capacity=capacity, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "KVCache", recorded)
    assert len(list(generate(small_model("modern"), PROMPT, max_tokens=3))) == 3
    assert made == [len(PROMPT) + 3]


def test_a_model_that_has_diverged_is_a_sentence() -> None:
    model = copy.deepcopy(small_model("gpt2"))
    with torch.no_grad():
        model.final_norm.weight.fill_(torch.nan)
    for temperature in (0.0, 1.0):
        with pytest.raises(ForjaError, match="diverged"):
            next(generate(model, PROMPT, max_tokens=1, temperature=temperature))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), start=st.integers(0, 40), size=st.integers(1, 6))
def test_stop_texts_cut_wherever_they_fall(tokenizer: Tokenizer, seed: int, start: int, size: int) -> None:
    model = small_model("modern")
    settings = {"max_tokens": 30, "temperature": 1.5, "seed": seed}
    whole = "".join(stream_text(model, tokenizer, "The", **settings))
    stop = whole[start : start + size]
    pieces = list(stream_text(model, tokenizer, "The", **settings, stop=[stop, "\0never\0"]))
    assert "".join(pieces) == (whole[: whole.find(stop)] if stop else whole)
