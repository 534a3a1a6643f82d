"""What single words and short runs of them say of a text's class: a linear layer over hashed n-grams of tokens
(Joulin et al. 2017, section 2), beside a transformer as the wide part beside the deep one (Cheng et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 3.0
"""Of the sum over a text's n-grams, divided by the root of their number: about what makes a first step tell."""
FACTORS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
MOST_ORDERS = len(FACTORS)
LONG = 0x7FFFFFFFFFFF
"""Hashes stay below it, so that no product overflows its sign away."""


class NgramLayer(nn.Module):
    """tokens and mask (batch, time) -> logits (batch, classes), zero before the first step.

    orders: n-grams of 1 to so many tokens; buckets: a power of two, into which they are hashed. Each n-gram counts
    once in a text, however often it occurs.
    """

    def __init__(self, orders: int, buckets: int, classes: int) -> None:
        super().__init__()
        self.orders, self.buckets = orders, buckets
        self.weight = nn.Parameter(torch.zeros(buckets, classes))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        hashed, present = hashed_ngrams(tokens, mask, self.orders, self.buckets)  # (batch, n-grams) both
        found = torch.nn.functional.embedding_bag(
            hashed, self.weight.float(), mode="sum", per_sample_weights=present
        )  # (batch, classes)
        return SCALE * found / present.sum(dim=1, keepdim=True).clamp(min=1).sqrt()


def hashed_ngrams(tokens: Tensor, mask: Tensor | None, orders: int, buckets: int) -> tuple[Tensor, Tensor]:
    """Buckets of all n-grams of 1 to `orders` tokens, (batch, n-grams) int64, and 1.0 where one is of the text and the
    first in its bucket, else 0.0."""
    real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
    parts, kept = [], []
    for order in range(1, min(orders, tokens.shape[1]) + 1):
        count = tokens.shape[1] - order + 1
        hashed = torch.full_like(tokens[:, :count], order * 7919)
        for place in range(order):
            hashed = (hashed * 31 + tokens[:, place : place + count] * FACTORS[place]) & LONG
            hashed = hashed ^ (hashed >> 17)
        parts.append(((hashed & 0x7FFFFFFF) * FACTORS[0] >> 13) & (buckets - 1))
        kept.append(real[:, order - 1 :])  # padding is on the right: an n-gram ends in text, so it begins there
    all_hashed, _ = torch.where(torch.cat(kept, 1), torch.cat(parts, 1), buckets).sort(dim=1)
    fresh = torch.ones_like(all_hashed, dtype=torch.bool)
    fresh[:, 1:] = all_hashed[:, 1:] != all_hashed[:, :-1]
    present = fresh & (all_hashed < buckets)
    return all_hashed.clamp(max=buckets - 1), present.float()
