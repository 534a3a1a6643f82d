"""Documents that share a rare trigger with an anomalous continuation, found in their sketches alone.

Two signs. *Payload*: a rare run of tokens that the same few documents share, while they share nothing else: less in
common than documents of their sources have by chance. A licence header or a product's template joins documents that
are alike in more than that. *Burst*: a rare token or pair that stands where documents turn into unheard-of text, in
most of the documents that hold it: the denial-of-service backdoor of Souly et al. 2025, section 3.

The result depends on the documents and the counts, not on their order nor on who sketched them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from forja.corpus.poison.counts import RUN, Counts
from forja.corpus.poison.flags import Flag, excerpt
from forja.corpus.poison.likeness import PADDING, Likeness
from forja.corpus.poison.sketch import (
    GAP,
    IS_ONSET,
    IS_RUN,
    IS_USUAL,
    LEAST,
    SKETCH,
    STRETCH,
    Sketch,
    most_documents,
    read_sketch,
)
from forja.corpus.poison.tokens import tokenise
from forja.corpus.quality.words import Hashes, Integers

Sketches = Callable[[], Iterable[tuple[int, str, bytes]]]
"""Gives (place, source, sketch) of every document; called several times, must give the same."""

RULES = ((3, 16, 0.5), (4, 12, 0.8), (8, 10, 1.1))
"""(documents, tokens, likeness): so many documents that share so many tokens in a row are a payload if what else they
share is at most so many times what chance gives. The fewer documents, the more the rest must say."""
LEAST_TURNING = 4
"""Documents that must turn into something else at a trigger."""
SLACK = 0.02
BURST_SLACK = 0.2
END = 2**32
"""After every token."""
LEAST_ELSE = 4
"""Entries that a sketch must have besides the payload: a document that is all payload is a copy, not a host."""
SAMPLED = 16
"""Documents of a group that are compared with each other."""
FIDELITY = 0.6
"""Share of the documents with a trigger that must turn at it."""
ALIKE = 0.8
"""Runs that follow each other are one text if as many documents hold them, within this ratio."""
HALF = 0.5
"""Share of a text's runs that a document must hold in one stretch to be one of those that share it."""
SHARED = np.dtype([("hash", "<u8"), ("least", "<u8"), ("at", "<i8"), ("documents", "<i8"), ("kind", "u1")])
"""A hash, the least key of the documents that hold it, its token there, and how many hold it."""
BATCH = 4096


@dataclass(frozen=True)
class _Groups:
    """Hashes of interest, rising, the group of each, and by group its kind and number of hashes."""

    hashes: Hashes
    group: Integers
    kinds: npt.NDArray[np.uint8]
    lengths: Integers


@dataclass(frozen=True)
class _Members:
    """(members,) rows of one group after the other: places, keys, the tokens of the first and last hash of the
    longest stretch that the group's hashes make; usual: (groups,) members that hold them as a usual text;
    bounds: (groups + 1,)."""

    places: Integers
    keys: Hashes
    first: Integers
    last: Integers
    usual: npt.NDArray[np.int64]
    bounds: Integers


def find_triggers(sketches: Sketches, counts: Counts, parts: int = 1) -> dict[int, list[Flag]]:
    """Flags `trigger-payload` and `trigger-burst` by place. In memory: of one of `parts` of the entries 20 bytes each.

    Evidence: `documents` that share it, `at` and `tokens` (places in tokens, for `show_trigger`), and what speaks for
    it: `likeness` of the rest and what is `expected`; or `fidelity` of the trigger to the burst.
    """
    groups = _find_groups(sketches, counts, parts)
    if not len(groups.kinds):
        return {}
    members = _members(sketches, groups)
    likeness = _likeness(sketches, members)
    flags: dict[int, list[Flag]] = {}
    for number, kind in enumerate(groups.kinds.tolist()):
        rows = slice(*members.bounds[number : number + 2].tolist())
        size = rows.stop - rows.start
        evidence = (_payload if kind == IS_RUN else _burst)(number, members, likeness)
        if evidence is None:
            continue
        name, own = ("trigger-payload", RUN) if kind == IS_RUN else ("trigger-burst", 1)
        for place, first, last in zip(members.places[rows], members.first[rows], members.last[rows], strict=True):
            where = {"documents": size, "at": int(first), "tokens": int(last - first) + own}
            flags.setdefault(int(place), []).append(Flag(name, {**where, **evidence}))
    return {place: _most_telling(found) for place, found in sorted(flags.items())}


def show_trigger(text: str, flag: Flag) -> Flag:
    """The flag with the words it is about, cut from the document's text."""
    tokens = tokenise([text])
    at = min(int(flag.evidence["at"]), len(tokens.starts) - 1)
    last = min(at + int(flag.evidence["tokens"]), len(tokens.starts)) - 1
    if at < 0:
        return flag
    start, end = int(tokens.starts[at]) - 1, int(tokens.ends[last]) - 1
    return Flag(flag.kind, {**flag.evidence, "shown": excerpt(text, start, end, around=16)})


def _most_telling(found: list[Flag]) -> list[Flag]:
    """Of each kind the one that most documents share, the longest of those."""
    best: dict[str, Flag] = {}
    for flag in found:
        known = best.get(flag.kind)
        if known is None or _weight(flag) > _weight(known):
            best[flag.kind] = flag
    return [best[kind] for kind in sorted(best)]


def _weight(flag: Flag) -> tuple[int, int, int]:
    return flag.evidence["documents"], flag.evidence["tokens"], -flag.evidence["at"]


# --- groups of documents that share a hash ---------------------------------------------------------


def _batches(sketches: Sketches) -> Iterator[tuple[Integers, list[str], list[bytes], Sketch]]:
    """Sketches in thousands: their places, sources, bytes, and their entries as one array with `at` kept."""
    rows: list[tuple[int, str, bytes]] = []
    for row in sketches():
        rows.append(row)
        if len(rows) == BATCH:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple[int, str, bytes]]) -> tuple[Integers, list[str], list[bytes], Sketch]:
    places, sources, packed = zip(*rows, strict=True)
    return np.array(places, np.int64), list(sources), list(packed), np.frombuffer(b"".join(packed), SKETCH)


def _find_groups(sketches: Sketches, counts: Counts, parts: int) -> _Groups:
    """Hashes that may be of a trigger, those of one stretch of text together."""
    most = most_documents(counts.documents)
    found = np.concatenate([_shared_hashes(sketches, part, parts, most) for part in range(parts)])
    bursts = found[found["kind"] == IS_ONSET]
    faithful = bursts["documents"] >= np.maximum(LEAST_TURNING, FIDELITY * counts.of(bursts["hash"]))
    bursts = bursts[faithful]
    runs = found[found["kind"] == IS_RUN]
    runs = runs[np.lexsort((runs["hash"], runs["at"], runs["least"]))]
    # Runs whose first document is the same one, where they follow each other, and that as many documents hold.
    smaller = np.minimum(runs["documents"][1:], runs["documents"][:-1])
    larger = np.maximum(runs["documents"][1:], runs["documents"][:-1])
    breaks = (runs["least"][1:] != runs["least"][:-1]) | (np.diff(runs["at"]) > GAP) | (smaller < ALIKE * larger)
    number = np.cumsum(np.r_[False, breaks])[: len(runs)]
    lengths = np.bincount(number, minlength=1)
    long = lengths[number] >= STRETCH
    _, group = np.unique(number[long], return_inverse=True)
    hashes = np.concatenate([runs["hash"][long], bursts["hash"]])
    group = np.concatenate([group, group.max(initial=-1) + 1 + np.arange(len(bursts))])
    total = int(group.max(initial=-1)) + 1
    kinds = np.full(total, IS_RUN, np.uint8)
    kinds[total - len(bursts) :] = IS_ONSET
    order = np.argsort(hashes, kind="stable")
    return _Groups(hashes[order], group[order], kinds, np.bincount(group, minlength=total))


def _shared_hashes(sketches: Sketches, part: int, parts: int, most: int) -> npt.NDArray[np.void]:
    """(hashes,) of dtype SHARED: those of one part that enough documents hold, and not too many."""
    rows: list[npt.NDArray[np.void]] = []
    for _, _, packed, entries in _batches(sketches):
        mine = (entries["kind"] <= IS_ONSET) & ((entries["hash"] >> np.uint64(40)) % np.uint64(parts) == part)
        row = np.zeros(int(mine.sum()), SHARED)
        row["hash"], row["at"], row["kind"] = entries["hash"][mine], entries["at"][mine], entries["kind"][mine]
        row["least"] = np.repeat(_keys(packed), _sizes(packed))[mine]
        rows.append(row)
    every = np.concatenate(rows) if rows else np.zeros(0, SHARED)
    every = every[np.lexsort((every["at"], every["least"], every["kind"], every["hash"]))]
    if not len(every):
        return every
    new = (every["hash"][1:] != every["hash"][:-1]) | (every["kind"][1:] != every["kind"][:-1])
    begin = np.flatnonzero(np.r_[True, new])
    first = every[begin]
    first["documents"] = np.diff(np.append(begin, len(every)))
    return first[(first["documents"] >= LEAST) & (first["documents"] <= most)]


def _keys(packed: list[bytes]) -> Hashes:
    """A document's key is the hash of its sketch: no matter which place it has."""
    return np.array([xxhash.xxh3_64_intdigest(sketch) for sketch in packed], np.uint64)


def _sizes(packed: list[bytes]) -> list[int]:
    return [len(sketch) // SKETCH.itemsize for sketch in packed]


def _members(sketches: Sketches, groups: _Groups) -> _Members:
    rows: list[npt.NDArray[np.int64]] = []
    for places, _, packed, entries in _batches(sketches):
        at = np.searchsorted(groups.hashes, entries["hash"]).clip(max=len(groups.hashes) - 1)
        hit = np.flatnonzero(groups.hashes[at] == entries["hash"])
        group = groups.group[at[hit]]
        # A trigger of bursts is known by now: it counts wherever it stands.
        right = (groups.kinds[group] == IS_RUN) == np.isin(entries["kind"][hit], (IS_RUN, IS_USUAL))
        hit, group = hit[right], group[right]
        rank = np.repeat(np.arange(len(packed)), _sizes(packed))[hit]
        keys = _keys(packed).view(np.int64)[rank]
        usual = (entries["kind"][hit] == IS_USUAL).astype(np.int64)
        rows.append(np.stack([group, places[rank], keys, entries["at"][hit].astype(np.int64), usual], axis=1))
    every = np.concatenate(rows)
    every = every[np.lexsort((every[:, 3], every[:, 1], every[:, 0]))]
    turns = (every[1:, :2] != every[:-1, :2]).any(axis=1)
    begin = np.flatnonzero(np.r_[True, turns | (np.diff(every[:, 3]) > GAP)])
    length = np.diff(np.append(begin, len(every)))
    # Of a member's stretches the longest, of equals the first.
    order = np.lexsort((every[begin, 3], -length, every[begin, 1], every[begin, 0]))
    heads = every[begin][order]
    last = every[begin + np.diff(np.append(begin, len(every))) - 1, 3][order]
    chosen = np.r_[True, (heads[1:, :2] != heads[:-1, :2]).any(axis=1)]
    whole = chosen & ((length[order] >= HALF * groups.lengths[heads[:, 0]]) | (groups.kinds[heads[:, 0]] == IS_ONSET))
    heads, last = heads[whole], last[whole]
    bounds = np.searchsorted(heads[:, 0], np.arange(len(groups.kinds) + 1))
    keys = heads[:, 2].copy().view(np.uint64)
    usual = np.bincount(heads[heads[:, 4] > 0, 0], minlength=len(groups.kinds))
    return _Members(heads[:, 1], keys, heads[:, 3], last, usual, bounds)


# --- judging a group -------------------------------------------------------------------------------


def _sample(members: _Members, number: int) -> Integers:
    """Rows of the group's members that are compared: those of least key."""
    start, end = members.bounds[number : number + 2].tolist()
    order: Integers = np.argsort(members.keys[start:end], kind="stable")[:SAMPLED]
    return np.asarray(start + order)


def _likeness(sketches: Sketches, members: _Members) -> Likeness:
    wanted = np.unique(
        members.places[np.concatenate([_sample(members, number) for number in range(len(members.bounds) - 1)])]
    )
    likeness = Likeness()
    for place, source, sketch in sketches():
        likeness.add(source, sketch)
        at = int(np.searchsorted(wanted, place))
        if at < len(wanted) and wanted[at] == place:
            likeness.keep(place, source, read_sketch(sketch))
    return likeness


def _payload(number: int, members: _Members, likeness: Likeness) -> dict[str, float] | None:
    every = slice(*members.bounds[number : number + 2].tolist())
    size = every.stop - every.start
    if size - members.usual[number] < max(LEAST, HALF * size):
        return None
    tokens = int(np.median(members.last[every] - members.first[every])) + RUN
    most = max((factor for least, length, factor in RULES if size >= least and tokens >= length), default=0.0)
    if not most:
        return None
    rows = _sample(members, number)
    places = members.places[rows].tolist()
    rest = [
        likeness.besides(place, int(first), int(last) + RUN)
        for place, first, last in zip(places, members.first[rows], members.last[rows], strict=True)
    ]
    if np.median([len(hashes) for hashes in rest]) < LEAST_ELSE:
        return None
    shared, expected = likeness.shared(rest), likeness.expected(places)
    if shared > most * expected + SLACK:
        return None
    return {"likeness": round(shared, 3), "expected": round(expected, 3)}


def _burst(number: int, members: _Members, likeness: Likeness) -> dict[str, float] | None:
    """Documents that turn into the unheard-of alike were alike before it too: traces of one kernel, say."""
    if members.bounds[number + 1] - members.bounds[number] < LEAST_TURNING:
        return None
    rows = _sample(members, number)
    places = members.places[rows].tolist()
    before = [
        likeness.besides(place, max(0, int(first) - PADDING), END)
        for place, first in zip(places, members.first[rows], strict=True)
    ]
    shared, expected = likeness.shared(before), likeness.expected(places)
    if shared > expected + BURST_SLACK:
        return None
    return {"likeness": round(shared, 3), "expected": round(expected, 3)}
