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
LABELS = {
    **dict.fromkeys((NORMAL, "0", "false", "normal", "success"), False),
    **dict.fromkeys(("1", "true", "anomaly", "anomalous", "abnormal", "fail"), True),
}
SEQUENCES = ("sequence", "eventsequence", "features")
NODES = ("node", "user", "location")
"""Columns of tables, in small letters: a session's events, and where a line is from."""


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
    """A labelled log: lines whose first column is - where they are normal (BGL, Thunderbird; Loghub's tables of these,
    with the columns Label and Content, too), or sessions of events (HDFS: columns Sequence and label, or a plain file
    of sessions with normal, train or abnormal in its name).

    Raises ForjaError for anything else.
    """
    name = path.name.lower()
    if any(kind in name for kind in (".csv", ".tsv", ".json", ".parquet")):
        return _table(path)
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


def _table(path: Path) -> LabelledLog:
    """Rows of sessions, or of lines."""
    entries, kinds = [], set()
    for row in read_rows(path):
        fields = {name.lower(): value for name, value in row.fields.items() if value is not None}
        where = f"{path}, row {row.number}"
        sequence = next((fields[name] for name in SEQUENCES if name in fields), None)
        text = sequence if sequence is not None else fields.get("content")
        if text is None or "label" not in fields:
            raise ForjaError(
                f"this is no labelled log: the columns are {', '.join(row.fields)}.",
                where=where,
                fix="A table of sessions has the columns Sequence and label, one of lines Content and Label.",
            )
        kinds.add("line" if sequence is None else "session")
        node = "" if sequence is not None else str(next((fields[name] for name in NODES if name in fields), ""))
        bad = _is_anomalous(str(fields["label"]), where, of_line=sequence is None)
        entries.append(Entry(f"{path.name}#{row.number}", str(text), bad, node))
    if len(kinds) != 1:
        raise ForjaError(
            "there is no row here." if not kinds else "some rows are lines, some sessions.", where=str(path)
        )
    return LabelledLog(kinds.pop(), entries)


def _is_anomalous(label: str, where: str, *, of_line: bool) -> bool:
    """By its name; of a line, whatever is no name of the normal is that of an alert."""
    known = LABELS.get(label.strip().lower(), True if of_line else None)
    if known is None:
        raise ForjaError(
            f"the label {label!r} says neither normal nor anomalous.",
            where=where,
            fix="0 and 1, Normal and Anomaly, Success and Fail are read.",
        )
    return known


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
