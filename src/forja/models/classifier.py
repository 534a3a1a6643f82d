"""Forja's transformer under a classification layer, and its Hugging Face folder out and in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forja.models.transformer import Transformer, TransformerConfig


class TransformerClassifier(nn.Module):
    """tokens and mask (batch, time), padding on the right -> logits (batch, classes).

    A decoder's text is summed up in its last token (Radford et al. 2018, section 3.2), which alone has seen all the
    others; an encoder's in the mean of all.
    """

    def __init__(self, transformer: Transformer, classes: int, *, seed: int = 0) -> None:
        super().__init__()
        self.transformer = transformer
        self.score = nn.Linear(transformer.config.width, classes, bias=False)
        with torch.no_grad():
            self.score.weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(seed))

    @property
    def config(self) -> TransformerConfig:
        return self.transformer.config

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None) -> Tensor:
        alone = self.config.architecture == "encoder"
        hidden = self.transformer(tokens, mask=mask if alone else None)  # (batch, time, width)
        return self.score(pooled(hidden, mask, causal=not alone))  # type: ignore[no-any-return]


def pooled(hidden: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """(batch, time, width) -> (batch, width): the last token that is no padding, or the mean of those that are none."""
    if mask is None:
        return hidden[:, -1] if causal else hidden.mean(dim=1)
    if causal:
        last = mask.long().sum(dim=1).clamp(min=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
