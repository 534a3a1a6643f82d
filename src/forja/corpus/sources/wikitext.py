"""Wikitext to plain text: links, templates, tables, references and tags resolved; headings and lists as plain lines.

One scan for the parts that are not wikitext (code, formulas, references, comments), one for what nests
(templates, links, tables), then line by line. Every step is linear in the text, balanced or not.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field, replace

from forja.corpus.sources.record import Record
from forja.corpus.sources.wiki_templates import expand

MOST_READINGS = 40
"""How often, on average, a character may be read again as part of what encloses it; templates, links and tables
that are nested deeper all through a text are left out."""

# Characters of no text stand for what later steps may not touch: kept parts, and the marks of rendered children.
RESERVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
BAR, EQUALS = "\x04", "\x05"
KEPT = re.compile(r"\x02(\d+)\x03")

DROPPED = "ref|references|gallery|timeline|imagemap|score|hiero|templatedata|graph|mapframe|maplink|inputbox|noinclude"
VERBATIM = "nowiki|pre|syntaxhighlight|source|math|chem|ce|style"
OPENER = re.compile(rf"<!--|<({DROPPED}|{VERBATIM})\b([^<>]*)>", re.IGNORECASE)
FORMULAS = {"math", "chem", "ce"}
BLOCKS = {"pre", "syntaxhighlight", "source"}

EASY_LINK = re.compile(r"\[\[(?:[^\[\]{}|:\n=]+\|)?([^\[\]{}|:\n=#]+)\]\]")
TOKEN = re.compile(r"\{\{|\}\}|\[\[|\]\]|\n[ \t:*]*\{\||\n[ \t]*\|\}(?!\})")
CLOSES = {"}}": "{{", "]]": "[["}

FILES = (
    "file|image|media|datei|bild|fichier|archivo|imagen|ficheiro|imagem|immagine|plik|grafika|bestand|afbeelding|файл|"
    "изображение|ファイル|画像|文件|파일|fil|tiedosto|soubor|dosya|ملف|תמונה|קובץ|tập tin|berkas"
)
CATEGORIES = (
    "category|kategorie|catégorie|categoría|categoria|kategoria|categorie|категория|категорія|カテゴリ|分类|分類|분류|"
    "kategori|luokka|kategória|תצפית|קטגוריה|تصنيف|رده|thể loại"
)
HIDDEN_LINK = re.compile(rf"\s*(?:{FILES}|{CATEGORIES})\s*:", re.IGNORECASE)
OTHER_LANGUAGE = re.compile(r"(?!wikt|[a-z]:)[a-z]{2,3}(?:-[a-z]{2,8})*:|(?:simple|zh-min-nan|be-x-old):")
INLINE_PREFIX = re.compile(r":?(?:wikt|w|s|b|n|q|v|d|m|c|voy|commons|wiktionary|wikisource)(?::[a-z-]{2,10})?:", re.I)
EXTERNAL = re.compile(
    r"\[(?:https?://|ftps?://|//|mailto:|irc://|news:|gopher://)[^\s\[\]<>]*+[ \t]*+"
    r"([^\[\]\n]*+(?:\[[^\[\]\n]*+\][^\[\]\n]*+)*+)\]",
    re.IGNORECASE,
)

HIDDEN_TABLE = re.compile(
    r"infobox|navbox|sidebar|metadata|[afot]mbox|vertical-navbox|toc\b|noprint|display:\s*none", re.I
)
ROW = re.compile(r"\n[ \t]*\|-[^\n]*")
CELL = re.compile(r"\n[ \t]*[|!]|\|\||!!")
CELL_ATTRIBUTES = re.compile(
    r"""\s*(?:(?:style|class|colspan|rowspan|align|valign|width|height|scope|bgcolor|nowrap|id|data-[\w-]+|abbr|lang|dir|
    border|title|cellpadding|cellspacing|headers)\s*+(?:=\s*+(?:"[^"]*"|'[^']*'|[^\s|"']++)?+)?+\s*+)++(?:\|(?!\|)|$)""",
    re.IGNORECASE | re.VERBOSE,
)
# Before a template that is a cell by itself ({{n/a}}), attributes have no bar after them.
BARE_ATTRIBUTES = re.compile(
    r"""\s*!?\s*(?:(?:colspan|rowspan|bgcolor|style|class|align|valign|scope)=(?:"[^"]*"|'[^']*'|\w++)\s*+)++\|?"""
)

LINE_BREAK = re.compile(
    r"<(?:br|hr)\b[^<>]*>|</(?:p|div|blockquote|li|tr|h[1-6]|dd|dt|poem|center|ul|ol|table)\s*>", re.I
)
ITEM = re.compile(r"<li\b[^<>]*>", re.IGNORECASE)
RAISED = re.compile(r"<sup\b[^<>]*>(?=\s*[-−+]?\d)", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|blockquote|caption|center|cite|code|data|dd|del|dfn|div|dl|dt|em|font|h[1-6]|i|img|"
    r"includeonly|indicator|ins|kbd|li|mark|nobr|noinclude|nowiki|ol|onlyinclude|p|poem|pre|q|rb|ref|references|rp|rt|"
    r"ruby|s|samp|section|small|source|span|strike|strong|sub|sup|syntaxhighlight|table|tbody|td|templatestyles|th|thead|"
    r"time|tr|tt|u|ul|var|wbr|math|gallery|timeline|score)\b[^<>]*>",
    re.IGNORECASE,
)
MAGIC_WORD = re.compile(r"__[A-Z]{3,24}__")
QUOTES = re.compile(r"'''''|'''|''")
LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}")
LIST_ITEM = re.compile(r"([*#:;]+)[ \t]*(.*)", re.DOTALL)
LEFT_OVER = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}")
EMPTY_BRACKETS = re.compile(r"[ \t]?\([\s,;:–-]*\)|[ \t]?\[[\s,;:]*\]")
AFTER_BRACKET = re.compile(r"(?<=\()[\s,;:]+(?=\S)")
BEFORE_BRACKET = re.compile(r"(?<=[^\s,;])[\s,;]++(?=\))")
COMMAS = re.compile(r",(?:[ \t]*+,)++")
BEFORE_STOP = re.compile(r"(?<=\S)[ \t]+([,.;:](?:\s|$))")
BLANKS = re.compile(r"(?<=\S)[ \t]{2,}")
MANY_LINES = re.compile(r"\n{3,}")


def render_wikitext(record: Record) -> Record:
    """The record as text: title, then the article. Rejected where nothing readable is left of it."""
    text = wikitext_to_text(record.raw.decode("utf-8", "replace"), record.meta.get("title", ""))
    if not text:
        return replace(record, reason="empty")
    title = record.meta.get("title")
    return replace(record, form="string", text=f"{title}\n\n{text}" if title else text)


def wikitext_to_text(wikitext: str, title: str = "") -> str:
    """Clean text. Files, categories, references, notes and hidden tables are left out; a table's rows become lines
    with their cells parted by ` | `; code and formulas stay as they were written."""
    kept: list[str] = []
    text = RESERVED.sub("", wikitext).replace("\r\n", "\n")
    text = _set_aside(text, kept)
    text = EASY_LINK.sub(r"\1", text)
    text = _resolve("\n" + text, title)
    text = EXTERNAL.sub(r"\1", text)
    if "<" in text:
        text = TAG.sub("", RAISED.sub("^", ITEM.sub("\n* ", LINE_BREAK.sub("\n", text))))
    text = _unescape(text)
    text = QUOTES.sub("", MAGIC_WORD.sub("", text)).replace("\xa0", " ")
    text = _lines(LEFT_OVER.sub("", text).replace(BAR, "|").replace(EQUALS, "="))
    text = EMPTY_BRACKETS.sub("", COMMAS.sub(",", BLANKS.sub(" ", text)))
    text = BEFORE_STOP.sub(r"\1", BEFORE_BRACKET.sub("", AFTER_BRACKET.sub("", text)))
    text = KEPT.sub(lambda mark: kept[int(mark[1])], text)
    return MANY_LINES.sub("\n\n", text).strip()


def _set_aside(text: str, kept: list[str]) -> str:
    """Take out comments and references; put a mark in place of code, formulas and what is <nowiki>."""
    if "<" not in text:
        return text
    out: list[str] = []
    at = 0
    closers: dict[str, re.Pattern[str]] = {}
    unclosed: set[str] = set()
    while opener := OPENER.search(text, at):
        out.append(text[at : opener.start()])
        at = opener.end()
        name = (opener[1] or "").lower()
        if not name:
            end = text.find("-->", at)
            at = end + 3 if end >= 0 else len(text)
            continue
        if opener[2].endswith("/"):
            continue
        # One that is never closed is looked for only once, or many of them would cost their square.
        closer = None
        if name not in unclosed:
            pattern = closers.setdefault(name, re.compile(rf"</{name}\s*>", re.IGNORECASE))
            closer = pattern.search(text, at)
        if closer is None:
            unclosed.add(name)
            continue
        inner, at = text[at : closer.start()], closer.end()
        if name in VERBATIM.split("|") and name != "style":
            out.append(_mark(name, inner, kept))
    out.append(text[at:])
    return "".join(out)


def _mark(name: str, inner: str, kept: list[str]) -> str:
    if name in FORMULAS:
        # Two braces mean in TeX what they mean with a blank between.
        said = " ".join(
            inner.replace("{{", "{ {").replace("{{", "{ {").replace("}}", "} }").replace("}}", "} }").split()
        )
        kept.append(f"${said}$" if said else "")
    elif name in BLOCKS:
        kept.append(_unescape(inner.strip("\n").rstrip()))
        return f"\n\n\x02{len(kept) - 1}\x03\n\n"
    else:
        kept.append(_unescape(inner))
    return f"\x02{len(kept) - 1}\x03"


def _unescape(text: str) -> str:
    # `html.unescape` raises on a number of thousands of digits.
    return html.unescape(LONG_REFERENCE.sub("", text)) if "&" in text else text


@dataclass
class _Frame:
    """A template, link or table that is open: its kind (`{{`, `[[`, `{|`) and its content so far."""

    kind: str
    content: list[str] = field(default_factory=list)


def _resolve(text: str, title: str) -> str:
    """Templates, links and tables rendered from the inside out. One left open is dropped to its opening mark,
    which gives its content as text; a closing mark without its opening one is dropped."""
    stack = [_Frame("")]
    opened = {"{{": 0, "[[": 0, "{|": 0}
    budget = MOST_READINGS * len(text)
    at = 0
    for token in TOKEN.finditer(text):
        stack[-1].content.append(text[at : token.start()])
        at = token.end()
        mark = token[0]
        if mark in opened or mark[-2:] == "{|":
            stack.append(_Frame(mark[-2:]))
            opened[mark[-2:]] += 1
            continue
        kind = CLOSES.get(mark, "{|")
        if not opened[kind]:
            continue
        place = len(stack) - 1
        while stack[place].kind != kind:
            place -= 1
        for frame in stack[place:]:
            opened[frame.kind] -= 1
        content = "".join(part for frame in stack[place:] for part in frame.content)
        del stack[place:]
        budget -= len(content)
        if budget >= 0:
            stack[-1].content.append(_rendered(kind, content, title, nested=len(stack) > 1))
    stack[-1].content.append(text[at:])
    return "".join(part for frame in stack for part in frame.content)


def _rendered(kind: str, content: str, title: str, nested: bool) -> str:
    if kind == "[[":
        said = _link(content)
    elif kind == "{{":
        said = _template(content, title)
    else:
        said = _table(content)
    if nested:
        # What a child says must not part its parent's arguments.
        said = said.replace("|", BAR).replace("=", EQUALS)
    return said


def _link(content: str) -> str:
    target, bar, label = content.partition("|")
    if HIDDEN_LINK.match(target):
        return ""
    if bar:
        label = label.rpartition("|")[2].strip() if "|" in label else label
        return label or re.sub(r"\s*\([^()]*\)$|,.*$", "", target.partition(":")[2] or target)
    if OTHER_LANGUAGE.match(target):
        return ""
    return INLINE_PREFIX.sub("", target, count=1).lstrip(":").partition("#")[0] or target.lstrip("#")


def _template(content: str, title: str) -> str:
    name, *arguments = content.split("|")
    name = name.strip()
    if name in ("PAGENAME", "FULLPAGENAME", "BASEPAGENAME", "SUBJECTPAGENAME"):
        return title
    positional: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.strip()
        if not equals or len(key) > 32 or "<" in key:
            positional.append(argument.strip())
        elif key.isdecimal() and len(key) < 3:
            if int(key) == len(positional) + 1:
                positional.append(value.strip())
            else:
                named[key] = value.strip()
        else:
            named[key.lower()] = value.strip()
    return expand(name, positional, named)


def _table(content: str) -> str:
    """Rows as lines. Infoboxes, navigation and hidden tables are left out, and rows with nothing in them."""
    attributes, _, body = content.partition("\n")
    if HIDDEN_TABLE.search(attributes):
        return ""
    lines = []
    for row in ROW.split("\n" + body):
        cells = []
        for cell in CELL.split(row):
            caption = cell.startswith("+")
            attribute = CELL_ATTRIBUTES.match(cell, int(caption)) or BARE_ATTRIBUTES.match(cell)
            cell = cell[attribute.end() if attribute else int(caption) :]
            cell = " ".join(LINE_BREAK.sub(" ", cell).split())
            if cell and caption:
                lines.append(cell)
            elif cell:
                cells.append(cell)
        if cells:
            lines.append(f" {BAR} ".join(cells))
    return "\n\n" + "\n".join(lines) + "\n\n" if lines else ""


def _lines(text: str) -> str:
    """Headings and list items without their marks; a heading with nothing under it is left out."""
    out: list[str] = []
    pending: list[tuple[int, str]] = []
    for line in text.split("\n"):
        first = line[:1]
        if first == "=" and (stripped := line.rstrip()).endswith("="):
            heading = stripped.strip("=")
            level = (len(stripped) - len(heading)) // 2
            while pending and pending[-1][0] >= level:
                pending.pop()
            if heading.strip():
                pending.append((level, heading.strip()))
            continue
        if first == "-" and not line.strip("- "):
            continue
        if first and first in "|!":
            # Of a table that was never closed, or never opened.
            line = "" if line[1:2] in "-}" else line[1:].lstrip("+ ")
        if first and first in "*#:;" and (item := LIST_ITEM.match(line)):
            if not item[2].strip(" \t.,;:"):
                continue
            depth = len(item[1])
            line = f"{'  ' * (depth - 1)}- {item[2]}" if item[1][-1] in "*#" else item[2]
        line = line.rstrip()
        if line and pending:
            for _, heading in pending:
                out += ["", heading, ""]
            pending.clear()
        out.append(line)
    return "\n".join(out)
