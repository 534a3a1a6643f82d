"""Near-identical texts in large number from one origin, found in what deduplication knows.

Deduplication leaves one text of a cluster, and so already takes most of a flood away: what is flagged is the survivor,
which would otherwise speak for all of them. Carlini et al. 2024, "Poisoning Web-Scale Training Datasets is Practical",
section 4, is why one origin matters: a buyer of one domain, or a bot with one account, writes from one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
"""Share of the cluster that must be of the one origin: what the whole web repeats is syndicated, not flooded."""


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
    rows = list(clusters)
    total: dict[int, int] = {}
    for row in rows:
        total[row.kept] = total.get(row.kept, 0) + row.copies
    flags: dict[int, list[Flag]] = {}
    for row in sorted(rows, key=lambda row: (row.kept, -row.copies, row.origin)):
        different = row.copies - max(0, row.exact - 1)
        of_origin = by_origin.get(row.origin, row.copies)
        if different < least_copies(documents) or row.kept in flags:
            continue
        if row.copies < SHARE_OF_ORIGIN * of_origin or row.copies < SHARE_FROM_ORIGIN * total[row.kept]:
            continue
        evidence = {"origin": row.origin, "copies": row.copies, "different": different, "of_origin": of_origin}
        flags[row.kept] = [Flag("flood", evidence)]
    return flags
