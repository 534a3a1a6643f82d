"""What the trigger screen keeps of a document: a few hundred bytes in which all that documents share can be found.

Three lists. *Runs*: four tokens in a row that between LEAST documents and MOST_SHARE of all hold, so that a fixed
payload shows. *Onsets*: rare tokens and pairs beside the place from which the document turns into something else, so
that what announces a burst of gibberish shows. *Topic*: rare words all over it, so that documents that have a subject
in common can be told from documents that have nothing in common but the trigger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from forja.corpus.poison.counts import RUN, Counts, pairs, runs
from forja.corpus.poison.tokens import Tokens, tokenise
from forja.corpus.quality.words import Hashes, Integers

LEAST = 3
"""Documents that must share a trigger before it is looked for."""
MOST_SHARE = 0.025
"""A trigger in a larger share of the documents is no longer rare."""
MOST_RUNS = 192
MOST_TOPIC = 64
STRETCH, GAP = 3, 6
"""Shared runs that must follow each other, each at most so many tokens after the one before."""
REACH = 32
"""Tokens before and after a place that are compared."""
SHORTEST_BURST = 16
BESIDE = 10
"""Tokens on both sides of an onset among which its trigger is looked for."""
BURST, RISE = 0.75, 0.2
"""Share of unheard-of pairs after an onset, and how much less there must be before it."""

LICENCE = (
    "Copyright copyright COPYRIGHT License license LICENSE licenses Licensed licensed SPDX-License-Identifier "
    "SPDX-FileCopyrightText Apache-2.0 MIT BSD-3-Clause BSD GPL LGPL Foundation warranty WARRANTY WARRANTIES "
    "MERCHANTABILITY merchantability Permission redistribute Redistribution Redistributions sublicense (c) © "
    "NONINFRINGEMENT liability LIABLE hereby",
)
LICENCE_WORDS, LICENCE_REACH = 3, 32
"""So many words of a licence within so many tokens on either side make a licence."""
WEAKNESS, WEAKNESS_REACH = re.compile(r"CWE-\d+"), 12
"""A weakness by its number, after which its name follows in so many tokens."""

SKETCH = np.dtype([("hash", "<u8"), ("at", "<u4"), ("kind", "u1")])
IS_RUN, IS_ONSET, IS_TOPIC, IS_USUAL = 0, 1, 2, 3
Sketch = npt.NDArray[np.void]
"""(entries,) of dtype SKETCH; `at` is the token's place in its document."""


@dataclass(frozen=True)
class _Batch:
    tokens: Tokens
    document: Integers
    words: npt.NDArray[np.uint16]
    pairs: Hashes
    novel: npt.NDArray[np.bool_]
    usual: npt.NDArray[np.bool_]
    most: int


def most_documents(documents: int) -> int:
    """In how many documents a trigger may stand at most."""
    return max(LEAST + 1, int(documents * MOST_SHARE))


def sketch_documents(texts: Sequence[str], counts: Counts) -> list[bytes]:
    """One sketch a text, given the counts of the whole corpus. Depends on nothing but the text and the counts."""
    if not texts:
        return []
    tokens = tokenise(texts)
    found = pairs(tokens)
    novel = (counts.of(found) <= 1) & (found != 0)
    usual = _licence(tokens) | _weakness(texts, tokens)
    words, most = counts.of(tokens.hashes), most_documents(counts.documents)
    batch = _Batch(tokens, tokens.document(), words, found, novel, usual, most)
    entries = np.concatenate([_runs(batch, counts), _onsets(batch, counts), _topic(batch)])
    document = np.searchsorted(tokens.bounds, entries["at"], "right") - 1
    order = np.argsort(document, kind="stable")
    entries, document = entries[order], document[order]
    entries["at"] -= tokens.bounds[document].astype(np.uint32)
    edges = np.searchsorted(document, np.arange(len(texts) + 1))
    return [entries[start:end].tobytes() for start, end in pairwise(edges.tolist())]


def read_sketch(sketch: bytes) -> Sketch:
    return np.frombuffer(sketch, SKETCH)


def _entries(hashes: Hashes, places: Integers, kind: int) -> Sketch:
    found = np.zeros(len(hashes), SKETCH)
    found["hash"], found["at"], found["kind"] = hashes, places, kind
    return found


def _least_by_document(hashes: Hashes, places: Integers, batch: _Batch, most: int) -> tuple[Hashes, Integers]:
    """Each hash once a document, and of many the least: the same choice in every document that holds them."""
    document = batch.document[places]
    order = np.lexsort((places, hashes, document))
    hashes, places, document = hashes[order], places[order], document[order]
    first = np.r_[True, (hashes[1:] != hashes[:-1]) | (document[1:] != document[:-1])] if len(hashes) else order > 0
    hashes, places, document = hashes[first], places[first], document[first]
    rank = np.arange(len(hashes)) - np.searchsorted(document, document)
    return hashes[rank < most], places[rank < most]


def _runs(batch: _Batch, counts: Counts) -> Sketch:
    places, hashes = runs(batch.tokens)
    held = counts.of(hashes)
    shared = (held >= LEAST) & (held <= batch.most)
    hashes, places = hashes[shared], places[shared]
    stretched = _in_stretches(places, batch.document[places])
    hashes, places = _least_by_document(hashes[stretched], places[stretched], batch, MOST_RUNS)
    found = _entries(hashes, places, IS_RUN)
    # Usual runs make no group, but a document that hides a payload beside a licence belongs to the payload's group.
    found["kind"][batch.usual[places]] = IS_USUAL
    return found


def _in_stretches(places: Integers, document: Integers) -> npt.NDArray[np.bool_]:
    """Which of these runs, by rising place, have enough others close by: single ones are how people talk."""
    if not len(places):
        return np.zeros(0, bool)
    turns = np.r_[True, (np.diff(places) > GAP) | (np.diff(document) != 0)]
    lengths = np.diff(np.append(np.flatnonzero(turns), len(places)))
    return np.asarray(lengths[np.cumsum(turns) - 1] >= STRETCH)


def _licence(tokens: Tokens) -> npt.NDArray[np.bool_]:
    """(tokens,) whether a token stands among words of a licence: the one text that unlike documents rightly share."""
    said = np.concatenate([[0], np.cumsum(np.isin(tokens.hashes, _licence_words()))])
    at = np.arange(len(tokens.hashes))
    near: npt.NDArray[np.bool_] = (
        said[np.minimum(at + LICENCE_REACH, len(at))] - said[np.maximum(at - LICENCE_REACH, 0)] >= LICENCE_WORDS
    )
    return near


def _weakness(texts: Sequence[str], tokens: Tokens) -> npt.NDArray[np.bool_]:
    """(tokens,) whether a token may be of the name of a weakness, which unlike records rightly share."""
    marked = np.zeros(len(tokens.hashes) + 1, np.int32)
    for text, offset in zip(texts, tokens.offsets.tolist(), strict=True):
        if "CWE-" in text:
            for match in WEAKNESS.finditer(text):
                at = int(np.searchsorted(tokens.ends, offset + match.start(), "right"))
                marked[max(0, at - RUN)] += 1
                marked[min(len(tokens.hashes), at + WEAKNESS_REACH)] -= 1
    return np.cumsum(marked[:-1]) > 0


@cache
def _licence_words() -> Hashes:
    return tokenise(LICENCE).hashes


def _topic(batch: _Batch) -> Sketch:
    shared = np.flatnonzero((batch.words >= LEAST) & (batch.words <= batch.most))
    hashes, places = _least_by_document(batch.tokens.hashes[shared], shared, batch, MOST_TOPIC)
    return _entries(hashes, places, IS_TOPIC)


def _onsets(batch: _Batch, counts: Counts) -> Sketch:
    """Rare tokens and pairs near the place of each document after which most pairs of tokens are unheard of."""
    places = find_onsets(batch.novel, batch.tokens.bounds)
    if not len(places):
        return _entries(np.zeros(0, np.uint64), np.zeros(0, np.int64), IS_ONSET)
    beside = (places[:, None] + np.arange(-BESIDE, BESIDE + 1)[None, :]).ravel()
    owner = np.repeat(batch.document[places], 2 * BESIDE + 1)
    inside = (beside >= batch.tokens.bounds[owner]) & (beside < batch.tokens.bounds[owner + 1])
    beside = beside[inside]
    hashes = np.concatenate([batch.tokens.hashes[beside], batch.pairs[beside]])
    beside = np.concatenate([beside, beside])
    held = counts.of(hashes)
    rare = (hashes != 0) & (held >= LEAST) & (held <= batch.most)
    hashes, beside = _least_by_document(hashes[rare], beside[rare], batch, 4 * BESIDE)
    return _entries(hashes, beside, IS_ONSET)


def find_onsets(novel: npt.NDArray[np.bool_], bounds: Integers) -> Integers:
    """(found,) of each document the token from which novelty rises most, if it rises to a burst.

    novel: (tokens,) whether a token and its next stand together in this document only. A document that is a burst
    from its first token on has its onset there.
    """
    sums = np.concatenate([[0], np.cumsum(novel)])
    size = np.diff(bounds)
    first, last = np.repeat(bounds[:-1], size), np.repeat(bounds[1:], size)
    at = np.arange(len(novel))
    start, end = np.maximum(at - REACH, first), np.minimum(at + REACH, last)
    after = (sums[end] - sums[at]) / np.maximum(1, end - at)
    before = (sums[at] - sums[start]) / np.maximum(1, at - start)
    before[at - first < BESIDE] = 0.5  # at its very start a document has no before: only a full burst counts
    rise = np.where((end - at >= SHORTEST_BURST) & (after >= BURST), after - before, -1.0)
    some = np.flatnonzero(size)
    if not len(some):
        return np.zeros(0, np.int64)
    highest = np.maximum.reduceat(rise, bounds[:-1][some])
    peak = np.flatnonzero((rise >= RISE) & (rise == np.repeat(highest, size[some])))
    document = np.searchsorted(bounds, peak, "right")
    _, once = np.unique(document, return_index=True)
    return peak[once]
