"""How much documents have in common besides what was found in them, and how much documents of their sources have in
common by chance. Both are read from the sketches on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import xxhash

from forja.corpus.poison.sketch import IS_ONSET, SKETCH, Found, Sketch
from forja.corpus.quality.words import Hashes, Integers

CONTROLS = 256
"""Documents of a source from which chance is estimated: those of least key."""
TRIMMED = 0.15
"""Share of the pairs, the most alike, that are left out of the average."""
MATCHED = 48
"""Controls that a group is measured against, about."""
PADDING = 12
"""Tokens around a payload that belong to it."""
CONTROL = np.dtype([("source", "<i8"), ("key", "<u8"), ("place", "<i8")])


# --- sketches at rest ------------------------------------------------------------------------------


def save_sketches(
    folder: Path, box: int, numbers: Integers, sources: Integers, entries: Found
) -> tuple[Hashes, Integers]:
    """Write the sketches of a box's documents, and those that may be controls; returns the documents' keys and where
    the entries of each end. A key is the hash of the sketch: no matter which place the document has."""
    packed = np.zeros(len(entries), SKETCH)
    for name in SKETCH.names or ():
        packed[name] = entries[name]
    ends = np.append(0, np.searchsorted(entries["document"], numbers, "right")).astype(np.int64)
    view = memoryview(packed.tobytes())
    size = SKETCH.itemsize
    pieces = [view[size * start : size * end] for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    keys = np.array([xxhash.xxh3_64_intdigest(piece) for piece in pieces], np.uint64)
    controls = np.zeros(len(numbers), CONTROL)
    controls["source"], controls["place"] = sources, (box << 32) | numbers
    controls["key"] = [xxhash.xxh3_64_intdigest(piece, 1) for piece in pieces]
    (folder / f"sketches-{box:05d}.bin").write_bytes(view)
    np.savez(folder / f"sketched-{box:05d}.npz", numbers=numbers, sources=sources, ends=ends)
    np.save(folder / f"controls-{box:05d}.npy", _least_of_source(controls))
    return keys, ends


def choose_controls(folder: Path) -> None:
    """Write which documents of all boxes are controls."""
    controls = np.zeros(0, CONTROL)
    for path in sorted(folder.glob("controls-?????.npy")):
        controls = _least_of_source(np.concatenate([controls, np.load(path)]))
    np.save(folder / "controls.npy", controls)


def _least_of_source(controls: Sketch) -> Sketch:
    controls = controls[np.lexsort((controls["place"], controls["key"], controls["source"]))]
    rank = np.arange(len(controls)) - np.searchsorted(controls["source"], controls["source"])
    return np.asarray(controls[rank < CONTROLS])


class Sketches:
    """The sketches of all boxes, and the controls by source as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._controls = np.load(folder / "controls.npy")
        self._held: dict[int, list[Hashes]] = {}
        self.expected: dict[tuple[int, ...], float] = {}
        """What documents of these sources share by chance."""

    def read(self, places: Integers) -> Iterator[tuple[int, int, Sketch]]:
        """(place, source, sketch) of each of these places, which rise."""
        boxes = places >> 32
        for box in np.unique(boxes).tolist():
            asked = places[boxes == box]
            with np.load(self._folder / f"sketched-{box:05d}.npz") as found:
                at = np.searchsorted(found["numbers"], asked & (2**32 - 1))
                sources, ends = found["sources"][at].tolist(), found["ends"]
                bounds = zip(ends[at].tolist(), ends[at + 1].tolist(), strict=True)
            with (self._folder / f"sketches-{box:05d}.bin").open("rb") as file:
                for place, source, (start, end) in zip(asked.tolist(), sources, bounds, strict=True):
                    yield place, source, _entries(file, start, end)

    def controls(self, source: int) -> list[Hashes]:
        """What each control of a source holds, in the order of their keys."""
        if source not in self._held:
            own = self._controls[self._controls["source"] == source]
            held = {place: _holds(sketch) for place, _, sketch in self.read(np.sort(own["place"]))}
            self._held[source] = [held[place] for place in own["place"].tolist()]
        return self._held[source]


def _entries(file: IO[bytes], start: int, end: int) -> Sketch:
    file.seek(start * SKETCH.itemsize)
    return np.frombuffer(file.read((end - start) * SKETCH.itemsize), SKETCH)


def _holds(sketch: Sketch) -> Hashes:
    return np.unique(sketch["hash"][sketch["kind"] != IS_ONSET])


# --- what they have in common ----------------------------------------------------------------------


class Likeness:
    """Compares documents whose sketches it holds."""

    def __init__(self, sketches: Sketches, places: Integers) -> None:
        self._sketches = sketches
        self._kept = {place: (source, sketch) for place, source, sketch in sketches.read(places)}

    def besides(self, place: int, first: int, last: int) -> Hashes:
        """What a document holds outside its tokens from `first` to `last` and what is close to them."""
        sketch = self._kept[place][1]
        outside = (sketch["at"] + PADDING < first) | (sketch["at"] > last + PADDING)
        return np.unique(sketch["hash"][(sketch["kind"] != IS_ONSET) & outside])

    def shared(self, rest: Sequence[Hashes]) -> float:
        """Entries that two of these documents share, on average over the pairs, those most alike left out: a few
        hosts of one kind do not make a group of one kind."""
        _, column = np.unique(np.concatenate(rest), return_inverse=True)
        holds = np.zeros((len(rest), int(column.max(initial=-1)) + 1), bool)
        holds[np.repeat(np.arange(len(rest)), [len(hashes) for hashes in rest]), column] = True
        # No matrix product: its threads would fight for the cores that other workers use.
        bits = np.packbits(holds, axis=1)
        one, two = np.triu_indices(len(rest), 1)
        pairs = np.sort(np.bitwise_count(bits[one] & bits[two]).sum(axis=1, dtype=np.int64))
        return float(pairs[: max(1, int(len(pairs) * (1 - TRIMMED)))].mean())

    def expected(self, places: Sequence[int]) -> float:
        """What `shared` gives for other documents of these documents' sources."""
        sources = tuple(sorted(self._kept[place][0] for place in places))
        known = self._sketches.expected
        if sources not in known:
            each = max(1, MATCHED // len(places))
            rest: list[Hashes] = []
            for source, times in Counter(sources).items():
                controls = self._sketches.controls(source)
                rest += [controls[number % len(controls)] for number in range(each * times)]
            known[sources] = self.shared(rest)
        return known[sources]
