"""Documents that share long runs of words with an evaluation set (Brown et al. 2020, arXiv:2005.14165, appendix C).
What the sets hold is read in evaluation_items.py; what becomes of a document that is found is build.py's business.

Words are runs of letters, digits and marks, case folded; all else only parts them. A run is `tokens` words. An
item whose every text is shorter counts as a whole if it has 8 words (the paper takes each set's 5th percentile of
lengths, between 8 and 13). Runs found in more than 10 different texts of a set are its instructions and templates,
no test content, and are left out; a passage that many questions repeat word for word is one text. The paper, which
sees all training documents first, also ignores runs that more than 10 of them hold: `drop_common` does that
afterwards.
"""

from __future__ import annotations

import json
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forja.corpus.evaluation_items import read_items
from forja.corpus.quality.words import Flags, Hashes, Integers, batches, rolling_sums, span_hashes
from forja.errors import ForjaError

LEAST_WORDS = 8
MOST_TEXTS, MOST_DOCUMENTS = 10, 10
MOST_RUNS_NAMED = 64
PIECE, OVERLAP = 1 << 20, 1 << 12
"""Characters of a long text searched at a time, and of them searched twice."""
TABLE_SIZE = 0x20000
MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
STEP = np.uint64(0x9E3779B97F4A7C15)
NAMES = ("about", "blob", "text_starts", "text_items", "text_sets", "hashes", "starts", "sizes")


@dataclass(frozen=True)
class Evidence:
    """set: folder and name of the file; item: its record, from 0; run: the first shared words, normalised; runs: how
    many shared runs begin in the document; keys: the different ones of these, at most MOST_RUNS_NAMED."""

    set: str
    item: int
    run: str
    runs: int
    keys: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class SetSummary:
    """What a file gave: items read, of these too short to be looked for, and different runs kept of it."""

    name: str
    items: int
    short: int
    runs: int


@dataclass(frozen=True)
class Split:
    """Normalised words of several texts in `text`: starts, ends, document, hashes: (words,)."""

    text: str
    starts: Integers
    ends: Integers
    document: Integers
    hashes: Hashes

    def words(self, first: int, count: int) -> list[str]:
        pairs = zip(self.starts[first : first + count].tolist(), self.ends[first : first + count].tolist(), strict=True)
        return [self.text[start:end] for start, end in pairs]


class Decontaminator:
    """The runs of evaluation sets, and the search for them: built once, saved, and loaded by each worker."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        about = json.loads(arrays["about"].tobytes())
        self.tokens: int = about["tokens"]
        self.sets = tuple(SetSummary(**entry) for entry in about["sets"])
        self._hashes: Hashes = arrays["hashes"]
        self._sizes = np.unique(arrays["sizes"]).tolist()
        # 16 bits a run: one in 16 runs of other text passes, and the table stays in the cache.
        self._bits = np.uint64(max(16, (16 * len(self._hashes)).bit_length()))
        table = np.zeros(1 << int(self._bits), bool)
        table[self._hashes >> (np.uint64(64) - self._bits)] = True
        self._table = np.packbits(table, bitorder="little")

    @classmethod
    def from_files(cls, paths: Sequence[Path], tokens: int) -> Decontaminator:
        """Runs of `tokens` words from evaluation sets: JSONL, JSON, CSV, TSV, Parquet or text, gzipped or not.

        Raises ForjaError where a file is missing or is not what its name says: a set that cannot be read is not
        passed over.
        """
        texts: list[str] = []
        items: list[int] = []
        sets: list[int] = []
        counts = []
        for number, path in enumerate(paths):
            seen: set[str] = set()
            short = count = 0
            for count, strings in enumerate(read_items(path), start=1):
                chosen = _chosen(strings, tokens)
                short += not chosen
                for text in chosen:
                    if text not in seen:
                        seen.add(text)
                        texts.append(text)
                        items.append(count - 1)
                        sets.append(number)
            counts.append({"name": "/".join(path.parts[-2:]), "items": count, "short": short})
        return cls(_indexed(texts, np.array(items, np.int64), np.array(sets, np.int64), counts, tokens))

    def save(self, path: Path) -> None:
        """Write everything as plain arrays (.npz, uncompressed, nothing pickled)."""
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **self._arrays)

    @classmethod
    def load(cls, path: Path) -> Decontaminator:
        """What `save` wrote. Raises ForjaError where the file is missing or something else."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls({name: stored[name] for name in NAMES})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ForjaError(
                f"the index of evaluation sets cannot be read ({type(error).__name__}).",
                where=str(path),
                fix="Delete it; the corpus stage builds it anew.",
            ) from None

    def shared(self, text: str) -> Evidence | None:
        """What an NFC text shares with the sets; many texts are searched faster by shared_all."""
        return self.shared_all([text])[0]

    def shared_all(self, texts: Sequence[str]) -> list[Evidence | None]:
        """One answer a text, in order."""
        found: list[Evidence | None] = []
        for first, last in batches(texts):
            if len(texts[first]) > PIECE:
                found.append(self._search_pieces(texts[first]))
            else:
                found += self._search(texts[first:last])
        return found

    def _search_pieces(self, text: str) -> Evidence | None:
        """A text too long for memory, piece by piece; pieces overlap, for runs that lie across an edge."""
        pieces = (self._search([text[first : first + PIECE]])[0] for first in range(0, len(text), PIECE - OVERLAP))
        found = [evidence for evidence in pieces if evidence is not None]
        if not found:
            return None
        keys = dict.fromkeys(key for evidence in found for key in evidence.keys)
        runs = sum(evidence.runs for evidence in found)
        return replace(found[0], runs=runs, keys=tuple(keys)[:MOST_RUNS_NAMED])

    def _search(self, texts: Sequence[str]) -> list[Evidence | None]:
        split = split_normalised(texts)
        hits: list[dict[int, tuple[int, int]]] = [{} for _ in texts]
        for size, grams in _grams(split.hashes, self._sizes):
            place = grams >> (np.uint64(64) - self._bits)
            marked = self._table[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8) & np.uint8(1)
            maybe = np.flatnonzero(marked)
            maybe = maybe[split.document[maybe] == split.document[maybe + size - 1]]
            index = np.searchsorted(self._hashes, grams[maybe]).clip(max=max(0, len(self._hashes) - 1))
            sure = self._hashes[index] == grams[maybe] if len(self._hashes) else np.zeros(len(maybe), bool)
            for position, entry in zip(maybe[sure].tolist(), index[sure].tolist(), strict=True):
                hits[split.document[position]].setdefault(position, (entry, size))
        return [self._evidence(split, sorted(found.items())) if found else None for found in hits]

    def _evidence(self, split: Split, hits: list[tuple[int, tuple[int, int]]]) -> Evidence | None:
        """The first hit whose words are the evaluation set's, which all are but for a collision of 64 bits."""
        for position, (entry, size) in hits:
            words = split.words(position, size)
            start = int(self._arrays["starts"][entry])
            text = int(np.searchsorted(self._arrays["text_starts"], start, "right")) - 1
            end = int(self._arrays["text_starts"][text + 1])
            if self._arrays["blob"][start:end].tobytes().decode().split(None, size)[:size] == words:
                keys = dict.fromkeys(int(self._hashes[other]) for _, (other, _) in hits)
                return Evidence(
                    set=self.sets[int(self._arrays["text_sets"][text])].name,
                    item=int(self._arrays["text_items"][text]),
                    run=" ".join(words),
                    runs=len(hits),
                    keys=tuple(keys)[:MOST_RUNS_NAMED],
                )
        return None


def drop_common(found: Sequence[Evidence | None]) -> list[Evidence | None]:
    """Evidence of all documents, without documents whose every shared run is in more than 10 of them: phrases of
    the culture and of the law, which a model should learn (Brown et al. 2020, appendix C)."""
    times = Counter(key for evidence in found if evidence is not None for key in evidence.keys)
    return [
        evidence
        if evidence is not None
        and (len(evidence.keys) == MOST_RUNS_NAMED or any(times[key] <= MOST_DOCUMENTS for key in evidence.keys))
        else None
        for evidence in found
    ]


def split_normalised(texts: Sequence[str]) -> Split:
    """The words of NFC texts."""
    folded = [text.casefold() for text in texts]
    joined = "\n".join(("", *folded, ""))
    points = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds = _kinds()[np.minimum(points, TABLE_SIZE - 1)]
    inside = kinds != 0
    turns = inside[1:] != inside[:-1]
    alone = kinds == 2
    if alone.any():
        # A character that is a word by itself begins one and ends one.
        apart = inside[1:] & inside[:-1] & (alone[1:] | alone[:-1])
        starts = np.flatnonzero(inside[1:] & (turns | apart)) + 1
        ends = np.flatnonzero(inside[:-1] & (turns | apart)) + 1
    else:
        edges = np.flatnonzero(turns) + 1
        starts, ends = edges[::2], edges[1::2]
    bounds = np.searchsorted(starts, np.cumsum([0, *(len(text) + 1 for text in folded)]))
    document = np.repeat(np.arange(len(texts)), np.diff(bounds))
    return Split(joined, starts, ends, document, span_hashes(rolling_sums(points), starts, ends))


@cache
def _kinds() -> NDArray[np.uint8]:
    """(TABLE_SIZE,) 0: parts words; 1: part of a word; 2: a word by itself, in scripts written without blanks."""
    table = np.fromiter(
        (chr(point).isalnum() or unicodedata.category(chr(point))[0] == "M" for point in range(TABLE_SIZE)),
        np.uint8,
        TABLE_SIZE,
    )
    for first, last in ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (TABLE_SIZE - 1, TABLE_SIZE - 1)):
        table[first : last + 1] *= 2
    table[-1] = 2
    return table


def _grams(hashes: Hashes, sizes: Sequence[int]) -> Iterator[tuple[int, Hashes]]:
    """Hashes of the runs of each size that begin at each word; the last ones may reach into a next text."""
    grams = hashes
    length = 1
    for size in sorted(sizes):
        while length < size:
            grams = grams[: max(0, len(hashes) - length)] * STEP
            grams += hashes[length:]
            length += 1
        if not len(grams):
            return
        mixed = grams ^ (grams >> np.uint64(31))
        mixed += np.uint64(size)
        mixed *= MULTIPLIER
        mixed ^= mixed >> np.uint64(27)
        mixed *= MULTIPLIER
        yield size, mixed


def _chosen(strings: Sequence[str], tokens: int) -> list[str]:
    """The item's texts as normalised words, blanks between: those of `tokens` words, or else the longest if of 8."""
    split = split_normalised([unicodedata.normalize("NFC", text) for text in strings]) if strings else None
    if split is None:
        return []
    counts = np.bincount(split.document, minlength=len(strings))
    long = np.flatnonzero(counts >= tokens)
    if not len(long):
        longest = int(counts.argmax())
        long = np.array([longest] if counts[longest] >= LEAST_WORDS else [], np.int64)
    starts = np.searchsorted(split.document, long).tolist()
    return [" ".join(split.words(start, int(counts[text]))) for start, text in zip(starts, long.tolist(), strict=True)]


def _indexed(
    texts: list[str], items: Integers, sets: Integers, counts: list[dict[str, Any]], tokens: int
) -> dict[str, NDArray[Any]]:
    """The arrays: normalised texts one after the other in `blob`, and for each run its hash, size and place there."""
    encoded = [f"{text} ".encode() for text in texts]
    text_starts = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    parts: list[tuple[Hashes, Integers, Integers, NDArray[np.uint8]]] = []
    for first, last in batches(texts):
        split = split_normalised(texts[first:last])
        owner = split.document + first
        places = _byte_places(texts[first:last], text_starts[first:last])
        words = np.bincount(split.document, minlength=last - first)
        sizes = np.where(words >= tokens, tokens, words)
        for size, grams in _grams(split.hashes, np.unique(sizes).tolist()):
            begin = np.arange(len(grams))
            own = (split.document[begin] == split.document[begin + size - 1]) & (sizes[split.document[begin]] == size)
            parts.append((grams[own], owner[begin[own]], places[begin[own]], np.full(int(own.sum()), size, np.uint8)))
    empty = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))
    hashes, owner, places, sizes = (np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True))
    keep = _rare_firsts(hashes, owner, sets)
    hashes, owner, places, sizes = hashes[keep], owner[keep], places[keep], sizes[keep]
    runs = np.bincount(sets[owner], minlength=len(counts)).tolist()
    about = {"tokens": tokens, "sets": [{**count, "runs": run} for count, run in zip(counts, runs, strict=True)]}
    arrays = (json.dumps(about).encode(), b"".join(encoded))
    about_array, blob = (np.frombuffer(data, np.uint8) for data in arrays)
    return dict(zip(NAMES, (about_array, blob, text_starts, items, sets, hashes, places, sizes), strict=True))


def _byte_places(texts: Sequence[str], text_starts: Integers) -> Integers:
    """(words,) where each word of normalised texts begins in `blob`."""
    places: list[int] = []
    for text, start in zip(texts, text_starts.tolist(), strict=True):
        place = start
        for word in text.split(" "):
            places.append(place)
            place += (len(word) if word.isascii() else len(word.encode())) + 1
    return np.array(places, np.int64)


def _rare_firsts(hashes: Hashes, owner: Integers, sets: Integers) -> Integers:
    """Of each different run in no more than MOST_TEXTS texts of any set, where it first is; by rising hash."""
    if not len(hashes):
        return np.zeros(0, np.int64)
    order = np.lexsort((owner, hashes))
    ordered, texts = hashes[order], owner[order]
    begins: Flags = np.ones(len(order), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    new_text = begins.copy()
    new_text[1:] |= texts[1:] != texts[:-1]
    run = np.cumsum(begins) - 1
    pairs, times = np.unique(run[new_text] * (sets.max() + 1) + sets[texts[new_text]], return_counts=True)
    common = np.zeros(int(run[-1]) + 1, bool)
    common[pairs[times > MOST_TEXTS] // (sets.max() + 1)] = True
    return order[begins][~common]
