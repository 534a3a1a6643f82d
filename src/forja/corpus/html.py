"""HTML to text: which blocks of a page are its main content, how they are written down, and what the page says of
itself. How a page is taken apart is `html_blocks.py`'s matter, and the bytes' encoding is `clean.py`'s.

The rule: of all prose that no class name calls boilerplate, find the innermost element that holds nearly all. What it
holds is the content, less the parts that are mostly links, and with the lead that stands between the title and it.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from typing import TypedDict

from forja.corpus.clean import decode
from forja.corpus.html_blocks import CELLS, Block, Page, parse
from forja.corpus.sources import web_facts
from forja.corpus.sources.record import Record

PROSE = 25
"""Characters, links not counted, from which a block that is no heading is prose."""
NEARLY_ALL = 0.9
"""The main element holds this share of the page's prose."""
MOST = 0.5
"""The share of it that is enough for an element that is said to be the article, and from which no element is
boilerplate, whatever its class says."""
LINKED = 0.5
"""An element with a larger share of link text is a list of links."""
DOUBTFUL_LINKED, DOUBTFUL_PROSE = 0.3, 60
"""What a doubtful word calls boilerplate is that with a larger share of links than this, or less prose than this."""
LEAD, LEAD_LINKED = 80, 0.2
"""A lead has at least so many characters, and at most this share of links."""
SHORT = 250
"""Characters below which a main content is so short that more is looked for."""

NAMED = re.compile(r"""\b(?:class|id|role|itemprop)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
LETTERS = re.compile(r"[a-z]+")
# Every alternative begins with a letter: the search then skips to those letters.
BOILERPLATE = re.compile(
    r"about-?author|ad-break|advert|agegate|author-?(?:bio|box|card|desc|info)|breadcrumb|combx|comment|complementary"
    r"|consent|contentinfo|cookie|copyright|disqus|entry-?meta|footer|further|gdpr|menu|modal|navbar|navigation"
    r"|newsletter|no-?print|outbrain|pagination|popup|post-?meta|recommend|related|remark|replies|reply|share|sharing"
    r"|shoutbox|sidebar|skyscraper|social|sponsor|subscri|taboola|tag-?(?:cloud|list)"
)
BOILERPLATE_WORDS = frozenset(["bio", "like", "likes", "nav", "pager", "respond", "rss"])
BOILERPLATE_CLASSES = frozenset(["ad", "ads", "tag", "tags"])
DOUBTFUL = re.compile(
    r"author|banner|box-?head|byline|community|contact|cover-wrap|credit|date|download|extra|form|gallery|header|hidden"
    r"|infobox|language|legends|login|masthead|meta\b|more|next-?(?:post|story)|prev|promo|rating|search|signup"
    r"|supplemental|switch|teaser|toolbar|tooltip|video|widget"
)
BOILERPLATE_TAGS = frozenset({"nav", "footer", "aside"})
EXEMPT = frozenset({"html", "body", "main", "article", "pre", "table", "thead", "tbody", "tr", "td"})
"""Elements that are not left out for their class: it speaks of the page or of its layout."""
ARTICLE_BODY = re.compile(r'"articleBody"\s*+:\s*+("(?:[^"\\]++|\\.)*+")', re.DOTALL)
CONTAINERS = frozenset(["html", "body", "main", "article", "section", "div", "center", "td", "form"])
ARTICLE_TAGS = frozenset({"article", "main"})
ARTICLE = re.compile(
    r"""itemprop\s*=\s*["']?(?:articleBody|mainContentOfPage)\b"""
    r"""|["'\s](?:entry|post|article|story)[-_]*(?:content|body|text)\b""",
    re.IGNORECASE,
)
GROUPS = frozenset(["div", "section", "header", "footer", "aside", "form", "fieldset", "ul", "ol", "dl", "table"])
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
TITLES = HEADINGS | {"dt", "caption", "summary"}
"""What may be short and called a header without being boilerplate."""
LISTS = frozenset({"ul", "ol", "menu", "dir"})
CELL_TEXT = 200
"""Characters up to which a table's cells stand beside one another on a line."""


def html_to_text(html: str) -> str:
    """The main content of a page: navigation and boilerplate left out, preformatted blocks as they are, table rows and
    list items as lines. Where no part of the page stands out, all its visible text."""
    page = parse(html)
    kept = main_blocks(page)
    if _size(kept) >= SHORT:
        return _written(page, kept)
    return _short(html, page, kept)


def _short(html: str, page: Page, kept: list[Block]) -> str:
    """The text of a page with little content or none, from where the search for it may have gone wrong."""
    more = main_blocks(page, doubtful=False)
    if _size(more) > 2 * _size(kept):
        kept = more
    kept = kept or page.blocks
    if _size(kept) >= SHORT:
        return _written(page, kept)
    # Pages that a script shows, or makes.
    unhidden = parse(html, hidden=True)
    more = main_blocks(unhidden)
    stated = _stated(html)
    if len(stated) > max(SHORT, 2 * _size(kept), _size(more)):
        return stated
    if _size(more) > max(SHORT, 2 * _size(page.blocks)):
        return _written(unhidden, more)
    return _written(page, kept)


def _stated(html: str) -> str:
    """The text that the page states in schema.org's articleBody."""
    found = ARTICLE_BODY.search(html) if '"articleBody"' in html else None
    if found is None:
        return ""
    try:
        body = str(json.loads(found.group(1), strict=False))
    except ValueError:
        return ""
    return body if "<" not in body else "\n\n".join(block.text for block in parse(body).blocks)


def main_blocks(page: Page, *, doubtful: bool = True) -> list[Block]:
    """The blocks of a page's main content. doubtful: whether words that are doubtful signs of boilerplate count too."""
    everything = _Sums(page, None)
    out = _boilerplate(page, everything, doubtful)
    sums = _Sums(page, out)
    main = _main_element(page, sums)
    inside = bytearray(len(page.tags))
    inside[main] = True
    for element in range(main + 1, len(inside)):
        if inside[page.parents[element]] and not out[element] and sums.characters[element]:
            linked = sums.links[element] > LINKED * sums.characters[element]
            inside[element] = not (linked and page.tags[element] in GROUPS)
    kept = [block for block in page.blocks if inside[block.node]]
    return _lead(page, out, kept[0]) + kept if kept else []


class _Sums:
    """characters, characters of link text, and characters of prose: of each element and all it holds."""

    def __init__(self, page: Page, out: bytearray | None) -> None:
        parents, tags, blocks = page.parents, page.tags, page.blocks
        count = len(tags)
        self.characters, self.links, self.prose = [0] * count, [0] * count, [0] * count
        characters, links, prose = self.characters, self.links, self.prose
        for node, text, linked, _ in blocks:
            if out and out[node]:
                continue
            size = len(text)
            characters[node] += size
            links[node] += linked
            if size - linked >= PROSE and tags[node] not in HEADINGS:
                prose[node] += size - linked
        for element in range(count - 1, 0, -1):
            if characters[element]:
                parent = parents[element]
                characters[parent] += characters[element]
                links[parent] += links[element]
                prose[parent] += prose[element]


def _boilerplate(page: Page, sums: _Sums, doubtful: bool) -> bytearray:
    """1 for every element that its name or class calls boilerplate, and for all it holds."""
    parents, tags, attributes, _ = page
    out = bytearray(len(tags))
    known: dict[str, int] = {"": 0}
    most = MOST * sums.prose[0]
    for element in range(1, len(tags)):
        size = sums.characters[element]
        if not size:
            continue
        if out[parents[element]]:
            out[element] = 1
            continue
        tag = tags[element]
        if tag in EXEMPT:
            continue
        named = attributes[element]
        sign = known.get(named)
        if sign is None:
            sign = known[named] = _sign(named)
        prose = sums.prose[element]
        if sign == 2 or tag in BOILERPLATE_TAGS:
            out[element] = prose < most
        elif doubtful and (tag == "header" or (sign and not (tag in TITLES and "header" in named))):
            out[element] = prose < DOUBTFUL_PROSE or sums.links[element] > DOUBTFUL_LINKED * size
    return out


def _sign(attributes: str) -> int:
    """2 where an element's class, id or role calls it boilerplate, 1 where it may, else 0."""
    words = " ".join([a or b or c for a, b, c in NAMED.findall(attributes)]).lower()
    if not words:
        return 0
    if BOILERPLATE.search(words) or not BOILERPLATE_CLASSES.isdisjoint(words.split()):
        return 2
    if not BOILERPLATE_WORDS.isdisjoint(LETTERS.findall(words)):
        return 2
    return 1 if DOUBTFUL.search(words) else 0


def _main_element(page: Page, sums: _Sums) -> int:
    prose = sums.prose
    if not prose[0]:
        return 0
    # Two elements apart cannot both hold more than half: the last of them is the innermost.
    enough = NEARLY_ALL * prose[0]
    main = max(element for element in range(len(prose)) if prose[element] >= enough)
    enough = MOST * prose[0]
    for element in range(len(prose) - 1, main, -1):
        if prose[element] >= enough:
            attributes = page.attributes[element]
            if page.tags[element] in ARTICLE_TAGS or (attributes and ARTICLE.search(attributes)):
                return element
    # A page of one long paragraph: what stands beside that belongs to it.
    while page.tags[main] not in CONTAINERS:
        main = page.parents[main]
    return main


def _lead(page: Page, out: bytearray, first: Block) -> list[Block]:
    """The paragraphs between the last first-order heading before the content and its first block."""
    lead: list[Block] | None = None
    for block in page.blocks:
        if block is first:
            break
        if out[block.node]:
            continue
        if "h1" in (page.tags[block.node], page.tags[page.parents[block.node]]):
            lead = []
        elif lead is not None and len(block.text) >= LEAD and block.links <= LEAD_LINKED * len(block.text):
            lead.append(block)
    return lead or []


def _size(blocks: list[Block]) -> int:
    return sum(len(block.text) for block in blocks)


def _written(page: Page, blocks: list[Block]) -> str:
    places = _Places(page, blocks)
    parts: list[str] = []
    before: Block | None = None
    for block in blocks:
        item = places.item[block.node]
        mark = "" if before is None else places.between(before, block)
        margin = ""
        if item and mark != CELL_MARK:
            depth = places.depth[item]
            begins = before is None or not places.within(before.node, item)
            margin = "  " * (depth - 1) + ("- " if begins else "  ")
        text = block.text
        if margin and "\n" in text:
            text = text.replace("\n", "\n" + " " * len(margin))
        parts += (mark, margin, text)
        before = block
    return "".join(parts)


CELL_MARK = " | "


class _Places:
    """Of each element: the list item, the table cell, row and table it is in (0 for none), and how many lists deep."""

    def __init__(self, page: Page, blocks: list[Block]) -> None:
        parents, tags, _, _ = page
        count = len(tags)
        self.parents = parents
        self.depth = [0] * count
        self.item, self.cell, self.row, self.table = [0] * count, [0] * count, [0] * count, [0] * count
        needed = {0}
        for block in blocks:
            element = block.node
            while element not in needed:
                needed.add(element)
                element = parents[element]
        for element in sorted(needed)[1:]:
            parent, tag = parents[element], tags[element]
            self.depth[element] = self.depth[parent] + (tag in LISTS)
            self.item[element] = element if tag == "li" and self.depth[element] else self.item[parent]
            self.cell[element] = element if tag in CELLS else self.cell[parent]
            self.row[element] = element if tag == "tr" else self.row[parent]
            self.table[element] = element if tag == "table" else self.table[parent]

    def within(self, element: int, outer: int) -> bool:
        while element > outer:
            element = self.parents[element]
        return element == outer

    def between(self, before: Block, block: Block) -> str:
        """What is written between two blocks that follow one another."""
        if block.tight:
            return "\n"
        a, b = before.node, block.node
        table = self.table[b]
        if table and self.table[a] == table and max(len(before.text), len(block.text)) <= CELL_TEXT:
            if self.row[a] != self.row[b]:
                return "\n"
            if self.cell[a] != self.cell[b]:
                return CELL_MARK
        if self.item[a] and self.item[b]:
            return "\n"
        return "\n\n"


class PageMetadata(TypedDict):
    """What a page says of itself. lang: ISO 639-1. date: ISO 8601. licence: SPDX id or address."""

    title: str | None
    lang: str | None
    date: str | None
    licence: str | None


HEAD = 1 << 17
"""Characters of a page in which its title and <meta> elements are looked for."""
TITLE = re.compile(r"<title\b[^>]*+>([^<]{0,2000})", re.IGNORECASE)
LANG = re.compile(r"""(?<![\w-])(?:xml:)?lang\s*=\s*["']?([a-zA-Z]{2})(?![a-zA-Z])""", re.IGNORECASE)
META = re.compile(r"<meta\b([^>]{0,2000})", re.IGNORECASE)
META_NAME = re.compile(r"""\b(?:name|property|itemprop|http-equiv)\s*=\s*["']?([\w:.-]+)""", re.IGNORECASE)
META_CONTENT = re.compile(r"""\bcontent\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
PUBLISHED = ("article:published_time", "datepublished", "dc.date", "dcterms.date", "dcterms.created", "date", "pubdate")
JSON_DATE = re.compile(r"""["']datePublished["']\s{0,20}:\s{0,20}["'](\d{4}-\d\d-\d\d)""")
ISO_DATE = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")
LONGEST_TITLE = 300


def page_metadata(html: str) -> PageMetadata:
    """Title, language, day of publication and licence, where the page states them in its head, its <html> element,
    JSON-LD (schema.org's datePublished) or a rel="license" link. Nothing is guessed from the text."""
    head = html[:HEAD]
    said: dict[str, str] = {}
    for attributes in META.findall(head):
        name, content = META_NAME.search(attributes), META_CONTENT.search(attributes)
        if name and content:
            value = next((group for group in content.groups() if group), "")
            said.setdefault(name.group(1).lower(), value)
    titled = TITLE.search(head)
    title = " ".join(unescape(said.get("og:title") or (titled.group(1) if titled else "")).split())[:LONGEST_TITLE]
    at = head.lower().find("<html")
    lang = LANG.search(head, at, head.find(">", at)) if at >= 0 else None
    language = lang.group(1) if lang else said.get("content-language", said.get("og:locale", ""))[:2]
    dated = next((found for name in PUBLISHED if (found := ISO_DATE.match(said.get(name, "")))), None)
    in_json = None if dated else JSON_DATE.search(html)
    date = dated.group() if dated else in_json.group(1) if in_json else None
    return {
        "title": title or None,
        "lang": language.lower() if len(language) == 2 and language.isascii() and language.isalpha() else None,
        "date": date if date and ISO_DATE.fullmatch(date) else None,
        "licence": web_facts.licence(html.encode("utf-8", "replace"))[0] if "icense" in html else None,
    }


def render_html(record: Record) -> Record:
    """The record of an HTML page with its main text; language, date and licence as the page states them where the
    source did not, and its title in `meta`. Rejected as "not-text" where its bytes are no text in any encoding."""
    html = decode(record.raw, record.meta.get("charset"))
    if html is None:
        return replace(record, reason="not-text")
    said = page_metadata(html)
    return replace(
        record,
        form="string",
        text=html_to_text(html),
        lang=record.lang or said["lang"],
        date=record.date or said["date"],
        licence=record.licence or said["licence"],
        meta={**record.meta, "title": said["title"]} if said["title"] else record.meta,
    )
