"""A model under its objective, as one module: what a strategy wraps, so that every use of a weight happens in one
forward pass that it sees."""

from __future__ import annotations

from typing import Any

from torch import nn

from forja.training.objectives import Losses, Objective


class Learner(nn.Module):
    """Called with a batch, it gives the batch's losses."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Any) -> Losses:
        return self.objective(self.model, batch)
