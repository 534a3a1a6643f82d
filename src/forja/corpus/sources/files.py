"""Files and folders: finding them, telling their kind by extension and content, and reading each.

In a folder a file that cannot be read is a rejected record; a file named explicitly is an error.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

import zstandard

from forja.corpus.clean import looks_binary
from forja.corpus.sources import jsonl, tables
from forja.corpus.sources.folder import find_files
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


Part = tuple[str, ...]
"""Some of a folder's files, relative to it."""


def split_files(top: Path, parts: int) -> list[Part]:
    """The files of a folder in parts of about as many bytes each, in order; none where it is no folder."""
    if not top.is_dir():
        return []
    sizes = [(path.relative_to(top).as_posix(), path.stat().st_size) for path in find_files(top) if path.exists()]
    share = sum(size for _, size in sizes) / parts
    found: list[list[str]] = [[]]
    held = 0
    for name, size in sizes:
        if found[-1] and held >= share:
            found.append([])
            held = 0
        found[-1].append(name)
        held += size
    return [tuple(part) for part in found if part]


def read_files(source: Source, base_folder: Path, max_bytes: int, part: Part | None = None) -> Iterator[Record]:
    """Records of the file or folder a source names, or of some files of the folder. Raises ForjaError, also where
    not one of them is readable."""
    top = base_folder / Path(source.path or "").expanduser()
    if part is not None:
        for name in part:
            yield from _read_member(top / name, name, source, max_bytes)
        return
    if top.is_dir():
        records = _read_folder(top, source, max_bytes)
    elif top.exists():
        records = read_file(top, top.name, source, max_bytes)
    else:
        raise ForjaError("there is no such file or folder.", where=str(top), fix="Check the source's path.")
    good = False
    reasons: Counter[str] = Counter()
    said = ""
    for record in records:
        if record.reason is None:
            good = True
        else:
            reasons[record.reason] += 1
            said = said or record.meta.get("error", "")
        if record.reason == "truncated" and not top.is_dir():
            raise ForjaError(
                f"the file is cut short or damaged ({record.meta['error']}).",
                where=str(top),
                fix="Get it again, whole. Of a damaged file in a folder, what comes before the damage is used.",
            )
        yield record
    if not good:
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()) or "it is empty"
        larger = f"Longer than {max_bytes:,} bytes is too long: raise corpus.max_document_bytes, or cut it up."
        fix = larger if "too-long" in reasons else None
        raise ForjaError(f"nothing here can be read ({why}). {said}".rstrip(), where=str(top), fix=fix)


def _read_folder(top: Path, source: Source, max_bytes: int) -> Iterator[Record]:
    if not os.access(top, os.R_OK | os.X_OK, effective_ids=True):
        raise ForjaError("the folder cannot be read: permission denied.", where=str(top))
    files = find_files(top)
    if not files:
        raise ForjaError(
            "the folder is empty: no documents found, nothing to train on.",
            where=str(top),
            fix="Put text in it, or name another one.",
        )
    for path in files:
        yield from _read_member(path, path.relative_to(top).as_posix(), source, max_bytes)


def _read_member(path: Path, origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    try:
        yield from read_file(path, origin, source, max_bytes)
    except ForjaError as error:
        yield rejected(origin, "unreadable", error=f"{origin}: {error.what}")


def read_file(path: Path, origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """Records of one file. Raises ForjaError where it cannot be opened or is not what it is said to be."""
    try:
        kind = "text" if source.kind == "markdown" else source.kind if source.kind != "auto" else tell_kind(path)
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
        yield rejected(f"{origin}#end", "truncated", error=f"{origin}: {error}")
    except OSError as error:
        raise ForjaError(f"the file cannot be read: {error.strerror or error}.", where=str(path)) from None


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
        return cast(IO[bytes], io.BufferedReader(_Frames(raw), 1 << 20))
    return raw


class _Frames(io.RawIOBase):
    """Zstandard frames unpacked as they are read; EOFError where the last one was cut."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._next = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            packed = self._next or self._packed.read(1 << 16)
            if not packed:
                if self._begun:
                    raise EOFError("the compressed file ended before its end-of-stream marker was reached")
                return 0
            self._ready = memoryview(self._frame.decompress(packed))
            self._begun, self._next = True, b""
            if self._frame.eof:
                self._begun, self._next = False, self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


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
