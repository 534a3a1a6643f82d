"""Fields of threat records to English: tolerant reading of JSON fields, lists in words, markup to plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

TAGS = "a|b|br|code|div|em|h[1-6]|i|img|li|ol|p|pre|span|strong|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul"
TAG = re.compile(rf"</?(?:xhtml:|html:)?({TAGS})\b(?:\s[^<>]*)?/?>", re.IGNORECASE)
BLOCKS = {"br", "div", "li", "ol", "p", "pre", "table", "td", "th", "tr", "ul", "h1", "h2", "h3", "h4", "h5", "h6"}
CITATION = re.compile(r"\s?\(Citation:[^()]*(?:\([^()]*\)[^()]*)*\)")
LINK = re.compile(r"(?<!\\)\[([^\[\]]{1,300})\]\((?:https?://|/)[^()\s]{1,600}(?:\([^()\s]*\)[^()\s]*)?\)")
BLANKS = re.compile(r"[ \t\u00a0]+")
INNER_LINE = re.compile(r"\n(?=[^\n])")
MANY_LINES = re.compile(r"\n{3,}")
LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}")
LANGUAGE = re.compile(r"([a-zA-Z]{2})(?:$|[-_])")


def said(value: Any) -> str:
    """A field's text without blanks around it; empty where it is no text or number."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 else ""


def member(value: Any, *path: str) -> Any:
    """What lies under `path` in nested mappings; None where it does not."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts of a list, or the one text."""
    found = [said(item) for item in value] if isinstance(value, list) else [said(value)]
    return [text for text in found if text]


def unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def listed(items: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    words = list(items)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def capped(items: list[str], most: int) -> list[str]:
    """The first `most` items, and how many more there are."""
    return items if len(items) <= most else [*items[:most], f"{len(items) - most:,} more"]


def sentence(text: str) -> str:
    """The text with a full stop where it has no end."""
    text = text.strip()
    return text if not text or text[-1] in ".!?:`" else f"{text}."


def bullets(items: Iterable[str]) -> str:
    """One line for each item; further paragraphs of an item are indented under it."""
    return "\n".join("- " + INNER_LINE.sub("\n  ", item.strip()) for item in items if item.strip())


def section(title: str, body: str) -> str:
    """A titled paragraph; empty where it has no body."""
    return f"{title}:\n{body}" if body else ""


def document(*parts: str) -> str:
    """Paragraphs that are not empty, parted by a blank line."""
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    return MANY_LINES.sub("\n\n", text)


def first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def paragraphs(text: str) -> str:
    """Blanks within lines joined, lines trimmed but for list items, and never two empty lines; text in ``` fences is
    left as it is."""
    pieces = text.replace("\r\n", "\n").split("```")
    for number in range(0, len(pieces), 2):
        lines = "\n".join(_trimmed(line) for line in pieces[number].split("\n"))
        pieces[number] = MANY_LINES.sub("\n\n", lines)
    return "```".join(pieces).strip()


def _trimmed(line: str) -> str:
    words = BLANKS.sub(" ", line).strip()
    if words[:2] in ("- ", "* ") and line[0] in " \t":
        # The depth of a list's item.
        depth = line[: len(line) - len(line.lstrip())].replace("\t", "  ")
        return " " * min(len(depth), 12) + words
    return words


def from_markdown(text: str) -> str:
    """ATT&CK's markdown: links to their words, citations out, <code> to backticks."""
    if "](" in text:
        text = LINK.sub(r"\1", text)
    if "(Citation" in text:
        text = CITATION.sub("", text)
    text = re.sub(r"</?code>", "`", text)
    return paragraphs(unescaped(re.sub(r"<br\s*/?>", "\n", text)))


def from_markup(text: str) -> str:
    """Text with HTML or XHTML tags: blocks to lines, known tags out; what only looks like a tag stays."""
    if "<" in text:
        text = TAG.sub(lambda tag: "\n" if tag[1].lower() in BLOCKS else "", text)
    return paragraphs(unescaped(text))


def unescaped(text: str) -> str:
    # `html.unescape` raises on a number of thousands of digits.
    return html.unescape(LONG_REFERENCE.sub("", text)) if "&" in text else text


def in_english(descriptions: Any) -> tuple[str, str | None]:
    """(text, ISO 639-1 language) of [{lang, value}]: English where there is some, else the first."""
    entries = [entry for entry in mappings(descriptions) if said(entry.get("value"))]
    if not entries:
        return "", None
    english = (entry for entry in entries if said(entry.get("lang")).lower().startswith("en"))
    chosen = next(english, entries[0])
    text = said(chosen["value"])
    # Tags are what many descriptions are about: only what is written as HTML is taken for it.
    text = from_markup(text) if text.startswith("<p>") or "</p>" in text else paragraphs(text)
    found = LANGUAGE.match(said(chosen.get("lang")))
    return text, found[1].lower() if found else None


def references(urls: Iterable[str], most: int = 12) -> str:
    return section("References", bullets(capped(unique(url for url in urls if url), most)))


DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")


def iso_date(value: Any) -> str | None:
    """The value where it is an ISO 8601 date or time."""
    text = said(value).replace("/", "-") if isinstance(value, str) and len(value) < 64 else ""
    found = DATE.match(text)
    return found[0] if found else None


def day(value: Any) -> str:
    return (iso_date(value) or "")[:10]


def is_before(date: str | None, since: str | None) -> bool:
    """Whether a record of `date` is older than a source's `since`; one without a date is not."""
    return bool(since and date and date[:10] < since)
