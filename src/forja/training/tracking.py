"""Trackers that hear each step's figures too: TensorBoard, Weights & Biases and MLflow, by Accelerate's classes.

The run's own log is the truth. A tracker is told its lines in a thread of its own, so that no step waits for a disk or
a network, and the last one told is noted, so that a resumed run goes on with the next. Nothing leaves the machine
unless WANDB_MODE, WANDB_API_KEY or MLFLOW_TRACKING_URI says so.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from forja.errors import ForjaError
from forja.progress import say
from forja.run import read_json
from forja.training.logbook import Line, Listener, read_log

TRACKING = Path("training") / "tracking"
PROJECT = "forja"
"""W&B's project and MLflow's experiment, where WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME name no other."""
CLOSING_SECONDS = 120.0
"""How long the end of training waits for a tracker that still has lines to hear."""

GATHERING_SECONDS = 1.0
"""How long lines wait for others, so that those which cost much to tell one by one are told together."""

Known = dict[str, Any]
"""What is kept of a tracker between processes: its run's id, and the place of the last line told."""
Tell = Callable[[Any, Sequence[Line]], Iterator[Line]]
"""Tells lines to a tracker of Accelerate's, and gives the last of those that it has taken each time it takes some."""


@dataclass(frozen=True)
class Tracked:
    """What is tracked: the run's name, its settings (flat), and the folder for the trackers' files."""

    run: str
    config: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Tracker:
    """What each needs: modules, environment variables (where not set), Accelerate's class, and how it is used.

    make: adds to what is known whatever must outlive the process from the first moment; unsure: how many of the last
    lines told a kill may lose.
    """

    packages: Callable[[], tuple[str, ...]]
    settings: Mapping[str, str]
    make: Callable[[Tracked, Known], Any]
    tell: Tell
    id_of: Callable[[Any], str | None] = lambda tracker: None
    unsure: int = 0
    stop: Callable[[Tracked], None] = lambda tracked: None


def require_packages(names: Sequence[str]) -> None:
    """Raises ForjaError where a tracker's package is not installed."""
    for name in names:
        missing = [package for package in TRACKERS[name].packages() if find_spec(package) is None]
        if missing:
            raise ForjaError(
                f"tracking with {name} needs {' and '.join(missing)}, which is not installed here.",
                where="training.tracking",
                fix="Install it with: pip install 'forja[tracking]'",
            )


@contextmanager
def tracking(
    names: Sequence[str], log: Path, folder: Path, *, run: str, config: Mapping[str, Any]
) -> Iterator[list[Listener]]:
    """A listener for the training log for each tracker named; what the log already holds they hear first.

    config: settings of the run, nested as they like. A tracker that fails is said once, and training goes on.
    """
    if names:
        from accelerate import PartialState

        PartialState()  # Accelerate's trackers ask it whether they are the main process
    tracked = Tracked(run, dict(flat(config)), folder)
    telling = [Telling(name, log, tracked) for name in names]
    try:
        yield [one.hear for one in telling]
    finally:
        for one in telling:
            one.close()


class Telling:
    """One tracker, told lines by a thread that the first line starts; a tracker that failed hears no more."""

    def __init__(self, name: str, log: Path, tracked: Tracked) -> None:
        self.name, self.tracked = name, tracked
        self._note = tracked.folder / f"{name}.json"
        self._known: Known = read_json(self._note) or {}
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self._thread = Thread(target=self._tell, name=f"tracking-{name}", daemon=True)
        self._failed, self._closing = False, Event()
        self._before = told = tuple(self._known.get("told", (0, 0)))
        for line in read_log(log):  # lines of steps that will be made again come out the same: they can be told now
            if place(line) > told:
                self._put(line)
            self._before = max(self._before, place(line))

    def hear(self, line: Line) -> None:
        """Queue a line, unless it was in the log already."""
        if place(line) > self._before:
            self._put(line)

    def close(self) -> None:
        """Wait until the queued lines are told, and part from the tracker."""
        if self._thread.ident is None:
            return
        self._lines.put(None)
        self._closing.set()
        self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            say(f"  {self.name} was not told everything within {CLOSING_SECONDS:.0f} seconds")

    def _put(self, line: Line) -> None:
        if self._failed:
            return
        if self._thread.ident is None:
            self._thread.start()
        self._lines.put(line)

    def _tell(self) -> None:
        try:
            tracker = self._start()
            kind = TRACKERS[self.name]
            recent: deque[tuple[int, ...]] = deque(maxlen=kind.unsure + 1)
            for lines in self._gathered():
                for line in kind.tell(tracker, lines):
                    recent.append(place(line))
                    if len(recent) > kind.unsure:
                        self._keep(told=recent[0])
            tracker.finish()
            self._keep(told=recent[-1])
        except Exception as error:  # whatever a tracker does, training goes on
            self._failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            say(f"  {self.name} failed ({reason}); training goes on without it")
        finally:
            TRACKERS[self.name].stop(self.tracked)

    def _gathered(self) -> Iterator[list[Line]]:
        """The lines of each moment, until training closes."""
        closed = False
        while not closed:
            lines = [self._lines.get()]
            self._closing.wait(GATHERING_SECONDS)
            while not self._lines.empty():
                lines.append(self._lines.get())
            closed = lines[-1] is None
            yield [line for line in lines if line is not None]

    def _start(self) -> Any:
        kind = TRACKERS[self.name]
        for variable, value in kind.settings.items():
            os.environ.setdefault(variable, value)
        self.tracked.folder.mkdir(parents=True, exist_ok=True)
        tracker = kind.make(self.tracked, self._known)
        self._keep()
        tracker.start()
        if "told" not in self._known:
            tracker.store_init_configuration(dict(self.tracked.config))
        if (run_id := kind.id_of(tracker)) is not None:
            self._keep(id=run_id)
        return tracker

    def _keep(self, **known: Any) -> None:
        """Note what is known, whole at any moment but not synced: only a power cut may lose the last of it."""
        self._known.update(known)
        aside = self._note.with_suffix(".new")
        aside.write_text(json.dumps(self._known), encoding="utf-8")
        os.replace(aside, self._note)


def place(line: Line) -> tuple[int, ...]:
    """Where a line stands in the log: its step, and a training line before the validation after it."""
    return line["step"], int("loss" not in line)


def figures(line: Line) -> dict[str, float]:
    """A line's finite numbers, flat; a validation's own seconds are not those of a step."""
    seconds = "seconds" if "loss" in line else "valid_seconds"
    named = {seconds if name == "seconds" else name: value for name, value in line.items() if name != "step"}
    return {name: value for name, value in flat(named) if isinstance(value, int | float)}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """(name/of/a/member, value) for nested mappings; lists and nothing become text."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from flat(member, f"{name}/{key}" if name else key)
    else:
        yield name, value if isinstance(value, bool | int | float | str) else json.dumps(value)


# --- the trackers ----------------------------------------------------------------------------

WANDB_UNSURE = 100
"""Lines: W&B's own process writes blocks of 32 KiB, some 45 lines, and a kill loses the block it was filling."""
MLFLOW_LINES = 40
"""Lines told to MLflow together: it takes a thousand figures at once, at most."""


def _log_each(tracker: Any, lines: Sequence[Line]) -> Iterator[Line]:
    for line in lines:
        tracker.log(figures(line), step=line["step"])
        yield line


def _tensorboard(tracked: Tracked, known: Known) -> Any:
    from accelerate.tracking import TensorBoardTracker

    # A line told and not yet noted when the process was killed is told again: readers drop the first.
    purge = known["told"][0] + 1 if "told" in known else None
    return TensorBoardTracker("", tracked.folder / "tensorboard", purge_step=purge)


def _wandb(tracked: Tracked, known: Known) -> Any:
    import wandb
    from accelerate.tracking import WandBTracker

    known.setdefault("id", secrets.token_hex(4))
    return WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT),
        name=tracked.run,
        id=known["id"],
        resume="allow",
        dir=str(tracked.folder),
        mode=None if {"WANDB_MODE", "WANDB_API_KEY"} & os.environ.keys() else "offline",
        settings=wandb.Settings(console="off", silent=True),
    )


def _mlflow(tracked: Tracked, known: Known) -> Any:
    import mlflow
    from accelerate.tracking import MLflowTracker

    own = tracked.folder / "mlflow"
    if "MLFLOW_TRACKING_URI" not in os.environ:
        own.mkdir(exist_ok=True)
        # MLflow keeps a store open by its address for as long as the process lives, and this folder moves when
        # training is done: the next run, in the same place, needs another address.
        store = known.setdefault("store", f"mlflow-{secrets.token_hex(4)}.db")
        mlflow.set_tracking_uri(f"sqlite:///{own / store}")
    return MLflowTracker(PROJECT, logging_dir=str(own / "artifacts"), run_id=known.get("id"), run_name=tracked.run)


def _log_batches(tracker: Any, lines: Sequence[Line]) -> Iterator[Line]:
    """As few transactions as may be: MLflow takes some 20 ms of a processor for each, be it a line or a hundred."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    for start in range(0, len(lines), MLFLOW_LINES):
        part = lines[start : start + MLFLOW_LINES]
        told = [Metric(name, value, now, line["step"]) for line in part for name, value in figures(line).items()]
        MlflowClient().log_batch(tracker.tracker.info.run_id, told)
        yield part[-1]


def _leave_mlflow(tracked: Tracked) -> None:
    mlflow: Any = sys.modules.get("mlflow")
    if mlflow and mlflow.get_tracking_uri().startswith(f"sqlite:///{tracked.folder}"):
        mlflow.set_tracking_uri(None)  # it set the environment variable


def _mlflow_packages() -> tuple[str, ...]:
    return ("mlflow",) if "MLFLOW_TRACKING_URI" in os.environ else ("mlflow", "sqlalchemy", "alembic")


TRACKERS = {
    "tensorboard": Tracker(lambda: ("tensorboard",), {}, _tensorboard, _log_each),
    "wandb": Tracker(lambda: ("wandb",), {"WANDB_ERROR_REPORTING": "false"}, _wandb, _log_each, unsure=WANDB_UNSURE),
    "mlflow": Tracker(
        _mlflow_packages,
        {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
        _mlflow,
        _log_batches,
        id_of=lambda tracker: tracker.tracker.info.run_id,
        stop=_leave_mlflow,
    ),
}
