"""Whether what is done to a text grows with its length, or with the length's square."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable
from types import FrameType

TIMES = 16
MOST_GROWTH = TIMES**1.5
"""Sixteen times the text costs sixteen times as much in proportion, 256 times as its square: this is midway."""
TRIES = 10
SHORTEST = 0.002
"""Seconds of the processor below which a measurement says nothing."""


def assert_in_proportion(run: Callable[[int], object], size: int) -> None:
    """Where the work is done in C (regular expressions, parsers), and only time tells.

    Other processes only ever add to a time: the least of several is what is judged, and as many are taken as
    it needs, up to a number at which what grows as the square still does.
    """
    short = long = math.inf
    for _ in range(TRIES):
        short, long = min(short, _seconds(run, size)), min(long, _seconds(run, TIMES * size))
        if long < MOST_GROWTH * max(short, SHORTEST):
            return
    raise AssertionError(f"{TIMES} times the length costs {long / short:,.0f} times as much ({long:.3f} s)")


def _seconds(run: Callable[[int], object], size: int) -> float:
    # A collection looks at everything that other tests left behind.
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        run(size)
        return time.process_time() - start
    finally:
        gc.enable()


def calls(run: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's: the same at every run, on every machine."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count
