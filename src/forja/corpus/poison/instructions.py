"""Instructions aimed at models inside documents, in plain and encoded writing; and prose about them told apart.

The screen looks for known phrases (`phrases.py`). What stands in quotation marks or code among words of people who
explain attacks is `instructions-discussed`: reported, not quarantined. Whoever writes a new phrase, or an injection in
the dress of an explanation, passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from forja.corpus.poison.encodings import Decoded, decode_pieces, rot13, unleet
from forja.corpus.poison.flags import Flag, excerpt
from forja.corpus.poison.phrases import HIDDEN_STEMS, PHRASES, TALK, Phrase

BEFORE, AFTER = 60, 420
"""Characters around a stem in which its phrase is looked for."""
NEAR = 600
"""Characters within which two weak phrases support each other."""
MOST_HITS = 400
"""Stems of a phrase looked at in one text; a text with more is judged by these."""
TALK_AROUND = 500
QUOTES = "\"“”„«»‘’`'"
LEET_STEMS = (
    "1gn",
    "!gn",
    "ign0",
    "pr3v",
    "pr0m",
    "1nstr",
    "!nstr",
    "instruct10",
    "f0rg",
    "d1sr",
    "!nst",
    "5tr",
    "9n0",
)
COMMON = frozenset({"dictated-answer", "secret"})
LEET_WRITTEN = str.maketrans("oieast", "013457")
ROT13, REVERSED, LEET = -1, -2, -3
"""Other readings of a whole text, numbered as phrases are."""


_Stems = dict[int, list[tuple[int, int]]]


class _Found(NamedTuple):
    phrase: Phrase
    start: int
    end: int
    discussed: bool


def inspect_instructions(text: str) -> list[Flag]:
    """`instructions`, or `instructions-discussed` where everything found is talked about, with phrases and excerpt."""
    stems = _stems(text.lower())
    found = _judge(_phrases(text, stems), text)
    if found is not None and found.quarantines:
        return [found]
    hidden = _hidden(text, stems)
    if hidden is not None and (found is None or hidden.quarantines):
        return [hidden]
    return [found] if found is not None else []


@cache
def _automaton() -> Any:
    import ahocorasick

    by_stem: dict[str, list[int]] = {}
    for number, phrase in enumerate(PHRASES):
        for stem in phrase.stems:
            by_stem.setdefault(stem.lower(), []).append(number)
    strong = {stem for phrase in PHRASES if phrase.strong for stem in phrase.stems if len(stem) >= 6 and stem.isascii()}
    hidden = sorted(strong | set(HIDDEN_STEMS))
    for reading, stems in (
        (ROT13, [rot13(stem) for stem in hidden]),
        (REVERSED, [stem[::-1] for stem in hidden]),
        (
            LEET,
            [*LEET_STEMS, *(stem.translate(LEET_WRITTEN) for stem in hidden if stem.translate(LEET_WRITTEN) != stem)],
        ),
    ):
        for stem in stems:
            by_stem.setdefault(stem, []).append(reading)
    automaton = ahocorasick.Automaton()
    for stem, numbers in by_stem.items():
        automaton.add_word(stem, (len(stem), tuple(numbers)))
    automaton.make_automaton()
    return automaton


def _stems(lowered: str) -> _Stems:
    """(start, end) of stems by the phrase or the reading they speak for, of each the first MOST_HITS."""
    found: dict[int, list[tuple[int, int]]] = {}
    for end, (length, numbers) in _automaton().iter(lowered):
        for number in numbers:
            places = found.setdefault(number, [])
            if len(places) < MOST_HITS:
                places.append((end + 1 - length, end + 1))
    return found


def _phrases(text: str, stems: _Stems) -> list[_Found]:
    """Phrases in a text. The commonest weak ones are looked for only beside another weak one."""
    found: list[_Found] = []
    common: list[int] = []
    for number, places in stems.items():
        if number < 0:
            continue
        if PHRASES[number].name in COMMON:
            common.append(number)
        else:
            found += _matches(text, number, places)
    weak = [one for one in found if not one.phrase.strong]
    for number in common if weak else ():
        reach = NEAR + AFTER
        near = [(start, end) for start, end in stems[number] if any(abs(start - one.start) < reach for one in weak)]
        found += _matches(text, number, near)
    return found


def _matches(text: str, number: int, places: list[tuple[int, int]]) -> list[_Found]:
    found: list[_Found] = []
    done = 0
    phrase = PHRASES[number]
    for start, end in places:
        if end <= done:
            continue
        if phrase.anchored:
            match = phrase.pattern.match(text, start, end + AFTER)
        else:
            match = phrase.pattern.search(text, max(0, start - BEFORE), end + AFTER)
        if match is not None and match.start() < end:
            done = match.end()
            found.append(_Found(phrase, match.start(), match.end(), _discussed(text, match.start(), match.end())))
    return found


def _judge(found: list[_Found], text: str) -> Flag | None:
    strong = [one for one in found if one.phrase.strong]
    direct = [one for one in strong if not one.discussed] or _supported([one for one in found if not one.discussed])
    if direct:
        return _flag("instructions", direct, text)
    return _flag("instructions-discussed", strong, text) if strong else None


def _supported(found: list[_Found]) -> list[_Found]:
    """The first two phrases of different names that stand near each other."""
    ordered = sorted(found, key=lambda one: one.start)
    for place, one in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if other.start - one.end > NEAR:
                break
            if other.phrase.name != one.phrase.name:
                return [one, other]
    return []


def _flag(kind: str, found: list[_Found], text: str) -> Flag:
    first = found[0]
    names = sorted({one.phrase.name for one in found})
    return Flag(kind, {"phrases": names, "at": first.start, "shown": excerpt(text, first.start, first.end)})


def _discussed(text: str, start: int, end: int) -> bool:
    """Whether a phrase is mentioned rather than used: quoted or an infinitive, among words of explanation."""
    around = text[max(0, start - TALK_AROUND) : start] + " " + text[end : end + TALK_AROUND]
    talk = len({match[0].lower() for match in TALK.finditer(around)})
    return talk >= 5 or (talk >= 1 and (_quoted(text, start, end) or _reported(text, start)))


def _quoted(text: str, start: int, end: int) -> bool:
    """Within quotation marks or code of one paragraph, or in a quoted or fenced line."""
    line = text.rfind("\n", 0, start) + 1
    if text[line : line + 4].startswith((">", "    ", "\t")):
        return True
    if text.count("```", 0, start) % 2:
        return True
    opening = text[max(line, start - 200) : start]
    closing = text[end : end + 200].split("\n", 1)[0]
    return any(mark in opening for mark in QUOTES) and any(mark in closing for mark in QUOTES)


def _reported(text: str, start: int) -> bool:
    """After "to", as in "tells the model to ignore": unless it is the reader who is told."""
    before = text[max(0, start - 40) : start].lower()
    if not re.search(r"\b(?:to|by|may|can|could|might|will|would)\s+$", before):
        return False
    return not re.search(r"\b(?:you|must|need|have|please)\s+(?:\w+\s+)?(?:to|will|can)\s+$", before)


def _hidden(text: str, stems: _Stems) -> Flag | None:
    """Instructions in an encoded piece, or in the whole text read otherwise."""
    for piece in _readings(text, stems):
        plain = piece.text
        found = _phrases(plain, _stems(plain.lower()))
        if not any(one.phrase.strong for one in found) and len({one.phrase.name for one in found}) < 2:
            continue
        names = sorted({one.phrase.name for one in found})
        says = excerpt(plain, found[0].start, found[0].end)
        evidence = {"phrases": names, "at": piece.start, "encoding": piece.encoding, "says": says}
        return Flag("instructions-discussed" if _talked_about(text, piece) else "instructions", evidence)
    return None


def _talked_about(text: str, piece: Decoded) -> bool:
    if piece.start == 0 and piece.end == len(text):
        return False
    around = text[max(0, piece.start - TALK_AROUND) : piece.start] + " " + text[piece.end : piece.end + TALK_AROUND]
    return len({match[0].lower() for match in TALK.finditer(around)}) >= 2


def _readings(text: str, stems: _Stems) -> Iterator[Decoded]:
    for number, name, read in ((ROT13, "rot13", rot13), (REVERSED, "reversed", _reverse), (LEET, "leet", unleet)):
        if number in stems:
            yield Decoded(name, 0, len(text), read(text))
    for piece in decode_pieces(text):
        yield piece
        for inner in decode_pieces(piece.text):  # encoded twice
            yield Decoded(f"{piece.encoding}, {inner.encoding}", piece.start, piece.end, inner.text)


def _reverse(text: str) -> str:
    return text[::-1]
