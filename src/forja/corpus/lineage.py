"""Finding documents in a finished corpus, with their duplicates and what was done to them, and taking them out again.

Documents are looked for where the corpus stage left them: kept, quarantined and rejected, each sorted by id. What
became of them in token shards and checkpoints is in later rooms.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forja.corpus.documents import DUPLICATES, QUARANTINED, REJECTED, Row
from forja.corpus.privacy import subject_key
from forja.errors import ForjaError
from forja.run import complete_or_absent

KINDS = ("documents", "quarantined", "rejected")
EXAMPLES = "examples"
"""Labelled data beside the documents, by the same ids."""
FORGOTTEN = "forgotten"
"""The reason of the row that is left of a document."""
LIST = Path("audit") / "forgotten.jsonl"
"""Of a run: ids that a corpus built later must not bring back. It lies outside what any stage replaces."""
ID_DIGITS = 32
SHORTEST_PREFIX = 4
BATCH_ROWS = 1024
PLACEHOLDER = re.compile(r"<(email|phone|ip|card|iban|national_id|secret|url|domain|hash)>")
WITHOUT_TEXT = tuple(dict.fromkeys([*QUARANTINED.names, *REJECTED.names]))


@dataclass(frozen=True)
class Found:
    """A row where it lies. kind: documents, quarantined or rejected; number: of the file; size: bytes of UTF-8 text."""

    kind: str
    number: int
    size: int
    row: Row

    @property
    def id(self) -> str:
        return str(self.row["id"])


def forgotten_ids(run_folder: Path) -> frozenset[str]:
    """The ids that were forgotten in this run."""
    path = run_folder / LIST
    if not path.is_file():
        return frozenset()
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(json.loads(line)["id"] for line in lines if line.endswith("}"))


# --- finding -----------------------------------------------------------------------------------


def find_id(folder: Path, prefix: str, others: Iterable[str] = ()) -> str:
    """The one id that begins so, in the corpus or among `others`. Raises ForjaError where none or several do."""
    prefix = prefix.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{1,{ID_DIGITS}}}", prefix):
        raise ForjaError(
            f"{prefix[:40]!r} is no document id.",
            fix=f"An id is {ID_DIGITS} hexadecimal digits, or as many of the first as no other has.",
        )
    mine = {identity for identity in others if identity.startswith(prefix)}
    for path in _files(folder):
        # Digits and a to f come before g: the files' own statistics rule out all row groups but one.
        table = pq.read_table(path, columns=["id"], filters=[("id", ">=", prefix), ("id", "<", prefix + "g")])
        mine.update(table["id"].to_pylist())
    if not mine:
        raise ForjaError(f"no document here has the id {prefix}.", where=str(folder), fix=_nearest(folder, prefix))
    if len(mine) > 1:
        shown = ", ".join(sorted(mine)[:3])
        raise ForjaError(f"{len(mine)} documents have ids that begin with {prefix}.", fix=f"Give more digits: {shown}.")
    return mine.pop()


def _nearest(folder: Path, prefix: str) -> str:
    for length in range(len(prefix) - 1, SHORTEST_PREFIX - 1, -1):
        start = prefix[:length]
        for path in _files(folder):
            table = pq.read_table(path, columns=["id"], filters=[("id", ">=", start), ("id", "<", start + "g")])
            if len(table):
                return f"The nearest is {table['id'][0].as_py()}."
    return "Ids are the first column of corpus/*.parquet; forja data forget RUN --match looks documents up by words."


def find_rows(folder: Path, ids: Collection[str]) -> list[Found]:
    """The rows with these ids, without their text."""
    wanted = pa.array(sorted(ids), pa.string())
    return list(_select(folder, lambda table: pc.is_in(table["id"], value_set=wanted)))


def with_duplicates(folder: Path, ids: Collection[str]) -> list[Found]:
    """The rows with these ids, and with them every row of their clusters, kept or not, without their text."""
    rows = find_rows(folder, ids)
    clusters = {found.row["cluster"] for found in rows if found.row["cluster"]}
    if not clusters:
        return rows
    wanted = pa.array(sorted(ids), pa.string())
    named = pa.array(sorted(clusters), pa.string())

    def pick(table: pa.Table) -> pa.ChunkedArray:
        return pc.or_(pc.is_in(table["id"], value_set=wanted), pc.is_in(table["cluster"], value_set=named))

    return list(_select(folder, pick))


def find_matching(folder: Path, pattern: str) -> set[str]:
    """Ids of the documents whose stored text, origin or meta `pattern` (a regular expression) finds.

    Raises ForjaError where it is none.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ForjaError(
            f"the regular expression cannot be read ({error}).", where="--match", fix="Escape what is meant literally."
        ) from None
    ids: set[str] = set()
    for path in _files(folder):
        for batch in _batches(path, ["id", "text", "origin", "meta"]):
            columns = [batch[name].to_pylist() for name in batch.schema.names if name != "id"]
            hits = [any(value and search(value) for value in values) for values in zip(*columns, strict=True)]
            ids.update(identity for identity, hit in zip(batch["id"].to_pylist(), hits, strict=True) if hit)
    return ids


def find_subject(folder: Path, person: str, key: bytes) -> set[str]:
    """Ids of the documents written by, or that named, the person of this e-mail address. key: the recipe's."""
    known = subject_key(person.strip().lower(), key)
    ids: set[str] = set()
    for path in _files(folder):
        for batch in _batches(path, ["id", "author", "subjects"]):
            rows = batch.to_pylist()
            ids.update(row["id"] for row in rows if row.get("author") == known or known in (row.get("subjects") or ()))
    return ids


def text_of(folder: Path, found: Found) -> str | None:
    """The document's text; None of a rejected one, whose text is not kept."""
    if found.kind == "rejected":
        return None
    path = _file(folder, found.kind, found.number)
    table = pq.read_table(path, columns=["text"], filters=[("id", "==", found.id)])
    text: str = table["text"][0].as_py()
    return text


def placeholders(text: str) -> dict[str, int]:
    """How many of each kind's placeholders a text holds: what was masked in it, or stood so in the source."""
    return dict(sorted(Counter(match[1] for match in PLACEHOLDER.finditer(text)).items()))


def in_first(folder: Path, ids: Collection[str], wanted: int) -> set[str]:
    """Those of these kept documents of which a part lies in the corpus's first `wanted` bytes of text."""
    found: set[str] = set()
    total = 0
    for path in sorted(folder.glob("documents-*.parquet")):
        for batch in _batches(path, ["id", "text"]):
            sizes = pc.fill_null(pc.binary_length(batch["text"]), 0).to_pylist()
            for identity, size in zip(batch["id"].to_pylist(), sizes, strict=True):
                if total >= wanted:
                    return found
                if identity in ids:
                    found.add(identity)
                total += size
    return found


def _select(folder: Path, pick: Callable[[pa.Table], pa.ChunkedArray]) -> Iterator[Found]:
    """Rows that `pick` chooses by their id and cluster; text is read only where there is one."""
    for path in _files(folder):
        kind, number = path.stem.rsplit("-", 1)
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            mask = pick(file.read_row_group(group, columns=["id", "cluster"]))
            if not pc.any(mask).as_py():
                continue
            for row in file.read_row_group(group).filter(mask).to_pylist():
                size = len((row.get("text") or "").encode())
                yield Found(kind, int(number), size, {name: row.get(name) for name in WITHOUT_TEXT if name != "text"})


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches with those of the columns that the file has."""
    file = pq.ParquetFile(path)
    held = [name for name in columns if name in file.schema_arrow.names]
    yield from file.iter_batches(batch_size=BATCH_ROWS, columns=held)


def _files(folder: Path) -> list[Path]:
    return [path for kind in KINDS for path in sorted(folder.glob(f"{kind}-*.parquet"))]


def _file(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}-{number:05d}.parquet"


# --- taking out --------------------------------------------------------------------------------


def remove_documents(folder: Path, numbers: Mapping[int, Collection[str]]) -> None:
    """Take documents out of a corpus for good; of each a rejected row is left that says its id and `forgotten`.

    numbers: the ids by the number of the file that they lie in. Every file stays sorted, and is replaced whole or
    not at all; given again after a kill, the rest is done. Duplicates are not looked for.
    """
    everything = pa.array(sorted({identity for ids in numbers.values() for identity in ids}), pa.string())
    for number, ids in sorted(numbers.items()):
        # What says that they are gone is written first: a kill in between loses no trace of them.
        _leave_traces(_trace_file(folder, number), sorted(ids))
        for kind in ("documents", "quarantined"):
            _without(_file(folder, kind, number), everything)
    for path in sorted(folder.glob(f"{EXAMPLES}-*.parquet")):
        _without(path, everything)


def _trace_file(folder: Path, number: int) -> Path:
    """The rejected rows that lie among the same ids."""
    path = _file(folder, "rejected", number)
    there = sorted(folder.glob("rejected-*.parquet"))
    return path if path in there or not there else there[-1]


def _leave_traces(path: Path, ids: list[str]) -> None:
    table = pq.read_table(path) if path.is_file() else REJECTED.empty_table()
    others = table.filter(pc.invert(pc.is_in(table["id"], value_set=pa.array(ids, pa.string()))))
    traces = pa.Table.from_pylist([{"id": identity, "reason": FORGOTTEN} for identity in ids], schema=table.schema)
    whole = pa.concat_tables([others, traces]).sort_by("id")
    with complete_or_absent(path) as aside:
        pq.write_table(whole, aside, compression="zstd", row_group_size=BATCH_ROWS)


def _without(path: Path, ids: pa.Array) -> None:
    if not path.is_file():
        return
    file = pq.ParquetFile(path)
    if not any(pc.any(pc.is_in(batch["id"], value_set=ids)).as_py() for batch in _batches(path, ["id"])):
        return
    with complete_or_absent(path) as aside, pq.ParquetWriter(aside, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            writer.write_batch(batch.filter(pc.invert(pc.is_in(batch["id"], value_set=ids))))


def figures_without(figures: Mapping[str, Any], rows: Iterable[Found]) -> dict[str, Any]:
    """The corpus stage's figures once these rows are taken out: what was read stays, what was kept shrinks.

    Bytes of rejected text, and flags of kept documents that were only reported, stay too: no row tells them.
    """
    told = deepcopy(dict(figures))
    for found in rows:
        row, size = found.row, found.size
        own = told["sources"].get(row["source"])
        if own is None:  # a trace of an earlier erasure names no source
            continue
        if found.kind == "documents":
            told["documents"]["kept"] -= 1
            told["bytes"]["kept"] -= size
            own["kept_documents"] -= 1
            own["kept_bytes"] -= size
            meta = json.loads(row["meta"] or "{}")
            if meta.get("synthetic"):
                own["synthetic_documents"] -= 1
                told["documents"]["synthetic"] -= 1
                told["bytes"]["synthetic"] -= size
            _take(told.get("languages", {}), row["lang"] or "und", size)
            _take(told.get("regions", {}), meta.get("region") or "unknown", size)
            told["documents"]["rejected"] += 1
        elif found.kind == "quarantined":
            told["documents"]["quarantined"] -= 1
            told["bytes"]["quarantined"] -= size
            for kind in {flag["kind"] for flag in json.loads(row["flags"] or "[]")}:
                _count_down(own["quarantined"], kind)
            told["documents"]["rejected"] += 1
        else:
            _count_down(own["rejected"], row["reason"])
            if row["reason"] in DUPLICATES:
                told["documents"]["duplicates"] -= 1
        own["rejected"][FORGOTTEN] = own["rejected"].get(FORGOTTEN, 0) + 1
    return told


def _take(counts: dict[str, list[int]], key: str, size: int) -> None:
    if key in counts:
        documents, held = counts.pop(key)
        if documents > 1:
            counts[key] = [documents - 1, held - size]


def _count_down(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) - 1
    if counts[key] <= 0:
        del counts[key]
