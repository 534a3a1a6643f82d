"""A classifier beside the TF-IDF baseline: trained on the same examples, told by the same rule, on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.evaluation import tfidf
from forja.evaluation.bootstrap import intervals
from forja.evaluation.labelled import Labelled, split_labelled
from forja.evaluation.thresholds import best_f1_threshold
from forja.evaluation.told import Rule, Told

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """What the baseline is fitted on. held: the validation examples, by which its threshold is found."""

    names: Sequence[str]
    training: list[Labelled]
    held: list[Labelled]

    @classmethod
    def of(cls, examples: Path, names: Sequence[str]) -> Ground | None:
        """A run's training examples, and its validation ones where there are any; None without training examples."""
        training = split_labelled(examples, "train", names)
        return cls(names, training, split_labelled(examples, "valid", names)) if training else None

    def told(
        self, texts: Sequence[str], labels: Ints, rule: Rule, seed: int, *, weights: Floats | None = None
    ) -> tuple[Told, str]:
        """What the baseline tells of items, by the rule with a threshold of its own, and where that comes from.
        weights: of the training rows. Raises ForjaError for examples that cannot be learned from."""
        aims = np.array([row.label for row in self.training], np.int64)
        fitted = tfidf.fit_baseline(
            [row.text for row in self.training], aims, seed, classes=len(self.names), weights=weights
        )
        rule = replace(rule, known=None, validation=None)
        hits = np.array([row.label == rule.positive for row in self.held], np.int64)
        if rule.positive is not None and hits.any():
            held = fitted.scores([row.text for row in self.held])[:, rule.positive]
            rule = replace(rule, known=best_f1_threshold(hits, held), validation=(held, hits))
        scores = fitted.scores(texts)
        threshold, origin = rule.threshold(scores)
        return Told(labels, scores, rule.positive, threshold), origin


def beside(told: Told, baseline: Told, origin: str, seed: int) -> dict[str, Any]:
    """The baseline's figures, and how much higher the classifier's F1 is, the items drawn in pairs.

    beaten: true where it is higher by more than chance, false where it is no higher, null where chance may be all.
    """
    found: dict[str, Any] = {
        "name": tfidf.NAME,
        "figures": baseline.figures(seed),
        "threshold": baseline.threshold,
        "threshold_from": origin,
        "beaten": None,
    }
    ours, theirs = told.f1(), baseline.f1()
    if ours is not None and theirs is not None:
        metric = {"difference": lambda places: ours(places) - theirs(places)}
        difference = intervals(len(told.labels), metric, seed=seed)["difference"]
        found["difference"] = difference
        found["beaten"] = True if difference.low > 0 else False if difference.value <= 0 else None
    return found
