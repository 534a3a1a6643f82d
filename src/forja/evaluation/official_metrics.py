"""The official metrics of GLUE and SuperGLUE, each made ready for the bootstrap: a unit is what is drawn anew, one
item as a rule, and all answers to a question, or both sentences of a pair, where they are judged together."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forja.evaluation.bootstrap import Metric
from forja.evaluation.scores import class_f1, confusion, correlation
from forja.evaluation.scores import matthews as matthews_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What was told of a task's items beside the truth.

    truth, told: (items,) places of the labels among `classes`, or values where classes is 0; of a choice, 1 for the
    candidates that are right and for the one that was chosen. unit: (items,) from 0 on, in the order in which they
    first occur; answers: (items,) what each candidate says, where one is chosen.
    """

    truth: Values
    told: Values
    unit: Ints
    classes: int
    answers: Sequence[str] = ()

    @property
    def units(self) -> int:
        return int(self.unit.max(initial=-1)) + 1

    def summed(self, values: Values | npt.NDArray[np.bool_]) -> Floats:
        """Sums of an item's values over each unit, (units,)."""
        return np.bincount(self.unit, weights=values, minlength=self.units).astype(np.float64)


Official = Callable[[Verdict], Metric]


def accuracy(verdict: Verdict) -> Metric:
    """Share of items told right."""
    right = verdict.truth == verdict.told
    return _share(verdict.summed(right), verdict.summed(np.ones(len(right))))


def f1(verdict: Verdict) -> Metric:
    """F1 of the second label; MultiRC's F1a when units are questions (Khashabi et al. 2018, section 5)."""
    true, told = verdict.truth == 1, verdict.told == 1
    return _share(2 * verdict.summed(true & told), verdict.summed(true) + verdict.summed(told))


def macro_f1(verdict: Verdict) -> Metric:
    """The mean of F1 over the labels that occur, as truth or as told. A unit is an item."""
    square = _square_of(verdict)
    return lambda places: float(class_f1(square(places)).mean())


def matthews(verdict: Verdict) -> Metric:
    """Matthews' correlation, for any number of labels. A unit is an item."""
    square = _square_of(verdict)
    return lambda places: matthews_of(square(places))


def pearson(verdict: Verdict) -> Metric:
    """Pearson's correlation; 0 where the told values, or the true ones, are all the same. A unit is an item."""
    truth, told = verdict.truth.astype(np.float64), verdict.told.astype(np.float64)
    return lambda places: _correlation(truth[places], told[places])


def spearman(verdict: Verdict) -> Metric:
    """Spearman's correlation; 0 where the told values, or the true ones, are all the same. A unit is an item."""
    truth, told = verdict.truth.astype(np.float64), verdict.told.astype(np.float64)
    return lambda places: _correlation(_ranks(truth[places]), _ranks(told[places]))


def whole_units(verdict: Verdict) -> Metric:
    """Share of units of which every item was told right: MultiRC's exact match."""
    wrong = verdict.summed(verdict.truth != verdict.told)
    return _share((wrong == 0).astype(np.float64), np.ones(verdict.units))


def parity(verdict: Verdict) -> Metric:
    """Share of pairs of which both were told the same: Winogender's gender parity (Rudinger et al. 2018), as AX-g
    has it. An item without its pair does not count."""
    paired = verdict.summed(np.ones(len(verdict.told))) == 2
    same = 2 * verdict.summed(verdict.told**2) == verdict.summed(verdict.told) ** 2
    return _share((paired & same).astype(np.float64), paired.astype(np.float64))


def chosen(verdict: Verdict) -> Metric:
    """Share of units of which a right candidate was chosen."""
    return _share(verdict.summed((verdict.truth == 1) & (verdict.told == 1)), np.ones(verdict.units))


def answer_exact(verdict: Verdict) -> Metric:
    """ReCoRD's exact match: the chosen candidate says what a right one does (Zhang et al. 2018, section 5)."""
    return _best_answer(verdict, lambda said, right: float(_plain(said) == _plain(right)))


def answer_f1(verdict: Verdict) -> Metric:
    """ReCoRD's F1: of the words of the chosen candidate and of the right one that it is most like."""
    return _best_answer(verdict, _word_f1)


def _share(parts: Floats, wholes: Floats) -> Metric:
    """Of sums a unit; 0 where there is nothing to share."""

    def metric(places: Ints) -> float:
        whole = float(wholes[places].sum())
        return float(parts[places].sum()) / whole if whole else 0.0

    return metric


def _square_of(verdict: Verdict) -> Callable[[Ints], Floats]:
    truth, told = verdict.truth.astype(np.int64), verdict.told.astype(np.int64)
    return lambda places: confusion(truth[places], told[places], verdict.classes).astype(np.float64)


def _correlation(one: Floats, two: Floats) -> float:
    # Asked of the values: less a mean that is rounded, they may seem to differ.
    constant = (one == one[0]).all() or (two == two[0]).all()
    return 0.0 if constant else correlation(one, two)


def _ranks(values: Floats) -> Floats:
    """From 1 on; those that are equal share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle: Floats = np.cumsum(count) - (count - 1) / 2
    return middle[place]


def _best_answer(verdict: Verdict, likeness: Callable[[str, str], float]) -> Metric:
    said = {int(verdict.unit[place]): verdict.answers[place] for place in np.flatnonzero(verdict.told == 1).tolist()}
    best = np.zeros(verdict.units)
    for place in np.flatnonzero(verdict.truth == 1).tolist():
        unit = int(verdict.unit[place])
        best[unit] = max(best[unit], likeness(said[unit], verdict.answers[place]))
    return _share(best, np.ones(verdict.units))


def _plain(answer: str) -> str:
    """As SQuAD compares answers (Rajpurkar et al. 2016): no case, punctuation, articles or doubled spaces."""
    bare = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _word_f1(said: str, right: str) -> float:
    ours, theirs = _plain(said).split(), _plain(right).split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
