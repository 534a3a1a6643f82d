"""A made document before it is a record, and where the rules of the grammar are read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

Label = Literal["attack", "benign"]


@dataclass(frozen=True, slots=True)
class Draft:
    """text: as it will be read. label: whether an attack is in it. order: what a writer other than the grammar
    is asked for. meta: what is known of it (technique and weakness ids, register, topic)."""

    text: str
    label: Label
    order: str
    meta: dict[str, Any] = field(default_factory=dict)


def read_rules(name: str) -> str:
    """The text of a rule file of this package."""
    return resources.files("forja.corpus.synth").joinpath("rules", f"{name}.txt").read_text(encoding="utf-8")
