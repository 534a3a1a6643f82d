"""Sigma rules (YAML, one or more documents a file): detection rules, correlations and filters, as text.

The detection logic is kept as its author wrote it. Nothing in a rule is constructed or expanded: YAML's base loader
gives texts, lists and mappings only, and aliases are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import yaml

from forja.corpus.sources.packing import read_sound
from forja.corpus.sources.phrasing import (
    bullets,
    document,
    is_before,
    iso_date,
    listed,
    mappings,
    paragraphs,
    references,
    said,
    section,
    sentence,
    texts,
)
from forja.corpus.sources.record import Record, rejected
from forja.recipe import Source

DOCUMENT = re.compile(rb"^(?:---(?=[ \t\r\n]|\Z)[^\n]*|\.\.\.[ \t\r]*)(?:\n|\Z)", re.MULTILINE)
GLOBAL = re.compile(rb"^action:[ \t]*['\"]?global\b", re.MULTILINE)
GONE = re.compile(rb"^status:[ \t]*['\"]?(?:deprecated|unsupported)\b", re.MULTILINE)
RULE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{3,80}")
TECHNIQUE = re.compile(r"attack\.(t\d{4}(?:\.\d{3})?)", re.IGNORECASE)
SOFTWARE = re.compile(r"attack\.([gs]\d{4})", re.IGNORECASE)
VULNERABILITY = re.compile(r"cve[.-](\d{4})[.-](\d{4,8})", re.IGNORECASE)
LOGIC = ("detection", "correlation", "filter")
DEEPEST = 64


def read_sigma(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a YAML document, `origin` the rule's id; what has none keeps its place in the file. Deprecated and
    unsupported rules are rejected as `revoked`. A rule's licence is the one it states; that of a collection (DRL-1.1
    for SigmaHQ's) is the recipe's to say. What `action: global` gives to the documents that follow goes with
    them, in `text`. Raises what the unpacking does where the file is cut or damaged, after its whole documents."""
    raw, damage = read_sound(file, max_bytes + 1)
    if len(raw) > max_bytes:
        yield rejected(origin, "too-long", raw[:1024])
        return
    parts = DOCUMENT.split(raw)
    if damage is not None:
        parts.pop()
    found = False
    shared: bytes | None = None
    for number, part in enumerate(parts, 1):
        if not part.strip(b" \t\r\n\xef\xbb\xbf"):
            continue
        found = True
        if GLOBAL.search(part):
            shared = part
        else:
            yield _record(part, shared, f"{origin}#{number}" if number > 1 else origin, source.since)
    if damage is not None:
        raise damage
    if not found:
        yield rejected(origin, "empty")


def _record(part: bytes, shared: bytes | None, place: str, since: str | None) -> Record:
    both = part + b"\n" + (shared or b"")
    key = _scalar(both, "id")
    origin = key if RULE_ID.fullmatch(key) else place
    if GONE.search(both):
        return rejected(origin, "revoked", part[:1024])
    date = iso_date(_scalar(both, "modified")) or iso_date(_scalar(both, "date"))
    if is_before(date, since):
        return rejected(origin, "before-since")
    text = shared.decode("utf-8", "replace") if shared else None
    return Record(origin, part, "sigma", date=date, text=text)


def _scalar(part: bytes, key: str) -> str:
    """A plain value at the top of a document; parsing the whole of it is the workers' affair."""
    found = re.search(
        rb"^" + key.encode() + rb":[ \t]*(['\"]?)([^'\"#\r\n]{1,100})\1[ \t]*(?:#[^\n]*)?\r?$", part, re.M
    )
    return found[2].decode("utf-8", "replace").strip() if found else ""


def load(raw: bytes) -> dict[str, Any] | str:
    """The mapping of one document, of texts, lists and mappings alone; or the reason why there is none."""
    try:
        # The C loader's recursion has no bound and would end the process: events are looked at first.
        if wrong := _refused(yaml.parse(raw, Loader=yaml.CBaseLoader)):
            return wrong
        entry = yaml.load(raw, Loader=yaml.CBaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return "not-yaml"
    return entry if isinstance(entry, dict) else "not-a-rule"


def _refused(events: Iterator[yaml.Event]) -> str | None:
    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                return "yaml-nested"
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            return "yaml-alias"
    return None


def render_sigma(record: Record) -> Record:
    """The rule as text with its logic as a YAML block; `meta` has id, title, kind, level, status, techniques, cve,
    logsource."""
    entry = load(record.raw)
    if isinstance(entry, str):
        return replace(record, reason=entry, text=None)
    if record.text:
        shared = load(record.text.encode("utf-8", "replace"))
        if isinstance(shared, dict):
            entry = {**shared, **entry}
    title = " ".join(said(entry.get("title")).split())
    kind = next((key for key in LOGIC if entry.get(key)), "")
    if not title or not kind:
        return replace(record, reason="not-a-rule", text=None)
    description = paragraphs(said(entry.get("description")))
    level, status = said(entry.get("level")), said(entry.get("status"))
    tags = texts(entry.get("tags"))
    what = {"detection": "Sigma rule", "correlation": "Sigma correlation rule", "filter": "Sigma filter"}[kind]
    text = document(
        f"{title} ({what})",
        f"Rule id: {said(entry.get('id'))}." if entry.get("id") else "",
        description,
        _log_source(entry.get("logsource")),
        _standing(level, status),
        _about(tags),
        _logic(record, entry),
        section("False positives", bullets(said(one) for one in texts(entry.get("falsepositives")))),
        f"Fields to look at: {listed(texts(entry.get('fields')))}." if texts(entry.get("fields")) else "",
        _related(entry),
        references(texts(entry.get("references"))),
    )
    facts: dict[str, Any] = {
        "id": record.origin,
        "title": title,
        "kind": kind,
        "level": level,
        "status": status,
        "techniques": [found[1].upper() for tag in tags if (found := TECHNIQUE.fullmatch(tag))],
        "cve": [f"CVE-{found[1]}-{found[2]}" for tag in tags if (found := VULNERABILITY.fullmatch(tag))],
        "logsource": "/".join(_log_parts(entry.get("logsource"))),
    }
    meta = {name: value for name, value in facts.items() if value}
    licence = said(entry.get("license"))[:100] or record.licence
    return replace(record, form="string", text=text, lang=record.lang or "en", licence=licence, meta=meta)


def _log_parts(source: Any) -> list[str]:
    named = source if isinstance(source, dict) else {}
    return [value for key in ("product", "category", "service") if (value := said(named.get(key)))]


def _log_source(source: Any) -> str:
    if not isinstance(source, dict):
        return ""
    named = [f"{key} {value}" for key in ("product", "category", "service") if (value := said(source.get(key)))]
    need = paragraphs(said(source.get("definition")))
    words = f"Log source: {', '.join(named)}." if named else ""
    return f"{words} {sentence(need)}".strip() if need else words


def _standing(level: str, status: str) -> str:
    words = [f"Level: {level}." if level else "", f"Status: {status}." if status else ""]
    return " ".join(word for word in words if word)


def _about(tags: list[str]) -> str:
    """ATT&CK techniques and tactics, vulnerabilities, and other tags, in words."""
    techniques, actors, tactics, vulnerabilities, others = [], [], [], [], []
    for tag in tags:
        if found := TECHNIQUE.fullmatch(tag):
            techniques.append(found[1].upper())
        elif found := SOFTWARE.fullmatch(tag):
            actors.append(found[1].upper())
        elif found := VULNERABILITY.fullmatch(tag):
            vulnerabilities.append(f"CVE-{found[1]}-{found[2]}")
        elif tag.lower().startswith("attack."):
            tactics.append(tag[7:].replace("-", " ").replace("_", " "))
        else:
            others.append(tag)
    lines = [
        f"ATT&CK tactics: {listed(tactics)}." if tactics else "",
        f"ATT&CK techniques: {listed(techniques)}." if techniques else "",
        f"ATT&CK groups and software: {listed(actors)}." if actors else "",
        f"Vulnerabilities: {listed(vulnerabilities)}." if vulnerabilities else "",
        f"Tags: {listed(others)}." if others else "",
    ]
    return "\n".join(line for line in lines if line)


def _logic(record: Record, entry: dict[str, Any]) -> str:
    """Detection, correlation and filter as they stand in the file; written anew where they do not stand there."""
    source = record.raw.decode("utf-8", "replace") + "\n" + (record.text or "")
    blocks = []
    for key in LOGIC:
        if not entry.get(key):
            continue
        found = re.search(rf"^{key}:[ \t]*(?:#[^\n]*)?\r?\n(?:(?:[ \t\-#][^\n]*)?(?:\r?\n|\Z))+", source, re.MULTILINE)
        if found:
            block = found[0].replace("\r\n", "\n").rstrip()
        else:
            block = yaml.dump({key: entry[key]}, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True).rstrip()
        blocks.append(f"{key.capitalize()}:\n```yaml\n{block}\n```")
    return "\n\n".join(blocks)


def _related(entry: dict[str, Any]) -> str:
    named = [f"{said(one.get('type'))} of {said(one.get('id'))}" for one in mappings(entry.get("related"))]
    return f"Related rules: {listed(named)}." if named else ""
