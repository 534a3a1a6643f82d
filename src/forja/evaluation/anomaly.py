"""Labelled logs as people publish them, by line and by session. How a detector scores them is its own business."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forja.corpus.rows import read_rows
from forja.errors import ForjaError

NORMAL = "-"
"""The first column of a normal line in BGL's and Thunderbird's logs."""
NODE = 3
"""Where those logs name the node that a line is of."""


@dataclass(frozen=True)
class Entry:
    """A line, or a whole session in one text. session: what a line belongs to; anomalous: its label."""

    id: str
    text: str
    anomalous: bool
    session: str = ""


@dataclass(frozen=True)
class LabelledLog:
    """kind: `line` or `session`."""

    kind: str
    entries: list[Entry]


def read_log(path: Path) -> LabelledLog:
    """A labelled log: lines whose first column is - where they are normal (BGL, Thunderbird), or sessions of events
    (HDFS: columns Sequence and label, or a plain file of sessions with normal, train or abnormal in its name).

    Raises ForjaError for anything else.
    """
    name = path.name.lower()
    if ".csv" in name or ".jsonl" in name or ".parquet" in name:
        return LabelledLog("session", list(_rows(path)))
    lines = list(_lines(path))
    if name.split(".")[0].endswith(("normal", "train")) or "abnormal" in name:
        bad = "abnormal" in name
        return LabelledLog("session", [Entry(f"{path.name}#{n}", line, bad) for n, line in enumerate(lines, 1)])
    entries = []
    for number, line in enumerate(lines, 1):
        label, _, text = line.partition(" ")
        columns = text.split(" ", NODE)
        if len(columns) <= NODE or not columns[0].isdigit():
            raise ForjaError(
                "this is no labelled log: a line is a label (- where normal), seconds, a date, a node, the rest.",
                where=f"{path}, line {number}",
                fix="BGL's and Thunderbird's lines are read, and HDFS's sessions.",
            )
        entries.append(Entry(f"{path.name}#{number}", text, label != NORMAL, columns[NODE - 1]))
    return LabelledLog("line", entries)


def _lines(path: Path) -> Iterator[str]:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ForjaError(f"the log cannot be read ({error}).", where=str(path)) from None
    yield from (line for line in raw.decode("utf-8", "replace").splitlines() if line.strip())


def _rows(path: Path) -> Iterator[Entry]:
    for row in read_rows(path):
        by_name = {key.lower(): value for key, value in row.fields.items()}
        sequence = by_name.get("sequence", by_name.get("eventsequence"))
        label = by_name.get("label")
        if sequence is None or label is None:
            raise ForjaError(
                f"sessions have the columns Sequence and label; this file has {', '.join(row.fields)}.",
                where=str(path),
            )
        bad = str(label).strip().lower() in ("1", "true", "anomaly", "abnormal", "anomalous")
        yield Entry(f"{path.name}#{row.number}", str(sequence), bad)


def sessions_of(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """The places of the entries of each session, in their order."""
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(entry.session, []).append(place)
    return places


def session_scores(
    entries: Sequence[Entry], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Of each session whether any of its lines is anomalous, and the highest score of its lines, (sessions,) both."""
    places = list(sessions_of(entries).values())
    labels = np.array([any(entries[at].anomalous for at in members) for members in places], np.int64)
    return labels, np.array([scores[members].max() for members in places])
