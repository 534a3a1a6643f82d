"""Groups are compared as Fairlearn compares them, and mitigation brings them together."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fairlearn import metrics

from forja.errors import ForjaError
from forja.evaluation.fairness import before_and_after, differences, fairness
from forja.evaluation.tfidf import fit_baseline
from forja.training.task_data import reweighing


def unequal(items: int = 600, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Two languages, as many positives in each, of which one is scored lower throughout."""
    source = np.random.default_rng(seed)
    groups = np.where(source.random(items) < 0.5, "en", "es")
    labels = (source.random(items) < 0.4).astype(np.int64)
    logits = source.normal(size=items) + 3 * labels - 1.5 - 1.5 * (groups == "es")
    return groups.tolist(), labels, 1 / (1 + np.exp(-logits))


def test_differences_are_those_of_fairlearn() -> None:
    groups, labels, probability = unequal()
    told = (probability >= 0.5).astype(np.int64)
    found = differences(np.array(groups), labels, told, 0)
    parity = metrics.demographic_parity_difference(labels, told, sensitive_features=groups)
    odds = metrics.equalized_odds_difference(labels, told, sensitive_features=groups)

    assert found["demographic_parity_difference"].value == pytest.approx(parity)
    assert found["equalized_odds_difference"].value == pytest.approx(odds)
    for figure in found.values():
        assert figure.low <= figure.value <= figure.high
        assert figure.low > 0.02


def test_the_groups_rates_are_told() -> None:
    groups, labels, probability = unequal()
    told = (probability >= 0.5).astype(np.int64)
    found = fairness("language", groups, labels, told, probability, 0)
    english = np.array(groups) == "en"

    assert found["group"] == "language"
    assert found["by_group"]["en"]["items"] == english.sum()
    assert found["by_group"]["en"]["selection_rate"] == pytest.approx(told[english].mean())
    assert found["by_group"]["en"]["true_positive_rate"] == pytest.approx(told[english & (labels == 1)].mean())
    assert found["by_group"]["es"]["true_positive_rate"] < found["by_group"]["en"]["true_positive_rate"]


def test_thresholds_of_their_own_bring_the_groups_together_on_rows_not_fitted_on() -> None:
    groups, labels, probability = unequal(2000)
    told = (probability >= 0.5).astype(np.int64)
    after = fairness("language", groups, labels, told, probability, 0)["mitigated"]["threshold-optimizer"]

    assert after["items"] == pytest.approx(1000, abs=3)
    assert after["equalized_odds_difference"].value < 0.5 * after["before"]["equalized_odds_difference"].value
    assert 0.5 < after["f1"].value < 1


def test_small_groups_and_rows_without_one_are_left_out_and_told() -> None:
    groups, labels, probability = unequal(200)
    groups[:4] = ["fr", "fr", "fr", ""]
    told = (probability >= 0.5).astype(np.int64)
    found = fairness("language", groups, labels, told, probability, 0)
    assert set(found["by_group"]) == {"en", "es"}
    assert found["left_out"] == {"fr": 3, "": 1}

    with pytest.raises(ForjaError, match="two groups of 10 items or more; language names 1"):
        fairness("language", ["en"] * 195 + ["es"] * 5, labels, told, probability, 0)


def test_a_group_without_positives_has_no_rate_of_them() -> None:
    groups = ["en"] * 40 + ["es"] * 40 + ["fr"] * 20
    labels = np.array([0, 1] * 40 + [0] * 20)
    told = np.array([0, 1] * 40 + [0] * 20)
    found = fairness("language", groups, labels, told, told.astype(float), 0)
    assert found["by_group"]["fr"]["true_positive_rate"] is None
    assert found["one_class"] == ["fr"]
    assert found["equalized_odds_difference"].value == 0
    assert found["demographic_parity_difference"].value == pytest.approx(0.5)


def test_reweighed_groups_and_labels_are_independent() -> None:
    source = np.random.default_rng(0)
    groups = source.choice(["en", "es", "fr"], 300, p=[0.6, 0.3, 0.1])
    labels = (source.random(300) < np.where(groups == "en", 0.7, 0.2)).astype(np.int64)
    weights = reweighing(groups.tolist(), labels)

    assert weights.sum() == pytest.approx(300)
    shares = [np.average(labels[groups == name], weights=weights[groups == name]) for name in ("en", "es", "fr")]
    assert shares == pytest.approx([labels.mean()] * 3)
    english = groups == "en"
    expected = english.mean() * labels.mean() / (english & (labels == 1)).mean()
    assert weights[english & (labels == 1)] == pytest.approx(expected)


def test_a_baseline_trained_on_reweighed_rows_treats_groups_more_alike() -> None:
    source = np.random.default_rng(2)
    # In training the word that names the group goes with the label, though it tells nothing of it.
    groups = source.choice(["en", "es"], 1200)
    skew = np.where(np.arange(1200) < 800, np.where(groups == "en", 0.8, 0.2), 0.5)
    labels = (source.random(1200) < skew).astype(np.int64)
    signs = np.where(source.random(1200) < 0.75, labels, 1 - labels)
    texts = [
        f"{'hello' if group == 'en' else 'hola'} {'prize' if sign else 'report'}"
        for group, sign in zip(groups, signs, strict=True)
    ]
    train, test = slice(0, 800), slice(800, 1200)
    weights = reweighing(groups[train].tolist(), labels[train])
    told = [
        (fit_baseline(texts[train], labels[train], 0, weights=given).scores(texts[test])[:, 1] >= 0.5).astype(np.int64)
        for given in (None, weights)
    ]
    found = before_and_after(groups[test], labels[test], *told, seed=0)
    before = found["before"]
    assert isinstance(before, dict)
    assert found["demographic_parity_difference"].value < 0.5 * before["demographic_parity_difference"].value


def test_without_fairlearn_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, labels, probability = unequal(100)
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(ForjaError, match="forja\\[evaluation\\]"):
        fairness("language", groups, labels, (probability >= 0.5).astype(np.int64), probability, 0)
