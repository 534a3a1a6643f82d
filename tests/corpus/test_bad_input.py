"""Bad input over the whole way from bytes to text: nothing crashes, nothing good is lost, what is bad is counted.

How each format bears damage in detail is tested with its reader.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import re
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.bad_input_samples import ACCIDENTS, RECORDS, SAMPLES, WHOLE, Accident, happen, jsonl, said
from forja.corpus.build import CorpusFigures, build_corpus
from forja.corpus.convert import convert
from forja.corpus.signature import source_signature
from forja.corpus.sources.files import read_files, read_stream
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import CorpusSection, Source

MARKS = re.compile(r"mark-(\d+)")
MOST = 1 << 20


def source(path: str = "in", **more: object) -> Source:
    return Source.model_validate({"path": path, **more})


def records_of(content: bytes, name: str, most: int = MOST, kind: str = "auto") -> list[Record]:
    """What a file gives, converted: records, rejected or not."""
    found = [convert(record) for record in read_stream(io.BytesIO(content), name, source(name, kind=kind), most)]
    assert all(isinstance(record, Record) for record in found)
    assert all(record.reason or isinstance(record.text, str) for record in found)
    return found


def marks(records: list[Record]) -> set[int]:
    """The marks of the records that are good."""
    return {int(mark) for one in records if one.reason is None for mark in MARKS.findall(one.text or "")}


def build(place: Path, **section: Any) -> CorpusFigures:
    workspace = place / "corpus"
    workspace.mkdir(exist_ok=True)
    plain = {
        "screen": {"action": "none"},
        "near_duplicates": {"enabled": False},
        "quality": {"identify_language": False},
    }
    section = {"sources": [{"path": "in"}], **plain, **section}
    return build_corpus(CorpusSection.model_validate(section), workspace, base_folder=place)


def rows(place: Path, kind: str) -> list[dict[str, Any]]:
    paths = sorted((place / "corpus").glob(f"{kind}-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


SEPARATE = [kind for kind in WHOLE if kind != "json"]
"""A JSON list of texts is parsed as one."""


# --- accidents to every kind of file ----------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sound_file_gives_all_its_records(kind: str) -> None:
    sample = SAMPLES[kind]()
    records = records_of(sample.content, sample.name)
    assert [record.reason for record in records if record.reason] == []
    assert marks(records) == set(range(1 if kind in ("text", "html", "mail") else RECORDS))


@pytest.mark.parametrize("kind", SAMPLES)
@given(accidents=ACCIDENTS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_thousands_of_accidents_are_rejected_records_or_sentences(kind: str, accidents: list[Accident]) -> None:
    sample = SAMPLES[kind]()
    with contextlib.suppress(ForjaError):
        records_of(happen(sample.content, accidents), sample.name)


def loses_only_what_is_hit(kind: str, hit: int, where: int, words: bytes) -> None:
    """Bytes within one record are overwritten: the others are all there, and theirs alone."""
    sample = SAMPLES[kind]()
    content = b""
    for piece, number in sample.pieces:
        if number == hit:
            at = where * (len(piece) - len(words)) // 1000
            # How a file begins says what it is.
            at = at if content else max(at, 16)
            piece = piece[:at] + words + piece[at + len(words) :]
        content += piece
    spared = set(range(RECORDS)) - set(range(hit, hit + 1 + sample.damaged_neighbours))
    assert marks(records_of(content, sample.name, kind=sample.kind)) >= spared


# A document type in XML is refused with the file.
DAMAGE = st.binary(min_size=1, max_size=12).filter(lambda words: b"<!" not in words) | st.sampled_from(
    [b"\0" * 8, b'"', b"<<<<", b"{[{[", b"\xff\xfe\xfd"]
)


@pytest.mark.parametrize("kind", SEPARATE)
@given(hit=st.integers(0, RECORDS - 1), where=st.integers(0, 1000), words=DAMAGE)
@settings(max_examples=100)
def test_damage_within_a_record_costs_no_other(kind: str, hit: int, where: int, words: bytes) -> None:
    loses_only_what_is_hit(kind, hit, where, words)


@pytest.mark.parametrize("kind", SEPARATE)
def test_a_cut_file_gives_what_is_whole_wherever_it_is_cut(kind: str) -> None:
    sample = SAMPLES[kind]()
    ends: dict[int, int] = {}
    at = last = 0
    for piece, number in sample.pieces:
        at += len(piece)
        last = number if number is not None else last
        # With what parts it from the next one.
        ends[last] = at
    content = sample.content
    for cut in range(0, len(content), 7):
        whole = {number for number, end in ends.items() if end <= cut}
        try:
            found = marks(records_of(content[:cut], sample.name, kind=sample.kind))
        except ForjaError:
            found = set()
        assert found >= whole, f"cut at {cut}"


@pytest.mark.parametrize("kind", SEPARATE)
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_packed_file_that_is_named_and_cut_is_a_sentence(kind: str, pack: Any, tmp_path: Path) -> None:
    sample = SAMPLES[kind]()
    (tmp_path / sample.name).write_bytes(pack(sample.content)[:-6])
    with pytest.raises(ForjaError, match=r"cut|damaged"):
        list(read_files(source(sample.name), tmp_path, MOST))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zstandard.compress])
def test_a_cut_packed_file_gives_what_could_be_unpacked_and_says_so(pack: Any) -> None:
    noisy = b"".join(
        json.dumps({"text": f"mark-{number} {os.urandom(300).hex()}"}).encode() + b"\n" for number in range(4000)
    )
    packed = pack(noisy)
    records = records_of(packed[: len(packed) * 3 // 4], "a.jsonl.gz", 1 << 24)
    assert records[-1].reason == "truncated"
    found = marks(records)
    # bzip2 unpacks blocks of 900,000 bytes or none.
    assert found == set(range(len(found)))
    assert len(found) > 1400


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_damaged_packed_file_gives_the_lines_before_the_damage(pack: Any) -> None:
    lines = [json.dumps({"text": f"mark-{number} {os.urandom(300).hex()}"}).encode() + b"\n" for number in range(2000)]
    members = [pack(b"".join(lines[start : start + 500])) for start in range(0, 2000, 500)]
    broken = bytearray(b"".join(members))
    at = len(members[0]) + len(members[1]) + len(members[2]) * 3 // 4
    broken[at : at + 64] = b"\xff" * 64
    records = records_of(bytes(broken), "a.jsonl.gz", 1 << 24)
    assert records[-1].reason == "truncated"
    assert marks(records) >= set(range(1000 + 200))


def test_a_page_may_end_what_it_never_began() -> None:
    (record,) = records_of(f"<!DOCTYPE html></html></html><p>{said(0)}</html><p>More of it.".encode(), "a.html")
    assert marks([record]) == {0}


# --- bombs and traps --------------------------------------------------------------------------


def peak_of(content: bytes, name: str, most: int = 1 << 16) -> tuple[list[Record], int]:
    """The records of a file, and the most bytes that Python held while it was read."""
    tracemalloc.start()
    try:
        try:
            records = records_of(content, name, most)
        except ForjaError:
            records = []
        return records, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def swollen(pack: Any) -> bytes:
    """A packed line of 64 MB, after a good one and before another."""
    line = b'{"text": "' + b"a" * (64 << 20) + b'"}\n'
    return bytes(pack(b'{"text": "mark-0 is here"}\n' + line + b'{"text": "mark-1 is here"}\n'))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zstandard.compress])
def test_a_swollen_line_costs_itself_and_no_memory(pack: Any) -> None:
    records, peak = peak_of(swollen(pack), "a.jsonl.gz")
    assert [record.reason for record in records] == [None, "too-long", None]
    assert marks(records) == {0, 1}
    # bzip2 unpacks blocks: one of runs may be 48 MB.
    assert peak < (128 << 20 if pack is bz2.compress else 8 << 20)


@pytest.mark.parametrize(
    "name", ["a.txt", "a.html", "a.json", "a.eml", "rules.yml", "dump.xml", "cve.json", "a.csv", "a.log"]
)
def test_a_swollen_file_of_any_kind_is_refused_before_it_fills_memory(name: str) -> None:
    begins = {
        "rules.yml": b"title: a\nlogsource:\n  product: a\ndetection:\n  a: ",
        "dump.xml": b'<mediawiki version="0.11"><siteinfo><dbname>a</dbname></siteinfo><page><title>',
        "cve.json": b'{"dataType": "CVE_RECORD", "a": "',
        "a.json": b'{"text": "',
        "a.csv": b'text,b\n"',
    }
    records, peak = peak_of(gzip.compress(begins.get(name, b"") + b"a" * (64 << 20)), f"{name}.gz")
    assert all(record.reason for record in records)
    assert peak < 24 << 20


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def test_a_swollen_member_of_a_zip_costs_itself_and_no_memory() -> None:
    content = zipped(("0.txt", b"mark-0 is here"), ("1.txt", b"a" * (64 << 20)), ("2.txt", b"mark-2 is here"))
    records, peak = peak_of(content, "a.zip")
    assert [record.reason for record in records] == [None, "too-long", None]
    assert peak < 8 << 20


def test_archives_within_archives_end_at_a_depth() -> None:
    content = zipped(("0.txt", b"mark-0 is here"))
    for number in range(1, 6):
        content = zipped((f"{number}.txt", f"mark-{number} is here".encode()), ("inner.zip", content))
    records = records_of(content, "a.zip")
    assert {5, 4, 3} <= marks(records)
    assert 0 not in marks(records)
    assert [record.reason for record in records if record.reason] == ["nested-archive"]


def test_names_that_leave_the_archive_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    names = ["../up.txt", "/etc/top.txt", "..\\up.txt", "C:\\drive.txt", "a/../../up.txt", "good/0.txt"]
    records = records_of(zipped(*((name, b"mark-0 is here") for name in names)), "a.zip")
    assert sorted(str(record.reason) for record in records) == ["None"] + ["unsafe-path"] * 5
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 14
            archive.addfile(info, io.BytesIO(b"mark-0 is here"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    records = records_of(packed.getvalue(), "a.tar")
    assert sorted(str(record.reason) for record in records) == ["None"] + ["unsafe-path"] * 9
    assert not any("root:" in (record.text or "") for record in records)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "work"]


ENTITIES = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10))
    + "]>"
)


@pytest.mark.parametrize("kind", ["wikipedia", "capec", "cwe"])
@pytest.mark.parametrize("entity", ["&l9;", "&x;"])
@pytest.mark.parametrize("within", [False, True])
def test_entities_are_never_expanded(kind: str, entity: str, within: bool) -> None:
    sample = SAMPLES[kind]()
    content = sample.content.decode().replace("(mark-2)", entity)
    begin = (
        content.index("<page>" if kind == "wikipedia" else "<Description>")
        if within
        else content.index("<media")
        if kind == "wikipedia"
        else content.index("<", 5)
    )
    hostile = content[:begin] + ENTITIES + content[begin:]
    records, peak = peak_of(hostile.encode(), sample.name, MOST)
    said_in_all = "".join(record.text or "" for record in records)
    assert "lollol" not in said_in_all
    assert "root:" not in said_in_all
    assert peak < 8 << 20


def test_aliases_of_yaml_are_never_expanded() -> None:
    grown = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    begin = "title: Rule\nid: 00000000-0000-4000-8000-000000000000\n"
    rule = f"{begin}{grown}logsource:\n  product: a\ndetection:\n  a: *a39\n"
    records, peak = peak_of(rule.encode(), "rules.yml", MOST)
    assert all(record.reason for record in records)
    assert peak < 8 << 20


@pytest.mark.parametrize("kind", ["json", "jsonl", "cve-list", "nvd", "kev", "stix", "cwe-lines"])
def test_deep_nesting_is_a_rejected_record(kind: str) -> None:
    sample = SAMPLES[kind]()
    deep = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    pieces = [deep if number == 2 else piece for piece, number in sample.pieces]
    records = records_of(b"".join(pieces), sample.name)
    assert any(record.reason for record in records)
    if kind != "json":
        assert marks(records) == {0, 1, 3, 4, 5}


# --- files that change while they are read ----------------------------------------------------


def numbered(first: int, last: int) -> bytes:
    return b"".join(
        json.dumps({"text": f"mark-{number} {said(number)}", "pad": "x" * 400}).encode() + b"\n"
        for number in range(first, last)
    )


def changed_after(path: Path, change: Any, read: int = 10) -> list[Record]:
    """The records of a file that is changed after the first of them were read."""
    reading: Iterator[Record] = read_files(source(str(path)), path.parent, MOST)
    found = [next(reading) for _ in range(read)]
    change()
    return [convert(record) for record in [*found, *reading]]


def test_what_is_appended_while_a_file_is_read_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(numbered(0, 3000))
    more = numbered(3000, 3100)

    def append() -> None:
        with open(path, "ab") as file:
            file.write(more[:-100])

    records = changed_after(path, append)
    # Every old line, and of the new ones those that have come whole; the line that has not is told.
    assert marks(records) == set(range(3099))
    assert [record.reason for record in records if record.reason] == ["not-json"]


def test_a_file_cut_while_it_is_read_gives_the_lines_that_were_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(numbered(0, 3000))
    records = changed_after(path, lambda: os.truncate(path, 1_000_000))
    found = marks(records)
    assert found == set(range(len(found)))
    assert 1500 < len(found) < 3000
    assert len([record for record in records if record.reason]) <= 1


def test_a_file_replaced_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(numbered(0, 3000))
    (tmp_path / "new").write_bytes(numbered(5000, 5001))
    records = changed_after(path, lambda: os.replace(tmp_path / "new", path))
    assert marks(records) == set(range(3000))


def test_a_packed_file_cut_while_it_is_read_says_that_it_is_cut(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.jsonl.gz"
    noise = b"".join(
        json.dumps({"text": f"mark-{n}", "pad": os.urandom(300).hex()}).encode() + b"\n" for n in range(3000)
    )
    path.write_bytes(gzip.compress(noise))
    (tmp_path / "in" / "b.txt").write_text("mark-9999 is in a file behind it")
    reading = read_files(source("in"), tmp_path, MOST)
    found = [next(reading) for _ in range(10)]
    os.truncate(path, path.stat().st_size // 2)
    records = [convert(record) for record in [*found, *reading]]
    assert [record.reason for record in records if record.reason] == ["truncated"]
    assert 9999 in marks(records)


def test_files_that_go_away_before_they_are_read_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"mark-{number} is here")
    reading = read_files(source("in"), tmp_path, MOST)
    found = [next(reading)]
    (folder / "2.txt").unlink()
    (folder / "3.txt").unlink()
    (folder / "3.txt").mkdir()
    records = [convert(record) for record in [*found, *reading]]
    assert [record.reason for record in records] == [None, None, "unreadable", "unreadable", None]


def test_a_file_that_changes_during_a_build_is_seen_by_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(numbered(0, 50))
    section = CorpusSection.model_validate({"sources": [{"path": "in"}]})
    before = source_signature(section, tmp_path)
    assert build(tmp_path).documents["kept"] == 50
    assert source_signature(section, tmp_path) == before
    with open(folder / "a.jsonl", "ab") as file:
        file.write(numbered(50, 51))
    assert source_signature(section, tmp_path) != before


# --- nothing, very little, very many ----------------------------------------------------------

EMPTY = sorted(
    {SAMPLES[kind]().name for kind in SAMPLES} | {"noext", "a.md", "a.tgz", "a.gz", "a.tsv", "a.htm", "a.wat.gz"}
)


@pytest.mark.parametrize("name", EMPTY)
def test_a_file_of_no_bytes_is_refused_and_in_a_folder_counted(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).touch()
    with pytest.raises(ForjaError):
        list(read_files(source(str(folder / name)), tmp_path, MOST))
    (folder / "zz.txt").write_text(said(0))
    assert build(tmp_path).documents == build(tmp_path).documents | {"read": 2, "rejected": 1, "kept": 1}


def test_a_folder_of_everything_broken_is_a_corpus_of_what_is_good(tmp_path: Path) -> None:
    """Every kind of file sound, cut in half, and with a bit flipped, beside each other."""
    folder = tmp_path / "in"
    sound: set[str] = set()
    for kind, make in SAMPLES.items():
        sample = make()
        for state in ("sound", "cut", "flipped"):
            (folder / state / kind).mkdir(parents=True, exist_ok=True)
        content = sample.content
        (folder / "sound" / kind / sample.name).write_bytes(content)
        (folder / "cut" / kind / sample.name).write_bytes(content[: len(content) // 2])
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 4
        (folder / "flipped" / kind / sample.name).write_bytes(bytes(flipped))
        sound.add(kind)
    figures = build(tmp_path, min_characters=1)
    rejected = rows(tmp_path, "rejected")
    assert figures.documents["read"] == figures.documents["kept"] + figures.documents["rejected"]
    assert len(rejected) == figures.documents["rejected"]
    assert all(row["reason"] for row in rejected)
    # Of a sound file nothing is rejected but what says the same as another document.
    reasons = {row["reason"] for row in rejected if row["origin"].startswith("sound/")}
    assert reasons <= {"exact-duplicate", "same-record"}
    said_of = {row["origin"].split("/")[1] for row in rejected if row["origin"].startswith("cut/")}
    assert len(said_of) > len(SAMPLES) // 2


def test_twenty_thousand_tiny_files_are_read_in_the_memory_of_a_few(tmp_path: Path) -> None:
    for folder in range(200):
        place = tmp_path / "in" / f"{folder // 20:02d}" / f"{folder:03d}"
        place.mkdir(parents=True)
        for number in range(100):
            (place / f"{number:02d}.txt").write_text(f"mark-{folder * 100 + number} is here")
    tracemalloc.start()
    found = sum(1 for record in read_files(source("in"), tmp_path, MOST) if record.reason is None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 20_000
    # The list of their paths, and no more.
    assert peak < 24 << 20


def test_one_record_is_one_document_wherever_the_file_ends() -> None:
    assert marks(records_of(jsonl().content.rstrip(b"\n"), "a.jsonl")) == set(range(RECORDS))
