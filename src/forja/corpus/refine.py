"""Records to rows: converted, cleaned, judged, masked and screened, or rejected with a reason. This is what
a worker does with a chunk; it depends on the chunk and the settings alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from forja.corpus.clean import clean, storable
from forja.corpus.convert import convert
from forja.corpus.decontaminate import Decontaminator
from forja.corpus.dedup import band_keys, exact_key, normalise
from forja.corpus.documents import STAGED, Row
from forja.corpus.language import UNDETERMINED, identify
from forja.corpus.poison import inspect_text
from forja.corpus.privacy import mask, subject_key
from forja.corpus.quality import judge_all
from forja.corpus.reading import Chunk, to_stream, unpack
from forja.corpus.sources.record import Record
from forja.recipe import CorpusSection, QualitySection, Source


@dataclass(frozen=True)
class Settings:
    """What refining depends on: the section, the key for subjects, where the runs of the evaluation sets are, and
    the ids of documents that must not come back."""

    section: CorpusSection
    key: bytes | None = None
    decontamination: Path | None = None
    forgotten: frozenset[str] = frozenset()


def refine_packed(payload: bytes, settings: Settings) -> bytes:
    """Rows of one packed chunk, as an Arrow stream of schema STAGED that names the chunk's source and error."""
    chunk = unpack(payload)
    return to_stream(pa.RecordBatch.from_pylist(refine(chunk, settings), schema=STAGED), chunk)


@dataclass
class _Work:
    """A document in the making."""

    id: str
    record: Record
    text: str
    raw_bytes: int
    lang: str | None = None
    reason: str | None = None
    detail: dict[str, Any] | None = None
    masked: Counter[str] = field(default_factory=Counter)
    people: tuple[str, ...] = ()
    flags: list[dict[str, Any]] = field(default_factory=list)
    held: bool = False
    keys: bytes | None = None


Step = Callable[[Sequence[_Work], Source, Settings], None]


def refine(chunk: Chunk, settings: Settings) -> list[Row]:
    """Rows of these records, in their order."""
    source = settings.section.sources[chunk.source]
    told = zip(chunk.ids, chunk.records, chunk.sizes, strict=True)
    works = [_begun(identity, record, size, source, settings) for identity, record, size in told]
    for step in STEPS:
        step([work for work in works if work.reason is None], source, settings)
    return [_row(work, source, chunk.source, settings) for work in works]


def _begun(identity: str, record: Record, size: int, source: Source, settings: Settings) -> _Work:
    if identity in settings.forgotten:
        bare = Record("", b"", reason="forgotten")
        return _Work(identity, bare, "", 0, reason="forgotten")
    converted = convert(record)
    text = clean(converted.text or "") if converted.reason is None else ""
    work = _Work(identity, converted, text, size, converted.lang or source.lang, converted.reason)
    if work.reason is None:
        work.reason = _length(text, settings.section) or _before(converted, source)
    return work


def _length(text: str, section: CorpusSection) -> str | None:
    if not text:
        return "empty"
    if len(text) < section.min_characters:
        return "too-short"
    return "too-long" if len(text) > section.max_document_bytes else None


def _before(record: Record, source: Source) -> str | None:
    return "before-since" if source.since and record.date and record.date[:10] < source.since else None


# --- the steps, over what is not rejected yet --------------------------------------------------


def _tell_language(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    if _quality(source, settings).identify_language or source.languages:
        for work in works:
            if work.lang is None:
                found, _ = identify(work.text)
                work.lang = None if found == UNDETERMINED else found
    for work in works if source.languages else ():
        if work.lang not in source.languages:
            work.reason, work.detail = "language", {"value": work.lang, "threshold": source.languages}


def _judge(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    rules = _quality(source, settings)
    if not (rules.gopher_quality or rules.gopher_repetition or rules.c4 or rules.fineweb):
        return
    verdicts = judge_all([work.text for work in works], [work.lang for work in works], rules)
    for work, verdict in zip(works, verdicts, strict=True):
        if verdict is not None:
            work.reason = verdict.rule
            work.detail = {"value": round(verdict.value, 6), "threshold": verdict.threshold}


def _decontaminate(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    if settings.decontamination is None:
        return
    runs = settings.decontamination
    found = _decontaminator(runs, runs.stat().st_mtime_ns).shared_all([work.text for work in works])
    for work, evidence in zip(works, found, strict=True):
        if evidence is not None:
            work.reason = "evaluation-set"
            work.detail = {"set": evidence.set, "item": evidence.item, "run": evidence.run, "runs": evidence.runs}


def _screen(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    screen = settings.section.screen
    for work in works if screen.action != "none" else ():
        if work.record.meta.get("synthetic"):
            continue  # made here, attacks included, and marked so
        flags = inspect_text(work.text, screen)
        work.flags = [flag.as_json() for flag in flags]
        work.held = screen.action == "quarantine" and any(flag.quarantines for flag in flags)


def _mask(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    privacy = settings.section.privacy
    of_nobody = privacy.model_copy(update={"email": False})  # the invented sender is what a made phishing mail teaches
    for work in works:
        masked = mask(work.text, of_nobody if work.record.meta.get("synthetic") else privacy)
        work.text, work.people, work.masked = masked.text, masked.people, masked.counts


def _key(works: Sequence[_Work], source: Source, settings: Settings) -> None:
    near = settings.section.near_duplicates
    if near.enabled:
        for work, keys in zip(works, band_keys([normalise(work.text) for work in works], near), strict=True):
            work.keys = keys.tobytes()


STEPS: tuple[Step, ...] = (_tell_language, _judge, _decontaminate, _screen, _mask, _key)


def _quality(source: Source, settings: Settings) -> QualitySection:
    return source.quality or settings.section.quality


@lru_cache(maxsize=1)
def _decontaminator(path: Path, written: int) -> Decontaminator:
    """written: when; another build of this process may have put its own file in the same place."""
    return Decontaminator.load(path)


# --- rows --------------------------------------------------------------------------------------


def _row(work: _Work, source: Source, number: int, settings: Settings) -> Row:
    record, key = work.record, settings.key
    rejected = work.reason is not None
    meta = {"region": source.region, **record.meta} if source.region else record.meta
    if work.flags and not work.held:
        meta = {**meta, "flags": work.flags}
    return {
        "id": work.id,
        "text": None if rejected else work.text,
        "source": storable(source.label),
        "origin": storable(record.origin),
        "licence": _storable(record.licence or source.licence),
        "date": _storable(record.date),
        "lang": _storable(work.lang),
        "author": subject_key(record.author.lower(), key) if record.author and key else None,
        "subjects": [subject_key(person, key) for person in work.people] if key else [],
        "meta": _json(meta),
        "reason": work.reason,
        "detail": _json(work.detail) if work.detail else None,
        "flags": _json(work.flags) if work.flags and not rejected else None,
        "held": work.held and not rejected,
        "masked": _json(work.masked) if work.masked and not rejected else None,
        "raw_bytes": work.raw_bytes,
        "source_number": number,
        "synthetic": bool(record.meta.get("synthetic")),
        "digest": None if rejected else exact_key(work.text),
        "keys": work.keys,
    }


def _json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)
