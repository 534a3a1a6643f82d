"""Pages of NVD's CVE API 2.0, and its yearly feeds of the same layout: vulnerabilities: [{cve: {...}}]."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from forja.corpus.sources.cve import CVE_ID, MOST_PRODUCTS, MOST_VERSIONS, WEAKNESS
from forja.corpus.sources.cvss import score_of, severities
from forja.corpus.sources.json_stream import Fault, canonical, fault_record, parsed, read_objects
from forja.corpus.sources.packing import peek
from forja.corpus.sources.phrasing import (
    bullets,
    capped,
    document,
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
    unique,
)
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

LICENCE = "public domain (NVD)"
NONE = re.compile(rb'"vulnerabilities"\s*:\s*\[\s*\]')
SCORES = ("cvssMetricV40", "cvssMetricV31", "cvssMetricV30", "cvssMetricV2")
CPE_PART = re.compile(r"(?<!\\):")


def read_nvd(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a CVE, `origin` its id; those that NVD lists as rejected are rejected as `revoked`.

    Several pages may stand in one file. Raises ForjaError where the file has no `vulnerabilities`.
    """
    head, file = peek(file)
    number = 0
    for entry in read_objects(file, max_bytes, "vulnerabilities", accept=lambda entry: member(entry, "cve", "id")):
        number += 1
        if isinstance(entry, Fault):
            yield fault_record(entry, f"{origin}#{'end' if entry.reason == 'truncated' else number}")
        else:
            yield _record(entry.get("cve"), f"{origin}#{number}", source)
    # An API page of a time in which nothing changed.
    if not number and not NONE.search(head):
        raise ForjaError(
            "this is not an NVD API 2.0 page: it has no `vulnerabilities`.", fix="Check the source's `kind`."
        )


def _record(entry: Any, place: str, source: Source) -> Record:
    key = said(member(entry, "id"))
    if not isinstance(entry, dict) or not CVE_ID.fullmatch(key):
        return rejected(place, "not-a-cve")
    raw = canonical(entry)
    if said(entry.get("vulnStatus")).lower() == "rejected":
        return rejected(key, "revoked", raw[:1024])
    date = iso_date(entry.get("lastModified")) or iso_date(entry.get("published"))
    if is_before(date, source.since):
        return rejected(key, "before-since")
    return Record(key, raw, "nvd", date=date, licence=source.licence or LICENCE)


def render_nvd(record: Record) -> Record:
    """The record as text, with its facts in `meta`: id, url, published, products, cwe, cvss, exploited_since."""
    entry = parsed(record.raw)
    description, lang = in_english(entry.get("descriptions"))
    if not description:
        return replace(record, reason="empty")
    products = _products(entry)
    weaknesses = _weaknesses(entry)
    scores = _scores(entry)
    exploited = iso_date(entry.get("cisaExploitAdd"))
    published = iso_date(entry.get("published"))
    title = said(entry.get("cisaVulnerabilityName"))
    text = document(
        f"{record.origin}: {title}" if title else record.origin,
        description,
        section("Affected", bullets(sentence(product) for product in capped(products, MOST_PRODUCTS))),
        f"Weakness: {listed(weaknesses)}." if weaknesses else "",
        severities(scores[:3]),
        f"Known to be exploited in the wild since {exploited[:10]} (CISA KEV)." if exploited else "",
        _action(entry),
        _remarks(entry),
        f"Published on {published[:10]}." if published else "",
        references(said(one.get("url")) for one in mappings(entry.get("references"))),
    )
    facts: dict[str, Any] = {
        "id": record.origin,
        "url": f"https://nvd.nist.gov/vuln/detail/{record.origin}",
        "published": published,
        "products": [product.partition(":")[0] for product in products[:5]],
        "cwe": weaknesses,
        "cvss": score_of(scores[0]) if scores else None,
        "exploited_since": exploited,
    }
    meta = {name: value for name, value in facts.items() if value or value == 0.0}
    return replace(record, form="string", text=text, lang=record.lang or lang, meta=meta)


def _scores(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The CVSS objects, the newest version first, of each NVD's own before others'."""
    found = []
    for key in SCORES:
        metrics = sorted(
            mappings(member(entry, "metrics", key)), key=lambda metric: said(metric.get("type")) != "Primary"
        )
        for metric in metrics[:1]:
            data = metric.get("cvssData")
            if isinstance(data, dict) and score_of(data) is not None:
                found.append({"baseSeverity": metric.get("baseSeverity")} | data)
    return found


def _weaknesses(entry: dict[str, Any]) -> list[str]:
    named = [in_english(weakness.get("description"))[0] for weakness in mappings(entry.get("weaknesses"))]
    return unique(name for name in named if WEAKNESS.fullmatch(name))


def _action(entry: dict[str, Any]) -> str:
    action, due = paragraphs(said(entry.get("cisaRequiredAction"))), iso_date(entry.get("cisaActionDue"))
    return sentence(f"Required action{f' by {due[:10]}' if due else ''}: {action}") if action else ""


def _remarks(entry: dict[str, Any]) -> str:
    comments = [sentence(paragraphs(said(one.get("comment")))) for one in mappings(entry.get("vendorComments"))]
    return f"The vendor says: {' '.join(comments)}" if any(comments) else ""


# --- what is affected -------------------------------------------------------------------------------


def _products(entry: dict[str, Any]) -> list[str]:
    """Products with their versions, of the CPE matches that are said to be vulnerable."""
    versions: dict[str, list[str]] = {}
    for configuration in mappings(entry.get("configurations")):
        for node in mappings(configuration.get("nodes")):
            for match in mappings(node.get("cpeMatch")):
                name, version = cpe_name(said(match.get("criteria")))
                if name and match.get("vulnerable") is True:
                    versions.setdefault(name, []).append(_range(match, version))
    lines = []
    for name, ranges in versions.items():
        named = capped(unique(one for one in ranges if one), MOST_VERSIONS)
        lines.append(f"{name}: {listed(named)}" if named else name)
    return lines


def cpe_name(criteria: str) -> tuple[str, str]:
    """(vendor and product, version) of a CPE 2.3 name (NIST IR 7695, section 6.2), blanks for underscores; the
    version is empty where it is any."""
    parts = [re.sub(r"\\(.)", r"\1", part) for part in CPE_PART.split(criteria)]
    if len(parts) < 6 or parts[0] != "cpe":
        return "", ""
    vendor, product, version = (part.replace("_", " ") for part in parts[3:6])
    update = parts[6] if len(parts) > 6 and parts[6] not in "*-" else ""
    target = parts[10] if len(parts) > 10 and parts[10] not in "*-" else ""
    name = product if product.startswith(vendor) else f"{vendor} {product}"
    name = f"{name} for {target.replace('_', ' ')}" if target else name
    return name, "" if version in ("*", "-") else f"{version} {update}".strip()


def _range(match: dict[str, Any], version: str) -> str:
    begin, after, before, last = (
        said(match.get(key))
        for key in ("versionStartIncluding", "versionStartExcluding", "versionEndExcluding", "versionEndIncluding")
    )
    start = f"from {begin}" if begin else f"after {after}" if after else ""
    end = f"before {before}" if before else f"up to {last}" if last else ""
    return f"{start} {end}".strip() or version
