"""What a run was made on, in words for the report: processor, memory, accelerator, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from forja import __version__
from forja.training.machine import physical_cores

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "pyarrow", "numpy")
GIB = 1024**3


def machine_description() -> dict[str, str]:
    """Names and values to show, in order. Nothing that tells one machine of a kind from another."""
    described = {
        "Processor": _processor(),
        "Cores": f"{physical_cores()} used, {os.cpu_count() or 1} logical in the machine",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.1f} GiB",
    }
    features = _features()
    if features:
        described["Instructions"] = features
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        described["Accelerator"] = f"{len(names)} × {names[0]}" if len(names) > 1 else names[0]
    described["System"] = f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}"
    described["Python"] = platform.python_version()
    described["Forja"] = __version__
    return described | {name: version for name in LIBRARIES if (version := _version(name))}


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _features() -> str:
    flags = set(_cpuinfo("flags").split())
    named = {"amx_bf16": "AMX bf16", "avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
    return ", ".join(name for flag, name in named.items() if flag in flags)


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
