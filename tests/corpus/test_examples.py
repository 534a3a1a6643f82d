"""Rows as people have them to examples, and splits that do not leak."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.dedup import jaccard, normalise, shingles
from forja.corpus.examples.build import build_examples, load_examples
from forja.corpus.examples.layouts import Example, label_name, read_examples, with_subject
from forja.corpus.examples.split import NEAR, near_clusters, split_examples
from forja.corpus.rows import read_rows
from forja.errors import ForjaError

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
LAYOUTS: list[dict[str, Any]] = [
    {"messages": CHAT},
    {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    {"instruction": "Why?", "input": "", "output": "So."},
    {"instruction": "Why?", "context": "", "response": "So."},
    {"instruction": "Why?", "instances": [{"input": "", "output": "So."}]},
    {"prompt": "Why?", "completion": "So."},
    {"question": "Why?", "answer": "So."},
]
PAIRS: list[dict[str, Any]] = [
    {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    {"prompt": [CHAT[0]], "chosen": [{"role": "assistant", "content": "So."}], "rejected": [{"content": "No."}]},
    {
        "conversations": [{"from": "human", "value": "Why?"}],
        "chosen": {"from": "gpt", "value": "So."},
        "rejected": {"from": "gpt", "value": "No."},
    },
    {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
]


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("row", LAYOUTS, ids=lambda row: "+".join(row))
def test_every_layout_of_a_conversation_is_read_alike(row: dict[str, Any], tmp_path: Path) -> None:
    read = read_examples([jsonl(tmp_path / "a.jsonl", row)], "chat")
    assert [one.messages for one in read.examples] == [CHAT]
    assert read.examples[0].source == "a"


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: "+".join(row))
def test_every_layout_of_a_preference_is_read_alike(row: dict[str, Any], tmp_path: Path) -> None:
    one = read_examples([jsonl(tmp_path / "a.jsonl", row)], "preference").examples[0]
    assert (one.prompt, one.chosen, one.rejected) == ([CHAT[0]], "So.", "No.")


def test_a_further_input_goes_behind_its_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Translate", "input": "uno", "output": "one"}
    read = read_examples([jsonl(tmp_path / "a.jsonl", row)], "chat")
    assert read.examples[0].messages is not None
    assert read.examples[0].messages[0]["content"] == "Translate\n\nuno"


def test_what_teaches_no_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": CHAT[:1]},
        {"messages": [*CHAT, {"role": "user", "content": "And?"}]},
        {"messages": [CHAT[0], {"role": "assistant", "content": " "}]},
        {"messages": [{"role": "narrator", "content": "x"}]},
    ]
    read = read_examples([jsonl(tmp_path / "a.jsonl", *rows)], "chat")
    assert [one.messages for one in read.examples] == [CHAT]
    assert dict(read.left_out) == {"no question with an answer": 1, "empty answer": 1, "unknown role": 1}


@pytest.mark.parametrize(
    ("text", "label"), [("text", "label"), ("Sentence", "class"), ("url", "target"), ("body", "is_spam")]
)
def test_labelled_texts_are_found_under_usual_names(text: str, label: str, tmp_path: Path) -> None:
    row = {text: "hello there", label: 1, "region": "north", "long": "x" * 300}
    one = read_examples([jsonl(tmp_path / "a.jsonl", row)], "classification").examples[0]
    assert (one.text, one.label, one.groups) == ("hello there", "1", {"region": "north"})


def test_columns_of_other_names_are_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"said": "hello", "kind": True})
    one = read_examples([path], "classification", text_field="said", label_field="kind").examples[0]
    assert (one.text, one.label) == ("hello", "1")


def test_labels_that_are_written_differently_are_one() -> None:
    assert {label_name(value) for value in (1, 1.0, "1", " 1 ", "1.0", True)} == {"1"}
    assert label_name("spam") == "spam"


def test_a_subject_goes_before_its_mail_once() -> None:
    assert with_subject("Dear all", {"subject": "Lunch"}) == "Subject: Lunch\nDear all"
    assert with_subject("Subject: lunch\nDear all", {"subject": "lunch"}) == "Subject: lunch\nDear all"
    assert with_subject("Dear all", {}) == "Dear all"


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("a.csv", f"text\n{SECRET}\n", "classification", "labels are missing"),
        ("a.csv", f"text,label\nx,1\n{SECRET},\n", "classification", "row 2"),
        ("a.csv", f"alpha,label\n{SECRET},1\n", "classification", "no column holds the text"),
        ("a.csv", f"text,label\n{SECRET},1,2\n", "classification", "3 columns"),
        ("a.jsonl", f'{{"foo": "{SECRET}"}}\n', "chat", "no layout of chat examples"),
        ("a.jsonl", f'{{"text": "{SECRET}"\n', "continue", "line 1"),
        ("a.jsonl", "", "chat", "no rows"),
        ("a.jsonl", f'["{SECRET}"]\n', "chat", "a row is a JSON object"),
        ("a.json", f'"{SECRET}"', "chat", "neither a list of rows"),
        ("a.txt", SECRET, "continue", "a file of rows is"),
        ("a.jsonl", f'{{"messages": "{SECRET}"}}\n', "chat", "row 1"),
    ],
)
def test_bad_rows_are_named_and_never_quoted(name: str, content: str, kind: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ForjaError) as refused:
        read_examples([tmp_path / name], kind)
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_rows_are_the_same_in_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"text": 'a, "b"\nc', "label": "1"}, {"text": "d", "label": "0"}]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    jsonl(tmp_path / "a.jsonl", *rows)
    (tmp_path / "a.json").write_text(json.dumps({"questions": rows}))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"):
        assert [row.fields for row in read_rows(tmp_path / name)] == rows, name
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    with pytest.raises(ForjaError, match="not UTF-8"):
        list(read_rows(tmp_path / "latin.csv"))
    with pytest.raises(ForjaError, match="no such file"):
        list(read_rows(tmp_path / "gone.csv"))


# --- splits --------------------------------------------------------------------------------------

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def example(number: int, text: str | None = None, label: str = "", source: str = "s") -> Example:
    said = text or " ".join(random.Random(number).choices(WORDS, k=20)) + f" {number}"
    return Example(f"{number:032x}", text=said, label=label or str(number % 2), source=source)


def split(examples: list[Example], **settings: Any) -> Any:
    known = {"valid_fraction": 0.1, "test_fraction": 0.1, "seed": 1, "labelled": True}
    return split_examples(examples, **{**known, **settings})


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_rows_changes_nothing(shuffle: random.Random, seed: int) -> None:
    rows = [example(number) for number in range(60)]
    mixed = list(rows)
    shuffle.shuffle(mixed)
    assert split(rows, seed=seed) == split(mixed, seed=seed)


def test_every_example_lands_once_or_is_listed_as_removed() -> None:
    twins = [example(100 + number, f"twin {number // 2} of a kind {number // 2}") for number in range(20)]
    rows = [example(number) for number in range(80)] + twins
    found = split(rows)
    placed = [one.id for part in found.parts.values() for one in part] + [one for one, _, _ in found.removed]
    assert sorted(placed) == sorted(one.id for one in rows)
    assert {reason for _, _, reason in found.removed} == {"two-labels"}


def test_a_text_of_two_labels_is_left_out_and_of_one_kept_once() -> None:
    rows = [example(number) for number in range(40)]
    rows += [example(90, "The same", "0"), example(91, "the SAME!", "1"), example(92, "again so", "1"),
             example(93, "Again, so", "1")]  # fmt: skip
    found = split(rows)
    assert sorted(found.removed) == sorted(
        [(rows[-4].id, "s", "two-labels"), (rows[-3].id, "s", "two-labels"), (rows[-1].id, "s", "duplicate")]
    )


def test_no_near_duplicate_lies_on_the_other_side() -> None:
    source = random.Random(5)
    rows = []
    for number in range(60):
        words = source.choices(WORDS, k=60)
        for twin in range(2):
            rows.append(example(number * 2 + twin, " ".join([*words, str(twin)]), str(number % 2)))
    found = split(rows)
    sides = {one.id: (name, one.text) for name, part in found.parts.items() for one in part}
    hashed = {one: shingles(normalise(text), NEAR.shingle) for one, (_, text) in sides.items()}
    crossing = [
        (one, two) for one in sides for two in sides
        if sides[one][0] != sides[two][0] and jaccard(hashed[one], hashed[two]) >= NEAR.threshold
    ]  # fmt: skip
    assert crossing == []
    assert all(found.parts[name] for name in ("train", "valid", "test"))


def test_clusters_hold_what_is_alike_and_nothing_else() -> None:
    base = " ".join(random.Random(1).choices(WORDS, k=80))
    assert near_clusters([base, "something else altogether here", base + " more", base]).tolist() == [0, 1, 0, 0]


def test_each_class_and_source_has_its_share_in_each_split() -> None:
    rows = [example(number, label=str(number % 3 == 0), source="ab"[number % 2]) for number in range(240)]
    found = split(rows)
    for name in ("valid", "test"):
        assert {(one.label, one.source) for one in found.parts[name]} == {(one.label, one.source) for one in rows}
        assert 24 <= len(found.parts[name]) <= 30


def test_training_rows_like_a_test_row_are_left_out() -> None:
    rows = [example(number) for number in range(60)]
    held = [example(500, rows[3].text, rows[3].label), example(501)]
    found = split(rows, test=held)
    assert (rows[3].id, "s", "leaks-into-test") in found.removed
    assert {one.id for one in found.parts["test"]} == {one.id for one in held}
    assert all(one.text != rows[3].text for one in found.parts["train"] + found.parts["valid"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([example(number, label="x") for number in range(40)], "all examples are of one class"),
        ([example(number) for number in range(9)], "the fewest to learn from"),
        ([*(example(number, label="x") for number in range(40)), example(99, label="y")], "only one example of y"),
    ],
)
def test_too_little_to_learn_from_is_a_sentence(rows: list[Example], said: str) -> None:
    with pytest.raises(ForjaError, match=said):
        split(rows)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *({"text": f"{one.text}", "label": one.label, "lang": "en"}
                                         for one in map(example, range(60))))  # fmt: skip
    (tmp_path / "out").mkdir()
    figures = build_examples("classification", [path], tmp_path / "out", valid_fraction=0.1, test_fraction=0.2, seed=1)
    assert (figures.train + figures.valid + figures.test, figures.labels) == (60, {"0": 30, "1": 30})
    known = {one.id: one for one in read_examples([path], "classification").examples}
    for name in ("train", "valid", "test"):
        assert all(one == known[one.id] for one in load_examples(tmp_path / "out", name))
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["0", "1"]
    chats = jsonl(
        tmp_path / "c.jsonl", *({"prompt": f"q {number}", "completion": f"a {number}"} for number in range(40))
    )
    (tmp_path / "chat").mkdir()
    build_examples("chat", [chats], tmp_path / "chat", valid_fraction=0.1, test_fraction=0.1, limit=30, seed=1)
    read = load_examples(tmp_path / "chat", "train")
    assert all(one.messages and one.messages[-1]["role"] == "assistant" for one in read)
    assert sum(len(load_examples(tmp_path / "chat", name)) for name in ("train", "valid", "test")) == 30


@pytest.mark.realdata
def test_real_files_are_read_whole(realdata: Path) -> None:
    def counted(kind: str, *names: str) -> dict[str, int]:
        found = {}
        for name in names:
            read = read_examples([realdata / name], kind)
            found[name.rsplit("/", 1)[1].split(".")[0]] = len(read.examples) + read.left_out.total()
        return found

    assert counted("classification", "phishing/nazario_phishing.csv.gz", "phishing/enron_spam.csv.gz",
                   "phishing/sms_spam.csv.gz", "phishing/urls.csv.gz") == {
        "nazario_phishing": 1177, "enron_spam": 8615, "sms_spam": 4189, "urls": 8523}  # fmt: skip
    assert counted("chat", "sft/alpaca_en.jsonl.gz", "sft/dolly.jsonl.gz", "sft/code_alpaca_2k.jsonl.gz",
                   "sft/new_codealpaca.jsonl.gz", "sft/seed_tasks.jsonl", "sft/hackmentor_security_seed.jsonl.gz") == {
        "alpaca_en": 808, "dolly": 806, "code_alpaca_2k": 1591, "new_codealpaca": 1614, "seed_tasks": 175,
        "hackmentor_security_seed": 106}  # fmt: skip
    assert counted("preference", "sft/dpo_en.jsonl.gz", "sft/hh_rlhf_harmless.jsonl.gz") == {
        "dpo_en": 249, "hh_rlhf_harmless": 1655}  # fmt: skip
