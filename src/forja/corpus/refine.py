"""Records to rows: decoded, cleaned, masked, and rejected with a reason; chunks of them over all cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from forja.corpus.clean import clean, decode, html_to_text, storable
from forja.corpus.dedup import band_keys, min_hash, normalise
from forja.corpus.docstrings import metadata_to_text, python_to_text, roff_to_text
from forja.corpus.documents import Row, document_id
from forja.corpus.privacy import mask, subject_key
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import NearDuplicates, Privacy

CHUNK_BYTES = 2 * 2**20
CHUNK_RECORDS = 2000
AHEAD = 4
"""Chunks in flight a worker: enough to keep it busy, few enough to keep memory flat."""


@dataclass(frozen=True)
class Settings:
    """What refining depends on."""

    source: str
    licence: str | None
    lang: str | None
    min_characters: int
    max_bytes: int
    privacy: Privacy
    key: bytes | None
    near_duplicates: NearDuplicates


@dataclass
class Refined:
    """Rows of one chunk, in the records' order, with what was masked in them."""

    documents: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0


def refine_all(records: Iterable[Record], settings: Settings) -> Iterator[Refined]:
    """Refine chunk by chunk, in order; over processes if there is more than one chunk."""
    chunks = _chunks(records)
    first = next(chunks, None)
    second = next(chunks, None)
    if first is None:
        return
    if second is None:
        yield refine(first, settings)
        return
    workers = max(1, len(os.sched_getaffinity(0)))
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of the libraries loaded here
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
    try:
        waiting: deque[Future[Refined]] = deque(pool.submit(refine, chunk, settings) for chunk in (first, second))
        for chunk in chunks:
            waiting.append(pool.submit(refine, chunk, settings))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ForjaError(
            "a process that cleans documents was killed, perhaps for want of memory.",
            where=f"source {settings.source}",
            fix="Give the machine more memory, or lower corpus.max_document_bytes.",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """In a worker: Ctrl-C is the parent's business, and when the parent was killed, waiting for it is no use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def refine(records: list[Record], settings: Settings) -> Refined:
    """Rows of these records."""
    result = Refined()
    minhash = min_hash(settings.near_duplicates) if settings.near_duplicates.enabled else None
    for record in records:
        result.read_bytes += len(record.raw)
        identity = document_id(settings.source, record.origin, record.raw)
        text, reason = _text(record, settings)
        if reason is not None:
            result.rejected.append(rejected_row(identity, settings.source, record.origin, reason, record.meta))
            continue
        masked = mask(text, settings.privacy)
        result.masked += masked.counts
        people = [subject_key(person, settings.key) for person in masked.people] if settings.key else []
        author = subject_key(record.author, settings.key) if record.author and settings.key else None
        result.documents.append(
            {
                "id": identity,
                "text": masked.text,
                "source": storable(settings.source),
                "origin": storable(record.origin),
                "licence": _storable(record.licence or settings.licence),
                "date": _storable(record.date),
                "lang": _storable(record.lang or settings.lang),
                "author": author,
                "subjects": people,
                "meta": _meta(record.meta),
                "keys": band_keys(normalise(masked.text), minhash).tobytes() if minhash else None,
            }
        )
    return result


def rejected_row(
    identity: str, source: str, origin: str, reason: str, meta: object, duplicate_of: str | None = None
) -> Row:
    """One row of rejected-*.parquet."""
    return {
        "id": identity,
        "source": storable(source),
        "origin": storable(origin),
        "reason": reason,
        "duplicate_of": duplicate_of,
        "meta": meta if isinstance(meta, str) else _meta(meta),
    }


def _meta(meta: object) -> str:
    return storable(json.dumps(meta, ensure_ascii=False, sort_keys=True))


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _text(record: Record, settings: Settings) -> tuple[str, str | None]:
    """The cleaned text, and why it is rejected if it is."""
    if record.reason is not None:
        return "", record.reason
    if record.form == "python":
        text = python_to_text(record.raw)
    elif record.form == "metadata":
        text = metadata_to_text(record.raw)
    elif record.form == "roff":
        text = roff_to_text(record.raw)
    elif record.form == "string":
        text = record.text
    else:
        text = decode(record.raw)
        if text is not None and record.form == "html":
            text = html_to_text(text)
    if text is None:
        return "", "not-text" if record.form in ("text", "html") else "unreadable"
    text = clean(text)
    if not text:
        return "", "empty"
    if len(text) < settings.min_characters:
        return "", "too-short"
    return text, "too-long" if len(text) > settings.max_bytes else None


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.raw) + len(record.text or "")
        if size >= CHUNK_BYTES or len(chunk) >= CHUNK_RECORDS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
