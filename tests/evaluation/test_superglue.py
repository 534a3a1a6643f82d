"""SuperGLUE: every task read in its official layout, fitted, and scored as it officially is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.glue_rows import cloze, fit_words, sayings, subject, write_jsonl, write_superglue
from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError
from forja.evaluation.glue import Item
from forja.evaluation.glue_files import find_places, training_items
from forja.evaluation.glue_scoring import verdict
from forja.evaluation.superglue import TASKS
from forja.evaluation.task import TaskResult
from forja.evaluation.tasks.superglue import evaluate

BY_NAME = {task.name: task for task in TASKS}


def results_of(data: Path, **settings: Any) -> dict[str, TaskResult]:
    return {result.task: result for result in evaluate(subject(data), [data], fit=fit_words, **settings)}


def read(name: str, **fields: Any) -> list[Item]:
    return list(BY_NAME[name].read(Row(1, fields)))


# --- made rows --------------------------------------------------------------------------------


def test_all_of_superglue_is_read_fitted_and_scored(tmp_path: Path) -> None:
    results = results_of(write_superglue(tmp_path / "superglue"))
    assert set(results) == {"superglue", *(f"superglue-{name}" for name in BY_NAME)}
    for name, task in BY_NAME.items():
        result = results[f"superglue-{name}"]
        assert set(result.figures) == set(task.metrics)
        # Which of three cities comes first in the alphabet is more than words can tell.
        assert result.figures[next(iter(task.metrics))].value > (0.99 if name != "ReCoRD" else 0.5), name
    assert {result.kind for result in results.values()} == {"classification", "multiple-choice"}
    assert (results["superglue-COPA"].items, results["superglue-COPA"].details["chance"]) == (20, 0.5)
    assert results["superglue-MultiRC"].items == 60
    assert results["superglue-MultiRC"].details["baseline"]["figures"]["exact_match"].value == 0.0
    assert results["superglue-AX-g"].details["baseline"]["figures"]["gender_parity"].value == 1.0
    chosen = results["superglue-ReCoRD"].predictions[0]
    assert chosen["label"] == ["Lisbon"]
    assert chosen["correct"] is (chosen["told"] == "Lisbon")
    assert chosen["told"] in {"Lisbon", "Madrid", "Paris"}


def test_words_that_are_asked_about_stand_between_asterisks() -> None:
    place = {"word": "class", "sentence1": "A class act.", "sentence2": "Real class.", "label": False}
    spans = {"start1": 2, "end1": 7, "start2": 5, "end2": 10}
    assert read("WiC", **place, **spans) == [
        Item("word: class\nsentence1: A *class* act.\nsentence2: Real *class*.", "false")
    ]
    target = {"span1_index": 0, "span1_text": "Mr. Bond", "span2_index": 5, "span2_text": "his"}
    marked = [Item("pronoun: his\nname: Mr. Bond\ntext: *Mr. Bond* , it was *his.*", "true")]
    assert read("WSC", text="Mr. Bond , it was his.", target=target, label=True) == marked
    # The hub has the spans in the row, and numbers for the labels.
    assert read("WSC", text="Mr. Bond , it was his.", **target, label=1) == marked


def test_candidates_are_texts_of_their_own_and_one_of_them_is_right() -> None:
    asked = {"premise": "I sat.", "choice1": "I was tired.", "choice2": "It rained."}
    assert read("COPA", **asked, question="cause", label=0) == [
        Item("I sat. because: I was tired.", "true", "1", "I was tired."),
        Item("I sat. because: It rained.", "false", "1", "It rained."),
    ]
    assert read("COPA", **asked, question="effect", label=1)[1].text == "I sat. so: It rained."


def test_a_gap_is_filled_with_each_entity_once() -> None:
    items = read("ReCoRD", **cloze(0))
    assert [(item.answer, item.label) for item in items] == [
        ("Lisbon", "true"),
        ("Madrid", "false"),
        ("Paris", "false"),
    ]
    assert items[1].text.startswith("query: They went to *Madrid* by train.\npassage: Lisbon is a city. Madrid")
    hub = {
        "passage": cloze(0)["passage"]["text"],
        "query": cloze(0)["qas"][0]["query"],
        "entities": ["Lisbon", "Madrid", "Paris"],
        "answers": ["Lisbon"],
    }
    assert read("ReCoRD", **hub) == items


def test_answers_of_one_question_are_one_unit_in_either_layout() -> None:
    answers = [{"text": "fine", "idx": 0, "label": 1}, {"text": "dull", "idx": 1, "label": 0}]
    asked = {"question": "How?", "idx": 0, "answers": answers}
    ours = read("MultiRC", idx=3, passage={"text": "A day.", "questions": [asked, asked]})
    assert [item.unit for item in ours] == ["1-0", "1-0", "1-1", "1-1"]
    assert ours[0].text == "question: How?\nanswer: fine\nparagraph: A day."
    place = {"paragraph": 3, "question": 1, "answer": 0}
    (hub,) = read("MultiRC", paragraph="A day.", question="How?", answer="fine", idx=place, label=1)
    assert (hub.text, hub.label, hub.unit) == (ours[0].text, "true", "3-1")


def test_the_best_of_a_unit_is_chosen_and_the_first_of_equals() -> None:
    items = [Item("", "false", unit) for unit in ("a", "b", "a", "b", "b")]
    scores = np.array([0.2, 0.7, 0.3, 0.7, 0.1])
    told = verdict(BY_NAME["COPA"], items, np.stack([1 - scores, scores], axis=1)).told
    assert told.tolist() == [0, 1, 1, 0, 0]


def test_few_shot_rows_of_both_files_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    write_superglue(tmp_path)
    copa = tmp_path / "COPA"
    (copa / "train.jsonl").rename(copa / "train32.jsonl")
    (copa / "dev32.jsonl").write_bytes((copa / "val.jsonl").read_bytes())
    task = BY_NAME["COPA"]
    lesson = training_items(task, find_places([task], [tmp_path], ".jsonl")["COPA"], 1000, 0)
    assert lesson is not None
    # Two rows that have the same number in two files are two units.
    assert (lesson.rows, len(lesson.items), len({item.unit for item in lesson.items})) == (60, 120, 60)


def test_pairs_of_winogender_are_told_by_their_number_or_one_after_the_other() -> None:
    said = {"premise": "He left.", "hypothesis": "Someone left.", "label": "entailment"}
    assert read("AX-g", **said, idx=6, pair_id=551)[0].unit == "551"
    assert (
        read("AX-g", **said, idx=6)[0].unit
        == read("AX-g", **said, idx=7)[0].unit
        != read("AX-g", **said, idx=8)[0].unit
    )


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_folder_of_the_hubs_layout_is_read_through_datasets(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    for split, count in (("train", 40), ("validation", 20), ("test", 6)):
        said = [row for text, label in sayings(count) for row in ((text, label), (f"not {text}", 1 - label))]
        made = datasets.Dataset.from_dict(
            {
                "paragraph": ["A day."] * len(said),
                "question": ["How?"] * len(said),
                "answer": [text for text, _ in said],
                "idx": [{"paragraph": place // 2, "question": 0, "answer": place % 2} for place in range(len(said))],
                "label": [-1 if split == "test" else label for _, label in said],
            }
        )
        (tmp_path / "multirc").mkdir(exist_ok=True)
        getattr(made, f"to_{kind}")(
            str(tmp_path / "multirc" / f"{split}.{'parquet' if kind == 'parquet' else 'jsonl'}")
        )
    result = results_of(tmp_path)["superglue-MultiRC"]
    assert result.items == 40
    assert 0 <= result.figures["exact_match"].value <= result.figures["f1a"].value


# --- bad input --------------------------------------------------------------------------------


def test_rows_without_what_a_task_is_made_of_are_left_out_and_counted(tmp_path: Path) -> None:
    write_superglue(tmp_path)
    for name, broken in (
        ("COPA", {"premise": "I sat.", "label": 0}),
        ("WSC", {"text": "He.", "target": 3, "label": True}),
    ):
        with (tmp_path / name / "val.jsonl").open("a") as file:
            file.write(json.dumps(broken) + "\n")
    results = results_of(tmp_path)
    assert results["superglue-COPA"].details["removed"] == {"no text or label": 1}
    assert results["superglue-WSC"].details["removed"] == {"no text or label": 1}


def test_a_label_that_the_task_does_not_have_is_told_with_its_row(tmp_path: Path) -> None:
    asked = {"premise": "I sat.", "choice1": "a", "choice2": "b", "question": "cause"}
    write_jsonl(tmp_path / "COPA" / "val.jsonl", [{**asked, "label": 2}])
    with pytest.raises(ForjaError, match=r"COPA, row 1: the label is 2; it should be 0 or 1"):
        results_of(tmp_path)
    write_jsonl(tmp_path / "CB" / "val.jsonl", [{"premise": "a", "hypothesis": "b", "label": "maybe"}])
    with pytest.raises(ForjaError, match=r"CB, row 1: the label is 'maybe'"):
        results_of(tmp_path / "CB")


def test_diagnostics_without_the_rows_of_rte_are_left_out(tmp_path: Path) -> None:
    write_superglue(tmp_path)
    for part in (tmp_path / "RTE").iterdir():
        part.unlink()
    left_out = results_of(tmp_path)["superglue"].details["left_out"]
    assert set(left_out) == {"AX-b", "AX-g"}
    assert "RTE has no training rows" in left_out["AX-b"]


# --- real rows --------------------------------------------------------------------------------

ROWS = {"BoolQ": 3270, "CB": 56, "COPA": 100, "RTE": 277, "WiC": 638, "WSC": 104}


@pytest.mark.realdata
def test_all_real_rows_of_superglue_are_read_and_scored_beside_the_majority(realdata: Path) -> None:
    results = results_of(realdata / "superglue")
    assert set(results) == {"superglue", *(f"superglue-{name}" for name in ROWS)}
    for name, count in ROWS.items():
        result = results[f"superglue-{name}"]
        assert result.items == count
        assert (result.details["taught"]["rows"], result.details["removed"]) == (64, {})
        assert all(figure.low <= figure.value <= figure.high for figure in result.figures.values())
    majority = {name: results[f"superglue-{name}"].details["baseline"]["figures"] for name in ROWS}
    # 2,033 of BoolQ's answers are yes; all of WSC's few-shot rows in the one file are true, and 38 of these 104.
    assert majority["BoolQ"]["accuracy"].value == pytest.approx(2033 / 3270)
    assert majority["WSC"]["accuracy"].value == pytest.approx(38 / 104)


@pytest.mark.realdata
def test_the_words_that_real_rows_are_about_are_found_where_they_are_said_to_be(realdata: Path) -> None:
    folder = realdata / "superglue"
    for row in read_rows(folder / "WiC" / "val.jsonl"):
        (item,) = BY_NAME["WiC"].read(row)
        for line, one in zip(item.text.split("\n")[1:], (1, 2), strict=True):
            said = row.fields[f"sentence{one}"][int(row.fields[f"start{one}"]) : int(row.fields[f"end{one}"])]
            assert f"*{said}*" in line
    missed = 0
    for row in read_rows(folder / "WSC" / "val.jsonl"):
        (item,) = BY_NAME["WSC"].read(row)
        spans = [span.strip(" .,;!").lower() for span in item.text.split("text: ")[1].split("*")[1::2]]
        target = row.fields["target"]
        missed += not {target["span1_text"].lower(), target["span2_text"].lower()} <= set(spans)
    # One row's own numbers point beside the pronoun, and of another the pronoun is a part of the name.
    assert missed == 2
