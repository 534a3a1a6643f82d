"""Zip files: members by the central directory, sorted by name; by their local headers where the directory is lost."""

from __future__ import annotations

import bz2
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from forja.corpus.sources.bounded import BROKEN, Member, MemberError, Refusal, is_too_long
from forja.errors import ForjaError

LOCAL = b"PK\x03\x04"
HEADER = struct.Struct("<4s5H3I2H")
ENCRYPTED, DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
PIECE = 1 << 16


def read_zip(file: IO[bytes], max_bytes: int) -> Iterator[Member]:
    """The members; of a zip that is cut or has no directory those whose headers are found, in their order.

    Raises ForjaError where there is not one.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, *BROKEN, struct.error, MemoryError, OverflowError):
        file.seek(0)
        yield from _recovered(file, max_bytes)
        return
    with archive:
        infos = archive.infolist()
        shared = _overlapping(infos)
        for info in sorted(infos, key=lambda info: (info.filename, info.header_offset)):
            if info.filename.endswith("/"):
                continue
            refusal = _refusal(info, max_bytes)
            if id(info) in shared:
                refusal = refusal or "bomb"
            yield _member(archive, info, refusal)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, refusal: Refusal | None) -> Member:
    def begin() -> IO[bytes]:
        try:
            return archive.open(info)
        except RuntimeError as error:
            raise MemberError("encrypted", str(error)) from None
        except (zipfile.BadZipFile, struct.error, UnicodeError) as error:
            raise MemberError("damaged", f"the member is damaged ({error}).") from None

    return Member(info.filename, refusal, lambda: _Checked(begin()), lambda: info.compress_size)


class _Checked:
    """A zip's own stream; its BadZipFile, of a wrong check sum, is damage like other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, count: int, /) -> bytes:
        try:
            return self._file.read(count)
        except (zipfile.BadZipFile, struct.error) as error:
            raise MemberError("damaged", f"the member is damaged ({error}).") from None


def _refusal(info: zipfile.ZipInfo, max_bytes: int) -> Refusal | None:
    mode = info.external_attr >> 16
    if info.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "unsafe-path"
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    if info.compress_type not in METHODS:
        return "unsupported"
    return "too-long" if is_too_long(info.filename, info.file_size, max_bytes) else None


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """Members that lie in others, by their `id`: one packed kernel said to be many files (D. Fifield, A better zip
    bomb, WOOT 2019, section 3)."""
    found = set()
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            found.add(id(info))
        end = max(end, info.header_offset + HEADER.size + info.compress_size)
    return found


# --- without a directory ----------------------------------------------------------------------------


def _recovered(file: IO[bytes], max_bytes: int) -> Iterator[Member]:
    found = False
    at = _find(file, 0)
    while at is not None:
        local = _Local(file, at)
        found = found or local.name is not None
        if local.name is not None and not local.name.endswith("/"):
            yield Member(local.name, local.refusal(max_bytes), local.begin, local.packed)
        at = _find(file, local.end())
    if not found:
        raise ForjaError("this zip has no directory, and no member is found in it.", fix="Get it again.")
    yield Member("#end", "truncated")


def _find(file: IO[bytes], at: int) -> int | None:
    """Where the next local header may begin, at or behind `at`."""
    held = b""
    file.seek(at)
    while piece := file.read(PIECE):
        held += piece
        found = held.find(LOCAL)
        if found >= 0:
            return at + found
        at += len(held) - 3
        held = held[-3:]
    return None


class _Local:
    """A member by its local header alone (APPNOTE.TXT, section 4.3.7)."""

    def __init__(self, file: IO[bytes], at: int) -> None:
        self._file = file
        self._at = at
        self.name: str | None = None
        self._stream: _Unpacked | None = None
        file.seek(at)
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        fields: tuple[int, ...] = HEADER.unpack(header)[1:]
        _, self._flags, self._method, _, _, self._check, self._packed, self._size, names, extra = fields
        name = file.read(names)
        if self._method > 99 or len(name) < names:
            return
        self._data = at + HEADER.size + names + extra
        self.name = name.decode("utf-8" if self._flags & UTF8 else "cp437", "replace")
        self._streamed = bool(self._flags & DESCRIPTOR) and not self._packed

    def refusal(self, max_bytes: int) -> Refusal | None:
        if self._flags & ENCRYPTED:
            return "encrypted"
        if self._method not in METHODS - {zipfile.ZIP_LZMA} or (self._streamed and self._method == zipfile.ZIP_STORED):
            return "unsupported"
        return "too-long" if is_too_long(self.name or "", self._size, max_bytes) else None

    def begin(self) -> _Unpacked:
        length = None if self._streamed else self._packed
        check = None if self._streamed else self._check
        self._stream = _Unpacked(self._file, self._data, self._method, length, check)
        return self._stream

    def packed(self) -> int:
        return self._stream.used if self._stream is not None else 0

    def end(self) -> int:
        """Where to look for the next header: behind the member where that is known, else behind its own header."""
        if self.name is None:
            return self._at + 4
        if not self._streamed:
            self._file.seek(0, io.SEEK_END)
            behind = self._data + self._packed
            return behind if behind <= self._file.tell() else self._data
        if self._method == zipfile.ZIP_STORED or self._flags & ENCRYPTED:
            return self._data
        stream = self._stream or self.begin()
        return self._data + stream.used if stream.ended else self._data


class _Unpacked:
    """The bytes of a member that begins at `at`, by itself; `length` of the packed ones, where it is known."""

    def __init__(self, file: IO[bytes], at: int, method: int, length: int | None, check: int | None) -> None:
        self._file, self._at, self._length = file, at, length
        self._check, self._sum = check, 0
        self.used = 0
        self.ended = False
        self._held = b""
        self._inflate = zlib.decompressobj(-15) if method == zipfile.ZIP_DEFLATED else None
        self._bunzip = bz2.BZ2Decompressor() if method == zipfile.ZIP_BZIP2 else None

    def read(self, count: int, /) -> bytes:
        while not self.ended:
            piece = self._next(count)
            if piece:
                self._sum = zlib.crc32(piece, self._sum)
                return piece
        if self._check is not None and self._sum != self._check:
            raise MemberError("damaged", "the member does not have the check sum that its header states.")
        return b""

    def _next(self, count: int) -> bytes:
        wanted = PIECE if self._length is None else min(PIECE, self._length - self.used - len(self._held))
        if not self._held and wanted:
            self._file.seek(self._at + self.used)
            self._held = self._file.read(min(wanted, count) if not (self._inflate or self._bunzip) else wanted)
            if not self._held:
                raise EOFError("the archive ends within it")
        before = len(self._held)
        if self._inflate is not None:
            piece = self._inflate.decompress(self._held, count)
            self._held = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self.ended = self._inflate.eof
        elif self._bunzip is not None:
            piece = self._bunzip.decompress(self._held, count)
            self._held = self._bunzip.unused_data if self._bunzip.eof else b""
            self.ended = self._bunzip.eof
        else:
            piece, self._held = self._held, b""
            self.ended = self.used + before >= (self._length or 0)
        self.used += before - len(self._held)
        if not before and not piece and not self.ended:
            raise EOFError("the packed data does not end")
        return piece
