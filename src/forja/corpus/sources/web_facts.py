"""What a web page and its address say of themselves, found without parsing the page: robots directives, licence,
charset, country, language."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HEAD = 1 << 16
"""Bytes of a page in which its <meta> elements are looked for."""
LONGEST_TAG = 1000
"""Bytes before and behind its rel="license" in which a link's tag must begin and end."""
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.IGNORECASE)
META_TAG = re.compile(rb"<meta\s[^<>]{1,400}>", re.IGNORECASE)
ROBOTS_NAME = re.compile(rb"name\s*=\s*[\"']?(?:robots|googlebot|ccbot)\b", re.IGNORECASE)
CONTENT = re.compile(rb"content\s*=\s*(?:\"([^\"]{1,200})\"|'([^']{1,200})'|([^\s>\"']{1,200}))", re.IGNORECASE)
REL_LICENCE = re.compile(rb"\brel\s*=\s*[\"']?(?:[a-z-]+ ){0,4}license\b", re.IGNORECASE)
HREF = re.compile(rb"\bhref\s*=\s*[\"']?([^\"'\s>]{1,300})", re.IGNORECASE)
CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-(?:nc|nd|sa))*)/(\d\.\d)|publicdomain/(zero|mark)/1\.0)", re.IGNORECASE
)

_GENERAL = "ac ad ag ai am as bz cc cd co dj eu fm gg gl gs im io la lc ly me ms nu pw sc sh sr st su tk to tv vc vg ws"
GENERAL_USE = frozenset(_GENERAL.split())
"""Country domains that the world uses as general ones, and .eu and .su, which are no countries of ISO 3166-1."""
_CODES = """
afr:af alb:sq amh:am ara:ar arm:hy asm:as aze:az bak:ba bel:be ben:bn bih:bh bos:bs bre:br bul:bg bur:my cat:ca ces:cs
chi:zh cos:co cym:cy dan:da deu:de div:dv ell:el eng:en epo:eo est:et eus:eu fao:fo fas:fa fin:fi fra:fr fry:fy gla:gd
gle:ga glg:gl guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ice:is ind:id isl:is ita:it jav:jv jpn:ja
kan:kn kat:ka kaz:kk khm:km kin:rw kir:ky kor:ko kur:ku lao:lo lat:la lav:lv lin:ln lit:lt ltz:lb mal:ml mar:mr mkd:mk
mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nep:ne nld:nl nno:nn nor:no oci:oc ori:or orm:om pan:pa pol:pl por:pt pus:ps
que:qu roh:rm ron:ro run:rn rus:ru san:sa sin:si slk:sk slv:sl smo:sm sna:sn snd:sd som:so spa:es sqi:sq srp:sr sun:su
swa:sw swe:sv tam:ta tat:tt tel:te tgk:tg tha:th tir:ti ton:to tuk:tk tur:tr uig:ug ukr:uk urd:ur uzb:uz vie:vi vol:vo
wol:wo xho:xh yid:yi yor:yo zho:zh zul:zu
"""
LANGUAGES = dict(pair.split(":") for pair in _CODES.split())
"""ISO 639-3 to 639-1 for the languages that CLD2 tells, whose codes Common Crawl writes."""


def language(codes: str | None) -> str | None:
    """ISO 639-1 of the first of "eng,deu": Common Crawl lists them by their share of the text."""
    first = (codes or "").partition(",")[0].strip().lower()
    return LANGUAGES.get(first) or (first if len(first) == 2 else None)


def region(address: str) -> str | None:
    """ISO 3166-1 alpha-2 of an address under a country's domain, if its use is the country's."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return None
    top = host.rstrip(".").rpartition(".")[2]
    if top in ("gov", "mil"):
        return "US"
    if len(top) != 2 or not (top.isascii() and top.isalpha()) or top in GENERAL_USE:
        return None
    return "GB" if top == "uk" else top.upper()


def charset(content_type: str) -> str | None:
    """The charset that a Content-Type declares, in lower case."""
    found = CHARSET.search(content_type)
    return found.group(1).lower() if found else None


def robots(header: str, page: bytes) -> str | None:
    """The directives of X-Robots-Tag and of the page's <meta name="robots">, "noindex, nofollow" say."""
    said = [header] if header else []
    head = page[:HEAD]
    if b"robots" in head.lower():
        for tag in META_TAG.findall(head):
            content = CONTENT.search(tag) if ROBOTS_NAME.search(tag) else None
            if content:
                said.append(next(group for group in content.groups() if group).decode("utf-8", "replace"))
    parts = [part.strip().lower() for part in ",".join(said).split(",")]
    return ", ".join(dict.fromkeys(part for part in parts if part))[:300] or None


def licence(page: bytes) -> tuple[str | None, str | None]:
    """(the licence that the page says is its own, by rel="license"; a Creative Commons licence that it merely
    links to, which may be that of one picture), each as an SPDX id where it is one, or else as its address."""
    own = linked = None
    for found in REL_LICENCE.finditer(page) if b"icense" in page else ():
        begin = page.rfind(b"<", max(0, found.start() - LONGEST_TAG), found.start())
        end = page.find(b">", found.end(), found.end() + LONGEST_TAG)
        href = HREF.search(page, begin, end) if begin >= 0 and end >= 0 else None
        if href:
            own = _spdx(href.group(1).decode("utf-8", "replace"))
            break
    at = -1 if own else page.find(b"creativecommons.org/")
    if at >= 0:
        address = page[at : at + 60].decode("latin-1")
        linked = _spdx(address) if CREATIVE_COMMONS.match(address) else None
    return own, linked


def _spdx(address: str) -> str:
    found = CREATIVE_COMMONS.search(address)
    if found is None:
        return address
    if found.group(3):
        return "CC0-1.0" if found.group(3).lower() == "zero" else "CC-PDM-1.0"
    return f"CC-{found.group(1).upper()}-{found.group(2)}"
