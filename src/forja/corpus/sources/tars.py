"""Tar files (ustar, GNU and pax), packed or not, as they stream by: past damage, and with bounds on all they claim.

`tarfile` reads what a header claims into memory, and takes a damaged header for the end; its parser of one header
is used, and the walk from header to header is done here.
"""

from __future__ import annotations

import bz2
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

import zstandard

from forja.corpus.sources.bounded import BROKEN, HUGE, Member, MemberError, check_ratio, is_too_long
from forja.errors import ForjaError

BLOCK = 512
PIECE = 1 << 16
LONGEST_EXTENSION = 1 << 20
"""Bytes that a long name or a pax header may have."""
MOST_MEMORY = 256 << 20
"""Bytes of memory that xz and Zstandard may ask for."""
PAX = re.compile(rb"(\d{1,8}) ([^=\n]{1,200})=")
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


def read_tar(file: IO[bytes], max_bytes: int) -> Iterator[Member]:
    """The members as they lie. Behind a damaged header the next good one is searched for; ("#end", truncated) ends
    an archive that was cut. Raises ForjaError where it does not begin as a tar file does."""
    stream = _Stream(file)
    extended: dict[str, str] = {}
    found = closed = lost = False
    while True:
        try:
            block = stream.take(BLOCK)
        except MemberError as error:
            yield Member("#end", error.reason)
            return
        if len(block) < BLOCK:
            break
        if not block.strip(b"\0"):
            closed = True
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            if not found:
                raise ForjaError("this is not a tar archive.", fix="Check the source's `kind`.") from None
            if not lost:
                yield Member(f"#{stream.given // BLOCK}", "damaged")
            lost = True
            continue
        found, closed, lost = True, False, False
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            try:
                extended |= _extension(stream, header)
            except MemberError as error:
                yield Member(_named(header, extended), error.reason)
                extended = {}
            continue
        if header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            stream.skip(_padded(header.size))
            continue
        member = _Content(stream, _size(header, extended))
        if header.type != tarfile.DIRTYPE or header.size:
            yield _member(header, extended, member, max_bytes)
        extended = {}
        member.finish()
    if not found and not closed:
        raise ForjaError("this is not a tar archive.", fix="Check the source's `kind`.")
    if not closed:
        yield Member("#end", "truncated")


def _member(header: tarfile.TarInfo, extended: dict[str, str], content: _Content, max_bytes: int) -> Member:
    name = _named(header, extended)
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extended):
        return Member(name, "unsupported")
    if header.type not in REGULAR:
        # Links, devices, pipes.
        return Member(name, "unsafe-path")
    if is_too_long(name, content.size, max_bytes):
        return Member(name, "too-long")
    return Member(name, None, lambda: content)


def _named(header: tarfile.TarInfo, extended: dict[str, str]) -> str:
    return extended.get("path", header.name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _size(header: tarfile.TarInfo, extended: dict[str, str]) -> int:
    if header.type not in REGULAR and header.type != tarfile.GNUTYPE_SPARSE:
        # Links and directories have no content, whatever they say.
        return 0
    said = extended.get("size", "")
    return int(said) if said.isdecimal() and len(said) < 19 else max(0, header.size)


def _extension(stream: _Stream, header: tarfile.TarInfo) -> dict[str, str]:
    """What a long name or a pax header says of the member that follows: path, size, and what it is otherwise."""
    if not 0 <= header.size <= LONGEST_EXTENSION:
        stream.skip(_padded(max(0, header.size)))
        raise MemberError("damaged", "its extended header is too long.")
    raw = stream.take(_padded(header.size))[: header.size]
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": raw.split(b"\0")[0].decode("utf-8", "surrogateescape")}
    found = {}
    at = 0
    while (record := PAX.match(raw, at)) and int(record[1]) > 0:
        value = raw[record.end() : at + int(record[1]) - 1]
        found[record[2].decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(record[1])
    return found


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


class _Content:
    """The bytes of one member; what was not read of them is skipped before the next."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self.size = size
        self._left = size

    def read(self, count: int, /) -> bytes:
        piece = self._stream.take(min(count, self._left, PIECE))
        if self._left and not piece:
            raise EOFError("the archive ends within it")
        self._left -= len(piece)
        return piece

    def finish(self) -> None:
        self._stream.skip(self._left + _padded(self.size) - self.size)
        self._left = 0


class _Stream:
    """The archive's bytes, unpacked."""

    def __init__(self, file: IO[bytes]) -> None:
        head = file.read(8)
        self._source = _Source(head, file)
        self._packed = _unpacker(self._source, head)
        self.given = 0

    def take(self, count: int) -> bytes:
        """`count` bytes, fewer at the end. Raises MemberError where the packing is broken, or a bomb."""
        pieces = []
        while count > 0:
            try:
                piece = self._packed.read(min(count, PIECE))
            except EOFError as error:
                raise MemberError("truncated", f"the archive is cut ({error}).") from None
            except BROKEN as error:
                raise MemberError("damaged", f"the archive is damaged ({error}).") from None
            if not piece:
                break
            self.given += len(piece)
            count -= len(piece)
            pieces.append(piece)
        if self.given > HUGE and self._packed is not self._source:
            check_ratio(self.given, self._source.given)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Leave out `count` bytes; what is wrong in them shows at the next header."""
        while count > 0:
            try:
                piece = self.take(min(count, PIECE))
            except MemberError:
                return
            if not piece:
                return
            count -= len(piece)


class _Source:
    """The packed file, and how much was read of it."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file
        self.given = 0

    def read(self, count: int = -1, /) -> bytes:
        if self._head:
            piece, self._head = self._head[:count], self._head[count:]
        else:
            piece = self._file.read(count)
        self.given += len(piece)
        return piece


def _unpacker(source: _Source, head: bytes) -> Any:
    if head.startswith(b"\x1f\x8b"):
        return _Packed(source, lambda: zlib.decompressobj(31))
    if head.startswith(b"BZh"):
        return _Packed(source, bz2.BZ2Decompressor)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _Packed(source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        frames = zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY // 2)
        return frames.stream_reader(cast(IO[bytes], source), read_across_frames=True)
    return source


class _Packed:
    """Streams one behind the other, unpacked as they are read, never more than is asked for."""

    def __init__(self, source: _Source, begin: Any) -> None:
        self._source = source
        self._begin = begin
        self._stream: Any = None
        self._held = b""

    def read(self, count: int, /) -> bytes:
        while True:
            fresh = self._stream is None
            if not self._held and (fresh or getattr(self._stream, "needs_input", True)):
                self._held = self._source.read(PIECE)
            if fresh:
                self._held = self._held.lstrip(b"\0")
                if not self._held:
                    return b""
                self._stream = self._begin()
            ended = not self._held and getattr(self._stream, "needs_input", True)
            piece: bytes = self._stream.decompress(self._held, count)
            self._held = getattr(self._stream, "unconsumed_tail", b"")
            if self._stream.eof:
                self._held, self._stream = self._stream.unused_data, None
            if piece:
                return piece
            if ended and self._stream is not None:
                raise EOFError("the packed data does not end")
