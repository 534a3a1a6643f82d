"""Examples to splits that do not leak: exact duplicates go, near duplicates stay on one side.

Decided by the examples' content and the seed alone, whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from forja.corpus.dedup import band_keys, candidate_pairs, components, jaccard, normalise, shingles, unique_pairs
from forja.corpus.examples.layouts import Example
from forja.errors import ForjaError
from forja.recipe import NearDuplicates

SPLITS = ("train", "valid", "test")
FEWEST = 20
"""Examples below which no split is worth its name."""
STRATUM = 10
"""Examples of a class and source from which each split gets some."""
NEAR = NearDuplicates(threshold=0.8)


@dataclass(frozen=True)
class Splits:
    """The examples of each split, by id; removed: id, source and reason of each that was left out."""

    parts: dict[str, list[Example]]
    removed: list[tuple[str, str, str]]


def read_text(example: Example) -> str:
    """What the model is asked: two examples that ask the same must not lie in two splits."""
    if example.text is not None:
        return example.text
    asked = example.prompt or [message for message in example.messages or [] if message["role"] != "assistant"]
    return "\n".join(message["content"] for message in asked)


def split_examples(
    examples: Sequence[Example],
    *,
    valid_fraction: float,
    test_fraction: float,
    seed: int,
    test: Sequence[Example] | None = None,
    labelled: bool = False,
) -> Splits:
    """Train, valid and test; `test`: the examples that are the test split. Raises ForjaError where there are too few.

    labelled: of a text that occurs with two labels no copy stays, and there must be two classes.
    """
    removed: list[tuple[str, str, str]] = []
    kept = _unique(examples, removed, labelled=labelled)
    held = _unique(test, removed, labelled=labelled) if test is not None else []
    everything = [*kept, *held]
    clusters = near_clusters([read_text(one) for one in everything])
    if held:
        told = set(clusters[len(kept) :].tolist())
        leaks = [cluster in told for cluster in clusters[: len(kept)].tolist()]
        removed += [(one.id, one.source, "leaks-into-test") for one, leak in zip(kept, leaks, strict=True) if leak]
        clusters = clusters[: len(kept)][~np.array(leaks, bool)]
        kept = [one for one, leak in zip(kept, leaks, strict=True) if not leak]
    if len(kept) < FEWEST:
        raise ForjaError(
            f"{len(kept)} examples are left after duplicates are taken out, and {FEWEST} are the fewest to learn from.",
            where="examples",
            fix="Give more examples.",
        )
    if labelled:
        _require_classes(kept)
    fractions = {"test": 0.0 if test is not None else test_fraction, "valid": valid_fraction}
    parts = _allocated(kept, clusters, fractions, seed)
    if test is not None:
        parts["test"] = list(held)
    return Splits({name: sorted(parts[name], key=lambda one: one.id) for name in SPLITS}, removed)


def _unique(examples: Sequence[Example], removed: list[tuple[str, str, str]], *, labelled: bool) -> list[Example]:
    """One of each text that reads the same, sorted by id; none of those that have two labels."""
    keyed = sorted(((_key(one, labelled), one) for one in examples), key=lambda pair: (pair[0], pair[1].id))
    kept = []
    for _, alike in groupby(keyed, key=lambda pair: pair[0]):
        members = [one for _, one in alike]
        torn = labelled and len({one.label for one in members}) > 1
        kept += [] if torn else members[:1]
        reason = "two-labels" if torn else "duplicate"
        removed += [(one.id, one.source, reason) for one in (members if torn else members[1:])]
    return sorted(kept, key=lambda one: one.id)


def _key(one: Example, labelled: bool) -> bytes:
    if labelled or one.text is not None:
        return normalise(one.text or "")
    said = [message["content"] for message in (one.messages or one.prompt or [])]
    return normalise("\n".join([*said, one.chosen or "", one.rejected or ""]))


def near_clusters(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Of each text the least place of the texts that it is a near duplicate of, itself where there is none, (texts,):
    MinHash candidates (Broder 1997), verified by exact Jaccard similarity, and what hangs together through others."""
    words = [normalise(text) for text in texts]
    clusters = np.arange(len(texts), dtype=np.int64)
    if len(texts) < 2:
        return clusters
    keys, places = band_keys(words, NEAR), np.arange(len(texts), dtype=np.int64)
    pairs = unique_pairs(np.concatenate([candidate_pairs(keys[:, band], places) for band in range(keys.shape[1])]))
    hashed = {at: shingles(words[at], NEAR.shingle) for at in np.unique(pairs).tolist()}
    alike = [pair for pair in pairs.tolist() if jaccard(hashed[pair[0]], hashed[pair[1]]) >= NEAR.threshold]
    if alike:
        nodes, least = components(np.array(alike, np.int64))
        clusters[nodes] = least
    return clusters


def _require_classes(examples: Sequence[Example]) -> None:
    counts = Counter(one.label for one in examples)
    if len(counts) < 2:
        raise ForjaError(
            f"all examples are of one class ({next(iter(counts))}), and there is nothing to tell apart.",
            where="examples",
            fix="Give examples of another class too.",
        )
    few = [label for label, count in counts.items() if count < 2]
    if few:
        raise ForjaError(
            f"there is only one example of {', '.join(map(str, sorted(few, key=str)[:5]))}.",
            where="examples",
            fix="Give at least two of each class.",
        )


def _allocated(
    examples: Sequence[Example], clusters: npt.NDArray[np.int64], fractions: dict[str, float], seed: int
) -> dict[str, list[Example]]:
    """Whole clusters to splits, in an order that the seed gives, the same share of each class and source."""
    members: dict[int, list[Example]] = {}
    for one, cluster in zip(examples, clusters.tolist(), strict=True):
        members.setdefault(cluster, []).append(one)
    strata: dict[tuple[str, str], list[tuple[bytes, list[Example]]]] = {}
    for alike in members.values():
        first = min(alike, key=lambda one: one.id)
        draw = hashlib.sha256(f"{seed}:{first.id}".encode()).digest()
        strata.setdefault((str(first.label), first.source), []).append((draw, alike))
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for _, drawn in sorted(strata.items()):
        queue = [alike for _, alike in sorted(drawn, key=lambda pair: pair[0])]
        count = sum(map(len, queue))
        for name, fraction in fractions.items():
            wanted = math.ceil(fraction * count) if count >= STRATUM else round(fraction * count)
            taken = 0
            while taken < wanted and len(queue) > 1:
                parts[name] += queue[0]
                taken += len(queue.pop(0))
        parts["train"] += [one for alike in queue for one in alike]
    return parts
