"""Being asked to stop while training: a spot machine's SIGTERM, or Ctrl-C. What is done is saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from forja.errors import Interrupted


class Stops:
    """While entered, the first signal is only noted in `asked`, unless in work that may be abandoned; a second one
    raises Interrupted at once."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._abandonable = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stops:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def abandonable(self, may_be: bool) -> Iterator[None]:
        """Inside, being asked raises Interrupted at once: nothing that lasts has been changed yet."""
        self._abandonable = may_be
        try:
            if may_be and self.asked is not None:
                raise Interrupted(self.asked)
            yield
        finally:
            self._abandonable = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked is not None, number
        if again or self._abandonable:
            raise Interrupted(number)
