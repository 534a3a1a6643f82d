"""JSON Lines, and .json files that hold a list of records or are lines after all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError

NAMED = {"licence": ("licence", "license"), "date": ("date", "published"), "lang": ("lang", "language")}
SMALL = 1000
"""Characters that a field may have to be kept in `meta`."""


def is_object(line: bytes) -> bool:
    """Whether a line is one JSON object, or the beginning of one that was cut."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return len(line) >= 2048


def read_lines(file: IO[bytes], origin: str, text_field: str, max_bytes: int) -> Iterator[Record]:
    """One record a line. Memory stays bounded: a line over `max_bytes` is skipped, not read."""
    number = 0
    while line := file.readline(max_bytes + 1):
        number += 1
        place = f"{origin}#{number}"
        if len(line) > max_bytes and not line.endswith(b"\n"):
            while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            yield rejected(place, "too-long", line[:1024])
        elif line.strip():
            yield _parse(line, place, text_field)


def read_json(file: IO[bytes], origin: str, text_field: str, max_bytes: int) -> Iterator[Record]:
    """A .json file: a list of objects, lines of objects, or one object. Raises ForjaError if it is too long."""
    raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise ForjaError("this JSON file is larger than corpus.max_document_bytes.", fix="Write it as JSON Lines.")
    try:
        data = json.loads(raw)
    except UnicodeDecodeError:
        yield rejected(origin, "invalid-utf-8", raw[:1024])
        return
    except RecursionError:
        yield rejected(origin, "not-json", raw[:1024])
        return
    except ValueError:
        for number, line in enumerate(raw.splitlines(), 1):
            if line.strip():
                yield _parse(line, f"{origin}#{number}", text_field)
        return
    for number, entry in enumerate(data if isinstance(data, list) else [data], 1):
        canonical = json.dumps(entry, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        yield record_of(entry, f"{origin}#{number}", canonical, text_field)


def _parse(line: bytes, place: str, text_field: str) -> Record:
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return rejected(place, "invalid-utf-8", line)
    except (ValueError, RecursionError):
        return rejected(place, "not-json", line)
    return record_of(entry, place, line.rstrip(b"\r\n"), text_field)


def record_of(entry: Any, place: str, raw: bytes, text_field: str) -> Record:
    """The record of one mapping. Its own `id` and its small plain fields go to `meta`. The document's id is
    of `raw`, the whole record; its text is what is cleaned."""
    if not isinstance(entry, dict):
        return rejected(place, "not-an-object", raw)
    text = entry.get(text_field)
    if not isinstance(text, str):
        return rejected(place, "no-text-field", raw)
    named = {ours: next((str(entry[key]) for key in keys if entry.get(key)), None) for ours, keys in NAMED.items()}
    url = entry.get("url")
    meta = {
        key: value
        for key, value in entry.items()
        if key != text_field and isinstance(value, str | int | float | bool) and len(str(value)) <= SMALL
    }
    author = entry.get("author")
    return Record(
        f"{place} {url}" if isinstance(url, str) and len(url) <= SMALL else place,
        raw,
        "string",
        author=author if isinstance(author, str) else None,
        meta=meta,
        text=text,
        **named,
    )
