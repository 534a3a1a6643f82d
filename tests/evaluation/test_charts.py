"""Charts are well-formed SVG whatever the figures, and say what the figures say."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.evaluation.charts import HEIGHT, WIDTH, Bar, Mark, Narrowing, Series, bar_chart, funnel_chart, line_chart

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
points = st.lists(st.tuples(numbers, numbers), max_size=30)


def parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def coordinates(chart: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for line in chart.iter("polyline") for pair in line.attrib["points"].split()]
    return [(float(x), float(y)) for x, y in pairs]


def tick_labels(chart: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in chart.iter("text") if "class" not in text.attrib]


@given(drawn=points, log_x=st.booleans(), log_y=st.booleans(), zero=st.booleans())
def test_any_points_give_a_well_formed_chart_inside_its_frame(
    drawn: list[tuple[float, float]], log_x: bool, log_y: bool, zero: bool
) -> None:
    chart = parse(line_chart("t", [Series("s", drawn)], x_label="x", y_label="y", log_x=log_x, log_y=log_y, zero=zero))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in coordinates(chart))
    assert not any(
        "nan" in value or "inf" in value for e in chart.iter() for k, value in e.attrib.items() if k != "class"
    )


@given(st.lists(st.tuples(st.text(max_size=80), numbers), max_size=12), st.booleans())
def test_any_bars_give_a_well_formed_chart(rows: list[tuple[str, float]], log: bool) -> None:
    shown = [Bar("".join(c for c in label if c.isprintable()), value, f"{value:g}") for label, value in rows]
    chart = parse(bar_chart("t", shown, log=log))
    assert all(0 <= float(bar.attrib["width"]) <= WIDTH for bar in chart.iter("rect"))


def test_bars_are_as_long_as_their_values() -> None:
    chart = parse(bar_chart("t", [Bar("a", 100, "100"), Bar("b", 25, "25", accent=True)]))
    widths = {bar.attrib["class"]: float(bar.attrib["width"]) for bar in chart.iter("rect")}
    assert widths["bar accent"] == pytest.approx(widths["bar"] / 4, abs=0.1)


@pytest.mark.parametrize("target", [25.0, 400.0])
def test_a_mark_stands_at_its_value_across_every_bar_and_in_the_legend(target: float) -> None:
    bars = [Bar("a", 100, "100"), Bar("b", target, "as marked")]
    chart = parse(bar_chart("t", bars, mark=Mark("<goal>", target)))
    ends = [float(bar.attrib["x"]) + float(bar.attrib["width"]) for bar in chart.iter("rect")]
    lines = [float(line.attrib["x1"]) for line in chart.iter("line")]
    assert lines == [pytest.approx(ends[3], abs=0.1)] * 2
    assert max(lines) <= WIDTH
    legend = next(span for span in chart.iter("span") if span.attrib.get("class") == "legend")
    assert list(legend.itertext()) == ["<goal>"]


def test_a_falling_loss_falls_and_a_legend_names_both_lines() -> None:
    loss = [(step, 10 / step) for step in range(1, 101)]
    chart = parse(
        line_chart("Loss", [Series("train", loss), Series("valid", loss[::10])], x_label="step", y_label="nats")
    )
    heights = [y for _, y in coordinates(chart)[:100]]
    assert heights == sorted(heights)  # y grows downwards
    legend = next(span for span in chart.iter("span") if span.attrib.get("class") == "legend")
    assert list(legend.itertext()) == ["train", "valid"]


def test_a_logarithmic_axis_has_ticks_at_round_numbers() -> None:
    wide = parse(line_chart("t", [Series("s", [(0, 0.5), (1, 2000)])], x_label="x", y_label="y", log_y=True))
    assert {"1", "10", "100", "1000"} <= set(tick_labels(wide))
    narrow = parse(line_chart("t", [Series("s", [(0, 3.1), (1, 9.4)])], x_label="x", y_label="y", log_y=True))
    assert len(tick_labels(narrow)) >= 5


def test_long_series_are_thinned_and_keep_their_ends() -> None:
    many = [(float(x), math.sin(x / 500)) for x in range(50_000)]
    chart = line_chart("t", [Series("s", many)], x_label="x", y_label="y")
    found = coordinates(parse(chart))
    assert len(chart) < 30_000
    assert found[0][0] < found[-1][0]
    assert found[-1][0] == WIDTH - 12


def test_hints_tell_the_figures() -> None:
    chart = parse(line_chart("t", [Series("train", [(1, 3.25), (2, 3.0)])], x_label="step", y_label="nats"))
    assert [title.text for title in chart.iter("title")] == ["train: 3.25 (step 1)", "train: 3 (step 2)"]


def test_labels_are_escaped_and_cut_where_they_would_not_fit() -> None:
    chart = bar_chart("<t>", [Bar("<script>alert(1)</script>" * 9, 1.0, "<1>")])
    assert "<script>" not in chart
    shown = next(text for text in parse(chart).iter("text")).text or ""
    assert shown.endswith("…")
    assert len(shown) < 60


@pytest.mark.parametrize("chart", [line_chart("t", [], x_label="x", y_label="y"), bar_chart("t", [Bar("a", 0, "0")])])
def test_a_chart_of_nothing_says_so(chart: str) -> None:
    assert "Nothing was recorded" in chart


amounts = st.integers(0, 10**12)
rows = st.builds(Narrowing, st.just("a"), amounts, amounts, st.just("1"), st.sampled_from(["", "note"]))


@given(st.lists(rows, max_size=8))
def test_any_funnel_is_well_formed_and_inside_its_frame(drawn: list[Narrowing]) -> None:
    chart = parse(funnel_chart("t", drawn, taken="left out"))
    for bar in chart.iter("rect"):
        assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= WIDTH + 0.2


def test_a_funnel_shows_what_a_step_takes_at_the_end_of_what_it_leaves() -> None:
    chart = parse(funnel_chart("t", [Narrowing("a", 100, 0, "100"), Narrowing("b", 75, 25, "-25")], taken="left out"))
    bars = [(bar.attrib["class"], float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in chart.iter("rect")]
    whole, left, taken = [bar for bar in bars if bar[0] != "rail"]
    assert left[2] == pytest.approx(0.75 * whole[2], abs=0.1)
    assert taken[0] == "taken"
    assert (taken[1], taken[2]) == (pytest.approx(left[1] + left[2], abs=0.1), pytest.approx(left[2] / 3, abs=0.1))


def test_a_funnel_shows_even_one_of_a_billion_and_escapes_what_it_says() -> None:
    chart = funnel_chart("<t>", [Narrowing("<b>", 10**9, 1, "<1>", "<note>")], taken="<out>")
    assert not any(raw in chart for raw in ("<t>", "<1>", "<note>", "<out>", "<b><"))
    taken = next(bar for bar in parse(chart).iter("rect") if bar.attrib["class"] == "taken")
    assert float(taken.attrib["width"]) >= 2
