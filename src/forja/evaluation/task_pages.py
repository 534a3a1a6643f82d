"""What a report shows of each evaluation task: a section a task, from the JSON that it left in the run.

How figures are called and what they mean in words is in `task_wording.py`; the drawing is in `task_charts.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from forja.evaluation import task_charts
from forja.evaluation.task_charts import MOST_CLASSES, Spread
from forja.evaluation.task_wording import (
    MITIGATIONS,
    UNITS,
    column_of,
    fairness_notes,
    name_of,
    neutral,
    notes,
    sentences,
    title_of,
)
from forja.run import read_json

Told = Mapping[str, Any]

HEADLINES = {
    "classification": ("f1", "precision", "recall", "auroc", "f1_at_fpr_0.001"),
    "multiple-choice": ("accuracy", "accuracy_letter", "preferred", "preferred_a_token"),
    "code": ("insecure_rate", "syntax_valid_rate", "secure_valid_rate", "secure_and_functional_rate"),
    "anomaly": ("line.f1", "session.f1"),
    "language": ("perplexity", "bits_per_byte"),
}
"""By kind of task, the figures that stand first, those of them that it has; of any other kind, its first ones."""
MOST_HEADLINES = 5
MOST_SPREADS = 20
MOST_ROWS = 60
MOST_COLUMNS = 5
MOST_CONFUSED = 12
MOST_FOUND = 20
GATHERED = ("glue", "superglue")
"""Families of tasks that one table tells of."""
DIFFERENCES = {
    "demographic_parity_difference": "Demographic parity",
    "equalized_odds_difference": "Equalised odds",
    "f1": "F1",
}


class Row(NamedTuple):
    """A figure: its name, the value with its interval, the baseline's beside it, and how it differs from that."""

    name: str
    figure: Told
    beside: Told | None = None
    difference: Told | None = None


class Groups(NamedTuple):
    """Figures by group. columns: of the figures; rows: a group's name, its items, and a figure a column or None. A
    figure that was measured without an interval has its value alone."""

    title: str
    columns: list[str]
    rows: list[tuple[str, int | None, list[Told | None]]]
    left_out: int


class Fairness(NamedTuple):
    """A column's differences between groups. rows: what is measured, and of each of `columns` the figure or None."""

    column: str
    columns: list[str]
    rows: list[tuple[str, list[Told | None]]]
    notes: list[str]


class Section(NamedTuple):
    """A task's section. anchor: its place on the page; rows: all figures; beside: what stands beside them; confused:
    the commonest mistakes as (label, told, items), of classes too many to draw; findings: of scanned code, by rule;
    wrong: items that went wrong."""

    anchor: str
    title: str
    items: int
    headlines: list[Row]
    rows: list[Row]
    beside: str
    sentences: list[str]
    charts: list[Markup]
    groups: list[Groups]
    fairness: list[Fairness]
    confused: list[tuple[str, str, int]]
    findings: list[tuple[str, int]]
    wrong: list[Told]


def tasks_of(run_folder: Path) -> list[dict[str, Any]]:
    """What each task left in the run, by the order of their files' names. Raises ForjaError for a damaged file."""
    found = map(read_json, sorted((run_folder / "evaluation").glob("*.json")))
    return [told for told in found if isinstance(told, dict) and {"task", "kind", "items", "figures"} <= told.keys()]


def task_sections(run_folder: Path, *, first: str = "") -> list[Section]:
    """A section a task of the run, and one a family of tasks. first: the task that comes before all others. Raises
    ForjaError for a damaged file."""
    found = sorted(tasks_of(run_folder), key=lambda told: told["task"] != first)
    sections = [_section(told) for told in found if not _family(told)]
    for family in GATHERED:
        members = [told for told in found if _family(told) == family]
        if members:
            sections.append(_gathered(family, members))
    return sections


def _family(told: Told) -> str | None:
    task = str(told["task"])
    return next((family for family in GATHERED if task == family or task.startswith(f"{family}-")), None)


def _known(figure: Any) -> bool:
    """Whether it is a figure with an interval, all of them numbers."""
    return isinstance(figure, dict) and all(figure.get(end) is not None for end in ("value", "low", "high"))


def _section(told: Told) -> Section:
    details, figures = told["details"], {name: one for name, one in told["figures"].items() if _known(one)}
    baseline = details.get("baseline") or {}
    wanted = [name for name in HEADLINES.get(told["kind"], ()) if name in figures] or list(figures)
    square = details.get("confusion") or []
    drawn = 0 < len(square) <= MOST_CLASSES
    return Section(
        anchor=f"task-{told['task']}",
        title=title_of(told["task"]),
        items=told["items"],
        headlines=[_row(name, figures[name], baseline) for name in wanted[:MOST_HEADLINES]],
        rows=[_row(name, figure, baseline) for name, figure in figures.items()],
        beside=baseline.get("name", ""),
        sentences=sentences(told),
        charts=_charts(told),
        groups=_groups(told),
        fairness=[_fairness(one) for one in _measured_fairness(details)],
        confused=[] if drawn or not square else _confused(details["labels"], square),
        findings=sorted((details.get("findings") or {}).items(), key=lambda found: -found[1])[:MOST_FOUND],
        wrong=details.get("wrong") or [],
    )


def _row(name: str, figure: Told, baseline: Told, prefix: str = "") -> Row:
    beside = (baseline.get("figures") or {}).get(name)
    difference = (baseline.get("differences") or {}).get(name)
    shown = f"{prefix}{name_of(name)}"
    return Row(shown, figure, beside if _known(beside) else None, difference if _known(difference) else None)


def _measured_fairness(details: Told) -> list[Told]:
    return [one for one in (details.get("fairness"), *(details.get("fairness_others") or [])) if one]


# --- charts --------------------------------------------------------------------------------------


def _charts(told: Told) -> list[Markup]:
    details = told["details"]
    drawn = _classifier_charts(told)
    if told["kind"] == "anomaly":
        drawn.append(_anomaly_chart(told["figures"]))
    for column, groups in (details.get("groups") or {}).items():
        drawn.append(_group_chart(told, column, groups))
    for fairness in _measured_fairness(details):
        drawn += _fairness_charts(fairness)
    return [chart for chart in drawn if chart]


def _classifier_charts(told: Told) -> list[Markup]:
    details, drawn = told["details"], []
    curves, square = details.get("curves") or {}, details.get("confusion") or []
    if 0 < len(square) <= MOST_CLASSES:
        drawn.append(task_charts.confusion_chart(list(map(str, details["labels"])), square))
    if curves.get("precision_recall"):
        drawn.append(_precision_recall(told))
    if curves.get("calibration"):
        drawn.append(task_charts.calibration_chart(curves["calibration"]))
    return drawn


def _precision_recall(told: Told) -> Markup:
    details, figures = told["details"], told["figures"]
    recall, precision = (figures.get(name) or {} for name in ("recall", "precision"))
    chosen = (recall["value"], precision["value"]) if _known(recall) and _known(precision) else None
    share = None
    if details.get("confusion") and details.get("positive") in details["labels"]:
        of_positive = sum(details["confusion"][details["labels"].index(details["positive"])])
        share = of_positive / max(1, sum(map(sum, details["confusion"])))
    points = details["curves"]["precision_recall"]
    return task_charts.precision_recall_chart(points, chosen=chosen, share=share)


def _anomaly_chart(figures: Told) -> Markup:
    """What was found, by line and by session; nothing where nothing was."""
    names = [f"{unit}.{name}" for unit in UNITS for name in ("precision", "recall", "f1")]
    known = {name: figures[name] for name in names if _known(figures.get(name))}
    if not any(figure["high"] > 0 for figure in known.values()):
        return Markup("")
    spreads = [Spread(name_of(name), one["value"], one["low"], one["high"]) for name, one in known.items()]
    return task_charts.interval_chart("What was found", spreads)


def _group_chart(told: Told, column: str, groups: Told) -> Markup:
    """The main figure of each group with its interval, beside chance or a lack of preference where there is one;
    nothing where all are one and the same number."""
    name = _main_figure(told, groups)
    spreads = []
    for group, figures in groups.items():
        figure = figures.get(name)
        if _known(figure):
            mark = figures.get("chance", neutral(name) if told["kind"] == "bias" else None)
            spreads.append(Spread(str(group), figure["value"], figure["low"], figure["high"], mark))
    if len(spreads) < 2 or len({end for one in spreads for end in (one.low, one.value, one.high)}) == 1:
        return Markup("")
    of = f", the first {MOST_SPREADS} of {len(spreads)}" if len(spreads) > MOST_SPREADS else ""
    mark = "chance" if told["kind"] == "multiple-choice" else "no preference"
    return task_charts.interval_chart(f"{name_of(name)} by {column_of(column)}{of}", spreads[:MOST_SPREADS], mark=mark)


def _main_figure(told: Told, groups: Told) -> str:
    """The first of the headlines, or else of the task's figures, or of the groups' own, that groups have."""
    there = {name: None for figures in groups.values() for name, figure in figures.items() if _known(figure)}
    wanted = (*HEADLINES.get(told["kind"], ()), *told["figures"], *there)
    return next((name for name in wanted if name in there), "")


def _fairness_charts(fairness: Told) -> list[Markup]:
    kinds = {
        "selection_rate": "Told positive",
        "true_positive_rate": "True positive rate",
        "false_positive_rate": "False positive rate",
    }
    return [
        task_charts.rate_chart(
            f"{shown} by {column_of(fairness['group'])}",
            {str(group): rates.get(name) for group, rates in list(fairness["by_group"].items())[:MOST_SPREADS]},
            whole=name != "false_positive_rate",  # a few in a thousand, all of them
        )
        for name, shown in kinds.items()
    ]


# --- tables --------------------------------------------------------------------------------------


def _groups(told: Told) -> list[Groups]:
    """Of each column of groups a table of its first figures; none where the chart tells all that there is."""
    tables = []
    for column, groups in (told["details"].get("groups") or {}).items():
        names = list(dict.fromkeys(name for figures in groups.values() for name in figures if name != "items"))
        rows = [
            (str(group), figures.get("items"), [_told(figures.get(name)) for name in names[:MOST_COLUMNS]])
            for group, figures in list(groups.items())[:MOST_ROWS]
        ]
        if names and (len(names) > 1 or len(rows) < 2):
            shown = [name_of(name) for name in names[:MOST_COLUMNS]]
            tables.append(Groups(f"By {column_of(column)}", shown, rows, max(0, len(groups) - MOST_ROWS)))
    return tables


def _told(figure: Any) -> Told | None:
    """A group's figure, or a number without an interval as one; None of what is neither."""
    if _known(figure):
        return figure  # type: ignore[no-any-return]
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return {"value": value} if isinstance(value, int | float) and not isinstance(value, bool) else None


def _confused(labels: Sequence[Any], square: Sequence[Sequence[int]]) -> list[tuple[str, str, int]]:
    pairs = [
        (str(labels[row]), str(labels[column]), count)
        for row, counts in enumerate(square)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:MOST_CONFUSED]


def _fairness(fairness: Told) -> Fairness:
    """As it is on all items, and with each mitigation beside what is without it on the same items."""
    measured = [("As it is, all items", fairness)]
    for name, after in (fairness.get("mitigated") or {}).items():
        shown, of = MITIGATIONS.get(name, name.replace("-", " ")), f", {after['of']}" if "of" in after else ""
        items = f" ({after['items']:,} items)" if "items" in after else ""
        if "before" in after:
            measured.append((f"{shown}{of}{items}: before", after["before"]))
        measured.append((f"{shown}{of}{items}: after", after))
    names = [name for name in DIFFERENCES if any(_known(figures.get(name)) for _, figures in measured)]
    rows = [
        (shown, [figures[name] if _known(figures.get(name)) else None for name in names]) for shown, figures in measured
    ]
    return Fairness(column_of(fairness["group"]), [DIFFERENCES[name] for name in names], rows, fairness_notes(fairness))


# --- families ------------------------------------------------------------------------------------


def _gathered(family: str, members: Sequence[Told]) -> Section:
    """A family's tasks in one table, each beside what is had without a model."""
    rows: list[Row] = []
    charted: list[Spread] = []
    said: list[str] = []
    alone = [told for told in members if told["task"] != family]
    for told in alone:
        name, baseline = told["task"].removeprefix(f"{family}-"), told["details"].get("baseline") or {}
        rows += [_row(one, figure, baseline, f"{name}: ") for one, figure in told["figures"].items() if _known(figure)]
        said += [f"{name}: {note}" for note in notes(told)]
        charted += _above_baseline(name, baseline)
    left_out = next((told["details"].get("left_out") for told in members if told["task"] == family), None) or {}
    said += [f"{name} is left out: {reason}" for name, reason in left_out.items()]
    above = sum(bool((told["details"].get("baseline") or {}).get("beaten")) for told in alone)
    summary = f"{above} of {len(alone)} tasks are above what the majority gives, by more than chance."
    chart = task_charts.interval_chart("Above the majority", charted, mark="nothing learned")
    return Section(
        anchor=f"task-{family}",
        title=title_of(family),
        items=sum(told["items"] for told in alone),
        headlines=[],
        rows=rows,
        beside="Majority",
        sentences=[summary, *said] if alone else said,
        charts=[chart] if chart else [],
        groups=[],
        fairness=[],
        confused=[],
        findings=[],
        wrong=[],
    )


def _above_baseline(name: str, baseline: Told) -> Iterable[Spread]:
    difference = baseline.get("difference")
    if difference and _known(difference):
        shown = f"{name}, {name_of(str(baseline.get('metric', '')))}"
        ends = (difference["value"], difference["low"], difference["high"])
        yield Spread(shown, *ends, mark=0.0, accent=difference["low"] > 0)
