"""The objects of a large JSON document, one by one, past damage: of an array that a key names, or at the top.

A streaming parser (ijson) ends at the first damaged byte and holds any one value whole, however long; here a
damaged or over-long object costs itself only. Parsing is the standard library's.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

import zstandard

from forja.corpus.sources.record import Record, rejected

PIECE = 1 << 20
WASTE = 20
"""Times `max_bytes` of characters that may be parsed in vain behind damage before the rest is given up."""
BLANK = re.compile(r"[\s,\[\]\ufeff]*")
SPACE = re.compile(r"\s*")
COMMA = re.compile(r"[\s,]*")
BEGIN = re.compile(r"(?<=[\s,\[])\{")
"""Where an object may begin behind damage."""
ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
CUT = (EOFError, zlib.error, OSError, zstandard.ZstdError)
DECODER = json.JSONDecoder()

Reason = Literal["not-json", "invalid-utf-8", "too-long", "truncated", "damaged", "bomb"]
Accept = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Fault:
    """Why something in the document is not given: `raw` is how it begins."""

    reason: Reason
    raw: bytes
    error: str = ""


def read_objects(
    file: IO[bytes], max_bytes: int, key: str | None = None, accept: Accept | None = None
) -> Iterator[dict[str, Any] | Fault]:
    """The objects in the arrays called `key`, in order; without `key` those at the top: one, lines, or a list.

    `accept` says of an object found behind damage whether it is one that is looked for, or a part of one that is
    broken. About `max_bytes` characters are held at most. A file cut in mid-stream gives its whole objects and a
    Fault. Lone surrogates may come out where they were written as `\\ud800`; bytes that are no UTF-8 are a Fault.
    """
    window = _Window(file)
    if (yield from _strict(window, max_bytes, re.compile(rf'"{re.escape(key)}"\s*:\s*\[') if key else None)):
        yield from _scan(window, max_bytes, accept or (lambda _: True))
    if window.cut:
        yield Fault(window.why, b"", window.cut)


def canonical(entry: dict[str, Any]) -> bytes:
    """The object as bytes that do not depend on how it was written."""
    text = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def parsed(raw: bytes) -> dict[str, Any]:
    """The object that `canonical` wrote; empty where there is none."""
    try:
        entry = json.loads(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def fault_record(fault: Fault, place: str) -> Record:
    """The rejected record of a fault; `place` says where it lies."""
    return rejected(place, fault.reason, fault.raw, error=f"{place}: {fault.error}" if fault.error else None)


class _Window:
    """What is held of the file, as text: `text` from `at` on is not yet used."""

    def __init__(self, file: IO[bytes]) -> None:
        # `read1`, where there is one: at damage, what could be unpacked before it is not thrown away.
        self._read = getattr(file, "read1", file.read)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.at = 0
        self.begin = 0
        """Where the last value began."""
        self.ended = False
        self.cut = ""
        self.why: Reason = "truncated"

    def more(self, wanted: int = PIECE) -> bool:
        """Hold about `wanted` bytes more, and let go what is used; False where the file ended before."""
        if self.ended:
            return False
        pieces = []
        while wanted > 0 and not self.ended:
            try:
                piece = self._read(min(wanted, PIECE))
            except CUT as error:
                self.cut, piece = str(error) or type(error).__name__, b""
                self.why = getattr(error, "reason", "truncated")
            self.ended = not piece
            wanted -= len(piece)
            pieces.append(self._decoder.decode(piece, final=self.ended))
        self.text, self.at = self.text[self.at :] + "".join(pieces), 0
        return True

    def past(self, pattern: re.Pattern[str]) -> bool:
        """Go behind what `pattern` matches here, however long; False at the end of the file."""
        while True:
            found = pattern.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return True
            if not self.more():
                return False

    def to(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go to where `pattern` is found next; None where it is not."""
        while (found := pattern.search(self.text, self.at)) is None:
            self.at = max(self.at, len(self.text) - 256)
            if not self.more():
                return None
        self.at = found.start()
        return found

    def sample(self, begin: int | None = None) -> bytes:
        begin = self.at if begin is None else begin
        return self.text[begin : begin + 256].encode("utf-8", "surrogateescape")

    def value(self, most: int) -> Any | _Failure:
        """The JSON value that begins at `at`, which moves behind it; a _Failure, `at` unmoved, where there is none."""
        size = PIECE
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
                self.begin, self.at = self.at, end
                return value
            except RecursionError:
                return _Failure("not-json", "it is nested too deep", min(len(self.text) - self.at, PIECE))
            except json.JSONDecodeError as error:
                cost = error.pos - self.at + error.pos // 64 + 64
                unended = error.msg.startswith("Unterminated string")
                if not unended and error.pos < len(self.text) - 16:
                    return _Failure("not-json", error.msg, cost)
                held = len(self.text) - self.at
                if self.ended:
                    return _Failure("truncated", error.msg, held if unended else cost)
                if held > most:
                    return _Failure("too-long", f"it is longer than {most:,} bytes", 2 * held)
                self.more(size)
                size *= 2
            except ValueError as error:
                # A whole number of more than 4,300 digits.
                return _Failure("not-json", str(error), min(len(self.text) - self.at, PIECE))


@dataclass(frozen=True)
class _Failure:
    """Why there is no value; `cost` is in characters looked at in vain."""

    reason: Literal["not-json", "too-long", "truncated"]
    error: str
    cost: int


def _strict(window: _Window, most: int, key: re.Pattern[str] | None) -> Generator[dict[str, Any] | Fault, None, bool]:
    """Objects as long as the document is what JSON should be. Returns whether it is damaged: then `window` stands
    behind the beginning of what is broken."""
    while key is None or window.to(key):
        if key is not None:
            window.at = window.text.index("[", window.at) + 1
        while window.past(BLANK if key is None else COMMA):
            if key is not None and window.text[window.at] == "]":
                window.at += 1
                if window.past(SPACE) and window.text[window.at] not in ",]}":
                    # Damage made it of what began an entry, or parted two.
                    yield Fault("not-json", window.sample(), "the list is closed before its end")
                    return True
                break
            value = window.value(most)
            if isinstance(value, _Failure):
                yield Fault(value.reason, window.sample(), value.error)
                window.at += 1
                return True
            yield _checked(window, value, most)
        else:
            if key is not None and not window.cut:
                yield Fault("truncated", b"", "the list is not closed")
            return False
    return False


def _scan(window: _Window, most: int, accept: Accept) -> Iterator[dict[str, Any] | Fault]:
    """What is acceptable behind the first damage. Damage that follows damage is told once."""
    waste = 0
    told = True
    while window.to(BEGIN):
        value = window.value(most)
        if isinstance(value, _Failure):
            waste += value.cost
            if waste > WASTE * (most + PIECE):
                yield Fault("damaged", window.sample(), "it is damaged in so many places that the rest is left out")
                return
            if not told:
                yield Fault(value.reason, window.sample(), value.error)
            told = True
            window.at += 1
        elif accept(value):
            told = False
            yield _checked(window, value, most)


def _checked(window: _Window, value: Any, most: int) -> dict[str, Any] | Fault:
    if not isinstance(value, dict):
        return Fault("not-json", window.sample(window.begin), "it is not an object")
    if window.at - window.begin > most:
        return Fault("too-long", window.sample(window.begin), f"it is longer than {most:,} bytes")
    if not window.text.isascii() and ESCAPED_BYTE.search(window.text, window.begin, window.at):
        return Fault("invalid-utf-8", window.sample(window.begin))
    return value
