"""How many sequences fit in memory at once: found by trying, on a GPU until it is full, on a CPU never so far.

A GPU that is full says so, and a smaller try follows. A machine that is full kills the process, so there two
small tries tell what a sequence costs, and the rest is counted against what the machine or the cgroup allows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch

from forja.models.transformer import Transformer
from forja.training.machine import available_memory, peak_memory, resident_memory, restart_peak_memory

MOST = 32
"""Sequences beyond which nothing gets faster; nor, on a CPU, beyond so many tokens:"""
MOST_TOKENS = 8192
SAVED_BYTES = 12
"""A parameter, of the copy that is being written while training goes on: its weight and AdamW's two states."""
SHARE = 0.8
"""Of the memory that is free, what is counted on."""


def largest_micro_batch(
    trial: Callable[[int], None], batch: int, model: Transformer, *, split: bool = False
) -> tuple[int, dict[str, Any]]:
    """The largest divisor of `batch` that fits, and what was measured.

    trial: makes one update with so many sequences. split: the model may be too large for this process, so that
    nothing is tried.
    """
    sizes = [size for size in range(min(batch, MOST), 0, -1) if batch % size == 0]
    if split:
        return next(size for size in sizes if size <= 8), {}
    return _on_gpu(trial, sizes) if torch.cuda.is_available() else _on_cpu(trial, sizes, model)


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


def _on_cpu(trial: Callable[[int], None], sizes: list[int], model: Transformer) -> tuple[int, dict[str, Any]]:
    most = max(1, MOST_TOKENS // model.config.context)
    within = [size for size in sizes if size <= most]
    if len(within) == 1 or not restart_peak_memory():
        return within[0], {}
    room = SHARE * available_memory() - SAVED_BYTES * model.num_parameters()
    before, peaks = resident_memory(), []
    for size in (1, 2):
        trial(size)
        gc.collect()
        peaks.append(peak_memory() - before)
    a_sequence = max(1, peaks[1] - peaks[0])
    fixed = max(0, peaks[0] - a_sequence)
    fits = [size for size in within if fixed + size * a_sequence <= room]
    return (fits or [1])[0], {"fixed_bytes": fixed, "bytes_a_sequence": a_sequence, "room_bytes": int(room)}
