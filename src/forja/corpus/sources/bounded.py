"""A member of an archive as a stream with a bound: on its unpacked bytes, and on their ratio to the packed ones."""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal, Protocol, cast

import zstandard

from forja.errors import ForjaError

Refusal = Literal[
    "unsafe-path", "too-long", "bomb", "encrypted", "unsupported", "nested-archive", "damaged", "truncated"
]

ARCHIVE_NAME = re.compile(r"\.(?:zip|tar|tgz|tbz2?|txz|tzst|tar\.(?:gz|bz2|xz|zst|zstd))$", re.IGNORECASE)
HUGE = 16 << 20
"""Unpacked bytes from which on the ratio is looked at: less of them can do no harm."""
MOST_RATIO = 250
"""Unpacked to packed bytes. Logs and JSON reach 30 to 100; a bomb of one letter reaches 1,000 and more."""
BROKEN = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError, NotImplementedError)
"""What decompressors raise on what is damaged or cut."""


class MemberError(ForjaError, EOFError):
    """A member cannot be read further; `reason` is what it is rejected for. It is an EOFError too, so that a reader
    that bears a cut file gives what came before."""

    def __init__(self, reason: Refusal, what: str) -> None:
        self.reason: Refusal = reason
        super().__init__(what)


class Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """One member: its name, why it is refused unread, if it is, and how to open it."""

    name: str
    refusal: Refusal | None = None
    begin: Callable[[], Readable] | None = None
    packed: Callable[[], int] | None = None
    """How many packed bytes were read of it so far, or are there at all."""

    def open(self, max_bytes: int) -> IO[bytes]:
        """The member's bytes. Raises MemberError while it is read."""
        assert self.begin is not None
        return cast(IO[bytes], io.BufferedReader(Bounded(self, max_bytes), 1 << 16))


class Bounded(io.RawIOBase):
    """The stream of a member: its bounds are looked at as it is read, as what its header says may be a lie."""

    def __init__(self, member: Member, max_bytes: int) -> None:
        self._member = member
        self._most = max_bytes
        self._file: Readable | None = None
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            if self._file is None:
                assert self._member.begin is not None
                self._file = self._member.begin()
            piece = self._file.read(len(buffer))
        except MemberError:
            raise
        except EOFError as error:
            raise MemberError("truncated", f"the member is cut ({error}).") from None
        except BROKEN as error:
            raise MemberError("damaged", f"the member is damaged ({error}).") from None
        self._given += len(piece)
        if self._given > self._most:
            raise MemberError("too-long", f"the member is longer than {self._most:,} bytes.")
        if self._given > HUGE and self._member.packed is not None:
            check_ratio(self._given, self._member.packed())
        buffer[: len(piece)] = piece
        return len(piece)


def is_too_long(name: str, size: int, max_bytes: int) -> bool:
    """Whether a member is too long by what its header says; an archive is read member by member, however long."""
    return size > max_bytes and not ARCHIVE_NAME.search(name)


def check_ratio(unpacked: int, packed: int) -> None:
    """Raises MemberError where so few packed bytes unpack to so many."""
    if unpacked > HUGE and unpacked > MOST_RATIO * max(packed, 1):
        raise MemberError("bomb", f"{packed:,} packed bytes unpack to more than {unpacked:,}.")
