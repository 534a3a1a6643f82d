"""How many sequences fit in memory at once: tried on a GPU until it is full, counted on a CPU before it is.

A GPU that is full says so, and a smaller try follows. A machine that is full kills the process, so there one small
forward pass tells what a sequence keeps, and the rest is counted against what the machine or the cgroup allows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from forja.errors import ForjaError
from forja.models.transformer import Transformer
from forja.training.machine import available_memory, peak_memory

MOST = 32
"""Sequences beyond which nothing gets faster; nor, on a CPU, beyond so many tokens:"""
MOST_TOKENS = 8192
STATE_BYTES = 26
"""A parameter: its gradient, AdamW's two states, the copy of them and of the weight that is being written while
training goes on, and the weight in half precision."""
WORKSPACE = 256 * 2**20
"""What else a step takes: the loss's buffers, kernels' own."""
SHARE = 0.8
"""Of the memory that is free, what is counted on."""


def largest_micro_batch(
    trial: Callable[[int], None], kept: Callable[[], int], batch: int, model: Transformer
) -> tuple[int, dict[str, Any]]:
    """The largest divisor of `batch` that fits, and what was measured. Raises ForjaError where nothing fits.

    trial: makes one update with so many sequences; kept: the bytes that a forward pass of one sequence keeps for the
    backward pass.
    """
    sizes = [size for size in range(min(batch, MOST), 0, -1) if batch % size == 0]
    return _on_gpu(trial, sizes) if torch.cuda.is_available() else _on_cpu(kept, sizes, model)


def _on_gpu(trial: Callable[[int], None], sizes: list[int]) -> tuple[int, dict[str, Any]]:
    for size in sizes[:-1]:
        try:
            trial(size)
        except torch.OutOfMemoryError:
            pass
        else:
            return size, {"peak_bytes": peak_memory()}
        finally:
            gc.collect()
            torch.cuda.empty_cache()
    return sizes[-1], {}


def _on_cpu(kept: Callable[[], int], sizes: list[int], model: Transformer) -> tuple[int, dict[str, Any]]:
    most = max(1, MOST_TOKENS // model.config.context)
    free = available_memory()
    room = int(SHARE * free - STATE_BYTES * model.num_parameters() - WORKSPACE)
    a_sequence = kept() if room > 0 else 0
    fits = [size for size in sizes if size <= most and size * a_sequence <= room]
    if not fits or room <= 0:
        raise ForjaError(
            f"there is not enough memory to train this model: {free / 1e9:.1f} GB are free.",
            where="training",
            fix="Lower model.width or model.layers, set training.gradient_checkpointing to full, or give the process "
            "more memory.",
        )
    return fits[0], {"bytes_a_sequence": a_sequence, "room_bytes": room}


class Kept:
    """Entered around a forward pass: `bytes` counts what it keeps for the backward pass, each tensor's storage once."""

    def __init__(self, weights: torch.nn.Module) -> None:
        self._known = {parameter.untyped_storage().data_ptr() for parameter in weights.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor)
        self.bytes = 0

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._hooks.__exit__(*failure)
