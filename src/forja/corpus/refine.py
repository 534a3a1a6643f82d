"""Records to rows: converted, cleaned, judged, masked and screened, or rejected with a reason. This is what
a worker does with a chunk; it depends on the chunk and the settings alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from forja.corpus.clean import clean, decode, storable
from forja.corpus.dedup import band_keys, exact_key, normalise
from forja.corpus.docstrings import metadata_to_text, python_to_text, roff_to_text
from forja.corpus.documents import STAGED, Row, document_id
from forja.corpus.html import html_to_text
from forja.corpus.privacy import mask, subject_key
from forja.corpus.reading import Chunk, unpack
from forja.corpus.sources.record import Record
from forja.recipe import CorpusSection, Source


@dataclass(frozen=True)
class Settings:
    """What refining depends on: the section, the key for subjects, and the runs of the evaluation sets."""

    section: CorpusSection
    key: bytes | None = None
    decontamination: Path | None = None


def refine_packed(payload: bytes, settings: Settings) -> bytes:
    """Rows of one packed chunk, as an Arrow stream of schema STAGED that names the chunk's source and error."""
    chunk = unpack(payload)
    rows = refine(chunk, settings)
    about = json.dumps({"source": chunk.source, "error": chunk.error})
    batch = pa.RecordBatch.from_pylist(rows, schema=STAGED.with_metadata({"chunk": about}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def refine(chunk: Chunk, settings: Settings) -> list[Row]:
    """Rows of these records, in their order."""
    source = settings.section.sources[chunk.source]
    rows = [_row(record, source, chunk.source, settings) for record in chunk.records]
    accepted = [row for row in rows if row["reason"] is None]
    near = settings.section.near_duplicates
    if near.enabled:
        keys = band_keys([normalise(row["text"]) for row in accepted], near)
        for row, own in zip(accepted, keys, strict=True):
            row["keys"] = own.tobytes()
    return rows


@dataclass
class _Work:
    """A document in the making."""

    record: Record
    text: str
    lang: str | None
    reason: str | None = None
    detail: dict[str, Any] | None = None
    masked: Counter[str] = field(default_factory=Counter)
    people: tuple[str, ...] = ()
    flags: list[dict[str, Any]] = field(default_factory=list)


def _row(record: Record, source: Source, number: int, settings: Settings) -> Row:
    identity = document_id(source.label, record.origin, record.raw)
    work = _refined(record, source, settings)
    record = work.record
    key = settings.key
    rejected = work.reason is not None
    return {
        "id": identity,
        "text": None if rejected else work.text,
        "source": storable(source.label),
        "origin": storable(record.origin),
        "licence": _storable(record.licence or source.licence),
        "date": _storable(record.date),
        "lang": _storable(work.lang),
        "author": subject_key(record.author, key) if record.author and key else None,
        "subjects": [subject_key(person, key) for person in work.people] if key else [],
        "meta": _json({"region": source.region, **record.meta} if source.region else record.meta),
        "reason": work.reason,
        "detail": _json(work.detail) if work.detail else None,
        "flags": _json(work.flags) if work.flags and not rejected else None,
        "masked": _json(work.masked) if work.masked and not rejected else None,
        "raw_bytes": len(record.raw),
        "source_number": number,
        "synthetic": bool(record.meta.get("synthetic")),
        "digest": None if rejected else exact_key(work.text),
        "keys": None,
    }


def _refined(record: Record, source: Source, settings: Settings) -> _Work:
    section = settings.section
    record = convert(record)
    text = clean(record.text or "") if record.reason is None else ""
    work = _Work(record, text, record.lang or source.lang, record.reason)
    if work.reason is None:
        work.reason = _length(text, section)
    if work.reason is not None:
        return work
    masked = mask(work.text, section.privacy)
    work.text, work.masked, work.people = masked.text, masked.counts, masked.people
    return work


def _length(text: str, section: CorpusSection) -> str | None:
    if not text:
        return "empty"
    if len(text) < section.min_characters:
        return "too-short"
    return "too-long" if len(text) > section.max_document_bytes else None


def convert(record: Record) -> Record:
    """The record with its text, or with the reason why there is none."""
    from dataclasses import replace

    if record.reason is not None or record.form == "string":
        return record
    text: str | None
    if record.form == "python":
        text = python_to_text(record.raw)
    elif record.form == "metadata":
        text = metadata_to_text(record.raw)
    elif record.form == "roff":
        text = roff_to_text(record.raw)
    else:
        text = decode(record.raw)
        if text is not None and record.form == "html":
            text = html_to_text(text)
    if text is None:
        return replace(record, reason="not-text" if record.form in ("text", "html") else "unreadable")
    return replace(record, text=text)


def _json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)
