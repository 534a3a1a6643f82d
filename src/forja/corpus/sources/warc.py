"""WARC files (ISO 28500:2017) taken apart into records, whatever has happened to the file: packing taken off
member by member, each record found by its length, and after damage the next one found again.

What a record means is not known here: `common_crawl.py` makes documents of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Literal

from forja.corpus.sources.members import MAGIC, PIECE, Edge, Fault, codec_of, plain, unpack
from forja.errors import ForjaError

MAX_HEADER = 1 << 16
HEADER_END = re.compile(rb"\n\r?\n")
NEXT_RECORD = re.compile(rb"WARC/[01]\.\d\r?\n(?:WARC-|Content-)")
CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
NEAR = 8
"""Bytes after a record in which the next one is looked for though something is wrong between them."""
TAILS = (b"\r\n\r\n", b"\n\n", b"\r\n", b"\n", b"")
"""What may stand between a record's content and the next record: the standard's, and what lax writers leave."""


@dataclass(frozen=True)
class Frame:
    """One whole record. body: None where it is longer than was asked for. checked: a checksum of the packing
    covers it, so that its own digest need not be looked at."""

    header: bytes
    body: bytes | None
    checked: bool


def read_frames(file: IO[bytes], max_bytes: int) -> Iterator[Frame | Fault]:
    """The records of a WARC file, plain or packed with gzip or Zstandard (IIPC's WARC-zstd, dictionaries too).

    Raises ForjaError where nothing in it is a record. Memory: one record of `max_bytes` and its packed bytes.
    """
    stream = _Stream(file)
    told = seen = False
    first = True
    while True:
        junk = stream.skip_to_record()
        if stream.have(len(MAGIC)):
            if junk and not told:
                yield Fault("damaged", f"{junk:,} bytes are no record")
            item = _frame(stream, first, max_bytes)
            seen, told, first = True, isinstance(item, Fault), False
            yield item
            continue
        barrier = stream.barrier
        if barrier == "end" and not seen and (junk or told):
            raise ForjaError("this is not a WARC file: no record begins in it.")
        if isinstance(barrier, Fault):
            seen = True
            if not told:
                yield barrier
        elif junk and not told:
            yield Fault("damaged", f"{junk:,} bytes are no record")
        if barrier == "end":
            return
        stream.cross()
        told, first = False, True


def _frame(stream: _Stream, first: bool, max_bytes: int) -> Frame | Fault:
    """The record that begins here. first: it is the first of its packed member."""
    size = stream.header_size()
    if size is None:
        return stream.broken(len(MAGIC), first, b"", "its header does not end", short=True)
    next_one = NEXT_RECORD.search(stream.peek(size), 1)
    if next_one:
        return stream.broken(next_one.start(), first, b"", "its header is cut")
    header = stream.take(size)
    said = CONTENT_LENGTH.search(header)
    if said is None:
        return stream.broken(0, first, header, "its header has no Content-Length")
    length = int(said.group(1))
    if length > max_bytes:
        missing = stream.discard(length)
        if missing:
            return stream.broken(0, first, header, f"{missing:,} bytes of it are missing", short=True)
        return Frame(header, None, True)
    if not stream.have(length):
        return stream.broken(0, first, header, "it is shorter than its Content-Length", short=True)
    gap, whole = stream.gap(length)
    unproven = first and isinstance(stream.barrier, Fault) and not stream.have(length + gap + 1)
    if not whole or unproven:
        return stream.broken(length + gap if gap else 0, first, header, "its Content-Length is wrong")
    body = stream.take(length)
    stream.take(gap)
    return Frame(header, body, stream.packed and not stream.have(1) and stream.barrier in ("edge", "end"))


class _Stream:
    """The unpacked bytes, read forward up to a barrier: a member that begins with a record, damage, or the end."""

    def __init__(self, file: IO[bytes]) -> None:
        head = file.read(PIECE)
        codec = codec_of(head)
        self.packed = codec is not None
        self._events = unpack(file, head, codec) if codec else plain(file, head)
        self._data = bytearray()
        self._at = 0
        self.barrier: Edge | Literal["end"] | Fault | None = None

    def have(self, count: int) -> bool:
        """Whether `count` bytes come before the next barrier; they are then in memory."""
        while len(self._data) - self._at < count and self.barrier is None:
            event: bytes | Edge | Fault | None = next(self._events, None)
            if isinstance(event, bytes):
                if self._at > PIECE:
                    del self._data[: self._at]
                    self._at = 0
                self._data += event
            else:
                self.barrier = event or "end"
        return len(self._data) - self._at >= count

    def peek(self, count: int) -> bytes:
        return bytes(memoryview(self._data)[self._at : self._at + count])

    def take(self, count: int) -> bytes:
        taken = self.peek(count)
        self._at += count
        return taken

    def cross(self) -> None:
        """Go on behind the barrier, leaving what is before it."""
        self._data.clear()
        self._at = 0
        self.barrier = None

    def discard(self, count: int) -> int:
        """Pass over `count` bytes without keeping them; gives how many were not there."""
        while count and self.have(1):
            step = min(count, len(self._data) - self._at)
            self._at += step
            count -= step
        return count

    def skip_to_record(self) -> int:
        """Go to where a record begins, or to the barrier; gives how many bytes other than line ends were passed."""
        passed = 0
        while self.have(1):
            if self._data[self._at] in b"\r\n":
                self._at += 1
            elif self.have(len(MAGIC)) and self._data.startswith(MAGIC, self._at):
                return passed
            else:
                # What follows the magic may not have come yet: a beginning of it at the end of the data is kept.
                whole = self.have(MAX_HEADER)
                found = NEXT_RECORD.search(self._data, self._at)
                to = found.start() if found else len(self._data) - (128 if whole else 0)
                passed += to - self._at
                self._at = to
        return passed

    def header_size(self) -> int | None:
        """Bytes of the header that begins here, its blank line included; None where it does not end."""
        wanted = 1 << 10
        while True:
            more = self.have(wanted)
            found = HEADER_END.search(self._data, self._at, self._at + MAX_HEADER)
            if found:
                return found.end() - self._at
            if not more or wanted >= MAX_HEADER:
                return None
            wanted = min(4 * wanted, MAX_HEADER)

    def gap(self, offset: int) -> tuple[int, bool]:
        """(bytes from `offset` on to where the next record begins or a barrier stands, 0 where neither is near;
        whether the gap is such as WARC has, so that the length that led there was right)."""
        self.have(offset + NEAR + len(MAGIC))
        begin = self._at + offset
        after = bytes(self._data[begin : begin + NEAR + len(MAGIC)])
        if after.startswith(TAILS[0]):
            return len(TAILS[0]), True
        next_one = after.find(MAGIC)
        if next_one < 0 and len(after) >= NEAR:
            return 0, False
        gap = after if next_one < 0 else after[:next_one]
        return len(gap), gap in TAILS

    def broken(self, passed: int, first: bool, header: bytes, error: str, *, short: bool = False) -> Fault:
        """The fault of a record that cannot be read; the search for the next one begins `passed` bytes further on.
        Where the bytes ended at damage of the packing, that is the fault."""
        self._at += passed
        if isinstance(self.barrier, Fault):
            # What a damaged member of one record still holds is that record's; a longer member may hold others.
            self._at = len(self._data) if first else self._at
            return replace(self.barrier, header=header)
        cut = short and self.barrier == "end" and not NEXT_RECORD.search(self._data, self._at)
        return Fault("truncated" if cut else "damaged", error, header)
