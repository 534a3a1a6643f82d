"""A fine-tuned classifier at work: its scores, what it tells from them, and how its branches are weighed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from forja.corpus.examples.layouts import Example
from forja.errors import ForjaError
from forja.evaluation.classifier import RunClassifier, balance, load_run_classifier, positive_label, probabilities
from forja.evaluation.thresholds import expected_f1_threshold
from forja.models.classifier import TransformerClassifier
from forja.models.presets import resolve_config
from forja.models.transformer import Transformer
from forja.recipe import ModelSection, TokenizerSection
from forja.tokens.bpe import train_tokenizer
from forja.tokens.texts import TextEncoder
from made import sentences, write_documents

TEXTS = [sentences(seed, 1 + seed % 5) for seed in range(40)]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> RunClassifier:
    folder = tmp_path_factory.mktemp("classifier")
    write_documents(folder / "corpus", [sentences(seed, 20) for seed in range(20)])
    (folder / "tokenizer").mkdir()
    train_tokenizer(TokenizerSection(vocabulary=512), folder / "corpus", folder / "tokenizer")
    section = ModelSection(preset="gpt2", layers=2, heads=2, width=32, ffn_width=64)
    transformer = Transformer(resolve_config(section, vocabulary=512, context=64))
    transformer.init_weights(1)
    model = TransformerClassifier(transformer, 2, ngrams=2, seed=3).eval()
    assert model.ngrams is not None
    with torch.no_grad():
        model.score.weight.mul_(20)
        model.ngrams.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return RunClassifier(model, TextEncoder(folder / "tokenizer", max_tokens=128), ["ham", "spam"], positive="spam")


def test_scores_do_not_depend_on_who_is_scored_beside(classifier: RunClassifier) -> None:
    together = classifier.scores(TEXTS)
    alone = np.concatenate([classifier.scores([text]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)
    assert together.sum(axis=1) == pytest.approx(np.ones(len(TEXTS)))
    assert classifier.scores(TEXTS[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert classifier.branches(TEXTS).sum(axis=0) == pytest.approx(classifier.logits(TEXTS), abs=1e-4)


def test_no_texts_have_no_scores(classifier: RunClassifier) -> None:
    assert classifier.scores([]).shape == (0, 2)


def test_the_positive_label_is_told_from_the_threshold_up(classifier: RunClassifier) -> None:
    scores = classifier.scores(TEXTS)[:, 1]
    classifier.threshold = float(np.median(scores))
    told = classifier.verdicts(TEXTS)
    assert [one["label"] == "spam" for one in told] == (scores >= classifier.threshold).tolist()
    assert all(one["score"] == one["scores"][one["label"]] for one in told)


def test_the_label_that_is_looked_for_is_known_by_its_name() -> None:
    assert positive_label(["0", "1"]) == "1"
    assert positive_label(["Phishing", "benign"]) == "Phishing"
    assert positive_label(["a", "b"]) == "b"
    assert positive_label(["a", "b", "c"]) is None


def test_weighing_the_branches_explains_the_validation_examples_better(classifier: RunClassifier) -> None:
    held = [Example(str(at), text=text, label="ham" if at % 2 else "spam") for at, text in enumerate(TEXTS)]
    aims = np.array([classifier.labels.index(str(one.label)) for one in held])

    def nats() -> float:
        told = probabilities(classifier.logits(TEXTS))
        return float(-np.log(told[np.arange(len(aims)), aims]).mean())

    before = nats()  # branches that know nothing of these labels are too sure of themselves
    balance(classifier, held)
    assert nats() < before


def test_the_expected_f1_threshold_is_between_two_heaps_and_not_swayed_by_one_label() -> None:
    scores = np.array([0.01] * 90 + [0.98] * 10)
    assert 0.01 < expected_f1_threshold(scores) < 0.98
    assert expected_f1_threshold(np.array([0.9, 0.9])) <= 0.9


def test_a_run_without_a_classifier_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no model yet"):
        load_run_classifier(tmp_path)
