from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from forja.corpus import reading
from forja.corpus.build import CorpusFigures, build_corpus
from forja.corpus.documents import DOCUMENTS, REJECTED, document_id
from forja.errors import ForjaError
from forja.recipe import CorpusSection, Source


def prose(seed: int, count: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(f"word{draw.randrange(3000)}" for _ in range(count)) + "."


def build(place: Path, name: str = "corpus", **section: Any) -> CorpusFigures:
    workspace = place / name
    workspace.mkdir(exist_ok=True)
    return build_corpus(CorpusSection.model_validate(section), workspace, base_folder=place)


def rows(place: Path, kind: str, name: str = "corpus") -> list[dict[str, Any]]:
    return [row for path in sorted((place / name).glob(f"{kind}-*.parquet")) for row in pq.read_table(path).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder `in` with a little of everything."""
    inside = tmp_path / "in"
    inside.mkdir()
    lines = [{"id": f"d{number}", "text": prose(number)} for number in range(40)]
    lines.append({"id": "copy", "text": prose(0) + "  \r\n"})
    changed = prose(1, 200)
    lines += [{"id": "long", "text": changed + " and more"}, {"id": "near", "text": changed}]
    (inside / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n")
    (inside / "page.html").write_text(f"<html><body><p>{prose(100)}</p></body></html>")
    (inside / "notes.md").write_text(f"# Notes\n\n{prose(101)}\n\nWrite to me@example.org.\n")
    (inside / "short.txt").write_text("too little")
    (inside / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    return tmp_path


def test_documents_and_rejections_have_the_promised_columns_sorted_by_id(mixed: Path) -> None:
    figures = build(mixed, sources=[{"path": "in", "licence": "CC0", "lang": "en"}])
    assert pq.read_schema(mixed / "corpus" / "documents-00000.parquet").equals(DOCUMENTS)
    assert pq.read_schema(mixed / "corpus" / "rejected-00000.parquet").equals(REJECTED)
    kept, rejected = rows(mixed, "documents"), rows(mixed, "rejected")
    assert [row["id"] for row in kept] == sorted(row["id"] for row in kept)
    assert [row["id"] for row in rejected] == sorted(row["id"] for row in rejected)
    assert figures.documents == {
        "read": len(kept) + len(rejected),
        "rejected": len(rejected),
        "duplicates": 2,
        "quarantined": 0,
        "synthetic": 0,
        "kept": len(kept),
    }
    assert figures.bytes["kept"] == sum(len(row["text"].encode()) for row in kept)
    assert figures.sources["in"].kept_documents == len(kept)
    assert figures.sources["in"].masked == {"email": 1}
    assert {(row["licence"], row["lang"], row["source"]) for row in kept} == {("CC0", "en", "in")}
    assert sorted(path.name for path in (mixed / "corpus").iterdir()) == [
        "documents-00000.parquet",
        "quarantined-00000.parquet",
        "rejected-00000.parquet",
    ]


def test_every_rejection_has_its_reason_and_a_duplicate_names_the_one_kept(mixed: Path) -> None:
    build(mixed, sources=[{"path": "in"}])
    rejected = {(row["origin"], row["reason"]): row for row in rows(mixed, "rejected")}
    assert {("a.jsonl#44", "not-json"), ("short.txt", "too-short"), ("picture.png", "not-text")} <= rejected.keys()
    assert len(rejected) == 5
    kept = {row["id"]: row for row in rows(mixed, "documents")}
    (exact,) = (row for row in rejected.values() if row["reason"] == "exact-duplicate")
    assert {json.loads(exact["meta"])["id"], json.loads(kept[exact["duplicate_of"]]["meta"])["id"]} == {"copy", "d0"}
    near = rejected["a.jsonl#43", "near-duplicate"]
    assert json.loads(near["meta"])["id"] == "near"
    assert json.loads(kept[near["duplicate_of"]]["meta"])["id"] == "long", "the longer one stays"


def test_two_builds_are_equal_byte_for_byte_however_many_chunks(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [{"path": "in"}, {"path": "in", "name": "again"}]
    first = build(mixed, "one", sources=sources)
    monkeypatch.setattr(reading, "CHUNK_RECORDS", 7)  # now over several processes
    second = build(mixed, "two", sources=sources)
    assert contents(mixed / "one") == contents(mixed / "two")
    assert dataclasses.asdict(first) == dataclasses.asdict(second)


def test_what_a_killed_attempt_left_changes_nothing(mixed: Path) -> None:
    build(mixed, "one", sources=[{"path": "in"}])
    (mixed / "two" / ".staging").mkdir(parents=True)
    (mixed / "two" / ".staging" / "bucket-00-00000.parquet").write_bytes(b"PAR1 half")
    (mixed / "two" / "documents-00007.parquet").write_bytes(b"old")
    build(mixed, "two", sources=[{"path": "in"}])
    assert contents(mixed / "one") == contents(mixed / "two")


def test_the_id_depends_on_no_cleaning(mixed: Path) -> None:
    build(mixed, sources=[{"path": "in"}])
    build(mixed, "masked", sources=[{"path": "in"}], privacy={"email": False}, min_characters=1)
    before = {row["origin"]: row["id"] for kind in ("documents", "rejected") for row in rows(mixed, kind)}
    after = {row["origin"]: row["id"] for kind in ("documents", "rejected") for row in rows(mixed, kind, "masked")}
    assert before == after
    raw = (mixed / "in" / "notes.md").read_bytes()
    assert before["notes.md"] == document_id("in", "notes.md", raw)


def test_a_source_gives_no_more_than_its_limit(mixed: Path) -> None:
    assert build(mixed, sources=[{"path": "in/a.jsonl", "limit": 5}]).documents["read"] == 5


def test_people_are_found_again_only_where_a_key_is_given(mixed: Path) -> None:
    (mixed / "key").write_text("0123456789abcdef0123456789abcdef")
    build(mixed, sources=[{"path": "in"}])
    assert not any(row["subjects"] for row in rows(mixed, "documents"))
    build(mixed, sources=[{"path": "in"}], subject_key_file="key")
    (found,) = (row for row in rows(mixed, "documents") if row["subjects"])
    assert found["origin"] == "notes.md"
    assert "<email>" in found["text"]
    with pytest.raises(ForjaError, match="subject_key_file"):
        build(mixed, sources=[{"path": "in"}], subject_key_file="no-key")


def test_text_that_utf8_cannot_hold_breaks_nothing(tmp_path: Path) -> None:
    bad = {"text": prose(1) + "\ud800", "id": "\udcff", "url": "http://x/\ud800", "date": "\ud800", "\ud800": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(bad) + "\n")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text(prose(2))
    assert build(tmp_path, sources=[{"path": str(tmp_path), "name": "odd"}]).documents["kept"] == 2


def test_no_source_and_nothing_left_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="no sources"):
        build(tmp_path)
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(ForjaError, match=r"no document is left.*too-short 1"):
        build(tmp_path, sources=[{"path": "a.txt"}])


KILLED = """
import sys
from pathlib import Path
from forja.corpus.build import build_corpus
from forja.recipe import CorpusSection
if __name__ == "__main__":
    place = Path(sys.argv[1])
    build_corpus(CorpusSection(sources=[{"path": "in"}]), place / "killed", base_folder=place)
"""


def test_after_sigkill_no_process_is_left_and_the_next_attempt_gives_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "killed").mkdir()
    (tmp_path / "script.py").write_text(KILLED)
    lines = (json.dumps({"text": prose(number, 150)}) + "\n" for number in range(5000))
    (tmp_path / "in" / "a.jsonl").write_text("".join(lines))
    child = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)])
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while not workers and child.poll() is None and time.monotonic() < deadline:
        workers = psutil.Process(child.pid).children(recursive=True)
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert workers, "the build was over before it could be killed"
    assert not psutil.wait_procs(workers, timeout=20)[1], "a worker outlived its parent"
    assert (tmp_path / "killed" / ".staging").exists()
    sources = [Source(path="in")]
    build(tmp_path, "killed", sources=sources)
    build(tmp_path, "whole", sources=sources)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_killed_worker_is_an_error_that_says_so(tmp_path: Path) -> None:
    lines = [json.dumps({"text": prose(number, 800)}) + "\n" for number in range(20_000)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    command = [sys.executable, "-m", "forja.cli", "corpus", "demo", "--source", "a.jsonl"]
    environment = {**os.environ, "FORJA_RUNS": str(tmp_path / "runs")}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    workers: list[psutil.Process] = []
    while not workers and child.poll() is None:
        time.sleep(0.05)
        found = psutil.Process(child.pid).children(recursive=True)
        workers = [process for process in found if "udf_worker" in str(process.cmdline())]
    time.sleep(2)
    workers[0].kill()
    _, said = child.communicate(timeout=120)
    assert child.returncode == 1
    assert "was killed" in said


@pytest.mark.realdata
def test_real_corpora_are_read_whole(realdata: Path, tmp_path: Path) -> None:
    corpora = realdata / "corpora"
    paths = [corpora / "general" / "wiki_c4_en.jsonl.gz", corpora / "security" / "owasp_docs.jsonl.gz"]
    figures = build(tmp_path, sources=[{"path": str(path)} for path in paths])
    assert figures.documents["read"] == 240 + 251
    assert figures.documents["kept"] > 400
    assert figures.bytes["kept"] > 4_000_000
