"""The official CWE and CAPEC XML catalogues (schemas cwe-6 and 7, capec-3): entries cut out, and an entry's fields.

Fields carry the names of the CWE REST API, so that XML and JSON come to the same text, in `cwe.py` and `capec.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Any, Literal, cast
from xml.etree.ElementTree import Element, ParseError

from forja.corpus.sources.json_stream import CUT
from forja.corpus.sources.phrasing import MANY_LINES, is_before
from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

Catalogue = Literal["cwe", "capec"]

PIECE = 1 << 17
LONGEST_HEAD = 1 << 16
LICENCES = {"cwe": "CWE terms of use (MITRE)", "capec": "CAPEC terms of use (MITRE)"}
ENTRIES: dict[str, tuple[bytes, ...]] = {
    "cwe": (b"Weakness", b"Category", b"View"),
    "capec": (b"Attack_Pattern", b"Category", b"View"),
}
ROOTS: dict[str, bytes] = {"cwe": b"<Weakness_Catalog", "capec": b"<Attack_Pattern_Catalog"}
ATTRIBUTE = re.compile(rb"""\s(ID|Status)\s*=\s*["']([^"'<>]{0,64})["']""")
CHANGED = re.compile(rb"<(?:Modification_Date|Submission_Date)>\s*(\d{4}-\d\d-\d\d)")
PREFIXES = (
    b'<entry xmlns:xhtml="http://www.w3.org/1999/xhtml" xmlns:html="http://www.w3.org/1999/xhtml" '
    b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:capec="capec" xmlns:cwe="cwe">'
)


def read_mitre_xml(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record an entry, `origin` CWE-79 or CAPEC-66, `raw` its XML; deprecated ones are rejected as `revoked`.

    Entries are cut out at their tags and parsed one by one, by the workers: memory holds one entry, and broken XML
    costs one. Raises ForjaError where the file is no catalogue, or declares a document type (entities could
    expand without end, or name files).
    """
    entries = _Entries(file, max_bytes)
    kind = entries.kind(origin)
    for number, (entry, wrong) in enumerate(entries.cut(kind), 1):
        if wrong:
            yield rejected(f"{origin}#{'end' if wrong == 'truncated' else number}", wrong, entry[:1024])
        else:
            yield _record(entry, kind, f"{origin}#{number}", source)


def _record(entry: bytes, kind: Catalogue, place: str, source: Source) -> Record:
    attributes = {key.decode(): value.decode("utf-8", "replace") for key, value in _attributes(entry)}
    number = attributes.get("ID", "")
    if not number.isdecimal():
        return rejected(place, "broken-xml", entry[:1024])
    key = f"{kind.upper()}-{number}"
    if attributes.get("Status", "").lower() in ("deprecated", "obsolete"):
        return rejected(key, "revoked", entry[:1024])
    date = max((found.decode() for found in CHANGED.findall(entry)), default=None)
    if is_before(date, source.since):
        return rejected(key, "before-since")
    return Record(key, entry, kind, date=date, licence=source.licence or LICENCES[kind])


def _attributes(entry: bytes) -> list[tuple[bytes, bytes]]:
    return ATTRIBUTE.findall(entry[: entry.index(b">")])


class _Entries:
    """The catalogue's entries as bytes, and what is wrong with each: None, too-long, broken-xml or truncated."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._read = getattr(file, "read1", file.read)
        self._most = max_bytes
        self._held = b""
        self._cut = False

    def _more(self) -> bool:
        try:
            piece: bytes = self._read(PIECE)
        except CUT:
            self._cut, piece = True, b""
        self._held += piece
        return bool(piece)

    def kind(self, origin: str) -> Catalogue:
        """Which catalogue this is. Raises ForjaError where it is none, or declares a document type."""
        found = None
        while found is None and len(self._held) < LONGEST_HEAD and self._more():
            found = next((name for name, root in ROOTS.items() if root in self._held), None)
        head = self._held if found is None else self._held[: self._held.index(ROOTS[found])]
        if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
            raise ForjaError(
                "this XML declares a document type, which no CWE or CAPEC catalogue does; it is not read, as its "
                "entities could expand without end or name files.",
                where=origin,
                fix="Get the catalogue from cwe.mitre.org or capec.mitre.org.",
            )
        if found is None:
            raise ForjaError(
                "this is neither the CWE nor the CAPEC catalogue in XML.",
                where=origin,
                fix="Check the source's `kind`.",
            )
        return cast(Catalogue, found)

    def cut(self, kind: Catalogue) -> Iterator[tuple[bytes, str | None]]:
        names = b"|".join(ENTRIES[kind])
        opening = re.compile(rb"<(" + names + rb")(?=\s[^<>]*\bID\s*=)")
        while self._to(opening):
            name = opening.match(self._held)[1]  # type: ignore[index]
            close = b"</" + name + b">"
            seen = len(name)
            while True:
                end = self._held.find(close, seen)
                again = opening.search(self._held, seen, end if end >= 0 else len(self._held))
                if again:
                    yield self._take(again.start()), "broken-xml"
                    break
                if end >= 0:
                    entry = self._take(end + len(close))
                    yield entry, None if len(entry) <= self._most else "too-long"
                    break
                if len(self._held) > self._most + PIECE:
                    yield self._take(len(self._held) - 64)[:1024], "too-long"
                    break
                # An opening tag may lie across two pieces.
                seen = max(len(name), len(self._held) - 4096)
                if not self._more():
                    yield self._held, "truncated"
                    return
        if self._cut:
            yield b"", "truncated"

    def _to(self, opening: re.Pattern[bytes]) -> bool:
        while (found := opening.search(self._held)) is None:
            self._held = self._held[-4096:]
            if not self._more():
                return False
        self._held = self._held[found.start() :]
        return True

    def _take(self, count: int) -> bytes:
        taken, self._held = self._held[:count], self._held[count:]
        return taken


# --- fields -----------------------------------------------------------------------------------------

NAMES = {
    "Weakness_Ordinalities": "WeaknessOrdinalities",
    "Related_Weaknesses": "RelatedWeaknesses",
    "Applicable_Platforms": "ApplicablePlatforms",
    "Alternate_Terms": "AlternateTerms",
    "Modes_Of_Introduction": "ModesOfIntroduction",
    "Common_Consequences": "CommonConsequences",
    "Detection_Methods": "DetectionMethods",
    "Potential_Mitigations": "PotentialMitigations",
    "Observed_Examples": "ObservedExamples",
    "Demonstrative_Examples": "DemonstrativeExamples",
    "Content_History": "ContentHistory",
}
PROSE = {"Description", "Extended_Description", "Summary", "Objective", "Note", "Background_Detail", "Mitigation"}
PROSE |= {"Example", "Technique", "Prerequisite", "Indicator", "Resource", "Effectiveness_Notes", "Skill"}
PROSE |= {"Intro_Text", "Body_Text", "Term", "Method", "Phase", "Strategy", "Effectiveness", "Scope", "Impact"}
CODE = "Example_Code"
LISTED = {"Scope", "Impact"}
BLOCKS = {"p", "div", "ul", "ol", "table", "tr", "pre", "h1", "h2", "h3", "h4"}


def fields_of(raw: bytes, kind: Catalogue) -> dict[str, Any] | None:
    """The fields of an entry's XML, by the names of the CWE REST API; None where it is not well-formed."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        entry = fromstring(PREFIXES + raw + b"</entry>", forbid_dtd=True)[0]
    except (ParseError, DefusedXmlException, ValueError, LookupError, IndexError):
        return None
    found: dict[str, Any] = dict(entry.attrib)
    for child in entry:
        tag = _tag(child)
        name = NAMES.get(tag, tag.replace("_", ""))
        found[name] = _field(child, tag, kind)
    return found


def _tag(element: Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _field(child: Element, tag: str, kind: Catalogue) -> Any:
    if tag in PROSE or not len(child):
        return prose_of(child)
    if tag == "Demonstrative_Examples":
        return [{"Entries": [_piece(part) for part in example]} for example in child]
    if tag == "Content_History":
        return [{_tag(part).replace("_", ""): said_in(part) for part in change} for change in child]
    if tag in ("Notes", "References", "Related_Weaknesses", "Applicable_Platforms", "Related_Attack_Patterns"):
        return _attributed(child, tag, kind)
    if all(_tag(item) in PROSE and not item.attrib for item in child):
        return [prose_of(item) for item in child]
    return [_mapping(item) for item in child]


def _attributed(child: Element, tag: str, kind: Catalogue) -> list[Any]:
    """Lists whose items are attributes with at most a text."""
    if tag == "Related_Attack_Patterns" and kind == "cwe":
        return [item.get("CAPEC_ID", "") for item in child]
    found = []
    for item in child:
        fields: dict[str, Any] = {key.replace("_", ""): value for key, value in item.attrib.items()}
        fields["Kind"] = _tag(item)
        if "CWEID" in fields:
            fields["CweID"] = fields.pop("CWEID")
        text = prose_of(item)
        if text:
            fields["Note"] = text
        found.append(fields)
    return found


def _mapping(item: Element) -> dict[str, Any]:
    fields: dict[str, Any] = {key.replace("_", ""): value for key, value in item.attrib.items()}
    if "CWEID" in fields:
        fields["CweID"] = fields.pop("CWEID")
    if not len(item) or any(_tag(part) in BLOCKS for part in item):
        fields["Text"] = prose_of(item)
        return fields
    for part in item:
        tag = _tag(part)
        name, value = tag.replace("_", ""), prose_of(part)
        if tag in LISTED or (tag in ("Phase", "Technique") and name in fields):
            earlier = fields.get(name, [])
            fields[name] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        elif tag == "Technique":
            fields[name] = [value]
        else:
            fields[name] = value
    return fields


def _piece(part: Element) -> dict[str, Any]:
    tag = _tag(part)
    if tag == CODE:
        return {
            "Nature": part.get("Nature", ""),
            "Language": part.get("Language", ""),
            "ExampleCode": code_of(part),
        }
    return {tag.replace("_", ""): prose_of(part)}


def said_in(element: Element) -> str:
    return "".join(element.itertext()).strip()


def prose_of(element: Element) -> str:
    """The text of an element with XHTML in it: blocks become lines, list items bullets."""
    pieces: list[str] = []
    _walk(element, pieces)
    lines = "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\v"))
    return MANY_LINES.sub("\n\n", lines).strip()


def _walk(element: Element, pieces: list[str]) -> None:
    pieces.append(element.text or "")
    for child in element:
        tag = _tag(child)
        if tag == "br":
            pieces.append("\v")
        elif tag == "li":
            pieces.append("\v- ")
            _walk(child, pieces)
        elif tag in BLOCKS:
            edge = "\v\v" if tag == "p" else "\v"
            pieces.append(edge)
            _walk(child, pieces)
            pieces.append(edge)
        elif tag:
            _walk(child, pieces)
        pieces.append(child.tail or "")


def code_of(element: Element) -> str:
    """Code with its lines (<xhtml:br/>, <xhtml:div>) and its indentation (divs with a left margin)."""
    lines: list[tuple[int, str]] = [(0, "")]

    def text(said: str | None, depth: int) -> None:
        # In code, line ends of the XML are not those of the code.
        words = " ".join((said or "").split("\n")).strip() if said and not said.strip() else (said or "")
        for number, line in enumerate(words.split("\n")):
            if number:
                lines.append((depth, ""))
            if line.strip():
                level, before = lines[-1]
                lines[-1] = (level if before else depth, before + (line if before else line.lstrip()))

    def walk(node: Element, depth: int) -> None:
        text(node.text, depth)
        for child in node:
            tag = _tag(child)
            if tag == "br":
                lines.append((depth, ""))
            elif tag in BLOCKS:
                deeper = depth + ("margin-left" in child.get("style", ""))
                lines.append((deeper, ""))
                walk(child, deeper)
                lines.append((depth, ""))
            else:
                walk(child, depth)
            text(child.tail, depth)

    walk(element, 0)
    said = [(level, line.rstrip()) for level, line in lines if line.strip()]
    least = min((level for level, _ in said), default=0)
    return "\n".join("  " * (level - least) + line for level, line in said)
