"""Packed WARC files unpacked member by member (gzip, and IIPC's WARC-zstd with dictionaries), so that a damaged
member loses no other: behind it the next one is searched for.

Where in the unpacked bytes the records are is `warc.py`'s affair.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import IO, Literal

import zstandard

from forja.corpus.sources.packing import Gzip, Unpacker, Zstd
from forja.errors import ForjaError

MAGIC = b"WARC/"
PIECE = 1 << 16
"""Bytes read at a time."""
KEPT = 8 << 20
"""Packed bytes of a member remembered, to look in them for the next member where this one proves damaged."""
TRIAL = 1 << 18
"""Packed bytes in which what may be a member must show that a record begins it: a Zstandard block has 128 KiB."""
MAX_DICTIONARY = 16 << 20


Edge = Literal["edge"]
"""Stands in the stream where a member begins with a record, or before damage at the beginning of one."""


@dataclass(frozen=True)
class Fault:
    """Damage, or the file's cut end; with the header of the record it befell, where that had been read."""

    reason: Literal["damaged", "truncated"]
    error: str
    header: bytes = b""


@dataclass(frozen=True)
class Codec:
    kind: type[Gzip] | type[Zstd]
    dictionary: zstandard.ZstdCompressionDict | None = None

    def begin(self) -> Unpacker:
        return Zstd(self.dictionary) if self.kind is Zstd else Gzip()


def codec_of(head: bytes) -> Codec | None:
    """How a file is packed, by how it begins; a damaged beginning is forgiven where more of it tells."""
    if not head:
        return None
    if _is_skippable(head):
        return Codec(Zstd)
    kinds: tuple[type[Gzip] | type[Zstd], ...] = (Gzip, Zstd)
    for kind in kinds:
        if head.startswith(kind.magic) and _opens_record(head, Codec(kind)) is not False:
            return Codec(kind)
    for kind in kinds:
        for found in re.finditer(re.escape(kind.magic), head):
            if _opens_record(head[found.start() :], Codec(kind)):
                return Codec(kind)
    if b"WARC/1." in head or b"WARC/0." in head:
        return None
    for kind in kinds:
        if kind.magic in head:
            return Codec(kind)
    raise ForjaError("this is not a WARC file: it begins neither with a record nor as gzip or Zstandard.")


def _opens_record(packed: bytes, codec: Codec) -> bool | None:
    """Whether a packed member that begins with a record stands here; None where these bytes are too few to tell."""
    unpacker, unpacked, at = codec.begin(), b"", 0
    try:
        while at < len(packed) and len(unpacked) < len(MAGIC) and not unpacker.ended:
            out, used = unpacker.step(packed[at : at + codec.kind.piece])
            unpacked, at = unpacked + out, at + used
    except (zlib.error, zstandard.ZstdError):
        return False
    return unpacked.startswith(MAGIC) if len(unpacked) >= len(MAGIC) or unpacker.ended else None


def _is_skippable(head: bytes) -> bool:
    return len(head) >= 8 and head[0] >> 4 == 5 and head[1:4] == b"\x2a\x4d\x18"


def plain(file: IO[bytes], head: bytes) -> Iterator[bytes | Edge | Fault]:
    while head:
        yield head
        head = file.read(PIECE)


def unpack(file: IO[bytes], head: bytes, codec: Codec) -> Iterator[bytes | Edge | Fault]:
    """Unpacked bytes; "edge" before a member that begins with a record, a Fault where a member is damaged or cut."""
    packed = _Packed(file, head)
    while begin := packed.peek(8):
        if codec.kind is Zstd and _is_skippable(begin):
            codec = replace(codec, dictionary=_dictionary(packed) or codec.dictionary)
        elif begin.startswith(b"\0"):
            packed.skip_zeros()
        elif begin.startswith(codec.kind.magic):
            fault = yield from _member(packed, codec)
            if fault:
                yield fault
                packed.find_member(codec)
        else:
            yield "edge"
            yield Fault("damaged", "bytes between the packed members are none")
            packed.find_member(codec)


def _with_edge(begin: bytes, told: bool) -> Iterator[bytes | Edge]:
    """The first bytes of a member, or nothing where it is damaged before them: then what came before is whole."""
    if not told and (begin.startswith(MAGIC) or not begin):
        yield "edge"
    yield begin


def _member(packed: _Packed, codec: Codec) -> Generator[bytes | Edge, None, Fault | None]:
    """The unpacked bytes of the member that begins here; returns its Fault, or None where it is whole."""
    unpacker = codec.begin()
    begin = b""
    told = False
    while not unpacker.ended:
        piece = packed.next_piece(codec.kind.piece)
        try:
            unpacked, used = unpacker.step(piece)
        except (zlib.error, zstandard.ZstdError) as error:
            yield from _with_edge(begin + unpacker.rescue(), told)
            return Fault("damaged", f"a packed member is damaged ({error})")
        if not piece and not unpacked and not unpacker.ended:
            yield from _with_edge(begin, told)
            return Fault("truncated", "the packed file is cut: its last member does not end")
        packed.used(used)
        begin += unpacked
        if len(begin) < len(MAGIC) and not unpacker.ended:
            continue
        yield from _with_edge(begin, told)
        begin, told = b"", True
    packed.end_member()
    return None


class _Packed:
    """The packed bytes, read forward; those since the current member's beginning, at most `KEPT`, stay in memory."""

    def __init__(self, file: IO[bytes], head: bytes) -> None:
        self._file = file
        self._data = bytearray(head)
        self._start = self._at = 0

    def peek(self, count: int) -> bytes:
        """At most `count` bytes, fewer only at the file's end."""
        while len(self._data) - self._at < count and self._more():
            pass
        return bytes(memoryview(self._data)[self._at : self._at + count])

    def next_piece(self, count: int) -> bytes:
        """At most `count` bytes, none only at the file's end."""
        self.peek(1)
        return bytes(memoryview(self._data)[self._at : self._at + count])

    def used(self, count: int) -> None:
        self._at += count
        self._start = max(self._start, self._at - KEPT)

    def end_member(self) -> None:
        self._start = self._at

    def skip_zeros(self) -> None:
        """Pass over the padding that tapes and some writers leave."""
        while piece := self.next_piece(PIECE):
            zeros = len(piece) - len(piece.lstrip(b"\0"))
            self.used(zeros)
            if zeros < len(piece):
                break
        self.end_member()

    def find_member(self, codec: Codec) -> None:
        """Go to the next member that begins with a record, looking from behind the current one's first byte on:
        a damaged member may have been unpacked into the next ones before that showed."""
        magic = codec.kind.magic
        self._at = self._start = min(self._start + 1, len(self._data))
        while True:
            found = self._data.find(magic, self._at)
            if found < 0:
                self._at = self._start = max(self._at, len(self._data) - len(magic) + 1)
                if not self._more():
                    self._at = self._start = len(self._data)
                    return
                continue
            self._at = self._start = found
            if _opens_record(self.peek(TRIAL), codec):
                return
            self._at = self._start = self._at + 1

    def _more(self) -> bool:
        more = self._file.read(PIECE)
        if self._start > 16 * PIECE:
            del self._data[: self._start]
            self._at -= self._start
            self._start = 0
        self._data += more
        return bool(more)


def _dictionary(packed: _Packed) -> zstandard.ZstdCompressionDict | None:
    """Pass over a skippable frame; the dictionary in it, if it is the first frame of a WARC-zstd file."""
    head = packed.peek(8)
    size = int.from_bytes(head[4:8], "little")
    packed.used(8)
    content = packed.peek(min(size, MAX_DICTIONARY))
    left = size
    while left and (piece := packed.next_piece(min(left, PIECE))):
        packed.used(len(piece))
        left -= len(piece)
    packed.end_member()
    if head[0] != 0x5D or size > MAX_DICTIONARY:
        return None
    try:
        if content.startswith(Zstd.magic):
            content = zstandard.ZstdDecompressor().stream_reader(content).read(MAX_DICTIONARY)
        return zstandard.ZstdCompressionDict(content)
    except (zstandard.ZstdError, MemoryError):
        return None
