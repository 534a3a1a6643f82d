"""Which layer a parameter is in: for freezing the lowest, and for rates that fall from layer to layer."""

from __future__ import annotations

from torch import nn

from forja.models.transformer import Transformer


def blocks_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The model's blocks from the lowest up, each with its name: its longest list of modules, or the decoder's of
    Forja's encoder-decoder after its encoder's."""
    transformer = next((module for module in model.modules() if isinstance(module, Transformer)), None)
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if transformer is None:
        lists = sorted(lists, key=lambda named: len(named[1]), reverse=True)[:1]
    return [(f"{name}.{number}", block) for name, members in lists for number, block in enumerate(members)]


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """Of each parameter its layer: 0 for embeddings, 1 to n for the blocks, n + 1 for what comes after."""
    places = [f"{name}." for name, _ in blocks_of(model)]
    numbers = {}
    for name, _ in model.named_parameters():
        inside = [number for number, place in enumerate(places, 1) if name.startswith(place)]
        numbers[name] = inside[0] if inside else 0 if "embed" in name or _gpt2_embedding(name) else len(places) + 1
    return numbers


def _gpt2_embedding(name: str) -> bool:
    return {"wte", "wpe"} & set(name.split(".")) != set()


def freeze_lowest(model: nn.Module, layers: int) -> None:
    """The embeddings and the `layers` lowest blocks train no more; with 0 everything does."""
    numbers = layer_numbers(model)
    for name, parameter in model.named_parameters():
        if layers and numbers[name] <= layers:
            parameter.requires_grad_(False)
