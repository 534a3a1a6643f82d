"""Likelihoods: what a plain softmax over everything gives, however they are batched, padded, cut or windowed."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation.small_models import VOCABULARY, small_model, small_tokenizer
from forja.errors import ForjaError
from forja.evaluation.likelihood import Scored, continuation_nats, pseudo_nats, text_nats
from forja.evaluation.perplexity import evaluate_text
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer
from made import sentences

CONTEXT = 32
REQUESTS = [
    ("The server blocks the", " router."),
    ("The server blocks the", " attacker at night, and nobody looked."),
    ("", "The parser"),
    ("Naïve passwords leak 中文 and the analyst", " rotates"),
    ("A", "B"),
    ("The proxy logs", ""),
    ("The proxy logs ", "the kernel"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Transformer:
    """With larger weights than at the start of training, so that every prediction differs from every other."""
    return loud(small_model(CONTEXT))


def loud(model: Transformer) -> Transformer:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


@torch.no_grad()
def plain(model: Transformer, ids: list[int], first: int) -> tuple[float, bool]:
    """Nats of ids[first:], and whether each is the likeliest, from the whole softmax of one unpadded sequence."""
    logits = model.logits(model(torch.tensor([ids[:-1]])))[0].double()  # (time, vocabulary)
    chosen = logits.log_softmax(dim=-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    return float(-chosen[first - 1 :].sum()), bool((logits.argmax(-1) == torch.tensor(ids[1:]))[first - 1 :].all())


def alike(found: list[Scored], expected: list[Scored]) -> bool:
    return all(a.nats == pytest.approx(b.nats, rel=1e-4, abs=1e-5) for a, b in zip(found, expected, strict=True)) and [
        replace(scored, nats=0.0) for scored in found
    ] == [replace(scored, nats=0.0) for scored in expected]


# --- continuations -------------------------------------------------------------------------------


def test_a_continuation_has_the_nats_of_a_plain_softmax(model: Transformer, tokenizer: Tokenizer) -> None:
    for (context, continuation), found in zip(REQUESTS, continuation_nats(model, tokenizer, REQUESTS), strict=True):
        whole = [tokenizer.end_of_text, *tokenizer.encode(context + continuation)]
        scored = whole[len(whole) - found.tokens :]
        assert found.bytes == len(continuation.encode())
        assert continuation.strip() in tokenizer.decode(scored)
        if continuation:
            nats, greedy = plain(model, whole, len(whole) - found.tokens)
            assert found.nats == pytest.approx(nats, rel=1e-4)
            assert found.greedy == greedy
        else:
            assert (found.nats, found.tokens, found.greedy) == (0.0, 0, True)


def test_the_likeliest_continuation_is_greedy_and_another_is_not(model: Transformer, tokenizer: Tokenizer) -> None:
    """Found by trying every word, so that it does not depend on how the model happens to begin."""
    ids = [tokenizer.end_of_text, *tokenizer.encode("The server")]
    with torch.no_grad():
        order = model.logits(model(torch.tensor([ids])))[0, -1].argsort(descending=True).tolist()
    texts = {token: tokenizer.decode([token]) for token in order if token not in tokenizer.reserved}
    whole = {token: text for token, text in texts.items() if tokenizer.encode("The server" + text) == [*ids[1:], token]}
    requests = [("The server", text) for text in whole.values()]
    told = [scored.greedy for scored in continuation_nats(model, tokenizer, requests)]
    assert told == [token == order[0] for token in whole]


@pytest.mark.parametrize("tokens_a_batch", [1, 40, 100, 10_000])
def test_neither_batching_nor_padding_nor_order_changes_a_value(
    tokens_a_batch: int, model: Transformer, tokenizer: Tokenizer
) -> None:
    alone = [continuation_nats(model, tokenizer, [request])[0] for request in REQUESTS]
    assert alike(continuation_nats(model, tokenizer, REQUESTS, tokens_a_batch=tokens_a_batch), alone)
    assert alike(continuation_nats(model, tokenizer, REQUESTS[::-1], tokens_a_batch=tokens_a_batch), alone[::-1])


def test_options_of_one_token_are_read_together_and_get_their_own_values(
    model: Transformer, tokenizer: Tokenizer
) -> None:
    read: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].numel()))
    found = continuation_nats(model, tokenizer, [("Answer:", f" {letter}") for letter in "ABCD"])
    handle.remove()
    context = [tokenizer.end_of_text, *tokenizer.encode("Answer:")]
    assert {tuple(tokenizer.encode(f"Answer: {letter}")[:-1]) for letter in "ABCD"} == {
        tuple(tokenizer.encode("Answer: A")[:-1])
    }
    assert read == [len(tokenizer.encode("Answer: A"))]
    for letter, scored in zip("ABCD", found, strict=True):
        whole = [tokenizer.end_of_text, *tokenizer.encode(f"Answer: {letter}")]
        assert scored.nats == pytest.approx(plain(model, whole, len(context))[0], rel=1e-4)


def test_a_long_context_loses_its_left_end(model: Transformer, tokenizer: Tokenizer) -> None:
    context, continuation = sentences(3, 8), " The router blocks"
    whole = [tokenizer.end_of_text, *tokenizer.encode(context + continuation)]
    assert len(whole) > CONTEXT + 10
    (found,) = continuation_nats(model, tokenizer, [(context, continuation)])
    kept = whole[-(CONTEXT + 1) :]
    assert found.nats == pytest.approx(plain(model, kept, len(kept) - found.tokens)[0], rel=1e-4)
    assert (found.unseen, found.whole) == (len(whole) - len(kept), True)


def test_a_continuation_longer_than_the_context_is_cut_and_says_so(model: Transformer, tokenizer: Tokenizer) -> None:
    continuation = " " + sentences(4, 8)
    whole = [tokenizer.end_of_text, *tokenizer.encode("Once." + continuation)]
    (found,) = continuation_nats(model, tokenizer, [("Once.", continuation)])
    kept = whole[-(CONTEXT + 1) :]
    assert found.nats == pytest.approx(plain(model, kept, 1)[0], rel=1e-4)
    assert (found.tokens, found.whole) == (CONTEXT, False)
    assert found.bytes == len(tokenizer.decode(kept[1:]).encode()) < len(continuation.encode())


def test_a_continuation_that_just_fits_is_whole(tokenizer: Tokenizer) -> None:
    text = sentences(5, 3)
    model = loud(small_model(len(tokenizer.encode(text))))
    (found,) = continuation_nats(model, tokenizer, [("", text)])
    assert (found.tokens, found.unseen, found.whole) == (model.config.context, 0, True)


def test_no_request_gives_no_value(model: Transformer, tokenizer: Tokenizer) -> None:
    assert continuation_nats(model, tokenizer, []) == []
    assert text_nats(model, tokenizer, []) == []


def test_a_model_that_gives_no_numbers_is_refused(tokenizer: Tokenizer) -> None:
    broken = small_model(CONTEXT)
    with torch.no_grad():
        broken.unembedding.fill_(float("nan"))
    with pytest.raises(ForjaError, match="not a number"):
        text_nats(broken, tokenizer, ["The server"])


@pytest.mark.parametrize("architecture", ["encoder", "encoder-decoder"])
def test_a_model_that_is_no_decoder_is_refused(architecture: str, tokenizer: Tokenizer) -> None:
    other = small_model(CONTEXT, architecture=architecture)  # type: ignore[arg-type]
    with pytest.raises(ForjaError, match=f"an {architecture} gives a text no probability"):
        continuation_nats(other, tokenizer, [("a", "b")])
    with pytest.raises(ForjaError, match="no probability"):
        text_nats(other, tokenizer, ["a"])


# --- texts -----------------------------------------------------------------------------------------


def test_texts_have_the_nats_that_text_files_have(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Long ones too, in the same windows."""
    choose = random.Random(0)
    texts = ["x", "naïve 中文", *(sentences(seed, choose.randint(1, 20)) for seed in range(6))]
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    found = text_nats(model, tokenizer, texts, tokens_a_batch=200)
    assert max(scored.tokens for scored in found) > 3 * CONTEXT
    for path, scored in zip(paths, found, strict=True):
        measured = evaluate_text(model, tokenizer, [path])
        assert (scored.tokens, scored.bytes) == (measured["tokens"], measured["bytes"])
        assert scored.nats / scored.tokens == pytest.approx(torch.tensor(measured["perplexity"]).log().item(), rel=1e-4)


def test_a_text_is_a_continuation_of_nothing(model: Transformer, tokenizer: Tokenizer) -> None:
    texts = ["The server blocks the router.", "", "keys"]
    assert alike(
        text_nats(model, tokenizer, texts), continuation_nats(model, tokenizer, [("", text) for text in texts])
    )


# --- encoders --------------------------------------------------------------------------------------


@torch.no_grad()
def plain_pseudo(model: Transformer, tokenizer: Tokenizer, text: str, places: list[int]) -> float:
    ids = [tokenizer.end_of_text, *tokenizer.encode(text)]
    total = 0.0
    for place in places:
        masked = torch.tensor([ids])
        masked[0, place + 1] = tokenizer.control("<|mask|>")
        total -= float(model.logits(model(masked))[0, place + 1].double().log_softmax(-1)[ids[place + 1]])
    return total


@pytest.mark.parametrize("tokens_a_batch", [1, 30, 4096])
def test_each_token_of_an_encoder_is_predicted_from_all_the_others(tokens_a_batch: int, tokenizer: Tokenizer) -> None:
    encoder = loud(small_model(CONTEXT, architecture="encoder"))
    texts = ["The server blocks.", "keys", "The analyst reads the kernel.", "The proxy scans."]
    found = pseudo_nats(encoder, tokenizer, texts, tokens_a_batch=tokens_a_batch)
    for text, scored in zip(texts, found, strict=True):
        count = len(tokenizer.encode(text))
        assert scored.tokens == count
        assert scored.nats == pytest.approx(plain_pseudo(encoder, tokenizer, text, list(range(count))), rel=1e-4)


def test_only_the_places_asked_for_are_predicted(tokenizer: Tokenizer) -> None:
    encoder = loud(small_model(CONTEXT, architecture="encoder"))
    text = "The server blocks the router."
    (found,) = pseudo_nats(encoder, tokenizer, [text], [[0, 2]])
    assert (found.tokens, found.whole) == (2, True)
    assert found.nats == pytest.approx(plain_pseudo(encoder, tokenizer, text, [0, 2]), rel=1e-4)


def test_an_encoder_says_what_of_a_long_text_it_has_not_read(tokenizer: Tokenizer) -> None:
    encoder, text = small_model(CONTEXT, architecture="encoder"), sentences(1, 8)
    (found,) = pseudo_nats(encoder, tokenizer, [text])
    assert (found.tokens, found.whole) == (CONTEXT - 1, False)
    assert found.unseen == len(tokenizer.encode(text)) + 1 - CONTEXT


def test_a_pseudo_likelihood_is_of_an_encoder(model: Transformer, tokenizer: Tokenizer) -> None:
    with pytest.raises(ForjaError, match="no encoder"):
        pseudo_nats(model, tokenizer, ["a"])


def test_an_even_model_is_as_unsure_of_every_token(tokenizer: Tokenizer) -> None:
    even = small_model(CONTEXT)
    with torch.no_grad():
        even.unembedding.zero_()
    (found,) = text_nats(even, tokenizer, [sentences(2, 10)])
    assert found.nats / found.tokens == pytest.approx(torch.tensor(float(VOCABULARY)).log().item(), rel=1e-5)
