"""Groups of documents that share a trigger, and what speaks for its being one. All rows of a group lie in one part, as
its hashes have the same document of least key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forja.corpus.poison.counts import RUN
from forja.corpus.poison.likeness import PADDING, Likeness, Sketches
from forja.corpus.poison.sketch import GAP, IS_USUAL, LEAST, STRETCH
from forja.corpus.poison.spill import Rows
from forja.corpus.quality.words import Hashes, Integers

RULES = ((3, 16, 0.5), (4, 12, 0.8), (8, 10, 1.1))
"""(documents, tokens, likeness): so many documents that share so many tokens in a row are a payload if what else they
share is at most so many times what chance gives. The fewer documents, the more the rest must say."""
LEAST_TURNING = 4
"""Documents that must turn into something else at a trigger."""
FIDELITY = 0.6
"""Share of the documents with a trigger that must turn at it."""
SLACK = 0.02
BURST_SLACK = 0.2
END = 2**32
"""After every token."""
LEAST_ELSE = 4
"""Entries that a sketch must have besides the payload: a document that is all payload is a copy, not a host."""
SAMPLED = 16
"""Documents of a group that are compared with each other."""
ALIKE = 0.8
"""Runs that follow each other are one text if as many documents hold them, within this ratio."""
HALF = 0.5
"""Share of a text's runs that a document must hold in one stretch to be one of those that share it."""
AT_ONCE = 512
"""Groups whose documents' sketches are held."""
SHARED = np.dtype(
    [
        *(("hash", "<u8"), ("document", "<u4"), ("at", "<u4"), ("kind", "u1"), ("key", "<u8"), ("box", "<u2")),
        *(("least", "<u8"), ("first", "<u4"), ("documents", "<u4"), ("onset", "u1")),
    ]
)
"""An entry of a document's sketch whose hash others share: the least key of those, its token in that one, how many
they are, and whether it is known as the onset of bursts."""


@dataclass(frozen=True)
class _Members:
    """(members,) rows of one group after the other: places, keys, the tokens of the first and last hash of the
    longest stretch that the group's hashes make. By group: usual, members that hold them as a usual text; onset;
    bounds, one more."""

    places: Integers
    keys: Hashes
    first: Integers
    last: Integers
    usual: Integers
    onset: npt.NDArray[np.bool_]
    bounds: Integers

    def rows(self, number: int) -> slice:
        return slice(*self.bounds[number : number + 2].tolist())

    def sample(self, number: int) -> Integers:
        """Rows of the group's members that are compared: those of least key."""
        rows = self.rows(number)
        return np.asarray(rows.start + np.argsort(self.keys[rows], kind="stable")[:SAMPLED])


def judge_groups(rows: Rows, sketches: Sketches) -> Iterator[tuple[int, int, str, dict[str, float]]]:
    """(box, document, kind, evidence) of every flag. rows: of dtype SHARED, of whole groups."""
    if not len(rows):
        return
    members = _members(*_groups(rows))
    asked = [number for number in range(len(members.onset)) if _most(number, members)]
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        wanted = np.unique(members.places[np.concatenate([members.sample(number) for number in some])])
        likeness = Likeness(sketches, wanted)
        for number in some:
            evidence = (_burst if members.onset[number] else _payload)(number, members, likeness)
            if evidence is not None:
                yield from _flags(number, members, evidence)


def _flags(
    number: int, members: _Members, evidence: dict[str, float]
) -> Iterator[tuple[int, int, str, dict[str, float]]]:
    rows = members.rows(number)
    kind, own = ("trigger-burst", 1) if members.onset[number] else ("trigger-payload", RUN)
    found = (members.places[rows].tolist(), members.first[rows].tolist(), members.last[rows].tolist())
    for place, first, last in zip(*found, strict=True):
        where = {"documents": rows.stop - rows.start, "at": first, "tokens": last - first + own}
        yield place >> 32, place & (END - 1), kind, {**where, **evidence}


def _groups(rows: Rows) -> tuple[Rows, Integers, Integers]:
    """Rows that may be of a trigger; the group of each: the hashes of one stretch of text; the hashes of each group."""
    rows = rows[np.lexsort((rows["hash"], rows["first"], rows["least"], rows["onset"]))]
    new = np.ones(len(rows), bool)
    new[1:] = (rows["hash"][1:] != rows["hash"][:-1]) | (rows["onset"][1:] != rows["onset"][:-1])
    heads = rows[new]
    # Runs whose first document is the same one, where they follow each other, and that as many documents hold.
    documents = heads["documents"].astype(np.int64)
    smaller, larger = np.minimum(documents[1:], documents[:-1]), np.maximum(documents[1:], documents[:-1])
    apart = (heads["least"][1:] != heads["least"][:-1]) | (np.diff(heads["first"].astype(np.int64)) > GAP)
    breaks = apart | (smaller < ALIKE * larger) | (heads["onset"][1:] == 1)
    number = np.cumsum(np.r_[False, breaks])
    lengths = np.bincount(number)
    long = (lengths[number] >= STRETCH) | (heads["onset"] == 1)
    kept = long[np.cumsum(new) - 1]
    names, group = np.unique(number[np.cumsum(new) - 1][kept], return_inverse=True)
    return rows[kept], group, lengths[names]


def _members(rows: Rows, group: Integers, lengths: Integers) -> _Members:
    places = (rows["box"].astype(np.int64) << 32) | rows["document"]
    at = rows["at"].astype(np.int64)
    order = np.lexsort((at, places, group))
    rows, group, places, at = rows[order], group[order], places[order], at[order]
    turns = np.ones(len(rows), bool)
    turns[1:] = (group[1:] != group[:-1]) | (places[1:] != places[:-1])
    begin = np.flatnonzero(turns | np.r_[True, np.diff(at) > GAP] if len(rows) else turns)
    length = np.diff(np.append(begin, len(rows)))
    # Of a member's stretches the longest, of equals the first.
    best = np.lexsort((at[begin], -length, places[begin], group[begin]))
    begin, length = begin[best], length[best]
    chosen = np.ones(len(begin), bool)
    chosen[1:] = (group[begin][1:] != group[begin][:-1]) | (places[begin][1:] != places[begin][:-1])
    onset = np.zeros(len(lengths), bool)
    onset[group] = rows["onset"] == 1
    chosen &= (length >= HALF * lengths[group[begin]]) | onset[group[begin]]
    begin, last = begin[chosen], at[begin + length - 1][chosen]
    usual = np.bincount(group[begin][rows["kind"][begin] == IS_USUAL], minlength=len(lengths))
    bounds = np.searchsorted(group[begin], np.arange(len(lengths) + 1))
    return _Members(places[begin], rows["key"][begin], at[begin], last, usual, onset, bounds)


def _most(number: int, members: _Members) -> float:
    """How many times what chance gives a group may share besides; 0 where it is no trigger anyhow."""
    rows = members.rows(number)
    size = rows.stop - rows.start
    if members.onset[number]:
        return float(size >= LEAST_TURNING)
    if size - members.usual[number] < max(LEAST, HALF * size):
        return 0.0
    tokens = int(np.median(members.last[rows] - members.first[rows])) + RUN
    return max((factor for least, length, factor in RULES if size >= least and tokens >= length), default=0.0)


def _payload(number: int, members: _Members, likeness: Likeness) -> dict[str, float] | None:
    rows = members.sample(number)
    places = members.places[rows].tolist()
    rest = [
        likeness.besides(place, first, last + RUN)
        for place, first, last in zip(places, members.first[rows].tolist(), members.last[rows].tolist(), strict=True)
    ]
    if np.median([len(hashes) for hashes in rest]) < LEAST_ELSE:
        return None
    shared, expected = likeness.shared(rest), likeness.expected(places)
    if shared > _most(number, members) * expected + SLACK:
        return None
    return {"likeness": round(shared, 3), "expected": round(expected, 3)}


def _burst(number: int, members: _Members, likeness: Likeness) -> dict[str, float] | None:
    """Documents that turn into the unheard-of alike were alike before it too: traces of one kernel, say."""
    rows = members.sample(number)
    places = members.places[rows].tolist()
    before = [
        likeness.besides(place, max(0, first - PADDING), END)
        for place, first in zip(places, members.first[rows].tolist(), strict=True)
    ]
    shared, expected = likeness.shared(before), likeness.expected(places)
    if shared > expected + BURST_SLACK:
        return None
    return {"likeness": round(shared, 3), "expected": round(expected, 3)}
