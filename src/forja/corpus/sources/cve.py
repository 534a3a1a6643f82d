"""CVE records in the CVE JSON 5.x layout (cvelistV5): single files, lists and lines of them.

A tree or a zip of them is read file by file. NVD's own layout is in `nvd.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from forja.corpus.sources.cvss import score_of, severities
from forja.corpus.sources.json_stream import Fault, canonical, fault_record, parsed, read_objects
from forja.corpus.sources.phrasing import (
    bullets,
    capped,
    document,
    from_markup,
    in_english,
    is_before,
    iso_date,
    listed,
    mappings,
    member,
    paragraphs,
    references,
    said,
    section,
    sentence,
    texts,
    unique,
)
from forja.corpus.sources.record import Record, rejected
from forja.recipe import Source

LICENCE = "CVE Program terms of use"
CVE_ID = re.compile(r"CVE-\d{4}-\d{4,19}")
WEAKNESS = re.compile(r"CWE-\d{1,5}")
SCORES = ("cvssV4_0", "cvssV3_1", "cvssV3_0", "cvssV2_0")
UNNAMED = {"", "n/a", "na", "unknown", "unspecified", "-", "*", "none"}
MOST_PRODUCTS = 20
MOST_VERSIONS = 12
LONGEST_NAME = 100
"""Characters of a weakness that has no CWE id; what is longer is a sentence of the description."""


def read_cve(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a CVE, `origin` its id; those that were rejected by their authority are rejected as `revoked`."""
    number = 0
    for entry in read_objects(file, max_bytes, accept=is_cve):
        number += 1
        if isinstance(entry, Fault):
            yield fault_record(entry, origin if entry.reason != "truncated" else f"{origin}#end")
        else:
            yield _record(entry, f"{origin}#{number}", source)
    if not number:
        yield rejected(origin, "empty")


def is_cve(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("cveMetadata"), dict) and isinstance(entry.get("containers"), dict)


def _record(entry: dict[str, Any], place: str, source: Source) -> Record:
    raw = canonical(entry)
    key = said(member(entry, "cveMetadata", "cveId"))
    if not is_cve(entry) or not CVE_ID.fullmatch(key):
        return rejected(place, "not-a-cve", raw[:1024])
    if said(entry["cveMetadata"].get("state")).upper() == "REJECTED":
        return rejected(key, "revoked", raw[:1024])
    date = _date(entry)
    if is_before(date, source.since):
        return rejected(key, "before-since")
    return Record(key, raw, "cve", date=date, licence=source.licence or LICENCE)


def _date(entry: dict[str, Any]) -> str | None:
    about = entry["cveMetadata"]
    return iso_date(about.get("dateUpdated")) or iso_date(about.get("datePublished"))


def render_cve(record: Record) -> Record:
    """The record as text, with its facts in `meta`: id, url, published, products, cwe, cvss, exploited_since."""
    entry = parsed(record.raw)
    found = member(entry, "containers", "cna")
    cna: dict[str, Any] = found if isinstance(found, dict) else {}
    parts = [cna, *mappings(member(entry, "containers", "adp"))]
    about = entry.get("cveMetadata")
    description, lang = in_english(cna.get("descriptions"))
    if not description:
        for part in parts[1:]:
            description, lang = in_english(part.get("descriptions"))
            if description:
                break
    if not description:
        return replace(record, reason="empty")
    products = _products(parts)
    weaknesses = _weaknesses(parts)
    scores = [data for part in parts for data in _scores(part)]
    exploited = _exploited_since(parts)
    title = " ".join(said(cna.get("title")).split()).rstrip(".")
    published = iso_date(member(about, "datePublished"))
    text = document(
        f"{record.origin}: {title}" if title else record.origin,
        description,
        section("Affected", bullets(sentence(product) for product in capped(products, MOST_PRODUCTS))),
        f"Weakness: {listed(weaknesses)}." if weaknesses else "",
        f"Attack pattern: {listed(_patterns(cna))}." if _patterns(cna) else "",
        severities(scores[:3]),
        f"Known to be exploited in the wild since {exploited} (CISA KEV)." if exploited else "",
        _assessment(parts),
        *_advice(cna),
        _history(about, published),
        references(said(one.get("url")) for part in parts for one in mappings(part.get("references"))),
    )
    meta: dict[str, Any] = {"id": record.origin, "url": f"https://www.cve.org/CVERecord?id={record.origin}"}
    facts = {
        "published": published,
        "products": [name for name, _ in _affected(parts)][:5],
        "cwe": [word.split()[0] for word in weaknesses if WEAKNESS.match(word)],
        "cvss": score_of(scores[0]) if scores else None,
        "exploited_since": exploited,
    }
    meta |= {name: value for name, value in facts.items() if value or value == 0.0}
    return replace(record, form="string", text=text, lang=record.lang or lang, meta=meta)


# --- what is affected -------------------------------------------------------------------------------


def _affected(parts: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """(name, entry) of the products that the authority names; those of others where it names none."""
    for part in parts:
        named = [(_name(entry), entry) for entry in mappings(part.get("affected"))]
        if any(name for name, _ in named):
            return [(name, entry) for name, entry in named if name]
    return []


def _name(entry: dict[str, Any]) -> str:
    vendor, product = said(entry.get("vendor")), said(entry.get("product")) or said(entry.get("packageName"))
    vendor = "" if vendor.lower() in UNNAMED else vendor
    product = "" if product.lower() in UNNAMED else product
    same = product.lower().startswith(vendor.lower()) or vendor.lower() == product.lower()
    return paragraphs(product if product and same else f"{vendor} {product}".strip())


def _products(parts: list[dict[str, Any]]) -> list[str]:
    lines: dict[str, list[str]] = {}
    for name, entry in _affected(parts):
        platforms = unique(texts(entry.get("platforms")))
        place = f" on {listed(capped(platforms, 6))}" if platforms else ""
        lines.setdefault(name + place, []).extend(_versions(entry))
    found = []
    for name, versions in lines.items():
        versions = unique(versions)
        found.append(f"{name}: {listed(capped(versions, MOST_VERSIONS))}" if versions else name)
    return unique(found)


def _versions(entry: dict[str, Any]) -> list[str]:
    versions = mappings(entry.get("versions"))
    default = said(entry.get("defaultStatus")).lower()
    hit = [_range(one) for one in versions if said(one.get("status")).lower() == "affected"]
    spared = [_range(one) for one in versions if said(one.get("status")).lower() == "unaffected"]
    hit, spared = [one for one in hit if one], [one for one in spared if one]
    if default == "affected" and not hit:
        return [f"all versions except {listed(capped(spared, MOST_VERSIONS))}" if spared else "all versions"]
    return hit


def _range(version: dict[str, Any]) -> str:
    begin, before, last = (_number(version, key) for key in ("version", "lessThan", "lessThanOrEqual"))
    from_start = begin.lower() in UNNAMED or begin == "0"
    if before == "*" or last == "*":
        return "all versions" if from_start else f"{begin} and later"
    if before:
        return f"before {before}" if from_start else f"from {begin} before {before}"
    if last:
        return f"up to {last}" if from_start else f"{begin} through {last}"
    return "" if from_start else begin


def _number(version: dict[str, Any], key: str) -> str:
    number = " ".join(said(version.get(key)).split())
    if key != "version" and number != "*" and number.lower() in UNNAMED:
        return ""
    # Commit ids are told by their first twelve digits.
    return number[:12] if re.fullmatch(r"[0-9a-f]{40}", number) else number[:120]


# --- how bad ----------------------------------------------------------------------------------------


def _weaknesses(parts: list[dict[str, Any]]) -> list[str]:
    """CWE-79 with its name, once each; or what is said in place of one."""
    found: dict[str, str] = {}
    for part in parts:
        for problem in mappings(part.get("problemTypes")):
            for one in mappings(problem.get("descriptions")):
                said_of = " ".join(said(one.get("description")).split())
                key = said(one.get("cweId")).upper() or (WEAKNESS.match(said_of) or [""])[0]
                name = re.sub(rf"^{re.escape(key)}\b[\s:.-]*", "", said_of, flags=re.IGNORECASE) if key else said_of
                name = re.sub(r"[\s.]+$", "", name)[:200]
                if key and len(name) > len(found.get(key, "")):
                    found[key] = name
                elif key:
                    found.setdefault(key, "")
                elif name.lower() not in UNNAMED and len(name) <= LONGEST_NAME:
                    found.setdefault(name, "")
    if any(WEAKNESS.match(key) for key in found):
        found = {key: name for key, name in found.items() if WEAKNESS.match(key)}
    return [f"{key} {name}" if name and name != key else key for key, name in found.items()]


def _scores(part: dict[str, Any]) -> list[dict[str, Any]]:
    found = [metric[key] for metric in mappings(part.get("metrics")) for key in SCORES if member(metric, key)]
    return [data for data in found if isinstance(data, dict) and score_of(data) is not None]


def _patterns(cna: dict[str, Any]) -> list[str]:
    named = []
    for impact in mappings(cna.get("impacts")):
        key, name = said(impact.get("capecId")), in_english(impact.get("descriptions"))[0]
        named.append(name if name.startswith(key) else f"{key} {name}".strip())
    return unique(name for name in named if name)


def _others(parts: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    for part in parts:
        for metric in mappings(part.get("metrics")):
            content = member(metric, "other", "content")
            if member(metric, "other", "type") == kind and isinstance(content, dict):
                yield content


def _exploited_since(parts: list[dict[str, Any]]) -> str | None:
    return next((date for content in _others(parts, "kev") if (date := iso_date(content.get("dateAdded")))), None)


def _assessment(parts: list[dict[str, Any]]) -> str:
    """CISA's SSVC decision points in words."""
    for content in _others(parts, "ssvc"):
        points = {
            key.lower(): said(value) for option in mappings(content.get("options")) for key, value in option.items()
        }
        words = {
            "none": "no exploitation known",
            "poc": "a proof of concept is public",
            "active": "active exploitation",
        }.get(points.get("exploitation", "").lower(), "")
        automatable = {"yes": "attacks can be automated", "no": "attacks cannot be automated"}.get(
            points.get("automatable", "").lower(), ""
        )
        impact = points.get("technical impact", "").lower()
        said_of = [word for word in (words, automatable, f"technical impact {impact}" if impact else "") if word]
        if said_of:
            return f"CISA's assessment (SSVC): {', '.join(said_of)}."
    return ""


def _advice(cna: dict[str, Any]) -> list[str]:
    kinds = (
        ("configurations", "Configuration needed"),
        ("solutions", "Solution"),
        ("workarounds", "Workaround"),
        ("exploits", "Exploits"),
    )
    found = []
    for key, title in kinds:
        said_of = from_markup(in_english(cna.get(key))[0])
        found.append(f"{title}: {said_of}" if said_of else "")
    return found


def _history(about: Any, published: str | None) -> str:
    by = said(member(about, "assignerShortName"))
    updated = iso_date(member(about, "dateUpdated"))
    words = [f"Published on {published[:10]}" if published else "", f"assigned by {by}" if by else ""]
    words.append(f"last changed on {updated[:10]}" if updated else "")
    return sentence(", ".join(word for word in words if word))
