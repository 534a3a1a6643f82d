"""Files of examples become Parquet splits that come back as they went in, and every row is accounted for."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forja.corpus.examples.build import ExampleFigures, build_examples, load_examples, sorted_labels
from forja.corpus.examples.split import SPLITS
from forja.errors import ForjaError
from made import sentences

FRACTIONS = {"valid_fraction": 0.1, "test_fraction": 0.1}


def labelled(count: int, seed: int = 0) -> list[dict[str, Any]]:
    regions = random.Random(seed)
    return [
        {"text": sentences(seed * 1000 + at, 3), "label": at % 2, "region": regions.choice(["north", "south"])}
        for at in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(kind: str, files: list[Path], workspace: Path, **more: Any) -> ExampleFigures:
    workspace.mkdir(exist_ok=True)
    return build_examples(kind, files, workspace, **{**FRACTIONS, "seed": 0, **more})


def test_every_row_is_in_a_split_or_has_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = labelled(100)
    torn = {**rows[3], "label": 0}
    path = write(tmp_path / "mails.jsonl", [*rows, rows[0], rows[1], torn, {"text": "", "label": 1}])
    figures = build("classification", [path], tmp_path / "out")
    assert figures == ExampleFigures(
        train=79,
        valid=10,
        test=10,
        labels={"0": 50, "1": 49},
        sources={"mails": 99},
        removed={"duplicate": 2, "empty": 1, "two-labels": 2},
    )
    said = capsys.readouterr().err
    assert "79 train, 10 valid, 10 test; left out 5 (duplicate 2, two-labels 2, empty 1)" in said
    assert rows[0]["text"] not in said
    removed = pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()
    assert Counter(row["reason"] for row in removed) == {"duplicate": 2, "two-labels": 2}
    assert {tuple(row) for row in removed} == {("id", "source", "reason")}
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["0", "1"]


def test_examples_come_back_as_they_were_read(tmp_path: Path) -> None:
    rows = labelled(60)
    build("classification", [write(tmp_path / "mails.jsonl", rows)], tmp_path / "out")
    loaded = [one for split in SPLITS for one in load_examples(tmp_path / "out", split)]
    assert sorted((one.text, one.label, one.groups["region"]) for one in loaded) == sorted(
        (row["text"], str(row["label"]), row["region"]) for row in rows
    )
    columns = ["id", "text", "label", "messages", "prompt", "chosen", "rejected", "source", "groups"]
    assert pq.read_schema(tmp_path / "out" / "train.parquet").names == columns


def test_conversations_and_preferences_come_back_too(tmp_path: Path) -> None:
    chats = [
        {"messages": [{"role": "user", "content": sentences(at, 1)}, {"role": "assistant", "content": f"Nº {at}"}]}
        for at in range(40)
    ]
    build("chat", [write(tmp_path / "chats.jsonl", chats)], tmp_path / "chat")
    loaded = [one for split in SPLITS for one in load_examples(tmp_path / "chat", split)]
    assert {str(one.messages[-1]["content"]): one.messages for one in loaded if one.messages} == {
        row["messages"][-1]["content"]: row["messages"] for row in chats
    }
    assert all((one.text, one.label, one.prompt) == (None, None, None) for one in loaded)
    pairs = [{"prompt": sentences(at, 1), "chosen": f"yes {at}", "rejected": "no"} for at in range(40)]
    build("preference", [write(tmp_path / "pairs.jsonl", pairs)], tmp_path / "pairs")
    loaded = [one for split in SPLITS for one in load_examples(tmp_path / "pairs", split)]
    assert {one.chosen: (one.prompt, one.rejected) for one in loaded} == {
        row["chosen"]: ([{"role": "user", "content": row["prompt"]}], row["rejected"]) for row in pairs
    }
    assert not (tmp_path / "pairs" / "labels.json").exists()


def test_a_conversation_cut_after_its_last_answer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = [{"role": "user", "content": "What now?"}]
    chats = [
        {"messages": [{"role": "user", "content": sentences(at, 1)}, {"role": "assistant", "content": "Yes."}, *ended]}
        for at in range(30)
    ]
    build("chat", [write(tmp_path / "chats.jsonl", chats)], tmp_path / "out")
    assert "30 conversations went on after the last answer" in capsys.readouterr().err


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    rows = [{**row, "text": f"{row['text']} \ud800"} for row in labelled(40)]
    build("classification", [write(tmp_path / "odd.jsonl", rows)], tmp_path / "out")
    assert all(str(one.text).endswith(" ?") for one in load_examples(tmp_path / "out", "train"))


def test_the_same_rows_in_another_order_and_other_files_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{**row, "source": "ours"} for row in labelled(80)]
    shuffled = random.Random(1).sample(rows, len(rows))
    build("classification", [write(tmp_path / "all.jsonl", rows)], tmp_path / "one")
    halves = [write(tmp_path / f"{name}.jsonl", part) for name, part in (("a", shuffled[:30]), ("b", shuffled[30:]))]
    build("classification", halves, tmp_path / "two")
    for split in SPLITS:
        assert (tmp_path / "one" / f"{split}.parquet").read_bytes() == (
            tmp_path / "two" / f"{split}.parquet"
        ).read_bytes()
    build("classification", halves, tmp_path / "three", seed=1)
    assert load_examples(tmp_path / "three", "test") != load_examples(tmp_path / "two", "test")


def test_a_test_file_is_the_test_split_and_its_copies_leave_training(tmp_path: Path) -> None:
    rows, test = labelled(60), labelled(20, seed=1)
    files = [write(tmp_path / "train.jsonl", [*rows, *test[:4]])]
    figures = build("classification", files, tmp_path / "out", test_files=[write(tmp_path / "test.jsonl", test)])
    assert (figures.train + figures.valid, figures.test) == (60, 20)
    assert figures.removed == {"leaks-into-test": 4}
    assert {one.source for one in load_examples(tmp_path / "out", "test")} == {"test"}


def test_at_most_so_many_examples_whatever_their_order(tmp_path: Path) -> None:
    rows = labelled(100)
    one = build("classification", [write(tmp_path / "a.jsonl", rows)], tmp_path / "one", limit=50)
    assert one.train + one.valid + one.test == 50
    assert one.removed == {"over-limit": 50}
    build("classification", [write(tmp_path / "a.jsonl", rows[::-1])], tmp_path / "two", limit=50)
    assert all(load_examples(tmp_path / "one", split) == load_examples(tmp_path / "two", split) for split in SPLITS)


def test_numbers_are_sorted_as_numbers_and_names_as_names(tmp_path: Path) -> None:
    assert sorted_labels({"10", "9", "-1", "0.5"}) == ["-1", "0.5", "9", "10"]
    assert sorted_labels({"10", "9", "spam"}) == ["10", "9", "spam"]


def test_a_class_that_is_only_tested_is_refused(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [{**row, "label": "phish"} for row in labelled(5, seed=2)])
    with pytest.raises(ForjaError, match="phish occurs in the held-out examples and in none that are trained on"):
        build("classification", [write(tmp_path / "a.jsonl", labelled(60))], tmp_path / "out", test_files=[test])


def test_a_split_that_was_not_made_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="there are no examples here"):
        load_examples(tmp_path, "train")


@pytest.mark.realdata
def test_real_mails_and_real_instructions_are_built(realdata: Path, tmp_path: Path) -> None:
    files = [realdata / "phishing" / name for name in ("sms_spam.csv.gz", "nazario_phishing.csv.gz")]
    figures = build("classification", files, tmp_path / "mails")
    kept = figures.train + figures.valid + figures.test
    assert kept + sum(figures.removed.values()) == 4189 + 1177
    assert figures.sources.keys() == {"nazario", "sms-spam-collection"}
    assert kept == sum(figures.labels.values()) == sum(figures.sources.values())
    chats = [realdata / "sft" / name for name in ("dolly.jsonl.gz", "seed_tasks.jsonl", "code_alpaca_2k.jsonl.gz")]
    figures = build("chat", chats, tmp_path / "chats")
    assert figures.train + figures.valid + figures.test + sum(figures.removed.values()) == 806 + 175 + 1591
    assert min(figures.valid, figures.test) > 200
