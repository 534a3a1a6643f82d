"""Documents are found by id, words, person and cluster, and taken out so that no word of them is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forja.corpus.build import build_corpus
from forja.corpus.documents import DOCUMENTS, QUARANTINED, REJECTED
from forja.corpus.lineage import (
    FORGOTTEN,
    Found,
    figures_without,
    find_id,
    find_matching,
    find_rows,
    find_subject,
    forgotten_ids,
    in_first,
    placeholders,
    remove_documents,
    text_of,
    with_duplicates,
)
from forja.corpus.privacy import subject_key
from forja.errors import ForjaError
from forja.recipe import CorpusSection
from made import sentences

KEY = b"a key of sixteen or more bytes"


def digits(number: int) -> str:
    return f"{number:032x}"


def write(folder: Path, kind: str, number: int, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{kind}-{number:05d}.parquet", row_group_size=2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten ids over two groups of files: 2 and 7 are duplicates of 1, of another group; 4 is quarantined."""
    folder = tmp_path / "corpus"
    one = {"cluster": digits(1)}
    plain = {"source": "mail", "origin": "box#1", "meta": "{}", "lang": "en", "subjects": []}
    for number, ids in enumerate(((0, 1, 3), (6, 8, 9))):
        documents = [
            {**plain, "id": digits(at), "text": f"Text of document {at}.", **(one if at == 1 else {})} for at in ids
        ]
        write(folder, "documents", number, DOCUMENTS, documents)
    flags = json.dumps([{"kind": "unicode", "evidence": {}}])
    held = {
        **plain,
        "id": digits(4),
        "text": "Held back.",
        "flags": flags,
        "author": subject_key("ann@example.org", KEY),
    }
    held["subjects"] = [subject_key("bob@example.org", KEY)]
    write(folder, "quarantined", 0, QUARANTINED, [held])
    write(folder, "quarantined", 1, QUARANTINED, [])
    copy = {"source": "mail", "reason": "near-duplicate", "duplicate_of": digits(1), "meta": '{"to": "Carla"}', **one}
    write(folder, "rejected", 0, REJECTED, [{**copy, "id": digits(2), "origin": "box#2"}])
    write(folder, "rejected", 1, REJECTED, [{"id": digits(5), "reason": "too-short"}, {**copy, "id": digits(7)}])
    return folder


def ids_in(folder: Path) -> dict[str, list[str]]:
    return {path.stem: pq.read_table(path)["id"].to_pylist() for path in sorted(folder.glob("*.parquet"))}


def test_a_unique_prefix_is_enough_and_others_are_told_apart(corpus: Path, tmp_path: Path) -> None:
    write(tmp_path / "more", "documents", 0, DOCUMENTS, [{"id": "abcd" + "0" * 28}, {"id": "abce" + "0" * 28}])
    assert find_id(tmp_path / "more", " ABCD ") == "abcd" + "0" * 28
    with pytest.raises(ForjaError, match=r"2 documents have ids that begin with abc\."):
        find_id(tmp_path / "more", "abc")
    with pytest.raises(ForjaError, match="no document here has the id abcd1") as caught:
        find_id(tmp_path / "more", "abcd1")
    assert "The nearest is abcd0" in str(caught.value)
    with pytest.raises(ForjaError, match="is no document id"):
        find_id(corpus, "../etc")
    assert find_id(corpus, "ff", others=["ff" * 16]) == "ff" * 16


def test_a_document_is_found_with_every_member_of_its_cluster(corpus: Path) -> None:
    for member in (1, 2, 7):
        found = with_duplicates(corpus, [digits(member)])
        assert {(row.kind, row.number, row.id) for row in found} == {
            ("documents", 0, digits(1)),
            ("rejected", 0, digits(2)),
            ("rejected", 1, digits(7)),
        }
    assert [row.id for row in with_duplicates(corpus, [digits(8)])] == [digits(8)]
    (kept,) = find_rows(corpus, [digits(1)])
    assert text_of(corpus, kept) == "Text of document 1."
    assert kept.size == len("Text of document 1.")
    (copy,) = find_rows(corpus, [digits(2)])
    assert text_of(corpus, copy) is None


def test_words_are_looked_for_in_text_origin_and_meta(corpus: Path) -> None:
    assert find_matching(corpus, r"document [89]\b") == {digits(8), digits(9)}
    assert find_matching(corpus, "Carla") == {digits(2), digits(7)}
    assert find_matching(corpus, r"box#2$") == {digits(2)}
    assert find_matching(corpus, "Held") == {digits(4)}
    assert find_matching(corpus, "nobody") == set()
    with pytest.raises(ForjaError, match="regular expression cannot be read"):
        find_matching(corpus, "[")


def test_a_person_is_found_by_the_key_alone(corpus: Path) -> None:
    assert find_subject(corpus, " Ann@Example.org ", KEY) == {digits(4)}
    assert find_subject(corpus, "bob@example.org", KEY) == {digits(4)}
    assert find_subject(corpus, "bob@example.org", b"another key of 16 bytes") == set()


def test_what_is_taken_out_leaves_an_id_and_a_reason_and_nothing_else(corpus: Path) -> None:
    write(corpus, "examples", 0, pa.schema([("id", pa.string()), ("text", pa.string())]), [
        {"id": digits(1), "text": "Text of document 1."}, {"id": digits(9), "text": "Text of document 9."}
    ])  # fmt: skip
    remove_documents(corpus, {0: [digits(1), digits(2), digits(4)], 1: [digits(7)]})
    assert ids_in(corpus) == {
        "documents-00000": [digits(0), digits(3)],
        "documents-00001": [digits(6), digits(8), digits(9)],
        "examples-00000": [digits(9)],
        "quarantined-00000": [],
        "quarantined-00001": [],
        "rejected-00000": [digits(1), digits(2), digits(4)],
        "rejected-00001": [digits(5), digits(7)],
    }
    for number in (1, 2, 4, 7):
        (trace,) = find_rows(corpus, [digits(number)])
        told = {name: value for name, value in trace.row.items() if value is not None}
        assert told == {"id": digits(number), "reason": FORGOTTEN}
    assert pq.read_schema(corpus / "documents-00000.parquet").equals(DOCUMENTS)
    assert pq.read_schema(corpus / "rejected-00000.parquet").equals(REJECTED)
    for path in corpus.glob("*.parquet"):
        assert b"document 1" not in path.read_bytes()


def test_taking_out_again_changes_no_byte(corpus: Path) -> None:
    numbers = {0: [digits(1), digits(2)], 1: [digits(7)]}
    remove_documents(corpus, numbers)
    once = {path.name: path.read_bytes() for path in corpus.iterdir()}
    remove_documents(corpus, numbers)
    assert {path.name: path.read_bytes() for path in corpus.iterdir()} == once


def test_placeholders_are_counted_by_kind() -> None:
    assert placeholders("From <email> to <email>, call <phone>; <b>bold</b>") == {"email": 2, "phone": 1}


def test_a_sample_takes_the_first_of_the_corpus(corpus: Path) -> None:
    every = [digits(number) for number in range(10)]
    size = len("Text of document 0.")
    assert in_first(corpus, every, 1) == {digits(0)}
    assert in_first(corpus, every, size) == {digits(0)}
    assert in_first(corpus, every, size + 1) == {digits(0), digits(1)}
    assert in_first(corpus, every, 10**6) == {digits(number) for number in (0, 1, 3, 6, 8, 9)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CorpusSection, dict[str, Any]]:
    """A corpus that the stage built of text with duplicates, a short document and a poisoned one."""
    from dataclasses import asdict

    folder = tmp_path_factory.mktemp("built")
    texts = [sentences(number, 8) for number in range(12)]
    rows = [*texts, texts[3], texts[3] + " Once more.", "short", sentences(90, 8) + "\u202ehidden\u2066 text\u202e"]
    (folder / "text.jsonl").write_text(
        "".join(json.dumps({"id": at, "text": row}) + "\n" for at, row in enumerate(rows))
    )
    section = CorpusSection.model_validate({"sources": [{"path": str(folder / "text.jsonl"), "region": "DE"}]})
    (folder / "corpus").mkdir()
    figures = build_corpus(section, folder / "corpus", base_folder=folder)
    return folder, section, json.loads(json.dumps(asdict(figures)))


def test_figures_shrink_to_those_of_a_corpus_built_without_it(
    built: tuple[Path, CorpusSection, dict[str, Any]], tmp_path: Path
) -> None:
    from dataclasses import asdict

    folder, section, figures = built
    corpus = Path(shutil.copytree(folder / "corpus", tmp_path / "corpus"))
    words = sentences(3, 8)[:60]
    chosen = find_matching(corpus, words) | find_matching(corpus, "hidden")
    rows = with_duplicates(corpus, chosen)
    assert {row.kind for row in rows} >= {"documents", "rejected"}
    told = figures_without(figures, rows)
    remove_documents(corpus, {0: sorted({row.id for row in rows})})
    (tmp_path / "again").mkdir()
    gone = frozenset(row.id for row in rows)
    again = json.loads(
        json.dumps(asdict(build_corpus(section, tmp_path / "again", base_folder=folder, forgotten=gone)))
    )
    for name in ("documents", "languages", "regions"):
        assert told[name] == again[name]
    for name in ("kept", "quarantined"):
        assert told["bytes"][name] == again["bytes"][name]
    for name in ("rejected", "kept_documents", "kept_bytes", "synthetic_documents"):
        assert told["sources"]["text.jsonl"][name] == again["sources"]["text.jsonl"][name]
    for kind in ("documents", "quarantined", "rejected"):
        mine, theirs = (ids_in(place)[f"{kind}-00000"] for place in (corpus, tmp_path / "again"))
        assert mine == theirs
    assert (
        pq.read_table(corpus / "documents-00000.parquet").to_pylist()
        == pq.read_table(tmp_path / "again" / "documents-00000.parquet").to_pylist()
    )


def test_synthetic_text_is_counted_down_too() -> None:
    row = {"id": digits(1), "source": "made", "lang": "en", "meta": '{"synthetic": true}'}
    counts = {"kept_documents": 3, "kept_bytes": 90, "synthetic_documents": 2, "rejected": {}}
    before = {
        "documents": {"kept": 3, "rejected": 0, "synthetic": 2},
        "bytes": {"kept": 90, "synthetic": 60},
        "sources": {"made": counts},
        "languages": {"en": [3, 90]},
        "regions": {"unknown": [3, 90]},
    }
    after = figures_without(before, [Found("documents", 0, 30, row)])
    assert after["documents"] == {"kept": 2, "rejected": 1, "synthetic": 1}
    assert after["bytes"] == {"kept": 60, "synthetic": 30}
    assert after["languages"] == {"en": [2, 60]}
    assert before["bytes"]["kept"] == 90


def test_a_run_that_forgot_nothing_lists_nothing(tmp_path: Path) -> None:
    assert forgotten_ids(tmp_path) == frozenset()
