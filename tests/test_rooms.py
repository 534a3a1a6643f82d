"""The house's one rule about imports: data flows one way, and so do they."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import forja

PACKAGE = Path(forja.__file__).parent
ROOMS = ("corpus", "tokens", "models", "training", "evaluation", "serving")
BELOW = ("recipe",)
"""Packages that are no rooms."""
ABOVE = (
    "cli",
    "__main__",
    "pipeline",
    "stage",
    "pretraining",
    "finetuning",
    "lineage",
    "erasure",
    "retraining",
    "data_commands",
    "evaluation_commands",
    "plan_command",
    "tuning_commands",
)


def imported(file: Path) -> Iterator[str]:
    """The first part under `forja` of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "forja" else [f"forja.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("forja."))


def test_every_room_is_known_here() -> None:
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == {*ROOMS, *BELOW}


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_from_a_later_one(room: str) -> None:
    later = {*ROOMS[ROOMS.index(room) + 1 :], *ABOVE}
    for file in (PACKAGE / room).rglob("*.py"):
        assert not later & set(imported(file)), file


def test_what_stands_below_the_rooms_imports_none_of_them() -> None:
    below = [file for file in PACKAGE.glob("*.py") if file.stem not in ABOVE]
    below += [file for package in BELOW for file in (PACKAGE / package).glob("*.py")]
    assert len(below) >= 4
    for file in below:
        assert not {*ROOMS, *ABOVE} & set(imported(file)), file
