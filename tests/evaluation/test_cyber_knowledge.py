"""Security questions: every layout read, right answers found by a model that has learned them, and bad rows named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.small_models import small_model, small_tokenizer, subject_of, taught
from forja.corpus.rows import read_rows
from forja.errors import ForjaError
from forja.evaluation.task import TaskResult, as_json
from forja.evaluation.tasks.cyber_knowledge import base_score, evaluate, read_questions
from forja.models.transformer import Transformer
from forja.tokens.bpe import Tokenizer

QUESTIONS = [
    ("Which port has HTTPS?", ["22", "443", "25"], "B"),
    ("Who reads mail in transit?", ["The router", "The eavesdropper", "The printer"], "B"),
    ("What does a firewall do?", ["It filters packets", "It prints", "It compiles"], "A"),
    ("What hides a password?", ["A cache", "A cable", "A salted hash"], "C"),
]


def known() -> list[str]:
    """What a model must have read to know the answers, in both forms that it is asked in."""
    texts = []
    for text, options, right in QUESTIONS:
        listed = "".join(f"{letter}. {option}\n" for letter, option in zip("ABC", options, strict=True))
        texts.append(f"Question: {text}\nAnswer: {options['ABC'.index(right)]}")
        texts.append(f"Question: {text}\n{listed}Answer: {right}")
    return texts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), known() * 3)


@pytest.fixture(scope="module")
def learned(tokenizer: Tokenizer) -> Transformer:
    return taught(tokenizer, known(), context=128)


def examine(model: Transformer, tokenizer: Tokenizer, folder: Path, *data: Path) -> dict[str, TaskResult]:
    return {result.task: result for result in evaluate(subject_of(model, tokenizer, folder), data)}


def write(path: Path, rows: Any) -> Path:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


def cybermetric(folder: Path) -> Path:
    rows = [
        {"question": text, "answers": dict(zip("ABC", options, strict=True)), "solution": right}
        for text, options, right in QUESTIONS
    ]
    return write(folder / "CyberMetric-4.json", {"questions": rows})


def ctibench(folder: Path) -> Path:
    lines = ["URL\tQuestion\tOption A\tOption B\tOption C\tPrompt\tGT"]
    lines += ["\t".join(["u", text, *options, "You are given ...", right]) for text, options, right in QUESTIONS]
    path = folder / "cti-mcq.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def seceval(folder: Path) -> Path:
    rows = [
        {
            "id": "1",
            "source": "made",
            "question": text,
            "choices": [f"{letter}: {option}" for letter, option in zip("ABC", options, strict=True)],
            "answer": right,
            "topics": [],
        }
        for text, options, right in QUESTIONS
    ]
    return write(folder / "seceval.json", rows)


def soceval(folder: Path) -> Path:
    rows = [
        {"question": text, "options": [f"{letter}) {o}" for letter, o in zip("ABC", options, strict=True)],
         "correct_options": [right]}
        for text, options, right in QUESTIONS
    ]  # fmt: skip
    return write(folder / "soc.json", rows)


@pytest.mark.parametrize("layout", [cybermetric, ctibench, seceval, soceval])
def test_a_model_that_learned_the_answers_finds_them_in_every_layout(
    layout: Any, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    result = examine(learned, tokenizer, tmp_path, layout(tmp_path))["cyber-knowledge"]
    assert (result.kind, result.items) == ("multiple-choice", 4)
    assert result.figures["accuracy"].value == result.figures["accuracy_letter"].value == 1.0
    assert [row["told"] for row in result.predictions] == [right for _, _, right in QUESTIONS]
    assert result.details["wrong"] == []
    assert result.details["chance"] == pytest.approx(1 / 3)


def test_a_model_that_learned_nothing_is_wrong_and_its_mistakes_are_shown(tokenizer: Tokenizer, tmp_path: Path) -> None:
    even = small_model()
    with torch.no_grad():
        even.unembedding.zero_()
    result = examine(even, tokenizer, tmp_path, cybermetric(tmp_path))["cyber-knowledge"]
    assert [row["told_letter"] for row in result.predictions] == ["A"] * 4  # all are as likely: the first is told
    assert result.figures["accuracy_letter"].value == 0.25
    assert 0.0 <= result.figures["accuracy_letter"].low < 0.25 < result.figures["accuracy_letter"].high
    wrong = [row for row in result.predictions if row["told"] != row["right"]]
    assert [row["label"] for row in result.details["wrong"]] == [
        QUESTIONS[row["row"] - 1][1]["ABC".index(row["right"])] for row in wrong
    ]


def test_sets_are_told_apart_and_the_same_question_counts_once(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = write(
        tmp_path / "other.json", [{"question": "Which is a port?", "choices": ["A: 80", "B: ABC"], "answer": "A"}]
    )
    result = examine(learned, tokenizer, tmp_path, cybermetric(tmp_path), seceval(tmp_path), other)["cyber-knowledge"]
    groups = result.details["groups"]["set"]
    assert {name: group["items"] for name, group in groups.items()} == {"CyberMetric-4": 4, "other": 1}
    assert groups["CyberMetric-4"]["accuracy"].value == 1.0
    assert groups["other"]["chance"] == 0.5
    assert result.details["removed"] == {"asked before": 4}
    assert json.loads(json.dumps(as_json(result)))["details"]["groups"]["set"]["other"]["accuracy"]["value"] in (0, 1)


def test_where_several_options_are_right_all_of_them_must_be_the_likeliest(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    options = ["A: It filters packets", "B: It prints", "C: It filters packets", "D: It compiles"]
    rows = [
        {"question": "What does a firewall do?", "choices": options, "answer": right} for right in ("AC", "CA", "AB")
    ]
    rows[1]["choices"], rows[2]["choices"] = [*options[:3], "D: It sings"], [*options[:3], "D: It flies"]
    result = examine(learned, tokenizer, tmp_path, write(tmp_path / "several.jsonl", rows))["cyber-knowledge"]
    assert [row["told"] for row in result.predictions] == ["AC", "AC", "AC"]
    assert result.figures["accuracy"].value == pytest.approx(2 / 3)
    assert result.details["chance"] == pytest.approx(1 / 6)
    assert result.details["several_right"] == 3


def test_a_question_of_which_nothing_is_right_is_left_out_and_said(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = json.loads(soceval(tmp_path).read_text())
    rows[0]["correct_options"] = []
    rows[1]["options"][1] = "B) "  # the right one is empty
    result = examine(learned, tokenizer, tmp_path, write(tmp_path / "soc.json", rows))["cyber-knowledge"]
    assert (result.items, result.details["removed"]) == (2, {"no option that it has is right": 2})


def test_the_answer_of_a_question_longer_than_the_context_is_still_scored(
    learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [{"question": "Why " * 200 + "so?", "choices": ["A: yes", "B: no"], "answer": "A"}]
    result = examine(learned, tokenizer, tmp_path, write(tmp_path / "long.json", rows))["cyber-knowledge"]
    assert (result.items, result.details["shortened"]) == (1, 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Why?", "choices": ["A: x", "B: y"], "answer": "C"}, "answer is C, and the options are A, B"),
        ({"question": "", "choices": ["A: x", "B: y"], "answer": "A"}, "lacks a question"),
        ({"question": "Why?", "choices": ["A: x"], "answer": "A"}, "two options"),
        ({"question": "Why?", "choices": ["A: x", "B:"], "answer": "A"}, "not empty"),
        ({"question": "Why?", "choices": "x", "answer": "A"}, "two options"),
        ({"text": "Why?", "label": "1"}, "no known layout: text, label"),
        ({"Prompt": "Who was it?", "Text": "x"}, "no answer that can be scored"),
        ({"question": None, "options": ["x", "y"], "correct_answer": ["A"]}, "lacks a question"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_question_is_named(
    row: dict[str, Any], said: str, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.jsonl", [row])
    with pytest.raises(ForjaError, match=said) as error:
        examine(learned, tokenizer, tmp_path, path)
    assert f"{path}, row 1" in str(error.value)


def test_files_without_questions_are_refused(learned: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no question"):
        examine(learned, tokenizer, tmp_path, write(tmp_path / "none.json", []))


# --- free answers ----------------------------------------------------------------------------------

FREE = {
    "rcm": [("A page echoes input.", "CWE-79"), ("A query joins strings.", "CWE-89"), ("A name is a path.", "CWE-22")],
    "vsp": [
        ("Anyone can read all.", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
        ("A user stops it.", "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H"),
    ],
    "ate": [("It runs commands over HTTP.", "T1059, T1071"), ("It dumps secrets.", "T1003")],
}


@pytest.fixture(scope="module")
def free_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("free"), [right for rows in FREE.values() for _, right in rows] * 9)


def free_rows(folder: Path, kind: str, rights: Sequence[str] | None = None) -> Path:
    rows = [{"URL": "u", "Prompt": prompt, "GT": right} for prompt, right in FREE[kind]]
    for row, right in zip(rows, rights or [], strict=False):
        row["GT"] = right
    return write(folder / f"cti-{kind}.jsonl", rows)


def answering(tokenizer: Tokenizer, kind: str) -> Transformer:
    return taught(tokenizer, [f"{prompt}\nAnswer: {right}." for prompt, right in FREE[kind]], context=128)


def test_free_answers_are_generated_read_and_scored(free_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = answering(free_tokenizer, "rcm")
    right = examine(model, free_tokenizer, tmp_path, free_rows(tmp_path, "rcm"))["cyber-knowledge-rcm"]
    assert [row["told"][0] for row in right.predictions] == ["CWE-79", "CWE-89", "CWE-22"]
    last = [row["told"][-1] for row in right.predictions]
    other = free_rows(tmp_path, "rcm", [*last[:2], "CWE-9999"])
    found = examine(model, free_tokenizer, tmp_path, other)["cyber-knowledge-rcm"]
    assert found.figures["accuracy"].value == pytest.approx(2 / 3)
    assert (found.items, found.figures["answered"].value) == (3, 1.0)


def test_a_vector_is_scored_by_how_far_its_score_is_off(free_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = answering(free_tokenizer, "vsp")
    result = examine(model, free_tokenizer, tmp_path, free_rows(tmp_path, "vsp"))["cyber-knowledge-vsp"]
    vectors = [row["told"][-1] for row in result.predictions]
    expected = [abs(base_score(one) - base_score(right)) for one, (_, right) in zip(vectors, FREE["vsp"], strict=True)]
    assert result.kind == "regression"
    assert result.figures["mean_absolute_deviation"].value == pytest.approx(sum(expected) / 2)
    assert [row["told"][0] for row in result.predictions] == [right for _, right in FREE["vsp"]]


def test_techniques_are_scored_by_f1_over_all_items(free_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = answering(free_tokenizer, "ate")
    result = examine(model, free_tokenizer, tmp_path, free_rows(tmp_path, "ate"))["cyber-knowledge-ate"]
    told = [set(row["told"]) for row in result.predictions]
    right = [{"T1059", "T1071"}, {"T1003"}]
    both = sum(len(one & other) for one, other in zip(told, right, strict=True))
    assert both == 3
    assert result.figures["f1"].value == pytest.approx(2 * both / (sum(map(len, told)) + 3))


def test_an_answer_that_says_nothing_of_the_kind_is_wrong(free_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = taught(free_tokenizer, [f"{prompt}\nAnswer: none none none none" for prompt, _ in FREE["rcm"]])
    result = examine(model, free_tokenizer, tmp_path, free_rows(tmp_path, "rcm"))["cyber-knowledge-rcm"]
    assert (result.figures["accuracy"].value, result.figures["answered"].value) == (0.0, 0.0)
    result = examine(model, free_tokenizer, tmp_path, free_rows(tmp_path, "vsp"))["cyber-knowledge-vsp"]
    assert as_json(result)["figures"]["mean_absolute_deviation"]["value"] is None


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", 0.0),
    ],
)
def test_a_vector_has_the_score_of_the_specification(vector: str, score: float) -> None:
    assert base_score(vector) == score


# --- real rows -------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_vectors_have_the_scores_that_nvd_gives_them(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/security/nvd_api2_cves-2023.json.gz") as file:
        answers = json.load(file)["vulnerabilities"]
    scores = [
        metric["cvssData"]
        for answer in answers
        for version in ("cvssMetricV31", "cvssMetricV30")
        for metric in answer["cve"]["metrics"].get(version, [])
    ]
    assert len(scores) > 20
    assert [base_score(data["vectorString"]) for data in scores] == [data["baseScore"] for data in scores]


@pytest.mark.realdata
def test_every_real_question_is_read(realdata: Path) -> None:
    expected = {
        "CyberMetric-80-v1.json": 59,
        "CyberMetric-500-v1.json": 358,
        "CyberMetric-2000-v1.json": 1431,
        "cti-mcq.tsv.gz": 1768,
        "cybersoceval_threat_intel.json": 364,
        "cybersoceval_malware.json": 454,
    }
    for name, rows in expected.items():
        questions, free, removed = read_questions([realdata / "cyberqa" / name])
        assert len(questions) + sum(removed.values()) == rows
        assert len(questions) > 0.9 * rows
        assert all(question.right and len(question.options) >= 2 for question in questions)
        assert not free
    kinds = {"cti-rcm.tsv": "rcm", "cti-vsp.tsv.gz": "vsp", "cti-ate.tsv": "ate"}
    for name, kind in kinds.items():
        _, free, _ = read_questions([realdata / "cyberqa" / name])
        assert list(free) == [kind]
    with pytest.raises(ForjaError, match="taa has no answers"):
        read_questions([realdata / "cyberqa" / "cti-taa.tsv"])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "task", "figures"),
    [
        ("CyberMetric-80-v1.json", "cyber-knowledge", {"accuracy", "accuracy_letter"}),
        ("cti-mcq.tsv.gz", "cyber-knowledge", {"accuracy", "accuracy_letter"}),
        ("cybersoceval_malware.json", "cyber-knowledge", {"accuracy", "accuracy_letter"}),
        ("cti-rcm.tsv", "cyber-knowledge-rcm", {"accuracy", "answered"}),
        ("cti-vsp.tsv.gz", "cyber-knowledge-vsp", {"mean_absolute_deviation", "answered"}),
        ("cti-ate.tsv", "cyber-knowledge-ate", {"f1", "answered"}),
    ],
)
def test_real_rows_are_scored(
    name: str, task: str, figures: set[str], realdata: Path, learned: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [row.fields for row in read_rows(realdata / "cyberqa" / name)][:12]
    result = examine(learned, tokenizer, tmp_path, write(tmp_path / "real.jsonl", rows))[task]
    assert (result.items, set(result.figures)) == (12, figures)
    assert len(result.predictions) == 12
