"""Many texts split into words in one pass, with numpy over their code points; every quality rule that counts
words shares the result. What the rules make of the words is said in gopher.py and fineweb.py.

A word is what spaCy's blank English tokenizer calls one, nearly (abbreviations and emoticons aside), because
datatrove counts those, FineWeb was filtered with them, and the published thresholds mean little under another
count: punctuation at a word's edges and the `'s` and `n't` of contractions are words of their own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

BASE = 0x9E3779B97F4A7C15
"""Odd, hence with an inverse modulo 2**64: the base of the rolling hash."""
SPACE, ALPHABETIC, DIGIT, LOWER, UPPER, OPENS, CLOSES, SOLID = (1 << bit for bit in range(8))
"""Kinds of a character. OPENS, CLOSES: split off at a word's start, at its end. SOLID: neither blank nor symbol."""
TABLE_SIZE = 0x20000
BATCH_CHARACTERS = 1 << 16
"""Handled at once: numpy's arrays then fit a core's cache, and its calls cost little beside what they do."""
LONG_RUN = 8
"""Marks in a row that are passed by all words at a time; a word with more is looked at alone."""

MARKS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧—–"
OPENING = MARKS + "§%=$£€¥฿₽₹"
CLOSING = MARKS
SYMBOLS = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
"""datatrove's PUNCTUATION; words made of these, control characters and sentence terminals alone are symbols."""
TITLES = (
    "Mr Mrs Ms Dr Prof St Mt Jr Sr Rev Gen Gov Sen Rep Adm Messrs Inc Co co Corp Ltd Bros vs e.g E.g i.e I.e a.m p.m"
)
MONTHS_AND_STATES = (
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ala Ariz Calif Colo Conn Fla Ga Ill Ind La Mass Md"
)
ABBREVIATIONS = (*TITLES.split(), *MONTHS_AND_STATES.split(), "Ph.D", "Mich", "Minn", "Mo", "Pa", "Va")
"""Words that keep their dot; the frequent ones of those that spaCy knows."""

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Words:
    """Words of several texts, one after the other.

    starts, ends: (words,) positions in `points`; document: (words,) index of the text; hashes: (words,) 64 bits;
    bounds: (texts + 1,) the words of text d are bounds[d] to bounds[d + 1].
    """

    points: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    starts: Integers
    ends: Integers
    document: Integers
    bounds: Integers
    hashes: Hashes

    @cached_property
    def lengths(self) -> Integers:
        """(words,) in characters."""
        return self.ends - self.starts

    @cached_property
    def features(self) -> NDArray[np.uint8]:
        """(words,) ALPHABETIC and SOLID, where any character of the word is."""
        wanted = ALPHABETIC | SOLID
        kinds: NDArray[np.uint8] = self.kinds[self.starts] & np.uint8(wanted)
        # Most words say it with their first character.
        unsure = np.flatnonzero((kinds != wanted) & (self.lengths > 1))
        if len(unsure):
            edges = np.stack([self.starts[unsure], self.ends[unsure]], axis=1).ravel()
            kinds[unsure] = np.bitwise_or.reduceat(self.kinds, edges)[::2] & np.uint8(wanted)
        return kinds

    @cached_property
    def counts(self) -> Integers:
        """(texts,) words in each text."""
        return np.diff(self.bounds)

    def per_text(self, values: NDArray[np.int64] | Flags) -> Integers:
        """(texts,) sums of (words,) values."""
        return np.diff(running_sum(values)[self.bounds])


def running_sum(values: NDArray[np.int64] | Flags) -> Integers:
    """(n + 1,) sums of the first 0, 1, ... n values."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of BATCH_CHARACTERS or, where a text alone is longer, of one text."""
    first = size = 0
    for index, text in enumerate(texts):
        if index > first and size + len(text) > BATCH_CHARACTERS:
            yield first, index
            first, size = index, 0
        size += len(text)
    if first < len(texts):
        yield first, len(texts)


def split_words(texts: Sequence[str]) -> Words:
    """The words of texts that hold no lone surrogates."""
    joined = "\n".join(("", *texts, ""))
    points = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds = kinds_of_characters()[np.minimum(points, TABLE_SIZE - 1)]
    rolling = rolling_sums(points)
    starts, ends = _join_abbreviations(points, kinds, rolling, *_boundaries(points, kinds))
    edges = np.cumsum([0, *(len(text) + 1 for text in texts)])
    bounds = np.searchsorted(starts, edges)
    document = np.repeat(np.arange(len(texts)), np.diff(bounds))
    return Words(points, kinds, starts, ends, document, bounds, span_hashes(rolling, starts, ends))


@cache
def kinds_of_characters() -> NDArray[np.uint8]:
    """(TABLE_SIZE,) kinds of each code point; the last stands for all beyond, which are letters."""
    characters = [chr(point) for point in range(TABLE_SIZE)]
    table = np.zeros(TABLE_SIZE, np.uint8)
    for kind, holds in (
        (SPACE, str.isspace),
        (ALPHABETIC, str.isalpha),
        (LOWER, str.islower),
        (UPPER, str.isupper),
    ):
        table |= np.fromiter(map(holds, characters), np.uint8, TABLE_SIZE) * np.uint8(kind)
    table[ord("0") : ord("9") + 1] |= DIGIT
    for kind, members in ((OPENS, OPENING), (CLOSES, CLOSING)):
        table[[ord(member) for member in members]] |= kind
    icons = [point for point in range(0xA6, TABLE_SIZE) if unicodedata.category(chr(point)) == "So"]
    table[icons] |= OPENS | CLOSES
    symbols = np.zeros(TABLE_SIZE, bool)
    symbols[[ord(symbol) for symbol in {*SYMBOLS, *sentence_terminals()}]] = True
    symbols[[*range(32), *range(127, 160)]] = True
    table[~symbols & (table & SPACE == 0)] |= SOLID
    table[-1] = ALPHABETIC | SOLID
    return table


@cache
def sentence_terminals() -> frozenset[str]:
    """Characters with Unicode's property Sentence_Terminal, in the planes that have any."""
    import regex  # type: ignore[import-untyped]

    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x20000))))
    return frozenset(regex.findall(r"\p{Sentence_Terminal}", everything))


def _boundaries(points: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> tuple[Integers, Integers]:
    """Where words start and end. The first and last character are blank."""
    blank = kinds & SPACE != 0
    turns = np.flatnonzero(blank[1:] != blank[:-1]) + 1
    first, last = turns[::2], turns[1::2]
    if not len(first):
        return first, last
    opens, closes = _edge_marks(points, kinds)
    # The core of a run between blanks: from its first character that does not open to its last that does not close.
    begin = _past(opens, first, last, 1)
    end = _past(closes, last - 1, first - 1, -1) + 1
    whole = begin < end
    begin, end = begin[whole], end[whole]
    step = np.zeros(len(points) + 1, np.int8)
    step[begin] += 1
    step[end] -= 1
    inside = np.cumsum(step[:-1], dtype=np.int8).view(np.bool_)
    cuts = ~inside & ~blank
    cuts[begin] = True
    cuts[end] = True
    _cut_inside(points, kinds, inside, begin, end, cuts)
    dots = points == ord(".")
    cuts[1:] &= ~(dots[1:] & dots[:-1])
    cuts[last] = True
    marks = np.flatnonzero(cuts)
    opening = ~blank[marks]
    positions = np.flatnonzero(opening)
    return marks[positions], marks[positions + 1]


def _past(flags: Flags, begin: Integers, stop: Integers, step: int) -> Integers:
    """From each of `begin` the first position whose flag is not set, going by `step` as far as `stop`."""
    position = begin.copy()
    left = np.flatnonzero(flags[position])
    for _ in range(LONG_RUN):
        if not len(left):
            return position
        position[left] += step
        at = position[left]
        left = left[(at != stop[left]) & flags[at]]
    for index in left.tolist():
        run = flags[position[index] : stop[index] : step]
        position[index] += step * (len(run) if run.all() else int(run.argmin()))
    return position


def _edge_marks(points: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> tuple[Flags, Flags]:
    """Characters that are split off at a word's start, and at its end."""
    opens = kinds & OPENS != 0
    closes = kinds & CLOSES != 0
    dots = np.flatnonzero(points == ord("."))
    before, after = points[dots - 1], points[dots + 1]
    ellipsis = (before == ord(".")) | (after == ord("."))
    opens[dots] = ellipsis
    # A dot ends a sentence after lower case, a digit or a mark, or after two capitals; "J." and "U.S." are whole.
    kind = kinds[dots - 1]
    capitals = (kind & UPPER != 0) & (kinds[dots - 2] & UPPER != 0)
    closes[dots] = ellipsis | (kind & (LOWER | DIGIT | CLOSES) != 0) | capitals | np.isin(before, _points("%²-+"))
    apostrophes = np.flatnonzero((points == ord("'")) | (points == ord("’")))
    alone = (kinds[apostrophes - 1] & SPACE != 0) & (points[apostrophes + 1] | 32 == ord("s"))
    alone &= kinds[np.minimum(apostrophes + 2, len(kinds) - 1)] & SPACE != 0
    opens[apostrophes[alone]] = False
    for sign in "%$£€¥":
        after_digit = np.flatnonzero(points == ord(sign))
        closes[after_digit] = kinds[after_digit - 1] & DIGIT != 0
    plus = np.flatnonzero(points == ord("+"))
    opens[plus] = kinds[plus + 1] & DIGIT == 0
    closes[plus] = kinds[plus - 1] & DIGIT != 0
    return opens, closes


def _cut_inside(
    points: NDArray[np.uint32], kinds: NDArray[np.uint8], inside: Flags, starts: Integers, ends: Integers, cuts: Flags
) -> None:
    """Set the cuts within words, each before and after a sign between the right neighbours."""
    plain = kinds & (ALPHABETIC | DIGIT) != 0
    signs = np.flatnonzero(inside & ~plain)
    sign = points[signs]
    before, after = kinds[signs - 1], kinds[signs + 1]
    letters = (before & ALPHABETIC != 0) & (after & ALPHABETIC != 0)
    cut = letters & (sign == ord(","))
    cut |= (before & (ALPHABETIC | DIGIT) != 0) & (after & ALPHABETIC != 0) & np.isin(sign, _points("-–—~:<>=/"))
    cut |= (sign == ord(".")) & (before & LOWER != 0) & (after & UPPER != 0)
    cut |= (before & DIGIT != 0) & ((after & DIGIT != 0) | (points[signs + 1] == 45)) & np.isin(sign, _points("+-*^"))
    cut |= sign == ord("…")
    addresses = signs[:-2][(sign[:-2] == ord(":")) & (sign[1:-1] == ord("/")) & (np.diff(signs, 2) == 0)]
    if len(addresses):
        # A word that is a URL is left whole.
        word = np.searchsorted(ends, addresses, "right")
        word = word[addresses - starts[word] <= len("https")]
        cut &= ~np.isin(np.searchsorted(ends, signs, "right"), word)
    cuts[signs[cut]] = True
    cuts[signs[cut] + 1] = True
    pairs = signs[:-1][(np.diff(signs) == 1) & np.isin(sign[1:], _points("-.—")) & (sign[1:] == sign[:-1])]
    between = (kinds[pairs - 1] & ALPHABETIC != 0) & (kinds[pairs + 2] & ALPHABETIC != 0)
    pairs = pairs[between | (points[pairs] == ord("."))]
    cuts[pairs] = True
    cuts[pairs + 2] = True
    _cut_contractions(points, kinds, signs, sign, ends, cuts)


def _cut_contractions(
    points: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    signs: Integers,
    sign: NDArray[np.uint32],
    ends: Integers,
    cuts: Flags,
) -> None:
    """it|'s, we|'ll, do|n't: an apostrophe after a letter and one or two letters before the word's end."""
    apostrophes = signs[(sign == ord("'")) | (sign == ord("’"))]
    if not len(apostrophes):
        return
    left = ends[np.searchsorted(ends, apostrophes, "right").clip(max=len(ends) - 1)] - apostrophes - 1
    apostrophes = apostrophes[((left == 1) | (left == 2)) & (kinds[apostrophes - 1] & ALPHABETIC != 0)]
    before, after, second = points[apostrophes - 1], points[apostrophes + 1], points[apostrophes + 2]
    single = kinds[apostrophes + 2] & ALPHABETIC == 0
    negation = single & (after == ord("t")) & (before == ord("n"))
    cut = negation | single & ((after | 32) == ord("s")) | single & (after == ord("m")) & ((before | 32) == ord("i"))
    cut |= single & (after == ord("d")) & np.isin(before, _points("Iueyot"))
    cut |= ~single & (second == ord("e")) & ((after == ord("r")) | (after == ord("v")))
    cut |= ~single & (second == ord("l")) & (after == ord("l"))
    cuts[(apostrophes - negation)[cut]] = True


def _points(characters: str) -> NDArray[np.uint32]:
    return np.array([ord(character) for character in characters], np.uint32)


def _join_abbreviations(
    points: NDArray[np.uint32], kinds: NDArray[np.uint8], rolling: Hashes, starts: Integers, ends: Integers
) -> tuple[Integers, Integers]:
    """Give "Mr", "e.g" and single lower-case letters their dot back, which was cut off as a sentence's end."""
    dots = np.flatnonzero((points[starts] == ord(".")) & (ends - starts == 1))
    dots = dots[dots > 0]
    dots = dots[ends[dots - 1] == starts[dots]]
    owner = dots - 1
    letter = (ends[owner] - starts[owner] == 1) & (kinds[starts[owner]] & ALPHABETIC != 0)
    known = np.isin(span_hashes(rolling, starts[owner], ends[owner]), hashes_of(ABBREVIATIONS))
    dots = dots[letter | known]
    ends = ends.copy()
    ends[dots - 1] += 1
    return np.delete(starts, dots), np.delete(ends, dots)


@cache
def hashes_of(words: tuple[str, ...]) -> Hashes:
    """(words,) the hashes that `Words` gives these, each of them one word."""
    joined = "\n".join(("", *words, ""))
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    breaks = np.flatnonzero(points == ord("\n"))
    return span_hashes(rolling_sums(points), breaks[:-1] + 1, breaks[1:])


def rolling_sums(points: NDArray[np.uint32]) -> Hashes:
    """(characters,) running sums of mixed code points times powers of BASE, modulo 2**64."""
    mixed = points.astype(np.uint64)
    mixed += np.uint64(0x51ED27)
    mixed *= mixed * np.uint64(0xD6E8FEB86659FD93)
    mixed *= _powers(1 << max(16, len(points).bit_length()))[0][: len(points)]
    return np.cumsum(mixed, out=mixed)


def span_hashes(rolling: Hashes, starts: Integers, ends: Integers) -> Hashes:
    """(words,) polynomial hashes: a difference of running sums, brought back to position 0."""
    inverses = _powers(1 << max(16, len(rolling).bit_length()))[1]
    return (rolling[ends - 1] - rolling[starts - 1]) * inverses[starts]


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """(size,) powers of BASE and of its inverse."""
    bases = np.array([[BASE], [pow(BASE, -1, 1 << 64)]], np.uint64)
    factors = np.repeat(bases, size, axis=1)
    factors[:, 0] = 1
    powers = np.multiply.accumulate(factors, axis=1)
    return powers[0], powers[1]
