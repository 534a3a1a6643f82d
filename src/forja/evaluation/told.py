"""What a classifier tells of labelled items: by which rule labels are told from its scores, and the figures of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.evaluation.bootstrap import Metric
from forja.evaluation.scores import (
    binary_figures,
    binary_metrics,
    calibration_bins,
    multiclass_decisions,
    multiclass_figures,
    precision_recall_curve,
)
from forja.evaluation.task import Figure
from forja.evaluation.thresholds import adapted_threshold

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """Of two labels the positive one is told from a threshold up; of more, the likeliest is told.

    positive: the place of that label, None where there are not two; known: the threshold of the validation data;
    validation: its scores of the positive label and its labels of 0 and 1; adapt: whether the items are of another
    origin, so that their threshold is found from their scores.
    """

    positive: int | None
    known: float | None = None
    validation: tuple[Floats, Ints] | None = None
    adapt: bool = False

    def threshold(self, scores: Floats) -> tuple[float | None, str]:
        """For scores of items, (items, classes), the threshold, None for several classes, and where it comes from."""
        if self.positive is None:
            return None, "none: the likeliest label is told"
        if self.adapt and self.validation is not None:
            return adapted_threshold(scores[:, self.positive], validation=self.validation)
        if self.known is not None:
            return self.known, "of the highest F1 to expect, on the validation examples"
        return 0.5, "0.5, as there are no validation scores"


@dataclass(frozen=True)
class Told:
    """Labels, (items,), and scores, (items, classes), with what is told of them: see `Rule`."""

    labels: Ints
    scores: Floats
    positive: int | None
    threshold: float | None

    @property
    def decided(self) -> Ints:
        """Places of the labels told, (items,)."""
        if self.positive is None or self.threshold is None:
            places: Ints = self.scores.argmax(axis=1)
        else:
            places = np.where(self.scores[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)
        return places.astype(np.int64)

    @property
    def hits(self) -> Ints:
        """1 for an item of the positive label, (items,)."""
        return np.asarray(self.labels == self.positive, np.int64)

    @property
    def alarms(self) -> Ints:
        """1 for an item that is told positive, (items,)."""
        return np.asarray(self.decided == self.positive, np.int64)

    @property
    def certainty(self) -> Floats:
        """The probability of the positive label; of several labels, of the one told. (items,)"""
        columns = self.decided if self.positive is None else np.full(len(self.labels), self.positive)
        certain: Floats = self.scores[np.arange(len(self.labels)), columns]
        return certain

    def part(self, places: Sequence[int]) -> Told:
        """Of these items alone."""
        return Told(self.labels[places], self.scores[places], self.positive, self.threshold)

    def figures(self, seed: int, *, only: Sequence[str] | None = None) -> dict[str, Figure]:
        """See `scores.binary_figures` and `scores.multiclass_figures`."""
        if self.positive is None or self.threshold is None:
            return multiclass_figures(self.labels, self.scores, seed, only=only)
        return binary_figures(self.hits, self.certainty, self.threshold, seed, only=only)

    def f1(self) -> Metric | None:
        """F1 of the items drawn; None where no item is positive."""
        if self.positive is None:
            return multiclass_decisions(self.labels, self.decided, self.scores.shape[1])["f1"]
        return binary_metrics(self.hits, self.alarms, None).get("f1")

    def curves(self) -> dict[str, Any]:
        """precision_recall, of the positive label: [[recall, precision], ...]; calibration: [[mean probability, share
        that it was right of, items], ...]."""
        if self.positive is None:
            return {
                "precision_recall": [],
                "calibration": calibration_bins(self.certainty, self.decided == self.labels),
            }
        return {
            "precision_recall": precision_recall_curve(self.hits, self.certainty),
            "calibration": calibration_bins(self.certainty, self.hits == 1),
        }
