"""Rows in the layouts that people have become the same examples, and what is no example is told, never shown."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.examples.layouts import Example, Read, read_examples, with_subject
from forja.errors import ForjaError

ASKED = [{"role": "user", "content": "What is a worm?"}, {"role": "assistant", "content": "Code that copies itself."}]
SECRET = "the password is hunter2"


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, *rows: list[str]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def chat(folder: Path, *rows: dict[str, Any]) -> Read:
    return read_examples([lines(folder / "chat.jsonl", *rows)], "chat")


def preference(folder: Path, *rows: dict[str, Any]) -> Read:
    return read_examples([lines(folder / "pairs.jsonl", *rows)], "preference")


# --- labelled texts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "label"),
    [("text", "label"), ("Sentence", "CLASS"), ("message", "spam"), ("url", "target"), ("sms", "type")],
)
def test_the_columns_of_text_and_label_are_told_by_the_usual_names(text: str, label: str, tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", ["id", text, label], ["7", "hello", "ham"])
    one = read_examples([path], "classification").examples[0]
    assert (one.text, one.label, one.source, one.groups) == ("hello", "ham", "rows", {"id": "7"})


def test_columns_of_other_names_are_told_by_the_user(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", ["v1", "v2", "text"], ["ham", "hello", "no"])
    one = read_examples([path], "classification", text_field="v2", label_field="v1").examples[0]
    assert (one.text, one.label) == ("hello", "ham")
    with pytest.raises(ForjaError, match="no column 'v3'; there are v1, v2, text"):
        read_examples([path], "classification", text_field="v3")


def test_every_file_format_gives_the_same_examples(tmp_path: Path) -> None:
    rows = [
        {"text": 'one, "quoted"', "label": "1", "region": "north"},
        {"text": "two", "label": "0", "region": "south"},
    ]
    names = list(rows[0])
    files = [
        table(tmp_path / "a.csv", names, *(list(row.values()) for row in rows)),
        lines(tmp_path / "a.jsonl", *rows),
        tmp_path / "a.json",
        tmp_path / "a.parquet",
        tmp_path / "a.jsonl.gz",
    ]
    files[2].write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist([{**row, "label": int(row["label"])} for row in rows]), files[3])
    files[4].write_bytes(gzip.compress(files[1].read_bytes()))
    read = [read_examples([path], "classification").examples for path in files]
    assert all(found == read[0] for found in read[1:])
    assert [(one.text, one.label, one.groups) for one in read[0]] == [
        ('one, "quoted"', "1", {"region": "north"}),
        ("two", "0", {"region": "south"}),
    ]


@pytest.mark.parametrize(
    ("label", "name"), [(1, "1"), (1.0, "1"), ("1.0", "1"), (True, "1"), (" spam ", "spam"), (0.5, "0.5")]
)
def test_a_label_has_one_name_however_it_is_written(label: Any, name: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", {"text": "hello", "label": label})
    assert read_examples([path], "classification").examples[0].label == name


def test_an_id_says_what_an_example_says_and_not_where_it_is_from(tmp_path: Path) -> None:
    one, two = (
        read_examples([lines(tmp_path / f"{name}.jsonl", {"text": "hi", "label": 1, "source": name})], "classification")
        for name in ("one", "two")
    )
    assert one.examples[0].id == two.examples[0].id
    assert len(one.examples[0].id) == 32
    assert [read.examples[0].source for read in (one, two)] == ["one", "two"]
    other = read_examples([lines(tmp_path / "three.jsonl", {"text": "hi", "label": 0})], "classification")
    assert other.examples[0].id != one.examples[0].id


def test_long_columns_are_no_groups(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", {"text": "hi", "label": 1, "body": "x" * 500, "lang": "en", "tags": ["a"]})
    assert read_examples([path], "classification").examples[0].groups == {"lang": "en"}


def test_a_subject_is_put_before_a_mail_that_does_not_hold_it(tmp_path: Path) -> None:
    rows = ["Subject", "body", "label"], ["Your bill", "Pay now.", "1"], ["Hello", "Subject: Hello\nYou there?", "0"]
    read = read_examples([table(tmp_path / "mails.csv", *rows)], "classification")
    assert [one.text for one in read.examples] == ["Subject: Your bill\nPay now.", "Subject: Hello\nYou there?"]
    assert with_subject("Verify  your\nAccount now", {"subject": "Verify your Account"}) == "Verify  your\nAccount now"


def test_a_row_without_a_text_is_counted_and_one_without_a_label_refused(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl", {"text": "hi", "label": 1}, {"text": " ", "label": 0}, {"text": None, "label": 0}
    )
    read = read_examples([path], "classification")
    assert (len(read.examples), read.left_out) == (1, {"empty": 2})
    for row in ({"text": SECRET}, {"text": SECRET, "label": ""}, {"text": SECRET, "label": None}):
        with pytest.raises(ForjaError, match=r"rows\.jsonl, row 2: the label is missing") as refused:
            read_examples([lines(path, {"text": "hi", "label": 1}, row)], "classification")
        assert "hunter2" not in str(refused.value)
    with pytest.raises(ForjaError, match=r"row 2: the text is missing"):
        read_examples([lines(path, {"text": "hi", "label": 1}, {"label": 1})], "classification")


def test_a_gap_in_a_column_of_numbers_is_a_missing_label(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [1.0, float("nan")]}), tmp_path / "rows.parquet")
    with pytest.raises(ForjaError, match="row 2: the label is missing"):
        read_examples([tmp_path / "rows.parquet"], "classification")


def test_a_file_without_labels_or_texts_says_so_and_shows_no_text(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", ["text", "sender"], ["hi", "me"])
    with pytest.raises(ForjaError, match=r"labels are missing: the columns are text, sender"):
        read_examples([path], "classification")
    with pytest.raises(ForjaError, match="no column holds the text"):
        read_examples([table(path, ["label", "sender"], ["1", "me"])], "classification")
    headless = table(path, ["Dear sir or madam, I write to you in confidence, as " + SECRET, "1"], ["hi", "0"])
    with pytest.raises(
        ForjaError, match=r"the columns are Dear sir or madam, I write to you in con\.\.\., 1"
    ) as refused:
        read_examples([headless], "classification", text_field=None)
    assert "hunter2" not in str(refused.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="holds no rows"):
        read_examples([lines(tmp_path / "rows.jsonl")], "chat")


def test_plain_texts_to_go_on_with_need_no_label(tmp_path: Path) -> None:
    read = read_examples([lines(tmp_path / "rows.jsonl", {"text": "one"}, {"text": ""}, {"text": "two"})], "continue")
    assert [one.text for one in read.examples] == ["one", "two"]
    assert read.left_out == {"empty": 1}
    assert read.examples[0].label is None


# --- conversations -----------------------------------------------------------------------------

ALIKE = [
    {"messages": ASKED},
    {"messages": json.dumps(ASKED)},
    {"messages": [{"role": one["role"], "content": [{"type": "text", "text": one["content"]}]} for one in ASKED]},
    {"conversations": [{"from": "human", "value": ASKED[0]["content"]}, {"from": "gpt", "value": ASKED[1]["content"]}]},
    {"instruction": ASKED[0]["content"], "input": "", "output": ASKED[1]["content"]},
    {"instruction": ASKED[0]["content"], "context": "", "response": ASKED[1]["content"], "category": "open_qa"},
    {"instruction": ASKED[0]["content"], "instances": [{"input": "", "output": ASKED[1]["content"]}], "name": "worm"},
    {"prompt": ASKED[0]["content"], "completion": ASKED[1]["content"]},
    {"prompt": ASKED[0]["content"], "response": ASKED[1]["content"]},
    {"question": ASKED[0]["content"], "answer": ASKED[1]["content"]},
]


@pytest.mark.parametrize("row", ALIKE, ids=lambda row: "-".join(row))
def test_a_conversation_is_the_same_in_every_layout(row: dict[str, Any], tmp_path: Path) -> None:
    found = chat(tmp_path, row).examples[0]
    assert found.messages == ASKED
    assert found.id == chat(tmp_path, ALIKE[0]).examples[0].id


def test_an_input_follows_its_instruction_and_a_system_message_comes_first(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "gusano", "output": "worm", "system": "Be brief."}
    assert chat(tmp_path, row).examples[0].messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Translate.\n\ngusano"},
        {"role": "assistant", "content": "worm"},
    ]
    shared = {"system": "Be brief.", "conversations": ALIKE[3]["conversations"]}
    assert chat(tmp_path, shared).examples[0].messages == [{"role": "system", "content": "Be brief."}, *ASKED]


def test_what_follows_the_last_answer_is_dropped_and_counted(tmp_path: Path) -> None:
    read = chat(tmp_path, {"messages": [*ASKED, {"role": "user", "content": "And a virus?"}]}, {"messages": ASKED})
    assert [one.messages for one in read.examples] == [ASKED, ASKED]
    assert read.unanswered == 1


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no question with an answer"),
        ([ASKED[0]], "no question with an answer"),
        ([ASKED[1]], "no question with an answer"),
        ([{"role": "user", "content": " "}, ASKED[1]], "no question with an answer"),
        ([ASKED[0], {"role": "assistant", "content": None}], "empty answer"),
        ([ASKED[0], {"role": "tool", "content": "{}"}, ASKED[1]], "unknown role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ASKED[1]], "content that is no text"),
    ],
)
def test_what_is_no_conversation_is_left_out_with_the_reason(messages: Any, reason: str, tmp_path: Path) -> None:
    read = chat(tmp_path, {"messages": messages}, {"messages": ASKED})
    assert len(read.examples) == 1
    assert read.left_out == {reason: 1}


def test_columns_of_no_layout_are_listed_with_the_layouts_there_are(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match=r"its columns \(ask, tell\) are no layout of chat examples.*messages; conv"):
        chat(tmp_path, {"ask": "a", "tell": "b"})
    with pytest.raises(ForjaError, match=r"no layout of preference examples.*prompt and chosen and rejected"):
        preference(tmp_path, {"messages": ASKED})


@pytest.mark.parametrize(
    "row",
    [
        {"text": SECRET},
        {"messages": SECRET},
        {"messages": {"role": "user"}},
        {"messages": [SECRET]},
        {"messages": [{"content": SECRET}]},
    ],
)
def test_a_row_laid_out_otherwise_is_named_and_not_shown(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match=r"row 2: the row is not laid out as the others are") as refused:
        chat(tmp_path, {"messages": ASKED}, row)
    assert "hunter2" not in str(refused.value)


# --- preferences -------------------------------------------------------------------------------

QUESTION, PROMPT = ASKED[0]["content"], [ASKED[0]]
BETTER, WORSE = "Code that copies itself.", "An animal."


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def said(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


def dialogue(text: str) -> str:
    return f"\n\nHuman: {QUESTION}\n\nAssistant: {text}"


PAIRS = [
    {"prompt": QUESTION, "chosen": BETTER, "rejected": WORSE},
    {"prompt": PROMPT, "chosen": [answer(BETTER)], "rejected": [answer(WORSE)]},
    {"conversations": [{"from": "human", "value": QUESTION}], "chosen": said(BETTER), "rejected": said(WORSE)},
    {"instruction": QUESTION, "input": "", "chosen": BETTER, "rejected": WORSE},
    {"chosen": [*PROMPT, answer(BETTER)], "rejected": [*PROMPT, answer(WORSE)]},
    {"chosen": dialogue(BETTER), "rejected": dialogue(WORSE)},
]


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: "-".join([*row, type(row["chosen"]).__name__]))
def test_a_preference_is_the_same_in_every_layout(row: dict[str, Any], tmp_path: Path) -> None:
    one = preference(tmp_path, row).examples[0]
    assert (one.prompt, one.chosen, one.rejected) == (PROMPT, BETTER, WORSE)
    assert one.id == preference(tmp_path, PAIRS[0]).examples[0].id


def test_what_two_dialogues_share_is_the_prompt(tmp_path: Path) -> None:
    shared = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: How do I\n\nreset it?"
    one = preference(tmp_path, {"chosen": f"{shared}\n\nAssistant: So.", "rejected": f"{shared}\n\nAssistant: No."})
    assert one.examples[0].prompt == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "How do I\n\nreset it?"},
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "both answers alike"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "no prompt, or an empty answer"),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "no prompt, or an empty answer"),
        ({"prompt": [], "chosen": "b", "rejected": "c"}, "no prompt, or an empty answer"),
        ({"prompt": "a", "chosen": [], "rejected": "c"}, "no prompt, or an empty answer"),
    ],
)
def test_what_is_no_preference_is_left_out_with_the_reason(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert preference(tmp_path, row, PAIRS[0]).left_out == {reason: 1}


def test_dialogues_that_part_early_are_left_out(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": asked}, {"role": "assistant", "content": "Yes."}] for asked in "ab"]
    for chosen, rejected in (turns, [f"\n\nHuman: {said}\n\nAssistant: Yes." for said in "ab"]):
        read = preference(tmp_path, {"chosen": chosen, "rejected": rejected})
        assert read.left_out == {"the two part before the last answer": 1}


KEYS = ["text", "label", "messages", "conversations", "instruction", "instances", "output", "prompt", "completion"]
KEYS += ["chosen", "rejected", "subject", "source", "question"]
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
parts = st.sampled_from(["role", "content", "from", "value", "type"])
cells = st.recursive(scalars, lambda cell: st.lists(cell, max_size=3) | st.dictionaries(parts, cell), max_leaves=8)


@given(
    kind=st.sampled_from(["chat", "preference", "classification", "continue"]),
    rows=st.lists(st.dictionaries(st.sampled_from(KEYS), cells), max_size=3),
)
def test_no_row_whatever_it_holds_ends_in_another_error(
    kind: str, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = lines(tmp_path_factory.getbasetemp() / "any.jsonl", *rows)
    try:
        read = read_examples([path], kind)
    except ForjaError:
        return
    assert len(read.examples) + read.left_out.total() == len(rows)


# --- real rows ---------------------------------------------------------------------------------

REAL_CHATS = {
    "alpaca_en.jsonl.gz": 808,
    "code_alpaca_2k.jsonl.gz": 1591,
    "dolly.jsonl.gz": 806,
    "hackmentor_security_seed.jsonl.gz": 106,
    "new_codealpaca.jsonl.gz": 1614,
    "seed_tasks.jsonl": 175,
}
REAL_PAIRS = {"dpo_en.jsonl.gz": 249, "hh_rlhf_harmless.jsonl.gz": 1655}
REAL_TEXTS = {
    "enron_spam.csv.gz": 8615,
    "nazario_phishing.csv.gz": 1177,
    "sms_spam.csv.gz": 4189,
    "urls.csv.gz": 8523,
}


@pytest.mark.realdata
def test_every_real_set_of_instructions_is_read(realdata: Path) -> None:
    folder = realdata / "sft"
    assert {path.name for path in folder.iterdir()} == {*REAL_CHATS, *REAL_PAIRS}
    for files, kind in ((REAL_CHATS, "chat"), (REAL_PAIRS, "preference")):
        for name, rows in files.items():
            read = read_examples([folder / name], kind)
            assert len(read.examples) + read.left_out.total() == rows
            assert read.left_out.total() <= 0.01 * rows
            assert all(one.source == name.split(".")[0] for one in read.examples)
            assert all(_well_formed(one) for one in read.examples)
    assert read_examples([folder / "code_alpaca_2k.jsonl.gz"], "chat").left_out == {"empty answer": 2}
    told = read_examples([folder / "dpo_en.jsonl.gz"], "preference").examples
    assert sum((one.prompt or [])[0]["role"] == "system" for one in told) == 65


def _well_formed(one: Example) -> bool:
    asked, answers = (one.prompt, {one.chosen, one.rejected}) if one.prompt else ((one.messages or [])[:-1], None)
    return "user" in {message["role"] for message in asked} and (answers is None or len(answers - {None, ""}) == 2)


@pytest.mark.realdata
def test_every_real_set_of_mails_messages_and_addresses_is_read(realdata: Path) -> None:
    for name, rows in REAL_TEXTS.items():
        read = read_examples([realdata / "phishing" / name], "classification")
        assert (len(read.examples), read.left_out.total()) == (rows, 0)
        assert {one.label for one in read.examples} == ({"1"} if name.startswith("nazario") else {"0", "1"})
        assert all("Subject: Subject:" not in (one.text or "")[:40] for one in read.examples)
    mails = read_examples([realdata / "phishing" / "enron_spam.csv.gz"], "classification").examples
    assert {one.source for one in mails} == {f"enron-spam/enron{number}" for number in range(1, 6)}
    assert all(str(one.text).startswith("Subject:") for one in mails)
