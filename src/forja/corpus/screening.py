"""The poison screen over all documents together: triggers that documents share, floods, flipped labels.

What is asked of one text alone is asked while it is refined. Here workers go through what deduplication kept, bucket
by bucket. Synthetic documents take no part: they are made by Forja, attacks included, and marked.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forja.corpus.clusters import Clusters
from forja.corpus.engine import Engine
from forja.corpus.poison import (
    SLOWER,
    Cluster,
    Flag,
    find_floods,
    find_label_flips,
    find_triggers,
    origin_of,
    show_trigger,
)
from forja.corpus.staging import Staged, load_sorted
from forja.progress import progress, say
from forja.recipe import CorpusSection

MOST_HELD = 0.03
LEAST_DOUBTED = 50
"""A kind of flag on more than so large a share of the documents, and so many, says that the corpus is made of
templates, not that it was poisoned: poison needs few documents (Souly et al. 2025)."""
BATCH, BATCH_BYTES = 256, 1 << 20
"""Documents, and bytes of them, that a worker screens at once, but one document at least."""
OUT = "out.npy"
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
    np.save(staged.staging / OUT, out)
    folder = staged.staging / "triggers"
    with progress("screening for shared triggers", total=100, unit="%") as bar:
        found = find_triggers(_Screened(staged), folder, engine.each, lambda share: bar.advance(100 * share))
    shutil.rmtree(folder)
    return _shown(staged, found, engine)


@dataclass(frozen=True)
class _Screened:
    """The documents that take part, a box a bucket; their numbers are places within it."""

    staged: Staged

    @property
    def boxes(self) -> int:
        return len(self.staged.buckets)

    @property
    def bytes(self) -> int:
        return self.staged.bytes

    def batches(self, box: int) -> Iterator[tuple[list[int], list[str]]]:
        staged = self.staged
        start, end = staged.starts[box : box + 2].tolist()
        out = np.load(staged.staging / OUT, mmap_mode="r")[start:end]
        mine = np.flatnonzero(~(out | np.asarray(staged.array("synthetic", box))))
        if not len(mine):
            return
        column = load_sorted(staged.staging, staged.buckets[box], ["text"])["text"]
        live, ends = np.asarray(staged.array("live", box)), np.cumsum(np.asarray(staged.array("sizes", box))[mine])
        begin = 0
        while begin < len(mine):
            full = int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + BATCH_BYTES))
            piece = mine[begin : max(begin + 1, min(full, begin + BATCH))]
            yield piece.tolist(), column.take(live[piece]).to_pylist()
            begin += len(piece)

    def sources(self, box: int, numbers: Places) -> Places:
        return np.asarray(self.staged.array("sources", box)[numbers], np.int64)


def _shown(staged: Staged, found: dict[tuple[int, int], list[Flag]], engine: Engine) -> Flags:
    """The flags by place, with the words they are about."""
    boxes: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for (box, number), own in found.items():
        boxes.setdefault(box, {})[number] = [flag.as_json() for flag in own]
    jobs = [{**staged.as_job(), "index": box, "flags": list(own.items())} for box, own in sorted(boxes.items())]
    size = SLOWER * staged.bytes * len(found) // max(1, staged.places)
    return {
        place: [Flag(own.pop("kind"), own) for own in flags]
        for rows in engine.each(show_bucket, jobs, size)
        for place, flags in rows
    }


def show_bucket(job: dict[str, Any]) -> list[tuple[int, list[dict[str, Any]]]]:
    """(place, flags) of one bucket, the flags with the words they are about; job: of a Staged, with index and flags."""
    staged, index = Staged.of_job(job), job["index"]
    column = load_sorted(staged.staging, staged.buckets[index], ["text"])["text"]
    live = staged.array("live", index)
    shown = []
    for number, flags in job["flags"]:
        text = column[int(live[number])].as_py()
        own = [show_trigger(text, Flag(flag.pop("kind"), flag)) for flag in flags]
        shown.append((int(staged.starts[index]) + number, [flag.as_json() for flag in own]))
    return shown


# --- floods and labels -------------------------------------------------------------------------


def _live_rows(staged: Staged, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of every live document, with these columns."""
    for index, bucket in enumerate(staged.buckets):
        rows = load_sorted(staged.staging, bucket, columns).take(np.asarray(staged.array("live", index))).to_pylist()
        yield from enumerate(rows, int(staged.starts[index]))


def _floods(staged: Staged, clusters: Clusters) -> Flags:
    copies: Counter[tuple[int, str]] = Counter()
    exact: Counter[tuple[int, str]] = Counter()
    for place, origin in _origins(staged):
        at = int(np.searchsorted(clusters.places, place))
        if at < len(clusters.places) and clusters.places[at] == place:
            key = int(clusters.kept[at]), origin
            copies[key] += 1
            exact[key] += int(clusters.exact[at])
    # Only these: a corpus may have as many origins as documents.
    asked = {origin for _, origin in copies}
    by_origin = Counter(origin for _, origin in _origins(staged) if origin in asked)
    found = [Cluster(kept, origin, count, exact[kept, origin]) for (kept, origin), count in copies.items()]
    return find_floods(found, dict(by_origin), staged.places)


def _origins(staged: Staged) -> Iterator[tuple[int, str]]:
    for place, row in _live_rows(staged, ["origin", "author", "synthetic"]):
        if not row["synthetic"]:
            address = next((part for part in row["origin"].split(" ") if "://" in part), row["origin"])
            yield place, origin_of(address, row["author"])


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
