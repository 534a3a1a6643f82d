"""Thresholds: the best one of validation data, and one for a collection without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.scores import f1_of
from forja.evaluation.tfidf import fit_baseline
from forja.evaluation.thresholds import (
    adapted_threshold,
    best_f1_threshold,
    fit_temperature,
    logits,
    shifted_prior,
    valley,
)


def collection(items: int, share: float, *, move: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores calibrated for as many positives as negatives, moved by so many logits."""
    source = np.random.default_rng(seed)
    labels = (source.random(items) < share).astype(np.int64)
    # Two normals 9 apart, of variance 9: their log likelihood ratio is the score itself.
    scores = source.normal(size=items) * 3 + 9 * labels - 4.5
    return 1 / (1 + np.exp(-(scores + move))), labels


def f1(labels: np.ndarray, told: np.ndarray) -> float:
    return f1_of(labels, told.astype(np.int64))(np.arange(len(labels)))


def test_no_threshold_has_a_higher_f1_than_the_best() -> None:
    probability, labels = collection(300, 0.3)
    probability = probability.round(2)
    best = metrics.f1_score(labels, probability >= best_f1_threshold(labels, probability))
    assert best == max(metrics.f1_score(labels, probability >= one) for one in np.unique(probability))


def test_a_threshold_needs_a_positive() -> None:
    with pytest.raises(ForjaError, match="positives"):
        best_f1_threshold(np.zeros(4, np.int64), np.linspace(0, 1, 4))


def test_the_temperature_undoes_one() -> None:
    source = np.random.default_rng(0)
    scores = source.normal(size=(5000, 3)) * 2
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < source.random((5000, 1))).sum(axis=1)
    assert fit_temperature(scores * 3, labels) == pytest.approx(3, rel=0.1)
    assert fit_temperature(scores, labels) == pytest.approx(1, rel=0.1)


def test_the_share_of_positives_is_found_without_labels() -> None:
    for share in (0.1, 0.5, 0.85):
        probability, labels = collection(5000, share)
        assert shifted_prior(probability, 0.5) == pytest.approx(labels.mean(), abs=0.03)


@pytest.mark.parametrize(
    ("share", "move"),
    [(0.05, 0.0), (0.9, 0.0), (0.5, 2.0), (0.3, -2.0)],
)
def test_a_collection_with_another_share_or_other_scores_gets_a_threshold_of_its_own(share: float, move: float) -> None:
    known, labels = collection(1000, 0.5)
    new, true = collection(2000, share, move=move, seed=1)
    threshold, sentence = adapted_threshold(new, validation=(known, labels))
    before = f1(true, new >= best_f1_threshold(labels, known))
    best = f1(true, new >= best_f1_threshold(true, new))
    assert f1(true, new >= threshold) > max(before - 0.02, best - 0.1)
    assert "without its labels" in sentence


def test_a_collection_of_positives_alone_is_told_positive() -> None:
    known, labels = collection(1000, 0.5)
    new, true = collection(1000, 1.0, seed=3)
    threshold, _ = adapted_threshold(new, validation=(known, labels))
    assert (new >= threshold).mean() > (new >= 0.5).mean()
    assert true.all()


def test_a_collection_without_positives_is_hardly_told_positive() -> None:
    known, labels = collection(1000, 0.5)
    new, _ = collection(1000, 0.0, seed=3)
    threshold, _ = adapted_threshold(new, validation=(known, labels))
    assert (new >= threshold).mean() < (new >= best_f1_threshold(labels, known)).mean() / 2


def test_the_valley_lies_between_two_heaps() -> None:
    source = np.random.default_rng(0)
    known, labels = np.r_[np.full(50, -8.0), np.full(50, 8.0)], np.repeat([0, 1], 50)
    found = valley(np.r_[source.normal(-6, 1, 400), source.normal(1, 1, 100)], known, labels, 0.0)
    assert -4 < found < -1
    assert valley(np.zeros(40), np.zeros(4), np.array([0, 0, 1, 1]), 0.7) == 0.7


def test_logits_of_certain_scores_are_finite() -> None:
    assert np.isfinite(logits(np.array([0.0, 0.5, 1.0]))).all()
    assert logits(np.array([0.5]))[0] == 0


def test_too_few_scores_are_told_by_the_threshold_of_validation() -> None:
    known, labels = collection(1000, 0.5)
    few, _ = collection(12, 0.5, seed=1)
    threshold, sentence = adapted_threshold(few, validation=(known, labels))
    assert f1(labels, known >= threshold) > f1(labels, known >= best_f1_threshold(labels, known)) - 0.02
    assert "the collection is too small" in sentence

    new, _ = collection(500, 0.5, seed=2)
    _, sentence = adapted_threshold(new, validation=(known[:12], labels[:12]))
    assert "validation data, which is too small" in sentence
    assert adapted_threshold(new, validation=(known[:5], np.zeros(5, np.int64)))[0] == 0.5


def test_scores_that_are_all_the_same_have_a_threshold() -> None:
    known, labels = collection(1000, 0.5)
    threshold, _ = adapted_threshold(np.full(100, 1.0), validation=(known, labels))
    assert 0 < threshold < 1


@pytest.mark.realdata
def test_a_real_folder_that_was_not_trained_on_gains_from_adaptation(realdata: Path) -> None:
    rows = [row.fields for row in read_rows(realdata / "phishing/enron_spam.csv.gz")]
    # Three in four of the mails trained on are spam; in the folder they are told for, one in four.
    trained = [row for row in rows if row["source"].endswith("enron4")]
    others = [row for row in rows if row["source"].endswith("enron1")]
    texts, labels = [row["text"][:2000] for row in trained], np.array([int(row["label"]) for row in trained])
    order = np.random.default_rng(0).permutation(len(texts))
    held, kept = order[:250], order[250:]
    fitted = fit_baseline([texts[place] for place in kept], labels[kept], 0)
    known = fitted.scores([texts[place] for place in held])[:, 1]
    new, true = fitted.scores([row["text"][:2000] for row in others])[:, 1], np.array([int(r["label"]) for r in others])
    threshold, _ = adapted_threshold(new, validation=(known, labels[held]))
    assert f1(true, new >= 0.5) < 0.75
    assert f1(true, new >= threshold) > 0.88
