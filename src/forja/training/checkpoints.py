"""Checkpoints: complete or absent, named full tensors in safetensors beside one JSON, checked when read.

    step-00000100/model.safetensors      weights
                  optimizer.safetensors  optimizer state, and the random generator's under `rng`
                  model.json             the model's configuration, or whatever describes it
                  state.json             step, best so far, rule state, and the digests of the other files

The same training state gives the same bytes, so a resumed run can be compared with one never stopped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forja.errors import ForjaError
from forja.progress import say
from forja.run import fsync_folder, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


class NewerFormatError(ForjaError):
    """The checkpoint is sound, and this Forja is too old for it."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: all that decides the steps after `step`."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    description: dict[str, Any]


def checkpoint_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in `folder`, rising."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write aside, fsync, rename. Raises ForjaError where the disk is full or refuses."""
    final = checkpoint_folder(folder, checkpoint.step)
    aside = folder / f".new-{final.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        _write_all(aside, checkpoint)
        _drop(final)
        os.rename(aside, final)
        fsync_folder(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ForjaError(
            f"the checkpoint of step {checkpoint.step} could not be written: {error.strerror or error}.",
            where=str(folder),
            fix="Make room or mend the permission, and give the same command: it goes on from the checkpoint before.",
        ) from error
    return final


def _write_all(folder: Path, checkpoint: Checkpoint) -> None:
    _write_json(folder / "model.json", checkpoint.description)
    files = {
        "model.json": sha256_file(folder / "model.json"),
        "model.safetensors": _write_tensors(folder / "model.safetensors", checkpoint.model),
        "optimizer.safetensors": _write_tensors(folder / "optimizer.safetensors", checkpoint.optimizer),
    }
    state = {"format": FORMAT, "step": checkpoint.step, **checkpoint.state, "files": files}
    _write_json(folder / "state.json", state)
    fsync_folder(folder)


def _write_json(path: Path, value: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and sync; returns the SHA-256."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
    except Exception as error:  # safetensors wraps the system's error in a class of its own
        raise OSError(str(error)) from error
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return sha256_file(path)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint. Raises ForjaError if it is damaged or newer than this Forja."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if state["format"] > FORMAT:
            raise NewerFormatError(
                f"the checkpoint has format {state['format']}, newer than this Forja reads.",
                where=str(folder),
                fix="Update Forja.",
            )
        for name, known in state["files"].items():
            if sha256_file(folder / name) != known:
                raise _damaged(folder, f"{name} is not what was written")
        model = load_file(folder / "model.safetensors")
        optimizer = load_file(folder / "optimizer.safetensors")
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from None
    return Checkpoint(int(state["step"]), model, optimizer, state, description)


def _damaged(folder: Path, why: str) -> ForjaError:
    return ForjaError(
        f"the checkpoint is damaged ({why}).",
        where=str(folder),
        fix="Delete its folder; training goes on from the one before.",
    )


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest sound checkpoint; a damaged one is said and removed, as training makes it again."""
    clear_leftovers(folder)
    for step in reversed(list_checkpoints(folder)):
        place = checkpoint_folder(folder, step)
        try:
            return load_checkpoint(place)
        except NewerFormatError:
            raise
        except ForjaError as error:
            say(f"{error.where}: {error.what} Going on from the one before.")
            _drop(place)
    return None


def prune_checkpoints(folder: Path, *, keep_last: int, best: int | None, keep_every: int | None = None) -> None:
    """Keep the newest `keep_last`, the best, and every `keep_every` steps with the best of its time, so that training
    can go on from each; remove the others, and those that a stop had asked for."""
    steps = list_checkpoints(folder)
    regular = [step for step in steps if not _state(folder, step).get("asked", False)]
    kept = {*regular[-keep_last:], *(step for step in regular if keep_every and step % keep_every == 0)}
    kept |= {best_before(folder, step) for step in kept} | {-1 if best is None else best}
    for step in steps:
        if step not in kept:
            _drop(checkpoint_folder(folder, step))


def best_before(folder: Path, step: int) -> int:
    """The best checkpoint's step when that of `step` was written; -1 where there was none yet, or it is damaged."""
    return int(_state(folder, step).get("best_step", -1))


def _state(folder: Path, step: int) -> dict[str, Any]:
    """What the checkpoint says of itself; nothing where it is damaged."""
    try:
        return dict(json.loads((checkpoint_folder(folder, step) / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def drop_later(folder: Path, after: int) -> None:
    """Remove the checkpoints of later steps than `after`."""
    for step in list_checkpoints(folder):
        if step > after:
            _drop(checkpoint_folder(folder, step))
    clear_leftovers(folder)


def clear_leftovers(folder: Path) -> None:
    """Remove what a kill left half written or half removed."""
    for pattern in (".new-*", ".old-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _drop(path: Path) -> None:
    """Remove so that a kill leaves no half of it under its name."""
    if path.exists():
        aside = path.with_name(f".old-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(path, aside)
        shutil.rmtree(aside)
