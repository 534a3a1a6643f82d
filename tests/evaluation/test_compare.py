"""Two runs are told apart by more than chance, in pairs where they were given the same items."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from forja.errors import ForjaError
from forja.evaluation.bootstrap import intervals
from forja.evaluation.compare import compare, holm
from forja.evaluation.scores import binary_figures, multiclass_figures
from forja.evaluation.task import Figure, TaskResult, write_result


def labels_of(items: int) -> np.ndarray:
    return (np.random.default_rng(9).random(items) < 0.4).astype(np.int64)


def measured(run: Path, strength: float, *, items: int = 500, seed: int = 0, first: int = 0) -> Path:
    """A classifier of this strength, whose noise is mostly shared with every other that has another seed."""
    labels = labels_of(items)
    shared, own = np.random.default_rng(1).normal(size=items), np.random.default_rng(seed + 10).normal(size=items)
    probability = 1 / (1 + np.exp(-(strength * (labels - 0.5) + shared + 0.2 * own)))
    figures = binary_figures(labels, probability, 0.5, 0)
    rows = [
        {"id": f"mail-{first + place}", "label": str(label), "told": str(int(score >= 0.5)), "score": float(score)}
        for place, (label, score) in enumerate(zip(labels, probability, strict=True))
    ]
    result = TaskResult("classification", "classification", items, figures, {"positive": "1"}, rows)
    write_result(result, run / "evaluation")
    return run


def answered(run: Path, task: str, correct: np.ndarray, *, predictions: bool = True) -> Path:
    figures = intervals(len(correct), {"accuracy": lambda places: float(correct[places].mean())})
    rows = [{"id": str(place), "correct": bool(right)} for place, right in enumerate(correct)] if predictions else []
    write_result(TaskResult(task, "multiple-choice", len(correct), figures, {}, rows), run / "evaluation")
    return run


def test_the_better_of_two_runs_is_told_in_pairs(tmp_path: Path) -> None:
    rows = {row.figure: row for row in compare(measured(tmp_path / "a", 2.0), measured(tmp_path / "b", 3.0, seed=1))}
    f1 = rows["f1"]
    assert f1.items == 500
    assert f1.difference.value == pytest.approx(f1.second.value - f1.first.value)
    assert f1.difference.low > 0
    assert f1.real
    assert "higher in b, and the difference is real" in f1.sentence
    assert rows["brier"].real
    assert "lower in b" in rows["brier"].sentence
    # Far narrower than two intervals alone would tell.
    assert f1.difference.high - f1.difference.low < f1.first.high - f1.first.low


def test_two_runs_as_good_as_each_other_differ_by_chance(tmp_path: Path) -> None:
    rows = compare(measured(tmp_path / "a", 2.5), measured(tmp_path / "b", 2.5, seed=4))
    assert rows
    assert not any(row.real for row in rows)
    assert all("chance" in row.sentence or "no difference" in row.sentence for row in rows)


def test_a_run_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    run = measured(tmp_path / "a", 2.0)
    rows = compare(run, run)
    assert {row.difference.value for row in rows} == {0.0}
    assert not any(row.real for row in rows)


def test_other_items_are_compared_by_their_intervals(tmp_path: Path) -> None:
    one, two = measured(tmp_path / "a", 2.0), measured(tmp_path / "b", 4.0, seed=1, first=1000)
    f1 = next(row for row in compare(one, two) if row.figure == "f1")
    assert not f1.paired
    assert f1.real
    errors = [(figure.high - figure.low) / (2 * 1.959964) for figure in (f1.first, f1.second)]
    assert f1.difference.high - f1.difference.value == pytest.approx(1.959964 * np.hypot(*errors))
    assert "two independent measurements" in f1.sentence


def test_correct_answers_are_paired_as_well_and_p_is_that_of_a_normal(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    first, second = source.random(400) < 0.5, source.random(400) < 0.55
    (row,) = compare(answered(tmp_path / "a", "quiz", first), answered(tmp_path / "b", "quiz", second))
    gains = second.astype(float) - first
    error = gains.std(ddof=1) / np.sqrt(400)
    assert row.items == 400
    assert row.p == pytest.approx(2 * stats.norm.sf(abs(gains.mean()) / error), rel=0.3)


def test_without_predictions_the_intervals_have_to_do(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    one = answered(tmp_path / "a", "quiz", source.random(300) < 0.3)
    two = answered(tmp_path / "b", "quiz", source.random(300) < 0.8, predictions=False)
    (row,) = compare(one, two)
    assert not row.paired
    assert row.real


def test_a_figure_that_the_predictions_do_not_tell_is_not_paired(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [{"id": str(place), "correct": place % 2 == 0} for place in range(50)]
        result = TaskResult("quiz", "multiple-choice", 50, {"accuracy": Figure(0.9, 0.8, 1.0)}, {}, rows)
        write_result(result, tmp_path / name / "evaluation")
    (row,) = compare(tmp_path / "a", tmp_path / "b")
    assert not row.paired


def test_several_classes_are_paired_by_what_was_told(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    labels, names = source.integers(0, 3, 300), ["cat", "dog", "owl"]
    for run, strength in (("a", 0.5), ("b", 3.0)):
        raised = np.exp(source.normal(size=(300, 3)) + strength * np.eye(3)[labels])
        scores = raised / raised.sum(axis=1, keepdims=True)
        told = scores.argmax(axis=1)
        rows = [
            {
                "id": str(place),
                "label": names[labels[place]],
                "told": names[told[place]],
                "score": float(max(scores[place])),
            }
            for place in range(300)
        ]
        result = TaskResult(
            "animals", "classification", 300, multiclass_figures(labels, scores, 0), {"positive": None}, rows
        )
        write_result(result, tmp_path / run / "evaluation")
    rows = {row.figure: row for row in compare(tmp_path / "a", tmp_path / "b")}
    assert rows["f1"].paired
    assert rows["f1"].real
    assert not rows["auroc"].paired


def test_many_comparisons_raise_the_bar() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_a_handful_of_items_makes_no_difference_real(tmp_path: Path) -> None:
    one = answered(tmp_path / "a", "quiz", np.zeros(5, bool))
    two = answered(tmp_path / "b", "quiz", np.ones(5, bool))
    (row,) = compare(one, two)
    assert row.difference.value == 1
    assert not row.real


def test_what_only_one_run_has_is_not_compared(tmp_path: Path) -> None:
    right = np.arange(20) % 2 == 0
    one = answered(answered(tmp_path / "a", "quiz", right), "other", right)
    two = answered(tmp_path / "b", "quiz", right)
    (two / "evaluation" / "perplexity.json").write_text(json.dumps({"valid": {"perplexity": 3.0}}))
    assert [row.task for row in compare(one, two)] == ["quiz"]


def test_a_run_without_evaluation_or_with_a_damaged_prediction_is_refused(tmp_path: Path) -> None:
    one = answered(tmp_path / "a", "quiz", np.ones(20, bool))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ForjaError, match="no evaluation task"):
        compare(one, tmp_path / "empty")

    two = answered(tmp_path / "b", "quiz", np.ones(20, bool))
    file = two / "evaluation" / "quiz.predictions.jsonl"
    file.write_text(file.read_text() + "{broken\n")
    with pytest.raises(ForjaError, match="no prediction") as told:
        compare(one, two)
    assert "line 21" in str(told.value)
