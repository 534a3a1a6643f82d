"""The figures are scikit-learn's, and resamples are counted as if they were sorted anew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from forja.evaluation import scores
from forja.evaluation.bootstrap import resamples
from forja.evaluation.scores import binary_figures, multiclass_figures, regression_figures


def told_scores(items: int, *, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    labels = (source.random(items) < 0.3).astype(np.int64)
    probability = 1 / (1 + np.exp(-(source.normal(size=items) + 2 * labels - 1)))
    return labels, probability.round(2) if ties else probability


def classes_of(items: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(3)
    labels = source.integers(0, classes, items)
    raised = np.exp(source.normal(size=(items, classes)) + 1.5 * np.eye(classes)[labels])
    return labels, raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("ties", [True, False])
def test_binary_figures_are_those_of_scikit_learn(ties: bool) -> None:
    labels, probability = told_scores(400, ties=ties)
    told = probability >= 0.45
    found = {name: figure.value for name, figure in binary_figures(labels, probability, 0.45, 0).items()}

    assert found["f1"] == pytest.approx(metrics.f1_score(labels, told))
    assert found["precision"] == pytest.approx(metrics.precision_score(labels, told))
    assert found["recall"] == pytest.approx(metrics.recall_score(labels, told))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, told))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(labels, told))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(labels, probability))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(labels, probability))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, probability))
    assert found["false_positive_rate"] == pytest.approx(told[labels == 0].mean())


@pytest.mark.parametrize("ties", [True, False])
def test_figures_at_a_false_positive_rate_are_the_best_of_all_thresholds_within_it(ties: bool) -> None:
    labels, probability = told_scores(3000, ties=ties)
    found = binary_figures(labels, probability, 0.5, 0, only=[scores.F1_NAME, scores.RECALL_NAME])
    alarms, hits, thresholds = metrics.roc_curve(labels, probability, drop_intermediate=False)

    assert found["recall_at_fpr_0.01"].value == pytest.approx(hits[alarms <= 0.01].max())
    within = thresholds[alarms <= 0.001]
    best = max(metrics.f1_score(labels, probability >= threshold) for threshold in within)
    assert found["f1_at_fpr_0.001"].value == pytest.approx(best)


def test_a_resample_is_counted_as_scikit_learn_would_count_its_items() -> None:
    labels, probability = told_scores(150)
    figures = binary_figures(labels, probability, 0.5, 7)
    drawn = resamples(150, seed=7)
    areas = [metrics.roc_auc_score(labels[places], probability[places]) for places in drawn]
    found = [metrics.f1_score(labels[places], probability[places] >= 0.5) for places in drawn]

    assert [figures["auroc"].low, figures["auroc"].high] == pytest.approx(np.quantile(areas, [0.025, 0.975]))
    assert [figures["f1"].low, figures["f1"].high] == pytest.approx(np.quantile(found, [0.025, 0.975]))


def test_multiclass_figures_are_those_of_scikit_learn() -> None:
    labels, probabilities = classes_of(300, 4)
    told = probabilities.argmax(axis=1)
    found = {name: figure.value for name, figure in multiclass_figures(labels, probabilities, 0).items()}

    assert found["f1"] == pytest.approx(metrics.f1_score(labels, told, average="macro"))
    assert found["precision"] == pytest.approx(metrics.precision_score(labels, told, average="macro"))
    assert found["recall"] == pytest.approx(metrics.recall_score(labels, told, average="macro"))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, told))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(labels, told))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(labels, probabilities, scale_by_half=False))


def test_a_class_that_does_not_occur_does_not_count_in_the_mean() -> None:
    labels, probabilities = classes_of(300, 4)
    rows = labels < 2
    probabilities[rows, 3] = 0
    found = multiclass_figures(labels[rows], probabilities[rows], 0, only=["f1", "auroc"])
    told = probabilities[rows].argmax(axis=1)
    assert found["f1"].value == pytest.approx(metrics.f1_score(labels[rows], told, average="macro"))
    areas = [metrics.roc_auc_score(labels[rows] == place, probabilities[rows, place]) for place in (0, 1)]
    assert found["auroc"].value == pytest.approx(np.mean(areas))


def test_correlations_are_those_of_scipy() -> None:
    source = np.random.default_rng(1)
    targets = source.integers(0, 6, 200).astype(float)
    predictions = targets + source.normal(size=200)
    found = regression_figures(targets, predictions, 0)
    assert found["pearson"].value == pytest.approx(stats.pearsonr(targets, predictions)[0])
    assert found["spearman"].value == pytest.approx(stats.spearmanr(targets, predictions)[0])
    assert found["spearman"].low < found["spearman"].value < found["spearman"].high


def test_what_never_changes_correlates_with_nothing() -> None:
    found = regression_figures(np.ones(20), np.arange(20.0), 0)
    assert np.isnan(found["pearson"].value)
    assert np.isnan(found["spearman"].value)


def test_calibration_is_the_gap_between_told_and_observed() -> None:
    probability = np.array([0.05] * 10 + [0.95] * 10 + [1.0] * 10)
    labels = np.array([0] * 10 + [1] * 5 + [0] * 5 + [1] * 10)
    bins = scores.calibration_bins(probability, labels == 1)
    assert bins == [[pytest.approx(0.05), 0.0, 10], [pytest.approx(0.975), 0.75, 20]]
    error = binary_figures(labels, probability, 0.5, 0)["calibration_error"].value
    assert error == pytest.approx((10 * 0.05 + 20 * (0.975 - 0.75)) / 30)


def test_the_curve_is_thin_and_runs_along_the_true_one() -> None:
    labels, probability = told_scores(5000, ties=False)
    curve = scores.precision_recall_curve(labels, probability)
    precision, recall, _ = metrics.precision_recall_curve(labels, probability)
    true = {(round(at, 9), round(of, 9)) for at, of in zip(recall, precision, strict=True)}

    assert 50 < len(curve) <= scores.CURVE_POINTS
    assert {(round(at, 9), round(of, 9)) for at, of in curve} <= true
    assert curve[-1][0] == 1.0
    assert [at for at, _ in curve] == sorted(at for at, _ in curve)


def test_one_class_leaves_out_what_needs_two() -> None:
    _, probability = told_scores(40)
    positives = binary_figures(np.ones(40, np.int64), probability, 0.5, 0)
    negatives = binary_figures(np.zeros(40, np.int64), probability, 0.5, 0)

    assert {"f1", "recall", "precision", "accuracy"} <= set(positives)
    assert {"accuracy", "false_positive_rate"} <= set(negatives)
    assert not {"auroc", "average_precision", "f1_at_fpr_0.001", "matthews"} & (set(positives) | set(negatives))
    assert "recall" not in negatives
    assert positives["recall"].value == pytest.approx((probability >= 0.5).mean())
    assert scores.precision_recall_curve(np.zeros(40, np.int64), probability) == []


def test_the_confusion_matrix_has_a_row_for_each_label() -> None:
    labels, told = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    assert scores.confusion(labels, told, 3).tolist() == metrics.confusion_matrix(labels, told).tolist()
    assert scores.matthews(scores.confusion(labels, told, 3).astype(float)) == pytest.approx(
        metrics.matthews_corrcoef(labels, told)
    )
