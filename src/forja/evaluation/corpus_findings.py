"""What the corpus stage's figures tell, as plain data: what was left out at each step, and who is in what was kept.

Nothing here is formatted or drawn. `corpus` is everywhere the figures of the stage's receipt (CorpusFigures as JSON).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forja.corpus.documents import DUPLICATES

OVER_SHARE = "over-share"

What = Literal["rejected", "quarantined", "reported", "masked"]


@dataclass(frozen=True)
class Step:
    """A step of the funnel: documents and bytes left out at it, and left after it. None: the stage does not tell."""

    name: Literal["read", "rejected", "duplicates", "quarantined", "over-share", "kept"]
    out: int
    out_bytes: int | None
    left: int
    left_bytes: int | None


@dataclass(frozen=True)
class SourceRow:
    """One source in documents: every one that was read was rejected by a rule, a duplicate, quarantined, over the
    source's share, or kept. synthetic: of those kept. kept_bytes: of text."""

    name: str
    read: int
    rejected: int
    duplicates: int
    quarantined: int
    over_share: int
    synthetic: int
    kept: int
    kept_bytes: int


@dataclass(frozen=True)
class Tally:
    """How often one kind was counted, in all and by source, the most frequent first."""

    kind: str
    count: int
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Group:
    """Documents of one language or region, their bytes of text, and their share of all text."""

    code: str
    documents: int
    bytes: int
    share: float


def funnel(corpus: Mapping[str, Any]) -> list[Step]:
    """From read to kept. Bytes are of raw records where read, and at what the rules rejected; then of text.

    Text is counted back from what was kept, so that it is the text that the rules let through.
    """
    documents, sizes = corpus["documents"], corpus["bytes"]
    over = sum(row.over_share for row in source_rows(corpus))
    over_bytes = sizes.get(OVER_SHARE, None if over else 0)
    outs: list[tuple[Any, int, int | None]] = [
        ("rejected", documents["rejected"] - documents["duplicates"] - over, sizes.get("rejected")),
        ("duplicates", documents["duplicates"], sizes["duplicates"]),
        ("quarantined", documents["quarantined"], sizes["quarantined"]),
        ("over-share", over, over_bytes),
    ]
    steps = [Step("kept", 0, 0, documents["kept"], sizes["kept"])]
    left, left_bytes = documents["kept"], sizes["kept"]
    for name, out, out_bytes in reversed(outs):
        if out or name != "over-share":
            steps.append(Step(name, out, out_bytes, left, left_bytes))
        left += out
        left_bytes = None if left_bytes is None or out_bytes is None else left_bytes + out_bytes
    steps.append(Step("read", 0, 0, documents["read"], sizes["read"]))
    return steps[::-1]


def source_rows(corpus: Mapping[str, Any]) -> list[SourceRow]:
    """What became of each source's documents, the source with the most text first."""
    rows = []
    for name, own in corpus["sources"].items():
        reasons = own["rejected"]
        out = sum(reasons.values())
        duplicates = sum(reasons.get(reason, 0) for reason in DUPLICATES)
        over = reasons.get(OVER_SHARE, 0)
        rows.append(
            SourceRow(
                name,
                own["read_documents"],
                out - duplicates - over,
                duplicates,
                # `quarantined` counts a document once for each kind of flag, so it is told by what is missing.
                own["read_documents"] - out - own["kept_documents"],
                over,
                own["synthetic_documents"],
                own["kept_documents"],
                own["kept_bytes"],
            )
        )
    return sorted(rows, key=lambda row: (-row.kept_bytes, -row.read, row.name))


def tallies(corpus: Mapping[str, Any], what: What) -> list[Tally]:
    """Counts by kind, the most frequent first: `rejected` by reason, `quarantined` and `reported` (flagged, but kept)
    by flag, `masked` by placeholder."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    for name, own in corpus["sources"].items():
        for kind, count in own.get(what, {}).items():
            kinds.setdefault(kind, []).append((name, count))
    found = [
        Tally(kind, sum(count for _, count in own), tuple(sorted(own, key=lambda pair: (-pair[1], pair[0]))))
        for kind, own in kinds.items()
    ]
    return sorted(found, key=lambda tally: (-tally.count, tally.kind))


def is_rule(reason: str) -> bool:
    """Whether the document itself was at fault: not a duplicate, and not over a share."""
    return reason not in (*DUPLICATES, OVER_SHARE)


def groups(corpus: Mapping[str, Any], what: Literal["languages", "regions"]) -> list[Group]:
    """Who is in the documents kept, the most text first."""
    whole = sum(size for _, size in corpus[what].values())
    found = [Group(code, count, size, size / whole if whole else 0.0) for code, (count, size) in corpus[what].items()]
    return sorted(found, key=lambda group: (-group.bytes, -group.documents, group.code))
