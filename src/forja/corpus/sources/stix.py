"""STIX 2.0 and 2.1 bundles of MITRE ATT&CK and CAPEC: one record an object, with what its relations say of it.

Objects are made text in `attack.py` and `capec.py`.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from forja.corpus.sources.json_stream import Fault, canonical, fault_record, read_objects
from forja.corpus.sources.phrasing import is_before, iso_date, mappings, said, texts
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

LICENCES = {
    "mitre-attack": "ATT&CK terms of use (MITRE)",
    "mitre-ics-attack": "ATT&CK terms of use (MITRE)",
    "mitre-mobile-attack": "ATT&CK terms of use (MITRE)",
    "capec": "CAPEC terms of use (MITRE)",
}
SAID = {
    "attack-pattern",
    "campaign",
    "course-of-action",
    "indicator",
    "intrusion-set",
    "malware",
    "report",
    "threat-actor",
    "tool",
    "vulnerability",
    "x-mitre-asset",
    "x-mitre-data-component",
    "x-mitre-data-source",
    "x-mitre-detection-strategy",
    "x-mitre-tactic",
}
"""Objects that are documents. A detection strategy and its analytics are said with the technique that they detect;
identities, markings, matrices, collections and relationships are no documents."""
SPOOLED = 32 << 20
"""Bytes of objects held in memory between the two passes; more of them go to a temporary file."""
MOST_LINKS = 1_000_000
MOST_SAID = 20_000
"""Characters of a relationship's description, and of an analytic, that are passed on."""

# What a relation says: of its source, and of its target.
ROLES: dict[str, tuple[str, str]] = {
    "uses": ("uses", "users"),
    "mitigates": ("mitigated", "mitigations"),
    "detects": ("detected", "detections"),
    "subtechnique-of": ("parents", "subtechniques"),
    "attributed-to": ("attributed", "campaigns"),
    "targets": ("targets", "threats"),
}
CAPEC_REFS = {
    "x_capec_child_of_refs": "parents",
    "x_capec_can_precede_refs": "next",
    "x_capec_can_follow_refs": "earlier",
}


@dataclass
class _Knowledge:
    """What the first pass learns: of each object how it is called, and what is related to what."""

    names: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """STIX id: (id that people use, name, type)."""
    gone: set[str] = field(default_factory=set)
    links: dict[str, list[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """STIX id: (role, the other's STIX id, what is said of it)."""
    analytics: dict[str, dict[str, Any]] = field(default_factory=dict)
    strategies: dict[str, list[str]] = field(default_factory=dict)
    """Detection strategies: their analytics."""
    count: int = 0


def read_stix(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record an object that says something, `origin` its ATT&CK or CAPEC id, else its STIX id.

    `raw` is the object alone, so that a document's id is the same when only its relations change; those are
    passed to the converter in `text`, as JSON. The bundle is read once, as a stream, and spooled between two
    passes. Revoked and deprecated objects are rejected as `revoked`. Raises ForjaError where the file has no
    objects.
    """
    known = _Knowledge()
    found = False
    faults: list[Record] = []
    with tempfile.SpooledTemporaryFile(SPOOLED) as spool:
        for number, entry in enumerate(read_objects(file, max_bytes, "objects", is_object), 1):
            found = True
            if isinstance(entry, Fault):
                faults.append(fault_record(entry, f"{origin}#{'end' if entry.reason == 'truncated' else number}"))
            elif entry.get("type") == "relationship":
                _learn_relation(known, entry)
            elif not is_object(entry):
                faults.append(rejected(f"{origin}#{number}", "not-stix", canonical(entry)[:1024]))
            else:
                _learn(known, entry)
                if entry["type"] in SAID:
                    spool.write(canonical(entry) + b"\n")
        if not found:
            raise ForjaError("this is not a STIX bundle: it has no `objects`.", fix="Check the source's `kind`.")
        spool.seek(0)
        for line in spool:
            record = _record(known, line[:-1], source)
            if record is not None:
                yield record
    yield from faults


def is_object(entry: dict[str, Any]) -> bool:
    kind, key = entry.get("type"), entry.get("id")
    return isinstance(kind, str) and isinstance(key, str) and key.startswith(f"{kind}--")


def is_gone(entry: dict[str, Any]) -> bool:
    """Whether an object is revoked, deprecated or obsolete."""
    status = said(entry.get("x_capec_status")).lower()
    return (
        entry.get("revoked") is True or entry.get("x_mitre_deprecated") is True or status in ("deprecated", "obsolete")
    )


def common_id(entry: dict[str, Any]) -> str:
    """T1059.001, G0016, CAPEC-66; the STIX id where there is none."""
    for link in mappings(entry.get("external_references")):
        if said(link.get("source_name")) in LICENCES and said(link.get("external_id")):
            return said(link["external_id"])
    return said(entry.get("id"))


def _learn(known: _Knowledge, entry: dict[str, Any]) -> None:
    key, kind = entry["id"], entry["type"]
    known.names[key] = (common_id(entry), said(entry.get("name")), kind)
    if is_gone(entry):
        known.gone.add(key)
    if kind == "x-mitre-analytic":
        known.analytics[key] = {
            "text": said(entry.get("description"))[:MOST_SAID],
            "platforms": texts(entry.get("x_mitre_platforms")),
            "sources": [
                [said(one.get("x_mitre_data_component_ref")), said(one.get("name")), said(one.get("channel"))[:300]]
                for one in mappings(entry.get("x_mitre_log_source_references"))
            ],
            "tuning": [
                [said(one.get("field"))[:100], said(one.get("description"))[:500]]
                for one in mappings(entry.get("x_mitre_mutable_elements"))
            ],
        }
    elif kind == "x-mitre-detection-strategy":
        known.strategies[key] = texts(entry.get("x_mitre_analytic_refs"))
    elif kind == "course-of-action" and known.names[key][0] == key:
        # CAPEC's mitigations have no name: what they say is said with the pattern.
        known.names[key] = (key, said(entry.get("description"))[:MOST_SAID], kind)
    elif kind == "x-mitre-tactic":
        short = said(entry.get("x_mitre_shortname"))
        known.names[f"tactic {short}"] = known.names[key]


def _learn_relation(known: _Knowledge, entry: dict[str, Any]) -> None:
    roles = ROLES.get(said(entry.get("relationship_type")))
    begin, end = entry.get("source_ref"), entry.get("target_ref")
    if roles is None or is_gone(entry) or not isinstance(begin, str) or not isinstance(end, str):
        return
    known.count += 1
    if known.count > MOST_LINKS:
        return
    about = said(entry.get("description"))[:MOST_SAID]
    known.links[begin].append((roles[0], end, about))
    known.links[end].append((roles[1], begin, about))


def _record(known: _Knowledge, raw: bytes, source: Source) -> Record | None:
    entry = json.loads(raw.decode("utf-8", "surrogatepass"))
    key, kind = entry["id"], entry["type"]
    common = known.names[key][0]
    if kind == "course-of-action" and common == key and entry.get("x_capec_version"):
        return None
    if is_gone(entry):
        return rejected(common, "revoked", raw[:1024])
    if kind == "x-mitre-detection-strategy" and any(
        other in known.names and other not in known.gone for _, other, _ in known.links.get(key, [])
    ):
        return None
    date = iso_date(entry.get("modified")) or iso_date(entry.get("created"))
    if is_before(date, source.since):
        return rejected(common, "before-since")
    relations = json.dumps(_relations(known, entry), ensure_ascii=False)
    return Record(common, raw, "stix", date=date, licence=source.licence or _licence(entry), text=relations)


def _licence(entry: dict[str, Any]) -> str | None:
    names = [said(link.get("source_name")) for link in mappings(entry.get("external_references"))]
    return next((LICENCES[name] for name in names if name in LICENCES), None)


def _relations(known: _Knowledge, entry: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{role: [{id, name, kind, text}]} of what is related to an object and not revoked, in the order of their ids."""
    found: dict[str, list[dict[str, Any]]] = {}

    def add(role: str, other: str, about: str = "", **more: Any) -> None:
        if other in known.names and other not in known.gone:
            common, name, kind = known.names[other]
            one = {"id": common, "name": name, "kind": kind, "text": about} | more
            found.setdefault(role, []).append({key: value for key, value in one.items() if value})

    for role, other, about in known.links.get(entry["id"], []):
        if role == "mitigations" and not about and known.names.get(other, ("", "", ""))[0] == other:
            about = known.names[other][1]
        add(role, other, about)
        if role == "detections":
            for analytic in known.strategies.get(other, []) if other not in known.gone else []:
                add("analytics", analytic, **_analytic(known, analytic))
    for phase in mappings(entry.get("kill_chain_phases")):
        add("tactics", f"tactic {said(phase.get('phase_name'))}")
    for key, role in CAPEC_REFS.items():
        for other in texts(entry.get(key)):
            add(role, other)
    for other in texts(entry.get("x_mitre_analytic_refs")):
        add("analytics", other, **_analytic(known, other))
    for role in found:
        if role != "analytics":
            found[role].sort(key=lambda one: (one.get("id", ""), one.get("text", "")))
    return found


def _analytic(known: _Knowledge, key: str) -> dict[str, Any]:
    analytic = known.analytics.get(key, {})
    sources = [
        [known.names[component][1] if component in known.names else "", name, channel]
        for component, name, channel in analytic.get("sources", [])
    ]
    return {
        "said": analytic.get("text", ""),
        "platforms": analytic.get("platforms", []),
        "sources": sources,
        "tuning": analytic.get("tuning", []),
    }
