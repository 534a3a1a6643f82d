"""What the addresses of the recipe security-starter give, for a local server: from the real files of FORJA_REALDATA,
or a little of everything made here.

Layouts that the real files come in otherwise (CAPEC and CWE in XML, pages of a WET file) are written here from them.
"""

from __future__ import annotations

import bz2
import gzip
import html
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from corpus.misbehaving_server import Server
from corpus.mitre_samples import CAPEC_XML, CWE_XML
from forja.recipe import Recipe

Entry = dict[str, Any]
CRAWL_PATH = (
    "crawl-data/{crawl}/segments/1746990412231.65/wet/CC-MAIN-20250512042640-20250512072640-{number:05d}.warc.wet.gz"
)


@dataclass
class Site:
    """Contents by source. Files by their name in an archive; `nvd` and `kev` entry by entry."""

    cves: dict[str, bytes]
    nvd: list[Entry]
    kev: list[Entry]
    attack: dict[str, bytes]
    capec: bytes
    cwe: bytes
    sigma: dict[str, bytes]
    owasp: dict[str, dict[str, bytes]]
    wikipedia: bytes
    wet: list[bytes]
    later: dict[str, bytes] = field(default_factory=dict)
    """CVE records that are published later."""

    def serve(self, server: Server, recipe: Recipe) -> None:
        """Put everything where the recipe's addresses say, below a folder of the host's name."""
        contents: dict[str, Callable[[], bytes]] = {
            "cve": lambda: zipped(
                {f"cvelistV5-main/cves/{name}": raw for name, raw in self.cves.items()}
                | {"cvelistV5-main/README.md": b"# CVE List V5\n"}
            ),
            "kev": lambda: kev_page(self.kev),
            "attack-enterprise": lambda: self.attack["enterprise"],
            "attack-ics": lambda: self.attack["ics"],
            "capec": lambda: self.capec,
            "cwe": lambda: zipped({"cwec_v4.18.xml": self.cwe}),
            "sigma": lambda: zipped(self.sigma | {"version.txt": b"Release: made here\n"}),
            "owasp-cheat-sheets": lambda: zipped(self.owasp["cheat-sheets"]),
            "owasp-testing-guide": lambda: zipped(self.owasp["testing-guide"]),
            "wikipedia": lambda: bz2.compress(self.wikipedia) if self.wikipedia[:3] != b"BZh" else self.wikipedia,
        }
        for source in recipe.corpus.sources:
            if source.crawl is not None:
                self._serve_crawl(server, source.crawl)
            elif source.kind == "nvd":
                server.add(mirrored(source.url or ""), etag=False, modified=None, answer=self._nvd_answer)
            else:
                server.add(mirrored(source.url or ""), contents[source.label]())

    def _serve_crawl(self, server: Server, crawl: str) -> None:
        paths = [CRAWL_PATH.format(crawl=crawl, number=number) for number in range(len(self.wet))]
        listing = "".join(f"{path}\n" for path in paths).encode()
        server.add(f"/data.commoncrawl.org/crawl-data/{crawl}/wet.paths.gz", gzip.compress(listing))
        for path, content in zip(paths, self.wet, strict=True):
            server.add(f"/data.commoncrawl.org/{path}", content)

    def _nvd_answer(self, query: dict[str, str]) -> bytes:
        """A page as NVD's API gives it: of what changed within the asked window, by startIndex."""
        start, end = (datetime.fromisoformat(query[key]) for key in ("lastModStartDate", "lastModEndDate"))
        assert end - start <= timedelta(days=120)
        found = [one for one in self.nvd if start <= _moment(one["cve"]["lastModified"]) <= end]
        begin, size = int(query["startIndex"]), int(query["resultsPerPage"])
        page = found[begin : begin + size]
        return json.dumps(
            {
                "resultsPerPage": len(page),
                "startIndex": begin,
                "totalResults": len(found),
                "format": "NVD_CVE",
                "version": "2.0",
                "timestamp": "2025-01-01T00:00:00.000",
                "vulnerabilities": page,
            }
        ).encode()


def mirrored(url: str) -> str:
    """Where an address lies on a mirror: below a folder of its host's name."""
    parts = urlsplit(url)
    return f"/{parts.netloc}{parts.path}"


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of files; the same bytes for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2025, 6, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def kev_page(entries: list[Entry]) -> bytes:
    about = {"title": "CISA Catalog of Known Exploited Vulnerabilities", "catalogVersion": "2025.08.25"}
    return json.dumps({**about, "count": len(entries), "vulnerabilities": entries}).encode()


def wet(pages: Iterable[tuple[str, str]], language: str = "eng") -> bytes:
    """A WET file of (address, text), a gzip member a record, as Common Crawl writes it."""
    packed = b""
    for address, text in pages:
        body = text.encode()
        header = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {address}\r\nWARC-Date: 2025-05-12T04:30:00Z\r\n"
            f"WARC-Identified-Content-Language: {language}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        packed += gzip.compress(header.encode() + body + b"\r\n\r\n", mtime=0)
    return packed


def moved_to_now(entries: list[Entry], newest: datetime) -> list[Entry]:
    """NVD entries with their dates of change moved so that the last is `newest`."""
    last = max(_moment(one["cve"]["lastModified"]) for one in entries)
    moved = []
    for one in entries:
        changed = newest - (last - _moment(one["cve"]["lastModified"]))
        stamp = changed.replace(tzinfo=None).isoformat(timespec="milliseconds")
        moved.append({"cve": one["cve"] | {"lastModified": stamp}})
    return moved


def _moment(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC)


# --- the real files ---------------------------------------------------------------------------


def real_site(data: Path, held_back: int) -> Site:
    """The real files; the last `held_back` CVE records come later."""
    security, raw = data / "corpora/security", data / "corpora/raw"
    cves = _members(security / "cve_json5.zip")
    names = list(cves)
    nvd = json.loads(gzip.decompress((security / "nvd_api2_cves-2023.json.gz").read_bytes()))["vulnerabilities"]
    known = gzip.decompress((security / "known_exploited_vulnerabilities.json.gz").read_bytes())
    attack = {
        name: gzip.decompress((security / f"{name}-attack.json.gz").read_bytes()) for name in ("enterprise", "ics")
    }
    return Site(
        cves={name: cves[name] for name in names[:-held_back]},
        nvd=moved_to_now(nvd, datetime.now(UTC) - timedelta(days=1)),
        kev=json.loads(known)["vulnerabilities"],
        attack=attack,
        capec=_capec_xml(json.loads(gzip.decompress((security / "stix-capec.json.gz").read_bytes()))["objects"]),
        cwe=_cwe_xml(_lines(security / "cwe_weaknesses.jsonl.gz")),
        sigma=_members(security / "sigma_rules.zip"),
        owasp={
            "cheat-sheets": _owasp(security, "OWASP/CheatSheetSeries", "CheatSheetSeries-master"),
            "testing-guide": _owasp(security, "OWASP/wstg", "wstg-master"),
        },
        wikipedia=next((raw / "wikipedia").glob("enwiki-latest-pages-articles1*.bz2")).read_bytes(),
        wet=[wet(_pages(raw / "html/readability_pages.zip")), (raw / "warc/whirlwind.warc.wet.gz").read_bytes()],
        later={name: cves[name] for name in names[-held_back:]},
    )


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def _lines(path: Path) -> list[Entry]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def _owasp(security: Path, repository: str, top: str) -> dict[str, bytes]:
    rows = [row for row in _lines(security / "owasp_docs.jsonl.gz") if row["source"] == repository]
    return {f"{top}/{row['path']}": row["text"].encode() for row in rows}


def _pages(path: Path) -> list[tuple[str, str]]:
    """The main text of real pages, one line a block, as Common Crawl's extraction gives it."""
    from resiliparse.extract.html2text import extract_plain_text

    pages = [(name, raw) for name, raw in _members(path).items() if name.endswith("/source.html")]
    return [
        (f"http://www.example.org/{name}", extract_plain_text(raw.decode("utf-8", "replace"), main_content=True))
        for name, raw in pages
    ]


def _element(name: str, text: object) -> str:
    return f"<{name}>{html.escape(str(text), quote=False)}</{name}>" if text else ""


def _history(date: str) -> str:
    submission = (
        f"<Submission><Submission_Name>Team</Submission_Name>{_element('Submission_Date', date[:10])}</Submission>"
    )
    return f"<Content_History>{submission}</Content_History>"


def _capec_xml(objects: list[Entry]) -> bytes:
    """Attack patterns of the STIX bundle in the layout of capec_latest.xml."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>\n<Attack_Pattern_Catalog xmlns="http://capec.mitre.org/capec-3" ']
    parts.append('xmlns:xhtml="http://www.w3.org/1999/xhtml" Name="CAPEC" Version="3.9"><Attack_Patterns>\n')
    for one in objects:
        if one["type"] != "attack-pattern" or one.get("x_capec_status") == "Deprecated":
            continue
        number = one["external_references"][0]["external_id"].removeprefix("CAPEC-")
        name = html.escape(one["name"])
        needs = "".join(_element("Prerequisite", text) for text in one.get("x_capec_prerequisites", []))
        parts.append(
            f'<Attack_Pattern ID="{number}" Name="{name}" Abstraction="Standard" Status="Stable">'
            + _element("Description", one.get("description"))
            + _element("Likelihood_Of_Attack", one.get("x_capec_likelihood_of_attack"))
            + _element("Typical_Severity", one.get("x_capec_typical_severity"))
            + (f"<Prerequisites>{needs}</Prerequisites>" if needs else "")
            + _history(one["modified"])
            + "</Attack_Pattern>\n"
        )
    return "".join([*parts, "</Attack_Patterns></Attack_Pattern_Catalog>\n"]).encode()


def _cwe_xml(weaknesses: list[Entry]) -> bytes:
    """Weaknesses of the REST API in the layout of cwec_latest.xml."""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<Weakness_Catalog Name="CWE" Version="4.18" ']
    parts.append('xmlns="http://cwe.mitre.org/cwe-7" xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>\n')
    for one in weaknesses:
        dates = [change[key] for change in one["ContentHistory"] for key in change if key.endswith("Date")]
        parts.append(
            f'<Weakness ID="{one["ID"]}" Name="{html.escape(one["Name"])}" Abstraction="{one["Abstraction"]}" '
            f'Structure="{one["Structure"]}" Status="{one["Status"]}">'
            + _element("Description", one["Description"])
            + _element("Extended_Description", one.get("ExtendedDescription"))
            + _history(max(dates))
            + "</Weakness>\n"
        )
    return "".join([*parts, "</Weaknesses></Weakness_Catalog>\n"]).encode()


# --- a little of everything -------------------------------------------------------------------


def small_site() -> Site:
    """Two or three records a source; three CVE records and no more come later."""
    cves = {f"2024/1xxx/CVE-2024-{number}.json": _cve(number) for number in range(1001, 1009)}
    names = list(cves)
    changed = datetime.now(UTC) - timedelta(days=2)
    return Site(
        cves={name: cves[name] for name in names[:-3]},
        nvd=[_nvd(number, changed) for number in range(2001, 2004)],
        kev=[_kev(number) for number in range(1001, 1004)],
        attack={"enterprise": _bundle(1059, "mitre-attack"), "ics": _bundle(807, "mitre-ics-attack")},
        capec=CAPEC_XML.encode(),
        cwe=CWE_XML.encode(),
        sigma={f"rules/windows/rule_{number}.yml": _rule(number) for number in range(2)},
        owasp={
            "cheat-sheets": {"CheatSheetSeries-master/cheatsheets/Logging_Cheat_Sheet.md": _guide("Logging")},
            "testing-guide": {"wstg-master/document/4-Testing/01-Sessions.md": _guide("Sessions")},
        },
        wikipedia=_dump(),
        wet=[
            wet(
                [
                    ("https://www.example.org/walls", _prose("garden")),
                    ("https://www.example.org/mill", _prose("mill")[:300]),
                ]
            )
        ],
        later={name: cves[name] for name in names[-3:]},
    )


THINGS = [
    "parser",
    "session store",
    "update service",
    "mail gateway",
    "image decoder",
    "login form",
    "file share",
    "proxy",
]


def _cve(number: int) -> bytes:
    thing = THINGS[number % len(THINGS)]
    said = f"The {thing} of Example Product {number} does not check the length of field {number}, so that a remote "
    said += f"attacker who sends request number {number} can read memory of the {thing} and stop it."
    entry = {
        "dataType": "CVE_RECORD",
        "dataVersion": "5.1",
        "cveMetadata": {
            "cveId": f"CVE-2024-{number}",
            "state": "PUBLISHED",
            "datePublished": "2024-03-01T10:00:00.000Z",
            "dateUpdated": "2024-03-02T10:00:00.000Z",
        },
        "containers": {"cna": {"descriptions": [{"lang": "en", "value": said}]}},
    }
    return json.dumps(entry, indent=4).encode()


def _nvd(number: int, changed: datetime) -> Entry:
    said = f"Appliance {number} keeps the {THINGS[number % len(THINGS)]}'s password in a file that everyone can read, "
    said += f"which lets local users of model {number} become its administrator."
    stamp = changed.replace(tzinfo=None).isoformat(timespec="milliseconds")
    about = {"id": f"CVE-2024-{number}", "published": "2024-04-01T10:00:00.000", "lastModified": stamp}
    return {"cve": {**about, "vulnStatus": "Analyzed", "descriptions": [{"lang": "en", "value": said}]}}


def _kev(number: int) -> Entry:
    return {
        "cveID": f"CVE-2024-{number}",
        "vendorProject": "Example",
        "product": f"Product {number}",
        "vulnerabilityName": f"Example Product {number} Out-of-Bounds Read",
        "dateAdded": "2024-05-01",
        "shortDescription": f"The {THINGS[number % len(THINGS)]} of Product {number} reads out of bounds.",
        "requiredAction": "Apply mitigations per vendor instructions.",
        "dueDate": "2024-05-22",
        "knownRansomwareCampaignUse": "Unknown",
        "notes": "",
    }


def _bundle(number: int, name: str) -> bytes:
    technique = {
        "type": "attack-pattern",
        "id": f"attack-pattern--00000000-0000-4000-8000-00000000{number:04d}",
        "created": "2020-01-01T00:00:00.000Z",
        "modified": "2024-04-01T00:00:00.000Z",
        "name": f"Made Technique {number}",
        "description": f"Adversaries may use the made technique {number} to run commands where {name} is looked at.",
        "external_references": [{"source_name": name, "external_id": f"T{number:04d}"}],
    }
    bundle = {"type": "bundle", "id": f"bundle--00000000-0000-4000-8000-00000000{number:04d}", "objects": [technique]}
    return json.dumps(bundle, indent=4).encode()


def _rule(number: int) -> bytes:
    return f"""title: Made Rule {number} For A Suspicious Child Process
id: 00000000-0000-4000-8000-00000000000{number}
status: test
description: Detects that program number {number} starts a shell, which it has no reason to do.
author: Example
date: 2024-02-0{number + 1}
logsource:
    category: process_creation
    product: windows
detection:
    selection:
        ParentImage|endswith: '\\program{number}.exe'
    condition: selection
level: high
""".encode()


def _guide(about: str) -> bytes:
    lines = [f"{about} rule {number}: name what the {thing} does." for number, thing in enumerate(THINGS)]
    return f"# {about}\n\n{about} has its own rules in each part of a system.\n\n{' '.join(lines)}\n".encode()


def _dump() -> bytes:
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n<siteinfo>'
        "<sitename>Wikipedia</sitename><dbname>simplewiki</dbname>"
        "<base>https://simple.wikipedia.org/wiki/Main_Page</base></siteinfo>\n"
    )
    page = (
        "<page><title>Castle</title><ns>0</ns><id>12</id><revision><id>912</id>"
        "<timestamp>2024-05-04T10:00:00Z</timestamp><model>wikitext</model>"
        "<text xml:space='preserve'>A '''castle''' is a large building with thick walls.\n\n{}"
        "</text></revision></page>\n"
    )
    return (head + page.format(_prose("castle")) + "</mediawiki>\n").encode()


def _prose(about: str) -> str:
    """Plain English that the rules for web text let pass."""
    return f"""The {about} on the hill was begun in the spring, when the roads had dried and carts could climb again.
Nobody remembers who drew the first plan, but the letters that were found in a chest tell of a mason from the coast.
He asked for lime, for oak and for forty workers, and he was angry that only half of them came before the summer.
In the second year a fire took the scaffold, and with it most of what had been written down about the work so far.
What is known of the {about} since comes from bills: nails, ropes, bread, and a bell that cracked in the first frost.
Visitors now enter through the southern gate, where a small exhibition shows tools which children are allowed to try.
Below the tower there is a well, forty metres deep, that still gives water and that the fire brigade looks after.
If you come by train, follow the path along the brook, because the bridge beside the mill will be closed until autumn.
"""
