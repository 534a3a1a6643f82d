"""Characters that a reader does not see, or sees as others: what hides triggers and instructions from people.

Boucher et al. 2022, "Bad Characters" (invisible characters, homoglyphs, reorderings); Boucher and Anderson 2021,
"Trojan Source" (bidirectional controls); Unicode UTS #39, section 5.1 (mixed scripts). Everyday uses pass: joiners in
Persian, Indic scripts and emoji, direction marks beside Hebrew and Arabic, soft hyphens, flags made of tags.
"""

from __future__ import annotations

import re

from forja.corpus.poison.encodings import foreign
from forja.corpus.poison.flags import Flag, excerpt

ODD = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    "\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e01ef]"
)
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\u3164\uffa0"
LETTER = "A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff0-9"
"""Of scripts whose letters never need a joiner."""
INSIDE_WORD = re.compile(f"(?<=[{LETTER}])[{INVISIBLE}]+(?=[{LETTER}])")
INVISIBLE_RUN = re.compile(f"[{INVISIBLE}\ufe00-\ufe0f]{{6,}}")
TAGS = re.compile("[\U000e0001-\U000e007f]+")
SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")
REORDERING = re.compile("[\u202b\u202d\u202e\u2067]")
BLACK_FLAG = "\U0001f3f4"
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]")
OTHER_SCRIPT = re.compile("[\u0370-\u03ff\u0400-\u04ff]")
MIXED = re.compile("[A-Za-z][\u0370-\u03ff\u0400-\u04ff]|[\u0370-\u03ff\u0400-\u04ff][A-Za-z]")
WORD = re.compile(r"[^\W\d_]+")
CONFUSABLE = dict(
    zip(
        "аеорсухіјѕԁһԛԝвкмнтАВЕКМНОРСТХІЈЅҮԌԚԜοανρυιτκΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcyxijsdhqwbkmhtABEKMHOPCTXIJSYGQWoavpuitkABEZHIKMNOPTYX",
        strict=True,
    )
)
"""Cyrillic and Greek letters that look like Latin ones (UTS #39, confusables.txt, the single letters)."""
GREEK_SIGNS = frozenset("αβγδεζηθικλμνξπρστυφχψωΔΣΩΠΛΓΦΨΘΞ")
SHORTEST_MIXED = 4
SEVERAL, STRETCH = 3, 10_000
"""So many look-alike words within so many characters are a disguise. One in a longer text comes of a scan or of the
wrong keyboard, and would cost a whole book; in a shorter text one is enough, as a phish needs no more."""


def inspect_unicode(text: str) -> list[Flag]:
    """Flags of one text: unicode-tags, unicode-selectors, unicode-bidi, unicode-invisible, unicode-homoglyphs
    (-few)."""
    if text.isascii():
        return []
    signs = foreign(text)
    found = []
    if ODD.search(signs):
        found = [_tags(text), _selectors(text), _bidirectional(text), _invisible(text)]
    if OTHER_SCRIPT.search(signs):
        found.append(_homoglyphs(text))
    return [flag for flag in found if flag is not None]


def _tags(text: str) -> Flag | None:
    """Tag characters, which mirror ASCII unseen; three emoji flags (England, Scotland, Wales) are spelled with them."""
    spans = [match for match in TAGS.finditer(text) if text[match.start() - 1 : match.start()] != BLACK_FLAG]
    if not spans:
        return None
    says = "".join(chr(ord(sign) - 0xE0000) for match in spans for sign in match[0] if ord(sign) > 0xE001F)
    return Flag("unicode-tags", {"count": len(spans), "at": spans[0].start(), "says": says[:160]})


def _selectors(text: str) -> Flag | None:
    """Several variation selectors in a row: a character takes one, bytes are smuggled in many."""
    spans = list(SELECTORS.finditer(text))
    if not spans:
        return None
    values = [_selected(sign) for sign in spans[0][0]]
    says = bytes(values).decode("utf-8", "replace")
    evidence = {"count": len(spans), "at": spans[0].start(), "longest": max(len(match[0]) for match in spans)}
    return Flag("unicode-selectors", {**evidence, "says": excerpt(says, 0, 80)})


def _selected(sign: str) -> int:
    point = ord(sign)
    return point - 0xFE00 if point < 0xE0100 else point - 0xE0100 + 16


def _bidirectional(text: str) -> Flag | None:
    """Embeddings, overrides and isolates to the right-to-left in lines that hold nothing written so."""
    places = []
    for match in REORDERING.finditer(text):
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.start())
        line = text[start : len(text) if end < 0 else end]
        if not RIGHT_TO_LEFT.search(REORDERING.sub("", line)):
            places.append(match.start())
    if not places:
        return None
    return Flag("unicode-bidi", {"count": len(places), "at": places[0], "shown": excerpt(text, places[0], places[0])})


def _invisible(text: str) -> Flag | None:
    """Invisible characters within words of scripts that need none, or many in a row anywhere."""
    spans = list(INSIDE_WORD.finditer(text)) or list(INVISIBLE_RUN.finditer(text))
    if not spans:
        return None
    first = spans[0]
    evidence = {"count": len(spans), "at": first.start(), "shown": excerpt(text, first.start(), first.end())}
    return Flag("unicode-invisible", evidence)


def _homoglyphs(text: str) -> Flag | None:
    """Latin words in which letters of another script stand in for their likes: `unicode-homoglyphs`, or
    `unicode-homoglyphs-few` where they are too few for so long a text."""
    words: dict[str, int] = {}
    places: list[int] = []
    last = -1
    for match in MIXED.finditer(text):
        if match.start() < last:
            continue
        start, last = _word_around(text, match.start())
        word = text[start:last]
        if _disguised(word):
            words.setdefault(word, start)
            places.append(start)
    if not words:
        return None
    word, at = next(iter(words.items()))
    plain = "".join(CONFUSABLE.get(sign, sign) for sign in word)
    dense = len(text) <= STRETCH or any(
        later - earlier <= STRETCH for earlier, later in zip(places, places[SEVERAL - 1 :], strict=False)
    )
    kind = "unicode-homoglyphs" if dense else "unicode-homoglyphs-few"
    return Flag(kind, {"count": len(words), "at": at, "word": word[:80], "reads": plain[:80]})


def _word_around(text: str, at: int) -> tuple[int, int]:
    start = at
    while start and text[start - 1].isalpha():
        start -= 1
    end = at + 1
    while end < len(text) and text[end].isalpha():
        end += 1
    return start, end


def _disguised(word: str) -> bool:
    """Mostly Latin, and everything else a look-alike. Greek letters at an edge are signs (α-helix), not disguise."""
    foreign = [sign for sign in word if "\u0370" <= sign <= "\u04ff"]
    if len(word) < SHORTEST_MIXED or 2 * len(foreign) > len(word):
        return False
    if not all(sign in CONFUSABLE for sign in foreign):
        return False
    inner = [sign for sign in word[1:-1] if "\u0370" <= sign <= "\u04ff"]
    return bool(inner) or not all(sign in GREEK_SIGNS for sign in foreign)
