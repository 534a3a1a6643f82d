"""The examples stage: files in, Parquet splits out, and what was left out with the reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forja.corpus.examples.layouts import Example, read_examples
from forja.corpus.examples.split import SPLITS, shown_labels, split_examples
from forja.errors import ForjaError
from forja.progress import say
from forja.run import write_json_atomic

LABELS = "labels.json"
STORED_AS_JSON = ("messages", "prompt", "groups")
SCHEMA = pa.schema(
    [
        (name, pa.large_string())
        for name in ("id", "text", "label", "messages", "prompt", "chosen", "rejected", "source", "groups")
    ]
)


@dataclass(frozen=True)
class ExampleFigures:
    """How many examples each split has; by label and by source; and how many were left out, by reason."""

    train: int
    valid: int
    test: int
    labels: dict[str, int]
    sources: dict[str, int]
    removed: dict[str, int]


def build_examples(
    kind: str,
    files: Sequence[Path],
    workspace: Path,
    *,
    test_files: Sequence[Path] = (),
    valid_fraction: float,
    test_fraction: float,
    text_field: str | None = None,
    label_field: str | None = None,
    limit: int | None = None,
    seed: int,
) -> ExampleFigures:
    """Write workspace/{train,valid,test,removed}.parquet and, of labelled texts, labels.json. Raises ForjaError."""
    read = read_examples(files, kind, text_field=text_field, label_field=label_field)
    examples, left_out = read.examples, Counter(read.left_out)
    if limit is not None and len(examples) > limit:
        examples = sorted(examples, key=lambda one: hashlib.sha256(f"{seed}:{one.id}".encode()).digest())[:limit]
        left_out["over-limit"] += len(read.examples) - limit
    test = None
    if test_files:
        held = read_examples(test_files, kind, text_field=text_field, label_field=label_field)
        test = held.examples
        left_out += held.left_out
    labelled = kind == "classification"
    splits = split_examples(
        examples,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        seed=seed,
        test=test,
        labelled=labelled,
    )
    for name, part in splits.parts.items():
        _write(workspace / f"{name}.parquet", part)
    removed = pa.Table.from_pylist(
        [{"id": one, "source": source, "reason": reason} for one, source, reason in sorted(splits.removed)],
        schema=pa.schema([(name, pa.large_string()) for name in ("id", "source", "reason")]),
    )
    pq.write_table(removed, workspace / "removed.parquet")
    kept = [one for part in splits.parts.values() for one in part]
    if labelled:
        names = sorted_labels({str(one.label) for one in splits.parts["train"]})
        _require_known(splits.parts, names)
        write_json_atomic(workspace / LABELS, names)
    left_out.update(reason for _, _, reason in splits.removed)
    counts = {name: len(part) for name, part in splits.parts.items()}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    say(f"  {said}{_removed_sentence(left_out)}")
    if read.unanswered:
        say(f"  {read.unanswered:,} conversations went on after the last answer, and were cut there")
    return ExampleFigures(
        **counts,
        labels=dict(sorted(Counter(str(one.label) for one in kept if one.label is not None).items())),
        sources=dict(sorted(Counter(one.source for one in kept).items())),
        removed=dict(sorted(left_out.items())),
    )


def _removed_sentence(left_out: Counter[str]) -> str:
    if not left_out.total():
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in left_out.most_common())
    return f"; left out {left_out.total():,} ({reasons})"


def _require_known(parts: dict[str, list[Example]], names: list[str]) -> None:
    strange = {str(one.label) for part in parts.values() for one in part} - set(names)
    if strange:
        raise ForjaError(
            f"{shown_labels(strange)} occurs in the held-out examples and in none that are trained on.",
            where="examples",
            fix="Give more examples of each class, or mend the labels.",
        )


def sorted_labels(names: set[str]) -> list[str]:
    """In the order of numbers where all are numbers, else of the alphabet."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def _write(path: Path, examples: Sequence[Example]) -> None:
    rows = []
    for one in examples:
        row: dict[str, Any] = {name: getattr(one, name) for name in SCHEMA.names}
        for name in STORED_AS_JSON:
            row[name] = None if row[name] is None else json.dumps(row[name], ensure_ascii=True, sort_keys=True)
        rows.append({name: _encodable(value) for name, value in row.items()})
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def _encodable(value: str | None) -> str | None:
    """Half a surrogate pair, which is no text, as a question mark."""
    return None if value is None else value.encode("utf-8", "replace").decode("utf-8")


def load_examples(folder: Path, split: str) -> list[Example]:
    """A split's examples, in the order of their ids. Raises ForjaError where it is not there."""
    assert split in SPLITS
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise ForjaError("there are no examples here.", where=str(path), fix="Run the examples stage.")
    found = []
    for row in pq.read_table(path).to_pylist():
        for name in STORED_AS_JSON:
            row[name] = None if row[name] is None else json.loads(row[name])
        found.append(Example(**{**row, "groups": row["groups"] or {}}))
    return found
