"""The processes of one training: how many a launcher started, and a few words between them outside of any step.

Rank 0 does the stages of a run; the others wait for it, however long, and train with it.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(days=30)
"""How long the others wait for rank 0 to come as far as training."""


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def local_world_size() -> int:
    """Processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))


class Company:
    """What rank 0 tells the others, in order; nothing where there are no others."""

    def __init__(self) -> None:
        self.alone = world_size() == 1
        self._told = 0
        if not self.alone:
            from torch.distributed.distributed_c10d import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
            self._store = PrefixStore("forja", store)

    def __enter__(self) -> Company:
        return self

    def __exit__(self, *_: object) -> None:
        self.tell({})  # there is nothing more to come

    def tell(self, message: dict[str, Any]) -> None:
        """By rank 0, to all others."""
        if not self.alone:
            self._store.set(str(self._told), json.dumps(message))
            self._told += 1

    def hear(self) -> dict[str, Any]:
        """By the others: the next message, waited for."""
        key = str(self._told)
        self._store.wait([key], PATIENCE)
        self._told += 1
        return dict(json.loads(self._store.get(key)))
