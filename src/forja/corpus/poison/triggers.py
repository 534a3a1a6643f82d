"""Documents that share a rare trigger with an anomalous continuation, found by all workers in memory that stays as it
is, however large the corpus.

Two signs. *Payload*: a rare run of tokens that the same few documents share, while they share nothing else: less in
common than documents of their sources have by chance. A licence header or a product's template joins documents that
are alike in more than that. *Burst*: a rare token or pair that stands where documents turn into unheard-of text, in
most of the documents that hold it: the denial-of-service backdoor of Souly et al. 2025, section 3.

Each step is a function over the files that the one before wrote. What a hash is shared by is known where all its
occurrences lie together, so rows are sorted into parts by hash (`share_part`), by document (`sketch_box`), by hash
again (`gather_part`), and by the group of documents that is judged (`judge_part`). The result depends on the documents,
not on their order, on the boxes they come in, nor on who did what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forja.corpus.poison.counts import Counts, bits_for, pairs, sample_share, sampled
from forja.corpus.poison.flags import Flag, excerpt
from forja.corpus.poison.groups import FIDELITY, LEAST_TURNING, SHARED, judge_groups
from forja.corpus.poison.likeness import Sketches, choose_controls, save_sketches
from forja.corpus.poison.sketch import (
    FOUND,
    IS_ONSET,
    IS_RUN,
    IS_USUAL,
    LEAST,
    most_documents,
    read_documents,
    sketch_documents,
)
from forja.corpus.poison.spill import Rows, Spill, part_of, remove_spill, spilled
from forja.corpus.poison.tokens import tokenise
from forja.corpus.quality.words import Hashes, Integers

PART_BYTES = 1 << 23
"""Of text whose rows a part holds, about: some tens of megabytes while it is sorted."""
SLOWER = 8
"""These steps take so many times as long as sorting the text."""
MOST_TABLES = 4
BOXES_A_JOB = 16
"""Whose words one task counts: each writes a table of its own."""
MOST_CANDIDATES = 1 << 20
"""Triggers of bursts that are counted in the whole corpus; of more, those that most documents turn at."""
BLOOM_BITS = 24
HELD = np.dtype([*((name, FOUND[name]) for name in ("hash", "document", "at", "kind")), ("key", "<u8"), ("box", "<u2")])
"""An entry of a sketch, with the key of its document."""


class Texts(Protocol):
    """The documents that take part, in boxes that workers open one by one; it travels to them."""

    @property
    def boxes(self) -> int:
        """How many."""

    @property
    def bytes(self) -> int:
        """Of text, about."""

    def batches(self, box: int) -> Iterator[tuple[Sequence[int], Sequence[str]]]:
        """(numbers, texts) of the documents of a box, some at a time; numbers rise."""

    def sources(self, box: int, numbers: Integers) -> Integers:
        """The source of each of these documents."""


Each = Callable[[Callable[[Any], Any], Sequence[Any], int], Iterator[Any]]
"""What a function makes of every item, as `Engine.each`: on any worker, in any order."""


@dataclass(frozen=True)
class _Plan:
    texts: Texts
    folder: Path
    parts: int
    share: float
    sampled: int = 0
    documents: int = 0

    def counts(self) -> Counts:
        return Counts.load(self.folder / "counts.npy", self.sampled)


def find_triggers(
    texts: Texts, folder: Path, each: Each, advance: Callable[[float], None] = lambda _: None
) -> dict[tuple[int, int], list[Flag]]:
    """Flags `trigger-payload` and `trigger-burst` by box and number of the document.

    folder: where files lie until it ends. advance: told the share of the work that was done.
    Evidence: `documents` that share it, `at` and `tokens` (places in tokens, for `show_trigger`), and what speaks for
    it: `likeness` of what else they hold, and what is `expected` of documents of their sources.
    """
    folder.mkdir(exist_ok=True)
    plan = _Plan(texts, folder, max(1, -(-texts.bytes // PART_BYTES)), sample_share(texts.bytes))

    def run(step: Callable[..., Any], items: Sequence[Any], plan: _Plan, worth: float) -> Iterator[Any]:
        for result in each(partial(step, plan=plan), items, SLOWER * texts.bytes):
            advance(worth / len(items))
            yield result

    boxes, parts = range(texts.boxes), range(plan.parts)
    plan = replace(plan, sampled=_count_sample(plan, partial(run, plan=plan, worth=0.1)))
    plan = replace(plan, documents=sum(run(read_box, boxes, plan, 0.3)))
    _drain(run(share_part, parts, plan, 0.1))
    remove_spill(folder, "runs")
    _drain(run(sketch_box, boxes, plan, 0.1))
    remove_spill(folder, "shared")
    choose_controls(folder)
    candidates = list(run(gather_part, parts, plan, 0.1))
    remove_spill(folder, "entries")
    if plan.share < 1:
        _count_candidates(plan, candidates, partial(run, plan=plan, worth=0.1))
    found: dict[tuple[int, int], list[Flag]] = {}
    for rows in run(judge_part, parts, plan, 0.2):
        for box, number, kind, evidence in rows:
            found.setdefault((box, number), []).append(Flag(kind, evidence))
    return {place: _most_telling(own) for place, own in sorted(found.items())}


def show_trigger(text: str, flag: Flag) -> Flag:
    """The flag with the words it is about, cut from the document's text."""
    tokens = tokenise([text])
    at = min(int(flag.evidence["at"]), len(tokens.starts) - 1)
    last = min(at + int(flag.evidence["tokens"]), len(tokens.starts)) - 1
    if at < 0:
        return flag
    start, end = int(tokens.starts[at]) - 1, int(tokens.ends[last]) - 1
    return Flag(flag.kind, {**flag.evidence, "shown": excerpt(text, start, end, around=16)})


def _drain(results: Iterator[Any]) -> None:
    for _ in results:
        pass


def _most_telling(found: list[Flag]) -> list[Flag]:
    """Of each kind the one that most documents share, the longest of those."""
    ordered = sorted(found, key=lambda flag: (flag.kind, _weight(flag), sorted(flag.evidence.items())))
    return list({flag.kind: flag for flag in ordered}.values())


def _weight(flag: Flag) -> tuple[int, int, int]:
    return flag.evidence["documents"], flag.evidence["tokens"], -flag.evidence["at"]


# --- what the language knows -----------------------------------------------------------------------


def _count_sample(plan: _Plan, run: Callable[..., Iterator[Any]]) -> int:
    """Write the table of counts; returns how many documents it is of."""
    every = list(range(plan.texts.boxes))
    jobs = [every[number::MOST_TABLES] for number in range(MOST_TABLES) if every[number::MOST_TABLES]]
    counts = Counts(bits_for(plan.texts.bytes))
    for path, documents in run(count_boxes, jobs):
        counts.merge(Counts.load(Path(path), documents))
        Path(path).unlink()
    counts.save(plan.folder / "counts.npy")
    return counts.documents


def count_boxes(boxes: list[int], plan: _Plan) -> tuple[str, int]:
    """Count the sampled documents of some boxes; returns the file of the table and how many they are."""
    counts = Counts(bits_for(plan.texts.bytes))
    for box in boxes:
        for _, texts in plan.texts.batches(box):
            chosen = sampled(texts, plan.share)
            counts.add([text for text, mine in zip(texts, chosen, strict=True) if mine])
    path = plan.folder / f"counts-{boxes[0]:05d}.npy"
    counts.save(path)
    return str(path), counts.documents


def read_box(box: int, plan: _Plan) -> int:
    """Write the runs of a box's documents by part of their hash, and the rest of their sketches; returns how many."""
    counts = plan.counts()
    every: list[int] = []
    with (
        Spill(plan.folder, "runs", box, FOUND, plan.parts) as spill,
        (plan.folder / f"rest-{box:05d}.bin").open("wb") as file,
    ):
        for numbers, texts in plan.texts.batches(box):
            named = np.array(numbers, np.uint32)
            runs, rest = read_documents(texts, counts, plan.share)
            for found in (runs, rest):
                found["document"] = named[found["document"]]
            spill.add(runs, part_of(runs["hash"], plan.parts))
            file.write(rest.tobytes())
            every.extend(numbers)
    np.save(plan.folder / f"numbers-{box:05d}.npy", np.array(every, np.int64))
    return len(every)


# --- what documents share --------------------------------------------------------------------------


def share_part(part: int, plan: _Plan) -> None:
    """Of the runs in one part of the hashes keep those that enough documents hold, and not too many; by box."""
    most = most_documents(plan.documents)
    rows, boxes = spilled(plan.folder, "runs", part, FOUND)
    order = np.argsort(rows["hash"], kind="stable")
    hashes, documents, box = rows["hash"][order], rows["document"][order], boxes[order]
    new = np.r_[True, hashes[1:] != hashes[:-1]] if len(rows) else np.zeros(0, bool)
    # The sort keeps a document's occurrences of a hash together, as they were read together.
    turns = new.copy()
    turns[1:] |= (documents[1:] != documents[:-1]) | (box[1:] != box[:-1])
    number = np.cumsum(new) - 1
    held = np.bincount(number, turns)[number] if len(rows) else np.zeros(0)
    shared = order[(held >= LEAST) & (held <= most)]
    with Spill(plan.folder, "shared", part, FOUND, plan.texts.boxes) as spill:
        spill.add(rows[shared], boxes[shared])


def sketch_box(box: int, plan: _Plan) -> None:
    """Write the sketches of a box's documents, and their entries by part of the hash."""
    numbers = np.load(plan.folder / f"numbers-{box:05d}.npy")
    rest_path = plan.folder / f"rest-{box:05d}.bin"
    shared, _ = spilled(plan.folder, "shared", box, FOUND)
    entries = sketch_documents(shared, np.fromfile(rest_path, FOUND))
    rest_path.unlink()
    keys, ends = save_sketches(plan.folder, box, numbers, plan.texts.sources(box, numbers), entries)
    held = np.zeros(len(entries), HELD)
    for name in FOUND.names or ():
        held[name] = entries[name]
    held["box"], held["key"] = box, np.repeat(keys, np.diff(ends))
    with Spill(plan.folder, "entries", box, HELD, plan.parts) as spill:
        spill.add(held, part_of(held["hash"], plan.parts))


def gather_part(part: int, plan: _Plan) -> str:
    """Of one part of the hashes those that may be of a trigger, with all documents that hold them, by the least of
    these documents; returns the file of those that bursts follow."""
    rows, _ = spilled(plan.folder, "entries", part, HELD)
    onset = (rows["kind"] != IS_RUN) & (rows["kind"] != IS_USUAL)
    # A trigger of bursts, once known, counts wherever it stands; a run that is usual somewhere, too.
    defines = (rows["kind"] == IS_RUN) | (rows["kind"] == IS_ONSET)
    order = np.lexsort((rows["at"], rows["key"], ~defines, onset, rows["hash"]))
    rows, onset, defines = rows[order], onset[order], defines[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows["hash"][1:] != rows["hash"][:-1]) | (onset[1:] != onset[:-1])
    heads, number = np.flatnonzero(new), np.cumsum(new) - 1
    documents = np.bincount(number, defines, minlength=len(heads)).astype(np.int64)
    may = (documents >= LEAST) & (documents <= most_documents(plan.documents))
    turning = onset[heads]
    # What stands in more documents of the sample alone is no trigger, whatever the rest say.
    known = FIDELITY * plan.counts().of(rows["hash"][heads])
    may &= ~turning | (documents >= np.maximum(LEAST_TURNING, known))
    kept = may[number]
    found = np.zeros(int(kept.sum()), SHARED)
    for name in HELD.names or ():
        found[name] = rows[name][kept]
    number = number[kept]
    found["least"], found["first"] = rows["key"][heads][number], rows["at"][heads][number]
    found["documents"], found["onset"] = documents[number], turning[number]
    with Spill(plan.folder, "groups", part, SHARED, plan.parts) as spill:
        spill.add(found, part_of(found["least"], plan.parts))
    path = plan.folder / f"candidates-{part:05d}.npy"
    bursts = may & turning
    np.save(path, np.stack([rows["hash"][heads][bursts], documents[bursts].astype(np.uint64)]))
    return str(path)


# --- how faithful a trigger is to its bursts -------------------------------------------------------


def _count_candidates(plan: _Plan, paths: list[str], run: Callable[..., Iterator[Any]]) -> None:
    """Write in how many documents of the whole corpus the triggers of bursts stand: a sample cannot say."""
    every = np.concatenate([np.load(path) for path in sorted(paths)], axis=1)
    most = np.lexsort((every[0], -every[1].astype(np.int64)))[:MOST_CANDIDATES]
    hashes = np.sort(every[0][most])
    np.save(plan.folder / "candidates.npy", hashes)
    if not len(hashes):
        return
    boxes = list(range(plan.texts.boxes))
    jobs = [boxes[start : start + BOXES_A_JOB] for start in boxes[::BOXES_A_JOB]]
    total = np.zeros(len(hashes), np.int64)
    for path in run(count_candidates, jobs):
        total += np.load(path)
        Path(path).unlink()
    np.save(plan.folder / "frequencies.npy", total)


def count_candidates(boxes: list[int], plan: _Plan) -> str:
    """Count in how many documents of some boxes the candidates stand; returns the file of the counts."""
    hashes = np.load(plan.folder / "candidates.npy")
    bits = np.uint64((1 << BLOOM_BITS) - 1)
    may = np.zeros(1 << BLOOM_BITS, bool)
    may[hashes & bits] = True
    total = np.zeros(len(hashes), np.int64)
    for box in boxes:
        for _, texts in plan.texts.batches(box):
            tokens = tokenise(texts)
            document = tokens.document()
            for every in (tokens.hashes, pairs(tokens)):
                some = np.flatnonzero(may[every & bits])
                at = np.searchsorted(hashes, every[some]).clip(max=len(hashes) - 1)
                hit = hashes[at] == every[some]
                once = np.unique(at[hit] * len(texts) + document[some[hit]])
                total += np.bincount(once // len(texts), minlength=len(hashes))
    path = plan.folder / f"frequencies-{boxes[0]:05d}.npy"
    np.save(path, total)
    return str(path)


def judge_part(part: int, plan: _Plan) -> list[tuple[int, int, str, dict[str, float]]]:
    """(box, number, kind, evidence) of the flags of one part of the groups."""
    rows, _ = spilled(plan.folder, "groups", part, SHARED)
    if plan.share < 1:
        rows = rows[_faithful(rows, plan.folder)]
    return list(judge_groups(rows, Sketches(plan.folder)))


def _faithful(rows: Rows, folder: Path) -> npt.NDArray[np.bool_]:
    """(rows,) which are of no burst, or of one whose trigger seldom stands elsewhere in the whole corpus."""
    hashes: Hashes = np.load(folder / "candidates.npy")
    if not len(hashes):
        return np.asarray(rows["onset"] == 0)
    at = np.searchsorted(hashes, rows["hash"]).clip(max=len(hashes) - 1)
    every = np.load(folder / "frequencies.npy")[at]
    return np.asarray((rows["onset"] == 0) | ((hashes[at] == rows["hash"]) & (rows["documents"] >= FIDELITY * every)))
