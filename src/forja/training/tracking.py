"""Trackers that hear each step's figures too: TensorBoard, Weights & Biases and MLflow, by Accelerate's classes.

The run's own log is the truth. A tracker is told its lines in a thread of its own, so that no step waits for a disk or
a network, and the last one told is noted, so that a resumed run goes on with the next. Nothing leaves the machine
unless WANDB_MODE, WANDB_API_KEY or MLFLOW_TRACKING_URI says so.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
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

Known = dict[str, Any]
"""What is kept of a tracker between processes: its run's id, and the place of the last line told."""


@dataclass(frozen=True)
class Tracked:
    """What is tracked: the run's name, its settings (flat), and the folder for the trackers' files."""

    run: str
    config: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Tracker:
    """What each needs: modules, environment variables (where not set), Accelerate's class, and how to part from it."""

    packages: Callable[[], tuple[str, ...]]
    settings: Mapping[str, str]
    make: Callable[[Tracked, Known], Any]
    id_of: Callable[[Any], str | None]
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
        self._failed = False
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
        tracker = None
        try:
            tracker = self._start()
            while (line := self._lines.get()) is not None:
                tracker.log(figures(line), step=line["step"])
                self._keep(told=place(line))
            tracker.finish()
        except Exception as error:  # whatever a tracker does, training goes on
            self._failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            say(f"  {self.name} failed ({reason}); training goes on without it")
        finally:
            TRACKERS[self.name].stop(self.tracked)

    def _start(self) -> Any:
        kind = TRACKERS[self.name]
        for variable, value in kind.settings.items():
            os.environ.setdefault(variable, value)
        self.tracked.folder.mkdir(parents=True, exist_ok=True)
        tracker = kind.make(self.tracked, self._known)
        tracker.start()
        if "told" not in self._known:
            tracker.store_init_configuration(dict(self.tracked.config))
        self._keep(id=kind.id_of(tracker))
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


def _tensorboard(tracked: Tracked, known: Known) -> Any:
    from accelerate.tracking import TensorBoardTracker

    # A line told and not yet noted when the process was killed is told again: readers drop the first.
    purge = known["told"][0] + 1 if "told" in known else None
    return TensorBoardTracker("", tracked.folder / "tensorboard", purge_step=purge)


def _wandb(tracked: Tracked, known: Known) -> Any:
    import wandb
    from accelerate.tracking import WandBTracker

    return WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT),
        name=tracked.run,
        id=known.get("id") or secrets.token_hex(4),
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


def _leave_mlflow(tracked: Tracked) -> None:
    import mlflow

    if mlflow.get_tracking_uri().startswith(f"sqlite:///{tracked.folder}"):
        mlflow.set_tracking_uri(None)  # it set the environment variable


def _mlflow_packages() -> tuple[str, ...]:
    return ("mlflow",) if "MLFLOW_TRACKING_URI" in os.environ else ("mlflow", "sqlalchemy", "alembic")


TRACKERS = {
    "tensorboard": Tracker(lambda: ("tensorboard",), {}, _tensorboard, lambda tracker: None),
    "wandb": Tracker(lambda: ("wandb",), {"WANDB_ERROR_REPORTING": "false"}, _wandb, lambda tracker: tracker.run.id),
    "mlflow": Tracker(
        _mlflow_packages,
        {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"},
        _mlflow,
        lambda tracker: tracker.tracker.info.run_id,
        _leave_mlflow,
    ),
}
