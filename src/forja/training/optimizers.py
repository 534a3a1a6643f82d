"""AdamW, and Muon for hidden matrices, as one object whose state is named tensors.

Decay is decoupled and on matrices only (Loshchilov and Hutter 2019). Rates are peaks; the loop sets
each step's factor of them. State goes to safetensors, so a checkpoint holds no pickle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forja.errors import ForjaError

STEP = "step"


@dataclass(frozen=True)
class OptimizerSettings:
    """Peak rates are per step; `clip` belongs to the gradient rule and is not here.

    embedding_rate: of the token embedding, `rate` where None. Each of its rows is used by few of a
    batch's tokens, so that a rate many times that of other matrices is stable and learns sooner.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    rate: float = 5e-4
    embedding_rate: float | None = None
    muon_rate: float = 0.02
    muon_momentum: float = 0.95
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8


@dataclass
class Optimizer:
    """One or two torch optimizers over disjoint named parameters, stepped together."""

    parts: list[torch.optim.Optimizer]
    named: dict[str, nn.Parameter]

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to `factor` times its peak."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = group["peak"] * factor

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def rates(self) -> dict[str, float]:
        """The rate now of each kind of group."""
        return {group["kind"]: float(group["lr"]) for part in self.parts for group in part.param_groups}

    def state_tensors(self) -> dict[str, Tensor]:
        """Every state tensor, as `parameter name/state name`."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.named.items()}
        return {
            f"{names[parameter]}/{key}": value
            for part in self.parts
            for parameter, state in part.state.items()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the state of `state_tensors`. Raises ForjaError when it is another model's or another optimizer's."""
        for part in self.parts:
            part.state.clear()
        owner = {id(p): part for part in self.parts for group in part.param_groups for p in group["params"]}
        for name, value in tensors.items():
            parameter_name, _, key = name.rpartition("/")
            parameter = self.named.get(parameter_name)
            if parameter is None or (value.ndim and value.shape != parameter.shape):
                raise _foreign(name)
            part = owner[id(parameter)]
            if key not in STATES[type(part)]:
                raise _foreign(name)
            place = value.device if key == STEP else parameter.device
            part.state[parameter][key] = value.to(place).clone()


def _foreign(name: str) -> ForjaError:
    return ForjaError(
        f"the checkpoint's optimizer is not this one: it has {name}.",
        where="training",
        fix="Set training.optimizer.kind and the model as they were, or train in another run (--name).",
    )


def build_optimizer(
    model: nn.Module, settings: OptimizerSettings, *, scales: Mapping[str, float] | None = None
) -> Optimizer:
    """AdamW for everything, or Muon for hidden matrices and AdamW for embeddings, norms and biases.

    scales: of each parameter, how many times AdamW's peak rate is its own (1 where it is not named).
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = hidden_matrices(model) if settings.kind == "muon" else set()
    apart = token_embedding(model) if settings.embedding_rate is not None else set()
    matrices = [name for name, p in named.items() if p.ndim >= 2 and name not in hidden | apart]
    vectors = [name for name, p in named.items() if p.ndim < 2]
    embeddings = [name for name in named if name in apart]
    decay, peak = settings.weight_decay, settings.rate
    groups = [
        {"params": [named[name] for name in alike], "weight_decay": kept, "peak": rate * scale, "kind": kind}
        for names, kept, rate, kind in (
            (matrices, decay, peak, "adamw"),
            (vectors, 0.0, peak, "adamw"),
            (embeddings, decay, settings.embedding_rate or 0.0, "embedding"),
        )
        for scale, alike in _by_scale(names, scales or {})
    ]
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.rate,
            betas=settings.betas,
            eps=settings.epsilon,
            fused=True,  # one pass over the memory, on the CPU too
        )
    ]
    if hidden:
        parts.append(
            Muon(
                [named[name] for name in named if name in hidden],
                rate=settings.muon_rate,
                momentum=settings.muon_momentum,
                weight_decay=settings.weight_decay,
            )
        )
    return Optimizer(parts, named)


def _by_scale(names: Iterable[str], scales: Mapping[str, float]) -> list[tuple[float, list[str]]]:
    """The names by the scale of their rate, the smallest first, so that `rates` tells the largest."""
    alike: dict[float, list[str]] = {}
    for name in names:
        alike.setdefault(scales.get(name, 1.0), []).append(name)
    return sorted(alike.items())


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights of linear layers, the output layer aside."""
    output = getattr(model, "unembedding", None)
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight is not output and module.weight.requires_grad
    }


def token_embedding(model: nn.Module) -> set[str]:
    """The name of the token embedding's weight, as a set."""
    embedding = getattr(model, "embedding", None)
    return {"embedding.weight"} if isinstance(embedding, nn.Embedding) else set()


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made nearly orthogonal (Keller Jordan, "Muon", 2024).

    Update and scaling are the author's: Nesterov momentum, five quintic Newton-Schulz steps, and the
    rate times sqrt(max(1, rows / columns)). Matrices of one shape are iterated together, in bf16 where
    `bfloat16` says that its products are quick.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        rate: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        bfloat16: bool = True,
    ) -> None:
        defaults = {"lr": rate, "peak": rate, "momentum": momentum, "weight_decay": weight_decay, "kind": "muon"}
        self.working = torch.bfloat16 if bfloat16 else torch.float32
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for alike in _by_shape(group["params"]):
                self._step_alike(alike, group)

    def _step_alike(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]).to(self.working))
        rows, columns = parameters[0].shape
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, orthogonalised(torch.stack(updates)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.to(parameter.dtype), alpha=-rate)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """(count, rows, columns) -> the same, each with singular values near 1, by Newton-Schulz iteration."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.transpose(1, 2).contiguous() if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)  # a plain product is quicker than one that adds a x
        x = polynomial @ x
    return x.transpose(1, 2) if tall else x


def _by_shape(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    alike: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            alike.setdefault(parameter.shape, []).append(parameter)
    return list(alike.values())


STATES = {torch.optim.AdamW: ("exp_avg", "exp_avg_sq", STEP), Muon: ("momentum",)}
"""What each optimizer keeps of a parameter."""
