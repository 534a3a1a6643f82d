"""CSV and TSV: dialect, encoding and header found, one record a row; a broken row costs itself, not what follows."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from forja.corpus.sources.jsonl import record_of
from forja.corpus.sources.packing import peek
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

HEAD = 1 << 16
"""Bytes from which the dialect is told."""
PLAUSIBLE = ("text", "content", "body", "sentence", "message", "description")
QUOTED: dict[str, Any] = {"strict": True}
ESCAPED: dict[str, Any] = {"strict": True, "doublequote": False, "escapechar": "\\"}
BARE: dict[str, Any] = {"strict": True, "quoting": csv.QUOTE_NONE, "quotechar": None}
# Where two explain a file alike, the first: tabs part fields in which a quote is a quote (GLUE).
DIALECTS = [("\t", options) for options in (BARE, QUOTED, ESCAPED)]
DIALECTS += [(delimiter, options) for delimiter in ",;|" for options in (QUOTED, ESCAPED, BARE)]


@dataclass(frozen=True)
class Dialect:
    """How a file is written: its encoding, `csv`'s options, its columns' names, and which of them holds the text."""

    encoding: str
    options: dict[str, Any]
    columns: tuple[str, ...]
    text_field: str


def read_delimited(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a row after the header; its small fields go to `meta`, a label among them.

    A row that breaks the rules of quoting (RFC 4180) is rejected, and reading goes on at the next line that
    begins a whole row. Raises ForjaError where no column is named as the source's `text_field` and not
    exactly one other name is that of a text, or none as its `label_field`.
    """
    head, file = peek(file, HEAD)
    dialect = tell_dialect(head, origin, source.text_field)
    if source.label_field is not None and source.label_field not in dialect.columns:
        raise _no_column(list(dialect.columns), origin, source.label_field, "label_field")
    text = io.TextIOWrapper(file, dialect.encoding, errors=_on_errors(dialect.encoding), newline="")
    lines = _Lines(iter(lambda: text.readline(max_bytes + 1), ""), max_bytes)
    for number, (row, wrong, raw) in enumerate(_rows(lines, dialect, max_bytes)):
        place = f"{origin}#{number}"
        if wrong is not None:
            yield rejected(place, wrong, raw[:1024].encode("utf-8", "surrogateescape"))
        elif number:
            yield _row_record(row, place, dialect)


def _row_record(row: list[str], place: str, dialect: Dialect) -> Record:
    entry = dict(zip(dialect.columns, row, strict=True))
    said = json.dumps(entry, ensure_ascii=False, sort_keys=True)
    try:
        raw = said.encode("utf-8")
    except UnicodeEncodeError:
        return rejected(place, "invalid-utf-8", said[:1024].encode("utf-8", "surrogateescape"))
    return record_of(entry, place, raw, dialect.text_field)


# --- rows ------------------------------------------------------------------------------------


def _rows(lines: _Lines, dialect: Dialect, max_bytes: int) -> Iterator[tuple[list[str], str | None, str]]:
    """(row, what is wrong with it, its lines) of every row, the header among them.

    After a broken row each further line is tried as the beginning of one. It is one if it reads to the right
    number of columns, and either holds quotes, all in order, or is as bare as a row before was: a line inside a
    broken text seldom is.
    """
    # `csv` has one limit for the process, and its own is 128 KiB.
    csv.field_size_limit(max(max_bytes, csv.field_size_limit()))
    any_bare = False
    rows = 0
    lost, why = "", ""
    while lines.begin():
        row, wrong = _next_row(lines, dialect)
        raw = "".join(lines.taken)
        if wrong is None and not any(row):
            continue
        bare = '"' not in raw
        if wrong is None and (not lost or not bare or any_bare or rows < 2):
            if lost:
                yield [], why, lost
                lost = ""
            any_bare |= bare and rows > 0
            rows += 1
            yield row, None, raw
        elif lost or wrong == "bad-quoting" or (wrong == "wrong-columns" and len(lines.taken) > 1):
            why = why if lost else "too-long" if lines.full else "bad-quoting"
            lost = (lost + lines.give_back())[:1024] or " "
        else:
            yield row, wrong, raw
    if lost:
        yield [], why, lost


def _next_row(lines: _Lines, dialect: Dialect) -> tuple[list[str], str | None]:
    try:
        row = next(csv.reader(lines, **dialect.options), [])
    except csv.Error:
        return [], "bad-quoting"
    if len(lines.taken) == 1 and lines.full:
        return [], "too-long"
    while len(row) > len(dialect.columns) and not row[-1]:
        row.pop()
    if any("\0" in cell for cell in row):
        return row, "nul-bytes"
    return row, "wrong-columns" if any(row) and len(row) != len(dialect.columns) else None


class _Lines:
    """The lines of one row after another. `taken` are those of the row so far, never more than `max_bytes`;
    `full` says that more were wanted, or that a single line is longer."""

    def __init__(self, source: Iterable[str], max_bytes: int) -> None:
        self._source = iter(source)
        self._ready: deque[str] = deque()
        self._size = 0
        self._max_bytes = max_bytes
        self.taken: list[str] = []
        self.full = False

    def begin(self) -> bool:
        """Begin a row; False where no line is left."""
        self.taken, self._size, self.full = [], 0, False
        return self._have_one()

    def _have_one(self) -> bool:
        if not self._ready:
            line = next(self._source, None)
            if line is None:
                return False
            self._ready.append(line)
        return True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._have_one():
            raise StopIteration
        if self.taken and self._size + len(self._ready[0]) > self._max_bytes:
            self.full = True
            raise StopIteration
        line = self._ready.popleft()
        if len(line) > self._max_bytes:
            while line and not line.endswith("\n") and (rest := next(self._source, None)) is not None:
                line = line[:1024] + rest[-1:]
            self.full = True
            self.taken.append(line)
            return ""
        self.taken.append(line)
        self._size += len(line)
        return line

    def give_back(self) -> str:
        """Give back all lines of the row but the first, and return that."""
        self._ready.extendleft(reversed(self.taken[1:]))
        return self.taken[0]


# --- dialect ---------------------------------------------------------------------------------


def tell_dialect(head: bytes, origin: str, text_field: str) -> Dialect:
    """The dialect under which most of the first rows have the header's columns, one with the text among them.

    Raises ForjaError where there is none.
    """
    encoding = _encoding(head)
    text = head.decode(encoding, _on_errors(encoding))
    lines = text.splitlines(keepends=True)
    if len(head) >= HEAD and len(lines) > 1:
        lines.pop()
    best: tuple[float, Dialect] | None = None
    seen: list[str] = []
    for delimiter, options in DIALECTS:
        options = {**options, "delimiter": delimiter}
        columns = _header(lines, options)
        seen = max(seen, columns, key=len)
        field = _text_column(columns, text_field)
        if field is None:
            continue
        dialect = Dialect(encoding, options, tuple(columns), field)
        share = _share_that_fits(lines, dialect)
        # A few broken rows do not make a file with commas one in which quotes mean nothing.
        if best is None or share > best[0] + (0.2 if best[1].options["delimiter"] == delimiter != "\t" else 0.01):
            best = (share, dialect)
    if best is None:
        raise _no_column(seen, origin, text_field, "text_field")
    return best[1]


def _no_column(columns: list[str], origin: str, name: str, key: str) -> ForjaError:
    named = len(columns) <= 64 and all(len(column) <= 40 and not column.isdecimal() for column in columns)
    # A first row that is no header is data, and data is not put into messages.
    has = f"it has {', '.join(columns)}" if columns and named else "its first row does not look like a header"
    return ForjaError(
        f"this table has no column {name!r}; {has}.",
        where=origin,
        fix=f"Name the right column in the source's `{key}`.",
    )


def _header(lines: list[str], options: dict[str, Any]) -> list[str]:
    """The columns' names, made unique and none empty."""
    try:
        row = next(csv.reader((line for line in lines if line.strip()), **options), [])
    except csv.Error:
        return []
    names: list[str] = []
    for number, cell in enumerate(row, 1):
        name = cell.strip() or f"column{number}"
        names.append(f"{name}_{number}" if name in names else name)
    return names


def _text_column(columns: list[str], text_field: str) -> str | None:
    if text_field in columns:
        return text_field
    plausible = [name for name in columns if name.lower() in PLAUSIBLE]
    return plausible[0] if len(plausible) == 1 else None


def _share_that_fits(lines: list[str], dialect: Dialect) -> float:
    wrongs = [wrong for _, wrong, _ in _rows(_Lines(lines, HEAD * 4), dialect, HEAD * 4)]
    if len(wrongs) > 2 and wrongs[-1] is not None:
        wrongs.pop()  # the last row may go on after the head
    return wrongs.count(None) / max(1, len(wrongs))


def _encoding(head: bytes) -> str:
    """UTF-8, unless of the lines that are not ASCII more than a fourth, and more than two, are not: then what the
    bytes look like."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    wide = [line for line in head.split(b"\n")[:-1] or [head] if not line.isascii()]
    broken = sum(not _is_utf8(line) for line in wide)
    if broken <= 2 or broken * 4 <= len(wide):
        return "utf-8-sig"
    from resiliparse.parse.encoding import detect_encoding

    found = detect_encoding(head) or "cp1252"
    return "cp1252" if found == "utf-8" else found


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _on_errors(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8-sig" else "replace"
