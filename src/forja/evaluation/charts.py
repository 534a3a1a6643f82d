"""Small charts as inline SVG: pure functions from numbers to strings, without script or outside style.

Colours are CSS variables (--ink, --muted, --grid, --series-0 ...), which the page sets for light, dark and
print. The drawing is 420 units wide, so that its text stays readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 420, 262
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 30, 40
MOST_POINTS, MOST_HINTS = 240, 48
ROW, NOTED_ROW = 38, 66
MOST_HIDDEN = 2.5
"""Units: what is narrower than that could not be seen."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: what the legend calls it, and its points in order of x. `dashed` sets it apart without colour."""

    label: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar: its label, its length, the figure written beside it, and whether it is the one to look at."""

    label: str
    value: float
    shown: str
    accent: bool = False


@dataclass(frozen=True)
class Mark:
    """A value to reach, as a line across every bar; its label goes into the legend."""

    label: str
    value: float


@dataclass(frozen=True)
class Narrowing:
    """A row of a funnel: how much is left after it, how much it took away, the figure beside it, a note below."""

    label: str
    left: float
    taken: float
    shown: str
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """From values in [low, high] to units in [start, end], linear or logarithmic, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        value, low, high = (math.log10(v) if self.log else v for v in (value, self.low, self.high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
) -> str:
    """A chart of lines with grid, ticks, a legend, and a hint with the figures over each point.

    Points that are not finite, or not positive on a logarithmic axis, are left out; `zero` keeps zero in sight.
    """
    drawn = [(index, one, _thin(_drawable(one.points, log_x, log_y))) for index, one in enumerate(series)]
    drawn = [(index, one, points) for index, one, points in drawn if points]
    if not drawn:
        return _figure(title, '<p class="none">Nothing was recorded.</p>', [])
    xs = [x for _, _, points in drawn for x, _ in points]
    ys = [y for _, _, points in drawn for _, y in points] + ([0.0] if zero and not log_y else [])
    across = _axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x, snug=True)
    up = _axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, log_y)
    body = [_grid(across, up, x_label, y_label)]
    for index, one, points in drawn:
        body.append(_line(index, one, points, across, up))
    for index, one, points in drawn:
        body += _hints(index, one, points, across, up, x_label)
    legend = [(index, one) for index, one, _ in drawn] if len(drawn) > 1 else []
    return _figure(title, _svg(title, HEIGHT, body), legend)


def bar_chart(title: str, bars: Sequence[Bar], *, log: bool = False, mark: Mark | None = None) -> str:
    """Horizontal bars, each under its label and figure. On a logarithmic scale they start at the decade below."""
    finite = [bar for bar in bars if math.isfinite(bar.value) and bar.value >= 0]
    largest = max((bar.value for bar in finite), default=0.0)
    if mark and largest > 0:
        largest = max(largest, mark.value)
    if largest <= 0:
        return _figure(title, '<p class="none">Nothing was recorded.</p>', [])
    smallest = min((bar.value for bar in finite if bar.value > 0), default=largest)
    floor = 10 ** math.floor(math.log10(smallest) - 0.1)

    def length(value: float) -> float:
        share = math.log(max(value, floor) / floor) / math.log(largest / floor) if log else value / largest
        return max(share * (WIDTH - 4), 1.5 if value > 0 else 0.0)

    body = [_bar_row(row, bar, length(bar.value)) for row, bar in enumerate(finite)]
    keys = ""
    if mark:
        body += [_mark(row, 2 + length(mark.value)) for row in range(len(finite))]
        keys = f'<span><i class="key mark"></i>{escape(mark.label)}</span>'
    return _figure(title, _svg(title, ROW * len(finite) + 4, body), [], keys)


def funnel_chart(title: str, rows: Sequence[Narrowing], *, taken: str) -> str:
    """Bars one below the other, each as long as what is left, with what was taken away in another colour at its end.

    taken: what the legend calls that. A row that took something away shows it, however little it is.
    """
    largest = max((row.left + row.taken for row in rows), default=0.0)
    if largest <= 0:
        return _figure(title, '<p class="none">Nothing was recorded.</p>', [])
    unit = (WIDTH - 4) / largest
    body, top = [], 0
    for row in rows:
        body.append(_narrowing(top, row, unit))
        top += NOTED_ROW if row.note else NOTED_ROW - 20
    keys = f'<span><i class="key taken"></i>{escape(taken)}</span>'
    return _figure(title, _svg(title, top, body), [], keys)


# --- parts ---------------------------------------------------------------------------------------


def framed(title: str, content: str, keys: str = "") -> str:
    """A chart that is drawn elsewhere, under its title; keys: its legend's markup."""
    return _figure(title, content, [], keys)


def drawing(title: str, height: float, body: Sequence[str]) -> str:
    """The SVG of a chart that is drawn elsewhere."""
    return _svg(title, height, body)


def plane(
    xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str, *, log_x: bool = False
) -> tuple[Axis, Axis, str]:
    """The axes around these values, across and up, and the grid's markup, of a chart that is drawn elsewhere."""
    across = _axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x, snug=True)
    up = _axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP, False)
    return across, up, _grid(across, up, x_label, y_label)


def _figure(title: str, content: str, legend: Sequence[tuple[int, Series]], keys: str = "") -> str:
    keys += "".join(
        f'<span><i class="key s{index % 4}{" dashed" if one.dashed else ""}"></i>{escape(one.label)}</span>'
        for index, one in legend
    )
    legend_html = f'<span class="legend">{keys}</span>' if keys else ""
    return f'<figure class="chart"><figcaption><b>{escape(title)}</b>{legend_html}</figcaption>{content}</figure>'


def _svg(title: str, height: float, body: Sequence[str]) -> str:
    inside = "\n".join(body)
    return f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{escape(title)}">\n{inside}\n</svg>'


def _grid(across: Axis, up: Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in up.ticks:
        y = _n(up.place(tick))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y}" dy="0.35em" text-anchor="end">{_tick(tick)}</text>')
    for tick in across.ticks:
        x = across.place(tick)
        near_end = x > right - 14
        anchor, shift = ("end", right) if near_end else ("middle", x)
        parts.append(f'<line class="grid" x1="{_n(x)}" x2="{_n(x)}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{_n(shift)}" y="{bottom + 17}" text-anchor="{anchor}">{_tick(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="name" x="{right}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text class="name" x="2" y="13">{escape(y_label)}</text>')
    return "\n".join(parts)


def _line(index: int, one: Series, points: Sequence[Point], across: Axis, up: Axis) -> str:
    places = [(across.place(x), up.place(y)) for x, y in points]
    style = f"s{index % 4}{' dashed' if one.dashed else ''}"
    if len(places) == 1:
        x, y = places[0]
        return f'<circle class="dot {style}" cx="{_n(x)}" cy="{_n(y)}" r="4"/>'
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
    return f'<polyline class="line {style}" points="{path}"/>'


def _hints(index: int, one: Series, points: Sequence[Point], across: Axis, up: Axis, x_label: str) -> list[str]:
    every = max(1, math.ceil(len(points) / MOST_HINTS))
    return [
        f'<circle class="hint s{index % 4}" cx="{_n(across.place(x))}" cy="{_n(up.place(y))}" r="7">'
        f"<title>{escape(one.label)}: {_value(y)} ({escape(x_label)} {_value(x)})</title></circle>"
        for x, y in points[::every]
    ]


def _bar_row(row: int, bar: Bar, length: float) -> str:
    top = ROW * row
    style = "bar accent" if bar.accent else "bar"
    return (
        f"<g>{_heading(top, bar.label, bar.shown)}"
        f'<rect class="rail" x="2" y="{top + 20}" width="{WIDTH - 4}" height="9" rx="2"/>'
        f'<rect class="{style}" x="2" y="{top + 20}" width="{_n(length)}" height="9" rx="2"/></g>'
    )


def _mark(row: int, x: float) -> str:
    top = ROW * row + 20
    return f'<line class="mark" x1="{_n(x)}" x2="{_n(x)}" y1="{top}" y2="{top + 13}"/>'


def _narrowing(top: int, row: Narrowing, unit: float) -> str:
    taken = max(row.taken * unit, MOST_HIDDEN if row.taken > 0 else 0.0)
    start = min(row.left * unit, WIDTH - 4 - taken)
    parts = [
        _heading(top, row.label, row.shown),
        f'<rect class="rail" x="2" y="{top + 21}" width="{WIDTH - 4}" height="11" rx="2"/>',
        f'<rect class="bar" x="2" y="{top + 21}" width="{_n(start)}" height="11" rx="2"/>',
    ]
    if row.taken > 0:
        parts.append(f'<rect class="taken" x="{_n(2 + start)}" y="{top + 21}" width="{_n(taken)}" height="11" rx="2"/>')
    if row.note:
        parts.append(f'<text class="note" x="2" y="{top + 48}">{escape(row.note)}</text>')
    return f"<g>{''.join(parts)}</g>"


def _heading(top: int, label: str, shown: str) -> str:
    """A row's label and figure, and both whole as a hint."""
    # Up to 8.2 units a character in wide typefaces; a longer label would run into the figure.
    room = int((WIDTH - 8) / 8.2) - len(shown)
    cut = label if len(label) <= room else label[: max(1, room - 1)] + "…"
    return (
        f"<title>{escape(label)}: {escape(shown)}</title>"
        f'<text class="label" x="2" y="{top + 14}">{escape(cut)}</text>'
        f'<text class="figure" x="{WIDTH - 2}" y="{top + 14}" text-anchor="end">{escape(shown)}</text>'
    )


# --- numbers -------------------------------------------------------------------------------------


def _drawable(points: Sequence[Point], log_x: bool, log_y: bool) -> list[Point]:
    return [
        (float(x), float(y))
        for x, y in points
        if math.isfinite(x) and math.isfinite(y) and (not log_x or x > 0) and (not log_y or y > 0)
    ]


def _thin(points: list[Point]) -> list[Point]:
    """At most MOST_POINTS, each the mean of its neighbours; the first and the last stay as they are."""
    if len(points) <= MOST_POINTS:
        return points
    inner, count = points[1:-1], MOST_POINTS - 2
    cuts = [round(part * len(inner) / count) for part in range(count + 1)]
    groups = [inner[a:b] for a, b in pairwise(cuts) if b > a]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [points[0], *means, points[-1]]


def _axis(low: float, high: float, start: float, end: float, log: bool, *, snug: bool = False) -> Axis:
    """An axis around [low, high]; `snug` ends exactly there, otherwise at the ticks around."""
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
    ticks = _log_ticks(low, high) if log else ()
    if not log or len(ticks) < 3:
        ticks = _linear_ticks(low, high, positive=log)
    if not snug:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    kept = tuple(tick for tick in ticks if low <= tick <= high * (1 + 1e-12))
    return Axis(low, high, start, end, log, kept)


def _linear_ticks(low: float, high: float, *, positive: bool = False, about: int = 5) -> tuple[float, ...]:
    raw = (high - low) / about
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1, 2, 2.5, 5, 10) if scale * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return tuple(tick for tick in ticks if tick > 0) if positive else ticks


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times powers of ten around [low, high]; only the powers where there would be too many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    below = max((tick for tick in ticks if tick <= low * (1 + 1e-9)), default=ticks[0])
    above = min((tick for tick in ticks if tick >= high * (1 - 1e-9)), default=ticks[-1])
    kept = tuple(tick for tick in ticks if below <= tick <= above)
    powers = tuple(10.0**power for power in range(first, last + 1))
    return kept if len(kept) <= 7 else powers


def _tick(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    return "0" if value == 0 else f"{value:.4g}"


def _value(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"


def _n(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
