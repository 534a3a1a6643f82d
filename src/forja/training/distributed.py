"""Several processes, through Accelerate: copies of the model (DDP), or weights, gradients and optimizer state split
over the processes (FSDP2; DeepSpeed's ZeRO 1 to 3), on GPUs, CPUs or TPUs, on one node or many.

Who starts the processes is a launcher's business: `torchrun` or `accelerate launch`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forja.errors import ForjaError
from forja.training.learner import Learner
from forja.training.optimizers import STEP, Optimizer
from forja.training.precision import DTYPES, Precision
from forja.training.processes import world_size
from forja.training.strategy import Named, OneProcess, Strategy, Tensors, put_whole, scale_and_clip
from forja.training.tensors import cpu_copies, model_tensors

Kind = Literal["auto", "ddp", "fsdp", "zero1", "zero2", "zero3"]
BUCKET = 50_000_000
"""Numbers that ZeRO sends between processes at once."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's states of a parameter."""
SILENCE = timedelta(minutes=10)
"""How long a process waits for another before it gives up."""


def strategy_for(kind: Kind, precision: Precision, *, offload: bool = False) -> Strategy:
    """One process, or what a launcher set up. Raises ForjaError where `kind` cannot be had here."""
    if world_size() == 1 and not _on_tpu():
        if kind in ("auto", "ddp"):
            return OneProcess(precision)
        raise ForjaError(
            f"training.strategy is {kind}, and this is one process alone.",
            fix="Start several, torchrun --nproc-per-node 2 -m forja run ..., or use `strategy: auto`.",
        )
    if kind == "fsdp":
        return Sharded(precision, offload=offload)
    if kind in ("zero1", "zero2", "zero3"):
        return Zero(int(kind[-1]), precision, offload=offload)
    return Tpu(precision) if _on_tpu() else Copies(precision)


def _on_tpu() -> bool:
    return "PJRT_DEVICE" in os.environ and find_spec("torch_xla") is not None


class Copies:
    """DDP: every process has the whole model, and gradients are averaged (Li et al. 2020)."""

    def __init__(self, precision: Precision, **settings: Any) -> None:
        # Imported once a process group is there (by DDP, say), this module would keep hold of it for good.
        import torch.distributed.nn
        from accelerate import Accelerator, InitProcessGroupKwargs

        self.precision: Precision = precision
        settings = {"cpu": not torch.cuda.is_available() and not _on_tpu(), **settings}
        # fp16's loss is scaled by the gradient rule, once for all strategies, so no precision is asked for here.
        self.accelerator = Accelerator(
            mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=SILENCE)], **settings
        )
        self.rank, self.world = self._place()
        self.device: torch.device = self.accelerator.device

    def _place(self) -> tuple[int, int]:
        # Asked of torch, as Accelerate takes DeepSpeed's processes on CPUs each for the only one.
        return torch.distributed.get_rank(), torch.distributed.get_world_size()

    def prepare(self, learner: Learner, optimizer: Optimizer) -> nn.Module:
        prepared: nn.Module = self.accelerator.prepare_model(learner)
        return prepared

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def accumulate(self, called: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(called)

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def finish_gradients(self, called: nn.Module, factor: float, clip: float) -> float:
        # The processes' gradients were averaged where a sum is wanted.
        return scale_and_clip(called, factor * self.world, clip)

    def step(self, optimizer: Optimizer) -> None:
        optimizer.step()

    def reduce_sum(self, value: Tensor) -> Tensor:
        reduced = value.clone()
        torch.distributed.all_reduce(reduced)
        return reduced

    def whole(self, learner: Learner, optimizer: Optimizer) -> tuple[Tensors, Tensors]:
        if self.rank > 0:
            return {}, {}
        return cpu_copies(model_tensors(learner.model)), cpu_copies(optimizer.state_tensors())

    def put(self, learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
        put_whole(learner, optimizer, model, state)

    def wait_for_all(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        # A thread of the group that frees a tensor after the interpreter's end aborts the process.
        # They end with the group, and that with the last model which holds it.
        self.accelerator.free_memory()
        self.accelerator.end_training()
        gc.collect()


class Tpu(Copies):
    """Copies on TPU cores, by torch_xla: gradients are summed by hand, and each step's graph is run at its end."""

    def _place(self) -> tuple[int, int]:
        return self.accelerator.process_index, self.accelerator.num_processes

    def reduce_sum(self, value: Tensor) -> Tensor:
        reduced: Tensor = self.accelerator.reduce(value, reduction="sum")
        return reduced

    def finish_gradients(self, called: nn.Module, factor: float, clip: float) -> float:
        import torch_xla.core.xla_model as xm

        gradients = [p.grad for p in called.parameters() if p.grad is not None]
        xm.all_reduce("sum", gradients)
        return scale_and_clip(called, factor, clip)

    def step(self, optimizer: Optimizer) -> None:
        import torch_xla.core.xla_model as xm

        optimizer.step()
        xm.mark_step()


class Sharded(Copies):
    """FSDP2: each block's weights are gathered when it runs; a process keeps its part of weights, gradients and
    optimizer state (Zhao et al. 2023; Rajbhandari et al. 2020, stage 3)."""

    def __init__(self, precision: Precision, *, offload: bool = False) -> None:
        from accelerate import FullyShardedDataParallelPlugin

        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward=True,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["Block"],
            cpu_ram_efficient_loading=False,
            cpu_offload=offload,
        )
        super().__init__(precision, fsdp_plugin=plugin)

    def prepare(self, learner: Learner, optimizer: Optimizer) -> nn.Module:
        prepared, *_ = self.accelerator.prepare(learner, *optimizer.parts)
        optimizer.named = {name: p for name, p in learner.model.named_parameters() if p.requires_grad}
        return prepared  # type: ignore[no-any-return]

    def accumulate(self, called: nn.Module, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()  # whole gradients, kept until the last micro-batch, would not fit

    def whole(self, learner: Learner, optimizer: Optimizer) -> tuple[Tensors, Tensors]:
        model, state = model_tensors(learner.model), optimizer.state_tensors()
        return self._gathered(model), self._gathered(state)

    def _gathered(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """One whole tensor at a time, so that only rank 0 ever holds all."""
        found: Tensors = {}
        for name, value in tensors.items():
            full = value.full_tensor() if hasattr(value, "full_tensor") else value
            if self.rank == 0:
                found.update(cpu_copies({name: full}))
        return found

    def put(self, learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
        with torch.no_grad():
            for name, value in model_tensors(learner.model).items():
                value.copy_(self._split_as(value, model[name]))
        split: Tensors = {}
        for name, value in state.items():
            parameter = optimizer.named.get(name.rpartition("/")[0])
            split[name] = value if parameter is None or value.ndim == 0 else self._split_as(parameter, value)
        optimizer.load_state_tensors(split)

    def _split_as(self, like: Tensor, value: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return value.to(like.device)
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


class Zero(Copies):
    """DeepSpeed's ZeRO: the optimizer state is split over the processes (stage 1), gradients too (2), weights too (3)
    (Rajbhandari et al. 2020, section 5)."""

    def __init__(self, stage: int, precision: Precision, *, offload: bool = False) -> None:
        if find_spec("deepspeed") is None:
            raise ForjaError(
                f"training.strategy is zero{stage}, and DeepSpeed is not installed.",
                fix="pip install 'forja[deepspeed]', or use `strategy: fsdp`.",
            )
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        from accelerate import DeepSpeedPlugin

        place = {"device": "cpu"} if offload else {}
        zero: dict[str, Any] = {
            "stage": stage,
            # DeepSpeed takes its buckets whole, however small the model: its own are of 2 GB.
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
        }
        if offload:
            zero["offload_optimizer"] = place
            if stage == 3:
                zero["offload_param"] = place
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": 0.0,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        }
        if precision != "fp32":
            config["torch_autocast"] = {"enabled": True, "dtype": str(DTYPES[precision]).removeprefix("torch.")}
        self.stage = stage
        super().__init__(precision, cpu=False, deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config))

    def prepare(self, learner: Learner, optimizer: Optimizer) -> nn.Module:
        (part,) = optimizer.parts
        self.engine, _ = self.accelerator.prepare(learner, part)
        self.steps = self._make_states(part)
        return self.engine  # type: ignore[no-any-return]

    def accumulate(self, called: nn.Module, last: bool) -> AbstractContextManager[Any]:
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.optimizer.override_loss_scale(1.0)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss, scale_wrt_gas=False)

    def finish_gradients(self, called: nn.Module, factor: float, clip: float) -> float:
        zero = self.engine.optimizer
        factor *= self.world
        norm = float(self._norm()) * factor
        # The engine divides by its loss scale when it steps: the one number that we can give it.
        if clip and norm > clip:
            factor *= clip / (norm + 1e-6)
        zero.override_loss_scale(1 / factor if factor else 1.0)
        return norm

    def _norm(self) -> Any:
        from deepspeed.runtime.zero import stage3

        zero = self.engine.optimizer
        return zero.scaled_global_norm() if self.stage < 3 else stage3.combine_grad_norm_groups(zero._get_norm_groups())

    def step(self, optimizer: Optimizer) -> None:
        self.engine.step()

    def whole(self, learner: Learner, optimizer: Optimizer) -> tuple[Tensors, Tensors]:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        model, found = Tensors(), Tensors()
        for name, parameter in learner.model.named_parameters():
            whole = {name: safe_get_full_fp32_param(parameter)}
            for key in MOMENTS if name in optimizer.named else ():
                whole[f"{name}/{key}"] = safe_get_full_optimizer_state(parameter, key)
            if self.rank == 0:
                kept = cpu_copies(whole)
                model[name] = kept.pop(name)
                found.update(kept)
                if name in optimizer.named:
                    found.update(cpu_copies({f"{name}/{STEP}": self.steps[0]}))
        return model, found

    def put(self, learner: Learner, optimizer: Optimizer, model: Named, state: Named) -> None:
        from deepspeed import zero as partitions
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for name, parameter in learner.model.named_parameters():
            with partitions.GatheredParameters([parameter], modifier_rank=0, enabled=self.stage == 3), torch.no_grad():
                parameter.copy_(model[name])
            safe_set_full_fp32_param(parameter, model[name].to(self.device))
        for name, parameter in optimizer.named.items():
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, state[f"{name}/{key}"].to(self.device), key)
            for step in self.steps:
                step.copy_(state[f"{name}/{STEP}"])

    def _make_states(self, part: torch.optim.Optimizer) -> list[Tensor]:
        """Make AdamW's states now: DeepSpeed 0.19 would link only the first group's to the weights they belong to, as
        each group's are made in turn at the first step. Returns the steps."""
        zero, steps = self.engine.optimizer, []
        flats = zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups
        for flat in flats:
            step = torch.zeros((), device=flat.device)
            part.state[flat] = {STEP: step, **{key: torch.zeros_like(flat) for key in MOMENTS}}
            steps.append(step)
        if self.stage < 3:
            zero._lazy_init_hp_params_optimizer_state()
        return steps
