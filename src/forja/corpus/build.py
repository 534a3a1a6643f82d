"""The corpus stage: sources in; documents kept, quarantined and rejected out, each sorted by id.

Rows are staged in buckets by id while the sources are read, so that no more than a bucket is sorted
in memory, then duplicates are found, then the buckets are written out in order.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from forja.corpus.clusters import Clusters, find_clusters
from forja.corpus.documents import DUPLICATES
from forja.corpus.engine import Engine, open_engine
from forja.corpus.finish import FILE_BYTES, FLAGS, SLOWER, TALLIED_BYTES, finish_group
from forja.corpus.privacy import read_subject_key
from forja.corpus.reading import chunk_readers, from_stream
from forja.corpus.refine import Settings, refine_packed
from forja.corpus.screening import screen_corpus
from forja.corpus.shares import over_share
from forja.corpus.staging import Buckets, Staged, sort_bucket
from forja.errors import ForjaError
from forja.progress import progress, say
from forja.recipe import CorpusSection


@dataclass
class SourceFigures:
    """One source: documents read and bytes of raw records, what was rejected by reason, what was kept.
    quarantined, reported: flags of documents that were left out for one, and of documents kept all the same."""

    read_documents: int = 0
    read_bytes: int = 0
    kept_documents: int = 0
    kept_bytes: int = 0
    synthetic_documents: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)


@dataclass
class CorpusFigures:
    """The corpus as a whole: the funnel in documents and in bytes, by source, and who is represented.

    Bytes read are of raw records, those after it of UTF-8 text. languages, regions: documents and bytes kept.
    """

    documents: dict[str, int]
    bytes: dict[str, int]
    sources: dict[str, SourceFigures]
    languages: dict[str, list[int]]
    regions: dict[str, list[int]]
    engine: dict[str, Any]


def build_corpus(
    section: CorpusSection,
    workspace: Path,
    *,
    base_folder: Path,
    seed: int = 0,
    forgotten: frozenset[str] = frozenset(),
) -> CorpusFigures:
    """Collect, clean, deduplicate and screen into `workspace`. Raises ForjaError.

    seed: decides what synthetic sources make. forgotten: ids of documents that must not come back.
    """
    if not section.sources:
        raise ForjaError(
            "the recipe names no sources.", where="corpus.sources", fix="Name one there, or give --source PATH."
        )
    for old in workspace.iterdir():  # a killed attempt's: sources are read from the start again
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    staging = workspace / ".staging"
    staging.mkdir()
    engine = open_engine(section)
    settings = _settings(section, staging, base_folder, forgotten)
    buckets = _collect(settings, staging, base_folder, seed, engine)
    staged = _sort(staging, buckets, engine)
    clusters = find_clusters(staged, section.near_duplicates, engine)
    tallies = _write(section, workspace, staged, clusters, engine)
    figures = _figures(section, tallies, staged)
    shutil.rmtree(staging)
    reasons = sum((Counter(own.rejected) for own in figures.sources.values()), Counter())
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(4))
    if why:
        say(f"  rejected {figures.documents['rejected']:,} of {figures.documents['read']:,} documents ({why})")
    if figures.documents["quarantined"]:
        say(f"  quarantined {figures.documents['quarantined']:,} documents; see corpus/quarantined-*.parquet")
    if not figures.documents["kept"]:
        raise ForjaError(
            f"no document is left to train on (rejected: {why or 'none was found'}).",
            fix="Look at the sources, or lower corpus.min_characters.",
        )
    return figures


def _settings(section: CorpusSection, staging: Path, base_folder: Path, forgotten: frozenset[str]) -> Settings:
    runs = None
    if section.decontamination.sets:
        from forja.corpus.decontaminate import Decontaminator

        sets = [base_folder / Path(name).expanduser() for name in section.decontamination.sets]
        runs = staging / "evaluation-runs.npz"
        Decontaminator.from_files(sets, section.decontamination.tokens).save(runs)
    name = section.subject_key_file
    key = read_subject_key(base_folder / Path(name).expanduser()) if name is not None else None
    return Settings(section, key, runs, forgotten)


def _collect(settings: Settings, staging: Path, base_folder: Path, seed: int, engine: Engine) -> dict[int, int]:
    """Stage every source's rows by bucket of their id; returns the bytes of the buckets that hold any."""
    section = settings.section
    buckets = Buckets(staging)
    readers = chunk_readers(section, base_folder, seed, engine.parts)
    read = 0
    with progress("reading", unit="documents") as bar:
        for payload in engine.stream(readers, partial(refine_packed, settings=settings)):
            about, table = from_stream(payload)
            if about["error"]:
                raise ForjaError(**about["error"])
            buckets.add(table)
            read += pc.sum(table["raw_bytes"]).as_py() or 0
            bar.advance(len(table), note=f"{read / 1e6:,.0f} MB, {section.sources[about['source']].label}")
    return buckets.close()


def _sort(staging: Path, buckets: dict[int, int], engine: Engine) -> Staged:
    jobs = [{"staging": str(staging), "bucket": bucket, "bytes": size} for bucket, size in buckets.items()]
    with progress("sorting", total=len(jobs), unit="parts") as bar:
        counts = []
        for found in engine.each(sort_bucket, jobs, sum(buckets.values())):
            counts += found
            bar.advance()
    return Staged(staging, counts)


def _write(
    section: CorpusSection, workspace: Path, staged: Staged, clusters: Clusters, engine: Engine
) -> list[dict[str, Any]]:
    """The buckets in groups of about FILE_BYTES, a file a group; returns what each group held."""
    clusters.save(staged.staging / "clusters.npz")
    over = over_share(section, staged, clusters)
    np.save(staged.staging / "over.npy", over)
    flags, doubted = screen_corpus(section, staged, clusters, over, engine)
    screened = {"hold": section.screen.action == "quarantine", "doubted": doubted, "flags": flags}
    (staged.staging / FLAGS).write_text(json.dumps(screened))
    groups: list[list[int]] = [[]]
    held = 0
    for index, count in enumerate(staged.counts):
        if groups[-1] and held >= FILE_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += count["bytes"]
    base = {**staged.as_job(), "workspace": str(workspace)}
    jobs = [{**base, "number": number, "group": group} for number, group in enumerate(groups)]
    with progress("writing", total=len(jobs), unit="files") as bar:
        tallies = []
        for tally in engine.each(finish_group, jobs, SLOWER * staged.bytes):
            tallies.append(tally)
            bar.advance()
    return tallies


def _figures(section: CorpusSection, tallies: list[dict[str, Any]], staged: Staged) -> CorpusFigures:
    sources = {source.label: SourceFigures() for source in section.sources}
    shared: dict[str, dict[str, list[int]]] = {"languages": {}, "regions": {}}
    for tally in tallies:
        for name, found in tally["sources"].items():
            _add(sources[name], found)
        for what, own in shared.items():
            for key, (documents, size) in tally[what].items():
                before = own.get(key, [0, 0])
                own[key] = [before[0] + documents, before[1] + size]
    everything = list(sources.values())
    funnel = {
        "read": sum(own.read_documents for own in everything),
        "rejected": sum(sum(own.rejected.values()) for own in everything),
        "duplicates": sum(own.rejected.get(reason, 0) for own in everything for reason in DUPLICATES),
        "quarantined": sum(tally["quarantined"][0] for tally in tallies),
        "synthetic": sum(own.synthetic_documents for own in everything),
        "kept": sum(own.kept_documents for own in everything),
    }
    sizes = {
        "read": sum(own.read_bytes for own in everything),
        **{name: sum(tally["bytes"][name] for tally in tallies) for name in TALLIED_BYTES},
        "quarantined": sum(tally["quarantined"][1] for tally in tallies),
        "kept": sum(own.kept_bytes for own in everything),
    }
    ordered = {what: dict(sorted(own.items(), key=lambda item: (-item[1][1], item[0]))) for what, own in shared.items()}
    kind = {"kind": section.engine, "array_bytes_a_document": staged.bytes_a_document()}
    return CorpusFigures(funnel, sizes, sources, ordered["languages"], ordered["regions"], kind)


def _add(own: SourceFigures, found: dict[str, Any]) -> None:
    for key, value in found.items():
        before = getattr(own, key)
        if isinstance(value, dict):
            setattr(own, key, dict(sorted((Counter(before) + Counter(value)).items())))
        else:
            setattr(own, key, before + value)
