"""A token folder and a model small enough to train in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forja.recipe import ModelSection, TrainingSection
from forja.tokens.loader import Batch, Batches
from forja.training.logbook import read_log
from forja.training.pretrain import TrainingFigures, best_checkpoint, pretrain

CONTEXT, VOCABULARY = 16, 256
CONTROLS = {"pad": 0, "mask": 1, "first_sentinel": 2, "sentinels": 16, "first_ordinary": 32}
GPT2 = ModelSection(preset="gpt2", layers=2, heads=2, width=32)
MODERN = ModelSection(preset="modern", layers=2, heads=2, width=32)
OWN_OUTPUT = MODERN.model_copy(update={"tie_embeddings": False})
ENCODER = MODERN.model_copy(update={"architecture": "encoder"})
BOTH = MODERN.model_copy(update={"architecture": "encoder-decoder"})


def write_tokens(folder: Path, train: int = 4000, valid: int = 800, context: int = CONTEXT) -> Path:
    """Tokens in which each fourth one repeats: something to learn."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    splits = {"train": {"tokens": train}, "valid": {"tokens": valid}}
    for split, count in (("train", train), ("valid", valid)):
        seeds = draw.integers(0, VOCABULARY, size=count // 4 + 1)
        rows = np.stack([seeds, seeds * 7 % VOCABULARY, seeds * 5 % VOCABULARY, seeds])
        ordinary = CONTROLS["first_ordinary"] + rows.T.reshape(-1)[:count] % (VOCABULARY - CONTROLS["first_ordinary"])
        ordinary.astype(np.uint16).tofile(folder / f"{split}-00000.bin")
    shape = {"dtype": "uint16", "context": context, "overlap": 0, "vocabulary": VOCABULARY}
    meta = {**shape, **CONTROLS, "splits": splits}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def section(**keys: Any) -> TrainingSection:
    """A training section with nothing left to measure."""
    plain: dict[str, Any] = {
        "steps": 12,
        "batch": 4,
        "micro_batch": 2,
        "precision": "fp32",
        "compile": False,
        "threads": 1,
        "valid_every": 4,
        "valid_sequences": 4,
        "checkpoint_every": 3,
    }
    return TrainingSection(**{**plain, **keys})


def train(tokens: Path, workspace: Path, model: ModelSection = GPT2, **keys: Any) -> TrainingFigures:
    """The pretraining stage over `tokens`, in this process."""
    workspace.mkdir(exist_ok=True)
    return pretrain(section(**keys), model, tokens, workspace, seed=7)


def weights(workspace: Path) -> bytes:
    """Those of the best checkpoint, as they lie on the disk."""
    return (best_checkpoint(workspace) / "model.safetensors").read_bytes()


def losses(workspace: Path) -> list[tuple[int, float | None]]:
    """Each line of the log: its step, and its training or validation loss."""
    lines = read_log(workspace / "training" / "log.jsonl")
    return [(line["step"], line.get("loss", line.get("valid_loss"))) for line in lines]


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, Batch], Batch]) -> None:
    """Pass each batch through `change`, which is told its step (from 0)."""
    real = Batches.global_batch

    def changed(self: Batches, step: int, rank: int = 0, world: int = 1) -> Batch:
        return change(step, real(self, step, rank, world))

    monkeypatch.setattr(Batches, "global_batch", changed)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Fail in the middle of `step`, as a crash would."""

    def failing(at: int, batch: Batch) -> Batch:
        if at == step:
            raise KeyboardInterrupt
        return batch

    tamper(monkeypatch, failing)
