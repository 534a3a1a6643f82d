"""Two runs on one page: every figure that both have, and which of the differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from forja.evaluation.compare import Compared, compare
from forja.evaluation.page import render_page
from forja.evaluation.task_charts import Spread, interval_chart
from forja.evaluation.task_wording import better, name_of, title_of
from forja.run import write_text_atomic

MOST_DRAWN = 30


class Part(NamedTuple):
    """A task's figures, the real differences first. items: how many both runs told, None where none are shared."""

    title: str
    rows: list[Compared]
    items: int | None
    chart: Markup


def comparison_report(first: Path, second: Path, path: Path) -> Path:
    """Write the page that compares two run folders, and return its path. Raises ForjaError."""
    rows = compare(first, second)
    parts = [_part(task, list(members), second.name) for task, members in groupby(rows, key=lambda row: row.task)]
    real = sorted((row for row in rows if row.real), key=lambda row: row.p)
    content = {
        "first": first.name,
        "second": second.name,
        "real": real,
        "judged": _judged(real, second.name),
        "total": len(rows),
        "parts": parts,
        "better": better,
        "name_of": name_of,
        "title_of": title_of,
    }
    write_text_atomic(path, render_page("comparison_report.html.jinja", content))
    return path


def _judged(real: Sequence[Compared], second: str) -> str:
    """How many of the differences are to the better; nothing where of none of them it can be said."""
    verdicts = [better(row.figure, row.difference.value) for row in real]
    counts = {"better": verdicts.count(True), "worse": verdicts.count(False), "neither": verdicts.count(None)}
    if counts["neither"] == len(verdicts):
        return ""
    return f"in {second} " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _part(task: str, rows: list[Compared], second: str) -> Part:
    items = next((row.items for row in rows if row.items is not None), None)
    ordered = sorted(rows, key=lambda row: not row.real)
    return Part(title_of(task), ordered, items, _chart(ordered, f"By how much {second} is higher"))


def _chart(rows: Sequence[Compared], title: str) -> Markup:
    """Of the figures that are shares or the like: one scale would hide them beside a perplexity's difference."""
    spreads = [
        Spread(name_of(row.figure), row.difference.value, row.difference.low, row.difference.high, 0.0, row.real)
        for row in rows
        if max(abs(row.first.value), abs(row.second.value)) <= 1
    ]
    return interval_chart(title, spreads[:MOST_DRAWN], mark="no difference")
