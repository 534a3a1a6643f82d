"""The training log: one JSON line a step, and one a validation; the only place where timings are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.errors import ForjaError

Line = dict[str, Any]
Listener = Callable[[Line], None]


class Log:
    """Append lines to `path`, each at once in the system's hands, so that SIGKILL loses none."""

    def __init__(self, path: Path, *, after_step: int, listeners: Sequence[Listener] = ()) -> None:
        """Go on after `after_step`: lines of later steps, which will be made again, are dropped.

        listeners: called with each line once it is written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_log(path) if line["step"] <= after_step]
        aside = path.with_name(f".{path.name}.new")
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(aside, path)
        self.path, self.listeners = path, listeners
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, line: Line) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise ForjaError(
                f"the training log could not be written: {error.strerror}.",
                where=str(self.path),
                fix="Make room and give the same command: it goes on from the last checkpoint.",
            ) from error
        for listener in self.listeners:
            listener(line)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> Iterator[Line]:
    """The log's lines; a last one that a kill cut short is left out."""
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


@dataclass(frozen=True)
class LogTotals:
    """Sums over a whole log, resumes included. tokens: loss-weighted; seconds: of training steps alone."""

    steps: int
    tokens: int
    seconds: float
    validation_seconds: float
    peak_memory_bytes: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


def log_totals(path: Path) -> LogTotals:
    steps, tokens, seconds, validation, peak = 0, 0, 0.0, 0.0, 0
    for line in read_log(path):
        peak = max(peak, line.get("peak_memory_bytes", 0))
        if "loss" in line:
            steps, tokens, seconds = steps + 1, tokens + line["tokens"], seconds + line["seconds"]
        elif "valid_loss" in line:
            validation += line["seconds"]
    return LogTotals(steps, tokens, seconds, validation, peak)
