"""GLUE and SuperGLUE run end to end: each task's classifier is fitted on the training rows, the public labels are
scored by the official metrics, and beside them stands what the majority of the training labels would have had."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from forja.errors import ForjaError
from forja.evaluation import official_metrics as official
from forja.evaluation.bootstrap import Metric, intervals
from forja.evaluation.glue import Item, Task
from forja.evaluation.glue_files import Lesson, find_places, scored_items, training_items
from forja.evaluation.official_metrics import Floats, Ints, Values, Verdict
from forja.evaluation.scores import confusion
from forja.evaluation.task import Classifier, Figure, TaskResult
from forja.run import digest

CAP = 20_000
"""Training items, at most: SST-2 has 67,000 and MNLI 393,000, more than a laptop fits in an evening."""
HELD_OUT = 0.1
FEWEST_HELD_OUT = 32
"""Of the training items, for early stopping: a tenth, or as many as this where that is no more than a quarter."""


class Fit(Protocol):
    """Teaches a classifier its classes by their names, or, for regression, a model of values, whose scores are (texts,
    1); the valid texts say when to stop. Raises ForjaError."""

    def __call__(
        self,
        train_texts: Sequence[str],
        train_labels: Sequence[str] | Sequence[float],
        valid_texts: Sequence[str],
        valid_labels: Sequence[str] | Sequence[float],
        *,
        regression: bool,
    ) -> Classifier: ...


@dataclass(frozen=True)
class Told:
    """What each item was told: scores, (items, classes) in the order of the task's labels or (items, 1) values; and
    the baseline's, of the same shape."""

    scores: Floats
    baseline: Floats


def score_tasks(
    suite: str, tasks: Sequence[Task], data: Sequence[Path], ending: str, fit: Fit, *, seed: int, cap: int = CAP
) -> list[TaskResult]:
    """A result a task that is there, `<suite>-<task>`, and one of all, `suite`, which says what was left out and why.

    data, ending: see `find_places`. Everything is read before anything is fitted. Raises ForjaError where a file is
    damaged, or no task can be scored.
    """
    places = find_places(tasks, data, ending)
    by_name = {task.name: task for task in tasks}
    scored = {name: scored_items(by_name[name], place) for name, place in places.items()}
    lessons = {
        name: training_items(task, places[name], cap, seed)
        for name, task in by_name.items()
        if name in places and task.taught_by is None
    }
    results: list[TaskResult] = []
    left_out: dict[str, str] = {}
    for teacher in (task for task in tasks if task.taught_by is None):
        pupils = [task for task in tasks if teacher.name in (task.name, task.taught_by) and task.name in places]
        classroom = _Classroom(teacher, lessons.get(teacher.name), fit, seed, cap)
        for task in pupils:
            lesson = scored[task.name]
            reason = _unscored(task, lesson) or classroom.unable(task, lesson)
            if reason or lesson is None:
                left_out[task.name] = reason
                continue
            told, taught = classroom.told(task, lesson.items)
            results.append(_result(suite, task, lesson, told, taught, seed))
    if not results:
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ForjaError(f"no task can be scored ({said}).", where=", ".join(map(str, data)))
    return [*results, _summary(suite, results, left_out)]


def _unscored(task: Task, lesson: Lesson | None) -> str:
    if lesson is None:
        return f"there is no {task.scored} file to score"
    return "" if lesson.items else f"no row of {task.scored} has a text and a label that is not hidden"


class _Classroom:
    """A task's training rows and the one classifier that is fitted on them, for itself and the tasks it teaches."""

    def __init__(self, teacher: Task, lesson: Lesson | None, fit: Fit, seed: int, cap: int) -> None:
        self.teacher = teacher
        self.lesson = lesson
        self.fit = fit
        self.seed = seed
        self.cap = cap
        self.fitted: Callable[[Sequence[Item]], Told] | None = None

    def unable(self, task: Task, lesson: Lesson | None) -> str:
        """Why a task cannot be taught; empty where it can."""
        if self.lesson is not None:
            return self._poor(self.lesson.items)
        if (task.folder or task.name) != (self.teacher.folder or self.teacher.name):
            return f"it is scored with {self.teacher.name}'s classifier, and {self.teacher.name} has no training rows"
        halves = _halves(lesson.items, self.seed) if lesson else ([], [])
        return next(filter(None, (self._poor(half[: self.cap]) for half in halves)), "")

    def _poor(self, items: Sequence[Item]) -> str:
        train, valid = _split(items, self.seed)
        if not train or not valid:
            return f"{len(items)} training rows are too few"
        if self.teacher.decision != "value" and len({item.label for item in train}) < 2:
            return f"all training rows have the label {train[0].label}"
        return ""

    def told(self, task: Task, items: Sequence[Item]) -> tuple[Told, dict[str, Any]]:
        """What a classifier of the training rows tells the items; without any, each half is told by the other's."""
        if self.lesson is not None:
            if self.fitted is None:
                self.fitted = self._teach(self.lesson.items)
            taught = {"by": f"{self.teacher.name}'s training rows", "rows": self.lesson.used, "of": self.lesson.rows}
            return self.fitted(items), taught
        halves = _halves(items, self.seed)
        parts = [self._teach(other[: self.cap])(half) for half, other in (halves, halves[::-1])]
        where = {id(item): place for place, item in enumerate([*halves[0], *halves[1]])}
        order = [where[id(item)] for item in items]
        told = Told(
            np.concatenate([part.scores for part in parts])[order],
            np.concatenate([part.baseline for part in parts])[order],
        )
        rows = min(len(items) // 2, self.cap)
        return told, {"by": f"the other half of {task.scored}, as there are no training rows", "rows": rows}

    def _teach(self, items: Sequence[Item]) -> Callable[[Sequence[Item]], Told]:
        """From items to what a classifier fitted on others tells them, and what the baseline does."""
        train, valid = _split(items, self.seed)
        regression = self.teacher.decision == "value"
        classifier = self.fit(
            [item.text for item in train],
            _labels(train, regression),
            [item.text for item in valid],
            _labels(valid, regression),
            regression=regression,
        )
        baseline = _baseline(self.teacher, items)

        def tell(others: Sequence[Item]) -> Told:
            scores = np.asarray(classifier.scores([item.text for item in others]), dtype=np.float64)
            return Told(scores if regression else _in_order(scores, classifier.labels, self.teacher), baseline(others))

        return tell


def _labels(items: Sequence[Item], regression: bool) -> list[str] | list[float]:
    return [float(item.label) for item in items] if regression else [str(item.label) for item in items]


def _in_order(scores: Floats, labels: Sequence[str], task: Task) -> Floats:
    """The scores in the order of the task's labels, (items, classes); 0 for a label that no training row had."""
    ordered = np.zeros((len(scores), len(task.labels)))
    ordered[:, [task.labels.index(label) for label in labels]] = scores
    return ordered


# --- parts of the rows ----------------------------------------------------------------------


def _split(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """To train on, and to stop by."""
    return _parted(items, max(int(len(items) * HELD_OUT), min(FEWEST_HELD_OUT, len(items) // 4)), seed)


def _halves(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    return _parted(items, len(items) // 2, seed)


def _parted(items: Sequence[Item], second: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Two parts, the second of about so many; what is of one unit or has the same text is in the same part."""
    together: dict[str, list[Item]] = {}
    for item in items:
        together.setdefault(item.unit or item.text, []).append(item)
    groups = list(together.values())
    random.Random(seed).shuffle(groups)
    parts: tuple[list[Item], list[Item]] = ([], [])
    for group in groups:
        parts[len(parts[1]) < second].extend(group)
    return parts


# --- the baseline ---------------------------------------------------------------------------


def _baseline(task: Task, items: Sequence[Item]) -> Callable[[Sequence[Item]], Floats]:
    """The most frequent label of these; of a choice, the candidate in the place that most often has the right one; of
    values, their mean."""
    if task.decision == "value":
        mean = float(np.mean([float(item.label) for item in items]))
        return lambda others: np.full((len(others), 1), mean)
    if task.decision == "choice":
        right = Counter(place for place, item in _numbered(items) if item.label == task.labels[1])
        often = right.most_common(1)[0][0]
        return lambda others: np.array([[0.0, -abs(place - often)] for place, _ in _numbered(others)])
    most = task.labels.index(str(Counter(item.label for item in items).most_common(1)[0][0]))
    return lambda others: np.tile(np.eye(len(task.labels))[most], (len(others), 1))


def _numbered(items: Sequence[Item]) -> list[tuple[int, Item]]:
    """Each item with its place in its unit."""
    seen: Counter[str | None] = Counter()
    numbered = []
    for item in items:
        numbered.append((seen[item.unit], item))
        seen[item.unit] += 1
    return numbered


# --- results --------------------------------------------------------------------------------


def verdict(task: Task, items: Sequence[Item], scores: Floats) -> Verdict:
    """What the scores decide. scores: (items, classes), or (items, 1) values."""
    numbers: dict[str, int] = {}
    unit = np.array([numbers.setdefault(item.unit or f"{place}", len(numbers)) for place, item in enumerate(items)])
    answers = [item.answer for item in items]
    if task.decision == "value":
        return Verdict(np.array([float(item.label) for item in items]), scores[:, 0], unit, 0)
    truth = np.array([task.labels.index(str(item.label)) for item in items])
    told: Values = scores.argmax(axis=1)
    if task.decision == "choice":
        told = _best_of(unit, scores[:, 1])
    return Verdict(truth, told, unit, len(task.labels), answers)


def _best_of(unit: Ints, score: Floats) -> Ints:
    """1 for the first item of the highest score in its unit, else 0, (items,)."""
    order = np.lexsort((np.arange(len(score)), -score, unit))
    told = np.zeros(len(score), dtype=np.int64)
    told[order[np.unique(unit[order], return_index=True)[1]]] = 1
    return told


def _result(suite: str, task: Task, lesson: Lesson, told: Told, taught: dict[str, Any], seed: int) -> TaskResult:
    ours = verdict(task, lesson.items, told.scores)
    theirs = verdict(task, lesson.items, told.baseline)
    figures, baseline, differences = _compared(task, ours, theirs, seed)
    first = next(iter(task.metrics))
    details: dict[str, Any] = {
        "taught": taught,
        "removed": {"no text or label": lesson.left_out} if lesson.left_out else {},
        "baseline": {
            "name": _BASELINES[task.decision],
            "figures": baseline,
            "metric": first,
            "difference": differences[first],
            "differences": differences,
            "beaten": differences[first].low > 0,
        },
    }
    if task.decision == "class":
        details["labels"] = list(task.labels)
        details["positive"] = task.labels[1] if official.f1 in task.metrics.values() else None
        details["confusion"] = confusion(ours.truth.astype(np.int64), ours.told.astype(np.int64), ours.classes).tolist()
    if task.decision == "choice":
        details["chance"] = float(np.mean(ours.summed(ours.truth == 1) / ours.summed(np.ones(len(ours.truth)))))
    return TaskResult(
        task=f"{suite}-{task.name}",
        kind={"class": "classification", "choice": "multiple-choice", "value": "regression"}[task.decision],
        items=ours.units if task.decision == "choice" else len(lesson.items),
        figures=figures,
        details=details,
        predictions=_predictions(task, lesson.items, told.scores, ours),
    )


_BASELINES = {
    "class": "the majority label of the training rows",
    "choice": "the place that most often holds the right candidate in the training rows",
    "value": "the mean of the training rows",
}


def _compared(
    task: Task, ours: Verdict, theirs: Verdict, seed: int
) -> tuple[dict[str, Figure], dict[str, Figure], dict[str, Figure]]:
    """Ours, the baseline's, and by how much ours is above it, each with its interval over the same resamples."""
    all_metrics: dict[tuple[str, str], Metric] = {}
    for name, metric in task.metrics.items():
        mine, other = metric(ours), metric(theirs)
        all_metrics |= {("ours", name): mine, ("baseline", name): other, ("difference", name): _less(mine, other)}
    found = intervals(ours.units, {" ".join(key): metric for key, metric in all_metrics.items()}, seed=seed)
    ours_found, theirs_found, differences = (
        {name: found[f"{who} {name}"] for name in task.metrics} for who in ("ours", "baseline", "difference")
    )
    return ours_found, theirs_found, differences


def _less(mine: Metric, other: Metric) -> Metric:
    return lambda places: mine(places) - other(places)


def _predictions(task: Task, items: Sequence[Item], scores: Floats, ours: Verdict) -> list[Mapping[str, Any]]:
    """A mapping an item, by an id that the same rows have for every model; of a choice one a unit."""
    ids = [f"{place}-{digest(item.text)[:12]}" for place, item in enumerate(items)]
    if task.decision == "value":
        told = zip(ids, items, scores[:, 0], strict=True)
        return [{"id": name, "label": item.label, "value": float(score)} for name, item, score in told]
    if task.decision == "class":
        rows = zip(ids, items, ours.told, scores.tolist(), strict=True)
        return [
            {
                "id": name,
                "label": item.label,
                "told": task.labels[int(told)],
                "scores": dict(zip(task.labels, row, strict=True)),
            }
            for name, item, told, row in rows
        ]
    units: dict[int, dict[str, Any]] = {}
    for name, item, unit, told in zip(ids, items, ours.unit.tolist(), ours.told.tolist(), strict=True):
        row = units.setdefault(unit, {"id": name, "label": [], "told": None, "correct": False})
        right = item.label == task.labels[1]
        row["label"] += [item.answer] if right else []
        if told:
            row |= {"told": item.answer, "correct": right}
    return list(units.values())


def _summary(suite: str, results: Sequence[TaskResult], left_out: Mapping[str, str]) -> TaskResult:
    """The figures of all, as `<task>.<metric>`."""
    figures: dict[str, Figure] = {}
    table: dict[str, Any] = {}
    for result in results:
        name = result.task.removeprefix(f"{suite}-")
        figures |= {f"{name}.{metric}": figure for metric, figure in result.figures.items()}
        table[name] = {
            "items": result.items,
            "taught": result.details["taught"],
            "baseline": result.details["baseline"],
        }
    details = {"tasks": table, "left_out": dict(left_out)}
    return TaskResult(suite, "classification", sum(result.items for result in results), figures, details)
