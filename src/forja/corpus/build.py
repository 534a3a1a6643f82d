"""The corpus stage: sources in; documents kept and documents rejected out, each sorted by id.

Rows are staged in buckets by id while the sources are read, so that no more than a bucket is sorted
in memory, then duplicates are found, then the buckets are written out in order.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forja.corpus.dedup import exact_key, near_duplicate_clusters, normalise
from forja.corpus.documents import DOCUMENTS, REJECTED, STAGED, Row, RowWriter, read_rows
from forja.corpus.refine import Settings, refine_all, rejected_row
from forja.corpus.sources.files import read_files
from forja.corpus.sources.local_docs import read_local_docs
from forja.corpus.sources.record import Record
from forja.corpus.sources.tables import read_dataset
from forja.errors import ForjaError
from forja.progress import progress, say
from forja.recipe import CorpusSection, NearDuplicates, Source

BUCKETS = 16


@dataclass
class SourceFigures:
    """One source: documents read and bytes of raw records, what was rejected by reason, what was kept."""

    read_documents: int = 0
    read_bytes: int = 0
    kept_documents: int = 0
    kept_bytes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)


@dataclass
class CorpusFigures:
    """The corpus as a whole (read, kept, rejected) and by source; bytes kept are of UTF-8 text."""

    documents: dict[str, int]
    bytes: dict[str, int]
    sources: dict[str, SourceFigures]


def build_corpus(section: CorpusSection, workspace: Path, *, base_folder: Path) -> CorpusFigures:
    """Collect, clean and deduplicate into `workspace`. Raises ForjaError."""
    if not section.sources:
        raise ForjaError(
            "the recipe names no sources.", where="corpus.sources", fix="Name one there, or give --source PATH."
        )
    for old in workspace.iterdir():  # a killed attempt's: sources are read from the start again
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    staging = workspace / ".staging"
    staging.mkdir()
    figures = {source.label: SourceFigures() for source in section.sources}
    _collect(section, staging, base_folder, figures)
    buckets = _sort_buckets(staging)
    duplicates = _find_duplicates(section, staging, buckets)
    result = _write(workspace, buckets, duplicates, figures)
    shutil.rmtree(staging)
    why = ", ".join(f"{reason} {count:,}" for reason, count in _reasons(figures).most_common(4))
    if why:
        say(f"  rejected {result.documents['rejected']:,} of {result.documents['read']:,} documents ({why})")
    if not result.documents["kept"]:
        raise ForjaError(
            f"no document is left to train on (rejected: {why or 'none was found'}).",
            fix="Look at the sources, or lower corpus.min_characters.",
        )
    return result


def _reasons(figures: dict[str, SourceFigures]) -> Counter[str]:
    total: Counter[str] = Counter()
    for source in figures.values():
        total.update(source.rejected)
    return total


# --- reading ---------------------------------------------------------------------------------


def _collect(section: CorpusSection, staging: Path, base_folder: Path, figures: dict[str, SourceFigures]) -> None:
    """Stage every source's rows: accepted ones by bucket of their id, rejected ones together."""
    writers = [RowWriter(staging, f"bucket-{number:02d}", STAGED) for number in range(BUCKETS)]
    rejected = RowWriter(staging, "rejected", REJECTED)
    key = _read_key(section.subject_key_file, base_folder)
    for source in section.sources:
        settings = Settings(
            source.label,
            source.licence,
            source.lang,
            section.min_characters,
            section.max_document_bytes,
            section.privacy,
            key,
            section.near_duplicates,
        )
        own = figures[source.label]
        masked: Counter[str] = Counter()
        with progress(f"reading {source.label}", unit="documents") as bar:
            for chunk in refine_all(_records(source, base_folder, section.max_document_bytes), settings):
                for row in chunk.documents:
                    writers[int(row["id"][0], 16) * BUCKETS // 16].add(row)
                for row in chunk.rejected:
                    rejected.add(row)
                    own.rejected[row["reason"]] = own.rejected.get(row["reason"], 0) + 1
                count = len(chunk.documents) + len(chunk.rejected)
                own.read_documents += count
                own.read_bytes += chunk.read_bytes
                masked += chunk.masked
                bar.advance(count, note=f"{own.read_bytes / 1e6:,.0f} MB")
        own.masked = dict(sorted(masked.items()))
    for writer in [*writers, rejected]:
        writer.close()


def _records(source: Source, base_folder: Path, max_bytes: int) -> Iterator[Record]:
    if source.kind == "local-docs":
        found = read_local_docs(max_bytes)
    elif source.dataset is not None:
        found = read_dataset(source, base_folder, max_bytes)
    else:
        found = read_files(source, base_folder, max_bytes)
    return islice(found, source.limit)


def _read_key(name: str | None, base_folder: Path) -> bytes | None:
    if name is None:
        return None
    path = base_folder / Path(name).expanduser()
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ForjaError(
            f"the key cannot be read ({error.strerror}).", where=f"corpus.subject_key_file {path}"
        ) from None
    if len(key) < 16:
        raise ForjaError("the key has fewer than 16 bytes.", where=f"corpus.subject_key_file {path}")
    return key


# --- duplicates ------------------------------------------------------------------------------


def _sort_buckets(staging: Path) -> list[Path]:
    """Each bucket as one file sorted by id; their order is the order of ids."""
    sorted_buckets = []
    for number in range(BUCKETS):
        parts = sorted(staging.glob(f"bucket-{number:02d}-*.parquet"))
        table = pa.concat_tables([pq.read_table(part) for part in parts]).sort_by("id")
        path = staging / f"sorted-{number:02d}.parquet"
        pq.write_table(table, path, compression="lz4", row_group_size=1024)
        sorted_buckets.append(path)
        for part in parts:
            part.unlink()
    return sorted_buckets


def _find_duplicates(section: CorpusSection, staging: Path, buckets: list[Path]) -> dict[str, tuple[str, str]]:
    """Ids of the documents to leave out: the reason, and the id of the one kept in their place."""
    duplicates: dict[str, tuple[str, str]] = {}
    first: dict[bytes, str] = {}
    for row in read_rows(buckets, ["id", "text"]):
        kept = first.setdefault(exact_key(row["text"]), row["id"])
        if kept != row["id"]:
            duplicates[row["id"]] = ("exact-duplicate", kept)
    if section.near_duplicates.enabled and len(first) > 1:
        _find_near_duplicates(section.near_duplicates, staging, buckets, duplicates)
    # A copy of a document that turned out a near duplicate itself names the one that is kept.
    return {
        identity: (reason, duplicates[kept][1] if kept in duplicates else kept)
        for identity, (reason, kept) in duplicates.items()
    }


def _find_near_duplicates(
    settings: NearDuplicates, staging: Path, buckets: list[Path], duplicates: dict[str, tuple[str, str]]
) -> None:
    """Add the near duplicates. Words and keys are staged on disk: memory holds ids, sizes and one band."""
    ids: list[str] = []
    sizes: list[int] = []
    bands = [staging / f"band-{number:03d}.bin" for number in range(settings.bands)]
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in buckets) - len(duplicates)
    with ExitStack() as files, progress("finding near duplicates", total=total, unit="documents") as bar:
        staged_words = files.enter_context(open(staging / "words.bin", "wb"))
        outputs = [files.enter_context(open(path, "wb")) for path in bands]
        for row in read_rows(buckets, ["id", "text", "keys"]):
            if row["id"] in duplicates:
                continue
            ids.append(row["id"])
            sizes.append(staged_words.write(normalise(row["text"])))
            for number, output in enumerate(outputs):
                output.write(row["keys"][8 * number : 8 * number + 8])
            bar.advance()
    ends = np.cumsum(sizes)
    mapped = np.memmap(staging / "words.bin", np.uint8, "r")
    clusters = near_duplicate_clusters(
        (np.fromfile(path, np.uint64) for path in bands),
        len(ids),
        lambda place: mapped[ends[place] - sizes[place] : ends[place]].tobytes(),
        settings,
    ).tolist()
    best: dict[int, int] = {}
    for place, cluster in enumerate(clusters):
        # The longest stays; of equals the smallest id, which comes first.
        if sizes[place] > sizes[best.setdefault(cluster, place)]:
            best[cluster] = place
    for place, cluster in enumerate(clusters):
        if best[cluster] != place:
            duplicates[ids[place]] = ("near-duplicate", ids[best[cluster]])


# --- writing ---------------------------------------------------------------------------------


def _write(
    workspace: Path,
    buckets: list[Path],
    duplicates: dict[str, tuple[str, str]],
    figures: dict[str, SourceFigures],
) -> CorpusFigures:
    documents = RowWriter(workspace, "documents", DOCUMENTS)
    rejected: list[Row] = list(read_rows(sorted((workspace / ".staging").glob("rejected-*.parquet"))))
    for row in read_rows(buckets, DOCUMENTS.names):
        own = figures[row["source"]]
        if row["id"] in duplicates:
            reason, kept = duplicates[row["id"]]
            rejected.append(rejected_row(row["id"], row["source"], row["origin"], reason, row["meta"], kept))
            own.rejected[reason] = own.rejected.get(reason, 0) + 1
            continue
        documents.add(row)
        own.kept_documents += 1
        own.kept_bytes += len(row["text"].encode())
    documents.close()
    writer = RowWriter(workspace, "rejected", REJECTED)
    for row in sorted(rejected, key=lambda row: (row["id"], row["origin"])):
        writer.add(row)
    writer.close()
    everything = list(figures.values())
    return CorpusFigures(
        documents={
            "read": sum(own.read_documents for own in everything),
            "kept": sum(own.kept_documents for own in everything),
            "rejected": len(rejected),
        },
        bytes={
            "read": sum(own.read_bytes for own in everything),
            "kept": sum(own.kept_bytes for own in everything),
        },
        sources=figures,
    )
