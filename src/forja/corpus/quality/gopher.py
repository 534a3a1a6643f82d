"""The rules of Gopher's MassiveText (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1 and table A1), with what
the paper leaves open decided as datatrove 0.10 does."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from forja.corpus.quality.verdict import Verdict
from forja.corpus.quality.words import ALPHABETIC, SOLID, Flags, Hashes, Integers, Words, hashes_of, running_sum

LEAST_WORDS, MOST_WORDS = 50, 100_000
SHORTEST_MEAN, LONGEST_MEAN = 3.0, 10.0
MOST_SYMBOLS_A_WORD = 0.1
MOST_BULLET_LINES = 0.9
MOST_ELLIPSIS_LINES = 0.3
LEAST_ALPHABETIC = 0.8
LEAST_STOP_WORDS = 2
MOST_DUPLICATE_LINES, MOST_DUPLICATE_LINE_CHARACTERS = 0.3, 0.2
MOST_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
MOST_DUPLICATE_NGRAM = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

STOP_WORDS = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "es": ("de", "la", "que", "el", "en", "y", "los", "con", "por", "una"),
    "de": ("der", "die", "und", "in", "den", "zu", "das", "mit", "von", "ist"),
    "fr": ("de", "la", "le", "et", "les", "des", "en", "que", "une", "pour"),
    "it": ("di", "e", "che", "la", "il", "un", "per", "con", "una", "del"),
    "pt": ("de", "a", "que", "o", "e", "do", "da", "em", "um", "para"),
    "nl": ("de", "en", "van", "het", "een", "in", "is", "dat", "op", "met"),
}
"""The paper's list for English; ours, of the most frequent function words, for the others. A language without a
list is not held to the rule; a text of unknown language is held to the English one."""
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Languages written without blanks: rules that count words say nothing about them."""

PARAGRAPHS = re.compile(r"\n{2,}")


def quality(texts: Sequence[str], languages: Sequence[str | None], words: Words) -> list[Verdict | None]:
    """The quality rules in datatrove's order (appendix A.1.1, "Quality Filtering")."""
    symbols = words.features & SOLID == 0
    solid = (words.counts - words.per_text(symbols)).tolist()
    characters = words.per_text(words.lengths * ~symbols).tolist()
    alphabetic = words.per_text(words.features & ALPHABETIC != 0).tolist()
    stops = _stop_words(words, languages)
    verdicts: list[Verdict | None] = []
    for index, count in enumerate(words.counts.tolist()):
        if languages[index] in UNSPACED:
            verdicts.append(None)
            continue
        verdict = _counted(solid[index], characters[index])
        verdict = verdict or _symbols(texts[index], count) or _line_edges(texts[index])
        if verdict is None and alphabetic[index] / count < LEAST_ALPHABETIC:
            verdict = Verdict("gopher_quality.alphabetic_words", alphabetic[index] / count, LEAST_ALPHABETIC)
        if verdict is None and stops[index] < LEAST_STOP_WORDS:
            verdict = Verdict("gopher_quality.stop_words", stops[index], LEAST_STOP_WORDS)
        verdicts.append(verdict)
    return verdicts


def _counted(words: int, characters: int) -> Verdict | None:
    if words < LEAST_WORDS:
        return Verdict("gopher_quality.words", words, LEAST_WORDS)
    if words > MOST_WORDS:
        return Verdict("gopher_quality.words", words, MOST_WORDS)
    mean = characters / words
    if mean < SHORTEST_MEAN:
        return Verdict("gopher_quality.mean_word_length", mean, SHORTEST_MEAN)
    if mean > LONGEST_MEAN:
        return Verdict("gopher_quality.mean_word_length", mean, LONGEST_MEAN)
    return None


def _symbols(text: str, words: int) -> Verdict | None:
    hashes = text.count("#") / words
    if hashes > MOST_SYMBOLS_A_WORD:
        return Verdict("gopher_quality.hashes", hashes, MOST_SYMBOLS_A_WORD)
    ellipses = (text.count("...") + text.count("…")) / words
    if ellipses > MOST_SYMBOLS_A_WORD:
        return Verdict("gopher_quality.ellipses", ellipses, MOST_SYMBOLS_A_WORD)
    return None


def _line_edges(text: str) -> Verdict | None:
    """Lines that start with a bullet or end in an ellipsis; only texts that could have enough are split."""
    bullets = text.count("•") + text.count("-")
    ellipses = text.count("…") + text.count("...")
    breaks = text.count("\n")
    if bullets <= MOST_BULLET_LINES * breaks and ellipses <= MOST_ELLIPSIS_LINES * breaks:
        return None
    lines = text.splitlines()
    share = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
    if share > MOST_BULLET_LINES:
        return Verdict("gopher_quality.bullet_lines", share, MOST_BULLET_LINES)
    share = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
    if share > MOST_ELLIPSIS_LINES:
        return Verdict("gopher_quality.ellipsis_lines", share, MOST_ELLIPSIS_LINES)
    return None


def _stop_words(words: Words, languages: Sequence[str | None]) -> list[int]:
    """(texts,) how many different stop words of its language each text has."""
    spoken = np.array([language if language not in (None, "und") else "en" for language in languages])
    found = np.full(len(languages), LEAST_STOP_WORDS)
    for language, stop_words in STOP_WORDS.items():
        texts = spoken == language
        if not texts.any():
            continue
        seen = np.zeros((len(languages), len(stop_words)), bool)
        for column, value in enumerate(hashes_of(stop_words)):
            seen[words.document[words.hashes == value], column] = True
        found[texts] = seen.sum(axis=1)[texts]
    return [int(count) for count in found]


def repetition(texts: Sequence[str], languages: Sequence[str | None], words: Words) -> list[Verdict | None]:
    """The repetition rules in datatrove's order (table A1): paragraphs, lines, top and duplicate n-grams."""
    verdicts = [_repeated_lines(text) for text in texts]
    sizes = np.array([len(text) for text in texts])
    spaced = np.array([language not in UNSPACED for language in languages])
    sums = running_sum(words.lengths)
    for size, threshold in MOST_TOP_NGRAM.items():
        shares = _top_ngram(words, sums, size) / np.maximum(1, sizes)
        for index in np.flatnonzero((shares > threshold) & spaced).tolist():
            verdicts[index] = verdicts[index] or Verdict(
                f"gopher_repetition.top_{size}_gram", float(shares[index]), threshold
            )
    covered = _covered(words, min(MOST_DUPLICATE_NGRAM)) / np.maximum(1, sizes)
    for index in np.flatnonzero((covered > min(MOST_DUPLICATE_NGRAM.values())) & spaced).tolist():
        verdicts[index] = verdicts[index] or _duplicate_ngrams(words, sums, index, len(texts[index]))
    return verdicts


def _repeated_lines(text: str) -> Verdict | None:
    stripped = text.strip()
    paragraphs = PARAGRAPHS.split(stripped) if "\n\n\n" in stripped else stripped.split("\n\n")
    lines = text.split("\n")
    if "\n\n" in text:
        # As a split at runs of breaks: no empty lines but before a first break and after a last.
        lines = [line for line in lines if line] + [""] * (text.startswith("\n") + text.endswith("\n"))
    for kind, pieces in (("paragraph", paragraphs), ("line", lines)):
        different = set(pieces)
        repeated = len(pieces) - len(different)
        if not repeated:
            continue
        share = repeated / len(pieces)
        if share > MOST_DUPLICATE_LINES:
            return Verdict(f"gopher_repetition.duplicate_{kind}s", share, MOST_DUPLICATE_LINES)
        share = (sum(map(len, pieces)) - sum(map(len, different))) / len(text)
        if share > MOST_DUPLICATE_LINE_CHARACTERS:
            return Verdict(f"gopher_repetition.duplicate_{kind}_characters", share, MOST_DUPLICATE_LINE_CHARACTERS)
    return None


def _ngrams(hashes: Hashes, document: Integers, size: int) -> tuple[Hashes, Integers]:
    """Hashes of all n-grams that lie in one text, and the index of the first word of each. Equal n-grams of
    different texts have different hashes."""
    count = max(0, len(hashes) - size + 1)
    grams = hashes[:count].copy()
    for offset in range(1, size):
        grams *= np.uint64(0x9E3779B97F4A7C15)
        grams += hashes[offset : offset + count]
    text = document[:count]
    grams += text.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    grams ^= grams >> np.uint64(29)
    grams *= np.uint64(0xBF58476D1CE4E5B9)
    first = np.flatnonzero(text == document[size - 1 :]) if count else np.zeros(0, np.int64)
    return grams[first], first


def _runs(grams: Hashes, first: Integers) -> tuple[Integers, Flags]:
    """First words of n-grams, equal ones together and in the order of the text, and whether each begins a run.

    Hash and position share 64 bits, so that one sort of plain integers does it: of n words, 64 - log2(n) bits
    of hash are left, 46 or more for a batch.
    """
    bits = np.uint64(max(1, int(first[-1]).bit_length()) if len(first) else 1)
    keys = (grams >> bits << bits) | first.astype(np.uint64)
    keys.sort()
    position = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    keys >>= bits
    begins = np.ones(len(keys), bool)
    begins[1:] = keys[1:] != keys[:-1]
    return position, begins


def _top_ngram(words: Words, sums: Integers, size: int) -> Integers:
    """(texts,) characters in all occurrences of each text's most frequent n-gram, blanks within it counted; of
    equally frequent ones the first counts."""
    position, begins = _runs(*_ngrams(words.hashes, words.document, size))
    total = np.zeros(len(words.counts), np.int64)
    if not len(position):
        return total
    heads = np.flatnonzero(begins)
    times = np.diff(np.append(heads, len(position)))
    first = position[heads]
    # Most times, then least position, in one number: the greatest of a text wins.
    scores = times << 32 | (2**32 - 1 - first)
    best = np.full(len(total), -1, np.int64)
    np.maximum.at(best, words.document[first], scores)
    texts = np.flatnonzero(best >= 0)
    first = 2**32 - 1 - (best[texts] & (2**32 - 1))
    total[texts] = (best[texts] >> 32) * (sums[first + size] - sums[first] + size - 1)
    return total


def _covered(words: Words, size: int) -> Integers:
    """(texts,) characters of words in n-grams that have occurred before: no fewer than what the rule counts for this
    size or any greater one, since an n-gram seen before consists of shorter ones seen before."""
    position, begins = _runs(*_ngrams(words.hashes, words.document, size))
    again = np.zeros(len(words.hashes), bool)
    again[position[~begins]] = True
    covered = again.copy()
    for offset in range(1, size):
        covered[offset:] |= again[:-offset]
    return words.per_text(words.lengths * covered)


def _duplicate_ngrams(words: Words, sums: Integers, index: int, characters: int) -> Verdict | None:
    """Left to right, an n-gram seen before counts with all its characters and is stepped over (the paper: "care
    to not count characters that occur in overlapping n-grams more than once")."""
    low, high = int(words.bounds[index]), int(words.bounds[index + 1])
    edges = sums[low : high + 1].tolist()
    for size, threshold in MOST_DUPLICATE_NGRAM.items():
        grams, first = _ngrams(words.hashes[low:high], words.document[low:high], size)
        position, begins = _runs(grams, first)
        shared = ~begins
        shared[:-1] |= shared[1:]
        if not shared.any():
            return None
        repeated = np.sort(position[shared])
        share = _stepped(repeated.tolist(), grams[repeated].tolist(), edges, size) / characters
        if share > threshold:
            return Verdict(f"gopher_repetition.duplicate_{size}_grams", share, threshold)
    return None


def _stepped(positions: list[int], grams: list[int], edges: list[int], size: int) -> int:
    """Characters counted; positions and grams: of the n-grams that occur more than once, in the order of the text."""
    seen: set[int] = set()
    repeated = free = 0
    for position, gram in zip(positions, grams, strict=True):
        if position < free:
            continue
        if gram in seen:
            free = position + size
            repeated += edges[free] - edges[position]
        else:
            seen.add(gram)
    return repeated
