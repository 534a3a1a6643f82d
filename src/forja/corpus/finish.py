"""Sorted buckets to the stage's files: what is kept, quarantined and rejected, and a tally of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forja.corpus.clusters import Clusters
from forja.corpus.documents import DOCUMENTS, DUPLICATES, QUARANTINED, REJECTED
from forja.corpus.poison import REPORT_ONLY
from forja.corpus.staging import Staged, load_array, load_sorted

FILE_BYTES = 256 * 2**20
"""Text a file holds, about."""
GROUP_ROWS = 1024
SLOWER = 3
"""Writing a group out takes so many times as long as sorting it."""
TALLIED_BYTES = ("rejected", "duplicates", "over-share", "synthetic")
"""Of raw records where a rule rejected them; of text otherwise. Synthetic: of the text kept."""
FLAGS = "flags.json"
"""Of places, as the screen over all documents found them, whether they hold a document back, and which do not."""


def finish_group(job: dict[str, Any]) -> dict[str, Any]:
    """Write one group of buckets as a file of each kind. job: of a Staged, with workspace, number, group."""
    staged, workspace = Staged.of_job(job), Path(job["workspace"])
    clusters = Clusters.load(staged.staging / "clusters.npz")
    over = np.load(staged.staging / "over.npy")
    screened = json.loads((staged.staging / FLAGS).read_text())
    tally = _Tally()
    files = {
        kind: pq.ParquetWriter(workspace / f"{kind}-{job['number']:05d}.parquet", schema, compression="zstd")
        for kind, schema in (("documents", DOCUMENTS), ("quarantined", QUARANTINED), ("rejected", REJECTED))
    }
    for index in job["group"]:
        table = _flagged(_with_verdicts(staged, index, clusters, over), staged, index, screened)
        tally.add(table)
        for kind, rows, names in _by_kind(table):
            files[kind].write_table(rows.select(names).cast(files[kind].schema), row_group_size=GROUP_ROWS)
    for file in files.values():
        file.close()
    return tally.as_json()


def _by_kind(table: pa.Table) -> Iterable[tuple[str, pa.Table, list[str]]]:
    rejected = pc.is_valid(table["reason"])
    held = pc.and_(pc.invert(rejected), table["held"])
    kept = pc.invert(pc.or_(rejected, held))
    yield "documents", table.filter(kept), DOCUMENTS.names
    yield "quarantined", table.filter(held), QUARANTINED.names
    yield "rejected", table.filter(rejected), REJECTED.names


def _with_verdicts(staged: Staged, index: int, clusters: Clusters, over: npt.NDArray[np.int64]) -> pa.Table:
    """The bucket's rows with reason, duplicate_of, cluster, flags and `held` as everything found since decides."""
    bucket = staged.buckets[index]
    table = load_sorted(staged.staging, bucket)
    live = load_array(staged.staging, "live", bucket)
    start, end = staged.starts[index : index + 2].tolist()
    reasons = table["reason"].to_pylist()
    cluster: list[str | None] = [None] * len(table)
    kept_as: list[str | None] = [None] * len(table)
    first, last = np.searchsorted(clusters.places, (start, end))
    own = slice(first, last)
    names = _ids(staged, np.union1d(clusters.kept[own], clusters.least[own]))
    for place, kept, least, exact in zip(
        clusters.places[own].tolist(),
        clusters.kept[own].tolist(),
        clusters.least[own].tolist(),
        clusters.exact[own].tolist(),
        strict=True,
    ):
        row = int(live[place - start])
        cluster[row] = names[least]
        if kept != place:
            reasons[row] = "exact-duplicate" if exact else "near-duplicate"
            kept_as[row] = names[kept]
    for place in over[np.searchsorted(over, start) : np.searchsorted(over, end)].tolist():
        row = int(live[place - start])
        reasons[row] = reasons[row] or "over-share"
    table = table.set_column(table.schema.get_field_index("reason"), "reason", pa.array(reasons, pa.string()))
    for name, column in (
        ("duplicate_of", pa.array(kept_as, pa.string())),
        ("cluster", pa.array(cluster, pa.string())),
    ):
        table = table.append_column(name, column)
    return table


def _flagged(table: pa.Table, staged: Staged, index: int, screened: dict[str, Any]) -> pa.Table:
    """The rows with what the screen over all documents found: held back for it, or marked in their `meta`."""
    start, end = staged.starts[index : index + 2].tolist()
    own = {int(place): flags for place, flags in screened["flags"].items() if start <= int(place) < end}
    if not own:
        return table
    live = load_array(staged.staging, "live", staged.buckets[index])
    columns = {name: table[name].to_pylist() for name in ("flags", "held", "meta")}
    weak = {*REPORT_ONLY, *screened["doubted"]}
    for place, flags in own.items():
        row = int(live[place - start])
        every = [*json.loads(columns["flags"][row] or "[]"), *flags]
        columns["flags"][row] = json.dumps(every, ensure_ascii=False, sort_keys=True)
        if screened["hold"] and any(flag["kind"] not in weak for flag in flags):
            columns["held"][row] = True
        else:
            meta = {**json.loads(columns["meta"][row]), "flags": every}
            columns["meta"][row] = json.dumps(meta, ensure_ascii=False, sort_keys=True)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


def _ids(staged: Staged, places: npt.NDArray[np.int64]) -> dict[int, str]:
    if not len(places):
        return {}
    found = staged.gather("ids", places)
    return {place: identity.tobytes().hex() for place, identity in zip(places.tolist(), found, strict=True)}


class _Tally:
    """What a group held, by source, language and region."""

    def __init__(self) -> None:
        self.sources: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.languages: dict[str, list[int]] = {}
        self.regions: dict[str, list[int]] = {}
        self.quarantined = [0, 0]
        self.bytes = dict.fromkeys(TALLIED_BYTES, 0)

    def add(self, table: pa.Table) -> None:
        sizes = pc.fill_null(pc.binary_length(table["text"]), 0).to_pylist()
        alike: dict[tuple[Any, ...], list[int]] = {}
        columns = ("source", "reason", "held", "synthetic", "lang", "meta", "flags", "masked", "raw_bytes")
        for source, reason, held, synthetic, lang, meta, flags, masked, raw, size in zip(
            *(table[name].to_pylist() for name in columns), sizes, strict=True
        ):
            region = json.loads(meta).get("region") if '"region"' in meta else None
            sums = alike.setdefault((source, reason, held, synthetic, lang, region), [0, 0, 0])
            sums[0] += 1
            sums[1] += raw
            sums[2] += size
            if masked:
                self.sources[source]["masked"].update(json.loads(masked))
            if flags and reason is None:
                what = "quarantined" if held else "reported"
                self.sources[source][what].update({flag["kind"] for flag in json.loads(flags)})
        for key, (documents, raw, size) in alike.items():
            self._count(*key, documents=documents, raw=raw, size=size)

    def _count(
        self,
        source: str,
        reason: str | None,
        held: bool,
        synthetic: bool,
        lang: str | None,
        region: str | None,
        *,
        documents: int,
        raw: int,
        size: int,
    ) -> None:
        own = self.sources[source]
        own["numbers"].update(read_documents=documents, read_bytes=raw)
        if reason is not None:
            own["rejected"][reason] += documents
            if reason == "over-share":
                self.bytes["over-share"] += size
            elif reason in DUPLICATES:
                self.bytes["duplicates"] += size
            else:
                self.bytes["rejected"] += raw  # its text is kept nowhere
        elif held:
            self.quarantined = [self.quarantined[0] + documents, self.quarantined[1] + size]
        else:
            kept_synthetic = documents if synthetic else 0
            own["numbers"].update(kept_documents=documents, kept_bytes=size, synthetic_documents=kept_synthetic)
            self.bytes["synthetic"] += size if synthetic else 0
            for counts, key in ((self.languages, lang or "und"), (self.regions, region or "unknown")):
                before = counts.get(key, [0, 0])
                counts[key] = [before[0] + documents, before[1] + size]

    def as_json(self) -> dict[str, Any]:
        sources = {
            name: {
                **own["numbers"],
                **{key: dict(own[key]) for key in ("rejected", "masked", "quarantined", "reported")},
            }
            for name, own in self.sources.items()
        }
        return {
            "sources": sources,
            "languages": self.languages,
            "regions": self.regions,
            "quarantined": self.quarantined,
            "bytes": self.bytes,
        }
