"""Which precision to compute in: measured on the model's own matrix products, never assumed.

Machines of one name differ: one multiplies bf16 ten times faster than fp32, its twin half as fast.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_GAIN, FP16_GAIN = 1.05, 1.10
"""How much faster bf16 must be than fp32, and fp16 than both, to be worth its casts and its risk."""

LAYOUTS = 3
THIN, HOPELESS = 32, 12.0
"""Rows of the slice tried first, and how many times float32's time it may take."""


class Product(NamedTuple):
    """One linear layer's shape: (rows, inner) times (inner, columns), `times` a step."""

    rows: int
    inner: int
    columns: int
    times: int = 1


class PrecisionChoice(NamedTuple):
    """The choice, and GFLOP/s a core measured for each candidate (None: given up as too slow)."""

    precision: Precision
    gflops: dict[str, float | None]

    def sentence(self) -> str:
        told = ", ".join(f"{name} {rate:,.0f}" if rate else f"{name} very slow" for name, rate in self.gflops.items())
        return f"precision {self.precision} (this model's products run at {told} GFLOP/s a core)"


def choose_precision(products: Sequence[Product], *, device: str = "cpu", seconds: float = 0.5) -> PrecisionChoice:
    """The fastest safe precision for these products, forward and backward, in about `seconds`.

    bf16 keeps fp32 master weights, so it is safe wherever it is fast; fp16 also needs its loss scaled.
    """
    with one_quiet_core():
        return _measured(products, device, seconds)


@contextmanager
def one_quiet_core() -> Iterator[None]:
    """Inside, torch computes in this thread alone, whose own processor time can be told from others' noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _measured(products: Sequence[Product], device: str, seconds: float) -> PrecisionChoice:
    spent = dict.fromkeys(DTYPES, 0.0)
    share = seconds / (9 * len(products))
    work = 0.0
    for product in products:
        for layout in range(LAYOUTS):
            # The precisions take turns product by product, so that another process's noise meets them all.
            plain = _slice_seconds(product, layout, torch.float32, device)
            for name, dtype in DTYPES.items():
                if math.isfinite(spent[name]):
                    spent[name] += product.times * _seconds(product, layout, dtype, device, share, plain)
            work += 2.0 * product.times * product.rows * product.inner * product.columns
    gflops: dict[str, float | None] = {
        name: float(f"{work / took / 1e9:.4g}") if math.isfinite(took) else None for name, took in spent.items()
    }
    best: Precision = "fp32"
    candidates: tuple[tuple[Precision, float], ...] = (("bf16", BF16_GAIN), ("fp16", FP16_GAIN))
    for name, gain in candidates:
        if spent[name] * gain < spent[best]:
            best = name
    return PrecisionChoice(best, gflops)


def _seconds(product: Product, layout: int, dtype: torch.dtype, device: str, budget: float, plain: float) -> float:
    """Seconds of one product, the best of what fits in `budget`; infinite where this precision is hopeless.

    plain: what a thin slice of it takes in float32. Some layouts run a hundred times below the rest, so
    a slice is tried first, before the whole could take minutes.
    """
    try:
        if dtype != torch.float32 and _slice_seconds(product, layout, dtype, device) > HOPELESS * plain:
            return math.inf
        return _best_seconds(*_factors(product, layout, dtype, device), budget)
    except RuntimeError:  # this precision has no such product on this device
        return math.inf


def _slice_seconds(product: Product, layout: int, dtype: torch.dtype, device: str) -> float:
    a, b = _factors(product._replace(rows=min(THIN, product.rows)), layout, dtype, device)
    return _best_seconds(a, b, 0.0)


def _factors(product: Product, layout: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear layer's forward (0), input gradient (1) and weight gradient (2), as two factors."""
    rows, inner, columns, _ = product
    x = torch.ones(rows, inner, dtype=dtype, device=device)
    weight = torch.ones(columns, inner, dtype=dtype, device=device)
    slope = torch.ones(rows, columns, dtype=dtype, device=device)
    return ((x, weight.t()), (slope, weight), (slope.t(), x))[layout]


def _best_seconds(a: torch.Tensor, b: torch.Tensor, budget: float) -> float:
    """The best of the runs that fit in `budget` seconds, at least two."""
    wait = torch.cuda.synchronize if a.is_cuda else _nothing
    times: list[float] = []
    clock = time.perf_counter if a.is_cuda else time.thread_time
    end = clock() + budget
    while len(times) < 2 or clock() < end:
        start = clock()
        torch.mm(a, b)
        wait()
        times.append(clock() - start)
    return max(min(times), 1e-9)


def _nothing() -> None:
    pass


def model_products(layers: int, width: int, attention: int, ffn: int, vocabulary: int, rows: int) -> list[Product]:
    """A transformer's distinct linear layers: `attention` is qkv's columns, `ffn` the first feed-forward's.

    The output layer stands as several narrower ones, and rows are at most 512: as telling, and quicker.
    """
    rows = min(rows, 512)
    parts = -(-vocabulary // 4096)
    return [
        Product(rows, width, attention, layers),
        Product(rows, width, width, layers),
        Product(rows, width, ffn, layers),
        Product(rows, ffn, width, layers),
        Product(rows, width, vocabulary // parts, parts),
    ]
