from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from corpus.bad_input_samples import SAMPLES
from forja.corpus.convert import convert
from forja.corpus.signature import source_signature
from forja.corpus.sources import local_docs
from forja.corpus.sources.files import read_files, tell_kind
from forja.corpus.sources.packing import open_unpacked
from forja.corpus.sources.record import Record
from forja.corpus.sources.tables import read_dataset
from forja.errors import ForjaError
from forja.recipe import CorpusSection, Source


def gzipped(content: bytes) -> bytes:
    """The same bytes at any time, so that tests named after them have the same names in every process."""
    return gzip.compress(content, mtime=0)


LINES = b"".join(json.dumps({"id": number, "text": f"Text number {number}."}).encode() + b"\n" for number in range(3))


def read(path: Path, max_bytes: int = 1 << 20, **source: object) -> list[Record]:
    return list(read_files(Source.model_validate({"path": str(path), **source}), Path("/nowhere"), max_bytes))


def reasons(records: list[Record]) -> list[str | None]:
    return [record.reason for record in records]


# --- kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", b"plain", "text"),
        ("a.py", b"import os", "text"),
        ("README", b"# A title", "text"),
        ("page", b"\n <!DOCTYPE html><html>", "html"),
        ("page.txt", b"<HTML><body>", "html"),
        ("a.htm", b"words", "html"),
        ("a.jsonl.gz", gzipped(LINES), "jsonl"),
        ("dump", LINES, "jsonl"),
        ("dump.gz", gzipped(LINES), "jsonl"),
        ("dump.zst", zstandard.compress(LINES), "jsonl"),
        ("a.ndjson", b"", "jsonl"),
        ("a.json", b"[]", "json"),
        ("braces.txt", b"{this is not JSON}", "text"),
    ],
)
def test_the_kind_is_told_by_extension_and_content(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with open_unpacked(tmp_path / name) as file:
        assert tell_kind(name, file.read(1 << 16)) == kind


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_json_lines_are_read_packed_or_not(pack: object, tmp_path: Path) -> None:
    (tmp_path / "dump.jsonl").write_bytes(pack(LINES))  # type: ignore[operator]
    records = read(tmp_path / "dump.jsonl")
    assert [(record.text, record.meta["id"]) for record in records] == [(f"Text number {n}.", n) for n in range(3)]
    assert [record.origin for record in records] == ["dump.jsonl#1", "dump.jsonl#2", "dump.jsonl#3"]


GUIDE = {"top/a.md": b"# A", "top/a.png": b"\x89PNG", "top/docs/b.md": b"# B", "top/license.txt": b"words"}


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("guide.zip", zipped), ("guide.tar.gz", tarred)])
@pytest.mark.parametrize(
    ("members", "taken"),
    [
        ([], ["top/a.md", "top/a.png", "top/docs/b.md", "top/license.txt"]),
        (["*.md"], ["top/a.md", "top/docs/b.md"]),
        (["*/docs/*.md", "*.txt"], ["top/docs/b.md", "top/license.txt"]),
    ],
)
def test_of_an_archive_only_the_members_asked_for_are_read(
    name: str, pack: Callable[[dict[str, bytes]], bytes], members: list[str], taken: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(pack(GUIDE))
    records = read(tmp_path / name, kind="markdown", members=members)
    assert [record.origin for record in records] == [f"{name}/{member}" for member in taken]


def test_members_not_asked_for_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guide.zip").write_bytes(zipped({**GUIDE, "inner.zip": zipped({"c.md": b"# C", "c.png": b""})}))
    opened: list[str] = []
    before = zipfile.ZipFile.open

    def opening(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> object:
        opened.append(info.filename)
        return before(archive, info)

    monkeypatch.setattr(zipfile.ZipFile, "open", opening)
    assert len(read(tmp_path / "guide.zip", members=["*.md"])) == 3
    assert sorted(opened) == ["c.md", "inner.zip", "top/a.md", "top/docs/b.md"]


def test_an_archive_without_the_members_asked_for_says_so(tmp_path: Path) -> None:
    (tmp_path / "guide.zip").write_bytes(zipped(GUIDE))
    with pytest.raises(ForjaError, match=r"like \*\.rst"):
        read(tmp_path / "guide.zip", members=["*.rst"])


@pytest.mark.parametrize("kind", ["cve-list", "nvd", "kev", "stix", "cwe", "cwe-lines", "capec", "wikipedia"])
def test_the_recipes_licence_stands_above_what_is_known_of_a_kind(kind: str, tmp_path: Path) -> None:
    sample = SAMPLES[kind]()
    (tmp_path / sample.name).write_bytes(sample.content)
    source = Source(path=sample.name, licence="Their own terms")
    records = [convert(record) for record in read_files(source, tmp_path, 1 << 20)]
    assert {record.licence for record in records} == {"Their own terms"}


def test_a_licence_that_stands_in_the_record_stands_above_the_recipes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "license": "MIT"}')
    (tmp_path / "r.yml").write_text("title: x\nlicense: MIT\nlogsource:\n  product: a\ndetection:\n  a: b\n")
    (tmp_path / "a.csv").write_text("text,license\nwords,MIT\n")
    for name in ("a.jsonl", "r.yml", "a.csv"):
        source = Source(path=name, licence="Their own terms")
        assert [convert(record).licence for record in read_files(source, tmp_path, 1 << 20)] == ["MIT"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_several_packed_members_in_one_file_are_all_read(pack: object, tmp_path: Path) -> None:
    (tmp_path / "dump.jsonl").write_bytes(pack(LINES) + pack(LINES))  # type: ignore[operator]
    assert len(read(tmp_path / "dump.jsonl")) == 6


def test_a_json_list_gives_a_record_an_entry(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": "one"}, {"text": "two"}, "three"]))
    assert [record.text for record in read(tmp_path / "a.json")] == ["one", "two", None]


def test_what_a_record_says_of_itself_is_kept(tmp_path: Path) -> None:
    entry = {"body": "x", "license": "CC0", "published": "2024-01-02", "lang": "es", "id": "7", "tags": ["a"], "n": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(entry))
    (record,) = read(tmp_path / "a.jsonl", text_field="body")
    assert (record.text, record.licence, record.date, record.lang) == ("x", "CC0", "2024-01-02", "es")
    assert record.meta["id"] == "7"
    assert record.meta["n"] == 1
    assert "tags" not in record.meta


def test_parquet_rows_are_records(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2], "text": ["one", None]}), tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet")
    assert [record.text for record in records] == ["one", None]
    assert reasons(records) == [None, "no-text-field"]
    assert records[0].meta["id"] == 1


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_files_and_links(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.md", ".hidden", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    assert sorted(record.origin for record in read(tmp_path)) == ["a/b/c.md", "a/z.txt", "b.txt"]
    assert [record.origin for record in read(tmp_path)] == [record.origin for record in read(tmp_path)]


# --- bad input -------------------------------------------------------------------------------


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match=r"gone\.txt"):
        read(tmp_path / "gone.txt")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="nothing to train on"):
        read(tmp_path)


def test_a_folder_with_nothing_readable_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "b.bin").write_bytes(b"\0" * 100)
    with pytest.raises(ForjaError, match="not-text 2"):
        read(tmp_path)


def test_a_binary_file_named_explicitly_is_an_error_and_in_a_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0" * 100)
    (tmp_path / "b.txt").write_text("text")
    with pytest.raises(ForjaError, match="not-text"):
        read(tmp_path / "a.bin")
    assert reasons(read(tmp_path)) == ["not-text", None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff\xfe"}', "invalid-utf-8"),
        (b'{"text": "cut', "not-json"),
        (b'["text"]', "not-an-object"),
        (b'{"txt": "x"}', "no-text-field"),
        (b'{"text": 5}', "no-text-field"),
        (b"[" * 100_000, "not-json"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason_and_the_others_stay(line: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES + line + b"\n" + LINES)
    assert reasons(read(tmp_path / "a.jsonl")) == [None] * 3 + [reason] + [None] * 3


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_of_a_cut_file_in_a_folder_the_good_records_stay_and_one_named_is_an_error(
    pack: object, tmp_path: Path
) -> None:
    rows = [json.dumps({"text": os.urandom(500).hex()}) + "\n" for _ in range(2000)]
    packed = pack("".join(rows).encode())  # type: ignore[operator]
    (tmp_path / "dump.jsonl").write_bytes(packed[: len(packed) // 2])
    records = read(tmp_path)
    assert len([record for record in records if record.reason is None]) > 500
    assert records[-1].reason == "truncated"
    assert "dump.jsonl" in records[-1].meta["error"]
    with pytest.raises(ForjaError, match=r"dump\.jsonl: the file is cut short"):
        read(tmp_path / "dump.jsonl")


def test_a_file_cut_before_its_first_record_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dump.jsonl.gz").write_bytes(gzipped(os.urandom(1000))[:20])
    with pytest.raises(ForjaError, match=r"dump\.jsonl\.gz.*cut short"):
        read(tmp_path / "dump.jsonl.gz")


def test_a_line_too_long_is_passed_over_without_filling_memory(tmp_path: Path) -> None:
    import resource

    with open(tmp_path / "a.jsonl", "wb") as file:
        file.write(LINES + b'{"text": "')
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + LINES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reasons(read(tmp_path / "a.jsonl")) == [None] * 3 + ["too-long"] + [None] * 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_text_file_too_long_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 5000)
    (tmp_path / "b.txt").write_text("x" * 100)
    assert reasons(read(tmp_path, max_bytes=2000)) == ["too-long", None]


def test_parquet_without_the_column_names_the_columns_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"], "title": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(ForjaError, match=r"no column 'text'; it has body, title.*text_field"):
        read(tmp_path / "a.parquet")
    with pytest.raises(ForjaError, match="no column 'text'; it has body, title"):
        read(tmp_path)


def test_damaged_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ForjaError, match="not a whole Parquet file"):
        read(tmp_path / "a.parquet")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def an_ordinary_user() -> Iterator[None]:
    """Root may read everything; then these lines run as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_missing_permission_is_an_error_or_in_a_folder_listed(open_folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (open_folder / name).write_text("text")
        (open_folder / name).chmod(0o644)
    (open_folder / "closed").mkdir()
    (open_folder / "a.txt").chmod(0)
    (open_folder / "closed").chmod(0)
    with an_ordinary_user():
        with pytest.raises(ForjaError, match="permission denied"):
            read(open_folder / "a.txt")
        with pytest.raises(ForjaError, match="permission denied"):
            read(open_folder / "closed")
        assert {record.origin: record.reason for record in read(open_folder)} == {
            "a.txt": "unreadable",
            "b.txt": None,
            "closed": "unreadable",
        }
        signature = source_signature(CorpusSection(sources=[Source(path=str(open_folder))]), Path("/"))
        assert {name for name, _, _ in signature[0]["files"]} == {"a.txt", "b.txt", "closed"}


# --- data sets and local documentation ---------------------------------------------------------


def test_a_saved_data_set_and_a_folder_of_files_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one", "two"], "id": ["a", "b"]}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_bytes(LINES)
    saved = list(read_dataset(Source(dataset="saved"), tmp_path, 1 << 20))
    assert [(record.text, record.meta["id"]) for record in saved] == [("one", "a"), ("two", "b")]
    with pytest.raises(ForjaError, match="no column 'body'"):
        list(read_dataset(Source(dataset="saved", text_field="body"), tmp_path, 1 << 20))


def test_a_data_set_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ForjaError, match=r"pip install 'forja\[hub\]'"):
        list(read_dataset(Source(dataset="some/name"), tmp_path, 1 << 20))


def test_local_documentation_depends_on_what_forja_needs_and_on_no_extra() -> None:
    names = {found.metadata["Name"].lower() for found in local_docs.needed_distributions()}
    assert {"torch", "pyarrow", "numpy"} <= names
    assert not names & {"pytest", "mypy", "hypothesis", "ruff", "forja"}


def test_local_documentation_comes_in_a_fixed_order_once_each() -> None:
    origins = [found[0] for found in local_docs.find_local_docs()]
    assert origins == [found[0] for found in local_docs.find_local_docs()]
    assert len(origins) == len(set(origins))
    assert any(origin.startswith("python/argparse.py") for origin in origins)
