"""Pieces of bytes, as an iterator gives them, read as a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

PIECE_BYTES = 1 << 17


def stream_of(pieces: Iterator[bytes], file: IO[bytes]) -> IO[bytes]:
    """The pieces end to end. What the iterator raises is raised whenever the reading gets there. Closing it closes
    `file`, which the pieces are of."""
    return io.BufferedReader(_Pieces(pieces, file), PIECE_BYTES)


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], file: IO[bytes]) -> None:
        self._pieces, self._file = pieces, file
        self._ready = memoryview(b"")
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            piece = self._next()
            if piece is None:
                return 0
            self._ready = memoryview(piece)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self) -> bytes | None:
        if self._error is not None:
            raise self._error
        try:
            return next(self._pieces, None)
        except Exception as error:
            # An iterator that has raised only ends when it is asked again.
            self._error = error
            raise
