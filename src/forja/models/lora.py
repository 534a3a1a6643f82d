"""Low-rank adaptation of any model here, through PEFT: put in beside the frozen matrices, and merged into them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from forja.models.layers import blocks_of

ADDED = "lora_"
"""In the name of every parameter that LoRA adds."""


def add_lora(model: nn.Module, *, rank: int, alpha: int, dropout: float, seed: int) -> None:
    """Put low-rank products beside every linear layer of the model's blocks, in place (Hu et al. 2022, section 4.1).

    Nothing but what is added, and layers outside of the base that are new, trains afterwards; the products begin at
    zero, so that the model computes what it did.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = linear_layers(model)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    fresh = new_layers(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(ADDED in name or name.split(".")[0] in fresh or _inner(name) in fresh)


def linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers inside the model's blocks."""
    from transformers.pytorch_utils import Conv1D

    found = []
    for place, block in blocks_of(model):
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear | Conv1D) or type(module).__name__ == "Linear4bit":
                found.append(f"{place}.{name}")
    return found


def new_layers(model: nn.Module) -> set[str]:
    """Names of the top modules that the base does not have: the classification layer, and what pools for it."""
    tops = {"score", "ngrams", "classifier", "pre_classifier"}
    named = {name.split(".")[0] for name, _ in model.named_parameters()}
    inner = {_inner(name) for name, _ in model.named_parameters()}
    return tops & (named | inner)


def _inner(name: str) -> str:
    """The second part of a name in a foreign model, whose first is the wrapper's."""
    return name.split(".")[1] if name.startswith("inner.") else ""


def merge_lora(model: nn.Module) -> None:
    """Add each low-rank product to its matrix, and put the plain layer back in its place."""
    from peft.tuners.lora import LoraLayer

    adapted: list[tuple[str, Any]] = [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]
    for name, module in adapted:
        module.merge()
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, module.get_base_layer())
