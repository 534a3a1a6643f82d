"""Tables as people have them, read a row at a time: CSV, TSV, JSON Lines, a JSON list, Parquet, each packed or not.

A row is a mapping from column names to values; nothing here knows what the columns mean.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.errors import ForjaError

LONGEST_CELL = 2**24
KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row; `number` counts from 1, the header aside."""

    number: int
    fields: dict[str, Any]


def read_rows(path: Path, *, columns: Sequence[str] | None = None, ragged: bool = False) -> Iterator[Row]:
    """Rows of a file, told by its name: .csv, .tsv, .jsonl, .json (a list, or an object whose value is one), .parquet.

    A further .gz is taken off. columns: the names, for a CSV or TSV file whose first line is a row already. ragged: a
    row of a TSV may be short, and lacks the last columns then, or long, and what is over is left out. Raises
    ForjaError, with the row's number where it is one row that cannot be read.
    """
    kind, packed = _kind(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        yield from (Row(number, fields) for number, fields in enumerate(_rows(raw, kind, columns, ragged, path), 1))
    except ForjaError:
        raise
    except (OSError, EOFError, ValueError, csv.Error, zlib.error, RecursionError) as error:
        raise _unreadable(path, error) from None


def _kind(path: Path) -> tuple[str, bool]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = ((suffixes[:-1] if packed else suffixes)[-1:] or [""])[0]
    if kind not in KINDS:
        raise ForjaError(
            f"a file of rows is {', '.join(KINDS)}, and a .gz may follow; this is none of them.",
            where=str(path),
            fix="Name the file after what it holds.",
        )
    return kind, packed


def _unreadable(path: Path, error: Exception) -> ForjaError:
    if isinstance(error, FileNotFoundError):
        return ForjaError("there is no such file.", where=str(path), fix="Check the path.")
    if isinstance(error, UnicodeDecodeError):
        return ForjaError("the file is not UTF-8 text.", where=str(path), fix="Save it as UTF-8.")
    return ForjaError(f"the file cannot be read ({error or type(error).__name__}).", where=str(path))


def _rows(raw: bytes, kind: str, columns: Sequence[str] | None, ragged: bool, path: Path) -> Iterator[dict[str, Any]]:
    if kind == ".parquet":
        yield from _parquet(raw)
    elif kind in (".csv", ".tsv"):
        yield from _delimited(raw.decode("utf-8-sig"), kind, columns, ragged and kind == ".tsv", path)
    elif kind == ".json":
        yield from (_mapping(value, number, path) for number, value in enumerate(_elements(json.loads(raw)), 1))
    else:
        for number, line in enumerate(raw.decode("utf-8-sig").split("\n"), 1):
            if line.strip():
                yield _mapping(_json_line(line, number, path), number, path)


def _json_line(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ForjaError(f"this line is not JSON ({error}).", where=f"{path}, line {number}") from None


def _mapping(value: Any, number: int, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ForjaError("a row is a JSON object; this is not.", where=f"{path}, row {number}")
    return value


def _elements(value: Any) -> list[Any]:
    """The list that a JSON document is, or that an object in it holds."""
    if isinstance(value, list):
        return value
    lists = [inner for inner in value.values() if isinstance(inner, list)] if isinstance(value, dict) else []
    if len(lists) != 1:
        raise ValueError("it is neither a list of rows nor an object that holds one")
    return lists[0]


def _delimited(
    text: str, kind: str, columns: Sequence[str] | None, ragged: bool, path: Path
) -> Iterator[dict[str, Any]]:
    with long_cells():
        # TSV as GLUE has it knows no quotes: a quotation mark is one.
        options: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if kind == ".tsv" else {}
        if kind == ".csv":
            options = {"delimiter": _delimiter(text)}
        lines = csv.reader(io.StringIO(text, newline=""), **options)
        names = list(columns) if columns is not None else next(lines, None)
        if not names:
            raise ForjaError("the file is empty.", where=str(path))
        for row in lines:
            if not any(row):
                continue
            if len(row) != len(names) and not ragged:
                raise ForjaError(
                    f"this row has {len(row)} columns, and the header {len(names)}.",
                    where=f"{path}, line {lines.line_num}",
                    fix="Put quotes around a text that holds the delimiter or a line's end.",
                )
            yield dict(zip(names, row, strict=not ragged))


def _delimiter(text: str) -> str:
    """The one of the usual three that the header holds most of."""
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


@contextmanager
def long_cells() -> Iterator[None]:
    """The csv module's limit is the process's own: lifted while a file is read."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(raw: bytes) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(pa.BufferReader(raw)).iter_batches(batch_size=256):
        yield from batch.to_pylist()
