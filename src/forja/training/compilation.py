"""torch.compile, decided by measurement: it must save more over the run than compiling costs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from forja.progress import say

LIKELY_SECONDS = 10.0
"""What a first compilation takes on a laptop for each block, before it has been measured."""
LIKELY_SAVING = 0.15
"""What compiling has been seen to save of a step where the products run in bf16."""


def compiler_present() -> bool:
    """Whether torch.compile has the C++ compiler that it needs."""
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))


def worth_measuring(steps: int, step_seconds: float, blocks: int) -> bool:
    """Whether a run of `steps` could win back the compilation of so many blocks at all."""
    return compiler_present() and steps * step_seconds * LIKELY_SAVING > LIKELY_SECONDS * blocks


def compile_pays(eager_seconds: float, compiled_seconds: float, compiling_seconds: float, steps: int) -> bool:
    """Whether a run of `steps` saves more than one compilation, which a resumed run pays again."""
    return steps * (eager_seconds - compiled_seconds) > compiling_seconds


def compile_model(model: nn.Module) -> None:
    """Compile in place: names and weights stay as they are."""
    model.compile(dynamic=False)


def try_compiled(measure: Callable[[], tuple[float, float]]) -> tuple[float, float] | None:
    """What measuring a compiled model gives: (first step's, later steps') seconds; None, said aloud, where it fails."""
    try:
        return measure()
    except Exception as error:  # the compiler's many ways of failing all mean the same here
        say(f"  torch.compile does not work here ({type(error).__name__}); training runs without it")
        return None


def uncompiled() -> AbstractContextManager[Any]:
    """Inside, compiled models run as written: a second compilation for validation costs more than it saves."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes seconds
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
