"""What went into a corpus, as a part of the report, and as a page of its own before there is a model.

What it tells is gathered in `corpus_findings.py`, named in `names.py`, and laid out in `corpus_part.html.jinja`,
which both pages include.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forja.corpus.documents import DUPLICATES
from forja.evaluation import charts, corpus_findings, names
from forja.evaluation.charts import Bar, Narrowing
from forja.evaluation.corpus_findings import Group, Step, Tally, is_rule
from forja.evaluation.page import render_page
from forja.evaluation.wording import counted, percent, plural, size
from forja.run import read_json, write_text_atomic

UNDETERMINED, UNKNOWN = "und", "unknown"
"""How the corpus stage writes a language and a region that it could not tell."""
MOST_BARS = 12
MOST_GROUPS = 12
"""Languages and regions that are in sight; the others are in a part that opens."""
COLUMNS = (
    ("Read", "read"),
    ("Rejected", "rejected"),
    ("Duplicates", "duplicates"),
    ("Quarantined", "quarantined"),
    ("Over share", "over_share"),
    ("Synthetic", "synthetic"),
    ("Kept", "kept"),
)
"""Of the table by source: what is said above, and the field of a SourceRow."""


@dataclass(frozen=True)
class CorpusReportFigures:
    """What the stage made: the page's size in bytes."""

    bytes: int


@dataclass(frozen=True)
class Counted:
    """A kind of reason, flag or placeholder: its name, as the files have it, how often, and from which sources."""

    name: str
    code: str
    count: int
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Represented:
    """A language or a region: documents, bytes of text, and its share of the text."""

    name: str
    documents: int
    bytes: int
    share: float


@dataclass(frozen=True)
class Flagged:
    """A kind of flag: documents left out for it and documents kept all the same, and from which sources."""

    name: str
    code: str
    quarantined: int
    kept: int
    sources: tuple[tuple[str, int], ...]


def corpus_report_stage(run_folder: Path, workspace: Path) -> CorpusReportFigures:
    """Write corpus-report.html of the run's corpus into the workspace. Raises ForjaError."""
    receipt = read_json(run_folder / "corpus" / "receipt.json")
    path = write_corpus_report(receipt["figures"], run_folder.name, workspace)
    return CorpusReportFigures(path.stat().st_size)


def write_corpus_report(corpus: Mapping[str, Any], name: str, folder: Path) -> Path:
    """Write corpus-report.html, which the name and the corpus stage's figures alone decide, and return its path."""
    path = folder / "corpus-report.html"
    write_text_atomic(path, render_page("corpus_report.html.jinja", {"name": name, "corpus": corpus_part(corpus)}))
    return path


def corpus_part(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """What corpus_part.html.jinja lays out, of the corpus stage's figures."""
    rejected = [_counted(tally, names.reason) for tally in corpus_findings.tallies(corpus, "rejected")]
    rules = [reason for reason in rejected if is_rule(reason.code)]
    duplicates = [reason for reason in rejected if reason.code in DUPLICATES]
    sources = corpus_findings.source_rows(corpus)
    languages, regions = (corpus_findings.groups(corpus, what) for what in ("languages", "regions"))
    return {
        "documents": corpus["documents"],
        "bytes": corpus["bytes"],
        "sources": sources,
        "columns": [column for column in COLUMNS if column[1] != "over_share" or any(s.over_share for s in sources)],
        "rejected": rejected,
        "rules": rules,
        "masked": [_counted(tally, names.placeholder) for tally in corpus_findings.tallies(corpus, "masked")],
        "flagged": _flagged(corpus),
        "languages": _represented(languages, names.language),
        "languages_told": sum(group.code != UNDETERMINED for group in languages),
        "regions": _represented(regions, names.region),
        "region_known": sum(group.share for group in regions if group.code != UNKNOWN),
        "most": MOST_GROUPS,
        "charts": {
            "funnel": _funnel_chart(corpus_findings.funnel(corpus)),
            "rules": _reasons_chart("Documents rejected, by rule", rules),
            "duplicates": _reasons_chart("Documents left out as duplicates", duplicates),
        },
    }


def _counted(tally: Tally, named: Callable[[str], str]) -> Counted:
    return Counted(named(tally.kind), tally.kind, tally.count, tally.sources)


def _represented(groups: Sequence[Group], named: Callable[[str], str]) -> list[Represented]:
    return [Represented(named(group.code), group.documents, group.bytes, group.share) for group in groups]


def _flagged(corpus: Mapping[str, Any]) -> list[Flagged]:
    """Both kinds of flagged documents in one table, those left out first."""
    out = {tally.kind: tally for tally in corpus_findings.tallies(corpus, "quarantined")}
    kept = {tally.kind: tally for tally in corpus_findings.tallies(corpus, "reported")}
    rows = []
    for kind in dict.fromkeys((*out, *kept)):
        sources: dict[str, int] = {}
        for tally in (found[kind] for found in (out, kept) if kind in found):
            for name, count in tally.sources:
                sources[name] = sources.get(name, 0) + count
        ordered = tuple(sorted(sources.items(), key=lambda pair: (-pair[1], pair[0])))
        counts = [found[kind].count if kind in found else 0 for found in (out, kept)]
        rows.append(Flagged(names.flag(kind), kind, counts[0], counts[1], ordered))
    return rows


# --- charts --------------------------------------------------------------------------------------

STEPS = {
    "read": "Read",
    "rejected": "Rejected by rule",
    "duplicates": "Duplicates",
    "quarantined": "Quarantined",
    "over-share": "Over their share",
    "kept": "Kept",
}


def _funnel_chart(steps: Sequence[Step]) -> Markup:
    read = steps[0].left
    rows = [Narrowing(STEPS[step.name], step.left, step.out, _figure(step), _note(step, read)) for step in steps]
    return Markup(charts.funnel_chart("From what was read to what is kept", rows, taken="left out at this step"))


def _figure(step: Step) -> str:
    if step.name in ("read", "kept"):
        return plural(step.left, "document")
    if not step.out:
        return "none"
    taken = f"−{plural(step.out, 'document')}"
    return f"{taken}, {size(step.out_bytes)}" if step.out_bytes is not None else taken


def _note(step: Step, read: int) -> str:
    if step.name == "read":
        return f"{size(step.left_bytes or 0)} as they were collected"
    if step.name == "kept":
        return f"{size(step.left_bytes or 0)} of text, {percent(step.left / read if read else 0)} of the documents read"
    if not step.out:
        return ""
    left = f"{counted(step.left)} left"
    return f"{left}, {size(step.left_bytes)} of text" if step.left_bytes is not None else left


def _reasons_chart(title: str, reasons: Sequence[Counted]) -> Markup:
    bars = [Bar(reason.name, reason.count, counted(reason.count)) for reason in reasons]
    if len(bars) > MOST_BARS:
        rest = sum(bar.value for bar in bars[MOST_BARS - 1 :])
        bars = [*bars[: MOST_BARS - 1], Bar(f"{len(bars) - MOST_BARS + 1} others", rest, counted(rest))]
    return Markup(charts.bar_chart(title, bars) if bars else "")
