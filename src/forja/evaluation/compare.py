"""Two runs beside each other: which of their figures differ, and which differences are more than chance.

Where both runs kept predictions of the same items, these are drawn anew in pairs (the paired bootstrap, Efron and
Tibshirani 1993, section 16.4); elsewhere all that is known are two intervals. Of many figures some differ by chance,
so that p-values are held to Holm's bounds (Holm 1979).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.errors import ForjaError
from forja.evaluation.bootstrap import resamples
from forja.evaluation.scores import binary_metrics, multiclass_decisions
from forja.evaluation.task import Figure
from forja.run import read_json

LEVEL = 0.05
WIDTH = 1.959964
"""Standard errors from a figure to the end of its 95% interval."""
FEWEST = 10
"""Items below which no difference is called real."""
SHARED = 0.5
"""Share of the items of either run that both must have been given, for pairs to stand for them."""

Ints = npt.NDArray[np.int64]
Metric = Callable[[Ints], float]
Prediction = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """A figure of two runs. difference: the second's less the first's, of the shared items where it is paired; p: of
    no difference, adjusted for all figures compared; items: how many are shared, None where it is not paired."""

    task: str
    figure: str
    first: Figure
    second: Figure
    difference: Figure
    p: float
    real: bool
    items: int | None
    sentence: str = ""

    @property
    def paired(self) -> bool:
        return self.items is not None


def compare(first: Path, second: Path) -> list[Compared]:
    """Every figure that both run folders have under evaluation/, by task and then in the order of the first's. Raises
    ForjaError where a folder holds no evaluation, or a file of it is damaged."""
    ours, theirs = _results(first), _results(second)
    rows: list[Compared] = []
    for task in ours:
        if task in theirs:
            rows += _compare_task(ours[task], theirs[task], first / "evaluation", second / "evaluation")
    bounds = holm([row.p for row in rows])
    return [_told(row, bound, first.name, second.name) for row, bound in zip(rows, bounds, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false rejection at a level is at most that level (Holm 1979)."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, least = [1.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, p[place] * (len(p) - rank)))
        adjusted[place] = least
    return adjusted


def _results(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((folder / "evaluation").glob("*.json")):
        result = read_json(path)
        # perplexity.json is of the run's own stage, and no task's.
        if isinstance(result, dict) and "task" in result and "figures" in result:
            found[str(result["task"])] = result
    if not found:
        raise ForjaError(
            "no evaluation task was measured of this run.", where=str(folder), fix="Run `forja evaluate` on it first."
        )
    return found


def _compare_task(ours: dict[str, Any], theirs: dict[str, Any], our_folder: Path, their_folder: Path) -> list[Compared]:
    task = str(ours["task"])
    pairs = _Pairs.of(ours, theirs, our_folder, their_folder)
    rows = []
    for name, value in ours["figures"].items():
        one, two = _figure(value), _figure(theirs["figures"].get(name))
        if one is None or two is None:
            continue
        paired = pairs.difference(name, one.value, two.value) if pairs is not None else None
        difference, error = paired if paired is not None else _unpaired(one, two)
        fewest = min(ours["items"], theirs["items"]) if paired is None or pairs is None else pairs.items
        p = _p_value(difference.value, error) if fewest >= FEWEST else 1.0
        items = pairs.items if paired is not None and pairs is not None else None
        rows.append(Compared(task, name, one, two, difference, p, False, items))
    return rows


def _figure(value: Any) -> Figure | None:
    if not isinstance(value, dict) or any(value.get(key) is None for key in ("value", "low", "high")):
        return None
    return Figure(float(value["value"]), float(value["low"]), float(value["high"]))


def _unpaired(one: Figure, two: Figure) -> tuple[Figure, float]:
    """The difference of two independent figures, and its standard error: both taken as normal."""
    error = math.hypot(one.high - one.low, two.high - two.low) / (2 * WIDTH)
    difference = two.value - one.value
    return Figure(difference, difference - WIDTH * error, difference + WIDTH * error), error


def _p_value(difference: float, error: float) -> float:
    """Two-sided, of a normal with this standard error."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def _told(row: Compared, p: float, first: str, second: str) -> Compared:
    real = p < LEVEL
    size = row.difference
    one, two = f"{first} {row.first.value:.4g}", f"{second} {row.second.value:.4g}"
    over = f"over {row.items:,} shared items" if row.items is not None else "of two independent measurements"
    interval = f"difference {size.value:+.4g}, 95% interval {size.low:+.4g} to {size.high:+.4g} {over}"
    if real:
        verdict = f"{'higher' if size.value > 0 else 'lower'} in {second}, and the difference is real"
    elif size.value == 0:
        verdict = "no difference"
    else:
        verdict = "the difference may be chance"
    sentence = f"{row.task}, {row.figure}: {one}, {two}; {interval}: {verdict} (p = {_p_told(p)})."
    return replace(row, p=p, real=real, sentence=sentence)


def _p_told(p: float) -> str:
    return "under 0.001" if p < 0.001 else f"{p:.3f}"


# --- pairs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """The items that both runs predicted. first, second: what a figure's name stands for, over these items; whole:
    the same over all items of each run, by which a figure is known to be that of the predictions."""

    items: int
    first: dict[str, Metric]
    second: dict[str, Metric]
    whole: tuple[dict[str, float], dict[str, float]]

    @classmethod
    def of(cls, ours: dict[str, Any], theirs: dict[str, Any], our_folder: Path, their_folder: Path) -> _Pairs | None:
        one = _predictions(our_folder / f"{ours['task']}.predictions.jsonl")
        two = _predictions(their_folder / f"{theirs['task']}.predictions.jsonl")
        shared = [key for key in one if key in two and one[key].get("label") == two[key].get("label")]
        if not shared or len(shared) < SHARED * max(len(one), len(two)):
            return None
        positive = ours.get("details", {}).get("positive")
        if positive != theirs.get("details", {}).get("positive"):
            return None
        whole = []
        for rows in (one, two):
            everything = np.arange(len(rows))
            whole.append({name: metric(everything) for name, metric in _metrics(rows.values(), positive).items()})
        return cls(
            len(shared),
            _metrics([one[key] for key in shared], positive),
            _metrics([two[key] for key in shared], positive),
            (whole[0], whole[1]),
        )

    def difference(self, name: str, one: float, two: float) -> tuple[Figure, float] | None:
        """The second's less the first's with its interval, and its standard error; None where the predictions do not
        tell this figure."""
        if name not in self.first or name not in self.second:
            return None
        if not all(math.isclose(of[name], told, abs_tol=1e-6) for of, told in zip(self.whole, (one, two), strict=True)):
            return None
        everything = np.arange(self.items)
        first, second = self.first[name], self.second[name]
        drawn = np.array([second(places) - first(places) for places in resamples(self.items)])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) < 2:
            return None
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        return Figure(second(everything) - first(everything), low, high), float(drawn.std(ddof=1))


def _predictions(path: Path) -> dict[str, Prediction]:
    """Predictions by id; none where the run kept none."""
    if not path.is_file():
        return {}
    found: dict[str, Prediction] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found[str(row["id"])] = row
        except (ValueError, KeyError, TypeError):
            raise ForjaError(
                "this line is no prediction.", where=f"{path}, line {number}", fix="Evaluate the run again."
            ) from None
    return found


def _metrics(rows: Any, positive: str | None) -> dict[str, Metric]:
    """The figures that predictions tell, by the names that tasks give them."""
    rows = list(rows)
    if all("correct" in row for row in rows):
        correct = np.array([float(row["correct"]) for row in rows])
        return {"accuracy": lambda places: float(correct[places].mean())}
    if not all(row.get("label") is not None and row.get("told") is not None for row in rows):
        return {}
    if positive is None:
        names = sorted({str(row[key]) for row in rows for key in ("label", "told")})
        place = {name: number for number, name in enumerate(names)}
        labels, told = (np.array([place[str(row[key])] for row in rows]) for key in ("label", "told"))
        return multiclass_decisions(labels, told, len(names))
    labels, told = (np.array([int(str(row[key]) == positive) for row in rows]) for key in ("label", "told"))
    scores = [row.get("score") for row in rows]
    known = np.array(scores, dtype=np.float64) if all(score is not None for score in scores) else None
    return binary_metrics(labels, told, known)
