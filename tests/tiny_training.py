"""A token folder and a model small enough to train in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from forja.recipe import ModelSection, TrainingSection

CONTEXT, VOCABULARY = 16, 256
CONTROLS = {"pad": 0, "mask": 1, "first_sentinel": 2, "sentinels": 16, "first_ordinary": 32}
GPT2 = ModelSection(preset="gpt2", layers=2, heads=2, width=32)
MODERN = ModelSection(preset="modern", layers=2, heads=2, width=32)
ENCODER = MODERN.model_copy(update={"architecture": "encoder"})
BOTH = MODERN.model_copy(update={"architecture": "encoder-decoder"})


def write_tokens(folder: Path, train: int = 4000, valid: int = 800) -> Path:
    """Tokens in which each fourth one repeats: something to learn."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    splits = {"train": {"tokens": train}, "valid": {"tokens": valid}}
    for split, count in (("train", train), ("valid", valid)):
        seeds = draw.integers(0, VOCABULARY, size=count // 4 + 1)
        rows = np.stack([seeds, seeds * 7 % VOCABULARY, seeds * 5 % VOCABULARY, seeds])
        ordinary = CONTROLS["first_ordinary"] + rows.T.reshape(-1)[:count] % (VOCABULARY - CONTROLS["first_ordinary"])
        ordinary.astype(np.uint16).tofile(folder / f"{split}-00000.bin")
    shape = {"dtype": "uint16", "context": CONTEXT, "overlap": 0, "vocabulary": VOCABULARY}
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
