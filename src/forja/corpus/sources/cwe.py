"""CWE: weaknesses, categories and views in the layout of the CWE REST API (JSON, lines or lists of it), as text.

MITRE's XML catalogue is cut into entries in `mitre_xml.py` and comes to the same fields.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from forja.corpus.sources.json_stream import Fault, canonical, fault_record, parsed, read_objects
from forja.corpus.sources.mitre_xml import fields_of
from forja.corpus.sources.phrasing import (
    bullets,
    capped,
    document,
    first_upper,
    is_before,
    iso_date,
    listed,
    mappings,
    paragraphs,
    said,
    section,
    sentence,
    texts,
    unique,
)
from forja.corpus.sources.record import Record, rejected
from forja.recipe import Source

LICENCE = "CWE terms of use (MITRE)"
LISTS = ("Weaknesses", "Categories", "Views")
RELATIONS = {
    "ChildOf": "Child of",
    "ParentOf": "Parent of",
    "PeerOf": "Peer of",
    "CanPrecede": "Can precede",
    "CanFollow": "Can follow",
    "CanAlsoBe": "Can also be",
    "Requires": "Requires",
    "StartsWith": "Starts with",
}
REFERENCE = re.compile(r"\s?\[REF-\d{1,6}\]")
FENCED_TITLE = re.compile(r"```\s*([^`\n]{1,80}:)\s*```")
WRAPPED = re.compile(r"(?<=[a-z,])\n(?=[a-z(])")
# The REST API's own conversion leaves marks of italics around comments, and of code blocks within code.
INDENT = re.compile(r"^\t", re.MULTILINE)
LONE_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:\n|$)", re.MULTILINE)
MARKED_COMMENT = re.compile(r"^([ \t]*)\*?((?:#|//|--)[^\n]*?)\*[ \t]*$", re.MULTILINE)
MOST_EXAMPLES = 15


def read_cwe(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record an entry, `origin` CWE-79; deprecated ones are rejected as `revoked`."""
    number = 0
    for entry in read_objects(file, max_bytes, accept=lambda entry: is_cwe(entry) or bool(_inner(entry))):
        number += 1
        place = f"{origin}#{number}"
        if isinstance(entry, Fault):
            yield fault_record(entry, f"{origin}#end" if entry.reason == "truncated" else place)
        elif inner := _inner(entry):
            # An answer of the REST API: {"Weaknesses": [...]}.
            for count, one in enumerate(inner, 1):
                yield _record(one, f"{place}.{count}", source)
        else:
            yield _record(entry, place, source)
    if not number:
        yield rejected(origin, "empty")


def is_cwe(entry: dict[str, Any]) -> bool:
    named = said(entry.get("ID")).removeprefix("CWE-").isdecimal() and bool(said(entry.get("Name")))
    return named and any(key in entry for key in ("Description", "Summary", "Objective"))


def _inner(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for key in LISTS for one in mappings(entry.get(key))]


def _record(entry: dict[str, Any], place: str, source: Source) -> Record:
    raw = canonical(entry)
    if not is_cwe(entry):
        return rejected(place, "not-a-cwe", raw[:1024])
    key = f"CWE-{said(entry['ID']).removeprefix('CWE-')}"
    if said(entry.get("Status")).lower() in ("deprecated", "obsolete"):
        return rejected(key, "revoked", raw[:1024])
    date = last_change(entry)
    if is_before(date, source.since):
        return rejected(key, "before-since")
    return Record(key, raw, "cwe", date=date, licence=source.licence or LICENCE)


def last_change(entry: dict[str, Any]) -> str | None:
    """The latest date in an entry's content history."""
    dates = [
        date
        for change in mappings(entry.get("ContentHistory"))
        for key in ("ModificationDate", "SubmissionDate", "ContributionDate")
        if (date := iso_date(change.get(key)))
    ]
    return max(dates, default=None)


def render_cwe(record: Record) -> Record:
    """The entry as text, of JSON or of an XML element; `meta` has id, url, title, capec, and likelihood."""
    entry = fields_of(record.raw, "cwe") if record.raw.startswith(b"<") else parsed(record.raw)
    if entry is None:
        return replace(record, reason="broken-xml")
    name = said(entry.get("Name"))
    description = prose(entry.get("Description")) or prose(entry.get("Summary")) or prose(entry.get("Objective"))
    if not name or not description:
        return replace(record, reason="empty")
    patterns = [f"CAPEC-{key}" for key in texts(entry.get("RelatedAttackPatterns"))]
    likelihood = said(entry.get("LikelihoodOfExploit"))
    text = document(
        f"{record.origin}: {name}",
        description,
        prose(entry.get("ExtendedDescription")),
        *texts([prose(one) for one in texts(entry.get("BackgroundDetails"))]),
        section("Also known as", bullets(_terms(entry))),
        _about(entry),
        section("Relations", bullets(_relations(entry))),
        section("Introduced during", bullets(_phases(entry))),
        section("Consequences", bullets(_consequences(entry))),
        f"Likelihood of exploit: {likelihood.lower()}." if likelihood else "",
        section("Detection", bullets(_detection(entry))),
        section("Mitigations", bullets(_mitigations(entry))),
        *_examples(entry),
        section("Observed examples", bullets(capped(_observed(entry), MOST_EXAMPLES))),
        f"Attack patterns: {listed(patterns)}." if patterns else "",
        *_notes(entry),
    )
    number = record.origin.removeprefix("CWE-")
    meta: dict[str, Any] = {
        "id": record.origin,
        "url": f"https://cwe.mitre.org/data/definitions/{number}.html",
        "title": name,
    }
    if patterns:
        meta["capec"] = patterns[:50]
    return replace(record, form="string", text=text, lang=record.lang or "en", meta=meta)


def prose(value: Any) -> str:
    """A field's paragraphs, without marks of references and with lines joined that were only wrapped."""
    text = FENCED_TITLE.sub(r"\1", REFERENCE.sub("", said(value)))
    return WRAPPED.sub(" ", paragraphs(text)) if "```" not in text else paragraphs(text)


def effectiveness(one: dict[str, Any]) -> str:
    word = said(one.get("Effectiveness"))
    return "" if word in ("", "None") else f" Effectiveness: {word if word.startswith('SOAR') else word.lower()}."


def _terms(entry: dict[str, Any]) -> list[str]:
    return [
        _with(said(term.get("Term")), prose(term.get("Description"))) for term in mappings(entry.get("AlternateTerms"))
    ]


def _with(name: str, about: str) -> str:
    return f"{name}: {about}" if name and about else name or about


def _about(entry: dict[str, Any]) -> str:
    """Abstraction and platforms in a sentence."""
    abstraction = said(entry.get("Abstraction"))
    places = unique(
        said(one.get("Name")) or said(one.get("Class")) for one in mappings(entry.get("ApplicablePlatforms"))
    )
    places = [place for place in places if place and not place.lower().startswith("not ")]
    words = f"This is a {abstraction.lower()} weakness" if abstraction else "This weakness"
    if not places:
        return f"{words}." if abstraction else ""
    return f"{words}{', found in' if abstraction else ' is found in'} {listed(places)}."


def _relations(entry: dict[str, Any]) -> list[str]:
    found: dict[str, list[str]] = {}
    for relation in mappings(entry.get("RelatedWeaknesses")):
        nature, key = said(relation.get("Nature")), said(relation.get("CweID"))
        if nature and key:
            found.setdefault(RELATIONS.get(nature, nature), []).append(f"CWE-{key}")
    members = [f"CWE-{key}" for one in mappings(entry.get("Relationships")) if (key := said(one.get("CweID")))]
    if members:
        found["Members"] = members
    return [f"{nature} {listed(unique(keys))}." for nature, keys in found.items()]


def _phases(entry: dict[str, Any]) -> list[str]:
    modes = mappings(entry.get("ModesOfIntroduction"))
    return [_with(said(mode.get("Phase")), prose(mode.get("Note"))) for mode in modes]


def _consequences(entry: dict[str, Any]) -> list[str]:
    found = []
    for one in mappings(entry.get("CommonConsequences")) or mappings(entry.get("Consequences")):
        scope, impact = listed(texts(one.get("Scope"))), "; ".join(texts(one.get("Impact")))
        found.append(sentence(_with(scope, impact)) + (f" {prose(one.get('Note'))}" if one.get("Note") else ""))
    return found


def _detection(entry: dict[str, Any]) -> list[str]:
    found = []
    for one in mappings(entry.get("DetectionMethods")):
        about = " ".join(part for part in (prose(one.get("Description")), prose(one.get("EffectivenessNotes"))) if part)
        found.append(_with(said(one.get("Method")), about) + effectiveness(one))
    return found


def _mitigations(entry: dict[str, Any]) -> list[str]:
    found = []
    for one in mappings(entry.get("PotentialMitigations")):
        lead = ", ".join([*texts(one.get("Phase")), *texts(one.get("Strategy"))])
        about = " ".join(part for part in (prose(one.get("Description")), prose(one.get("EffectivenessNotes"))) if part)
        found.append(_with(lead, about) + effectiveness(one))
    return found


def _observed(entry: dict[str, Any]) -> list[str]:
    examples = mappings(entry.get("ObservedExamples"))
    return [_with(REFERENCE.sub("", said(one.get("Reference"))), prose(one.get("Description"))) for one in examples]


KINDS = {
    "bad": "Vulnerable code",
    "good": "Safe code",
    "attack": "Attack",
    "result": "Result",
    "informative": "Code",
    "mitigation": "Mitigation",
}


def _examples(entry: dict[str, Any]) -> list[str]:
    """Each example with its code in fences, said to be vulnerable or safe."""
    found = []
    for number, example in enumerate(mappings(entry.get("DemonstrativeExamples")), 1):
        parts = [f"Example {number}:"]
        for piece in mappings(example.get("Entries")):
            parts += [prose(piece.get("IntroText")), _code(piece), prose(piece.get("BodyText"))]
        if any(parts[1:]):
            found.append(document(*parts))
    return found


def _code(piece: dict[str, Any]) -> str:
    code = piece.get("ExampleCode")
    if not isinstance(code, str) or not code.strip():
        return ""
    code = code.strip().removeprefix("```").removesuffix("```").strip("\n").rstrip()
    code = INDENT.sub("", LONE_FENCE.sub("", code))
    code = textwrap.dedent(MARKED_COMMENT.sub(r"\1\2", code))
    language = said(piece.get("Language"))
    language = "" if language.lower() in ("", "other", "none", "unknown") else language
    kind = KINDS.get(said(piece.get("Nature")).lower(), "Code")
    title = f"{kind} ({language}):" if language else f"{kind}:"
    fence = "````" if "```" in code else "```"
    return f"{title}\n{fence}{language.lower().replace(' ', '-')}\n{code}\n{fence}"


def _notes(entry: dict[str, Any]) -> list[str]:
    kept = [note for note in mappings(entry.get("Notes")) if said(note.get("Type")).lower() != "maintenance"]
    return [_with(f"{first_upper(said(note.get('Type')).lower())} note", prose(note.get("Note"))) for note in kept]
