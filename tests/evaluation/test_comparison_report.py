"""The page of two runs beside each other: real differences first, each with its interval, safe and readable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.made_results import classified, every_kind, figure, read, write_results
from evaluation.reading import Page
from evaluation.test_compare import answered, measured
from forja.errors import ForjaError
from forja.evaluation.compare import compare
from forja.evaluation.comparison_report import comparison_report
from forja.evaluation.task import TaskResult

RIGHTMOST = """Math.max(...[...document.querySelectorAll('td')].flatMap(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return [...range.getClientRects()].map(box => box.right);
}))"""
"""Where the texts of the tables end, in pixels: a box may be narrower than its text."""


def text_of(first: Path, second: Path, folder: Path) -> str:
    return Page(comparison_report(first, second, folder / "page.html").read_text()).text


def test_real_differences_come_first_with_their_intervals(tmp_path: Path) -> None:
    first, second = measured(tmp_path / "small", 2.0), measured(tmp_path / "large", 3.0, seed=1)
    rows = compare(first, second)
    real = [row for row in rows if row.real]
    text = text_of(first, second, tmp_path)
    assert f"Of {len(rows)} figures that both have, {len(real)} differ by more than chance: in large" in text
    f1 = next(row for row in rows if row.figure == "f1")
    by = f"{f1.difference.value:.3f}, which is better: {f1.second.value:.3f} after {f1.first.value:.3f}"
    told = f"Classification, F1 : higher in large by {by}"
    assert told in text
    assert f"(95% interval {f1.difference.low:+.3f} to {f1.difference.high:+.3f}, p < 0.001)" in text
    assert text.index(told) < text.index("Both runs told 500 items in common")
    assert text.count(", real") == len(real)


def test_what_is_lower_may_be_better_and_of_a_leaning_neither_is_said(tmp_path: Path) -> None:
    first, second = measured(tmp_path / "large", 3.0, seed=1), measured(tmp_path / "small", 2.0)
    for run, share in ((first, 0.5), (second, 0.7)):
        write_results(run, [TaskResult("bias-crows-pairs", "bias", 90, {"stereotype_share": figure(share, 0.01)}, {})])
    text = text_of(first, second, tmp_path)
    assert "Brier score : higher in small by" in text
    assert "F1 : lower in small by" in text
    assert "which is better" not in text
    listed = text[text.index("Bias: CrowS-Pairs, Stereotype the likelier") :]
    assert listed.split(":")[2].strip() == "higher in small by 0.200"
    real = [row for row in compare(first, second) if row.real]
    assert f"in small {len(real) - 1} worse, 1 neither." in text


def test_in_a_tasks_table_the_real_differences_come_first(tmp_path: Path) -> None:
    first, second = measured(tmp_path / "small", 2.0), measured(tmp_path / "large", 2.4, seed=1)
    rows = compare(first, second)
    assert {row.real for row in rows} == {True, False}  # or else this would test nothing
    html = comparison_report(first, second, tmp_path / "page.html").read_text()
    marks = [", real" in row for row in html.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]]
    assert marks == sorted(marks, reverse=True)


def test_where_nothing_differs_that_is_said_and_nothing_is_listed(tmp_path: Path) -> None:
    run = measured(tmp_path / "small", 2.0)
    text = text_of(run, run, tmp_path)
    assert "that both have differs by more than chance" in text
    assert "Differences that are real" not in text
    assert ", real" not in text


def test_runs_of_other_items_are_said_to_share_none(tmp_path: Path) -> None:
    first, second = measured(tmp_path / "a", 2.0), measured(tmp_path / "b", 4.0, seed=1, first=1000)
    assert "The runs share no items here" in text_of(first, second, tmp_path)


def test_a_perplexity_does_not_flatten_the_chart_of_shares(tmp_path: Path) -> None:
    first, second = (write_results(tmp_path / name, [classified(), read()]) for name in ("a", "b"))
    html = comparison_report(first, second, tmp_path / "page.html").read_text()
    language = html[html.index("<h2>Language</h2>") :]
    assert "Perplexity" in language
    assert "<svg" not in language
    assert "<svg" in html


def test_only_tasks_that_both_have_are_told(tmp_path: Path) -> None:
    first = measured(tmp_path / "a", 2.0)
    answered(first, "cyber-knowledge", np.arange(50) % 2)
    assert "Cyber knowledge" not in text_of(first, measured(tmp_path / "b", 2.0, seed=1), tmp_path)


def test_a_run_without_evaluation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ForjaError, match="no evaluation task"):
        comparison_report(measured(tmp_path / "a", 2.0), tmp_path / "empty", tmp_path / "page.html")


def test_hostile_names_are_shown_and_never_run(tmp_path: Path) -> None:
    first, second = measured(tmp_path / "<img src=x>", 2.0), measured(tmp_path / "<script>", 4.0, seed=1)
    html = comparison_report(first, second, tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "<img src=x> and <script>" in Page(html).text


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_comparison_whole(
    look: Callable[[Path, int, str], Any], tmp_path: Path, width: int
) -> None:
    runs = [write_results(tmp_path / (name * 3), every_kind()) for name in ("first-of-a-long-name", "second")]
    write_results(runs[1], [classified(seed=9)])
    page = look(comparison_report(*runs, tmp_path / "page.html"), width, "light")
    assert page.evaluate(RIGHTMOST) <= page.evaluate("document.querySelector('h1').getBoundingClientRect().right") + 1
    assert page.locator("h2").count() >= 10
