"""Wikipedia's `pages-articles` dumps (MediaWiki XML export 0.3 to 0.11): one record a page, its wikitext.

Wikitext is made text in `wikitext`; packed dumps are unpacked before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO
from urllib.parse import quote
from xml.parsers import expat

from forja.corpus.sources.record import Record, rejected
from forja.errors import ForjaError
from forja.recipe import Source

PIECE = 1 << 17
LONGEST_HEAD = 1 << 20
"""Bytes that may stand before the first page; a dump's head names its namespaces, in some 10 KB."""
OPEN, CLOSE = b"<page>", b"</page>"
REDIRECT = re.compile(r"\s*#(?:redirect|weiterleitung|redirección|redirection|rinvia)\b", re.IGNORECASE)
SHARE_ALIKE = re.compile(r"\.(?:wikipedia|wiktionary|wikibooks|wikiquote|wikisource|wikiversity)\.org$")
NOT_ISO = {"simple": "en", "als": "de", "bat_smg": "lt", "be_x_old": "be", "zh_yue": "zh", "nb": "no"}


class Hostile(Exception):
    """A page declares a document type or entities of its own."""


def read_wikipedia(file: IO[bytes], origin: str, source: Source, max_bytes: int) -> Iterator[Record]:
    """One record a page, in the dump's order; redirects and pages of other namespaces are rejected ones.

    Pages are cut out at their tags, which MediaWiki never writes inside a text, and parsed one by one: so
    memory holds one page, and broken XML costs one page. Raises ForjaError where the file is no dump, or
    declares a document type (entities could expand without end).
    """
    pages = _Pages(file, max_bytes)
    site = read_site(pages.head(), origin)
    for number, (page, wrong) in enumerate(pages, 1):
        yield _page_record(page, site, source) if wrong is None else rejected(f"{origin}#{number}", wrong, page)


class Site:
    """What a dump's head says of all its pages: `name` (enwiki), `base` (https://en.wikipedia.org/wiki/),
    `lang` (ISO 639-1) and `licence`, None where it does not say."""

    def __init__(self, name: str, base: str | None, lang: str | None, licence: str | None) -> None:
        self.name, self.base, self.lang, self.licence = name, base, lang, licence


def read_site(head: bytes, origin: str) -> Site:
    """The site of a dump's head; the head's own XML need not be whole."""
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise ForjaError(
            "this XML declares a document type, which no Wikipedia dump does; it is not read, as its entities "
            "could expand without end.",
            where=origin,
            fix="Get the dump from dumps.wikimedia.org.",
        )
    text = head.decode("utf-8", "replace")

    def named(pattern: str) -> str | None:
        found = re.search(pattern, text)
        return found[1] if found else None

    name = named(r"<dbname>([a-z0-9_]+)</dbname>")
    main = named(r"<base>(https?://[^<>\s]+)</base>")
    base = main[: main.rindex("/") + 1] if main else None
    code = re.sub(r"wik(?:i|tionary|ibooks|iquote|isource|iversity|ivoyage|inews)$", "", name) if name else ""
    code = NOT_ISO.get(code, code)
    lang = code if re.fullmatch(r"[a-z]{2}", code) else named(r"""xml:lang=["']([a-z]{2})["'-]""")
    host = base.split("/")[2] if base else ""
    version = re.search(r"<generator>MediaWiki 1\.(\d+)", text)
    licence = None
    if SHARE_ALIKE.search(host):
        # Wikimedia went from 3.0 to 4.0 on 7 June 2023, when MediaWiki 1.41 was being rolled out.
        licence = "CC BY-SA" if not version else "CC BY-SA 4.0" if int(version[1]) >= 41 else "CC BY-SA 3.0"
    return Site(name or origin, base, lang, licence)


class _Pages:
    """The pages' XML, cut out of the stream, and what is wrong with each: None, too-long, broken-xml or truncated."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        # `read1`, where there is one: at damage, what could be unpacked before it is not thrown away.
        self._read = getattr(file, "read1", file.read)
        self._max_bytes = max_bytes
        self._held = b""

    def _more(self) -> bool:
        piece: bytes = self._read(PIECE)
        self._held += piece
        return bool(piece)

    def head(self) -> bytes:
        """Everything before the first page. Raises ForjaError where this is no dump."""
        while (at := self._held.find(OPEN)) < 0 and len(self._held) <= LONGEST_HEAD and self._more():
            pass
        head = self._held[: at if at >= 0 else None]
        if (at < 0 and b"<mediawiki" not in head) or at > LONGEST_HEAD:
            raise ForjaError("this is not a MediaWiki XML dump: it has no pages.", fix="Check the source's `kind`.")
        self._held = self._held[len(head) :]
        return head

    def __iter__(self) -> Iterator[tuple[bytes, str | None]]:
        while self._to_open():
            seen = len(OPEN)
            while True:
                close = self._held.find(CLOSE, seen)
                again = self._held.find(OPEN, seen, close if close >= 0 else None)
                if again >= 0:
                    yield self._take(again), "broken-xml"
                    break
                if close >= 0:
                    end = close + len(CLOSE)
                    page = self._take(end)
                    yield (page, None) if end <= self._max_bytes else (page[:1024], "too-long")
                    break
                if len(self._held) > self._max_bytes + PIECE:
                    yield self._held[:1024], "too-long"
                    self._held = self._held[-len(CLOSE) :]
                    break
                seen = max(len(OPEN), len(self._held) - len(CLOSE))
                if not self._more():
                    yield self._held[:1024], "truncated"
                    return

    def _to_open(self) -> bool:
        """Skip to the next page; False where there is none."""
        while (at := self._held.find(OPEN)) < 0:
            self._held = self._held[-len(OPEN) + 1 :]
            if not self._more():
                return False
        self._held = self._held[at:]
        return True

    def _take(self, count: int) -> bytes:
        taken, self._held = self._held[:count], self._held[count:]
        return taken


def _page_record(page: bytes, site: Site, source: Source) -> Record:
    try:
        fields = parse_page(page)
    except (expat.ExpatError, Hostile) as error:
        return rejected(f"{site.name}#{_id_of(page)}", "broken-xml", page[:1024], error=str(error))
    title, key = fields.get("title", ""), fields.get("id", "")
    origin, text = f"{site.name}#{key} {title}", fields.get("text", "")
    if "redirect" in fields or REDIRECT.match(text):
        return rejected(origin, "redirect", text.encode())
    if fields.get("ns", "0") != "0":
        return rejected(origin, "namespace", text.encode()[:1024])
    if fields.get("model", "wikitext") != "wikitext":
        return rejected(origin, "not-wikitext", text.encode()[:1024])
    if not title or not text.strip():
        return rejected(origin, "empty", page[:1024])
    meta = {"title": title, "page": key, "revision": fields.get("revision", "")}
    if site.base:
        meta["url"] = site.base + quote(title.replace(" ", "_"), safe="/:(),!'*@;$&=+~")
    return Record(
        origin,
        text.encode(),
        "wikitext",
        date=fields.get("timestamp"),
        lang=site.lang,
        licence=source.licence or site.licence,
        meta=meta,
    )


def _id_of(page: bytes) -> str:
    found = re.search(rb"<id>(\d{1,20})</id>", page)
    return found[1].decode() if found else "?"


PAGE_FIELDS = {"title", "ns", "id", "redirect"}
REVISION_FIELDS = {"id": "revision", "timestamp": "timestamp", "model": "model", "text": "text"}


def parse_page(page: bytes) -> dict[str, str]:
    """The fields of one <page>, of its last revision: title, ns, id, redirect, revision, timestamp, model, text.

    Raises ExpatError where it is not well-formed, Hostile where it declares entities.
    """
    fields: dict[str, str] = {}
    path: list[str] = []
    words: list[str] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        path.append(tag)
        words.clear()
        if tag == "redirect":
            fields["redirect"] = attributes.get("title", "")

    def end(tag: str) -> None:
        if len(path) == 2 and tag in PAGE_FIELDS:
            fields.setdefault(tag, "".join(words))
        elif len(path) == 3 and path[1] == "revision" and tag in REVISION_FIELDS:
            fields[REVISION_FIELDS[tag]] = "".join(words)
        path.pop()
        words.clear()

    def refuse(*_: object) -> int:
        raise Hostile("it declares a document type or entities of its own")

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, words.append
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(page, True)
    return fields
