"""CAPEC attack patterns as text, of MITRE's XML catalogue (cut into entries in `mitre_xml.py`) or of its STIX bundle.

Both come to the same fields first, named as the CWE REST API would name them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from forja.corpus.sources.mitre_xml import fields_of
from forja.corpus.sources.phrasing import (
    bullets,
    document,
    from_markup,
    listed,
    mappings,
    said,
    section,
    sentence,
    texts,
    unique,
)
from forja.corpus.sources.record import Record

RELATIONS = {"ChildOf": "Child of", "CanPrecede": "Can precede", "CanFollow": "Can follow", "PeerOf": "Peer of"}
STEP_NAME = re.compile(r"\[([^\[\]]{1,200})\]\s*")
REFERENCE = re.compile(r"\s?\[(?:REF|R\.\d+)[-.]\d{1,6}\]")


def render_capec(record: Record) -> Record:
    """The pattern of an XML entry as text; `meta` has id, url, title, cwe, severity, likelihood."""
    entry = fields_of(record.raw, "capec")
    if entry is None:
        return replace(record, reason="broken-xml")
    return with_text(record, entry)


def with_text(record: Record, entry: dict[str, Any]) -> Record:
    """The record with the text of a pattern's fields. Rejected as empty where they have no name or description."""
    name = said(entry.get("Name"))
    description = _prose(entry.get("Description")) or _prose(entry.get("Summary")) or _prose(entry.get("Objective"))
    if not name or not description:
        return replace(record, reason="empty")
    weaknesses = [f"CWE-{key}" for one in mappings(entry.get("RelatedWeaknesses")) if (key := said(one.get("CweID")))]
    severity, likelihood = said(entry.get("TypicalSeverity")), said(entry.get("LikelihoodOfAttack"))
    text = document(
        f"{record.origin}: {name}",
        description,
        _prose(entry.get("ExtendedDescription")),
        _names(entry),
        _about(entry),
        section("Relations", bullets(_relations(entry))),
        _flow(entry),
        section("Prerequisites", bullets(_all(entry.get("Prerequisites")))),
        section("Skills required", bullets(_skills(entry))),
        section("Resources required", bullets(_all(entry.get("ResourcesRequired")))),
        section("Indicators", bullets(_all(entry.get("Indicators")))),
        section("Consequences", bullets(_consequences(entry))),
        section("Mitigations", bullets(_all(entry.get("Mitigations")))),
        section("Examples", bullets(_all(entry.get("ExampleInstances")))),
        f"Weaknesses that it exploits: {listed(weaknesses)}." if weaknesses else "",
        _taxonomies(entry),
    )
    meta: dict[str, Any] = {
        "id": record.origin,
        "url": f"https://capec.mitre.org/data/definitions/{record.origin.removeprefix('CAPEC-')}.html",
        "title": name,
    }
    facts = {"cwe": weaknesses, "severity": severity.lower(), "likelihood": likelihood.lower()}
    meta |= {key: value for key, value in facts.items() if value}
    return replace(record, form="string", text=text, lang=record.lang or "en", meta=meta)


def _prose(value: Any) -> str:
    return from_markup(REFERENCE.sub("", said(value)))


def _all(value: Any) -> list[str]:
    return unique(text for one in texts(value) if (text := _prose(one)))


def _names(entry: dict[str, Any]) -> str:
    terms = unique(
        [said(one.get("Term")) for one in mappings(entry.get("AlternateTerms"))] + texts(entry.get("AlternateTerms"))
    )
    terms = [term for term in terms if term]
    return f"Also known as {listed(terms)}." if terms else ""


def _about(entry: dict[str, Any]) -> str:
    abstraction = said(entry.get("Abstraction")).lower()
    severity, likelihood = said(entry.get("TypicalSeverity")).lower(), said(entry.get("LikelihoodOfAttack")).lower()
    domains = unique(texts(entry.get("Domains")))
    words = [
        f"This is a {abstraction} attack pattern" if abstraction else "",
        f"domains: {listed(domains).lower()}" if domains else "",
        f"likelihood of attack {likelihood}" if likelihood else "",
        f"typical severity {severity}" if severity else "",
    ]
    return sentence(", ".join(word for word in words if word))


def _relations(entry: dict[str, Any]) -> list[str]:
    found: dict[str, list[str]] = {}
    for one in mappings(entry.get("RelatedAttackPatterns")):
        nature, key = said(one.get("Nature")), said(one.get("CAPECID"))
        if nature and key:
            name = said(one.get("Name"))
            found.setdefault(nature, []).append(f"CAPEC-{key} {name}".strip())
    members = [f"CAPEC-{key}" for one in mappings(entry.get("Relationships")) if (key := said(one.get("CAPECID")))]
    if members:
        found["Has as members"] = members
    return [f"{RELATIONS.get(nature, nature)} {listed(unique(keys))}." for nature, keys in found.items()]


def _flow(entry: dict[str, Any]) -> str:
    """The execution flow: phases, their numbered steps, and each step's techniques."""
    if isinstance(entry.get("ExecutionFlow"), str):
        return section("Execution flow", _prose(entry["ExecutionFlow"]))
    lines: list[str] = []
    phase = ""
    for number, step in enumerate(mappings(entry.get("ExecutionFlow")), 1):
        if said(step.get("Phase")) != phase:
            phase = said(step.get("Phase"))
            lines.append(f"{phase}:")
        about = STEP_NAME.sub(r"\1: ", _prose(step.get("Description")), count=1)
        lines.append(f"{said(step.get('Step')) or number}. {sentence(about)}")
        lines += [f"   - {technique}" for technique in _all(step.get("Technique"))]
    return section("Execution flow", "\n".join(lines))


def _skills(entry: dict[str, Any]) -> list[str]:
    skills = entry.get("SkillsRequired")
    return [
        f"{level}: {about}" if level and about else level or about
        for skill in mappings(skills)
        for level, about in [(said(skill.get("Level")), _prose(skill.get("Text")))]
    ]


def _consequences(entry: dict[str, Any]) -> list[str]:
    found = []
    for one in mappings(entry.get("Consequences")):
        scope = listed(word.replace("_", " ") for word in texts(one.get("Scope")))
        impact, note = "; ".join(texts(one.get("Impact"))), _prose(one.get("Note"))
        line = sentence(f"{scope}: {impact}" if scope and impact else scope or impact)
        found.append(f"{line} {note}".strip())
    return found


def _taxonomies(entry: dict[str, Any]) -> str:
    named = []
    for one in mappings(entry.get("TaxonomyMappings")):
        taxonomy, key, name = (said(one.get(part)) for part in ("TaxonomyName", "EntryID", "EntryName"))
        if taxonomy and (key or name):
            key = f"T{key}" if taxonomy == "ATTACK" and key[:1].isdecimal() else key
            named.append(" ".join(part for part in (taxonomy.replace("ATTACK", "ATT&CK"), key, name) if part))
    return f"In other taxonomies: {'; '.join(unique(named))}." if named else ""


# --- of STIX ----------------------------------------------------------------------------------------


def fields_of_stix(pattern: dict[str, Any], relations: dict[str, Any]) -> dict[str, Any]:
    """The fields of an attack pattern of the CAPEC STIX bundle; `relations` as `stix.py` gives them."""
    links = mappings(pattern.get("external_references"))
    skills, consequences = pattern.get("x_capec_skills_required"), pattern.get("x_capec_consequences")
    return {
        "Name": pattern.get("name"),
        "Description": pattern.get("description"),
        "ExtendedDescription": pattern.get("x_capec_extended_description"),
        "Abstraction": pattern.get("x_capec_abstraction"),
        "AlternateTerms": pattern.get("x_capec_alternate_terms"),
        "TypicalSeverity": pattern.get("x_capec_typical_severity"),
        "LikelihoodOfAttack": pattern.get("x_capec_likelihood_of_attack"),
        "Domains": pattern.get("x_capec_domains"),
        "ExecutionFlow": steps_of(said(pattern.get("x_capec_execution_flow"))),
        "Prerequisites": pattern.get("x_capec_prerequisites"),
        "ResourcesRequired": pattern.get("x_capec_resources_required"),
        "ExampleInstances": pattern.get("x_capec_example_instances"),
        "SkillsRequired": [{"Level": level, "Text": about} for level, about in _pairs(skills)],
        "Consequences": [{"Scope": scope, "Impact": impact} for scope, impact in _pairs(consequences)],
        "Mitigations": [said(one.get("text")) for one in mappings(relations.get("mitigations"))],
        "RelatedAttackPatterns": [
            {"Nature": nature, "CAPECID": said(one.get("id")).removeprefix("CAPEC-"), "Name": one.get("name")}
            for nature, key in (("ChildOf", "parents"), ("CanPrecede", "next"), ("CanFollow", "earlier"))
            for one in mappings(relations.get(key))
        ],
        "RelatedWeaknesses": [
            {"CweID": said(link.get("external_id")).removeprefix("CWE-")}
            for link in links
            if link.get("source_name") == "cwe"
        ],
        "TaxonomyMappings": [
            {
                "TaxonomyName": link.get("source_name"),
                "EntryID": link.get("external_id"),
                "EntryName": link.get("description"),
            }
            for link in links
            if link.get("source_name") in ("ATTACK", "WASC", "OWASP Attacks")
        ],
    }


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


PHASE = re.compile(r"<h3>\s*(Explore|Experiment|Exploit)\s*</h3>")
STEP = re.compile(r"<li>\s*<p>\s*<b>(.{0,400}?)</b>", re.DOTALL)
TECHNIQUES = re.compile(r"<table>\s*<tbody>\s*<tr>\s*<th>Techniques</th>\s*</tr>")
ROW = re.compile(r"<tr>\s*<td>")


def steps_of(flow: str) -> list[dict[str, Any]] | str:
    """The steps of an execution flow written as HTML; the HTML itself where it has none."""
    steps: list[dict[str, Any]] = []
    parts = PHASE.split(flow)
    for phase, body in zip(parts[1::2], parts[2::2], strict=True):
        pieces = STEP.split(body)
        for name, about in zip(pieces[1::2], pieces[2::2], strict=True):
            said_of, *tables = TECHNIQUES.split(about)
            techniques = [_prose(row) for table in tables for row in ROW.split(table)[1:]]
            # The name's own colon ends it.
            description = f"{said(name).rstrip(': .')}: {_prose(said_of)}"
            steps.append({"Phase": phase, "Description": description, "Technique": techniques})
    return steps or flow
