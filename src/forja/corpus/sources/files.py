"""Files and folders: finding them, telling their kind by extension and content, and reading each.

In a folder a file that cannot be read is a rejected record; a file named explicitly is an error.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast, get_args

from forja.corpus.clean import looks_binary
from forja.corpus.sources import jsonl, tables
from forja.corpus.sources.archives import archive_members, tell_archive
from forja.corpus.sources.bounded import MemberError
from forja.corpus.sources.folder import find_files
from forja.corpus.sources.packing import DAMAGED, SUFFIXES, peek, unpacked
from forja.corpus.sources.pieces import PIECE_BYTES
from forja.corpus.sources.record import Record, rejected
from forja.corpus.sources.telling import tell_json_kind, tell_xml_kind, tell_yaml_kind
from forja.errors import ForjaError
from forja.recipe import Source

Kind = Literal[
    "text", "html", "jsonl", "json", "csv", "mbox", "eml", "warc", "wikipedia", "cve", "nvd", "kev", "stix", "capec",
    "cwe", "sigma", "logs",
]  # fmt: skip
KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".mbox": "mbox",
    ".eml": "eml",
    ".log": "logs",
}
MOST_MEMBER_BYTES = 64 << 30
"""Of a whole member of an archive; its records are bounded by corpus.max_document_bytes, and bombs by their ratio."""
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
            why = f" ({record.meta['error']})" if "error" in record.meta else ""
            raise ForjaError(
                f"the file is cut short or damaged{why}.",
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
            if source.kind == "parquet" or raw.peek(4).startswith(b"PAR1"):
                yield from tables.read_parquet(path, origin, source.text_field, max_bytes)
            else:
                yield from read_stream(raw, origin, source, max_bytes)
    except PermissionError:
        raise ForjaError("the file cannot be read: permission denied.", where=str(path)) from None
    except OSError as error:
        raise ForjaError(f"the file cannot be read: {error.strerror or error}.", where=str(path)) from None


def read_stream(raw: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """Records of an open file as it lies, packed or not."""
    name = PurePosixPath(origin).name
    try:
        packed_head, raw = peek(raw)
        if tell_archive(name, packed_head) is not None:
            yield from _read_archive(raw, origin, source, max_bytes)
        elif _is_web_archive(name, packed_head, source):  # its reader takes the packing off: damage costs one record
            yield from reader_of("warc")(raw, origin, source, max_bytes)
        elif source.kind == "parquet" or packed_head.startswith(b"PAR1"):
            yield from _read_parquet(raw, origin, source, max_bytes)
        else:
            head, file = peek(unpacked(raw))
            if not head and not file.read(1):
                yield rejected(origin, "empty")
                return
            kind = _asked(source, head) or tell_kind(name, head)
            if kind in ("text", "html"):
                yield _read_whole(file, origin, kind, max_bytes)
            else:
                yield from reader_of(kind)(file, origin, source, max_bytes)
    except MemberError as error:
        yield rejected(f"{origin}#end", error.reason, error=f"{origin}: {error.what}")
    except DAMAGED as error:
        yield rejected(f"{origin}#end", "truncated", error=f"{origin}: {error}")


def _read_archive(raw: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    found = not source.members
    for name, member in archive_members(raw, MOST_MEMBER_BYTES, PurePosixPath(origin).name):
        place = f"{origin}/{name}"
        # Damage may have befallen what was asked for.
        if source.members and member not in ("damaged", "truncated"):
            if not any(fnmatchcase(name, pattern) for pattern in source.members):
                continue
            found = True
        if isinstance(member, str):
            yield rejected(place, member)
            continue
        try:
            yield from read_stream(member, place, source, max_bytes)
        except ForjaError as error:
            yield rejected(place, "unreadable", error=f"{place}: {error.what}")
    if not found:
        yield rejected(origin, "no-members", error=f"No member is named like {' or '.join(source.members)}.")


def _is_web_archive(name: str, packed_head: bytes, source: Source) -> bool:
    if source.kind not in ("auto", "common-crawl"):
        return False
    if source.kind == "common-crawl" or packed_head.startswith(b"WARC/"):
        return True
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes if suffix.lower() not in SUFFIXES]
    return bool(suffixes) and suffixes[-1] in (".warc", ".wet", ".wat")


def _read_parquet(raw: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """Parquet is read from its end: what cannot be sought in, a member of an archive, goes through a nameless file."""
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(raw, spool, PIECE_BYTES)
        spool.seek(0)
        yield from tables.read_parquet(spool, origin, source.text_field, max_bytes)


def _asked(source: Source, head: bytes) -> Kind | None:
    """The kind that the recipe names, or None where it is to be told."""
    if source.kind in ("text", "markdown"):
        return "text"
    if source.kind == "mail":
        return "mbox" if head.startswith(b"From ") else "eml"
    return cast(Kind, source.kind) if source.kind in get_args(Kind) else None


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

    def catalogue(other: Reader) -> Reader:
        def read(file: IO[bytes], origin: str, source: Source, most: int) -> Iterator[Record]:
            head, file = peek(file)
            is_xml = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
            return (mitre_xml.read_mitre_xml if is_xml else other)(file, origin, source, most)

        return read

    readers: dict[Kind, Reader] = {
        "cve": cve.read_cve,
        "nvd": nvd.read_nvd,
        "kev": kev.read_kev,
        "stix": stix.read_stix,
        "capec": catalogue(stix.read_stix),
        "cwe": catalogue(cwe.read_cwe),
        "sigma": sigma.read_sigma,
    }
    return readers[kind]


def tell_kind(name: str, head: bytes) -> Kind:
    """The kind of a file that is no archive, by its extension (under .gz, .zst or .bz2) and by how it begins."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes if suffix.lower() not in SUFFIXES]
    last = suffixes[-1] if suffixes else ""
    named = KINDS.get(last)
    if last in (".yml", ".yaml"):
        return tell_yaml_kind(head) or "text"
    if named not in ("json", "jsonl", None):
        return named
    known = tell_json_kind(head) or tell_xml_kind(head)
    if known is not None or named is not None:
        return known or named or "text"
    start = head.lstrip()[:256].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
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
