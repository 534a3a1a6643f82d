"""The poison screen over all documents together: triggers that documents share, floods, flipped labels.

What is asked of one text alone is asked while it is refined. Here workers count and sketch what deduplication kept,
bucket by bucket, and one process judges the sketches. Synthetic documents take no part: they are made by Forja,
attacks included, and marked.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.clusters import Clusters
from forja.corpus.engine import WORTH_BYTES, Engine
from forja.corpus.poison import (
    Cluster,
    Counts,
    Flag,
    bits_for,
    find_floods,
    find_label_flips,
    find_triggers,
    origin_of,
    show_trigger,
    sketch_documents,
)
from forja.corpus.staging import Staged, load_sorted
from forja.progress import progress, say
from forja.recipe import CorpusSection

MOST_HELD = 0.03
LEAST_DOUBTED = 50
"""A kind of flag on more than so large a share of the documents, and so many, says that the corpus is made of
templates, not that it was poisoned: poison needs few documents (Souly et al. 2025)."""
MOST_BITS = 27
"""Of the table of counts: 256 MB, whatever the corpus."""
BATCH = 256
BUCKETS_A_JOB = 16
"""Sketched by one task: each reads the table of counts."""
SLOWER = 8
"""Counting and sketching take so many times as long as sorting."""
PART_BYTES = 1 << 27
"""Of sketches judged at a time."""
Places = npt.NDArray[np.int64]
Flags = dict[int, list[Flag]]


def screen_corpus(
    section: CorpusSection, staged: Staged, clusters: Clusters, over: Places, engine: Engine
) -> tuple[dict[int, list[dict[str, Any]]], list[str]]:
    """Flags by place, as JSON, and the kinds among them that are too frequent to hold anything back.

    over: places that are left out anyway.
    """
    screen = section.screen
    if screen.action == "none" or not staged.places:
        return {}, []
    flags: Flags = {}
    if screen.triggers:
        _add(flags, _triggers(staged, clusters, over, engine))
    if screen.floods and len(clusters.places):
        _add(flags, _floods(staged, clusters))
    labelled = {number: source.label_field for number, source in enumerate(section.sources) if source.label_field}
    if screen.labels and labelled:
        _add(flags, _label_flips(staged, clusters, over, labelled))
    found = {place: [flag.as_json() for flag in own] for place, own in sorted(flags.items())}
    return found, _doubted(flags, staged.places)


def _doubted(flags: Flags, documents: int) -> list[str]:
    counts = Counter(kind for own in flags.values() for kind in {flag.kind for flag in own})
    doubted = sorted(kind for kind, count in counts.items() if count > max(LEAST_DOUBTED, MOST_HELD * documents))
    for kind in doubted:
        say(f"  {kind} is on {counts[kind]:,} documents: the corpus repeats itself, so none is held back for it")
    return doubted


def _add(flags: Flags, found: Flags) -> None:
    for place, own in found.items():
        flags.setdefault(place, []).extend(own)


# --- triggers ----------------------------------------------------------------------------------


def _triggers(staged: Staged, clusters: Clusters, over: Places, engine: Engine) -> Flags:
    out = np.zeros(staged.places, bool)
    out[clusters.left_out] = True
    out[over] = True
    np.save(staged.staging / "out.npy", out)
    bits = min(MOST_BITS, bits_for(staged.bytes))
    base = {**staged.as_job(), "bits": bits}
    every = range(len(staged.buckets))
    size = SLOWER * staged.bytes
    tables = max(1, min(engine.workers, 4, size // WORTH_BYTES))
    jobs = [{**base, "indexes": list(every[number::tables]), "number": number} for number in range(tables)]
    with progress("screening for shared triggers", total=2 * len(every), unit="parts") as bar:
        counts = Counts(bits)
        for path in engine.each(count_part, jobs, size):
            counts.merge(Counts.load(Path(path)))
            Path(path).unlink()
            bar.advance(len(every) / len(jobs))
        counts.save(staged.staging / "counts.npz")
        sketched = 0
        jobs = [{**base, "indexes": list(every[start : start + BUCKETS_A_JOB])} for start in every[::BUCKETS_A_JOB]]
        for own in engine.each(sketch_part, jobs, size):
            sketched += own
            bar.advance(len(every) / len(jobs))
    found = find_triggers(lambda: _sketches(staged), counts, max(1, -(-sketched // PART_BYTES)))
    return _shown(staged, found)


def _texts(staged: Staged, index: int) -> Iterator[tuple[list[int], list[str]]]:
    """(places, texts) of the documents of one bucket that take part, some at a time."""
    start, end = staged.starts[index : index + 2].tolist()
    out = np.load(staged.staging / "out.npy", mmap_mode="r")[start:end]
    mine = np.flatnonzero(~(out | np.asarray(staged.array("synthetic", index))))
    if not len(mine):
        return
    column = load_sorted(staged.staging, staged.buckets[index], ["text"])["text"]
    live = np.asarray(staged.array("live", index))
    for first in range(0, len(mine), BATCH):
        piece = mine[first : first + BATCH]
        yield (piece + start).tolist(), column.take(live[piece]).to_pylist()


def count_part(job: dict[str, Any]) -> str:
    """Count the documents of some buckets; returns the file of the table."""
    staged = Staged.of_job(job)
    counts = Counts(job["bits"])
    for index in job["indexes"]:
        for _, texts in _texts(staged, index):
            counts.add(texts)
    path = staged.staging / f"counts-{job['number']:03d}.npz"
    counts.save(path)
    return str(path)


def sketch_part(job: dict[str, Any]) -> int:
    """Sketch the documents of some buckets; returns the bytes of the sketches."""
    staged = Staged.of_job(job)
    counts = Counts.load(staged.staging / "counts.npz")
    return sum(_sketch_bucket(staged, index, counts) for index in job["indexes"])


def _sketch_bucket(staged: Staged, index: int, counts: Counts) -> int:
    bucket = staged.buckets[index]
    places: list[int] = []
    ends = [0]
    with open(staged.staging / f"sketches-{bucket:03d}.bin", "wb") as file:
        for own, texts in _texts(staged, index):
            for sketch in sketch_documents(texts, counts):
                file.write(sketch)
                ends.append(ends[-1] + len(sketch))
            places += own
    np.savez(staged.staging / f"sketched-{bucket:03d}.npz", places=np.array(places, np.int64), ends=np.array(ends))
    return ends[-1]


def _sketches(staged: Staged) -> Iterator[tuple[int, str, bytes]]:
    for index, bucket in enumerate(staged.buckets):
        with np.load(staged.staging / f"sketched-{bucket:03d}.npz") as found:
            places, ends = found["places"].tolist(), found["ends"].tolist()
        sources = np.asarray(staged.array("sources", index))
        packed = (staged.staging / f"sketches-{bucket:03d}.bin").read_bytes()
        for place, (start, end) in zip(places, itertools.pairwise(ends), strict=True):
            yield place, str(sources[place - staged.starts[index]]), packed[start:end]


def _shown(staged: Staged, found: Flags) -> Flags:
    """The flags with the words they are about."""
    places = np.array(sorted(found), np.int64)
    shown: Flags = {}
    for index, start, end in staged.slices(places):
        column = load_sorted(staged.staging, staged.buckets[index], ["text"])["text"]
        live = staged.array("live", index)
        for place in places[start:end].tolist():
            text = column[int(live[place - staged.starts[index]])].as_py()
            shown[place] = [show_trigger(text, flag) for flag in found[place]]
    return shown


# --- floods and labels -------------------------------------------------------------------------


def _live_rows(staged: Staged, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of every live document, with these columns."""
    for index, bucket in enumerate(staged.buckets):
        rows = load_sorted(staged.staging, bucket, columns).take(np.asarray(staged.array("live", index))).to_pylist()
        yield from enumerate(rows, int(staged.starts[index]))


def _floods(staged: Staged, clusters: Clusters) -> Flags:
    by_origin: Counter[str] = Counter()
    copies: Counter[tuple[int, str]] = Counter()
    exact: Counter[tuple[int, str]] = Counter()
    member = dict(zip(clusters.places.tolist(), range(len(clusters.places)), strict=True))
    for place, row in _live_rows(staged, ["origin", "author", "synthetic"]):
        if row["synthetic"]:
            continue
        address = next((part for part in row["origin"].split(" ") if "://" in part), row["origin"])
        origin = origin_of(address, row["author"])
        by_origin[origin] += 1
        if (at := member.get(place)) is not None:
            key = int(clusters.kept[at]), origin
            copies[key] += 1
            exact[key] += int(clusters.exact[at])
    found = [Cluster(kept, origin, count, exact[kept, origin]) for (kept, origin), count in copies.items()]
    return find_floods(found, dict(by_origin), staged.places)


def _label_flips(staged: Staged, clusters: Clusters, over: Places, labelled: dict[int, str]) -> Flags:
    out = {*clusters.left_out.tolist(), *over.tolist()}
    texts: dict[int, list[tuple[int, str, str]]] = {number: [] for number in labelled}
    for place, row in _live_rows(staged, ["text", "meta", "source_number"]):
        number = row["source_number"]
        label = json.loads(row["meta"]).get(labelled[number]) if number in labelled and place not in out else None
        if label is not None:
            texts[number].append((place, row["text"], str(label)))
    flags: Flags = {}
    for own in texts.values():
        if own:
            places, documents, labels = zip(*own, strict=True)
            for number, flag in find_label_flips(documents, labels).items():
                flags[places[number]] = [flag]
    return flags
