"""Common Crawl, and any other WARC or WET: which records are documents, and which files of a crawl to read.

Finding the records in a file, damaged or not, is in `warc.py`; fetching the files in `fetching.py`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from fastwarc.stream_io import BrotliReader, GzipReader, ZstdReader
from fastwarc.warc import HeaderMap, WarcRecord

from forja.corpus.sources import web_facts
from forja.corpus.sources.fetching import fetch
from forja.corpus.sources.members import Fault
from forja.corpus.sources.record import Form, Record, rejected
from forja.corpus.sources.warc import Frame, read_frames
from forja.errors import ForjaError
from forja.recipe import Source

DATA = "https://data.commoncrawl.org/"
MAX_LISTING = 64 << 20
DOCUMENTS = {"response", "resource", "conversion"}
OTHERS = {"warcinfo", "request", "metadata", "revisit", "continuation"}
FORMS: dict[str, Form] = {"text/html": "html", "application/xhtml+xml": "html", "text/plain": "text"}
LONGEST_ADDRESS = 8192

TYPE = re.compile(rb"^warc-type:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
ADDRESS = re.compile(rb"^warc-target-uri:[ \t]*<?([^\s>]+)", re.IGNORECASE | re.MULTILINE)
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


# --- records ----------------------------------------------------------------------------------------


def read_warc(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """The documents of a WARC or WET file; `file` is as it lies on disk, its packing not taken off.

    Pages (HTTP 200, HTML or plain text) have form "html" or "text" and the payload, transfer and content encoding
    taken off, as `raw`; the charset that their server declared is `meta["charset"]`. WET records have form "text".
    Requests, metadata and revisits are no documents and are not counted; a WAT file is one rejected record.
    Raises ForjaError where the file is no WARC at all.
    """
    wanted = _pattern(source.url_pattern)
    said_wat = False
    faults = 0
    empty = True
    for item in read_frames(file, max_bytes):
        empty = False
        if isinstance(item, Fault):
            faults += 1
            place = _place(item.header) or (
                f"{origin}#end" if item.reason == "truncated" else f"{origin}#fault-{faults}"
            )
            yield rejected(place, item.reason, error=f"{origin}: {item.error}")
            continue
        kind = _kind(item.header)
        if kind == "metadata" and b"application/json" in item.header and not said_wat:
            said_wat = True
            yield rejected(origin, "wat", error=f"{origin}: a WAT file describes records and holds no text")
        if kind not in OTHERS:
            yield _document(item, kind, origin, source.languages, wanted, max_bytes)
    if empty:
        yield rejected(origin, "empty")


def _pattern(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise ForjaError(
            f"`url_pattern` is not a regular expression ({error}).", fix="Mend it in the recipe."
        ) from None


def _kind(header: bytes) -> str:
    found = TYPE.search(header)
    return found.group(1).decode("latin-1").lower() if found else ""


def _place(header: bytes) -> str | None:
    """Address and date of a record, which no other capture shares."""
    found = ADDRESS.search(header)
    if found is None:
        return None
    address = found.group(1)[:LONGEST_ADDRESS].decode("utf-8", "replace")
    date = DATE.search(header.decode("latin-1"))
    return f"{address} {date.group()}" if date else address


def _document(
    frame: Frame, kind: str, origin: str, languages: list[str], wanted: re.Pattern[str] | None, max_bytes: int
) -> Record:
    headers = HeaderMap()
    headers.parse(io.BytesIO(frame.header))
    place = _place(frame.header) or f"{origin}#{headers.get('WARC-Record-ID') or 'no-id'}"
    address = place.partition(" ")[0]
    if kind not in DOCUMENTS:
        return rejected(place, "unknown-type", error=f"{origin}: WARC-Type {kind[:40]!r}")
    if wanted and not wanted.search(address):
        return rejected(place, "url-pattern")
    lang = web_facts.language(headers.get("WARC-Identified-Content-Language"))
    if lang and languages and lang not in languages:
        return rejected(place, "language")
    if frame.body is None:
        return rejected(place, "too-long")
    digest = headers.get("WARC-Block-Digest")
    if digest and not frame.checked and not _digest_holds(digest, frame.body):
        return rejected(place, "damaged", error=f"{origin}: the content does not have the digest its header states")
    date = DATE.search(headers.get("WARC-Date") or "")
    record = Record(place, frame.body, date=date.group() if date else None, lang=lang, meta={"url": address})
    record = _with_meta(record, region=web_facts.region(address), cut=headers.get("WARC-Truncated"))
    content_type = (headers.get("Content-Type") or "").lower()
    if kind == "conversion":
        return replace(record, form="text") if frame.body else rejected(place, "empty")
    if content_type.startswith("application/http") or frame.body.startswith(b"HTTP/"):
        return _page(record, max_bytes)
    return _of_type(record, content_type)


def _with_meta(record: Record, **facts: str | None) -> Record:
    return replace(record, meta=record.meta | {name: value for name, value in facts.items() if value})


def _digest_holds(stated: str, body: bytes) -> bool:
    """Whether content has the digest stated for it, "sha1:" and Base32 or hex; unknown ones are not doubted."""
    name, _, value = stated.strip().partition(":")
    if name.lower() not in ("sha1", "sha256", "sha512", "md5"):
        return True
    found = hashlib.new(name.lower(), body, usedforsecurity=False).digest()
    return value.lower() == found.hex() or value.upper().rstrip("=") == base64.b32encode(found).decode().rstrip("=")


def _page(record: Record, max_bytes: int) -> Record:
    """The page of an HTTP response, `record.raw` being the response as it was sent."""
    response = WarcRecord()
    response.set_bytes_content(record.raw)
    response.is_http = True
    try:
        response.parse_http(quirks_mode=True)
        headers = response.http_headers
        status = headers.status_code
        payload = response.reader.read()
    except (OSError, ValueError):
        return rejected(record.origin, "damaged", error="this is no HTTP response")
    if status != 200:
        return rejected(record.origin, "http-status", error=f"HTTP status {status}")
    content_type = (headers.get("Content-Type") or "").lower()
    if not _form(content_type, b"<html"):
        return rejected(record.origin, "not-text-type", error=f"Content-Type {content_type[:100]!r}")
    try:
        payload, longer = _unpack(payload, headers, max_bytes)
    except (OSError, ValueError) as error:
        return rejected(record.origin, "damaged", error=f"its content encoding is broken ({error})")
    if longer:
        return rejected(record.origin, "too-long")
    directives = web_facts.robots(", ".join(headers.get_multiple("X-Robots-Tag")), payload)
    return _of_type(_with_meta(replace(record, raw=payload), robots=directives), content_type)


def _of_type(record: Record, content_type: str) -> Record:
    """The record with the form of its content type, and what the page says of itself."""
    form = _form(content_type, record.raw)
    if form is None:
        return rejected(record.origin, "not-text-type", error=f"Content-Type {content_type[:100]!r}")
    if not record.raw:
        return rejected(record.origin, "empty")
    own, linked = web_facts.licence(record.raw) if form == "html" else (None, None)
    plain_type = content_type.partition(";")[0].strip()
    charset = web_facts.charset(content_type)
    return _with_meta(
        replace(record, form=form, licence=own), content_type=plain_type, charset=charset, licence_linked=linked
    )


def _form(content_type: str, content: bytes) -> Form | None:
    """The form of a content type; where none is stated, HTML if it looks so."""
    plain_type = content_type.partition(";")[0].strip()
    if plain_type:
        return FORMS.get(plain_type)
    return "html" if re.search(rb"<(?:!doctype\s+html|html)\b", content[:1024], re.IGNORECASE) else None


def _unpack(payload: bytes, headers: HeaderMap, max_bytes: int) -> tuple[bytes, bool]:
    """(the payload with transfer and content encodings taken off, whether it is longer than `max_bytes`).

    Many archives state an encoding that was taken off when they were written; so each is believed only where the
    payload begins as it would. Never unpacks more than `max_bytes` + 1. Raises OSError or ValueError.
    """
    steps = ["chunked"] if "chunked" in (headers.get("Transfer-Encoding") or "").lower() else []
    steps += [name.strip() for name in (headers.get("Content-Encoding") or "").lower().split(",")][::-1]
    for step in steps:
        if step == "chunked" and CHUNK.match(payload):
            payload = _dechunk(payload)
        elif step in ("gzip", "x-gzip") and payload.startswith(b"\x1f\x8b"):
            payload = _read(GzipReader(io.BytesIO(payload)), max_bytes)
        elif step == "deflate" and not _looks_plain(payload):
            payload = _inflate(payload, max_bytes)
        elif step == "br" and not _looks_plain(payload):
            payload = _read(BrotliReader(io.BytesIO(payload)), max_bytes)
        elif step == "zstd" and payload.startswith(b"\x28\xb5\x2f\xfd"):
            payload = _read(ZstdReader(io.BytesIO(payload)), max_bytes)
        if len(payload) > max_bytes:
            return b"", True
    return payload, len(payload) > max_bytes


def _dechunk(payload: bytes) -> bytes:
    """HTTP's chunks put together (RFC 9112, section 7.1), the extensions that fastwarc refuses passed over."""
    parts, at = [], 0
    while (found := CHUNK.match(payload, at)) and (size := int(found.group(1), 16)):
        parts.append(payload[found.end() : found.end() + size])
        at = found.end() + size
        at += 2 if payload.startswith(b"\r\n", at) else 1
    if (at < len(payload) and not found) or at > len(payload) + 1:
        raise ValueError("a chunk is broken")
    return b"".join(parts)


def _looks_plain(payload: bytes) -> bool:
    return payload.lstrip()[:1] == b"<"


def _read(reader: Any, max_bytes: int) -> bytes:
    parts, left = [], max_bytes + 1
    while left and (part := reader.read(min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _inflate(payload: bytes, max_bytes: int) -> bytes:
    """HTTP's "deflate": zlib (RFC 9110, section 8.4.1.2), or bare deflate, as some servers send."""
    for window in (15, -15):
        try:
            return zlib.decompressobj(window).decompress(payload, max_bytes + 1)
        except zlib.error as error:
            said = error
    raise ValueError(str(said))


# --- the files of a crawl ---------------------------------------------------------------------------


def crawl_files(source: Source, cache: Path) -> list[tuple[str, str]]:
    """(path within the crawl, address) of the `segments` files that a source takes of its crawl, spread over it.

    The choice is by a digest of the path: the same every time, and more segments keep those chosen before.
    FORJA_COMMON_CRAWL names a mirror, s3://commoncrawl/ say. Raises ForjaError.
    """
    crawl = source.crawl or ""
    base = os.environ.get("FORJA_COMMON_CRAWL", DATA).rstrip("/") + "/"
    listing = fetch(f"{base}crawl-data/{crawl}/{source.archive}.paths.gz", cache, refresh_days=365)
    try:
        with gzip.open(listing) as packed:
            lines = packed.read(MAX_LISTING).decode("utf-8").split()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ForjaError(f"the crawl's list of files is damaged ({error}).", where=crawl, fix="Delete it.") from None
    paths = [line for line in lines if line.startswith("crawl-data/") and ".." not in line]
    if not paths:
        raise ForjaError("the crawl's list of files names none.", where=crawl)
    chosen = sorted(paths, key=lambda path: hashlib.blake2b(path.encode(), digest_size=16).digest())
    return [(path, base + path) for path in chosen[: source.segments]]
