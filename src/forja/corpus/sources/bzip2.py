"""bzip2 unpacked as it is read, past damage: a broken block is left out and what follows it is still given.

Files of many streams (Wikipedia's multistream dumps) and of one are read alike.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from typing import IO

PIECE = 1 << 16
MOST_OUTPUT = 48 << 20
"""Bytes that one block may unpack to: 900,000 bytes of runs, five bytes for up to 255, and a little more."""
LONGEST_BLOCK = 1 << 20
"""Packed bytes within which the next block must begin; a block of 900,000 bytes packs to less, even of noise."""
STREAM = re.compile(rb"BZh[1-9](?=1AY&SY|\x17rE8P\x90)")
BLOCK_MAGIC = 0x314159265359
END_MAGIC = 0x177245385090


class Bz2Pieces:
    """The unpacked bytes of bzip2 data, piece by piece, however damaged.

    `packed` is read once, from where it stands. A block whose check sum does not hold is left out, and one NUL byte
    stands in its place, so that no record is joined of two halves. Blocks after it are found by their mark, at any
    bit, as bzip2recover does. What was left out is told by an EOFError at the end, when all that is good has been
    given. A piece has at most 48 MiB.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._held = b""
        self._at = 0  # of `_held` in the packed file
        self._stream: bz2.BZ2Decompressor | None = None
        self._stream_at = -1
        self._since = b""  # packed bytes from the last piece that gave something, and how long that piece was
        self._gave = 0
        self._recovering = False
        self._ended = False
        self.damaged: list[int] = []
        """Offsets in the packed file near which something was left out."""

    def __iter__(self) -> Iterator[bytes]:
        while not self._ended:
            yield self._next_block() if self._recovering else self._next_bytes()
        if self.damaged:
            places = f"{len(self.damaged)} place{'s' * (len(self.damaged) > 1)}"
            raise EOFError(f"the bzip2 data is cut or damaged in {places}, first near byte {self.damaged[0]:,}")

    def _fill(self, wanted: int) -> bool:
        """Have `wanted` packed bytes at hand; False where the file ends before."""
        while len(self._held) < wanted:
            piece = self._packed.read(max(PIECE, wanted - len(self._held)))
            if not piece:
                return False
            self._held += piece
        return True

    def _drop(self, count: int) -> None:
        self._held = self._held[count:]
        self._at += count

    def _lost(self) -> bytes:
        self.damaged.append(self._at)
        return b"\0"

    def _next_bytes(self) -> bytes:
        """What the stream gives next: whole blocks, checked, as `decompress` may give more than the largest."""
        if self._stream is None:
            whole = self._fill(10)
            # Tape archives are padded with NULs.
            if not self._held[:10].strip(b"\0"):
                self._drop(len(self._held) - len(self._held.lstrip(b"\0")))
                self._ended = not whole
                return b""
            if not STREAM.match(self._held):
                self._recovering = True
                return self._lost()
            self._stream, self._stream_at = bz2.BZ2Decompressor(), self._at
            self._since, self._gave = b"", 0
        piece = b""
        if self._stream.needs_input:
            if not self._fill(1):
                self._ended = True
                return self._lost()
            piece = self._held[:PIECE]
        try:
            unpacked = self._stream.decompress(piece, MOST_OUTPUT)
        except (OSError, ValueError):
            self._begin_recovery()
            return b""
        self._drop(len(piece))
        if unpacked:
            # A mark may lie across two pieces: the end of the one before is kept with this.
            self._since, self._gave = self._since[-8:] + piece, len(self._since[-8:]) + len(piece)
        else:
            self._since += piece
        if self._stream.eof:
            self._at -= len(self._stream.unused_data)
            self._held = self._stream.unused_data + self._held
            self._stream = None
        return unpacked

    def _begin_recovery(self) -> None:
        """Go back to the first block that was not given yet: what a failing call unpacked is lost with it."""
        self._stream, self._recovering = None, True
        self._at -= len(self._since)
        self._held = self._since + self._held
        done = 0
        while (mark := find_mark(self._since[: self._gave], done)) is not None:
            done = mark[0] + 48
        self._drop(max(0, done - 48) // 8)

    def _next_block(self) -> bytes:
        """The next whole block by itself; back to streams where one begins."""
        more = self._fill(2 * LONGEST_BLOCK)
        start = find_mark(self._held, 0)
        if start is None:
            nothing = len(self._held) < 16
            self._ended = not more
            self._drop(len(self._held) if self._ended else len(self._held) - 8)
            return b"" if nothing else self._lost()
        bit, magic = start
        stream = STREAM.match(self._held, bit // 8 - 4) if bit % 8 == 0 and bit >= 32 else None
        if stream and self._at + stream.start() > self._stream_at:
            self._drop(stream.start())
            self._recovering = False
            return b""
        if magic == END_MAGIC:
            self._drop((bit + 48) // 8)
            return b""
        end = find_mark(self._held, bit + 48)
        if end is None:
            self._drop((bit + 48) // 8)
            return self._lost()
        block = self._held[bit // 8 : (end[0] + 7) // 8]
        # The four bytes before a mark may be a stream's header.
        unpacked = unpack_block(block, bit % 8, end[0] - bit)
        self._drop(max(bit // 8 + 6, end[0] // 8 - 4))
        return self._lost() if unpacked is None else unpacked


def find_mark(data: bytes, start: int) -> tuple[int, int] | None:
    """(bit offset, magic) of the first block's or stream's end mark at or after the bit `start`."""
    best: tuple[int, int] | None = None
    for magic in (BLOCK_MAGIC, END_MAGIC):
        for shift in range(8):
            shifted = (magic << (8 - shift)).to_bytes(7, "big")
            inner = shifted[1:6]
            limit = len(data) if best is None else best[0] // 8 + 7
            at = data.find(inner, max(0, start // 8), limit)
            while at >= 0:
                bit = (at - 1) * 8 + shift
                window = int.from_bytes(data[at - 1 : at + 6].ljust(7, b"\0"), "big") if at else 0
                if bit >= start and (window >> (8 - shift)) & 0xFFFFFFFFFFFF == magic:
                    if best is None or bit < best[0]:
                        best = (bit, magic)
                    break
                at = data.find(inner, at + 1, limit)
    return best


def unpack_block(data: bytes, shift: int, bits: int) -> bytes | None:
    """One block, from its bit `shift` of `data` and `bits` long, unpacked as a stream of its own; None if broken.

    A stream of one block has that block's check sum for its own (bzip2 format, section 2.2.4).
    """
    if bits < 80:  # its mark and its check sum alone
        return None
    whole = int.from_bytes(data, "big") >> (len(data) * 8 - shift - bits)
    whole &= (1 << bits) - 1
    check = (whole >> (bits - 80)) & 0xFFFFFFFF
    tail = (whole << 80) | (END_MAGIC << 32) | check
    length = bits + 80
    padding = -length % 8
    stream = b"BZh9" + (tail << padding).to_bytes((length + padding) // 8, "big")
    try:
        unpacker = bz2.BZ2Decompressor()
        unpacked = unpacker.decompress(stream, MOST_OUTPUT)
    except (OSError, ValueError):
        return None
    return unpacked if unpacker.eof else None
