"""Duplicates found out of core, by all workers, and the same every time.

Each step is a function of files in the staging folder, run by the engine over parts of the keys, of the
documents or of the pairs; a part fits in memory whatever the corpus. Only documents that have a duplicate
are ever held together: 24 bytes each.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from forja.corpus import dedup
from forja.corpus.dedup import Keys, Places
from forja.corpus.engine import Engine
from forja.corpus.staging import Staged, load_array, load_sorted
from forja.progress import progress
from forja.recipe import NearDuplicates

PART_DOCUMENTS = 1_000_000
"""Documents whose keys one task sorts: 16 MB of keys and places."""
FEW_KEYS = 2_000_000
"""Up to so many one task takes every band."""
BANDS_A_TASK = 4
PART_PAIRS = 50_000
"""Pairs that one task verifies."""
SLOWER = 3
"""Shingling a bucket's candidates takes so many times as long as sorting it."""
PAIR_BYTES = 4096
"""Bytes of shingles that a pair compares, about."""
CACHED_SHINGLES = 4_000_000
SKIP = "exact.npy"
WANTED = "wanted.npy"


@dataclass(frozen=True)
class Clusters:
    """Documents that have duplicates. Per row, by rising place: the place, the place kept in its stead (itself
    where it is the one), the least place of its cluster, and whether its text is exactly the kept one's."""

    places: Places
    kept: Places
    least: Places
    exact: npt.NDArray[np.bool_]

    @property
    def left_out(self) -> Places:
        """The places of which another one is kept, rising."""
        out: Places = self.places[self.kept != self.places]
        return out

    def save(self, path: Path) -> None:
        np.savez(path, places=self.places, kept=self.kept, least=self.least, exact=self.exact)

    @classmethod
    def load(cls, path: Path) -> Clusters:
        with np.load(path) as found:
            return cls(found["places"], found["kept"], found["least"], found["exact"])


def find_clusters(staged: Staged, settings: NearDuplicates, engine: Engine) -> Clusters:
    """Connected components of exact and verified near duplicates, with the one that stays of each."""
    job = _job(staged, settings)
    edges = [_exact_edges(staged, engine, job)]
    if settings.enabled and staged.places > 1:
        edges.append(_near_edges(staged, engine, job))
    every = np.concatenate(edges)
    if not len(every):
        empty = np.zeros(0, np.int64)
        return Clusters(empty, empty, empty, np.zeros(0, bool))
    places, least = dedup.components(every)
    return _choose(staged, settings, places, least)


def _job(staged: Staged, settings: NearDuplicates) -> dict[str, Any]:
    return {
        **staged.as_job(),
        "near": settings.model_dump(),
        "parts": max(1, -(-staged.places // PART_DOCUMENTS)),
    }


def _part_of(keys: Keys, part: int, parts: int) -> npt.NDArray[np.bool_]:
    """Which keys are this part's business: by their upper bits, so that equal ones meet."""
    mine: npt.NDArray[np.bool_] = (keys >> np.uint64(40)) % np.uint64(parts) == part
    return mine


# --- exact duplicates --------------------------------------------------------------------------


def _exact_edges(staged: Staged, engine: Engine, job: dict[str, Any]) -> Places:
    """Each copy with the first document of its text; the copies are marked, so that no later step sees them."""
    jobs = [{**job, "part": part} for part in range(job["parts"])]
    found = [np.load(path) for path in sorted(engine.each(exact_part, jobs, 16 * staged.places))]
    edges = np.concatenate(found)
    copies = np.zeros(staged.places, bool)
    copies[edges[:, 1]] = True
    np.save(staged.staging / SKIP, copies)
    return edges


def exact_part(job: dict[str, Any]) -> str:
    """Edges of equal digests in one part of the digests; returns the file they are in."""
    staged = Staged.of_job(job)
    digests: list[npt.NDArray[np.uint64]] = []
    places: list[Places] = []
    for index, start in enumerate(staged.starts[:-1]):
        own = staged.array("digests", index)
        mine = np.flatnonzero(_part_of(own[:, 0], job["part"], job["parts"]))
        digests.append(own[mine])
        places.append(mine + start)
    every, where = np.concatenate(digests), np.concatenate(places)
    order = np.lexsort((where, every[:, 1], every[:, 0]))
    every, where = every[order], where[order]
    first = np.r_[True, (every[1:] != every[:-1]).any(axis=1)] if len(every) else np.zeros(0, bool)
    heads = where[first][np.cumsum(first) - 1] if len(every) else where
    path = staged.staging / f"exact-{job['part']:05d}.npy"
    np.save(path, np.stack([heads[~first], where[~first]], axis=1))
    return str(path)


# --- near duplicates ---------------------------------------------------------------------------


def _near_edges(staged: Staged, engine: Engine, job: dict[str, Any]) -> Places:
    bands = job["near"]["bands"]
    step = bands if staged.places * bands < FEW_KEYS else BANDS_A_TASK
    jobs = [
        {**job, "part": part, "bands": list(range(start, min(bands, start + step)))}
        for part in range(job["parts"])
        for start in range(0, bands, step)
    ]
    with progress("finding near duplicates", total=len(jobs), unit="parts") as bar:
        files = []
        for path in engine.each(pairs_part, jobs, 8 * bands * staged.places):
            files.append(path)
            bar.advance()
    pairs = np.zeros((0, 2), np.int64)
    for path in sorted(files):  # one band after the other: most find the same pairs
        pairs = dedup.unique_pairs(np.concatenate([pairs, np.load(path)]))
    if not len(pairs):
        return pairs
    np.save(staged.staging / "pairs.npy", pairs)
    wanted = np.unique(pairs)
    np.save(staged.staging / WANTED, wanted)
    buckets = [{**job, "index": index} for index, _, _ in staged.slices(wanted)]
    for _ in engine.each(shingle_bucket, buckets, SLOWER * staged.bytes):
        pass
    parts = [{**job, "start": start, "end": start + PART_PAIRS} for start in range(0, len(pairs), PART_PAIRS)]
    with progress("comparing near duplicates", total=len(pairs), unit="pairs") as bar:
        verified = []
        for path in engine.each(verify_part, parts, PAIR_BYTES * len(pairs)):
            verified.append(path)
            bar.advance(len(pairs) / len(parts))
    return np.concatenate([np.load(path) for path in sorted(verified)])


def pairs_part(job: dict[str, Any]) -> str:
    """Candidate pairs of some bands in one part of their keys; returns the file they are in."""
    staged = Staged.of_job(job)
    copies = np.load(staged.staging / SKIP, mmap_mode="r")
    spans = [span for span in enumerate(itertools.pairwise(staged.starts.tolist())) if span[1][0] < span[1][1]]
    buckets = [(staged.array("keys", index), start, end) for index, (start, end) in spans]
    found = []
    for band in job["bands"]:
        keys: list[Keys] = []
        places: list[Places] = []
        for array, start, end in buckets:
            own = array[band]
            mine = np.flatnonzero(_part_of(own, job["part"], job["parts"]) & ~copies[start:end])
            keys.append(own[mine])
            places.append(mine + start)
        found.append(dedup.candidate_pairs(np.concatenate(keys), np.concatenate(places)))
    path = staged.staging / f"pairs-{job['part']:05d}-{job['bands'][0]:03d}.npy"
    np.save(path, dedup.unique_pairs(np.concatenate(found)))
    return str(path)


def shingle_bucket(job: dict[str, Any]) -> int:
    """The shingles of one bucket's candidates, one document after the other, and where each one's end."""
    staged = Staged.of_job(job)
    index, bucket = job["index"], staged.buckets[job["index"]]
    wanted = np.load(staged.staging / WANTED, mmap_mode="r")
    start, end = np.searchsorted(wanted, staged.starts[index : index + 2])
    rows = staged.array("live", index)[wanted[start:end] - staged.starts[index]]
    texts = load_sorted(staged.staging, bucket, ["text"])["text"].take(rows)
    ends = [0]
    with open(staged.staging / f"shingles-{bucket:05d}.bin", "wb") as file:
        for text in texts:
            own = dedup.shingles(dedup.normalise(text.as_py()), job["near"]["shingle"])
            file.write(own.tobytes())
            ends.append(ends[-1] + len(own))
    np.save(staged.staging / f"ends-{bucket:05d}.npy", np.array(ends, np.int64))
    return int(bucket)


def verify_part(job: dict[str, Any]) -> str:
    """Of some pairs those whose Jaccard similarity reaches the threshold, reduced to a spanning forest."""
    staged = Staged.of_job(job)
    pairs = np.load(staged.staging / "pairs.npy", mmap_mode="r")[job["start"] : job["end"]]
    threshold = job["near"]["threshold"]
    with _Shelf(staged) as shelf:
        like = [dedup.jaccard(shelf.shingles(one), shelf.shingles(two)) >= threshold for one, two in pairs.tolist()]
    path = staged.staging / f"edges-{job['start']:012d}.npy"
    np.save(path, dedup.spanning_forest(np.array(pairs)[np.array(like, bool)]))
    return str(path)


class _Shelf:
    """Shingles by place, read from disk, the latest few million kept."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._wanted = np.load(staged.staging / WANTED, mmap_mode="r")
        self._firsts = np.searchsorted(self._wanted, staged.starts)
        self._cached: OrderedDict[int, Keys] = OrderedDict()
        self._size = 0
        self._ends: dict[int, npt.NDArray[np.int64]] = {}
        self._files: dict[int, IO[bytes]] = {}
        self._open = ExitStack()

    def __enter__(self) -> _Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def shingles(self, place: int) -> Keys:
        if place in self._cached:
            self._cached.move_to_end(place)
            return self._cached[place]
        own = self._read(place)
        self._cached[place] = own
        self._size += len(own)
        while self._size > CACHED_SHINGLES and len(self._cached) > 2:
            self._size -= len(self._cached.popitem(last=False)[1])
        return own

    def _read(self, place: int) -> Keys:
        index = int(np.searchsorted(self._staged.starts, place, "right")) - 1
        bucket = self._staged.buckets[index]
        if index not in self._ends:
            self._ends[index] = np.array(load_array(self._staged.staging, "ends", bucket))
            path = self._staged.staging / f"shingles-{bucket:05d}.bin"
            self._files[index] = self._open.enter_context(path.open("rb"))
        at = int(np.searchsorted(self._wanted, place)) - int(self._firsts[index])
        start, end = self._ends[index][at : at + 2].tolist()
        file = self._files[index]
        file.seek(8 * start)
        return np.frombuffer(file.read(8 * (end - start)), np.uint64)


# --- who stays ---------------------------------------------------------------------------------


def _choose(staged: Staged, settings: NearDuplicates, places: Places, least: Places) -> Clusters:
    """Of each cluster the longest stays, or the oldest; of equals the one with the least id."""
    rule = -staged.gather("sizes", places) if settings.keep == "longest" else staged.gather("dates", places)
    order = np.lexsort((places, rule, least))
    heads = np.r_[True, least[order][1:] != least[order][:-1]]
    kept = np.empty_like(places)
    chosen = order[heads][np.cumsum(heads) - 1]
    kept[order] = places[chosen]
    digests = staged.gather("digests", places)
    at = np.searchsorted(places, kept)
    return Clusters(places, kept, least, (digests == digests[at]).all(axis=1))
