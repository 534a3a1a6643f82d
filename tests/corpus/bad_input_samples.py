"""A small valid file of every kind that is read, each record of it with a mark of its own (`mark-3`), and what a
made accident does to bytes."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from hypothesis import strategies as st

RECORDS = 6
MARK = "mark-{}"
SAID = "The gateway of site {0} (mark-{0}) forwards what the filter of line {0} lets pass, and writes down the rest."


@dataclass(frozen=True)
class Sample:
    """A file in pieces: of each the bytes, and the number of the record in it, None where it holds none."""

    name: str
    pieces: list[tuple[bytes, int | None]]
    damaged_neighbours: int = 0
    """How many records behind a damaged one may be lost with it, where the format has no marks to find them by."""
    kind: str = "auto"
    """What a recipe calls it. Where a file's beginning is damaged, it may not be told any more."""

    @property
    def content(self) -> bytes:
        return b"".join(piece for piece, _ in self.pieces)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _joined(name: str, head: bytes, entries: list[bytes], between: bytes, tail: bytes, **more: Any) -> Sample:
    pieces: list[tuple[bytes, int | None]] = [(head, None)] if head else []
    for number, entry in enumerate(entries):
        pieces += [(between, None)] if number and between else []
        pieces.append((entry, number))
    return Sample(name, [*pieces, (tail, None)] if tail else pieces, **more)


def said(number: int) -> str:
    return SAID.format(number)


def _lines() -> list[bytes]:
    return [_json({"id": number, "text": said(number)}) for number in range(RECORDS)]


def jsonl() -> Sample:
    return _joined("a.jsonl", b"", _lines(), b"\n", b"\n")


def json_list() -> Sample:
    return _joined("a.json", b"[", _lines(), b",\n", b"]")


def plain() -> Sample:
    return _joined("a.txt", b"", [said(0).encode()], b"", b"")


def page() -> Sample:
    text = (
        "<!DOCTYPE html><html><head><title>T</title></head><body><h1>Title</h1>"
        f"<p>{said(0)}</p><pre>a = 1</pre></body></html>"
    )
    return _joined("a.html", b"", [text.encode()], b"", b"")


def table() -> Sample:
    rows = []
    for number in range(RECORDS):
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow([number, said(number), 'a "quoted" word'])
        rows.append(row.getvalue().encode())
    return _joined("a.csv", b"id,text,note\n", rows, b"\n", b"\n", damaged_neighbours=RECORDS)


def parquet() -> Sample:
    packed = io.BytesIO()
    rows = pa.table({"id": list(range(RECORDS)), "text": [said(number) for number in range(RECORDS)]})
    pq.write_table(rows, packed, row_group_size=2)
    return _joined("a.parquet", packed.getvalue(), [], b"", b"")


def mailbox() -> Sample:
    mails = [
        f"From a@example.org Mon May  6 10:0{number}:00 2024\nFrom: A <a@example.org>\n"
        f"Message-ID: <m{number}@example.org>\nDate: Mon, 06 May 2024 10:0{number}:00 +0000\n"
        f"Subject: site {number}\nContent-Type: text/plain; charset=utf-8\n"
        f"\n{said(number)}\n"
        for number in range(RECORDS)
    ]
    return _joined("a.mbox", b"", [mail.encode() for mail in mails], b"\n", b"")


def mail() -> Sample:
    parts = (
        "From: A <a@example.org>\r\nSubject: =?utf-8?b?c2l0ZQ==?=\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
        f"Content-Transfer-Encoding: quoted-printable\r\n\r\n{said(0)}\r\n--b\r\nContent-Type: text/html\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\nPHA+aGVsbG88L3A+\r\n--b--\r\n"
    )
    return _joined("a.eml", b"", [parts.encode()], b"", b"")


def _warc_records(kind: str) -> list[bytes]:
    found = []
    for number in range(RECORDS):
        body = said(number).encode()
        if kind == "response":
            body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body><p>" + body + b"</p></body></html>"
        media = "application/http; msgtype=response" if kind == "response" else "text/plain"
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://site{number}.example.org/\r\n"
            f"WARC-Date: 2024-05-18T01:58:10Z\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body + b"\r\n\r\n")
    return found


def warc() -> Sample:
    return _joined("a.warc", b"", _warc_records("response"), b"", b"", kind="common-crawl")


def wet_packed() -> Sample:
    packed = [gzip.compress(record, mtime=0) for record in _warc_records("conversion")]
    return _joined("a.warc.wet.gz", b"", packed, b"", b"", kind="common-crawl")


def wikipedia() -> Sample:
    head = (
        b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n<siteinfo>'
        b"<sitename>Wikipedia</sitename><dbname>enwiki</dbname>"
        b"<base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>\n"
    )
    pages = [
        f"<page><title>Page {number}</title><ns>0</ns><id>{number + 10}</id><revision><id>9{number}</id>"
        f"<timestamp>2024-05-04T10:00:00Z</timestamp><model>wikitext</model><text>'''Site''' [[link|{number}]] "
        f"{{{{cite|a={number}}}}} &lt;ref&gt;r&lt;/ref&gt; {said(number)}\n* one\n</text></revision></page>"
        for number in range(RECORDS)
    ]
    return _joined("dump.xml", head, [page.encode() for page in pages], b"\n", b"\n</mediawiki>\n", kind="wikipedia")


def _cve(number: int) -> dict[str, Any]:
    about = {"cveId": f"CVE-2024-100{number}", "state": "PUBLISHED", "dateUpdated": "2024-03-02T10:00:00.000Z"}
    affected = [
        {"vendor": "Example", "product": "Gate", "versions": [{"version": "1", "lessThan": "2", "status": "affected"}]}
    ]
    cna = {"descriptions": [{"lang": "en", "value": said(number)}], "affected": affected}
    return {"dataType": "CVE_RECORD", "dataVersion": "5.1", "cveMetadata": about, "containers": {"cna": cna}}


def cve_lines() -> Sample:
    return _joined("cve.jsonl", b"", [_json(_cve(number)) for number in range(RECORDS)], b"\n", b"\n", kind="cve")


def cve_list() -> Sample:
    return _joined("cve.json", b"[", [_json(_cve(number)) for number in range(RECORDS)], b",\n", b"]", kind="cve")


def nvd() -> Sample:
    entries = [
        _json(
            {
                "cve": {
                    "id": f"CVE-2024-200{number}",
                    "lastModified": "2024-03-02T10:00:00.000",
                    "vulnStatus": "Analyzed",
                    "descriptions": [{"lang": "en", "value": said(number)}],
                }
            }
        )
        for number in range(RECORDS)
    ]
    head = b'{"resultsPerPage": 6, "startIndex": 0, "totalResults": 6, "format": "NVD_CVE", "vulnerabilities": ['
    return _joined("nvd.json", head, entries, b",\n", b"]}", kind="nvd")


def kev() -> Sample:
    entries = [
        _json(
            {
                "cveID": f"CVE-2024-300{number}",
                "vendorProject": "Example",
                "product": "Gate",
                "vulnerabilityName": "Example Gate Bypass",
                "dateAdded": "2024-05-01",
                "shortDescription": said(number),
                "notes": "https://example.org/",
            }
        )
        for number in range(RECORDS)
    ]
    head = b'{"title": "CISA Catalog", "catalogVersion": "2024.05.01", "count": 6, "vulnerabilities": ['
    return _joined("kev.json", head, entries, b",\n", b"]}", kind="kev")


def stix() -> Sample:
    entries = [
        _json(
            {
                "type": "attack-pattern",
                "id": f"attack-pattern--00000000-0000-4000-8000-00000000000{number}",
                "modified": "2024-04-01T00:00:00.000Z",
                "name": f"Technique {number}",
                "description": said(number),
                "external_references": [{"source_name": "mitre-attack", "external_id": f"T100{number}"}],
            }
        )
        for number in range(RECORDS)
    ]
    head = b'{"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000000", "objects": ['
    return _joined("attack.json", head, entries, b",\n", b"]}", kind="stix")


def capec() -> Sample:
    entries = [
        f'<Attack_Pattern ID="{number + 60}" Name="Pattern" Abstraction="Standard" Status="Draft">'
        f"<Description>{said(number)}</Description><Mitigations><Mitigation><xhtml:p>Filter.</xhtml:p></Mitigation></Mitigations></Attack_Pattern>"
        for number in range(RECORDS)
    ]
    head = (
        b'<?xml version="1.0"?>\n<Attack_Pattern_Catalog xmlns="http://capec.mitre.org/capec-3" '
        b'xmlns:xhtml="http://www.w3.org/1999/xhtml"><Attack_Patterns>'
    )
    tail = b"</Attack_Patterns></Attack_Pattern_Catalog>"
    return _joined("capec.xml", head, [entry.encode() for entry in entries], b"\n", tail, kind="capec")


def cwe() -> Sample:
    entries = [
        f'<Weakness ID="{number + 20}" Name="Weakness" Abstraction="Base" Structure="Simple" Status="Stable">'
        f"<Description>{said(number)}</Description></Weakness>"
        for number in range(RECORDS)
    ]
    head = (
        b'<?xml version="1.0"?>\n<Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7" '
        b'xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>'
    )
    return _joined(
        "cwe.xml", head, [entry.encode() for entry in entries], b"\n", b"</Weaknesses></Weakness_Catalog>", kind="cwe"
    )


def cwe_lines() -> Sample:
    entries = [
        _json({"ID": str(number + 20), "Name": "Weakness", "Abstraction": "Base", "Description": said(number)})
        for number in range(RECORDS)
    ]
    return _joined("cwe.jsonl", b"", entries, b"\n", b"\n", kind="cwe")


def sigma() -> Sample:
    rules = [
        f"title: Rule {number}\nid: 00000000-0000-4000-8000-00000000000{number}\nstatus: test\n"
        f"description: >\n  {said(number)}\nlogsource:\n  product: windows\n"
        "detection:\n  selection:\n    Image|endswith: '\\a.exe'\n  condition: selection"
        for number in range(RECORDS)
    ]
    return _joined("rules.yml", b"", [rule.encode() for rule in rules], b"\n---\n", b"\n", kind="sigma")


def log() -> Sample:
    lines = [
        f"Jun 14 15:16:{number:02d} combo sshd(pam_unix)[1993{number}]: failure; mark-{number} rhost=192.0.2.{number}"
        for number in range(RECORDS)
    ]
    return _joined("sys.log", b"", [line.encode() for line in lines], b"\n", b"\n", damaged_neighbours=RECORDS)


def archived() -> Sample:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(RECORDS):
            archive.writestr(zipfile.ZipInfo(f"folder/{number}.txt", (2024, 1, 1, 0, 0, 0)), said(number) * 3)
    return _joined("a.zip", packed.getvalue(), [], b"", b"")


def tape() -> Sample:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(RECORDS):
            content = said(number).encode()
            info = tarfile.TarInfo(f"folder/{number}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return _joined("a.tar", packed.getvalue(), [], b"", b"")


def _packed(sample: Callable[[], Sample], suffix: str, pack: Callable[[bytes], bytes]) -> Callable[[], Sample]:
    def make() -> Sample:
        inner = sample()
        return _joined(inner.name + suffix, pack(inner.content), [], b"", b"")

    return make


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


SAMPLES: dict[str, Callable[[], Sample]] = {
    "text": plain,
    "html": page,
    "jsonl": jsonl,
    "json": json_list,
    "csv": table,
    "parquet": parquet,
    "mbox": mailbox,
    "mail": mail,
    "warc": warc,
    "wet-gzip": wet_packed,
    "wikipedia": wikipedia,
    "cve-lines": cve_lines,
    "cve-list": cve_list,
    "nvd": nvd,
    "kev": kev,
    "stix": stix,
    "capec": capec,
    "cwe": cwe,
    "cwe-lines": cwe_lines,
    "sigma": sigma,
    "logs": log,
    "zip": archived,
    "tar": tape,
    "tar-gzip": _packed(tape, ".gz", _gzip),
    "jsonl-gzip": _packed(jsonl, ".gz", _gzip),
    "jsonl-zstd": _packed(jsonl, ".zst", zstandard.compress),
    "csv-bzip2": _packed(table, ".bz2", bz2.compress),
    "wikipedia-bzip2": _packed(wikipedia, ".bz2", bz2.compress),
    "warc-zstd": _packed(warc, ".zst", zstandard.compress),
    "nvd-gzip": _packed(nvd, ".gz", _gzip),
}

WHOLE = [
    name
    for name, make in SAMPLES.items()
    if len([number for _, number in make().pieces if number is not None]) == RECORDS
]
"""Kinds of which each record lies in bytes of its own."""

# Accidents: (what, where in thousandths of the length, how long, what with).
Accident = tuple[str, int, int, bytes]
ACCIDENTS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "remove", "insert", "repeat", "overwrite", "zero"]),
        st.integers(0, 1000),
        st.integers(1, 200),
        st.binary(min_size=1, max_size=24)
        | st.sampled_from(
            [b"\0", b'"', b"<", b"}", b"\n", b"]]>", b"<!DOCTYPE a [", b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b\x08"]
        ),
    ),
    min_size=1,
    max_size=4,
)


def happen(content: bytes, accidents: list[Accident]) -> bytes:
    """The bytes after the accidents, one after the other."""
    for what, where, length, words in accidents:
        at = where * len(content) // 1000
        before, hit, after = content[:at], content[at : at + length], content[at + length :]
        if what == "flip" and content:
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ (1 << length % 8)]) + content[at + 1 :]
        elif what == "cut":
            content = before
        elif what == "remove":
            content = before + after
        elif what == "insert":
            content = before + words + hit + after
        elif what == "repeat":
            content = before + hit + hit + after
        elif what == "overwrite":
            content = before + words[: len(hit)] + hit[len(words) :] + after
        elif what == "zero":
            content = before + b"\0" * len(hit) + after
    return content
