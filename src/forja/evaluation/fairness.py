"""Whether a classifier treats groups of people alike, through Fairlearn, and what mitigation buys.

Groups are named by a column of the data. Demographic parity: as many of each group are told positive. Equalised odds
(Hardt et al. 2016, definition 2.1): as many of its positives, and of its negatives, are. Labels and decisions are 0
and 1 here, (items,) each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError
from forja.evaluation.bootstrap import intervals
from forja.evaluation.scores import f1_of
from forja.evaluation.task import Figure

FEWEST = 10
"""Items of a group below which nothing is said of it."""
DEMOGRAPHIC_PARITY = "demographic_parity_difference"
EQUALIZED_ODDS = "equalized_odds_difference"

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def fairness(
    column: str, groups: Sequence[str], labels: Ints, told: Ints, probability: Floats, seed: int
) -> dict[str, Any]:
    """The groups' rates, both differences with intervals, and what other thresholds would make of them.

    groups: (items,) names, "" where a row names none; probability: (items,) of label 1. Groups that are too small
    are left out, and in `left_out` with how many items they have. Raises ForjaError for fewer than two groups that
    are large enough, and where Fairlearn is not installed.
    """
    large = large_groups(groups)
    if len(large) < 2:
        raise ForjaError(
            f"fairness needs two groups of {FEWEST} items or more; {column} names {len(large)}.", where=column
        )
    chosen = np.array([name in large for name in groups])
    names = np.array(groups, dtype=object)[chosen]
    labels, told, probability = labels[chosen], told[chosen], probability[chosen]
    by_group = _by_group(names, labels, told)
    found: dict[str, Any] = {"group": column, "by_group": by_group, **differences(names, labels, told, seed)}
    found["left_out"] = {name: count for name, count in Counter(groups).items() if name not in large}
    unknown = [name for name, rates in by_group.items() if None in rates.values()]
    found["one_class"] = unknown
    mitigated = by_thresholds(names, labels, told, probability, seed)
    found["mitigated"] = {} if mitigated is None else {"threshold-optimizer": mitigated}
    return found


def large_groups(groups: Sequence[str]) -> list[str]:
    """Names of the groups of FEWEST items or more, the largest first."""
    return [name for name, count in Counter(groups).most_common() if name and count >= FEWEST]


def differences(groups: npt.NDArray[Any], labels: Ints, told: Ints, seed: int) -> dict[str, Figure]:
    """The largest less the smallest of the groups' rates: of selection, and of true or of false positives, whichever
    is further apart. A group without positives has no true positive rate, and does not count in that.

    Chance alone sets groups apart, so that resamples lie above the figure rather than around it: the interval is
    stretched to hold it.
    """
    place = np.unique(groups, return_inverse=True)[1]
    cells = (place * 2 + labels) * 2 + told
    count = int(place.max()) + 1

    def of(spread: Callable[[Floats], float]) -> Callable[[Ints], float]:
        return lambda places: spread(np.bincount(cells[places], minlength=4 * count).reshape(count, 2, 2).astype(float))

    figures = intervals(len(labels), {DEMOGRAPHIC_PARITY: of(_parity), EQUALIZED_ODDS: of(_odds)}, seed=seed)
    return {
        name: Figure(figure.value, min(figure.low, figure.value), max(figure.high, figure.value))
        for name, figure in figures.items()
    }


def before_and_after(
    groups: npt.NDArray[Any], labels: Ints, before: Ints, after: Ints, seed: int
) -> dict[str, Figure | dict[str, Figure]]:
    """Both differences and F1 of the decisions after a mitigation, and under `before` of those without it."""

    def figures(told: Ints) -> dict[str, Figure]:
        return {
            **differences(groups, labels, told, seed),
            **intervals(len(labels), {"f1": f1_of(labels, told)}, seed=seed),
        }

    return {**figures(after), "before": figures(before)}


def by_thresholds(
    groups: npt.NDArray[Any], labels: Ints, told: Ints, probability: Floats, seed: int
) -> dict[str, Any] | None:
    """Thresholds of each group's own that equalise the odds (Hardt et al. 2016, section 3.2), by Fairlearn's
    ThresholdOptimizer: fitted on one half of the items and measured on the other, as `told` is.

    A group needs two items of each class in both halves; None where there are no two such groups.
    """
    postprocessing = _fairlearn("postprocessing")
    fitted = _half(groups, labels, seed)
    rich = [name for name in np.unique(groups) if np.bincount(labels[groups == name], minlength=2).min() >= 4]
    if len(rich) < 2:
        return None
    chosen = np.isin(groups, rich)
    fit, measured = fitted & chosen, ~fitted & chosen
    optimizer = postprocessing.ThresholdOptimizer(
        estimator=_Scored(), constraints="equalized_odds", prefit=True, predict_method="predict_proba"
    )
    optimizer.fit(probability[fit, None], labels[fit], sensitive_features=groups[fit])
    after = optimizer.predict(probability[measured, None], sensitive_features=groups[measured], random_state=seed)
    return {
        "items": int(measured.sum()),
        **before_and_after(groups[measured], labels[measured], told[measured], after.astype(np.int64), seed),
    }


class _Scored:
    """A fitted classifier as scikit-learn knows them, whose only feature is the probability that it said."""

    def fit(self, scores: Floats, labels: Ints) -> _Scored:
        return self

    def predict_proba(self, scores: Floats) -> Floats:
        return np.column_stack([1 - scores[:, 0], scores[:, 0]])

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier", target_tags=TargetTags(required=True), classifier_tags=ClassifierTags()
        )


def _fairlearn(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"fairlearn.{part}")
    except ImportError:
        raise ForjaError("Fairlearn is not installed.", fix="pip install 'forja[evaluation]'") from None


def _by_group(groups: npt.NDArray[Any], labels: Ints, told: Ints) -> dict[str, dict[str, Any]]:
    """Items and rates of each group; None for a rate of what it has none of."""
    known = _fairlearn("metrics")

    def f1(labels: Ints, told: Ints) -> float:
        return f1_of(np.asarray(labels), np.asarray(told))(np.arange(len(labels)))

    def among(label: int, rate: Callable[..., float]) -> Callable[[Ints, Ints], float]:
        def found(labels: Ints, told: Ints) -> float:
            return rate(labels, told, pos_label=1) if (np.asarray(labels) == label).any() else float("nan")

        return found

    frame = known.MetricFrame(
        metrics={
            "items": known.count,
            "selection_rate": known.selection_rate,
            "true_positive_rate": among(1, known.true_positive_rate),
            "false_positive_rate": among(0, known.false_positive_rate),
            "f1": among(1, lambda labels, told, pos_label: f1(labels, told)),
        },
        y_true=labels,
        y_pred=told,
        sensitive_features=groups,
    )
    rates = frame.by_group.to_dict(orient="index")
    return {
        str(name): {
            key: int(value) if key == "items" else None if np.isnan(value) else float(value)
            for key, value in of_group.items()
        }
        for name, of_group in rates.items()
    }


def _parity(counts: Floats) -> float:
    """counts: (groups, labels, decisions)."""
    return _spread(counts[:, :, 1].sum(axis=1), counts.sum(axis=(1, 2)))


def _odds(counts: Floats) -> float:
    false, true = (_spread(counts[:, label, 1], counts[:, label].sum(axis=1)) for label in (0, 1))
    return float(np.fmax(false, true))


def _spread(parts: Floats, wholes: Floats) -> float:
    """Not a number where fewer than two groups have a rate."""
    there = wholes > 0
    rates = parts[there] / wholes[there]
    return float(np.ptp(rates)) if len(rates) > 1 else float("nan")


def _half(groups: npt.NDArray[Any], labels: Ints, seed: int) -> Booleans:
    """Which items to fit on: of each group and label a half, drawn by the seed."""
    chosen = np.zeros(len(labels), bool)
    order = np.random.default_rng(seed).permutation(len(labels))
    for name in np.unique(groups):
        for label in (0, 1):
            members = order[(groups[order] == name) & (labels[order] == label)]
            chosen[members[: len(members) // 2]] = True
    return chosen
