"""The bytes of a file, unpacked as it begins to be packed: gzip, Zstandard or bzip2, whatever its name."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

from forja.corpus.sources.pieces import PIECE_BYTES, stream_of

HEAD_BYTES = 1 << 16
GZIP_PIECE = 1 << 16
"""Bytes at most unpacked from gzip at a time."""
ZSTD_PIECE = 64
"""Packed bytes given to Zstandard at a time: a block of 4 bytes may say 128 KiB, so this is at most 2 MiB."""
DAMAGED = (EOFError, zlib.error, zstandard.ZstdError)
"""What the decompressors raise on a cut or broken file."""
SUFFIXES = {".gz", ".zst", ".zstd", ".bz2"}


def open_unpacked(path: Path) -> IO[bytes]:
    """The file's bytes. Raises OSError."""
    return unpacked(open(path, "rb"))


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """What a stream holds; reading it raises one of DAMAGED where the packing is broken."""
    head, raw = peek(raw, 4)
    if head[:2] == b"\x1f\x8b":
        return stream_of(_members(raw, Gzip), raw)
    if head == b"\x28\xb5\x2f\xfd":
        return stream_of(_members(raw, Zstd), raw)
    if head[:3] == b"BZh":
        from forja.corpus.sources.bzip2 import Bz2Pieces

        return stream_of(iter(Bz2Pieces(raw)), raw)
    return raw


def peek(file: IO[bytes], size: int = HEAD_BYTES) -> tuple[bytes, IO[bytes]]:
    """The first bytes of a stream, and the stream as if they had not been read. What is damaged within
    them shows again when the reading gets there."""
    head, damage = read_sound(file, size)
    return head, stream_of(_rejoined(head, file, damage), file)


def read_sound(file: IO[bytes], most: int) -> tuple[bytes, Exception | None]:
    """At most so many bytes; and where damage ends them before, what was raised there."""
    pieces: list[bytes] = []
    try:
        while most > 0 and (piece := _some(file, most)):
            pieces.append(piece)
            most -= len(piece)
    except DAMAGED as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


def _some(file: IO[bytes], size: int) -> bytes:
    """One piece: what was unpacked before damage must not be lost to a read that wants more."""
    read1 = getattr(file, "read1", None)
    piece: bytes = read1(size) if read1 is not None else file.read(min(size, 8192))
    return piece


def _rejoined(head: bytes, rest: IO[bytes], damage: Exception | None) -> Iterator[bytes]:
    yield head
    if damage is not None:
        raise damage
    while piece := _some(rest, PIECE_BYTES):
        yield piece


def _members(packed: IO[bytes], kind: type[Gzip] | type[Zstd]) -> Iterator[bytes]:
    """What packed members hold, one behind the other. At damage what came before it is given first; then, as where
    the last member was cut, one of DAMAGED is raised."""
    member: Unpacker | None = None
    held = b""
    while (held := held or packed.read(kind.piece)) or member:
        if member is None:
            # Tape archives, and some writers, pad with NULs.
            held = held.lstrip(b"\0")
            if not held:
                continue
            member = kind()
        try:
            unpacked, used = member.step(held)
        except DAMAGED:
            yield member.rescue()
            raise
        if not held and not unpacked and not member.ended:
            raise EOFError("the compressed file ended before its end-of-stream marker was reached")
        yield unpacked
        held = held[used:]
        if member.ended:
            member = None


# --- one member -------------------------------------------------------------------------------


class Unpacker(Protocol):
    """One packed member in the unpacking."""

    def step(self, packed: bytes) -> tuple[bytes, int]:
        """(unpacked bytes, how many of `packed` were used up)."""

    @property
    def ended(self) -> bool:
        """Whether the member is complete, and its checksum right."""

    def rescue(self) -> bytes:
        """What the failed step had unpacked before it failed."""


class Gzip:
    magic = b"\x1f\x8b\x08"
    piece = 1 << 15

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)
        self._before = self._stream.copy()
        self._packed = b""

    def step(self, packed: bytes) -> tuple[bytes, int]:
        self._before, self._packed = self._stream.copy(), packed
        unpacked = self._stream.decompress(packed, GZIP_PIECE)
        # At the end of a member zlib leaves the tail of an earlier step standing.
        left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return unpacked, len(packed) - len(left)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def rescue(self) -> bytes:
        saved = bytearray()
        try:
            for byte in self._packed:
                saved += self._before.decompress(bytes((byte,)))
        except zlib.error:
            pass
        return bytes(saved)


class Zstd:
    magic = b"\x28\xb5\x2f\xfd"
    piece = ZSTD_PIECE

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        self._stream = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << 27).decompressobj()

    def step(self, packed: bytes) -> tuple[bytes, int]:
        unpacked = self._stream.decompress(packed)
        return unpacked, len(packed) - len(self._stream.unused_data)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def rescue(self) -> bytes:
        return b""
