"""Reading a recipe: YAML and dotted overrides in, a validated `Recipe` out.

Every mistake becomes one sentence that names the key, the file's line and the nearest right key.
"""

from __future__ import annotations

import difflib
import types
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from forja.errors import RecipeError
from forja.recipe import RECIPE_FORMAT, Recipe

Lines = dict[tuple[str | int, ...], int]


def shipped_recipes() -> dict[str, str]:
    """The recipes in the package: bare name to YAML text, sorted by name."""
    folder = resources.files("forja") / "recipes"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def load_recipe(
    reference: str,
    overrides: Iterable[str] = (),
    *,
    name: str | None = None,
    sources: Iterable[str] = (),
    base: str | None = None,
    data: Iterable[str] = (),
) -> tuple[Recipe, Path]:
    """The recipe that `reference` (a YAML file or a shipped name) and `section.key=value` overrides give.

    sources: files and folders that take the place of the recipe's sources; base: what to start from, and data: files
    of examples, in place of the recipe's.

    Returns the recipe and the folder its relative paths start from. Raises RecipeError.
    """
    text, label, folder = _read(reference)
    given, lines = _parse(text, label)
    from_command_line = set()
    for override in overrides:
        from_command_line.add(_apply(given, override))
    _check_format(given, label, lines)
    if name is not None:
        given["name"] = name
        from_command_line.add(("name",))
    named = _named_sources(sources)
    if named and isinstance(corpus := _descend(given, "corpus", "corpus.sources"), dict):
        corpus["sources"] = named
        from_command_line.add(("corpus", "sources"))
    if base is not None:
        given["base"] = base
        from_command_line.add(("base",))
    files = [_existing(path) for path in data]
    if files and isinstance(examples := _descend(given, "examples", "examples.files"), dict):
        examples["files"] = files
        from_command_line.add(("examples", "files"))
    try:
        return Recipe.model_validate(given), folder
    except ValidationError as error:
        raise _explain(error, given, label, lines, from_command_line) from None


def _named_sources(paths: Iterable[str]) -> list[dict[str, str]]:
    """Each path as a source, named after it; of two that would be called alike the later one is numbered."""
    sources: list[dict[str, str]] = []
    seen: Counter[str] = Counter()
    for path in paths:
        place = Path(path).expanduser().resolve()
        if not place.exists():
            raise RecipeError("there is no such file or folder.", where=f"--source {path}", fix="Check the path.")
        seen[place.name] += 1
        number = f"-{seen[place.name]}" if seen[place.name] > 1 else ""
        sources.append({"path": str(place), "name": f"{place.name}{number}"})
    return sources


def _existing(path: str) -> str:
    place = Path(path).expanduser().resolve()
    if not place.is_file():
        raise RecipeError("there is no such file.", where=f"--data {path}", fix="Check the path.")
    return str(place)


FROM_TEXT = {"corpus", "tokenizer", "tokens", "model", "training", "plan"}
FROM_A_BASE = {"base", "examples", "finetune"}
"""What only runs from raw text use, and what only those from a base do."""


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every default of the sections that it uses written out."""
    unused = FROM_A_BASE if recipe.base is None else FROM_TEXT
    return yaml.safe_dump(
        recipe.model_dump(mode="json", exclude=unused), sort_keys=False, allow_unicode=True, width=100
    )


def _read(reference: str) -> tuple[str, str, Path]:
    path = Path(reference).expanduser()
    looks_like_file = path.suffix in {".yaml", ".yml"} or "/" in reference
    if not looks_like_file:
        shipped = shipped_recipes()
        if reference in shipped:
            return shipped[reference], f"recipe {reference}", Path.cwd()
        near = difflib.get_close_matches(reference, shipped, n=1)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        raise RecipeError(
            f"there is no recipe named {reference!r}.",
            fix=f"{hint}Shipped ones are {', '.join(shipped)}; a file of your own ends in .yaml.",
        )
    try:
        return path.read_text(encoding="utf-8"), str(path), path.resolve().parent
    except FileNotFoundError:
        raise RecipeError("there is no such recipe file.", where=str(path), fix="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe cannot be read ({error}).", where=str(path)) from None


def _parse(text: str, label: str) -> tuple[dict[str, Any], Lines]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{label}, line {mark.line + 1}" if mark else label
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise RecipeError(f"this is not valid YAML: {problem}.", where=where) from None
    if not isinstance(data, dict):
        raise RecipeError("a recipe is a mapping of sections (corpus, tokenizer, ...); this is not.", where=label)
    lines: Lines = {}
    _collect_lines(node, (), lines)
    return data, lines


def _collect_lines(node: yaml.Node | None, path: tuple[str | int, ...], lines: Lines) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            lines[here] = key.start_mark.line + 1
            _collect_lines(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _collect_lines(value, (*path, index), lines)


def _check_format(data: dict[str, Any], label: str, lines: Lines) -> None:
    version = data.get("forja", RECIPE_FORMAT)
    if isinstance(version, int) and version > RECIPE_FORMAT:
        raise RecipeError(
            f"the recipe has format {version}, and this Forja reads up to {RECIPE_FORMAT}.",
            where=_place(label, ("forja",), lines),
            fix="Upgrade Forja, or write the recipe for the older format.",
        )


def _apply(data: dict[str, Any], override: str) -> tuple[str | int, ...]:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is not an override.", fix="Write section.key=value, as training.steps=200.")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        raise RecipeError(f"the value {raw!r} is not valid YAML.", where=f"override {key}") from None
    parts: list[str | int] = [int(part) if part.isdigit() else part for part in key.split(".")]
    target: Any = data
    for part in parts[:-1]:
        target = _descend(target, part, key)
    if isinstance(target, list):
        _descend(target, parts[-1], key)
    elif not isinstance(target, dict):
        raise RecipeError(f"{key!r} leads into a value that has no keys.", where=f"override {key}")
    target[parts[-1]] = value
    return tuple(parts)


def _descend(target: Any, part: str | int, key: str) -> Any:
    if isinstance(target, list):
        if isinstance(part, int) and part < len(target):
            return target[part]
        raise RecipeError(f"the list has {len(target)} entries, numbered from 0.", where=f"override {key}")
    if isinstance(target, dict):
        if target.get(part) is None:
            target[part] = {}
        return target[part]
    raise RecipeError(f"{key!r} leads into a value that has no keys.", where=f"override {key}")


def _place(label: str, path: tuple[str | int, ...], lines: Lines) -> str:
    while path and path not in lines:
        path = path[:-1]
    return f"{label}, line {lines[path]}" if path else label


def _explain(
    error: ValidationError,
    data: dict[str, Any],
    label: str,
    lines: Lines,
    overridden: set[tuple[str | int, ...]],
) -> RecipeError:
    # A union reports one problem a branch; the first is the one whose type was nearest.
    first = error.errors()[0]
    path = _real_path(tuple(first["loc"]), data)
    dotted = ".".join(str(part) for part in path)
    typed = any(path[: len(key)] == key for key in overridden)
    where = "the command line" if typed else _place(label, path, lines)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_beside(path), n=1)
        if near:
            better = ".".join([*(str(part) for part in path[:-1]), near[0]])
            return RecipeError(f"`{dotted}` is not a recipe key.", where=where, fix=f"Did you mean `{better}`?")
        elsewhere = _find_elsewhere(str(path[-1]))
        fix = f"Did you mean `{elsewhere}`?" if elsewhere else f"Keys here: {', '.join(_keys_beside(path))}."
        return RecipeError(f"`{dotted}` is not a recipe key.", where=where, fix=fix)
    if first["type"] == "missing":
        return RecipeError(f"the recipe lacks `{dotted}`.", where=label, fix="Add it.")
    said = "; or ".join(dict.fromkeys(_message(entry) for entry in error.errors() if _same(entry, path, data)))
    value = "" if first["type"] == "value_error" or not path else f" is {first['input']!r}, but"
    subject = f"`{dotted}`" if dotted else "the recipe"
    return RecipeError(f"{subject}{value or ':'} {said}.", where=where)


def _same(entry: Any, path: tuple[str | int, ...], data: dict[str, Any]) -> bool:
    return _real_path(tuple(entry["loc"]), data) == path


def _message(entry: Any) -> str:
    text = str(entry["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _real_path(loc: tuple[str | int, ...], data: Any) -> tuple[str | int, ...]:
    """`loc` without the names that pydantic adds for the branches of a union."""
    path: list[str | int] = []
    model: Any = Recipe
    for part in loc:
        fields = _model_fields(model)
        if isinstance(part, int) or fields is None or part in fields:
            path.append(part)
            model = _step_into(model, part)
        elif model is not None and fields is not None:
            path.append(part)  # an unknown key
            break
    return tuple(path)


def _model_fields(model: Any) -> dict[str, Any] | None:
    if isinstance(model, type) and issubclass(model, BaseModel):
        return dict(model.model_fields)
    return {} if model is None or not _is_list(model) else None


def _is_list(model: Any) -> bool:
    return get_origin(model) in (list, tuple)


def _step_into(model: Any, part: str | int) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel) and isinstance(part, str):
        return _section_in(model.model_fields[part].annotation)
    if _is_list(model):
        return _section_in(get_args(model)[0])
    return None


def _section_in(annotation: Any) -> Any:
    """The section or list inside an annotation, or None for a plain value."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _section_in(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        found = (_section_in(branch) for branch in get_args(annotation))
        return next((branch for branch in found if branch is not None), None)
    if origin in (list, tuple):
        return annotation
    if origin is Literal or not isinstance(annotation, type):
        return None
    return annotation if issubclass(annotation, BaseModel) else None


def _keys_beside(path: tuple[str | int, ...]) -> list[str]:
    model: Any = Recipe
    for part in path[:-1]:
        model = _step_into(model, part)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _find_elsewhere(key: str) -> str | None:
    """A key of this name, or nearly, in another section."""
    known: dict[str, str] = {}
    _collect_keys(Recipe, (), known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    return known[near[0]] if near else None


def _collect_keys(model: type[BaseModel], path: tuple[str, ...], known: dict[str, str]) -> None:
    for name, field in model.model_fields.items():
        known.setdefault(name, ".".join((*path, name)))
        inner = _section_in(field.annotation)
        if isinstance(inner, type):
            _collect_keys(inner, (*path, name), known)
