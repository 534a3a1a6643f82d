"""A model's tensors by name: taken out, compared with another's, and copied."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from forja.errors import ForjaError


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each once though it be used twice.

    Of a model that says its frozen parts lie in its base (`frozen_lie_in_base`), only those that train.
    """
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    elsewhere = bool(getattr(model, "frozen_lie_in_base", False))
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen and (not elsewhere or value.requires_grad):
            tensors[name] = value.detach() if not isinstance(value, nn.Parameter) else value.data
        seen.add(id(value))
    return tensors


def require_same_shapes(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Raises ForjaError when `tensors` belong to another model."""
    wanted = {name: value.shape for name, value in model_tensors(model).items()}
    strange = sorted(wanted.keys() ^ tensors.keys())
    strange += [name for name in wanted.keys() & tensors.keys() if wanted[name] != tensors[name].shape]
    if strange:
        raise ForjaError(
            f"the weights are another model's: {', '.join(strange[:3])} do not fit.",
            where=where,
            fix="Train in another run (--name), or delete the checkpoints to start again.",
        )


def cpu_copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in this machine's memory that later steps do not change."""
    return {name: torch.empty(value.shape, dtype=value.dtype).copy_(value) for name, value in tensors.items()}
