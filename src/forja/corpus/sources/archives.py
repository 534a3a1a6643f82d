"""The members of zip and tar archives as streams, never written to disk: names, sizes and ratios are checked here.

Which archive a file is, nested archives, and what a member may be; zip files are read in `zips.py`, tar files in
`tars.py`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from forja.corpus.sources import tars, zips
from forja.corpus.sources.bounded import ARCHIVE_NAME, Member, MemberError, Refusal
from forja.errors import ForjaError

DEPTH = 2
"""How deep archives may lie in an archive."""
SPOOLED = 16 << 20
"""Bytes of an inner zip held in memory; of a longer one the rest is in a temporary file that has no name."""
MOST_NESTED = 4 << 30
"""Bytes that an inner archive may have."""
DRIVE = re.compile(r"^[A-Za-z]:")
LONGEST_NAME = 4096

ArchiveKind = Literal["zip", "tar"]
Found = tuple[str, IO[bytes] | Refusal]


def tell_archive(name: str, head: bytes) -> ArchiveKind | None:
    """The kind of an archive by its first 512 bytes, and by its name where it is packed (.tar.gz) or cut."""
    lower = name.lower()
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04")):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if lower.endswith(".zip"):
        return "zip"
    return "tar" if ARCHIVE_NAME.search(lower) else None


def archive_members(
    archive: Path | IO[bytes], max_bytes: int, name: str = "", *, nested_in: int = 0
) -> Iterator[Found]:
    """(name, stream) of each member, or (name, why it is refused): unsafe-path, too-long, bomb, encrypted,
    unsupported, nested-archive, damaged; at a cut archive's end ("...#end", "truncated").

    Members of a zip come sorted by name, those of a tar as they lie. A stream is good until the next member is
    asked for; reading it raises MemberError (`reason`: too-long, bomb, damaged, truncated) where the member unpacks
    to more than `max_bytes` or to more than its packed bytes can honestly hold, or is broken. The archives within
    an archive are opened, to a depth of two: `inner.zip/name`. Raises ForjaError where this is no archive.

    `archive` may be a file that cannot be sought in: then a zip is spooled.
    """
    file = open(archive, "rb") if isinstance(archive, Path) else archive  # noqa: SIM115 - closed below
    name = name or (archive.name if isinstance(archive, Path) else "")
    try:
        yield from _members(file, max_bytes, name, nested_in)
    finally:
        if isinstance(archive, Path):
            file.close()


def _members(file: IO[bytes], max_bytes: int, name: str, depth: int) -> Iterator[Found]:
    packed = _Peeked(file)
    kind = tell_archive(name, packed.peek(512))
    if kind is None:
        raise ForjaError("this is not a zip or tar archive.", where=name or None, fix="Check the source's `kind`.")
    members = _zip_members(packed, max_bytes) if kind == "zip" else tars.read_tar(packed.stream(), max_bytes)
    for member in members:
        refusal = member.refusal or unsafe(member.name)
        if refusal is None and ARCHIVE_NAME.search(member.name):
            yield from _nested(member, max_bytes, depth + 1)
        elif refusal is not None:
            yield printable(member.name), refusal
        else:
            yield printable(member.name), member.open(max_bytes)


def _nested(member: Member, max_bytes: int, depth: int) -> Iterator[Found]:
    place = printable(member.name)
    if depth > DEPTH:
        yield place, "nested-archive"
        return
    try:
        for name, found in archive_members(member.open(MOST_NESTED), max_bytes, place, nested_in=depth):
            yield f"{place}/{name}", found
    except MemberError as error:
        yield place, error.reason
    except ForjaError:
        yield place, "damaged"


def _zip_members(packed: _Peeked, max_bytes: int) -> Iterator[Member]:
    if packed.seekable():
        yield from zips.read_zip(packed.stream(), max_bytes)
        return
    with tempfile.SpooledTemporaryFile(SPOOLED) as spool:
        stream = packed.stream()
        while piece := stream.read(1 << 20):
            spool.write(piece)
        spool.seek(0)
        yield from zips.read_zip(cast(IO[bytes], spool), max_bytes)


class _Peeked:
    """A file whose first bytes were looked at."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._head = b""

    def seekable(self) -> bool:
        return self._file.seekable()

    def peek(self, count: int) -> bytes:
        if self.seekable():
            self._head = self._file.read(count)
            self._file.seek(-len(self._head), 1)
            return self._head
        while len(self._head) < count and (piece := self._file.read(count - len(self._head))):
            self._head += piece
        return self._head

    def stream(self) -> IO[bytes]:
        if self.seekable():
            return self._file
        return cast(IO[bytes], _Joined(self._head, self._file))


class _Joined:
    """Bytes, and then a file."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file

    def read(self, count: int) -> bytes:
        if not self._head:
            return self._file.read(count)
        taken, self._head = self._head[:count], self._head[count:]
        return taken


# --- names ------------------------------------------------------------------------------------------


def unsafe(name: str) -> Refusal | None:
    """`unsafe-path` for a name that is absolute, climbs, or could be read as another."""
    plain = name.replace("\\", "/")
    bad = plain.startswith("/") or DRIVE.match(plain) or "\0" in plain or len(plain) > LONGEST_NAME
    return "unsafe-path" if bad or not plain or ".." in plain.split("/") else None


def printable(name: str) -> str:
    """The name as an origin: slashes one way, no control characters, not endlessly long."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in name.replace("\\", "/"))
    return plain[:LONGEST_NAME].removeprefix("./")
