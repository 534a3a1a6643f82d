"""Files and folders: finding them, telling their kind by extension and content, and reading each.

In a folder a file that cannot be read is a rejected record; a file named explicitly is an error.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

import zstandard

from forja.corpus.clean import looks_binary
from forja.corpus.sources import jsonl, tables
from forja.corpus.sources.record import Form, Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

Kind = Literal["text", "html", "jsonl", "json", "parquet"]
KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
PACKED = {".gz", ".zst", ".zstd"}
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
"""What the decompressors raise on a cut or broken file."""


def find_files(top: Path) -> list[Path]:
    """Regular files below a folder, sorted by path; hidden ones and links are left out."""
    found = []
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                found.append(path)
    return found


def read_files(source: Source, base_folder: Path, max_bytes: int) -> Iterator[Record]:
    """Records of the file or folder a source names. Raises ForjaError."""
    top = base_folder / Path(source.path or "").expanduser()
    if top.is_dir():
        files = find_files(top)
        if not files:
            raise ForjaError("the folder is empty.", where=str(top), fix="Put text in it, or name another one.")
        for path in files:
            origin = path.relative_to(top).as_posix()
            try:
                yield from read_file(path, origin, source, max_bytes)
            except ForjaError as error:
                yield rejected(origin, "unreadable", error.what.encode())
        return
    if not top.exists():
        raise ForjaError("there is no such file or folder.", where=str(top), fix="Check the source's path.")
    good = 0
    reason = None
    for record in read_file(top, top.name, source, max_bytes):
        good += record.reason is None
        reason = reason or record.reason
        yield record
    if not good:
        raise ForjaError(f"nothing in this file can be read ({reason or 'it is empty'}).", where=str(top))


def read_file(path: Path, origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """Records of one file. Raises ForjaError where it cannot be opened or is not what it is said to be."""
    try:
        kind = source.kind if source.kind in ("text", "html", "jsonl", "parquet") else tell_kind(path)
        if kind == "parquet":
            yield from tables.read_parquet(path, origin, source.text_field, max_bytes)
        elif kind in ("jsonl", "json"):
            with open_unpacked(path) as file:
                reader = jsonl.read_lines if kind == "jsonl" else jsonl.read_json
                yield from reader(file, origin, source.text_field, max_bytes)
        else:
            yield _read_whole(path, origin, "html" if kind == "html" else "text", max_bytes)
    except PermissionError:
        raise ForjaError("the file cannot be read: permission denied.", where=str(path)) from None
    except DAMAGED as error:
        yield rejected(f"{origin}#end", "truncated", str(error).encode())


def tell_kind(path: Path) -> Kind:
    """The kind of a file, by its extension (under .gz or .zst), or by how it begins."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    if suffixes and suffixes[-1] in KINDS:
        return KINDS[suffixes[-1]]
    try:
        with open_unpacked(path) as file:
            head = file.read(4096)
    except DAMAGED:
        return "text"
    start = head.lstrip()[:256].lower()
    if head.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if start.startswith(b'{"') and jsonl.is_object(head.lstrip().split(b"\n")[0]):
        return "jsonl"
    return "text"


def open_unpacked(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if it begins as gzip or Zstandard does, whatever its name."""
    raw = open(path, "rb")  # noqa: SIM115 - the caller closes what is returned
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(raw, "rb"))
    if magic == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
        return io.BufferedReader(_Readable(reader), 1 << 20)
    return raw


class _Readable(io.RawIOBase):
    """A Zstandard stream as a raw file, so that it can be buffered and read by line."""

    def __init__(self, reader: zstandard.ZstdDecompressionReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _read_whole(path: Path, origin: str, form: Form, max_bytes: int) -> Record:
    with open_unpacked(path) as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        return rejected(origin, "too-long")
    if not raw:
        return rejected(origin, "empty")
    if looks_binary(raw[:4096]):
        return rejected(origin, "not-text")
    return Record(origin, raw, form)
