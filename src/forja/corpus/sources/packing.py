"""The bytes of a file, unpacked as it begins to be packed: gzip, Zstandard or bzip2, whatever its name."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, cast

import zstandard

HEAD_BYTES = 1 << 16
PIECE_BYTES = 1 << 17
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
"""What the decompressors raise on a cut or broken file."""
SUFFIXES = {".gz", ".zst", ".zstd", ".bz2"}


def open_unpacked(path: Path) -> IO[bytes]:
    """The file's bytes. Raises OSError."""
    return unpacked(open(path, "rb"))


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """What a stream holds; reading it raises one of DAMAGED where the packing is broken."""
    head, raw = peek(raw, 4)
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(raw, "rb"))
    if head == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Frames(raw), PIECE_BYTES)
    if head[:3] == b"BZh":
        from forja.corpus.sources.bzip2 import Bz2Stream

        return io.BufferedReader(Bz2Stream(raw), PIECE_BYTES)
    return raw


def peek(file: IO[bytes], size: int = HEAD_BYTES) -> tuple[bytes, IO[bytes]]:
    """The first bytes of a stream, and the stream as if they had not been read. What is damaged within
    them shows again when the reading gets there."""
    head = b""
    damage: Exception | None = None
    try:
        while len(head) < size and (piece := _some(file, size - len(head))):
            head += piece
    except DAMAGED as error:
        damage = error
    return head, io.BufferedReader(_Rejoined(head, file, damage), PIECE_BYTES)


def _some(file: IO[bytes], size: int) -> bytes:
    """One piece: what was unpacked before damage must not be lost to a read that wants more."""
    read1 = getattr(file, "read1", None)
    piece: bytes = read1(size) if read1 is not None else file.read(min(size, 8192))
    return piece


class _Rejoined(io.RawIOBase):
    def __init__(self, head: bytes, rest: IO[bytes], damage: Exception | None) -> None:
        self._head, self._rest, self._damage = memoryview(head), rest, damage

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._rest.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            if self._damage is not None:
                raise self._damage
            self._head = memoryview(_some(self._rest, PIECE_BYTES))
        count = min(len(buffer), len(self._head))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        return count


class _Frames(io.RawIOBase):
    """Zstandard frames unpacked as they are read; EOFError where the last one was cut."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._next = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            packed = self._next or self._packed.read(1 << 16)
            if not packed:
                if self._begun:
                    raise EOFError("the compressed file ended before its end-of-stream marker was reached")
                return 0
            self._ready = memoryview(self._frame.decompress(packed))
            self._begun, self._next = True, b""
            if self._frame.eof:
                self._begun, self._next = False, self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
