"""Trackers, each for real and read back with its own tools: what they hear, once, and that they never stop training."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from forja.errors import ForjaError
from forja.pretraining import STAGES
from forja.recipe import Recipe
from forja.training import tracking as tracking_module
from forja.training.logbook import Line, read_log
from forja.training.pretrain import pretrain
from forja.training.tracking import TRACKERS, Tracker, figures, place, require_packages, tracking
from tiny_training import GPT2, section, stop_at, write_tokens

Points = dict[str, list[tuple[int, float]]]
"""Each figure's values by step, in the order in which the tracker was told."""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tiny") / "run" / "tokens")


@pytest.fixture(autouse=True)
def nobody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-own"))
    for tracker in TRACKERS.values():  # set for good by the trackers, and put back after each test
        for name, value in tracker.settings.items():
            monkeypatch.setenv(name, value)


def run(tokens: Path, workspace: Path, *trackers: str, **keys: Any) -> Path:
    workspace.mkdir(exist_ok=True)
    pretrain(section(tracking=list(trackers), **keys), GPT2, tokens, workspace, seed=7)
    return workspace / "training" / "tracking"


def logged(workspace: Path) -> Points:
    points: Points = {}
    for line in read_log(workspace / "training" / "log.jsonl"):
        for name, value in figures(line).items():
            points.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return points


def run_in_two(tokens: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, tracker: str) -> Path:
    """Stopped in the eighth step, and gone on with from the checkpoint of the sixth."""
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(tokens, workspace, tracker)
    return run(tokens, workspace, tracker)


# --- what each is told -------------------------------------------------------------------------


def tensorboard_points(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def wandb_records(folder: Path) -> list[Any]:
    """Every record of the offline runs, oldest run first: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, head, whole_or_last = 32_768, 7, (1, 4)
    records = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        data, at, record = path.read_bytes(), head, b""
        while at + head <= len(data):
            left = block - at % block
            if left < head:
                at += left
                continue
            _, length, kind = struct.unpack_from("<IHB", data, at)
            record += data[at + head : at + head + length]
            at += head + length
            if kind in whole_or_last:
                records.append(Record.FromString(record))
                record = b""
    return records


def wandb_points(folder: Path) -> Points:
    points: Points = {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") != "history":
            continue
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                points.setdefault(name, []).append((items["_step"], value))
    return points


def mlflow_runs(folder: Path) -> tuple[Any, list[Any]]:
    from mlflow.tracking import MlflowClient

    (store,) = (folder / "mlflow").glob("*.db")
    client = MlflowClient(f"sqlite:///{store}")
    return client, client.search_runs([client.get_experiment_by_name("forja").experiment_id])


def mlflow_points(folder: Path) -> Points:
    client, (found,) = mlflow_runs(folder)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }


READERS = {"tensorboard": tensorboard_points, "wandb": wandb_points, "mlflow": mlflow_points}


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_a_tracker_is_told_every_line_of_the_log(tokens: Path, tmp_path: Path, tracker: str) -> None:
    pytest.importorskip(tracker)
    folder = run(tokens, tmp_path / "w", tracker)
    told = READERS[tracker](folder)
    assert told == logged(tmp_path / "w")
    assert {"loss", "lr", "rates/adamw", "grad_norm", "tokens_per_second", "valid_loss"} <= told.keys()


@pytest.mark.parametrize("tracker", READERS)
def test_a_resumed_run_goes_on_in_the_same_tracked_run_and_tells_no_step_twice(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    pytest.importorskip(tracker)
    folder = run_in_two(tokens, tmp_path / "w", monkeypatch, tracker)
    losses = READERS[tracker](folder)["loss"]
    assert losses == logged(tmp_path / "w")["loss"]
    assert [step for step, _ in losses] == list(range(1, 13))


def test_wandb_keeps_its_run_offline_with_the_settings_and_one_id(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    folder = run_in_two(tokens, tmp_path / "w", monkeypatch, "wandb")
    runs = [record.run for record in wandb_records(folder) if record.WhichOneof("record_type") == "run"]
    assert len({one.run_id for one in runs}) == 1
    assert (runs[0].project, runs[0].display_name) == ("forja", "run")
    kinds = {record.WhichOneof("record_type") for record in wandb_records(folder)}
    assert {"history", "config"} <= kinds
    assert not list(folder.glob("wandb/run-*"))  # what an online run would leave


@pytest.mark.slow
def test_mlflow_keeps_the_settings_and_leaves_the_process_as_it_was(tokens: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    for name in ("first", "second"):
        folder = run(tokens, tmp_path / name, "mlflow", steps=2)
        (tmp_path / name).rename(tmp_path / f"{name}-moved")  # as a stage's folder does when it is done
        assert "MLFLOW_TRACKING_URI" not in os.environ
        _, (found,) = mlflow_runs(tmp_path / f"{name}-moved" / folder.relative_to(tmp_path / name))
        assert found.info.run_name == "run"
        assert found.info.status == "FINISHED"
        assert found.data.params["training/optimizer/rate"] == "0.0005"
        assert found.data.params["model/layers"] == "2"


def test_a_tracker_added_later_hears_what_came_before(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(tokens, tmp_path / "w")
    assert tensorboard_points(run(tokens, tmp_path / "w", "tensorboard"))["loss"] == logged(tmp_path / "w")["loss"]


def test_a_finished_run_called_again_opens_no_tracker(tokens: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = run(tokens, tmp_path / "w", "tensorboard")
    before = sorted(folder.rglob("*"))
    run(tokens, tmp_path / "w", "tensorboard")
    assert sorted(folder.rglob("*")) == before


# --- what goes wrong ---------------------------------------------------------------------------


class Ear:
    """Stands in for one of Accelerate's trackers."""

    def __init__(self, fails_at: int = 0) -> None:
        self.heard: list[int] = []
        self.fails_at = fails_at
        self.finished = False

    def start(self) -> None: ...
    def store_init_configuration(self, values: dict[str, Any]) -> None: ...

    def log(self, values: dict[str, float], step: int) -> None:
        if step == self.fails_at:
            raise OSError("no space left on device\nand more")
        self.heard.append(step)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(ear: Ear) -> Ear:
        made = Tracker(lambda: (), {}, lambda tracked, known: ear, TRACKERS["tensorboard"].tell)
        monkeypatch.setitem(TRACKERS, "tensorboard", made)
        return ear

    return put


def test_a_missing_package_is_a_sentence_before_training_starts(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "find_spec", lambda name: None)
    with pytest.raises(ForjaError, match="needs wandb, which is not installed") as caught:
        run(tokens, tmp_path / "w", "wandb")
    assert "pip install 'forja[tracking]'" in str(caught.value)
    assert list((tmp_path / "w").iterdir()) == []


def test_mlflow_needs_a_database_only_for_its_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_module, "find_spec", lambda name: None if name == "sqlalchemy" else object())
    with pytest.raises(ForjaError, match="needs sqlalchemy"):
        require_packages(["mlflow"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    require_packages(["mlflow"])


def test_a_tracker_that_fails_is_said_once_and_training_goes_on(
    tokens: Path, tmp_path: Path, plug: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ear = plug(Ear(fails_at=5))
    run(tokens, tmp_path / "w", "tensorboard")
    said = capsys.readouterr().err
    assert said.count("tensorboard failed") == 1
    assert "tensorboard failed (no space left on device); training goes on without it" in said
    assert [step for step in ear.heard if step < 5] == [1, 2, 3, 4, 4]
    assert len(logged(tmp_path / "w")["loss"]) == 12


def test_lines_that_a_kill_may_have_lost_do_not_count_as_told(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fails_at, told in ((5, [3, 0]), (0, [12, 1])):
        ear = Ear(fails_at)
        made = Tracker(lambda: (), {}, lambda tracked, known, ear=ear: ear, TRACKERS["wandb"].tell, unsure=2)
        with monkeypatch.context() as patch:
            patch.setitem(TRACKERS, "wandb", made)
            folder = run(tokens, tmp_path / str(fails_at), "wandb")
        assert json.loads((folder / "wandb.json").read_text())["told"] == told


def test_a_tracker_is_closed_when_training_fails(
    tokens: Path, tmp_path: Path, plug: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = plug(Ear())
    stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(tokens, tmp_path / "w", "tensorboard")
    assert ear.finished
    assert ear.heard == [1, 2, 3]


def test_a_tracker_that_hangs_holds_up_no_step(
    tmp_path: Path, plug: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ear, free = plug(Ear()), threading.Event()
    monkeypatch.setattr(ear, "start", free.wait)
    monkeypatch.setattr(tracking_module, "CLOSING_SECONDS", 0.05)
    with tracking(["tensorboard"], tmp_path / "log.jsonl", tmp_path / "t", run="r", config={}) as (hear,):
        hear({"step": 1, "loss": 2.0})
    free.set()
    assert "was not told everything" in capsys.readouterr().err


def test_what_a_killed_process_had_not_told_is_told_first(tmp_path: Path, plug: Any) -> None:
    lines: list[Line] = [{"step": step, "loss": 1.0} for step in (1, 2, 3)]
    log, folder = tmp_path / "log.jsonl", tmp_path / "t"
    log.write_text("".join(f'{{"step": {line["step"]}, "loss": 1.0}}\n' for line in lines))
    folder.mkdir()
    (folder / "tensorboard.json").write_text('{"told": [1, 0]}')
    ear = plug(Ear())
    with tracking(["tensorboard"], log, folder, run="r", config={}) as (hear,):
        for line in [*lines, {"step": 4, "loss": 1.0}]:  # the run goes on from its start
            hear(line)
    assert ear.heard == [2, 3, 4]


def test_a_line_is_told_as_flat_finite_numbers() -> None:
    line = {"step": 3, "loss": None, "lr": 0.1, "rates": {"adamw": 0.1, "muon": 0.2}, "seconds": 1.5, "why": "word"}
    assert figures(line) == {"lr": 0.1, "rates/adamw": 0.1, "rates/muon": 0.2, "seconds": 1.5}
    assert figures({"step": 3, "valid_loss": 2.0, "seconds": 0.5}) == {"valid_loss": 2.0, "valid_seconds": 0.5}
    assert place({"step": 3, "loss": 1.0}) < place({"step": 3, "valid_loss": 1.0}) < place({"step": 4, "loss": 1.0})


def test_tracking_is_no_part_of_what_the_training_stage_made() -> None:
    stage = next(stage for stage in STAGES if stage.name == "pretrain")
    plain = {"corpus": {"sources": [{"path": "x"}]}, "name": "r"}
    tracked = Recipe.model_validate({**plain, "training": {"tracking": ["wandb"]}})
    assert stage.sections(tracked) == stage.sections(Recipe.model_validate(plain))
    assert stage.aside == (tracking_module.TRACKING.as_posix(),)


def test_no_tracker_costs_no_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with tracking([], tmp_path / "log.jsonl", tmp_path, run="r", config={}) as listeners:
        assert listeners == []
