"""What this machine offers a training process: cores, memory, and an allocator kept from giving memory back."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
GIB = 1024**3


def physical_cores() -> int:
    """Cores that this process may use, a hyper-thread pair counted once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False) or 1
    cores = min(allowed, _cgroup_cores())
    return max(1, min(cores, physical, cores * physical // logical if cores == logical else cores))


def _cgroup_cores() -> int:
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return sys.maxsize if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return sys.maxsize


def available_memory() -> int:
    """Bytes that this process may still take: the machine's, or what its control groups allow if that is less."""
    free = int(psutil.virtual_memory().available)
    for folder in _own_cgroups():
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is None:  # the first version of control groups
            limit, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            free = min(free, max(0, limit - used + _reclaimable(folder)))
    return free


def _own_cgroups() -> list[Path]:
    """The folders of this process's control group and those above it, whose limits all hold."""
    found = [CGROUP, CGROUP / "memory"]
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        top = CGROUP if not controllers else CGROUP / "memory"
        if not controllers or "memory" in controllers.split(","):
            own = top / path.lstrip("/")
            found += [folder for folder in (own, *own.parents) if top in folder.parents]
    return found


def _number(path: Path) -> int | None:
    """What the file says; None where there is none, or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path) -> int:
    """Bytes of files' contents that the kernel would give up before it kills."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "total_inactive_file ")))


def peak_memory() -> int:
    """The most bytes that this process has held: on the GPU where there is one, else in memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def keep_memory(reserve: int | None = None) -> bool:
    """Keep freed buffers in the process, on huge pages; whether that could be arranged (glibc only).

    A training step frees and takes the same large buffers again. glibc gives each back to the kernel,
    which then zeroes fresh pages one by one: a tenth of a step and more. Here the heap keeps what it
    has, and `reserve` bytes of it (address space, not memory) are advised to be huge pages.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6", use_errno=True)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    never = -1
    if not (mallopt(mmap_max, 0) and mallopt(trim_threshold, never) and mallopt(top_pad, 64 * 1024 * 1024)):
        return False
    _advise_huge_pages(libc, reserve if reserve is not None else min(available_memory() // 2, 16 * GIB))
    return True


def _advise_huge_pages(libc: ctypes.CDLL, reserve: int) -> None:
    """Grow the heap by `reserve` bytes untouched, advise that stretch, and free it into the heap."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(reserve)
    if not block:
        return
    huge, advice = 2 * 1024 * 1024, 14  # MADV_HUGEPAGE
    start = (block + huge - 1) // huge * huge
    libc.madvise(start, (block + reserve - start) // huge * huge, advice)
    libc.free(block)  # nothing is trimmed any more, so the advised stretch stays the heap's
