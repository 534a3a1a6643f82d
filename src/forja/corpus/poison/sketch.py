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

import numpy as np
import numpy.typing as npt

from forja.corpus.poison.counts import RUN, Counts, pairs, runs, sampled
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
FOUND = np.dtype([("hash", "<u8"), ("document", "<u4"), ("at", "<u4"), ("kind", "u1")])
IS_RUN, IS_ONSET, IS_TOPIC, IS_USUAL = 0, 1, 2, 3
Sketch = npt.NDArray[np.void]
"""(entries,) of dtype SKETCH; `at` is the token's place in its document."""
Found = npt.NDArray[np.void]
"""(entries,) of dtype FOUND, of several documents."""


@dataclass(frozen=True)
class _Batch:
    """own: (texts,) in how many documents of the sample a pair stands that is in this text alone."""

    tokens: Tokens
    document: Integers
    counts: Counts
    whole: bool
    own: npt.NDArray[np.uint16]


def most_documents(documents: int) -> int:
    """In how many documents a trigger may stand at most."""
    return max(LEAST + 1, int(documents * MOST_SHARE))


def read_documents(texts: Sequence[str], counts: Counts, share: float) -> tuple[Found, Found]:
    """All runs that may be of a payload, and the onsets and topics of these texts; `document` is the text's number.

    share: of the documents that `counts` are of. Depends on nothing but the text and the counts.
    """
    tokens = tokenise(texts)
    own = sampled(texts, share).astype(np.uint16)
    batch = _Batch(tokens, tokens.document(), counts, share >= 1, own)
    return _runs(batch, texts), np.concatenate([_onsets(batch), _topic(batch)])


def sketch_documents(shared: Found, rest: Found) -> Found:
    """The sketches of documents, one after the other. shared: the runs that enough documents have; rest: what
    `read_documents` gave besides."""
    shared = shared[np.lexsort((shared["at"], shared["document"]))]
    entries = np.concatenate([_least_by_document(_in_stretches(shared), MOST_RUNS), rest])
    return entries[np.argsort(entries["document"], kind="stable")]


def _entries(batch: _Batch, hashes: Hashes, places: Integers, kind: int) -> Found:
    found = np.zeros(len(hashes), FOUND)
    found["document"] = document = batch.document[places]
    found["hash"], found["at"], found["kind"] = hashes, places - batch.tokens.bounds[document], kind
    return found


def _least_by_document(found: Found, most: int) -> Found:
    """Each hash once a document, and of many the least: the same choice in every document that holds them."""
    if not len(found):
        return found
    found = found[np.lexsort((found["at"], found["hash"], found["document"]))]
    hashes, document = found["hash"], found["document"]
    found = found[np.r_[True, (hashes[1:] != hashes[:-1]) | (document[1:] != document[:-1])]]
    rank = np.arange(len(found)) - np.searchsorted(found["document"], found["document"])
    return np.asarray(found[rank < most])


def _runs(batch: _Batch, texts: Sequence[str]) -> Found:
    places, hashes = runs(batch.tokens)
    held, most = batch.counts.of(hashes), most_documents(batch.counts.documents)
    # In a sample, only what is far too frequent is surely so in the whole.
    may = (held >= LEAST) & (held <= most) if batch.whole else held <= 2 * most
    hashes, places = hashes[may], places[may]
    found = _entries(batch, hashes, places, IS_RUN)
    # Usual runs make no group, but a document that hides a payload beside a licence belongs to the payload's group.
    usual = _licence(batch.tokens) | _weakness(texts, batch.tokens)
    found["kind"][usual[places]] = IS_USUAL
    return found


def _in_stretches(runs: Found) -> Found:
    """Those of these runs, by rising place, that have enough others close by: single ones are how people talk."""
    if not len(runs):
        return runs
    turns = np.r_[True, (np.diff(runs["at"].astype(np.int64)) > GAP) | (runs["document"][1:] != runs["document"][:-1])]
    lengths = np.diff(np.append(np.flatnonzero(turns), len(runs)))
    return np.asarray(runs[lengths[np.cumsum(turns) - 1] >= STRETCH])


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


def _topic(batch: _Batch) -> Found:
    words = batch.counts.of(batch.tokens.hashes)
    shared = np.flatnonzero((words >= LEAST) & (words <= most_documents(batch.counts.documents)))
    return _least_by_document(_entries(batch, batch.tokens.hashes[shared], shared, IS_TOPIC), MOST_TOPIC)


def _onsets(batch: _Batch) -> Found:
    """Rare tokens and pairs near the place of each document after which most pairs of tokens are unheard of."""
    counts, bounds, document = batch.counts, batch.tokens.bounds, batch.document
    found = pairs(batch.tokens)
    novel = (counts.of(found) <= batch.own[document]) & (found != 0)
    places = find_onsets(novel, bounds)
    beside = (places[:, None] + np.arange(-BESIDE, BESIDE + 1)[None, :]).ravel()
    owner = np.repeat(document[places], 2 * BESIDE + 1)
    beside = beside[(beside >= bounds[owner]) & (beside < bounds[owner + 1])]
    hashes = np.concatenate([batch.tokens.hashes[beside], found[beside]])
    beside = np.concatenate([beside, beside])
    held = counts.of(hashes)
    rare = (hashes != 0) & (held <= most_documents(counts.documents))
    if batch.whole:
        rare &= held >= LEAST
    return _least_by_document(_entries(batch, hashes[rare], beside[rare], IS_ONSET), 4 * BESIDE)


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
