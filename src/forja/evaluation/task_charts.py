"""The charts of evaluation tasks: intervals beside each other, curves of a classifier, bars by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from forja.evaluation import charts
from forja.evaluation.charts import ROW, WIDTH, Series

EDGE = 6


@dataclass(frozen=True)
class Spread:
    """A row of an interval chart: its label, the figure, the ends of its interval, whether it is the one to look at."""

    label: str
    value: float
    low: float
    high: float
    accent: bool = False


def interval_chart(title: str, rows: Sequence[Spread], *, mark: tuple[str, float] | None = None) -> Markup:
    """A dot and its interval a row, all on one scale; mark: a value to compare with, as a line, and its name."""
    drawn = [row for row in rows if math.isfinite(row.value)]
    if not drawn:
        return Markup("")
    ends = [end for row in drawn for end in (row.low, row.high, row.value)] + ([mark[1]] if mark else [])
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    low, high = low - 0.04 * span, high + 0.04 * span

    def place(value: float) -> float:
        return EDGE + (value - low) / (high - low) * (WIDTH - 2 * EDGE)

    body = []
    for number, row in enumerate(drawn):
        top = number * ROW
        kind = "s0" if row.accent else "s1"
        y = top + 27
        shown = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        body.append(
            f'<text class="label" x="2" y="{top + 15}">{escape(row.label)}</text>'
            f'<text class="figure" x="{WIDTH - 2}" y="{top + 15}" text-anchor="end">{shown}</text>'
            f'<line class="grid" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y}" y2="{y}"/>'
            f'<line class="line {kind}" x1="{place(row.low):.1f}" x2="{place(row.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {kind}" cx="{place(row.value):.1f}" cy="{y}" r="4"/>'
        )
        if mark:
            x = f"{place(mark[1]):.1f}"
            body.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>')
    keys = f'<span><i class="key mark"></i>{escape(mark[0])}</span>' if mark else ""
    return Markup(charts.framed(title, charts.drawing(title, ROW * len(drawn) + 4, body), keys))


def precision_recall_chart(points: Sequence[Sequence[float]]) -> Markup:
    """points: [recall, precision], recall rising."""
    line = [Series("precision", [(float(x), float(y)) for x, y in points])]
    return Markup(
        charts.line_chart("Precision at each recall", line, x_label="recall", y_label="precision", zero=False)
    )


def calibration_chart(bins: Sequence[Sequence[float]]) -> Markup:
    """bins: [mean probability, share that it was right of, items]."""
    held = [one for one in bins if one[2]]
    lines = [
        Series("observed", [(float(one[0]), float(one[1])) for one in held]),
        Series("perfect", [(0.0, 0.0), (1.0, 1.0)], dashed=True),
    ]
    return Markup(charts.line_chart("Calibration", lines, x_label="probability told", y_label="share of the positive"))


def learning_curve_chart(curve: Mapping[str, Any]) -> Markup:
    """What transfer buys: the metric over the number of examples, from the base and from random weights."""
    names = (("transfer", "from the base"), ("scratch", "from random weights"))
    lines = [
        Series(
            shown, [(point["examples"], point[kind]["value"]) for point in curve["points"]], dashed=kind != "transfer"
        )
        for kind, shown in names
    ]
    metric = str(curve["metric"]).upper() if curve["metric"] == "f1" else str(curve["metric"])
    return Markup(charts.line_chart("Learning curve", lines, x_label="training examples", y_label=metric))
