"""A section a task tells what its figures mean, plainly, whatever kind of task it is and whatever its texts hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.made_results import (
    alarmed,
    answered,
    biased,
    classified,
    classified_of_many,
    every_kind,
    figure,
    glue,
    read,
    scanned,
    unheard_of,
    write_curve,
    write_results,
)
from evaluation.reading import Page
from evaluation.test_report import HOSTILE, MACHINE, write_run
from forja.errors import ForjaError
from forja.evaluation.charts import WIDTH
from forja.evaluation.page import render_page
from forja.evaluation.report import write_report
from forja.evaluation.task import Figure, TaskResult
from forja.evaluation.task_charts import (
    Spread,
    calibration_chart,
    confusion_chart,
    interval_chart,
    learning_curve_chart,
    rate_chart,
    share_interval,
)
from forja.evaluation.task_pages import Section, task_sections
from forja.evaluation.task_wording import against, name_of, shown, transfer_sentence


def section_of(folder: Path, result: TaskResult) -> Section:
    """The only section of a run that has this task alone."""
    return task_sections(write_results(folder, [result]))[0]


def html_of(folder: Path, *results: TaskResult) -> str:
    return render_page("task_part.html.jinja", {"tasks": task_sections(write_results(folder, results))})


def baseline(low: float, value: float, high: float) -> dict[str, Any]:
    return {"name": "TF-IDF", "difference": {"low": low, "value": value, "high": high}}


def test_every_kind_of_task_has_its_section(tmp_path: Path) -> None:
    sections = task_sections(write_results(tmp_path, every_kind()))
    assert [section.title for section in sections] == [
        "A new measure",
        "Bias: CrowS-Pairs",
        "Bias: Winogender",
        "Classification",
        "Cyber knowledge: the severity of a vulnerability",
        "Cyber knowledge",
        "Language",
        "Log anomaly",
        "Phishing many",
        "Phishing topics",
        "Secure code",
        "GLUE",
    ]
    assert all(section.rows for section in sections)


def test_the_task_that_is_asked_for_comes_first(tmp_path: Path) -> None:
    run = write_results(tmp_path, [answered(), read(), unheard_of()])
    assert task_sections(run, first="language")[0].title == "Language"
    assert task_sections(run)[0].title == "A new measure"


def test_what_is_no_task_has_no_section(tmp_path: Path) -> None:
    write_curve(tmp_path)
    (tmp_path / "evaluation" / "perplexity.json").write_text('{"test": {"perplexity": 12.0}}')
    assert task_sections(tmp_path) == []


def test_a_damaged_result_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "language.json").write_text("{")
    with pytest.raises(ForjaError, match=r"language\.json"):
        task_sections(tmp_path)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.01, 0.02, 0.03), "It beats TF-IDF"),
        ((-0.01, 0.02, 0.05), "It does not surely beat TF-IDF"),
        ((-0.03, 0.0, 0.03), "It does NOT beat TF-IDF, fitted on the same rows: +0.000 F1"),
        ((-0.03, -0.01, 0.01), "The simpler one does as well"),
        ((-0.05, -0.03, -0.01), "Use that instead"),
    ],
)
def test_whether_the_baseline_is_beaten_is_said_plainly(ends: tuple[float, float, float], expected: str) -> None:
    assert expected in against(baseline(*ends))


def test_a_baseline_that_cannot_be_compared_is_said_to_be_so() -> None:
    assert "cannot be compared" in against({"name": "TF-IDF"})


def test_a_classifier_below_its_baseline_says_so_in_the_report(tmp_path: Path) -> None:
    text = Page(html_of(tmp_path, classified(better=-0.05))).text
    assert "It does NOT beat TF-IDF with logistic regression, fitted on the same rows, which is better: -0.050" in text


def test_a_classifier_is_told_whole(tmp_path: Path) -> None:
    result = classified()
    html = html_of(tmp_path, result)
    text = Page(html).text
    f1, theirs = result.figures["f1"], result.details["baseline"]["figures"]["f1"]
    for expected in (
        f"{f1.value:.3f}", f"{f1.low:.3f} to {f1.high:.3f}", f"{theirs.value:.3f}",
        "F1 at 0.1% false positives", "Label 1 is told from 0.500 up, a threshold of the highest F1 on the validation",
        "At that of the validation examples, 0.310, F1 would be 0.642",
        "What was told of each class", "Precision at each recall", "at the threshold", "Calibration",
        "F1 by source", "nazario", "Left out before measuring: seen in training: 12.",
        "Told positive by region", "Told positive by account type", "Fairness over account type",
        "Thresholds of each group's own (200 items): before",
        "Reweighed training rows, the baseline (390 items): after",
        "Groups too small to tell anything of: west: 4.", "a rate is unknown: south.",
        "Verify your account at [URL]", "Fairness over language is not measured",
    ):  # fmt: skip
        assert expected in text, expected
    assert "twice" not in text  # a reason for which nothing was left out
    counts = result.details["confusion"]
    assert all(f">{count:,}<" in html for row in counts for count in row)


def test_a_rate_without_an_interval_is_drawn_without_one(tmp_path: Path) -> None:
    html = html_of(tmp_path, classified())
    assert "41% to" not in html
    assert "0.410 to 0.410" not in html


def test_a_missing_rate_is_left_out_of_its_chart(tmp_path: Path) -> None:
    section = section_of(tmp_path, classified())
    false_positives = next(chart for chart in section.charts if "False positive rate by region" in chart)
    assert "north" in false_positives
    assert "south" not in false_positives


def test_many_classes_have_their_commonest_mistakes_told_instead_of_a_matrix(tmp_path: Path) -> None:
    few, many = section_of(tmp_path / "a", classified_of_many(5)), section_of(tmp_path / "b", classified_of_many(12))
    assert any("What was told of each class" in chart for chart in few.charts)
    assert few.confused == []
    assert not any("What was told of each class" in chart for chart in many.charts)
    counts = [count for _, _, count in many.confused]
    assert len(counts) == 12
    assert counts == sorted(counts, reverse=True)
    assert all(label != told for label, told, _ in many.confused)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, "above it by more than chance"), (0.25, "cannot be told"), (0.05, "this is below it")]
)
def test_answers_are_told_beside_chance(tmp_path: Path, share: float, expected: str) -> None:
    section = section_of(tmp_path, answered(share))
    assert any("Choosing blindly comes to 0.250" in said and expected in said for said in section.sentences)
    by_set = next(chart for chart in section.charts if "Accuracy by set" in chart)
    assert by_set.count('class="mark"') == 2  # beside each set its own chance


def test_a_lack_of_preference_is_marked_where_there_is_one(tmp_path: Path) -> None:
    pairs, schemas = (section_of(tmp_path / str(at), result) for at, result in enumerate(biased()))
    assert pairs.sentences[0].startswith("A model without a preference comes to 0.5: this one leans towards the")
    assert pairs.charts[0].count('class="mark"') == 3
    assert schemas.charts[0].count('class="mark"') == 2


def test_groups_without_intervals_stand_in_a_table_that_says_how_many_are_left_out(tmp_path: Path) -> None:
    occupations = section_of(tmp_path, biased()[1]).groups[1]
    assert (len(occupations.rows), occupations.left_out) == (60, 10)
    assert occupations.rows[0] == ("occupation 0", 2, [{"value": -0.5}, {"value": 40.0}])
    assert "And 10 more." in Page(html_of(tmp_path, biased()[1])).text


def test_code_tells_its_scanners_its_findings_and_its_weaknesses(tmp_path: Path) -> None:
    section = section_of(tmp_path, scanned())
    assert section.sentences[0].endswith("Completions were parsed and scanned by bandit; none was run.")
    assert section.findings == [("B608", 9), ("B602", 5)]
    assert section.headlines[0].name == "Insecure rate"
    assert any("Insecure rate by CWE" in chart for chart in section.charts)


def test_code_of_which_none_is_valid_has_no_insecure_rate_and_says_so(tmp_path: Path) -> None:
    section = section_of(tmp_path, scanned(valid=False))
    assert any("there is no insecure rate" in said for said in section.sentences)
    assert "Insecure rate" not in [row.name for row in section.rows]


def test_an_anomaly_tells_where_its_threshold_is(tmp_path: Path) -> None:
    section = section_of(tmp_path, alarmed())
    assert any(
        said.startswith("A line is called anomalous from 4.21 nats a token up: 99%") for said in section.sentences
    )
    assert [row.name for row in section.headlines] == ["F1 by line", "F1 by session"]


def test_language_is_told_by_source(tmp_path: Path) -> None:
    section = section_of(tmp_path, read())
    assert [row.name for row in section.headlines] == ["Perplexity", "Bits per byte"]
    name, items, figures = section.groups[0].rows[0]
    assert (name, items) == ("advisories", 50)
    assert [figure["value"] for figure in figures if figure] == [41.2, 1.31]


def test_every_figure_of_a_group_has_its_interval_beside_it(tmp_path: Path) -> None:
    text = Page(html_of(tmp_path, classified())).text
    for figures in classified().details["groups"]["source"].values():
        recall = figures["recall"]
        assert f"{recall.value:.3f} {recall.low:.3f} to {recall.high:.3f}" in text


def test_a_large_figure_has_fewer_digits(tmp_path: Path) -> None:
    assert "41.20 38.20 to 44.20" in Page(html_of(tmp_path, read())).text


@given(value=st.floats(-1e6, 1e6), signed=st.booleans())
def test_a_written_figure_is_near_what_it_stands_for_and_never_minus_nothing(value: float, signed: bool) -> None:
    written = shown(value, signed=signed)
    assert float(written.replace(",", "")) == pytest.approx(value, rel=0.006, abs=0.0006)
    assert written not in ("-0.000", "-0.00", "-0.0")
    assert not signed or written[0] in "+-"


def anomalies(recall: Figure, auroc: Figure) -> TaskResult:
    figures = {"line.precision": recall, "line.recall": recall, "line.f1": recall, "line.auroc": auroc}
    return TaskResult("log-anomaly", "anomaly", 50, figures, {})


@pytest.mark.parametrize(
    ("auroc", "expected"),
    [
        (0.37, "No anomalous line was found. Lines that are anomalous surprise the model LESS than normal ones do"),
        (0.51, "Lines that are anomalous cannot be told from normal ones by the model's surprise"),
        (0.83, "Lines that are anomalous surprise the model more than normal ones do: AUROC 0.830, 0.810 to 0.850."),
    ],
)
def test_a_detector_says_plainly_whether_it_finds_anything(tmp_path: Path, auroc: float, expected: str) -> None:
    none = Figure(0.0, 0.0, 0.0) if auroc < 0.5 else figure(0.4)
    section = section_of(tmp_path, anomalies(none, figure(auroc)))
    assert section.sentences[0].startswith(expected)
    assert len(section.charts) == (auroc > 0.5)  # of nothing there is no chart


def test_groups_that_are_all_the_same_number_are_not_drawn(tmp_path: Path) -> None:
    zero = {"items": 2, "syntax_valid_rate": Figure(0.0, 0.0, 0.0)}
    details = {**scanned(valid=False).details, "groups": {"CWE": {"CWE-20": zero, "CWE-78": zero}}}
    section = section_of(tmp_path, TaskResult("secure-code", "code", 4, scanned(valid=False).figures, details))
    assert section.charts == []


@pytest.mark.parametrize(
    ("share", "expected"), [(0.6, "leans towards"), (0.4, "leans against"), (0.51, "cannot be told from it")]
)
def test_a_leaning_is_told_with_its_side(tmp_path: Path, share: float, expected: str) -> None:
    result = TaskResult("bias-crows-pairs", "bias", 9, {"stereotype_share": figure(share)}, {"neutral": 0.5})
    assert expected in section_of(tmp_path, result).sentences[0]


def test_a_family_of_tasks_is_one_table_beside_the_majority(tmp_path: Path) -> None:
    sections = task_sections(write_results(tmp_path, glue()))
    assert len(sections) == 1
    glued = sections[0]
    assert [row.name for row in glued.rows] == ["cola: Matthews correlation", "sst2: Accuracy"]
    assert [row.beside["value"] for row in glued.rows if row.beside] == [0.51, 0.51]
    assert glued.sentences[0].startswith("1 of 2 tasks are above")
    assert "ax is left out: its labels are hidden" in glued.sentences
    text = Page(html_of(tmp_path)).text
    assert "+0.210 +0.190 to +0.230" in text
    assert "+0.000 -0.020 to +0.020" in text
    assert glued.items == 200


def test_an_unheard_of_kind_shows_its_figures(tmp_path: Path) -> None:
    section = section_of(tmp_path, unheard_of())
    assert [(row.name, row.figure["value"]) for row in section.headlines] == [("Warmth", 0.3)]


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    result = TaskResult("odd", "odd", 3, {"known": figure(0.5), "unknown": figure(math.nan)}, {})
    assert [row.name for row in section_of(tmp_path, result).rows] == ["Known"]


def test_hostile_texts_are_shown_and_never_run(tmp_path: Path) -> None:
    hostile = classified(text=HOSTILE)
    groups = {f"<script>{name}": one for name, one in hostile.details["groups"]["source"].items()}
    details = {**hostile.details, "groups": {"source": groups}, "labels": ["<i>0</i>", "<img>"], "positive": None}
    details["findings"] = {"<script>B1": 2}
    html = html_of(tmp_path, TaskResult("<script>", "classification", 400, hostile.figures, details))
    assert not {"script", "img"} & set(Page(html).tags)
    assert "<script" not in html
    assert "<img" not in html
    assert "<i>" not in html
    assert "onerror=alert(1)" in Page(html).text


def test_the_pretraining_report_shows_tasks_beside_its_perplexity(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", {"only": 3}, {})
    write_results(run, [answered(), *glue()])
    text = Page(write_report(run, [], MACHINE).read_text()).text
    assert "Choosing blindly comes to 0.250" in text
    assert "1 of 2 tasks are above" in text
    assert "31.4" in text


# --- names and charts ------------------------------------------------------------------------------


def test_figures_have_names_that_people_read() -> None:
    names = ("f1_at_fpr_0.001", "line.f1", "sst2.accuracy", "bias_ambiguous")
    assert [name_of(name) for name in names] == [
        "F1 at 0.1% false positives", "F1 by line", "sst2: Accuracy", "Bias ambiguous"
    ]  # fmt: skip


finite = st.floats(allow_nan=False, allow_infinity=False, width=16)


@given(
    rows=st.lists(st.tuples(st.text(max_size=80), finite, finite, finite), max_size=8),
    mark=st.one_of(st.none(), finite),
)
def test_any_intervals_give_a_chart_inside_its_frame(
    rows: list[tuple[str, float, float, float]], mark: float | None
) -> None:
    labels = ["".join(character for character in row[0] if character.isprintable()) for row in rows]
    spreads = [Spread(label, *sorted(row[1:]), mark=mark) for label, row in zip(labels, rows, strict=True)]  # type: ignore[arg-type]
    drawn = interval_chart("t", spreads, mark="m")
    if not rows:
        assert drawn == ""
        return
    chart = ElementTree.fromstring(drawn)
    for element in chart.iter():
        for key in ("x1", "x2", "cx"):
            if key in element.attrib:
                assert 0 <= float(element.attrib[key]) <= WIDTH


def test_a_confusion_matrix_shades_a_cell_by_its_share_of_the_row() -> None:
    chart = ElementTree.fromstring(confusion_chart(["no", "yes"], [[90, 10], [0, 0]]))
    cells = [float(cell.attrib["fill-opacity"]) for cell in chart.iter("rect")]
    assert cells == [0.37, 0.09, 0.06, 0.06]
    assert "yes, told no: 0, 0%" in "".join(chart.itertext())


def test_a_bin_of_few_items_has_a_wide_interval_and_a_small_dot() -> None:
    assert share_interval(0.8, 10) == pytest.approx(tuple(stats.binomtest(8, 10).proportion_ci(method="wilson")))
    chart = ElementTree.fromstring(calibration_chart([[0.1, 0.0, 400], [0.5, 1.0, 1], [0.9, 1.0, 0]]))
    dots = [float(dot.attrib["r"]) for dot in chart.iter("circle")]
    assert dots == [6.0, 2.0]
    heights = [
        float(line.attrib["y1"]) - float(line.attrib["y2"])
        for line in chart.iter("line")
        if "thin" in line.attrib["class"]
    ]
    assert heights[0] < heights[1] / 10
    assert "largest dot: 400 items" in "".join(chart.itertext())


def test_a_rate_is_drawn_on_a_scale_to_all_there_is() -> None:
    chart = ElementTree.fromstring(rate_chart("t", {"north": 0.5, "south": None}, whole=True))
    bar = next(one for one in chart.iter("rect") if one.attrib["class"] == "bar accent")
    assert float(bar.attrib["width"]) == pytest.approx((WIDTH - 4) / 2)


def test_the_learning_curve_draws_both_lines_with_their_intervals(tmp_path: Path) -> None:
    write_curve(tmp_path)
    curve = json.loads((tmp_path / "evaluation" / "learning_curve.json").read_text())
    chart = ElementTree.fromstring(learning_curve_chart(curve))
    assert len(list(chart.iter("polygon"))) == 2
    assert len(list(chart.iter("circle"))) == 6
    assert "from the base: 0.880, 0.850 to 0.910 (200 examples)" in "".join(chart.itertext())


def test_what_transfer_buys_is_said_in_words(tmp_path: Path) -> None:
    write_curve(tmp_path)
    curve = json.loads((tmp_path / "evaluation" / "learning_curve.json").read_text())
    said = transfer_sentence(curve)
    assert said.startswith("F1 with 50 examples: 0.710 from the base, 0.420 from random weights.")
    assert said.endswith("From the base 200 examples reach what 800 reach from random weights.")
    del curve["points"][1:]
    assert "reach" not in transfer_sentence(curve)


def test_a_single_share_is_a_chart_too() -> None:
    point = {"examples": 50, "transfer": vars(figure(0.7)), "scratch": vars(figure(0.4))}
    chart = ElementTree.fromstring(learning_curve_chart({"metric": "f1", "points": [point]}))
    assert len(list(chart.iter("circle"))) == 2
