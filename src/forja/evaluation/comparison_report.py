"""Two runs on one page: every figure that both have, and which of the differences are more than chance."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from forja.evaluation.compare import Compared, compare
from forja.evaluation.page import render_page
from forja.evaluation.task_charts import Spread, interval_chart
from forja.evaluation.task_pages import name_of
from forja.run import write_text_atomic


def comparison_report(first: Path, second: Path, path: Path) -> Path:
    """Write the page that compares two run folders, and return its path. Raises ForjaError."""
    rows = compare(first, second)
    tasks = [(task, list(members)) for task, members in groupby(rows, key=lambda row: row.task)]
    content = {
        "first": first.name,
        "second": second.name,
        "real": [row for row in rows if row.real],
        "total": len(rows),
        "tasks": [(task, members, _chart(members)) for task, members in tasks],
        "name_of": name_of,
    }
    write_text_atomic(path, render_page("comparison_report.html.jinja", content))
    return path


def _chart(rows: list[Compared]) -> Markup:
    spreads = [
        Spread(name_of(row.figure), row.difference.value, row.difference.low, row.difference.high, accent=row.real)
        for row in rows
    ]
    return interval_chart("Second run less the first", spreads, mark=("no difference", 0.0))
