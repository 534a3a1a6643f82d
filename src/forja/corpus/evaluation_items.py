"""Evaluation sets as people publish them, read as items: each a list of its strings. Nothing here knows what the
strings mean, nor which of them matter."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forja.corpus.rows import long_cells
from forja.errors import ForjaError


def read_items(path: Path) -> Iterator[list[str]]:
    """Items of a file: lines of .jsonl, elements of the list or lists in a .json, rows of .csv, .tsv and .parquet,
    and of any other file paragraphs. A further .gz is taken off. Raises ForjaError."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:] or [""]
    try:
        raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        yield from _items(raw, kind[0])
    except ForjaError:
        raise
    except (OSError, EOFError, ValueError, csv.Error, zlib.error, RecursionError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ForjaError:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
    return ForjaError(
        f"the evaluation set cannot be read ({reason}).",
        where=str(path),
        fix="corpus.decontamination.sets names JSONL, JSON, CSV, TSV, Parquet or text files; a .gz may follow.",
    )


def _items(raw: bytes, kind: str) -> Iterator[list[str]]:
    if kind == ".parquet":
        yield from _parquet(raw)
        return
    text = raw.decode("utf-8-sig")
    if kind in (".jsonl", ".ndjson"):
        for line in text.split("\n"):
            if line.strip():
                yield list(_strings(json.loads(line)))
    elif kind == ".json":
        for item in _elements(json.loads(text)):
            yield list(_strings(item))
    elif kind in (".csv", ".tsv"):
        # TSV as GLUE has it knows no quotes: a quotation mark is one.
        layout: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if kind == ".tsv" else {}
        with long_cells():
            yield from csv.reader(io.StringIO(text, newline=""), **layout)
    else:
        for paragraph in text.replace("\r\n", "\n").split("\n\n"):
            if paragraph.strip():
                yield [paragraph]


def _parquet(raw: bytes) -> Iterator[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(pa.BufferReader(raw)).iter_batches(batch_size=256):
        for row in batch.to_pylist():
            yield list(_strings(row))


def _elements(value: Any) -> Iterator[Any]:
    """The items of a JSON document: elements of the list, or of the lists that are an object's values; else the
    object's values."""
    if isinstance(value, list):
        yield from value
        return
    lists = [inner for inner in value.values() if isinstance(inner, list)] if isinstance(value, dict) else []
    if not lists:
        yield from value.values() if isinstance(value, dict) else [value]
        return
    for inner in lists:
        yield from inner


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
