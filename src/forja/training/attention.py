"""Which attention kernel trains faster here: both are timed, forward and backward, on the model's shape."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F

from forja.models.blocked_attention import blocked_attention
from forja.models.transformer import AttentionKernel, TransformerConfig
from forja.training.precision import DTYPES, Precision, one_quiet_core

GAIN = 1.1
"""How much faster the blocked kernel must be, as it keeps its probabilities in memory."""


def choose_attention(
    config: TransformerConfig, micro_batch: int, precision: Precision, device: str
) -> tuple[AttentionKernel, dict[str, Any]]:
    """The quicker kernel, and the milliseconds measured. A GPU's fused kernel is never in doubt."""
    if device != "cpu":
        return "fused", {}
    few = max(1, min(micro_batch, 2048 // config.context))
    shape = (few, config.heads, config.context, config.head_width)
    q, k, v = (torch.ones(shape, dtype=DTYPES[precision], requires_grad=True) for _ in range(3))
    with one_quiet_core():
        fused = _milliseconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
        blocked = _milliseconds(lambda: blocked_attention(q, k, v))
    kernel: AttentionKernel = "blocked" if blocked * GAIN < fused else "fused"
    return kernel, {"fused_ms": round(fused, 2), "blocked_ms": round(blocked, 2)}


def _milliseconds(attend: Any) -> float:
    """Processor time, the best of three after a first."""
    best = float("inf")
    for _ in range(4):
        start = time.process_time()
        attend().sum().backward()
        best = min(best, time.process_time() - start)
    return best * 1000
