"""What commands have in common: their arguments and options, and how they print a result."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file or a shipped recipe's name.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Overrides.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The run's name, in place of the recipe's.")]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="PATH", help="Your own file or folder in place of the sources; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, and no progress.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")]


def show(result: dict[str, Any], as_json: bool, indent: str = "") -> None:
    if as_json:
        print_json(result)
        return
    for key, value in result.items():
        if isinstance(value, dict):
            print(f"{indent}{key}:")
            show(value, False, indent + "  ")
        else:
            print(f"{indent}{key}: {value:,.4f}" if isinstance(value, float) else f"{indent}{key}: {value}")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
