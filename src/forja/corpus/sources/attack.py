"""Objects of ATT&CK as text: techniques, groups, software, campaigns, mitigations, data components, tactics, assets.

What is told of a relation in words (how a group uses a technique) stands with the group, software or campaign; the
technique names who uses it: so nothing is said twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from forja.corpus.sources import capec
from forja.corpus.sources.json_stream import parsed
from forja.corpus.sources.phrasing import (
    bullets,
    capped,
    day,
    document,
    from_markdown,
    listed,
    mappings,
    references,
    said,
    section,
    sentence,
    texts,
    unique,
)
from forja.corpus.sources.record import Record

KINDS = {
    "attack-pattern": "technique",
    "campaign": "campaign",
    "course-of-action": "mitigation",
    "intrusion-set": "threat group",
    "malware": "malware",
    "threat-actor": "threat actor",
    "tool": "tool",
    "x-mitre-asset": "asset",
    "x-mitre-data-component": "data component",
    "x-mitre-data-source": "data source",
    "x-mitre-detection-strategy": "detection strategy",
    "x-mitre-tactic": "tactic",
}
SOFTWARE = {"malware", "tool"}
MOST_NAMED = 80
COMMON_ID = re.compile(r"[A-Z]{1,3}\d{3,5}(?:\.\d{3})?")

Relations = dict[str, list[dict[str, Any]]]


def render_stix(record: Record) -> Record:
    """The object as text, its relations in `record.text` (see `stix.py`); `meta` has id, url, title, kind, tactics,
    platforms, aliases."""
    entry = parsed(record.raw)
    found = parsed((record.text or "").encode("utf-8", "surrogatepass"))
    relations: Relations = {role: mappings(others) for role, others in found.items()}
    if "x_capec_abstraction" in entry or "x_capec_version" in entry:
        return capec.with_text(record, capec.fields_of_stix(entry, relations))
    kind, name = said(entry.get("type")), said(entry.get("name"))
    description = from_markdown(said(entry.get("description")))
    body = document(description, *_sections(kind, entry, relations))
    if not name or not body:
        return replace(record, reason="empty")
    links = mappings(entry.get("external_references"))
    text = document(_title(record.origin, name, kind, entry, relations), body, references(_urls(links)))
    facts: dict[str, Any] = {
        "id": record.origin,
        "stix": said(entry.get("id")),
        "url": next((said(link.get("url")) for link in links if said(link.get("external_id")) == record.origin), ""),
        "title": name,
        "kind": KINDS.get(kind, kind),
        "tactics": [said(one.get("id")) for one in relations.get("tactics", [])],
        "platforms": _platforms(entry),
    }
    meta = {key: value for key, value in facts.items() if value}
    return replace(record, form="string", text=text, lang=record.lang or "en", meta=meta)


def _title(origin: str, name: str, kind: str, entry: dict[str, Any], relations: Relations) -> str:
    domain = next((word for word in texts(entry.get("x_mitre_domains")) if word.endswith("-attack")), "")
    matrix = {"enterprise-attack": "ATT&CK ", "ics-attack": "ATT&CK for ICS ", "mobile-attack": "ATT&CK for Mobile "}
    parent = next((_named(one) for one in relations.get("parents", [])), "")
    what = f"sub-technique of {parent}" if parent and kind == "attack-pattern" else KINDS.get(kind, kind)
    lead = f"{origin}: {name}" if COMMON_ID.fullmatch(origin) else name
    return f"{lead} ({matrix.get(domain, '')}{what})"


def _named(one: dict[str, Any]) -> str:
    name, key = said(one.get("name")), said(one.get("id"))
    return f"{name} ({key})" if name and COMMON_ID.fullmatch(key) else name or key


def _names(label: str, others: Iterable[dict[str, Any]]) -> str:
    names = unique(_named(one) for one in others)
    return f"{label}: {listed(capped(names, MOST_NAMED))}." if names else ""


def _told(others: Iterable[dict[str, Any]]) -> str:
    """A bullet for each, with what is said of the relation."""
    lines: dict[str, list[str]] = {}
    for one in others:
        about = from_markdown(said(one.get("text")))
        lines.setdefault(_named(one), []).extend([about] if about else [])
    return bullets(f"{name}: {' '.join(unique(said_of))}" if said_of else name for name, said_of in lines.items())


def _of(relations: Relations, role: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in relations.get(role, []) if not kinds or one.get("kind") in kinds]


def _platforms(entry: dict[str, Any]) -> list[str]:
    return [name for name in texts(entry.get("x_mitre_platforms")) if name.lower() != "none"]


def _urls(links: list[dict[str, Any]]) -> list[str]:
    return [said(link.get("url")) for link in links]


def _sections(kind: str, entry: dict[str, Any], relations: Relations) -> list[str]:
    if kind == "attack-pattern":
        return _technique(entry, relations)
    if kind in ("intrusion-set", "threat-actor", "malware", "tool", "campaign"):
        return _actor(entry, relations)
    if kind == "course-of-action":
        return [_names("Mitigates", relations.get("mitigated", []))]
    if kind == "x-mitre-asset":
        return _asset(entry, relations)
    return _data(entry, relations)


def _technique(entry: dict[str, Any], relations: Relations) -> list[str]:
    return [
        "\n".join(
            line
            for line in (
                _names("Tactics", relations.get("tactics", [])),
                _list("Platforms", _platforms(entry)),
                _list("Permissions required", texts(entry.get("x_mitre_permissions_required"))),
                _list("Defenses bypassed", texts(entry.get("x_mitre_defense_bypassed"))),
                _list("Impact on", texts(entry.get("x_mitre_impact_type"))),
            )
            if line
        ),
        _names("Sub-techniques", relations.get("subtechniques", [])),
        section("Detection", document(from_markdown(said(entry.get("x_mitre_detection"))), _detection(relations))),
        section("Mitigations", _told(relations.get("mitigations", []))),
        _names("Groups that use it", _of(relations, "users", "intrusion-set", "threat-actor")),
        _names("Software that uses it", _of(relations, "users", *SOFTWARE)),
        _names("Campaigns that used it", _of(relations, "users", "campaign")),
        _names("Assets that it targets", relations.get("targets", [])),
    ]


def _list(label: str, words: list[str]) -> str:
    return f"{label}: {listed(unique(words))}." if words else ""


def _detection(relations: Relations) -> str:
    """Analytics by platform; before version 18 of ATT&CK, what data components tell."""
    lines = []
    for one in relations.get("analytics", []):
        platforms = [name for name in texts(one.get("platforms")) if name.lower() != "none"]
        about = from_markdown(said(one.get("said")))
        if not about:
            continue
        lines.append(f"On {listed(platforms)}: {about}" if platforms else about)
        sources = unique(_log_source(source) for source in one.get("sources") or [] if isinstance(source, list))
        if any(sources):
            lines[-1] += f"\nLog sources: {'; '.join(source for source in sources if source)}."
        tuning = [": ".join(texts(part)) for part in one.get("tuning") or [] if isinstance(part, list)]
        if any(tuning):
            lines[-1] += f"\nTo be tuned: {'; '.join(part.rstrip('.') for part in tuning if part)}."
    strategies = _of(relations, "detections", "x-mitre-detection-strategy")
    components = [one for one in relations.get("detections", []) if one not in strategies]
    return document(_names("Strategy", strategies), bullets(lines), _told(components))


def _log_source(source: list[Any]) -> str:
    component, name, channel = ([said(part) for part in source] + ["", "", ""])[:3]
    channel = "" if channel.lower() == "none" else channel
    where = f"{name} ({channel})" if name and channel else name or channel
    return f"{component} from {where}" if component and where and where != component else component or where


def _actor(entry: dict[str, Any], relations: Relations) -> list[str]:
    """A group, a piece of software or a campaign, and what it does."""
    name = said(entry.get("name"))
    aliases = texts(entry.get("aliases")) + texts(entry.get("x_mitre_aliases"))
    aliases = [alias for alias in unique(aliases) if alias != name]
    seen = [f"first seen in {_month(entry, 'first_seen')}" if entry.get("first_seen") else ""]
    seen.append(f"last seen in {_month(entry, 'last_seen')}" if entry.get("last_seen") else "")
    when = ", ".join(part for part in seen if part)
    return [
        _list("Also known as", aliases),
        _list("Platforms", _platforms(entry)),
        sentence(when[:1].upper() + when[1:]),
        _names("Attributed to", relations.get("attributed", [])),
        _names("Campaigns", relations.get("campaigns", [])),
        _names("Groups that use it", _of(relations, "users", "intrusion-set", "threat-actor")),
        _names("Campaigns that used it", _of(relations, "users", "campaign")),
        section("Techniques used", _told(_of(relations, "uses", "attack-pattern"))),
        section("Software used", _told(_of(relations, "uses", *SOFTWARE))),
    ]


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _month(entry: dict[str, Any], key: str) -> str:
    date = day(entry.get(key))
    number = int(date[5:7]) if date else 0
    return f"{MONTHS[number - 1]} {date[:4]}" if 1 <= number <= 12 else date


def _asset(entry: dict[str, Any], relations: Relations) -> list[str]:
    related = [
        f"{said(one.get('name'))}: {from_markdown(said(one.get('description')))}"
        for one in mappings(entry.get("x_mitre_related_assets"))
    ]
    return [
        _list("Sectors", texts(entry.get("x_mitre_sectors"))),
        _list("Platforms", _platforms(entry)),
        section("Related assets", bullets(related)),
        _names("Techniques that target it", relations.get("threats", [])),
    ]


def _data(entry: dict[str, Any], relations: Relations) -> list[str]:
    """Tactics, data sources and components, detection strategies, and what else a bundle has."""
    sources = [
        _log_source(["", one.get("name"), one.get("channel")]) for one in mappings(entry.get("x_mitre_log_sources"))
    ]
    return [
        _list("Platforms", _platforms(entry)),
        _list("Collected in", texts(entry.get("x_mitre_collection_layers"))),
        section("Log sources", bullets(unique(source for source in sources if source))),
        _names("Detects", relations.get("detected", [])),
        _detection({"analytics": relations.get("analytics", [])}),
        _list("Labels", texts(entry.get("labels"))) if said(entry.get("type")) in ("indicator", "report") else "",
        f"Pattern:\n```\n{said(entry.get('pattern'))}\n```" if said(entry.get("pattern")) else "",
    ]
