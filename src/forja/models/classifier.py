"""Forja's transformer under a classification layer, and its Hugging Face folder out and in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forja.models.ngrams import NgramLayer
from forja.models.transformer import Transformer, TransformerConfig

MOST_WEIGHTS = 1 << 21
"""Of an n-gram layer."""


class TransformerClassifier(nn.Module):
    """tokens and mask (batch, time), padding on the right -> logits (batch, classes).

    ngrams: beside what the transformer makes of a text, a layer over its n-grams of 1 to so many tokens; 0 for none.

    A decoder's text is summed up in its last token (Radford et al. 2018, section 3.2), which alone has seen all the
    others; an encoder's in the mean of all.
    """

    def __init__(
        self, transformer: Transformer, classes: int, *, ngrams: int = 0, buckets: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.ngrams = NgramLayer(ngrams, buckets or buckets_for(classes), classes) if ngrams else None
        self.score = nn.Linear(transformer.config.width, classes, bias=False)
        with torch.no_grad():
            self.score.weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(seed))

    @property
    def config(self) -> TransformerConfig:
        return self.transformer.config

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return torch.stack(self.branches(tokens, mask=mask)).sum(dim=0)

    def branches(self, tokens: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """The transformer's logits, and the n-grams' where there are any, (batch, classes) float32 each."""
        alone = self.config.architecture == "encoder"
        near, near_mask = shortened(tokens, mask, self.config.context)
        hidden = self.transformer(near, mask=near_mask if alone else None)  # (batch, time, width)
        deep = self.score(pooled(hidden, near_mask, causal=not alone)).float()
        return [deep] if self.ngrams is None else [deep, self.ngrams(tokens, mask)]

    @torch.no_grad()
    def scale_branches(self, factors: Sequence[float]) -> None:
        """Make each branch's logits so many times as large."""
        self.score.weight.mul_(factors[0])
        if self.ngrams is not None:
            self.ngrams.weight.mul_(factors[1])


def buckets_for(classes: int) -> int:
    """A power of two, fewer for many classes: the layer has about two million weights at most."""
    return 1 << max(10, MOST_WEIGHTS.bit_length() - 1 - max(0, (classes - 1).bit_length()))


def shortened(tokens: Tensor, mask: Tensor | None, room: int) -> tuple[Tensor, Tensor | None]:
    """The first `room` tokens, where a text is cut its own last one in the last place, and the mask of those."""
    if tokens.shape[1] <= room:
        return tokens, mask
    near = tokens[:, :room].clone()
    lengths = torch.full_like(tokens[:, 0], tokens.shape[1]) if mask is None else mask.long().sum(dim=1)
    ends = tokens.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
    near[:, -1] = torch.where(lengths > room, ends, near[:, -1])
    return near, None if mask is None else mask[:, :room]


def pooled(hidden: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """(batch, time, width) -> (batch, width): the last token that is no padding, or the mean of those that are none."""
    if mask is None:
        return hidden[:, -1] if causal else hidden.mean(dim=1)
    if causal:
        last = mask.long().sum(dim=1).clamp(min=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
