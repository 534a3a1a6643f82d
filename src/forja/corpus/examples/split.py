"""Examples to splits that do not leak: exact duplicates go, near duplicates stay on one side.

Decided by the examples' content and the seed alone, whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
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
SHOWN, MOST_SHOWN = 40, 5
"""Characters of a label, and labels, that an error shows."""


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
    keyed = sorted(
        ((_key(one, labelled), one) for one in examples),
        key=lambda pair: (pair[0], pair[1].id, pair[1].source, sorted(pair[1].groups.items())),
    )
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
            f"all examples are of one class ({shown_labels(map(str, counts))}), and there is nothing to tell apart.",
            where="examples",
            fix="Give examples of another class too.",
        )
    few = {str(label) for label, count in counts.items() if count < 2}
    if few:
        raise ForjaError(
            f"there is only one example of {shown_labels(few)}.",
            where="examples",
            fix="Give at least two of each class.",
        )


def shown_labels(labels: Iterable[str]) -> str:
    """Labels as an error shows them: a few, and short, as a wrong column of labels holds texts."""
    names = sorted(labels)
    shown = [name if len(name) <= SHOWN else f"{name[:SHOWN]}..." for name in names[:MOST_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _allocated(
    examples: Sequence[Example], clusters: npt.NDArray[np.int64], fractions: dict[str, float], seed: int
) -> dict[str, list[Example]]:
    """Whole clusters to splits, in an order that the seed gives, the same share of each class and source."""
    members: dict[int, list[Example]] = {}
    for one, cluster in zip(examples, clusters.tolist(), strict=True):
        members.setdefault(cluster, []).append(one)
    parts: dict[str, list[Example]] = {name: [] for name in SPLITS}
    owed = dict.fromkeys(fractions, 0.5)  # by strata too small for a share of their own: together they give one
    for queue in _strata(list(members.values()), seed):
        count = sum(map(len, queue))
        for name, fraction in fractions.items():
            if count >= STRATUM:
                parts[name] += _taken(queue, math.ceil(fraction * count))
                continue
            owed[name] += fraction * count
            given = _taken(queue, math.floor(owed[name]))
            owed[name] -= len(given)
            parts[name] += given
        parts["train"] += [one for alike in queue for one in alike]
    empty = [name for name, fraction in fractions.items() if fraction and not parts[name]]
    if empty:
        raise ForjaError(
            f"nothing is left to hold out ({' and '.join(empty)}): the examples are near duplicates of one another.",
            where="examples",
            fix="Give examples that differ.",
        )
    return parts


def _taken(queue: list[list[Example]], wanted: int) -> list[Example]:
    """The first clusters of the queue, taken out of it, that hold as many examples as wanted; one cluster stays. One
    that is larger than what is wanted stays too, where others are smaller: it would fill a split with one text."""
    largest = max(wanted, min(map(len, queue)))
    taken: list[Example] = []
    place = 0
    while len(taken) < wanted and len(queue) > 1 and place < len(queue):
        if len(queue[place]) > largest:
            place += 1
        else:
            taken += queue.pop(place)
    return taken


def _strata(clusters: list[list[Example]], seed: int) -> list[list[list[Example]]]:
    """Clusters by class and source, drawn in the seed's order; of a class the sources that are small are one stratum.

    A cluster's examples are sorted by id, and the first of them says where it belongs.
    """
    named: dict[tuple[str, str], list[list[Example]]] = {}
    for alike in clusters:
        named.setdefault((str(alike[0].label), alike[0].source), []).append(alike)
    strata: dict[tuple[str, str], list[list[Example]]] = {}
    for (label, source), members in named.items():
        small = sum(map(len, members)) < STRATUM
        strata.setdefault((label, "" if small else source), []).extend(members)
    drawn = sorted(strata.items(), key=lambda pair: pair[0])
    return [sorted(members, key=lambda alike: _draw(alike, seed)) for _, members in drawn]


def _draw(alike: list[Example], seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{alike[0].id}".encode()).digest()
