from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.archives import archive_members, tell_archive
from forja.corpus.sources.bounded import MemberError
from forja.errors import ForjaError

MEMBERS = {"b/two.txt": b"two\n" * 400, "a/one.txt": b"one", "c.json": b'{"k": 1}', "empty": b""}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)  # dated alike whenever it is made
    return held.getvalue()


def streamed_zip(members: dict[str, bytes]) -> bytes:
    """A zip written to a pipe: sizes stand behind the members only."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.held = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.held += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return pipe.held


def tarred(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def read(data: bytes, max_bytes: int = 1 << 20, name: str = "") -> dict[str, bytes | str]:
    """What each member gives: its bytes, or why it does not."""
    found: dict[str, bytes | str] = {}
    for member, stream in archive_members(io.BytesIO(data), max_bytes, name):
        assert member not in found
        try:
            found[member] = stream if isinstance(stream, str) else stream.read()
        except MemberError as error:
            found[member] = error.reason
    return found


class OneWay(io.RawIOBase):
    """A file that cannot be sought in."""

    def __init__(self, data: bytes) -> None:
        self._held = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: object) -> int:
        return self._held.readinto(buffer)  # type: ignore[arg-type]


PACKINGS = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
}


# --- members ---------------------------------------------------------------------------------------


def test_a_zip_gives_its_members_sorted_by_name() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        found = read(zipped(MEMBERS, method))
        assert found == MEMBERS
        assert list(found) == sorted(MEMBERS)


@pytest.mark.parametrize("ending", PACKINGS)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_gives_its_members_as_they_lie_however_it_is_packed(ending: str, form: int) -> None:
    members = MEMBERS | ({"d/" + "long" * 60 + "/ñ.txt": b"long"} if form != tarfile.USTAR_FORMAT else {})
    data = PACKINGS[ending](tarred(members, form))
    found = read(data, name=f"x{ending}")
    assert found == members
    assert list(found) == list(members)


def test_a_file_that_cannot_be_sought_in_is_read_all_the_same() -> None:
    for data in (zipped(MEMBERS), gzip.compress(tarred(MEMBERS))):
        found = {name: stream.read() for name, stream in archive_members(OneWay(data), 1 << 20, "x.tar.gz")}  # type: ignore[arg-type, union-attr]
        assert found == MEMBERS


def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(MEMBERS))
    assert len(list(archive_members(tmp_path / "x.zip", 1 << 20))) == len(MEMBERS)


def test_members_that_nobody_reads_are_skipped() -> None:
    names = [name for name, _ in archive_members(io.BytesIO(gzip.compress(tarred(MEMBERS))), 1 << 20, "x.tgz")]
    assert names == list(MEMBERS)


def test_a_file_that_is_no_archive_is_an_error() -> None:
    for data, name in (
        (b"plain text", "x"),
        (b"plain text", "x.tar.gz"),
        (b"plain text" * 99, "x.zip"),
        (b"", "x.zip"),
    ):
        with pytest.raises(ForjaError):
            read(data, name=name)


def test_an_archive_is_told_by_how_it_begins() -> None:
    assert tell_archive("x", zipped(MEMBERS)[:512]) == "zip"
    assert tell_archive("x", zipped({})[:512]) == "zip"
    assert tell_archive("x", tarred(MEMBERS)[:512]) == "tar"
    assert tell_archive("x.TAR.GZ", b"\x1f\x8b") == "tar"
    assert tell_archive("x.json.gz", b"\x1f\x8b") is None


# --- what may hurt ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../up.txt", "a/../../up.txt", "/etc/passwd", "C:\\x.txt", "..\\up.txt", "\\\\host\\share\\x", "a/.."]
)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    for data in (zipped({name: b"x", "good": b"y"}), tarred({name: b"x", "good": b"y"})):
        found = read(data)
        assert found.pop("good") == b"y"
        assert list(found.values()) == ["unsafe-path"]


def test_links_and_devices_are_refused() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"kind-{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert set(read(held.getvalue()).values()) == {"unsafe-path"}
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zip_archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        zip_archive.writestr(link, "/etc/passwd")
    assert read(held.getvalue()) == {"link": "unsafe-path"}


def test_a_member_over_the_bound_is_too_long_whatever_its_header_says() -> None:
    honest = {"long": bytes(range(256)) * 8, "short": b"ok"}
    assert read(zipped(honest), 1024) == {"long": "too-long", "short": b"ok"}
    assert read(tarred(honest), 1024) == {"long": "too-long", "short": b"ok"}
    # Both places that state the unpacked size say 10.
    lie = zipped({"long": bytes(range(256)) * 8}, zipfile.ZIP_DEFLATED).replace(
        struct.pack("<I", 2048), struct.pack("<I", 10)
    )
    (reason,) = read(lie, 1024).values()
    assert reason in ("too-long", "damaged") or len(reason) <= 10


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_a_bomb_is_given_up_before_it_unpacks(ending: str) -> None:
    bomb = {"bomb": bytes(96 << 20), "next": b"n"}
    data = zipped(bomb) if ending == ".zip" else PACKINGS[ending](tarred(bomb))
    assert len(data) < 1 << 17
    found: dict[str, int | str] = {}
    for name, stream in archive_members(io.BytesIO(data), 1 << 30, f"x{ending}"):
        if isinstance(stream, str):
            found[name] = stream
            continue
        read_of = 0
        try:
            while piece := stream.read(1 << 20):
                read_of += len(piece)
        except MemberError as error:
            found[name] = error.reason
        assert read_of < 40 << 20
    assert "bomb" in found.values()


def test_overlapping_members_of_one_kernel_are_refused() -> None:
    """The central directory names one local header many times over."""
    held = zipped({"a": b"kernel" * 100})
    at = held.index(b"PK\x01\x02")
    end = held.index(b"PK\x05\x06")
    entry = held[at:end]
    entries = b"".join(entry[:46] + bytes([65 + number]) + entry[47:] for number in range(20))
    tail = bytearray(held[end:])
    struct.pack_into("<HHII", tail, 8, 20, 20, len(entries), at)
    found = read(held[:at] + entries + bytes(tail))
    assert list(found.values()).count("bomb") == 19


def test_an_encrypted_member_is_told() -> None:
    data = bytearray(zipped({"a": b"secret"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert read(bytes(data)) == {"a": "encrypted"}


def test_an_unknown_method_is_told() -> None:
    data = bytearray(zipped({"a": b"text" * 9}))
    data[8] = 97
    data[data.index(b"PK\x01\x02") + 10] = 97
    assert read(bytes(data)) == {"a": "unsupported"}


def test_archives_lie_in_archives_two_deep_and_no_deeper() -> None:
    inner = zipped({"leaf": b"3", "deep.zip": zipped({"leaf": b"4"})})
    outer = zipped({"x.tar.gz": gzip.compress(tarred({"y.zip": inner, "leaf": b"2"})), "leaf": b"1"})
    assert read(outer) == {
        "leaf": b"1",
        "x.tar.gz/leaf": b"2",
        "x.tar.gz/y.zip/leaf": b"3",
        "x.tar.gz/y.zip/deep.zip": "nested-archive",
    }


def test_an_inner_archive_that_is_none_costs_only_itself() -> None:
    assert read(zipped({"a.zip": b"not a zip", "b.tgz": b"neither", "c": b"good"})) == {
        "a.zip": "damaged",
        "b.tgz": "damaged",
        "c": b"good",
    }


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_that_claims_megabytes_is_skipped_and_not_held(kind: bytes) -> None:
    info = tarfile.TarInfo("claims")
    info.type, info.size = kind, 32 << 20
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(32 << 20) + tarred({"next": b"good"})
    tracemalloc.start()
    assert read(data) == {"claims": "damaged", "next": b"good"}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The test's own copy of the archive is one of them.
    assert peak < 34 << 20


# --- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [zipped, streamed_zip])
def test_a_cut_zip_gives_its_whole_members(make: object) -> None:
    members = {f"m{number:03}": bytes([number]) * 500 + str(number).encode() * 99 for number in range(100)}
    data = make(members)  # type: ignore[operator]
    found = read(data[: len(data) // 2])
    assert found.pop("#end") == "truncated"
    whole = {name for name, content in found.items() if content == members[name]}
    assert len(whole) >= 40
    assert len(found) - len(whole) <= 1
    assert all(found[name] in ("truncated", "damaged") for name in set(found) - whole)


def test_a_zip_without_one_member_is_an_error() -> None:
    with pytest.raises(ForjaError):
        read(zipped(MEMBERS)[:20], name="x.zip")


def test_a_member_with_a_wrong_check_sum_is_damaged_and_the_others_are_good() -> None:
    data = bytearray(zipped({"a": b"one" * 50, "b": b"two" * 50}, zipfile.ZIP_STORED))
    data[data.index(b"oneone")] ^= 1
    assert read(bytes(data)) == {"a": "damaged", "b": b"two" * 50}
    # Without the directory too.
    assert read(bytes(data[: data.index(b"PK\x01\x02")])) == {"a": "damaged", "b": b"two" * 50, "#end": "truncated"}


@pytest.mark.parametrize("ending", PACKINGS)
def test_a_cut_tar_gives_its_whole_members(ending: str) -> None:
    members = {f"m{number:03}": zlib_noise(number) for number in range(60)}
    data = PACKINGS[ending](tarred(members))
    found = read(data[: len(data) // 2], name=f"x{ending}")
    assert found.pop("#end") in ("truncated", "damaged")
    whole = {name for name, content in found.items() if content == members[name]}
    assert len(whole) >= (10 if ending != ".tar.bz2" else 0)
    assert len(found) - len(whole) <= 1


def zlib_noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(30_000)


def test_behind_a_damaged_tar_header_the_members_are_still_found() -> None:
    data = bytearray(tarred({"a": b"1" * 600, "b": b"2" * 600, "c": b"3" * 600}))
    second = data.index(b"b\0\0\0")
    data[second + 100 : second + 160] = b"\xff" * 60
    found = read(bytes(data))
    assert (found["a"], found["c"]) == (b"1" * 600, b"3" * 600)
    assert "damaged" in found.values()


@settings(max_examples=400)
@given(st.sampled_from(["zip", "streamed", *PACKINGS]), st.data())
def test_no_mutation_of_an_archive_raises_anything_but_a_forja_error(kind: str, data: st.DataObject) -> None:
    members = MEMBERS | {"n.zip": zipped({"i": b"inner"})}
    if kind in PACKINGS:
        raw = bytearray(PACKINGS[kind](tarred(members)))
    else:
        raw = bytearray(zipped(members) if kind == "zip" else streamed_zip(members))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        for _, stream in archive_members(io.BytesIO(bytes(raw)), 1 << 20, f"x{kind}"):
            if not isinstance(stream, str):
                try:
                    assert len(stream.read()) <= 1 << 20
                except MemberError:
                    continue
    except ForjaError:
        pass


@pytest.mark.realdata
def test_a_zip_of_thousands_of_small_members_gives_what_it_holds(realdata: Path) -> None:
    path = realdata / "corpora/security/cve_json5.zip"
    with zipfile.ZipFile(path) as archive:
        wanted = {name: archive.getinfo(name).CRC for name in archive.namelist()}
    found = {
        name: zlib.crc32(stream.read())
        for name, stream in archive_members(path, 1 << 26)
        if not isinstance(stream, str)
    }
    assert found == wanted
    assert len(found) == 3791
