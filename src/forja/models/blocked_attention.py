"""Causal attention from plain batched products, for processors whose matrix products outrun the fused kernel.

The fused CPU kernel of torch 2.13 reaches a third of such a processor's bf16 products. Here queries are
taken a block of rows at a time against the keys that they may see, so half of the scores are never made.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Query rows a block, at least; the scores of (batch x heads, block, keys) are held at once."""


def blocked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal softmax(q k' / sqrt(head_width)) v; all (batch, heads, time, head_width), of one precision.

    Fewer key heads than query heads are repeated (grouped queries).
    """
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    flat = [x.reshape(-1, *x.shape[2:]) for x in (q, k, v)]  # (batch * heads, time, head_width)
    out: Tensor = _BlockedAttention.apply(*flat)  # type: ignore[no-untyped-call]
    return out.view(q.shape)


def _blocks(time: int) -> list[tuple[int, int]]:
    count = max(1, time // BLOCK)
    edges = [time * number // count for number in range(count + 1)]
    return list(pairwise(edges))


def kept_probabilities(time: int) -> int:
    """Attention probabilities that a head keeps of a sequence for the backward pass."""
    return sum((end - start) * end for start, end in _blocks(time))


class _BlockedAttention(torch.autograd.Function):
    """q, k, v (batch * heads, time, head_width) -> the same; keeps each block's probabilities for backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        scale = q.shape[-1] ** -0.5
        kept = []
        for start, end in _blocks(q.shape[1]):
            mask = q.new_full((end - start, end), -torch.inf).triu(start + 1)
            scores = torch.baddbmm(mask, q[:, start:end], k[:, :end].transpose(1, 2), alpha=scale)
            probabilities = torch.softmax(scores, dim=-1)
            out[:, start:end] = torch.bmm(probabilities, v[:, :end])
            kept.append(probabilities)
        ctx.save_for_backward(q, k, v, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, *kept = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        q_slope, k_slope, v_slope = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (start, end), probabilities in zip(_blocks(q.shape[1]), kept, strict=True):
            here = slope[:, start:end]
            v_slope[:, :end] += torch.bmm(probabilities.transpose(1, 2), here)
            against = torch.bmm(here, v[:, :end].transpose(1, 2))
            scores = torch._softmax_backward_data(against, probabilities, -1, probabilities.dtype)
            q_slope[:, start:end] = torch.bmm(scores, k[:, :end]).mul_(scale)
            k_slope[:, :end] += torch.bmm(scores.transpose(1, 2), q[:, start:end]).mul_(scale)
        return q_slope, k_slope, v_slope
