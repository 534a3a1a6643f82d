"""What a report shows of each evaluation task: a section a task, from the JSON that it left in the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from forja.evaluation import task_charts
from forja.evaluation.task_charts import Spread
from forja.run import read_json

Told = Mapping[str, Any]

MOST_ROWS = 40
NAMES = {
    "f1": "F1",
    "auroc": "AUROC",
    "f1_at_fpr_0.001": "F1 at 0.1% false positives",
    "recall_at_fpr_0.01": "Recall at 1% false positives",
    "brier": "Brier score",
    "matthews": "Matthews correlation",
}
HEADLINES = {
    "classification": ("f1", "accuracy", "precision", "recall", "auroc", "f1_at_fpr_0.001"),
    "multiple-choice": ("accuracy", "accuracy_letter", "preferred"),
    "code": ("insecure_rate", "syntax_valid_rate", "secure_valid_rate", "secure_and_functional_rate"),
    "anomaly": ("line.f1", "session.f1"),
    "language": ("perplexity", "bits_per_byte"),
}
GATHERED = ("glue", "superglue")
"""Families of tasks that one table tells of."""


class Row(NamedTuple):
    """A figure: its name, the value with its interval, and the baseline's or the majority class's beside it."""

    name: str
    figure: Told
    beside: Told | None = None


class Section(NamedTuple):
    """A task's section. anchor: its place on the page; rows: all figures; groups: (column, rows by group)."""

    anchor: str
    title: str
    kind: str
    items: int
    headlines: list[Row]
    rows: list[Row]
    beside: str
    sentences: list[str]
    charts: list[Markup]
    groups: list[tuple[str, list[Row]]]
    told: Told


def task_sections(run_folder: Path) -> list[Section]:
    """The run's tasks, those of one family gathered, in the order of their names."""
    found = [told for told in map(read_json, sorted((run_folder / "evaluation").glob("*.json"))) if _is_task(told)]
    alone = [told for told in found if not _family(told)]
    sections = [_section(told) for told in alone]
    for family in GATHERED:
        members = [told for told in found if _family(told) == family]
        if members:
            sections.append(_gathered(family, members))
    return sections


def _is_task(told: Any) -> bool:
    return isinstance(told, dict) and {"task", "kind", "items", "figures"} <= told.keys()


def _family(told: Told) -> str | None:
    return next(
        (family for family in GATHERED if told["task"] == family or told["task"].startswith(family + "-")), None
    )


def name_of(figure: str) -> str:
    """A figure's name as people read it."""
    return NAMES.get(figure, figure.replace("_", " ").replace(".", ": ").capitalize())


def _section(told: Told) -> Section:
    details, kind = told["details"], told["kind"]
    baseline = details.get("baseline") or {}
    others = baseline.get("figures", {})
    rows = [Row(name_of(name), figure, others.get(name)) for name, figure in told["figures"].items() if _known(figure)]
    wanted = HEADLINES.get(kind, ())
    headlines = [Row(name_of(name), told["figures"][name]) for name in wanted if _known(told["figures"].get(name))]
    return Section(
        anchor=f"task-{told['task']}",
        title=told["task"].replace("-", " ").capitalize(),
        kind=kind,
        items=told["items"],
        headlines=headlines or rows[:4],
        rows=rows,
        beside=baseline.get("name", ""),
        sentences=_sentences(told),
        charts=_charts(told),
        groups=_groups(details.get("groups") or {}),
        told=told,
    )


def _known(figure: Any) -> bool:
    return isinstance(figure, dict) and figure.get("value") is not None


def _sentences(told: Told) -> list[str]:
    details = told["details"]
    said = []
    baseline = details.get("baseline")
    if baseline:
        said.append(_against(baseline))
    if details.get("chance") is not None:
        said.append(f"Chance alone comes to {details['chance']:.3f}.")
    if details.get("threshold") is not None:
        origin = details.get("threshold_from", "")
        said.append(f"The positive class is told from {details['threshold']:.3f} up: the threshold is {origin}.")
    removed = details.get("removed") or {}
    if any(removed.values()):
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in removed.items() if count)
        said.append(f"Left out before measuring: {reasons}.")
    said += [str(note) for note in details.get("notes") or []]
    return said


def _against(baseline: Told) -> str:
    """Whether the baseline is beaten, said plainly."""
    difference = baseline.get("difference")
    if not difference:
        return f"{baseline['name']} was trained on the same rows; the two cannot be compared here."
    by = f"{difference['value']:+.4f} F1, between {difference['low']:+.4f} and {difference['high']:+.4f}"
    if baseline["beaten"] is True:
        return f"It beats {baseline['name']}, trained on the same rows: {by}."
    if baseline["beaten"] is False:
        return f"It does NOT beat {baseline['name']}, trained on the same rows ({by}): use that instead."
    return f"Its F1 is higher than that of {baseline['name']} ({by}), but not by more than chance may give."


def _charts(told: Told) -> list[Markup]:
    details, drawn = told["details"], []
    curves = details.get("curves") or {}
    if curves.get("precision_recall"):
        drawn.append(task_charts.precision_recall_chart(curves["precision_recall"]))
    if curves.get("calibration"):
        drawn.append(task_charts.calibration_chart(curves["calibration"]))
    for fairness in [details.get("fairness"), *(details.get("fairness_others") or [])]:
        drawn += _fairness_charts(fairness) if fairness else []
    if told["kind"] in ("multiple-choice", "bias", "code", "anomaly"):
        drawn += _group_charts(told)
    return [chart for chart in drawn if chart]


def _fairness_charts(fairness: Told) -> list[Markup]:
    kinds = (
        ("selection_rate", "Told positive"),
        ("true_positive_rate", "True positive rate"),
        ("false_positive_rate", "False positive rate"),
    )
    return [
        task_charts.interval_chart(f"{shown} by {fairness['group']}", rows)
        for name, shown in kinds
        if (rows := list(_spreads((group, figures.get(name)) for group, figures in fairness["by_group"].items())))
    ]


def _group_charts(told: Told) -> list[Markup]:
    main = next(iter(HEADLINES.get(told["kind"], ())), None) or next(iter(told["figures"]), "")
    chance = told["details"].get("chance")
    mark = ("chance", float(chance)) if chance is not None else ("neutral", 0.5) if told["kind"] == "bias" else None
    drawn = []
    for column, groups in (told["details"].get("groups") or {}).items():
        name = main if any(main in figures for figures in groups.values()) else _shared(groups)
        spreads = list(_spreads((group, figures.get(name)) for group, figures in groups.items()))[:MOST_ROWS]
        if len(spreads) > 1:
            drawn.append(task_charts.interval_chart(f"{name_of(name)} by {column}", spreads, mark=mark))
    return drawn


def _shared(groups: Told) -> str:
    """The first figure of the groups."""
    names = (name for figures in groups.values() for name, figure in figures.items() if _known(figure))
    return next(names, "")


def _spreads(pairs: Iterable[tuple[str, Any]]) -> Iterable[Spread]:
    for label, figure in pairs:
        if _known(figure):
            yield Spread(str(label)[:46], figure["value"], figure["low"], figure["high"], accent=True)
        elif isinstance(figure, int | float) and not isinstance(figure, bool):
            yield Spread(str(label)[:46], float(figure), float(figure), float(figure), accent=True)


def _groups(groups: Told) -> list[tuple[str, list[Row]]]:
    """Tables by group of what has no chart: the F1, accuracy or first figure of each."""
    tables = []
    for column, members in groups.items():
        rows = []
        for name, figures in list(members.items())[:MOST_ROWS]:
            shown = next((figures[key] for key in ("f1", "accuracy", "perplexity") if _known(figures.get(key))), None)
            shown = shown or next((figure for figure in figures.values() if _known(figure)), None)
            if shown:
                items = figures.get("items")
                rows.append(Row(f"{name} ({items:,} items)" if items else str(name), shown))
        if rows:
            tables.append((column, rows))
    return tables


def _gathered(family: str, members: list[Told]) -> Section:
    """A family's tasks in one table, each beside the majority class."""
    rows = []
    for told in members:
        if told["task"] == family:
            continue
        others = (told["details"].get("majority") or {}).get("figures", {})
        label = told["task"].removeprefix(family + "-")
        rows += [
            Row(f"{label}: {name_of(name)}", figure, others.get(name))
            for name, figure in told["figures"].items()
            if _known(figure)
        ]
    notes = [f"{told['task'].removeprefix(family + '-')}: {note}" for told in members for note in _notes(told)]
    return Section(
        anchor=f"task-{family}",
        title={"glue": "GLUE", "superglue": "SuperGLUE"}[family],
        kind="table",
        items=sum(told["items"] for told in members if told["task"] != family),
        headlines=[],
        rows=rows,
        beside="Majority class",
        sentences=notes,
        charts=[],
        groups=[],
        told={"details": {}},
    )


def _notes(told: Told) -> list[str]:
    found = told["details"].get("notes") or told["details"].get("how") or []
    return [str(found)] if isinstance(found, str) else [str(note) for note in found]
