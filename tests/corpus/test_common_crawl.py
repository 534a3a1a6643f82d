from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import random
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.growth import assert_in_proportion
from corpus.misbehaving_server import Server, misbehaving_server
from forja.corpus.sources import web_facts
from forja.corpus.sources.common_crawl import crawl_files, read_warc
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source


def gzipped(content: bytes) -> bytes:
    """The same bytes at any time, so that tests named after them have the same names in every process."""
    return gzip.compress(content, mtime=0)


LIMIT = 1 << 20
PAGE = b"<html><body>Page %d: " + b"words that say a thing. " * 20 + b"</body></html>"


def warc(body: bytes, *, kind: str = "response", url: str = "http://example.org/", **headers: str) -> bytes:
    """One WARC record."""
    lines = [f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2024-05-18T01:58:10Z"]
    content_type = "application/http; msgtype=response" if kind == "response" else "text/plain"
    named = {"Content-Type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join(["WARC/1.0", *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body + b"\r\n\r\n"


def http(body: bytes, *headers: str, status: str = "200 OK", content_type: str | None = "text/html") -> bytes:
    """One HTTP response."""
    lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {content_type}"] if content_type else []), *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def digest(body: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(body).digest()).decode()


def page(number: int, **headers: str) -> bytes:
    return warc(http(PAGE % number), url=f"http://example.org/{number}", **headers)


def read(content: bytes, max_bytes: int = LIMIT, **source: object) -> list[Record]:
    return list(read_warc(io.BytesIO(content), "file.warc", Source.model_validate({"path": "x", **source}), max_bytes))


def good(records: list[Record]) -> list[Record]:
    return [record for record in records if record.reason is None]


def reasons(records: list[Record]) -> list[str | None]:
    return [record.reason for record in records]


# --- what is a document -----------------------------------------------------------------------------


def test_a_page_is_its_payload_with_address_date_and_what_it_says_of_itself() -> None:
    html = (
        b'<html><head><meta content="NoArchive" name="robots"><link rel="license" '
        b'href="https://creativecommons.org/licenses/by-sa/4.0/deed.de"></head><body>text</body></html>'
    )
    response = http(html, "X-Robots-Tag: noai", "x-robots-tag: noindex", content_type='Text/HTML; charset="ISO-8859-1"')
    (record,) = read(gzipped(warc(response, url="https://www.example.de/a?b=c")))
    assert record.origin == "https://www.example.de/a?b=c 2024-05-18T01:58:10Z"
    assert record.raw == html
    assert (record.form, record.date, record.licence) == ("html", "2024-05-18T01:58:10Z", "CC-BY-SA-4.0")
    assert record.meta == {
        "url": "https://www.example.de/a?b=c",
        "region": "DE",
        "robots": "noai, noindex, noarchive",
        "content_type": "text/html",
        "charset": "iso-8859-1",
    }


def test_requests_metadata_and_revisits_are_not_counted() -> None:
    kinds = ("warcinfo", "request", "metadata", "revisit", "continuation")
    assert read(b"".join(warc(b"x", kind=kind) for kind in kinds)) == []


def test_an_extracted_text_is_a_document_with_its_language() -> None:
    text = "Ein Text über Sicherheit.".encode()
    (record,) = read(warc(text, kind="conversion", WARC_Identified_Content_Language="deu,eng"))
    assert (record.raw, record.form, record.lang) == (text, "text", "de")


def test_a_wat_file_is_one_rejected_record() -> None:
    content = b"".join(warc(b'{"a": 1}', kind="metadata", Content_Type="application/json") for _ in range(3))
    assert reasons(read(content)) == ["wat"]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (http(b"gone", status="404 Not Found"), "http-status"),
        (http(b"", "Location: /x", status="301 Moved"), "http-status"),
        (http(b"{}", content_type="application/json"), "not-text-type"),
        (http(b"%PDF", content_type="application/pdf"), "not-text-type"),
        (http(b"\x00\x01", content_type=None), "not-text-type"),
        (http(b""), "empty"),
        (b"HTTP/1.1 200", "not-text-type"),
        (b"this is no HTTP", "http-status"),
        (http(gzipped(PAGE * 9)[:40] + b"damage" * 9, "Content-Encoding: gzip"), "damaged"),
        (http(b"5\r\nhello\r\nffff\r\nx", "Transfer-Encoding: chunked"), "damaged"),
    ],
)
def test_what_is_no_page_is_rejected_with_its_reason(response: bytes, reason: str) -> None:
    records = read(warc(response) + page(1))
    assert reasons(records) == [reason, None]
    assert records[0].origin.startswith("http://example.org/")


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def chunked(content: bytes) -> bytes:
    return b"%x;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (5, content[:5], len(content) - 5, content[5:])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PAGE, []),
        (chunked(PAGE), ["Transfer-Encoding: chunked"]),
        (gzipped(PAGE), ["Content-Encoding: gzip"]),
        (zlib.compress(PAGE), ["Content-Encoding: deflate"]),
        (raw_deflate(PAGE), ["Content-Encoding: deflate"]),
        (zstandard.compress(PAGE), ["Content-Encoding: zstd"]),
        (chunked(gzipped(PAGE)), ["Content-Encoding: gzip", "Transfer-Encoding: chunked"]),
        (gzipped(zstandard.compress(PAGE)), ["Content-Encoding: zstd, gzip"]),
        (PAGE, ["Transfer-Encoding: chunked"]),
        (PAGE, ["Content-Encoding: gzip"]),
        (PAGE, ["Content-Encoding: br"]),
        (PAGE, ["Content-Encoding: identity"]),
    ],
)
def test_encodings_are_taken_off_also_where_they_were_taken_off_already(body: bytes, headers: list[str]) -> None:
    assert [record.raw for record in good(read(warc(http(body, *headers))))] == [PAGE]


def test_lax_line_ends_are_read() -> None:
    content = warc(http(PAGE).replace(b"\r\n", b"\n"))
    assert good(read(content))[0].raw == PAGE
    lax = page(1).replace(b"\r\n\r\n", b"\n\n", 1).replace(b"\r\n", b"\n")
    header, _, rest = lax.partition(b"\n\n")
    header = header.replace(b"Content-Length: %d" % len(http(PAGE % 1)), b"Content-Length: %d" % (len(rest) - 2))
    assert [record.raw for record in good(read((header + b"\n\n" + rest) * 2))] == [PAGE % 1] * 2


def test_addresses_and_languages_that_are_not_wanted_are_rejected_before_they_are_looked_at() -> None:
    records = read(page(1) + page(2) + warc(b"", url="http://other.example/"), url_pattern=r"example\.org/2$")
    assert reasons(records) == ["url-pattern", None, "url-pattern"]
    texts = [
        warc(b"texto", kind="conversion", WARC_Identified_Content_Language=codes) for codes in ("spa,eng", "eng", "")
    ]
    records = read(b"".join(texts), languages=["es"])
    assert reasons(records) == [None, "language", None]
    assert records[1].raw == b""
    with pytest.raises(ForjaError, match="url_pattern"):
        read(page(1), url_pattern="(")


def test_two_captures_of_an_address_are_two_documents_and_the_same_capture_is_one() -> None:
    later = page(1).replace(b"2024-05-18", b"2024-06-18")
    once, twice = read(page(1)), read(gzipped(page(2)) + gzipped(page(1)) + gzipped(later))
    assert once[0] == twice[1]
    assert twice[1].origin != twice[2].origin


# --- facts about pages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ("https://www.bsi.bund.de/x", "DE"),
        ("http://example.co.uk:8080/", "GB"),
        ("https://cisa.gov/", "US"),
        ("https://a.io/", None),
        ("https://a.eu/", None),
        ("https://example.com/a.de", None),
        ("http://10.0.0.1/", None),
        ("http://[::1", None),
        ("dns:x.fr", None),
    ],
)
def test_a_country_is_told_by_its_domain(address: str, region: str | None) -> None:
    assert web_facts.region(address) == region


@pytest.mark.parametrize(
    ("html", "own", "linked"),
    [
        (b'<a rel="license" href="http://creativecommons.org/licenses/by/3.0/">', "CC-BY-3.0", None),
        (b"<link href='/licence.html' rel='nofollow license'>", "/licence.html", None),
        (b'<a href="https://creativecommons.org/publicdomain/zero/1.0/">photo</a>', None, "CC0-1.0"),
        (b'<a href="https://creativecommons.org/licenses/by-nc-nd/2.5/es/">', None, "CC-BY-NC-ND-2.5"),
        (b"<p>my driving license</p><a rel=author href=/x>", None, None),
        (b"<a rel=license", None, None),
        (b"creativecommons.org/", None, None),
    ],
)
def test_a_licence_is_the_pages_own_only_where_it_says_so(html: bytes, own: str | None, linked: str | None) -> None:
    assert web_facts.licence(html) == (own, linked)


def test_facts_of_a_hostile_page_cost_linear_time() -> None:
    for unit in (b"rel=license ", b"<meta name=robots ", b"<", b'rel="a a a a a a ', b"<a rel=license "):

        def run(size: int, unit: bytes = unit) -> None:
            hostile = unit * (size // len(unit))
            web_facts.licence(hostile)
            web_facts.robots("", hostile)

        assert_in_proportion(run, 125_000)


# --- bounds -----------------------------------------------------------------------------------------


def test_a_bomb_is_too_long_and_costs_no_memory() -> None:
    zeros = bytes(1 << 26)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(zeros) for _ in range(8)) + packer.flush()
    inner = warc(http(bomb, "Content-Encoding: gzip"), url="http://bomb.example/")
    outer = gzipped(warc(http(zeros), url="http://large.example/"))
    many = zstandard.compress(warc(http(zeros), url="http://zstd.example/"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (inner + page(1), outer + gzipped(page(1)), many + zstandard.compress(page(1))):
        assert reasons(read(content)) == ["too-long", None]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000


def test_a_record_of_exactly_the_limit_is_kept() -> None:
    response = http(PAGE + b"longer")
    assert reasons(read(warc(response), max_bytes=len(response))) == [None]
    assert reasons(read(warc(response) + page(1), max_bytes=len(response) - 1)) == ["too-long", None]


# --- packing ----------------------------------------------------------------------------------------

PAGES = [page(number) for number in range(12)]
CONTENTS = [PAGE % number for number in range(12)]


def with_dictionary(packed_dictionary: bool) -> bytes:
    """IIPC's WARC-zstd: a skippable frame with the dictionary, then a frame for each record."""
    dictionary = zstandard.train_dictionary(2000, [page(number) for number in range(200)])
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    stored = dictionary.as_bytes()
    stored = zstandard.compress(stored) if packed_dictionary else stored
    head = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
    return head + b"".join(compressor.compress(record) for record in PAGES)


@pytest.mark.parametrize(
    "packed",
    [
        b"".join(PAGES),
        b"".join(map(gzip.compress, PAGES)),
        gzipped(b"".join(PAGES)),
        b"".join(map(gzip.compress, PAGES)) + bytes(700),
        b"".join(gzipped(b"".join(PAGES)[at : at + 1000]) for at in range(0, len(b"".join(PAGES)), 1000)),
        b"".join(map(zstandard.compress, PAGES)),
        zstandard.compress(b"".join(PAGES)),
        with_dictionary(False),
        with_dictionary(True),
    ],
    ids=[
        "plain",
        "gzip",
        "gzip-whole",
        "gzip-padded",
        "gzip-pieces",
        "zstd",
        "zstd-whole",
        "zstd-dict",
        "zstd-packed-dict",
    ],
)
def test_every_way_of_packing_gives_the_same_records(packed: bytes) -> None:
    records = read(packed)
    assert reasons(records) == [None] * 12
    assert [record.raw for record in records] == CONTENTS


def test_a_file_read_in_small_pieces_gives_the_same_records() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 7, 7))

    for content in (b"".join(PAGES), b"".join(map(gzip.compress, PAGES))):
        source = Source.model_validate({"path": "x"})
        assert [record.raw for record in read_warc(Trickle(content), "f", source, LIMIT)] == CONTENTS


@pytest.mark.parametrize(
    "content", [b"just a text\n" * 99, gzipped(b"<html>not an archive</html>"), b"\x89PNG" + bytes(5000)]
)
def test_what_is_no_archive_at_all_is_an_error(content: bytes) -> None:
    with pytest.raises(ForjaError, match="not a WARC"):
        read(content)


def test_an_empty_file_is_a_rejected_record() -> None:
    assert reasons(read(b"")) == ["empty"]


# --- damage -----------------------------------------------------------------------------------------

NOISE = random.Random(3)
LARGE = [
    warc(http(b"<html>" + base64.b64encode(NOISE.randbytes(size)) + b"</html>"), url=f"http://example.org/{size}")
    for size in (3000, 70_000, 200, 200_000, 5000, 40_000)
]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress, bytes])
def test_a_cut_archive_gives_its_whole_records(pack: object) -> None:
    members = [pack(record) for record in LARGE]  # type: ignore[operator]
    whole = good(read(b"".join(members)))
    assert len(whole) == 6
    cut = b"".join(members[:4]) + members[4][: len(members[4]) // 2]
    records = read(cut)
    assert records[:4] == whole[:4]
    assert reasons(records[4:]) == ["truncated"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress])
def test_a_damaged_member_loses_only_its_record(pack: object) -> None:
    members = [pack(record) for record in LARGE]  # type: ignore[operator]
    whole = good(read(b"".join(members)))
    for number, member in enumerate(members):
        for at in (0, 3, len(member) // 3, len(member) // 2, len(member) - 6, len(member) - 1):
            damaged = bytearray(member)
            damaged[at] ^= 0x55
            records = read(b"".join([*members[:number], bytes(damaged), *members[number + 1 :]]))
            assert good(records) == whole[:number] + whole[number + 1 :]
            assert [reason for reason in reasons(records) if reason] in (["damaged"], ["truncated"])


def test_a_damaged_record_in_a_plain_archive_loses_only_itself() -> None:
    whole = good(read(b"".join(PAGES)))
    middle = PAGES[5]
    length = middle.index(b"Content-Length: ") + len(b"Content-Length: ")
    for broken in (
        middle[:length] + b"9" + middle[length + 1 :],
        middle[:length] + b"1" + middle[length + 1 :],
        middle[:length] + b"x" + middle[length + 1 :],
        b"XARC" + middle[4:],
        middle[: len(middle) // 2],
        middle[:40],
        middle[:length] + b"\r\n" + middle[length:],
    ):
        records = read(b"".join([*PAGES[:5], broken, *PAGES[6:]]))
        assert [record for record in good(records) if record.origin != whole[5].origin] == whole[:5] + whole[6:]
        assert any(reasons(records))


def test_a_digest_finds_damage_that_no_checksum_covers() -> None:
    body = http(PAGE)
    record = warc(body, WARC_Block_Digest=digest(body))
    assert reasons(read(record)) == [None]
    flipped = record.replace(b"words", b"wards", 1)
    assert reasons(read(flipped + page(1))) == ["damaged", None]
    assert reasons(read(gzipped(flipped + page(1)))) == ["damaged", None]


def test_a_whole_packed_archive_gives_all_before_the_damage() -> None:
    packed = bytearray(gzipped(b"".join(LARGE)))
    whole = good(read(bytes(packed)))
    packed[len(packed) * 3 // 4] ^= 0xFF
    records = read(bytes(packed))
    assert good(records)[:3] == whole[:3]


def test_junk_between_records_is_counted_and_passed_over() -> None:
    whole = good(read(b"".join(PAGES)))
    records = read(b"".join(PAGES[:3]) + b"junk\n" * 50_000 + b"".join(PAGES[3:]))
    assert good(records) == whole
    assert reasons(records).count("damaged") == 1
    packed = [gzipped(record) for record in PAGES]
    records = read(b"".join(packed[:3]) + b"junk\n" * 50_000 + b"".join(packed[3:]))
    assert good(records) == whole
    assert reasons(records).count("damaged") == 1


MUTATIONS = 1500
MEMBERS = {
    "plain": [
        warc(body, url=f"http://example.org/{number}", WARC_Block_Digest=digest(body))
        for number, body in enumerate(http(PAGE % number) for number in range(8))
    ]
}
MEMBERS["gzip"] = [gzipped(record) for record in MEMBERS["plain"]]
MEMBERS["zstd"] = [zstandard.ZstdCompressor(write_checksum=True).compress(record) for record in MEMBERS["plain"]]
WHOLE = {record.origin: record for record in read(b"".join(MEMBERS["plain"]))}


@settings(max_examples=MUTATIONS)
@given(
    packing=st.sampled_from(sorted(MEMBERS)),
    place=st.floats(0, 1, exclude_max=True),
    kind=st.sampled_from(["flip", "set", "insert", "delete", "cut"]),
    some=st.binary(min_size=1, max_size=40),
)
def test_damage_anywhere_never_crashes_and_loses_no_other_record(
    packing: str, place: float, kind: str, some: bytes
) -> None:
    members = MEMBERS[packing]
    content = b"".join(members)
    at = int(place * len(content))
    if kind == "cut":
        mutated, end = content[:at], len(content)
    elif kind == "insert":
        mutated, end = content[:at] + some + content[at:], at
    elif kind == "delete":
        mutated, end = content[:at] + content[at + len(some) :], at + len(some)
    else:
        new = bytes((content[at] ^ (1 << some[0] % 8),)) if kind == "flip" else some
        mutated, end = content[:at] + new + content[at + len(new) :], at + len(new)
    try:
        records = read(mutated)
    except ForjaError:
        # Only where not one record is left, which a cut or a change at the very beginning of a file may do.
        assert len(mutated) < len(members[0])
        return
    found = {record.origin: record for record in good(records)}
    begin = 0
    for member, origin in zip(members, WHOLE, strict=True):
        if begin + len(member) <= at or (begin >= end and kind != "cut"):
            assert found.get(origin) == WHOLE[origin], f"lost {origin}"
        begin += len(member)
    for origin, record in found.items():
        if origin in WHOLE:
            assert record.raw == WHOLE[origin].raw


@settings(max_examples=300)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18", b"WARC/1.0\r\n"]),
)
def test_any_bytes_are_records_or_an_error_a_person_meets(content: bytes, head: bytes) -> None:
    with contextlib.suppress(ForjaError):
        assert all(isinstance(record, Record) for record in read(head + content))


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_http_content_is_a_record(content: bytes) -> None:
    assert len(read(warc(content))) == 1
    assert (
        len(read(warc(http(content, "Content-Encoding: br, gzip, zstd, deflate", "Transfer-Encoding: chunked")))) == 1
    )


# --- crawls -----------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with misbehaving_server() as server:
        monkeypatch.setenv("FORJA_COMMON_CRAWL", server.url)
        yield server


CRAWL = "CC-MAIN-2024-22"
LISTING = [f"crawl-data/{CRAWL}/segments/17{n}/wet/CC-MAIN-{n:05}.warc.wet.gz" for n in range(500)]


def test_a_crawls_files_are_chosen_the_same_every_time_and_more_keep_the_first(server: Server, tmp_path: Path) -> None:
    server.add(f"/crawl-data/{CRAWL}/wet.paths.gz", gzipped("\n".join(LISTING).encode() + b"\n"))

    def chosen(segments: int) -> list[tuple[str, str]]:
        return crawl_files(Source.model_validate({"crawl": CRAWL, "segments": segments}), tmp_path)

    ten = chosen(10)
    assert [origin for origin, _ in ten[:3]] == [origin for origin, _ in chosen(3)]
    assert all(url == f"{server.url}/{origin}" for origin, url in ten)
    thirds = {LISTING.index(origin) * 3 // len(LISTING) for origin, _ in ten}
    assert thirds == {0, 1, 2}
    assert len(chosen(9999)) == 500
    assert len(server.seen) == 1


@pytest.mark.parametrize("listing", [b"not gzip", gzipped(b"x" * 99)[:20], gzipped(b""), gzipped(b"../a")])
def test_a_crawls_damaged_list_is_an_error(listing: bytes, server: Server, tmp_path: Path) -> None:
    server.add(f"/crawl-data/{CRAWL}/warc.paths.gz", listing)
    with pytest.raises(ForjaError, match="list of files"):
        crawl_files(Source.model_validate({"crawl": CRAWL, "archive": "warc"}), tmp_path)


def test_a_crawl_that_is_not_there_is_an_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="404"):
        crawl_files(Source.model_validate({"crawl": "CC-MAIN-1999-01"}), tmp_path)


# --- real files -------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_archives_give_the_documents_that_are_in_them(realdata: Path) -> None:
    counts: dict[str, tuple[int, list[str]]] = {}
    for path in sorted((realdata / "corpora/raw/warc").iterdir()):
        with open(path, "rb") as file:
            records = list(read_warc(file, path.name, Source.model_validate({"path": "x"}), LIMIT))
        counts[path.name] = len(good(records)), [record.reason for record in records if record.reason]
    assert counts == {
        "example-iana.org-chunked.warc": (1, []),
        "example-resource.warc.gz": (1, []),
        "example.warc.gz": (1, []),
        "jwarc-cc.warc.gz": (1, []),
        "post-test.warc.gz": (0, ["not-text-type"] * 3),
        "resiliparse-clipped.warc.gz": (0, ["truncated"]),
        "resiliparse-warcfile.warc.gz": (16, []),
        "whirlwind.warc.gz": (1, []),
        "whirlwind.warc.wat.gz": (0, ["wat"]),
        "whirlwind.warc.wet.gz": (1, []),
    }


@pytest.mark.realdata
def test_a_real_archive_reads_as_fastwarc_reads_it(realdata: Path) -> None:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    path = realdata / "corpora/raw/warc/resiliparse-warcfile.warc.gz"
    with open(path, "rb") as file:
        ours = [record.raw for record in read_warc(file, "x", Source.model_validate({"path": "x"}), LIMIT)]
    with open(path, "rb") as file:
        archive = ArchiveIterator(file, record_types=WarcRecordType.response, auto_decode="all")
        theirs = [record.reader.read() for record in archive]
    assert ours == theirs


@pytest.mark.realdata
def test_a_real_archive_with_a_damaged_member_loses_one_record(realdata: Path) -> None:
    content = (realdata / "corpora/raw/warc/resiliparse-warcfile.warc.gz").read_bytes()
    whole = good(read(content))
    for at in range(1000, len(content), 9973):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        records = read(bytes(damaged))
        assert len(good(records)) >= len(whole) - 1
        assert reasons(records).count("damaged") == 1
