from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.decontaminate import MOST_RUNS_NAMED, PIECE, Decontaminator, Evidence, drop_common
from forja.errors import ForjaError


def gzipped(content: bytes) -> bytes:
    """The same bytes at any time, so that tests named after them have the same names in every process."""
    return gzip.compress(content, mtime=0)


STEMS = ("río", "neu", "cat", "sun", "straße", "el", "mar", "dog")
VOCABULARY = [f"{stem}{ending}" for stem in STEMS for ending in ("a", "is", "ón", "7")]
RANDOM = random.Random(4)


def unique_words(count: int, mark: str) -> list[str]:
    """Words that occur nowhere else."""
    return [f"{RANDOM.choice(VOCABULARY)}{mark}{index}" for index in range(count)]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture(scope="module")
def item() -> list[str]:
    return unique_words(40, "q")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, item: list[str]) -> Decontaminator:
    folder = tmp_path_factory.mktemp("sets")
    rows = [{"question": " ".join(unique_words(20, "other")), "label": 1}, {"question": " ".join(item), "label": 0}]
    return Decontaminator.from_files([write(folder, "exam/test.jsonl", "\n".join(map(json.dumps, rows)))], 13)


CASES = (str.lower, str.upper, str.title, str.swapcase)
PARTS = (" ", "\n", ", ", "—", " ... ", "\t", '" "', "; (", ")/", "\u00a0", "*", " | ")


@given(st.data())
def test_a_planted_run_is_found_in_any_case_and_punctuation(built: Decontaminator, item: list[str], data: Any) -> None:
    first = data.draw(st.integers(0, len(item) - 13))
    run = item[first : first + 13]
    planted = "".join(data.draw(st.sampled_from(CASES))(word) + data.draw(st.sampled_from(PARTS)) for word in run)
    before = " ".join(data.draw(st.lists(st.sampled_from(["x", "the", "cat!", "9"]), max_size=30)))
    after = " ".join(data.draw(st.lists(st.sampled_from(["x", "the", "cat!", "9"]), max_size=30)))
    evidence = built.shared(f"{before} {planted} {after}")
    assert evidence is not None
    assert (evidence.set, evidence.item, evidence.runs) == ("exam/test.jsonl", 1, 1)
    assert evidence.run == " ".join(word.casefold() for word in run)


@given(st.data())
def test_twelve_words_are_never_enough(built: Decontaminator, item: list[str], data: Any) -> None:
    parts = []
    for _ in range(data.draw(st.integers(1, 5))):
        first = data.draw(st.integers(0, len(item) - 12))
        parts.append(" ".join(item[first : first + 12]))
    assert built.shared(" between ".join(parts)) is None


@given(st.data())
def test_one_changed_word_in_thirteen_breaks_the_run(built: Decontaminator, item: list[str], data: Any) -> None:
    run = item[:13]
    run[data.draw(st.integers(0, 12))] = "changed"
    assert built.shared(" ".join(run)) is None


@given(st.text(st.characters(), max_size=400))
def test_text_of_another_kind_shares_nothing(built: Decontaminator, text: str) -> None:
    assert built.shared(text) is None


def test_every_shared_run_is_counted_and_the_first_is_shown(built: Decontaminator, item: list[str]) -> None:
    evidence = built.shared(" ".join(item))
    assert evidence is not None
    assert evidence.runs == 40 - 13 + 1
    assert evidence.run == " ".join(item[:13]).casefold()
    assert len(set(evidence.keys)) == 28


def test_a_run_over_the_border_of_two_documents_is_none(built: Decontaminator, item: list[str]) -> None:
    texts = [" ".join(item[:12]), " ".join(item[12:24]), " ".join(item[20:33])]
    assert [bool(evidence) for evidence in built.shared_all(texts)] == [False, False, True]


def test_many_at_once_are_searched_as_each_alone(built: Decontaminator, item: list[str]) -> None:
    texts = ["", " ".join(item[5:19]), "word " * 30_000, " ".join(item), "x", "filler " * 20_000 + " ".join(item[:13])]
    assert built.shared_all(texts) == [built.shared(text) for text in texts]
    assert [bool(evidence) for evidence in built.shared_all(texts)] == [False, True, False, True, False, True]


@pytest.mark.parametrize("offset", [-200, -60, -1, 0, 5])
def test_a_run_is_found_wherever_it_lies_in_a_very_long_text(
    built: Decontaminator, item: list[str], offset: int
) -> None:
    filler = "word " * (PIECE // 5 + 1)
    place = PIECE + offset
    evidence = built.shared(f"{filler[:place]} {' '.join(item[:13])} {filler}")
    assert evidence is not None
    assert evidence.run == " ".join(item[:13]).casefold()


@pytest.mark.parametrize(("length", "found"), [(7, False), (8, True), (12, True)])
def test_a_short_item_counts_as_a_whole_from_eight_words(tmp_path: Path, length: int, found: bool) -> None:
    words = unique_words(length, "s")
    built = Decontaminator.from_files([write(tmp_path, "set.txt", " ".join(words))], 13)
    assert bool(built.shared(f"so {' '.join(words)} and on")) is found
    assert built.shared(f"so {' '.join(words[:-1])} and on") is None
    assert built.sets[0].short == (0 if found else 1)


def test_an_instruction_that_all_items_share_is_no_contamination(tmp_path: Path) -> None:
    instruction = "Read the passage below and answer the question that follows it with one word only please"
    items = [f"{instruction}: {' '.join(unique_words(20, f'i{index}n'))}" for index in range(11)]
    built = Decontaminator.from_files([write(tmp_path, "set.jsonl", "\n".join(map(json.dumps, items)))], 13)
    assert built.shared(f"The task says: {instruction}.") is None
    assert built.shared(items[4]) is not None
    few = Decontaminator.from_files([write(tmp_path, "few.jsonl", "\n".join(map(json.dumps, items[:10])))], 13)
    assert few.shared(f"The task says: {instruction}.") is not None


def test_a_passage_that_many_questions_repeat_is_contamination(tmp_path: Path) -> None:
    passage = " ".join(unique_words(60, "p"))
    rows = [json.dumps({"passage": passage, "question": f"What is {index}?"}) for index in range(30)]
    built = Decontaminator.from_files([write(tmp_path, "set.jsonl", "\n".join(rows))], 13)
    assert built.shared(passage) is not None


def _csv(rows: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows(rows)
    return text.getvalue()


def _parquet(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"n": [1, 2], "turns": [[{"content": "hi"}], [{"content": "ho"}, {"content": text}]]}), sink
    )
    return bytes(sink.getvalue())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "item_number", "content"),
    [
        ("a.jsonl", 1, lambda text: f'{{"x": 1}}\n{json.dumps({"a": {"b": ["no", text]}})}\n'),
        ("a.json", 1, lambda text: json.dumps([{"x": 1}, {"a": text}])),
        ("nested.json", 2, lambda text: json.dumps({"version": "1", "questions": [1, {"q": "what"}, {"q": text}]})),
        ("a.csv", 1, lambda text: _csv([["id", "text"], ["1", f'a "quoted"\nline, {text}']], ",")),
        ("a.tsv", 1, lambda text: _csv([["id", "text"], ["1", f'an "odd quote {text}'.replace('"', "'")]], "\t")),
        ("a.txt", 1, lambda text: f"A first paragraph.\n\n{text[: len(text) // 2]}\n{text[len(text) // 2 :]}\n"),
        ("a.parquet", 1, _parquet),
    ],
)
def test_sets_are_read_in_the_formats_they_come_in(
    tmp_path: Path, packed: bool, name: str, item_number: int, content: Any
) -> None:
    words = unique_words(30, "f")
    raw = content(" ".join(words))
    raw = raw.encode() if isinstance(raw, str) else raw
    path = write(tmp_path, f"{name}.gz" if packed else name, gzipped(raw) if packed else raw)
    evidence = Decontaminator.from_files([path], 13).shared(" ".join(words[1:14]))
    assert evidence is not None
    assert evidence.item == item_number


def test_a_quotation_mark_in_a_tsv_swallows_no_lines(tmp_path: Path) -> None:
    words = unique_words(20, "t")
    path = write(tmp_path, "a.tsv", f'1\t"open\n2\t{" ".join(words)}\n3\tend\n')
    evidence = Decontaminator.from_files([path], 13).shared(" ".join(words))
    assert evidence is not None
    assert evidence.item == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": '),
        ("a.json", b"{"),
        ("a.json", b"[" * 100_000),
        ("a.jsonl.gz", b"not gzip"),
        ("a.jsonl.gz", gzipped(b'"x"' * 1000)[:-20]),
        ("a.csv", b"\xff\xfe\x00bad"),
        ("a.parquet", b"PAR1 no PAR1"),
    ],
)
def test_a_set_that_cannot_be_read_is_an_error_not_an_empty_set(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ForjaError, match=r"cannot be read") as error:
        Decontaminator.from_files([path], 13)
    assert error.value.where == str(path)


def test_a_missing_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no such file"):
        Decontaminator.from_files([tmp_path / "none.jsonl"], 13)


def test_what_is_saved_and_loaded_finds_the_same(tmp_path: Path, built: Decontaminator, item: list[str]) -> None:
    built.save(tmp_path / "sets.npz")
    loaded = Decontaminator.load(tmp_path / "sets.npz")
    texts = [" ".join(item), "nothing", " ".join(item[3:16])]
    assert loaded.shared_all(texts) == built.shared_all(texts)
    assert (loaded.sets, loaded.tokens) == (built.sets, built.tokens)
    with np.load(tmp_path / "sets.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut"])
def test_a_damaged_index_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ForjaError, match="cannot be read"):
        Decontaminator.load(write(tmp_path, "sets.npz", content))


def test_half_a_surrogate_pair_parts_words_and_is_no_obstacle(tmp_path: Path) -> None:
    words = unique_words(20, "h")
    path = write(tmp_path, "a.jsonl", json.dumps("\ud800".join(words)))
    assert Decontaminator.from_files([path], 13).shared(" \udfff".join(words)) is not None


def test_no_sets_find_nothing(tmp_path: Path) -> None:
    for paths in ([], [write(tmp_path, "empty.jsonl", "")]):
        built = Decontaminator.from_files(paths, 13)
        assert built.shared_all(["one two three " * 20, ""]) == [None, None]


@pytest.mark.parametrize("tokens", [4, 8, 64])
def test_a_run_is_as_long_as_the_recipe_says(tmp_path: Path, tokens: int) -> None:
    words = unique_words(tokens + 5, "n")
    built = Decontaminator.from_files([write(tmp_path, "set.txt", " ".join(words))], tokens)
    assert built.shared(" ".join(words[2 : 2 + tokens])) is not None
    assert built.shared(" ".join(words[2 : 1 + tokens])) is None


def test_scripts_without_blanks_are_searched_by_character(tmp_path: Path) -> None:
    text = "委员会下周将再次开会，讨论应该如何处理这条河流的问题。"
    built = Decontaminator.from_files([write(tmp_path, "set.txt", text)], 13)
    assert built.shared(f"他说：「{text[3:17]}」") is not None
    assert built.shared(text[3:13]) is None


def test_runs_that_many_documents_share_count_for_none_of_them() -> None:
    def evidence(*keys: int) -> Evidence:
        return Evidence("set", 0, "run", len(keys), keys)

    phrase = [evidence(1) for _ in range(11)]
    assert drop_common([*phrase, None, evidence(1, 2)]) == [*[None] * 12, evidence(1, 2)]
    assert drop_common(phrase[:10]) == phrase[:10]
    long = evidence(*range(MOST_RUNS_NAMED))
    assert drop_common([long] * 20) == [long] * 20


@pytest.mark.realdata
def test_real_sets_are_found_in_text_that_quotes_them_and_not_in_other_text(realdata: Path) -> None:
    paths = [
        realdata / "superglue/BoolQ/val.jsonl.gz",
        realdata / "glue/RTE/dev.tsv",
        realdata / "cyberqa/cti-mcq.tsv.gz",
    ]
    built = Decontaminator.from_files(paths, 13)
    with gzip.open(paths[0], "rt") as lines:
        rows = [json.loads(line) for line in lines]
    quoted = [f"As I read: {row['passage'].upper()}" for row in rows]
    assert sum(evidence is not None for evidence in built.shared_all(quoted)) >= 0.99 * len(quoted)
    with gzip.open(realdata / "corpora/general/books_es.jsonl.gz", "rt") as lines:
        spanish = [json.loads(line)["text"] for line in lines]
    with gzip.open(realdata / "corpora/general/books_en.jsonl.gz", "rt") as lines:
        books = [json.loads(line)["text"] for line in lines]
    assert not any(built.shared_all(spanish))
    assert sum(evidence is not None for evidence in built.shared_all(books)) <= 0.02 * len(books)
