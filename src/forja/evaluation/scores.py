"""The figures of a classifier or a regressor from its labels and scores, each with its interval.

A resample is counted, not sorted: items that share a score lie in one cell, so that drawing items anew gives counts a
cell, and every figure is sums over these. Curves for the report are here too; where thresholds come from is
`thresholds.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.task import Figure

BINS = 10
CURVE_POINTS = 100
F1_FPR = 0.001
RECALL_FPR = 0.01
"""False-positive rates that an operator can live with: one in a thousand, and one in a hundred."""
F1_NAME = f"f1_at_fpr_{F1_FPR}"
RECALL_NAME = f"recall_at_fpr_{RECALL_FPR}"
RANKINGS = frozenset({"auroc", "average_precision", F1_NAME, RECALL_NAME, "matthews"})
NEED_NEGATIVES = RANKINGS | {"false_positive_rate"}
NEED_POSITIVES = RANKINGS | {"f1", "precision", "recall"}
"""Figures that are nothing where one of the classes is missing."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rates = Callable[[Floats, Floats], float]
"""From the positives and the negatives a cell, both (cells,), scores falling, to a figure of those."""


def binary_figures(
    labels: Ints, probability: Floats, threshold: float, seed: int, *, only: Sequence[str] | None = None
) -> dict[str, Figure]:
    """Figures of the positive class. labels: (items,) of 0 and 1; probability: (items,) of label 1.

    What is at the threshold or above is told positive. A figure that these labels leave undefined is not among them:
    without negatives those of a ranking and of false positives, without positives those of what was found. only: the
    names wanted, all without it.
    """
    metrics = binary_metrics(labels, (probability >= threshold).astype(np.int64), probability)
    wanted = [name for name in (metrics if only is None else only) if name in metrics]
    return intervals(len(labels), {name: metrics[name] for name in wanted}, seed=seed)


def binary_metrics(labels: Ints, told: Ints, probability: Floats | None) -> dict[str, Metric]:
    """The figures that `binary_figures` has, each of the items drawn; of decisions alone where there is no
    probability."""
    metrics = _decided(labels, told)
    if probability is not None:
        metrics |= _ranked(labels, probability)
        metrics["calibration_error"] = _calibration_error(probability, labels == 1)
        error = (probability - labels) ** 2
        metrics["brier"] = lambda places: float(error[places].mean())
    absent: set[str] = set()
    if labels.all():
        absent |= NEED_NEGATIVES
    if not labels.any():
        absent |= NEED_POSITIVES
    return {name: metric for name, metric in metrics.items() if name not in absent}


def multiclass_figures(
    labels: Ints, probabilities: Floats, seed: int, *, only: Sequence[str] | None = None
) -> dict[str, Figure]:
    """Figures of three classes or more, the most likely one told. labels: (items,) places of the classes;
    probabilities: (items, classes).

    f1, precision and recall are means over the classes that occur, as a label or as told. auroc is the mean over the
    classes of each against the rest, of those that have both; calibration_error is that of the confidence in what is
    told (Guo et al. 2017, section 2); brier sums over the classes (Brier 1950).
    """
    classes = probabilities.shape[1]
    told = probabilities.argmax(axis=1)
    error = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1)
    metrics = multiclass_decisions(labels, told, classes)
    metrics["calibration_error"] = _calibration_error(probabilities.max(axis=1), told == labels)
    metrics["brier"] = lambda places: float(error[places].mean())
    apart = [place for place in range(classes) if 0 < np.count_nonzero(labels == place) < len(labels)]
    if apart:
        each = [_of_cells(labels == place, probabilities[:, place], auroc) for place in apart]
        metrics["auroc"] = lambda places: float(np.nanmean([metric(places) for metric in each]))
    wanted = [name for name in (metrics if only is None else only) if name in metrics]
    return intervals(len(labels), {name: metrics[name] for name in wanted}, seed=seed)


def multiclass_decisions(labels: Ints, told: Ints, classes: int) -> dict[str, Metric]:
    """Those figures of `multiclass_figures` that decisions alone tell, each of the items drawn."""
    cells = labels * classes + told

    def of(part: Callable[[Floats], float]) -> Metric:
        return lambda places: part(_square(cells[places], classes))

    return {
        "f1": of(lambda square: float(class_f1(square).mean())),
        "precision": of(lambda square: float(_class_precision(square).mean())),
        "recall": of(lambda square: float(_class_recall(square).mean())),
        "accuracy": of(lambda square: _share(np.trace(square), square.sum())),
        "matthews": of(matthews),
    }


def regression_figures(targets: Floats, predictions: Floats, seed: int) -> dict[str, Figure]:
    """Pearson's and Spearman's correlation of targets and predictions, (items,) each; not a number where either is
    the same for all."""
    one, two = _distinct(targets), _distinct(predictions)
    return intervals(
        len(targets),
        {
            "pearson": lambda places: correlation(targets[places], predictions[places]),
            "spearman": lambda places: correlation(_ranks(one[places]), _ranks(two[places])),
        },
        seed=seed,
    )


def correlation(one: Floats, two: Floats) -> float:
    """Pearson's, of two series, (items,) each; not a number where one of them never changes."""
    one, two = one - one.mean(), two - two.mean()
    scale = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / scale if scale > 0 else float("nan")


# --- decisions ------------------------------------------------------------------------------


def confusion(labels: Ints, told: Ints, classes: int) -> Ints:
    """(classes, classes): a row for each label, a column for what was told."""
    return _square(labels * classes + told, classes).astype(np.int64)


def f1_of(labels: Ints, told: Ints) -> Metric:
    """F1 of the positive class of the items drawn, for decisions of 0 and 1, (items,)."""
    return _decided(labels, told)["f1"]


def class_f1(square: Floats) -> Floats:
    """F1 of each class that occurs, of a confusion matrix."""
    return _shares(2 * np.diag(square), square.sum(axis=0) + square.sum(axis=1), _occurring(square))


def _class_precision(square: Floats) -> Floats:
    return _shares(np.diag(square), square.sum(axis=0), _occurring(square))


def _class_recall(square: Floats) -> Floats:
    return _shares(np.diag(square), square.sum(axis=1), _occurring(square))


def _occurring(square: Floats) -> npt.NDArray[np.bool_]:
    """Which classes are a label or told."""
    occurring: npt.NDArray[np.bool_] = square.sum(axis=0) + square.sum(axis=1) > 0
    return occurring


def _shares(parts: Floats, wholes: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    shares: Floats = parts[chosen] / np.maximum(wholes[chosen], 1)
    return shares


def matthews(square: Floats) -> float:
    """Matthews' correlation of a confusion matrix, for any number of classes (Gorodkin 2004, equation 8); 0 where
    all labels or all decisions are the same, as scikit-learn has it."""
    whole, right = square.sum(), np.trace(square)
    true, told = square.sum(axis=1), square.sum(axis=0)
    scale = float(np.sqrt((whole**2 - told @ told) * (whole**2 - true @ true)))
    return float(right * whole - true @ told) / scale if scale > 0 else 0.0


def _square(cells: Ints, classes: int) -> Floats:
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.float64)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _decided(labels: Ints, told: Ints) -> dict[str, Metric]:
    cells = labels * 2 + told

    def of(part: Callable[[Floats], float]) -> Metric:
        return lambda places: part(_square(cells[places], 2))

    return {
        "f1": of(lambda square: _share(2 * square[1, 1], 2 * square[1, 1] + square[0, 1] + square[1, 0])),
        "precision": of(lambda square: _share(square[1, 1], square[:, 1].sum())),
        "recall": of(lambda square: _share(square[1, 1], square[1].sum())),
        "accuracy": of(lambda square: _share(np.trace(square), square.sum())),
        "false_positive_rate": of(lambda square: _share(square[0, 1], square[0].sum())),
        "matthews": of(matthews),
    }


# --- rankings -------------------------------------------------------------------------------


def auroc(positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve: the share of pairs that are in order, ties half (Hanley and McNeil 1982)."""
    pairs = positives.sum() * negatives.sum()
    if not pairs:
        return float("nan")
    below = negatives.sum() - np.cumsum(negatives)
    return float(positives @ (below + negatives / 2) / pairs)


def average_precision(positives: Floats, negatives: Floats) -> float:
    """The precision at each threshold, weighted by the recall that it adds."""
    if not positives.sum():
        return float("nan")
    hits = np.cumsum(positives)
    precision = hits / np.maximum(hits + np.cumsum(negatives), 1)
    return float(positives @ precision / hits[-1])


def f1_at_fpr(positives: Floats, negatives: Floats, limit: float) -> float:
    """The largest F1 at a threshold whose false-positive rate is at most `limit`; 0 where there is none."""
    hits, alarms, allowed = _allowed(positives, negatives, limit)
    if not positives.sum() or not negatives.sum():
        return float("nan")
    scores = 2 * hits / np.maximum(hits + alarms + positives.sum(), 1)
    return float(scores[allowed].max(initial=0.0))


def recall_at_fpr(positives: Floats, negatives: Floats, limit: float) -> float:
    """The largest recall at a threshold whose false-positive rate is at most `limit`; 0 where there is none."""
    hits, _, allowed = _allowed(positives, negatives, limit)
    if not positives.sum() or not negatives.sum():
        return float("nan")
    return float(hits[allowed].max(initial=0.0) / positives.sum())


def _allowed(positives: Floats, negatives: Floats, limit: float) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    hits, alarms = np.cumsum(positives), np.cumsum(negatives)
    return hits, alarms, alarms <= limit * negatives.sum() + 1e-9


def _ranked(labels: Ints, probability: Floats) -> dict[str, Metric]:
    figures: Mapping[str, Rates] = {
        "auroc": auroc,
        "average_precision": average_precision,
        F1_NAME: partial(f1_at_fpr, limit=F1_FPR),
        RECALL_NAME: partial(recall_at_fpr, limit=RECALL_FPR),
    }
    return {name: _of_cells(labels == 1, probability, figure) for name, figure in figures.items()}


def _of_cells(positive: npt.NDArray[np.bool_], score: Floats, figure: Rates) -> Metric:
    """A figure of a ranking, of the items drawn."""
    cells, count = _falling_cells(positive, score)

    def metric(places: Ints) -> float:
        counts = np.bincount(cells[places], minlength=2 * count).astype(np.float64)
        return figure(counts[1::2], counts[::2])

    return metric


def _falling_cells(positive: npt.NDArray[np.bool_], score: Floats) -> tuple[Ints, int]:
    """For each item twice the place of its score among all, the highest first, and 1 more for a positive; how many
    scores there are."""
    place = _distinct(-score)
    return place * 2 + positive, int(place.max(initial=-1)) + 1


def _distinct(values: Floats) -> Ints:
    """The place of each value among the different ones, the lowest first."""
    places: Ints = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return places


def _ranks(places: Ints) -> Floats:
    """Ranks of items whose values have these places; those that share one share the mean of their ranks."""
    counts = np.bincount(places)
    middle: Floats = np.cumsum(counts) - (counts - 1) / 2
    return middle[places]


# --- calibration and curves -----------------------------------------------------------------


def calibration_bins(probability: Floats, happened: npt.NDArray[np.bool_]) -> list[list[float]]:
    """[mean probability, share that happened, items] of each of BINS bins of equal width that is not empty."""
    places = _bins(probability)
    counts = np.bincount(places, minlength=BINS)
    expected = np.bincount(places, weights=probability, minlength=BINS)
    observed = np.bincount(places, weights=happened, minlength=BINS)
    return [
        [float(expected[place] / counts[place]), float(observed[place] / counts[place]), int(counts[place])]
        for place in np.flatnonzero(counts)
    ]


def _calibration_error(probability: Floats, happened: npt.NDArray[np.bool_]) -> Metric:
    """Expected calibration error in BINS bins of equal width (Guo et al. 2017, equation 3): of two classes that of
    the positive class's probability."""
    bins, excess = _bins(probability), probability - happened

    def metric(places: Ints) -> float:
        return float(np.abs(np.bincount(bins[places], weights=excess[places])).sum() / len(places))

    return metric


def _bins(probability: Floats) -> Ints:
    return np.minimum((probability * BINS).astype(np.int64), BINS - 1)


def precision_recall_curve(labels: Ints, probability: Floats) -> list[list[float]]:
    """[recall, precision] along falling thresholds, CURVE_POINTS at most, evenly in recall; none without positives."""
    if not labels.any():
        return []
    cells, count = _falling_cells(labels == 1, probability)
    counts = np.bincount(cells, minlength=2 * count)
    hits, alarms = np.cumsum(counts[1::2]), np.cumsum(counts[::2])
    recall, precision = hits / hits[-1], hits / (hits + alarms)
    wanted = np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS))
    return [[float(recall[place]), float(precision[place])] for place in np.unique(wanted)]
