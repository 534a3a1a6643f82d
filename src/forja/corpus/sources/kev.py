"""CISA's Known Exploited Vulnerabilities catalogue (its JSON): one record an entry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from forja.corpus.sources.json_stream import Fault, canonical, fault_record, parsed, read_objects
from forja.corpus.sources.phrasing import (
    document,
    is_before,
    iso_date,
    listed,
    paragraphs,
    references,
    said,
    sentence,
    texts,
)
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

LICENCE = "CC0-1.0"
ADDRESS = re.compile(r"https?://[^\s;]+")


def read_kev(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a vulnerability, `origin` its CVE id. Raises ForjaError where the file has no such list."""
    number = 0
    for entry in read_objects(file, max_bytes, "vulnerabilities", accept=lambda entry: "cveID" in entry):
        number += 1
        if isinstance(entry, Fault):
            yield fault_record(entry, f"{origin}#{'end' if entry.reason == 'truncated' else number}")
            continue
        raw, key, date = canonical(entry), said(entry.get("cveID")), iso_date(entry.get("dateAdded"))
        if not key:
            yield rejected(f"{origin}#{number}", "not-a-kev", raw[:1024])
        elif is_before(date, source.since):
            yield rejected(key, "before-since")
        else:
            yield Record(key, raw, "kev", date=date, licence=source.licence or LICENCE)
    if not number:
        raise ForjaError(
            "this is not the KEV catalogue: it has no `vulnerabilities`.", fix="Check the source's `kind`."
        )


def render_kev(record: Record) -> Record:
    """The entry as text; `meta` has id, url, product, cwe, exploited_since."""
    entry = parsed(record.raw)
    name, description = said(entry.get("vulnerabilityName")), paragraphs(said(entry.get("shortDescription")))
    if not name and not description:
        return replace(record, reason="empty")
    vendor, product = said(entry.get("vendorProject")), said(entry.get("product"))
    product = product if product.lower().startswith(vendor.lower()) else f"{vendor} {product}".strip()
    weaknesses = texts(entry.get("cwes"))
    added, due = iso_date(entry.get("dateAdded")), iso_date(entry.get("dueDate"))
    notes = said(entry.get("notes"))
    text = document(
        f"{record.origin}: {name}" if name else record.origin,
        description,
        sentence(f"Affected: {product}") if product else "",
        f"Weakness: {listed(weaknesses)}." if weaknesses else "",
        _exploitation(added, due, said(entry.get("knownRansomwareCampaignUse"))),
        sentence(f"Required action: {paragraphs(said(entry.get('requiredAction')))}")
        if entry.get("requiredAction")
        else "",
        _remarks(notes),
        references(ADDRESS.findall(notes)),
    )
    facts: dict[str, Any] = {
        "id": record.origin,
        "url": f"https://nvd.nist.gov/vuln/detail/{record.origin}",
        "products": [product] if product else [],
        "cwe": weaknesses,
        "exploited_since": added,
    }
    meta = {name: value for name, value in facts.items() if value}
    return replace(record, form="string", text=text, lang=record.lang or "en", meta=meta)


def _exploitation(added: str | None, due: str | None, ransomware: str) -> str:
    words = "Known to be exploited in the wild"
    words += (
        f": CISA added it to the Known Exploited Vulnerabilities catalogue on {added[:10]}" if added else " (CISA KEV)"
    )
    words += f", to be mended in US federal agencies by {due[:10]}." if due else "."
    if ransomware.lower() == "known":
        words += " It is known to be used in ransomware campaigns."
    return words


def _remarks(notes: str) -> str:
    """What the notes say besides addresses."""
    remarks = [sentence(part.strip()) for part in ADDRESS.sub("", notes).split(";")]
    return " ".join(part for part in remarks if len(part) > 20)
