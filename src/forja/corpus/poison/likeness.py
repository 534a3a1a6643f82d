"""How much documents have in common besides what was found in them, and how much documents of their sources have in
common by chance."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

import numpy as np
import xxhash

from forja.corpus.poison.sketch import IS_ONSET, Sketch, read_sketch
from forja.corpus.quality.words import Hashes

CONTROLS = 256
"""Documents of a source from which chance is estimated: those of least key."""
TRIMMED = 0.15
"""Share of the pairs, the most alike, that are left out of the average."""
MATCHED = 48
"""Controls that a group is measured against, about."""
PADDING = 12
"""Tokens around a payload that belong to it."""


class Likeness:
    """Controls by source, of bounded number, and the sketches that were kept for comparison."""

    def __init__(self) -> None:
        self._controls: dict[str, list[tuple[int, bytes]]] = {}
        self._kept: dict[int, tuple[str, Sketch]] = {}
        self._read: dict[str, list[Hashes]] = {}

    def add(self, source: str, sketch: bytes) -> None:
        """Consider a document as a control of its source."""
        heap = self._controls.setdefault(source, [])
        entry = (-xxhash.xxh3_64_intdigest(sketch, 1), sketch)
        if len(heap) < CONTROLS:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            heapq.heapreplace(heap, entry)

    def keep(self, place: int, source: str, sketch: Sketch) -> None:
        self._kept[place] = (source, sketch)

    def besides(self, place: int, first: int, last: int) -> Hashes:
        """What a kept document holds outside its tokens from `first` to `last` and what is close to them."""
        sketch = self._kept[place][1]
        outside = (sketch["at"] + PADDING < first) | (sketch["at"] > last + PADDING)
        return np.unique(sketch["hash"][(sketch["kind"] != IS_ONSET) & outside])

    def shared(self, rest: Sequence[Hashes]) -> float:
        """Entries that two of these documents share, on average over the pairs, those most alike left out: a few
        hosts of one kind do not make a group of one kind."""
        _, column = np.unique(np.concatenate(rest), return_inverse=True)
        holds = np.zeros((len(rest), int(column.max(initial=-1)) + 1), np.float32)
        holds[np.repeat(np.arange(len(rest)), [len(hashes) for hashes in rest]), column] = 1
        pairs = np.sort((holds @ holds.T)[np.triu_indices(len(rest), 1)])
        return float(pairs[: max(1, int(len(pairs) * (1 - TRIMMED)))].mean())

    def expected(self, places: Sequence[int]) -> float:
        """What `shared` gives for other documents of these documents' sources."""
        each = max(1, MATCHED // len(places))
        rest: list[Hashes] = []
        taken: Counter[str] = Counter()
        for place in places:
            source = self._kept[place][0]
            controls = self._held(source)
            for _ in range(each):
                rest.append(controls[taken[source] % len(controls)])
                taken[source] += 1
        return self.shared(rest)

    def _held(self, source: str) -> list[Hashes]:
        """What each control of a source holds, in the order of their keys."""
        if source not in self._read:
            sketches = [read_sketch(sketch) for _, sketch in sorted(self._controls[source], reverse=True)]
            self._read[source] = [np.unique(sketch["hash"][sketch["kind"] != IS_ONSET]) for sketch in sketches]
        return self._read[source]
