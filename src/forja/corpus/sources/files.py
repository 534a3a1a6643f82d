"""Files and folders: finding them, telling their kind by extension and content, and reading each.

In a folder a file that cannot be read is a rejected record; a file named explicitly is an error.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from forja.corpus.clean import looks_binary
from forja.corpus.sources import jsonl, tables
from forja.corpus.sources.folder import find_files
from forja.corpus.sources.packing import DAMAGED, SUFFIXES, open_unpacked, peek, unpacked
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

Kind = Literal[
    "text", "html", "jsonl", "json", "csv", "parquet", "mbox", "eml", "warc", "wikipedia", "cve", "nvd", "kev", "stix",
    "capec", "cwe", "sigma", "logs", "archive",
]  # fmt: skip
KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".mbox": "mbox",
    ".eml": "eml",
    ".warc": "warc",
    ".wet": "warc",
    ".wat": "warc",
    ".log": "logs",
    ".zip": "archive",
    ".tar": "archive",
    ".tgz": "archive",
}
Reader = Callable[[IO[bytes], str, Source, int], Iterator[Record]]
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
        with open(path, "rb") as raw:
            yield from read_stream(raw, origin, source, max_bytes, where=path)
    except PermissionError:
        raise ForjaError("the file cannot be read: permission denied.", where=str(path)) from None
    except OSError as error:
        raise ForjaError(f"the file cannot be read: {error.strerror or error}.", where=str(path)) from None


def read_stream(
    raw: IO[bytes], origin: str, source: Source, max_bytes: int, *, where: Path | None = None, depth: int = 0
) -> Iterator[Record]:
    """Records of an open, seekable file; where: its path, if it lies on disk; depth: archives it lies in."""
    try:
        head, file = peek(unpacked(raw))
        kind = _asked(source, head, origin) or tell_kind(PurePosixPath(origin).name, head)
        if kind == "archive":
            yield from _read_archive(raw, origin, source, max_bytes, depth)
        elif kind == "parquet":
            yield from tables.read_parquet(where or raw, origin, source.text_field, max_bytes)
        elif kind == "warc":  # it takes the packing off itself, so that damage costs one record
            raw.seek(0)
            yield from reader_of(kind)(raw, origin, source, max_bytes)
        elif kind in ("text", "html"):
            yield _read_whole(file, origin, kind, max_bytes)
        else:
            yield from reader_of(kind)(file, origin, source, max_bytes)
    except DAMAGED as error:
        yield rejected(f"{origin}#end", "truncated", error=f"{origin}: {error}")


def _read_archive(raw: IO[bytes], origin: str, source: Source, max_bytes: int, depth: int) -> Iterator[Record]:
    from forja.corpus.sources.archives import archive_members

    raw.seek(0)
    for name, member in archive_members(raw, max_bytes):
        place = f"{origin}/{name}"
        if isinstance(member, str):
            yield rejected(place, member)
        elif depth > 1:
            yield rejected(place, "nested-too-deep")
        else:
            try:
                yield from read_stream(member, place, source, max_bytes, depth=depth + 1)
            except ForjaError as error:
                yield rejected(place, "unreadable", error=f"{place}: {error.what}")


def _asked(source: Source, head: bytes, origin: str) -> Kind | None:
    """The kind that the recipe names, or None where it is to be told; an archive holds files of that kind."""
    if source.kind == "auto" or tell_kind(PurePosixPath(origin).name, head) == "archive":
        return None
    if source.kind in ("text", "markdown"):
        return "text"
    if source.kind == "mail":
        return "mbox" if head.startswith(b"From ") else "eml"
    if source.kind == "common-crawl":
        return "warc"
    if source.kind == "jsonl":
        return "jsonl"
    if source.kind in ("html", "csv", "parquet", "wikipedia", "cve", "nvd", "kev", "stix", "capec", "cwe", "sigma", "logs"):
        return source.kind  # type: ignore[return-value]
    return None


def reader_of(kind: Kind) -> Reader:
    """Imported when the first file of a kind comes: most corpora hold two or three."""
    if kind == "jsonl":
        return lambda file, origin, source, most: jsonl.read_lines(file, origin, source.text_field, most)
    if kind == "json":
        return lambda file, origin, source, most: jsonl.read_json(file, origin, source.text_field, most)
    if kind == "csv":
        from forja.corpus.sources.delimited import read_delimited as reader
    elif kind == "mbox":
        from forja.corpus.sources.mail import read_mbox as reader
    elif kind == "eml":
        from forja.corpus.sources.mail import read_eml as reader
    elif kind == "warc":
        from forja.corpus.sources.common_crawl import read_warc as reader
    elif kind == "wikipedia":
        from forja.corpus.sources.wikipedia import read_wikipedia as reader
    elif kind == "logs":
        from forja.corpus.sources.logs import read_logs as reader
    else:
        return _threat_reader(kind)
    return reader


def _threat_reader(kind: Kind) -> Reader:
    from forja.corpus.sources import cve, cwe, kev, mitre_xml, nvd, sigma, stix

    def catalogue(file: IO[bytes], origin: str, source: Source, most: int) -> Iterator[Record]:
        head, file = peek(file)
        reader = mitre_xml.read_mitre_xml if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") else cwe.read_cwe
        return reader(file, origin, source, most)

    readers: dict[Kind, Reader] = {
        "cve": cve.read_cve,
        "nvd": nvd.read_nvd,
        "kev": kev.read_kev,
        "stix": stix.read_stix,
        "capec": catalogue,
        "cwe": catalogue,
        "sigma": sigma.read_sigma,
    }
    return readers[kind]


def tell_kind(name: str, head: bytes) -> Kind:
    """The kind of a file, by its extension (under .gz, .zst or .bz2) and by how it begins, unpacked."""
    from forja.corpus.sources.telling import tell_json_kind

    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    named = KINDS.get(suffixes[-1]) if suffixes else None
    if named in ("json", "jsonl") or (suffixes and suffixes[-1] in (".xml", ".yml", ".yaml")):
        return tell_json_kind(head) or named or "text"
    if named is not None:
        return named
    start = head.lstrip()[:256].lower()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"WARC/"):
        return "warc"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or head[257:262] == b"ustar":
        return "archive"
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if start.startswith((b"<mediawiki", b"<?xml", b"{")):
        known = tell_json_kind(head)
        if known is not None:
            return known
    if start.startswith(b'{"') and jsonl.is_object(head.lstrip().split(b"\n")[0]):
        return "jsonl"
    return "text"


def _read_whole(file: IO[bytes], origin: str, form: Literal["text", "html"], max_bytes: int) -> Record:
    raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        return rejected(origin, "too-long")
    if not raw:
        return rejected(origin, "empty")
    if looks_binary(raw[:4096]):
        return rejected(origin, "not-text")
    return Record(origin, raw, form)
