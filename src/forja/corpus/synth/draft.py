"""A made document before it is a record, and where the rules of the grammar are read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
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


@cache
def words(lang: str) -> dict[str, tuple[str, ...]]:
    """The words that scenes are made of, by name."""
    found: dict[str, str] = {}
    name = ""
    for line in read_rules(f"words.{lang}").splitlines():
        if line.startswith("@"):
            name = line[1:]
            found[name] = ""
        elif not line.startswith("#"):
            found[name] += f"{line} "
    return {name: tuple(word.strip() for word in line.split("|")) for name, line in found.items()}
