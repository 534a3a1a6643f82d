"""The charts of evaluation tasks: figures with their intervals, a classifier's curves and mistakes, transfer.

Chart functions give markup whose texts are escaped, and nothing where there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from forja.evaluation import charts
from forja.evaluation.charts import ROW, WIDTH, Axis, Bar, Mark, Series
from forja.evaluation.task_wording import shown
from forja.evaluation.wording import percent

EDGE = 6
WIDE = 8.2
"""Units a character, at most, in wide typefaces."""
CELL, WIDEST, CORNER, HEAD = 46, 120, 110, 34
MOST_CLASSES = 7
"""Classes of a confusion matrix that still fit the drawing."""
LEAST_DOT, LARGEST_DOT = 2.0, 6.0
"""Radii: a larger dot would cover the figures at the axes."""
Z = 1.959964
"""Standard errors from a share to the end of its 95% interval."""


@dataclass(frozen=True)
class Spread:
    """A row of an interval chart: its label, the figure, the ends of its interval, a value of its own to compare with,
    and whether it is one to look at."""

    label: str
    value: float
    low: float
    high: float
    mark: float | None = None
    accent: bool = True


def interval_chart(title: str, rows: Sequence[Spread], *, mark: str = "") -> Markup:
    """A dot and its interval a row, all on one scale. mark: what the rows' own values to compare with are called."""
    drawn = [row for row in rows if all(map(math.isfinite, (row.value, row.low, row.high)))]
    if not drawn:
        return Markup("")
    marks = [row.mark for row in drawn if row.mark is not None]
    ends = [*marks, *(end for row in drawn for end in (row.low, row.high, row.value))]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low) or 0.5
    low, high = low - room, high + room

    def place(value: float) -> str:
        return f"{EDGE + (value - low) / (high - low) * (WIDTH - 2 * EDGE):.1f}"

    body = []
    for number, row in enumerate(drawn):
        y, kind = number * ROW + 27, "s0" if row.accent else "s1"
        body.append(
            f"{_heading(number * ROW, row)}"
            f'<line class="grid" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y}" y2="{y}"/>'
            f'<line class="line {kind}" x1="{place(row.low)}" x2="{place(row.high)}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {kind}" cx="{place(row.value)}" cy="{y}" r="4"/>'
        )
        if row.mark is not None:
            x = place(row.mark)
            body.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>')
    keys = f'<span><i class="key mark"></i>{escape(mark)}</span>' if mark and marks else ""
    return Markup(charts.framed(title, charts.drawing(title, ROW * len(drawn) + 4, body), keys))


def _heading(top: int, row: Spread) -> str:
    """Label, figure and interval; a label too long is cut, and whole in the hint."""
    value, interval = shown(row.value), f"{shown(row.low, row.value)} to {shown(row.high, row.value)}"
    room = int((WIDTH - 8 - WIDE * (len(value) + len(interval) + 1)) / WIDE)
    cut = row.label if len(row.label) <= room else row.label[: room - 1] + "…"
    return (
        f"<g><title>{escape(row.label)}: {value}, {interval}</title>"
        f'<text class="label" x="2" y="{top + 15}">{escape(cut)}</text>'
        f'<text x="{WIDTH - 2}" y="{top + 15}" text-anchor="end">'
        f'<tspan class="figure">{value}</tspan> {interval}</text></g>'
    )


# --- a classifier's ------------------------------------------------------------------------------


def precision_recall_chart(
    points: Sequence[Sequence[float]], *, chosen: tuple[float, float] | None = None, share: float | None = None
) -> Markup:
    """points: [recall, precision], recall rising; chosen: those at the threshold; share: of positives among the items,
    which is the precision of telling at random."""
    lines = [Series("this classifier", [(float(x), float(y)) for x, y in points])]
    if chosen:
        lines.append(Series("at the threshold", [chosen]))
    if share is not None:
        lines.append(Series("at random", [(0.0, share), (1.0, share)], dashed=True))
    return Markup(charts.line_chart("Precision at each recall", lines, x_label="recall", y_label="precision"))


def calibration_chart(bins: Sequence[Sequence[float]]) -> Markup:
    """bins: [mean probability, share that it was right of, items]. A dot's area is that of its items, and the line
    through it Wilson's 95% interval of the share (Wilson 1927): of few items a bin tells little."""
    held = [(float(x), float(y), int(items)) for x, y, items in bins if items]
    if not held:
        return Markup("")
    title = "Calibration"
    across, up, grid = charts.plane((0.0, 1.0), (0.0, 1.0), "probability told", "share that it was right of")
    most = max(items for _, _, items in held)
    perfect = f"{across.place(0):.1f},{up.place(0):.1f} {across.place(1):.1f},{up.place(1):.1f}"
    body = [grid, f'<polyline class="line s1 dashed" points="{perfect}"/>']
    for x, y, items in held:
        low, high = share_interval(y, items)
        place, radius = f"{across.place(x):.1f}", max(LEAST_DOT, LARGEST_DOT * math.sqrt(items / most))
        body.append(
            f"<g><title>{items:,} items told {x:.3f}, right of {y:.3f}, {low:.3f} to {high:.3f}</title>"
            f'<line class="line thin s0" x1="{place}" x2="{place}" y1="{up.place(low):.1f}" y2="{up.place(high):.1f}"/>'
            f'<circle class="dot s0" cx="{place}" cy="{up.place(y):.1f}" r="{radius:.1f}"/></g>'
        )
    keys = (
        '<span><i class="key s0"></i>observed, with its interval</span>'
        '<span><i class="key s1 dashed"></i>perfect</span>'
        f"<span>largest dot: {most:,} items</span>"
    )
    return Markup(charts.framed(title, charts.drawing(title, charts.HEIGHT, body), keys))


def share_interval(share: float, items: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share of so many items (Wilson 1927, JASA 22)."""
    middle = share + Z * Z / (2 * items)
    half = Z * math.sqrt(share * (1 - share) / items + (Z / (2 * items)) ** 2)
    whole = 1 + Z * Z / items
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def confusion_chart(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """counts: [[true label's, by told label]]. A cell is as dark as its share of its row, and mistakes of another
    colour. For MOST_CLASSES at most."""
    title = "What was told of each class"
    wide = min(WIDEST, (WIDTH - CORNER) // len(labels))
    body = [f'<text x="2" y="{HEAD - 8}">truly / told</text>']
    told = [f"told {label}" for label in labels]
    if any(len(one) > wide / WIDE for one in told):
        told = list(labels)
    for column, one in enumerate(told):
        body.append(_centred(CORNER + wide * (column + 0.5), HEAD - 8, _cut(one, wide), one))
    for row, label in enumerate(labels):
        top, of_row = HEAD + row * CELL, sum(counts[row])
        body.append(
            f'<text class="label" x="2" y="{top + CELL / 2 + 4}">{escape(_cut(label, CORNER - 8))}'
            f"<title>{escape(label)}</title></text>"
        )
        for column, count in enumerate(counts[row]):
            share = count / of_row if of_row else 0.0
            kind = "s1" if row == column else "s0"
            x = CORNER + wide * column
            body.append(
                f'<rect class="cell {kind}" x="{x}" y="{top}" width="{wide - 3}" height="{CELL - 3}" rx="3" '
                f'fill-opacity="{0.06 + 0.34 * share:.2f}"><title>{escape(label)}, told {escape(labels[column])}: '
                f"{count:,}, {percent(share)}</title></rect>"
            )
            body.append(_centred(x + (wide - 3) / 2, top + 20, f"{count:,}", kind="figure"))
            body.append(_centred(x + (wide - 3) / 2, top + 36, percent(share)))
    return Markup(charts.framed(title, charts.drawing(title, HEAD + CELL * len(labels), body)))


def _centred(x: float, y: float, text: str, hint: str = "", *, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    told = f"<title>{escape(hint)}</title>" if hint and hint != text else ""
    return f'<text{style} x="{x:.1f}" y="{y}" text-anchor="middle">{escape(text)}{told}</text>'


def _cut(text: str, units: float) -> str:
    room = int(units / WIDE)
    return text if len(text) <= room else text[: max(1, room - 1)] + "…"


def rate_chart(title: str, rates: Mapping[str, float | None], *, whole: bool) -> Markup:
    """Bars of shares by group, of groups that have one. whole: on a scale to all there is, or else to the largest."""
    bars = [Bar(group, rate, percent(rate), True) for group, rate in rates.items() if rate is not None]
    mark = Mark("all of them", 1.0) if whole else None
    return Markup(charts.bar_chart(title, bars, mark=mark)) if bars else Markup("")


# --- transfer ------------------------------------------------------------------------------------


def learning_curve_chart(curve: Mapping[str, Any]) -> Markup:
    """What transfer buys: the metric with its interval over the number of examples, from the base and from random
    weights."""
    points = curve["points"]
    if not points:
        return Markup("")
    names = (("transfer", "from the base", ""), ("scratch", "from random weights", " dashed"))
    metric = "F1" if curve["metric"] == "f1" else str(curve["metric"])
    title = f"{metric} by the number of training examples"
    examples = [point["examples"] for point in points]
    ends = [point[kind][end] for point in points for kind, _, _ in names for end in ("low", "high", "value")]
    across, up, grid = charts.plane(
        examples, ends, "training examples", metric, log_x=max(examples) > 8 * min(examples)
    )
    body, keys = [grid], ""
    for number, (kind, called, style) in enumerate(names):
        body += _curve(f"s{number}{style}", called, [(point["examples"], point[kind]) for point in points], across, up)
        keys += f'<span><i class="key s{number}{style}"></i>{called}</span>'
    return Markup(charts.framed(title, charts.drawing(title, charts.HEIGHT, body), keys))


def _curve(
    style: str, called: str, points: Sequence[tuple[float, Mapping[str, float]]], across: Axis, up: Axis
) -> list[str]:
    """A line through the figures, over a band from end to end of their intervals."""
    middle = [f"{across.place(x):.1f},{up.place(one['value']):.1f}" for x, one in points]
    above = [f"{across.place(x):.1f},{up.place(one['high']):.1f}" for x, one in points]
    below = [f"{across.place(x):.1f},{up.place(one['low']):.1f}" for x, one in points]
    return [
        f'<polygon class="band {style}" points="{" ".join([*above, *reversed(below)])}"/>',
        f'<polyline class="line {style}" points="{" ".join(middle)}"/>',
        *(
            f"<g><title>{called}: {one['value']:.3f}, {one['low']:.3f} to {one['high']:.3f} ({x:,.0f} examples)</title>"
            f'<circle class="dot {style}" cx="{across.place(x):.1f}" cy="{up.place(one["value"]):.1f}" r="3.5"/></g>'
            for x, one in points
        ),
    ]
