"""Near-identical texts in large number from one origin, found in what deduplication knows.

Deduplication leaves one text of a cluster, and so already takes most of a flood away: what is flagged is the survivor,
which would otherwise speak for all of them. Carlini et al. 2024, "Poisoning Web-Scale Training Datasets is Practical",
section 4, is why one origin matters: a buyer of one domain, or a bot with one account, writes from one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

from forja.corpus.poison.flags import Flag

LEAST_COPIES = 10
"""Near-identical texts of one origin that make a flood, in a small corpus."""
SHARE_OF_CORPUS = 0.0005
"""In a large one this share of its documents."""
MOST_COPIES = 200
"""However large the corpus, so many are a flood."""
SHARE_OF_ORIGIN = 0.2
"""Share of the origin's documents that the cluster must be: a site's boilerplate page is a small part of the site."""
SHARE_FROM_ORIGIN = 0.5
"""Share of the cluster that one origin has of a flood: what the whole web repeats is syndicated, not flooded."""
TIMES_USUAL = 5
"""Or so many times as many copies as its size, or the habit of the others, lets expect: a flood on a template that many
use. What others copy as eagerly, each in its measure, is syndicated."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of near duplicates, as one origin holds it: `kept` is the place of the document that stays."""

    kept: int
    origin: str
    copies: int
    exact: int = 0


def origin_of(origin: str, author: str | None = None) -> str:
    """Who wrote a document, as far as known: its author, else the host of its address, else its file."""
    if author:
        return f"author {author}"
    if "://" in origin:
        host = urlsplit(origin).hostname
        if host:
            return f"host {host.removeprefix('www.')}"
    return f"file {origin.split('#', 1)[0].split('!', 1)[0]}"


def least_copies(documents: int) -> int:
    """Near-identical texts of one origin that are a flood in a corpus of so many documents, copies included."""
    return int(min(MOST_COPIES, max(LEAST_COPIES, documents * SHARE_OF_CORPUS)))


def find_floods(clusters: Iterable[Cluster], by_origin: dict[str, int], documents: int) -> dict[int, list[Flag]]:
    """Flags `flood` by the place of the kept document.

    clusters: one row a cluster and origin, `copies` members of that origin of which `exact` are exactly the kept text;
    by_origin: how many documents each origin has, copies included; documents: of all origins. Copies that are exactly
    alike count as one, as the same page fetched twice is no flood.
    """
    by_cluster: dict[int, list[Cluster]] = {}
    for row in clusters:
        by_cluster.setdefault(row.kept, []).append(row)
    flags: dict[int, list[Flag]] = {}
    for kept, rows in sorted(by_cluster.items()):
        for row in sorted(rows, key=lambda row: (-row.copies, row.origin)):
            different = row.copies - max(0, row.exact - 1)
            of_origin = by_origin.get(row.origin, row.copies)
            if different < least_copies(documents) or row.copies < SHARE_OF_ORIGIN * of_origin:
                continue
            if row.copies < _least_of_cluster(row, rows, by_origin):
                continue
            evidence = {"origin": row.origin, "copies": row.copies, "different": different, "of_origin": of_origin}
            flags[kept] = [Flag("flood", evidence)]
            break
    return flags


def _least_of_cluster(row: Cluster, rows: list[Cluster], by_origin: dict[str, int]) -> float:
    """Copies of this origin that are more than its part in what all origins of the cluster repeat."""
    half = SHARE_FROM_ORIGIN * sum(other.copies for other in rows)
    others = [other for other in rows if other.origin != row.origin]
    if not others:
        return half
    written = sum(by_origin.get(other.origin, other.copies) for other in others)
    share = sum(other.copies for other in others) / written
    usual = min(share * by_origin.get(row.origin, row.copies), median(other.copies for other in others))
    return min(half, TIMES_USUAL * usual)
