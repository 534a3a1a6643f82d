"""What kind of threat record a JSON, XML or YAML file holds, told by how it begins."""

from __future__ import annotations

import re
from typing import Literal

JsonKind = Literal["cve", "nvd", "kev", "stix", "cwe"]
XmlKind = Literal["wikipedia", "capec", "cwe"]

# A quote within a JSON text is written \", so that these find keys and values only, never what a text quotes.
CVE = re.compile(rb'"dataType"\s*:\s*"CVE_RECORD"|"containers"\s*:\s*\{\s*"(?:cna|adp)"\s*:|"cveMetadata"\s*:\s*\{')
NVD = re.compile(rb'"vulnerabilities"\s*:\s*\[\s*\{\s*"cve"\s*:|"format"\s*:\s*"NVD_CVE"')
KEV = re.compile(rb'"vulnerabilities"\s*:\s*\[\s*\{[^{}\[\]]{0,4096}"cveID"\s*:')
KEV_HEAD = re.compile(rb'"catalogVersion"\s*:.{0,4096}"vulnerabilities"\s*:\s*\[', re.DOTALL)
STIX = re.compile(rb'"id"\s*:\s*"bundle--[0-9a-fA-F-]{36}"')
STIX_TYPE = re.compile(rb'"type"\s*:\s*"bundle"')
OBJECTS = re.compile(rb'"objects"\s*:\s*\[')
CWE_LIST = re.compile(rb'\s*\[?\s*\{\s*"(?:Weaknesses|Categories|Views)"\s*:\s*\[\s*\{')
CWE = re.compile(rb'\s*\[?\s*\{\s*"ID"\s*:\s*"?\d{1,5}"?\s*,\s*"Name"\s*:')
CWE_FIELD = re.compile(rb'"(?:Abstraction|RelatedWeaknesses|WeaknessOrdinalities|ContentHistory|MappingNotes)"\s*:')

XML_ROOT = re.compile(rb"<(?![?!])(?:[\w.-]{1,40}:)?([\w.-]{1,80})")
XML_ROOTS: dict[bytes, XmlKind] = {
    b"mediawiki": "wikipedia",
    b"Attack_Pattern_Catalog": "capec",
    b"Weakness_Catalog": "cwe",
}

TOP_KEY = re.compile(rb"^([a-z_]{2,40}):", re.MULTILINE)
SIGMA_LOGIC = {b"detection", b"correlation", b"filter"}


def tell_json_kind(head: bytes) -> JsonKind | None:
    """The kind of a JSON or JSON Lines file by its first 64 KB or so, unpacked; None where it is of none of them."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith((b"{", b"[")):
        return None
    if STIX.search(head[:4096]) or (STIX_TYPE.search(head[:4096]) and OBJECTS.search(head)):
        return "stix"
    if NVD.search(head):
        return "nvd"
    if KEV.search(head) or KEV_HEAD.search(head[:8192]):
        return "kev"
    if CWE_LIST.match(head) or (CWE.match(head) and CWE_FIELD.search(head)):
        return "cwe"
    return "cve" if CVE.search(head) else None


def tell_xml_kind(head: bytes) -> XmlKind | None:
    """The kind of an XML file by its root element; None where it is none of them, or does not begin as XML does."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"<"):
        return None
    root = XML_ROOT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    return XML_ROOTS.get(root[1]) if root else None


def tell_yaml_kind(head: bytes) -> Literal["sigma"] | None:
    """Whether a YAML file is of Sigma rules: keys at its top that only they have together."""
    keys = set(TOP_KEY.findall(head))
    if b"title" in keys and keys & SIGMA_LOGIC and (b"logsource" in keys or b"correlation" in keys):
        return "sigma"
    return None
