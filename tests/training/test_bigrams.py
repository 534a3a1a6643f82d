"""A model that starts from bigram counts predicts as they do before its first step."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import ModelSection
from forja.tokens.loader import Batches, TokenSplit
from forja.tokens.pairs import Pairs, count_pairs
from forja.training import bigrams
from forja.training.bigrams import MOST_TOKENS, begins_as_bigram_model, fit_bigrams
from forja.training.objectives import next_token
from made import forja, tiny_project
from tiny_training import GPT2, MODERN, OWN_OUTPUT, losses, stop_at, train, weights, write_tokens

WORDS = 40


def split_of(tokens: np.ndarray[Any, Any]) -> TokenSplit:
    return TokenSplit([tokens.astype(np.uint16)], 16, 0, WORDS)


def pairs_of(tokens: np.ndarray[Any, Any]) -> Pairs:
    return count_pairs(split_of(tokens), MOST_TOKENS)


def chain(length: int) -> tuple[np.ndarray[Any, Any], float]:
    """A stream in which the next token depends on the last, and its nats a token by its own counts."""
    draw = np.random.default_rng(0)
    follows = draw.dirichlet(np.full(WORDS - 2, 0.1), size=WORDS)  # the last two tokens never occur
    tokens = [0]
    for _ in range(length - 1):
        tokens.append(int(draw.choice(WORDS - 2, p=follows[tokens[-1]])))
    pairs, firsts = Counter(pairwise(tokens)), Counter(tokens[:-1])
    nats = -sum(count * math.log(count / firsts[first]) for (first, _), count in pairs.items()) / (length - 1)
    return np.array(tokens), nats


def model_of(section: ModelSection = OWN_OUTPUT) -> Transformer:
    model = Transformer(resolve_config(section, vocabulary=WORDS, context=16))
    model.init_weights(0)
    return model


# --- fitting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("contexts", "bfloat16"), [(8192, False), (8192, True), (16, False)])
def test_the_whole_model_predicts_as_the_counts_do(
    monkeypatch: pytest.MonkeyPatch, contexts: int, bfloat16: bool
) -> None:
    """With as many contexts an update as there are tokens, and with less than half."""
    monkeypatch.setattr(bigrams, "CONTEXTS", contexts)
    monkeypatch.setattr(bigrams, "SLICE", 7)
    stream, entropy = chain(20_000)
    split, model = split_of(stream), model_of()
    batch = Batches(split, batch_size=200, seed=0).global_batch(0)
    with torch.no_grad():
        before = next_token(model, batch)
    fit_bigrams(model, count_pairs(split, MOST_TOKENS), seed=0, bfloat16=bfloat16)
    with torch.no_grad():
        after = next_token(model, batch)
    start, end = (float(losses.sums.sum() / losses.weights.sum()) for losses in (before, after))
    assert start == pytest.approx(math.log(WORDS), abs=0.5)  # the padded rows take their share
    assert end < entropy + 0.25 * (start - entropy)
    assert model.embedding.weight.square().mean().sqrt().item() == pytest.approx(1.0)


def test_a_fit_says_what_it_came_to_and_is_the_same_each_time() -> None:
    found = pairs_of(chain(5000)[0])
    first, second = model_of(), model_of()
    nats = {fit_bigrams(model, found, seed=3) for model in (first, second)}
    assert len(nats) == 1
    assert torch.equal(first.embedding.weight, second.embedding.weight)
    assert torch.equal(first.head.weight, second.head.weight)


def test_after_a_token_that_was_never_met_is_likely_what_is_frequent() -> None:
    stream, _ = chain(20_000)
    model = model_of()
    fit_bigrams(model, pairs_of(stream), seed=0)
    share = torch.from_numpy(np.bincount(stream, minlength=WORDS) / len(stream)).float()

    def distance(token: int) -> float:
        """Nats between what is frequent on the whole and what the model thinks likely after this token."""
        likely = model.logits(model(torch.tensor([[token]])))[0, 0, :WORDS].softmax(0)
        return torch.nn.functional.kl_div(likely.log(), share, reduction="sum").item()

    never, met = distance(WORDS - 1), [distance(token) for token in range(WORDS - 2)]
    assert never < min(met)


@pytest.mark.parametrize("section", [GPT2, MODERN, OWN_OUTPUT.model_copy(update={"positions": "learned"})])
def test_a_model_that_begins_as_something_else_is_refused(section: ModelSection) -> None:
    model = model_of(section)
    assert not begins_as_bigram_model(model.config)
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_bigrams(model, pairs_of(chain(100)[0]), seed=0)


def test_there_is_nothing_to_fit_without_pairs() -> None:
    with pytest.raises(ValueError, match="no bigrams"):
        fit_bigrams(model_of(), pairs_of(np.zeros(1)), seed=0)


@pytest.mark.parametrize("section", [GPT2, MODERN, OWN_OUTPUT, OWN_OUTPUT.model_copy(update={"norm": "layernorm"})])
def test_recipe_and_model_agree_on_which_models_begin_so(section: ModelSection) -> None:
    config = resolve_config(section, vocabulary=WORDS, context=16)
    assert section.begins_as_bigram_model == begins_as_bigram_model(config)


# --- training ----------------------------------------------------------------------------------


def test_training_begins_below_where_random_weights_do(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", train=20_000)
    firsts = []
    for kind in ("random", "bigrams"):
        train(tokens, tmp_path / kind, OWN_OUTPUT, first_weights=kind, steps=2)
        firsts.append(losses(tmp_path / kind)[0][1] or 0.0)
    assert firsts[1] < firsts[0] - 0.5


def test_a_run_stopped_before_and_after_its_first_checkpoint_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    train(tokens, tmp_path / "whole", OWN_OUTPUT, first_weights="bigrams")
    fits = []
    real = bigrams.fit_bigrams
    monkeypatch.setattr("forja.training.pretrain.fit_bigrams", lambda *a, **k: fits.append(1) or real(*a, **k))
    for step in (1, 8):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(tokens, tmp_path / "parts", OWN_OUTPUT, first_weights="bigrams")
    train(tokens, tmp_path / "parts", OWN_OUTPUT, first_weights="bigrams")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(fits) == 2  # none where a checkpoint is gone on from


def test_a_recipe_whose_model_cannot_begin_so_is_a_sentence(tmp_path: Path) -> None:
    recipe = tiny_project(tmp_path)
    done = forja("run", recipe, "training.first_weights=bigrams", runs=tmp_path / "runs")
    assert done.returncode == 1
    assert "tie_embeddings" in done.stderr
    assert "Traceback" not in done.stderr
