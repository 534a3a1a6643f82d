"""Encoders and encoder-decoders are measured on the tokens that are hidden from them, beside models that count."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from forja.errors import ForjaError
from forja.evaluation.baselines import count_train
from forja.evaluation.perplexity import evaluate_splits, evaluate_text
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import EvaluationSection, ModelSection, TokenizerSection, TokensSection
from forja.tokens.bpe import load_tokenizer, train_tokenizer
from forja.tokens.corruption import objective_slots, read_controls
from forja.tokens.erase import erase, find_stretches
from forja.tokens.loader import TokenSplit
from forja.tokens.pack import pack_tokens
from made import sentences, write_documents

CONTEXT = 32
TRAINS = {"masked": "encoder", "span-corruption": "encoder-decoder", "prefix": "encoder-decoder"}
SECTION = EvaluationSection(max_tokens=1000, batch=3)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("corpus", "tokenizer", "tokens"):
        (folder / name).mkdir()
    write_documents(folder / "corpus", [sentences(seed, 4) for seed in range(150)])
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    section = TokensSection(context=CONTEXT, overlap=8, valid_fraction=0.1, test_fraction=0.1)
    pack_tokens(section, folder / "corpus", folder / "tokenizer", folder / "tokens", weights={})
    return folder


def make_model(objective: str, *, unsure: bool = False) -> Transformer:
    """A tiny one; an unsure one gives every token the same probability."""
    section = ModelSection.model_validate(
        {"preset": "gpt2", "architecture": TRAINS[objective], "layers": 1, "heads": 2, "width": 32, "ffn_width": 64}
    )
    model = Transformer(resolve_config(section, vocabulary=512, context=CONTEXT))
    model.init_weights(0)
    if unsure:
        with torch.no_grad():
            model.unembedding.zero_()
    return model


def hidden_batch(tokens: Path, split: str, objective: str) -> Any:
    """All that is scored, at once."""
    held_out = TokenSplit.open(tokens, split)
    return objective_slots(held_out, np.arange(min(held_out.sequences, 1000 // CONTEXT)), objective, tokens)


def is_text(tokens: Path, batch: Any) -> torch.Tensor:
    controls = read_controls(tokens)
    counts = (batch.targets >= controls.first_ordinary) | (batch.targets == 0)
    return counts if batch.weights is None else counts & (batch.weights > 0)


@pytest.mark.parametrize("objective", TRAINS)
def test_an_unsure_model_is_as_unsure_as_the_vocabulary_is_large(objective: str, project: Path, tmp_path: Path) -> None:
    model = make_model(objective, unsure=True)
    figures = evaluate_splits(SECTION, model, project / "tokens", tmp_path, objective=objective)
    assert json.loads((tmp_path / "perplexity.json").read_text()) == asdict(figures)
    assert figures.objective == objective
    for split in ("valid", "test"):
        found = getattr(figures, split)
        assert found.perplexity == pytest.approx(512, rel=1e-4)
        assert found.bits_per_byte is None
        assert found.unigram < 512
        assert (found.bigram is not None) == (objective == "prefix")
        assert found.documents > 1


@pytest.mark.parametrize("objective", TRAINS)
def test_model_and_counting_are_measured_on_the_same_hidden_text(objective: str, project: Path, tmp_path: Path) -> None:
    tokens, model = project / "tokens", make_model(objective)
    batch = hidden_batch(tokens, "test", objective)
    aimed = is_text(tokens, batch)
    source = {} if objective == "masked" else {"source": batch.source}
    with torch.no_grad():
        logits = model.logits(model(batch.inputs, **source))[aimed]
    nats = F.cross_entropy(logits, batch.targets[aimed])
    found = evaluate_splits(SECTION, model, tokens, tmp_path, objective=objective).test
    assert found.tokens == int(aimed.sum())
    assert found.perplexity == pytest.approx(math.exp(nats), rel=1e-4)
    counted = count_train(TokenSplit.open(tokens, "train"))
    targets = batch.targets[aimed].numpy()
    assert found.unigram == pytest.approx(math.exp(-np.log(counted.unigram.probability(targets)).mean()))
    if objective == "prefix":
        whole = torch.cat((batch.source, batch.targets), dim=1)
        before = whole[:, batch.source.shape[1] - 1 : -1][aimed].numpy()
        assert found.bigram == pytest.approx(math.exp(-np.log(counted.bigram.probability(before, targets)).mean()))
        assert found.bigram is not None
        assert found.bigram < found.unigram


@pytest.mark.parametrize("objective", TRAINS)
def test_measuring_again_or_in_other_batches_gives_the_same(objective: str, project: Path, tmp_path: Path) -> None:
    model, tokens = make_model(objective), project / "tokens"
    first = evaluate_splits(SECTION, model, tokens, tmp_path, objective=objective)
    written = (tmp_path / "perplexity.json").read_bytes()
    evaluate_splits(SECTION, model, tokens, tmp_path, objective=objective)
    assert (tmp_path / "perplexity.json").read_bytes() == written
    larger = SECTION.model_copy(update={"batch": 16})
    again = evaluate_splits(larger, model, tokens, tmp_path, objective=objective)
    assert again.test.perplexity == pytest.approx(first.test.perplexity, rel=1e-5)
    assert again.test.tokens == first.test.tokens


@pytest.mark.parametrize("objective", TRAINS)
def test_an_erased_document_is_not_measured_on(objective: str, project: Path, tmp_path: Path) -> None:
    tokens = Path(shutil.copytree(project / "tokens", tmp_path / "tokens"))
    model = make_model(objective, unsure=True)
    before = evaluate_splits(SECTION, model, tokens, tmp_path, objective=objective).test
    (stretch,) = find_stretches(tokens, [TokenSplit.open(tokens, "test").index["id"][1].as_py()])
    erase(tokens, [stretch])
    after = evaluate_splits(SECTION, model, tokens, tmp_path, objective=objective).test
    assert after.documents == before.documents - 1
    assert after.tokens < before.tokens
    assert after.tokens == int(is_text(tokens, hidden_batch(tokens, "test", objective)).sum())
    assert after.perplexity == pytest.approx(512, rel=1e-4)


def test_at_least_one_sequence_is_measured(project: Path, tmp_path: Path) -> None:
    few = SECTION.model_copy(update={"max_tokens": 1})
    found = evaluate_splits(few, make_model("prefix"), project / "tokens", tmp_path, objective="prefix").test
    assert found.tokens == CONTEXT // 2
    assert found.documents == 1


@pytest.mark.parametrize("objective", ["masked", "prefix"])
def test_a_text_has_no_perplexity_but_a_decoders(objective: str, project: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the router")
    with pytest.raises(ForjaError, match="gives a text no probability"):
        evaluate_text(make_model(objective), load_tokenizer(project / "tokenizer"), [tmp_path / "notes.txt"])
