"""Figures of a corpus stage made up for tests, in the form in which its receipt keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from forja.corpus.build import DUPLICATES, CorpusFigures, SourceFigures


@dataclass
class Given:
    """One source: documents kept, of 70 bytes each, and held back, and the counts by kind."""

    kept: int
    held: int = 0
    synthetic: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)


def corpus_figures(
    sources: Mapping[str, Given],
    *,
    languages: Mapping[str, int] | None = None,
    regions: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """languages, regions: documents of each, 70 bytes a document; English and unknown by default."""
    own = {
        name: SourceFigures(
            read_documents=given.kept + given.held + sum(given.rejected.values()),
            read_bytes=100 * (given.kept + given.held + sum(given.rejected.values())),
            kept_documents=given.kept,
            kept_bytes=70 * given.kept,
            synthetic_documents=given.synthetic,
            rejected=given.rejected,
            quarantined=given.quarantined,
            masked=given.masked,
        )
        for name, given in sources.items()
    }
    kept, held = (sum(getattr(given, name) for given in sources.values()) for name in ("kept", "held"))
    copies = sum(given.rejected.get(reason, 0) for given in sources.values() for reason in DUPLICATES)
    figures = CorpusFigures(
        documents={
            "read": sum(source.read_documents for source in own.values()),
            "rejected": sum(sum(given.rejected.values()) for given in sources.values()),
            "duplicates": copies,
            "quarantined": held,
            "synthetic": sum(given.synthetic for given in sources.values()),
            "kept": kept,
        },
        bytes={
            "read": sum(source.read_bytes for source in own.values()),
            "duplicates": 70 * copies,
            "quarantined": 70 * held,
            "kept": 70 * kept,
        },
        sources=own,
        languages={code: [count, 70 * count] for code, count in (languages or {"en": kept}).items()},
        regions={code: [count, 70 * count] for code, count in (regions or {"unknown": kept}).items()},
        engine={"kind": "native"},
    )
    return asdict(figures)
