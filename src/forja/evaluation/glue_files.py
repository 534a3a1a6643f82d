"""Where the rows of GLUE and SuperGLUE are: folders in the official layout, `datasets` folders, or a name on the
Hugging Face hub."""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.corpus.rows import Row, read_rows
from forja.errors import ForjaError
from forja.evaluation.glue import Item, Task

FEW_SHOT = ("train32", "dev32")
"""FewGLUE's official training rows, in two files: where there is no other training file, both are one."""
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


HUB_FILE = r"(-\d{5}-of-\d{5})?\.(parquet|jsonl?)"
"""What follows a split's name in the files of the hub's copies, and of a `datasets` folder saved as Parquet or JSON."""


@dataclass(frozen=True)
class Place:
    """Where a task's rows are: in a folder, where `ending` and perhaps .gz follow the stem of an official file, or in
    a data set of the hub's and the configuration in it."""

    folder: Path | None = None
    ending: str = ""
    dataset: str = ""
    config: str = ""

    @property
    def named(self) -> str:
        return str(self.folder) if self.folder else f"{self.dataset}:{self.config}"


@dataclass(frozen=True)
class Lesson:
    """Items of a file or of a part of it. rows: how many the file has; used: those that the items are of; left_out:
    how many of these lack a text or a label."""

    items: list[Item]
    rows: int
    used: int
    left_out: int


def find_places(tasks: Sequence[Task], data: Sequence[Path], ending: str) -> dict[str, Place]:
    """The places of the tasks that are there, by the task's name; of several, the first.

    data: folders of tasks, folders of one task, files in one; or the hub's name of all, or a folder that holds its
    copy. ending: of official files, `.tsv` or `.jsonl`. Raises ForjaError where there is none of the tasks.
    """
    places: dict[str, Place] = {}
    for path in data:
        found = _in_folders(tasks, path, ending) if path.exists() else {}
        places = (found or _in_data_set(tasks, path)) | places
    if not places:
        raise ForjaError(
            f"none of the tasks is there; they are {', '.join(task.name for task in tasks)}.",
            where=", ".join(map(str, data)) or None,
            fix=f"Name a folder that holds a folder a task, with files such as {tasks[0].scored}{ending}.",
        )
    return places


def _in_folders(tasks: Sequence[Task], path: Path, ending: str) -> dict[str, Place]:
    path = path if path.is_dir() else path.parent
    folders = [path, *sorted(inner for inner in path.iterdir() if inner.is_dir())]
    places: dict[str, Place] = {}
    for task in tasks:
        names = {_plain(name) for name in (task.folder or task.name, task.name, task.config)}
        for folder in (folder for folder in folders if _plain(folder.name) in names):
            taught = any(_official(folder, stem, ending) for stem in ("train", *FEW_SHOT))
            if taught or _files(folder, task.scored, task.split, ending):
                places.setdefault(task.name, Place(folder, ending))
    return places


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def _in_data_set(tasks: Sequence[Task], path: Path) -> dict[str, Place]:
    name = path.as_posix()
    if path.exists() and not (path / "README.md").is_file():
        return {}
    if not path.exists() and not HUB_NAME.fullmatch(name):
        raise ForjaError("there is no such folder.", where=name, fix="Check the path.")
    configs = _configurations(name)
    return {task.name: Place(dataset=name, config=task.config) for task in tasks if task.config in configs}


def scored_items(task: Task, place: Place) -> Lesson | None:
    """All items of the file that is scored; None where there is no such file. Raises ForjaError for a damaged one."""
    rows = _rows(task, place, task.scored, task.split)
    return None if rows is None else _items(task, place, rows)


def training_items(task: Task, place: Place, cap: int, seed: int) -> Lesson | None:
    """Items of the task's training rows, about `cap` of them at most; None where there are none. Raises ForjaError."""
    rows = _rows(task, place, "train", "train")
    return None if rows is None else _items(task, place, rows, cap, seed)


def _items(task: Task, place: Place, rows: Iterable[Row], cap: int | None = None, seed: int = 0) -> Lesson:
    """The rows' items; with a cap as many rows, in an order of chance, as it takes to have that many. No more rows
    than that are held."""
    draw, count = random.Random(seed), 0
    kept: list[tuple[float, int, Row]] = []
    for count, row in enumerate(rows, 1):
        heapq.heappush(kept, (draw.random(), count, row))
        if cap is not None and len(kept) > cap:
            heapq.heappop(kept)
    kept.sort(key=lambda one: one[1] if cap is None else one[0])
    items: list[Item] = []
    used = left_out = 0
    for _, _, row in kept:
        if cap is not None and len(items) >= cap:
            break
        try:
            made = task.read(row)
        except ForjaError as error:
            raise ForjaError(error.what, where=f"{place.named}, row {row.number}") from None
        items += made
        used += 1
        left_out += not made
    return Lesson(items, count, used, left_out)


# --- rows -----------------------------------------------------------------------------------


def _rows(task: Task, place: Place, stem: str, split: str) -> Iterator[Row] | None:
    """Rows of a file or of the files that make up a split, numbered through; None where there are none."""
    if place.folder is None:
        return _data_set_rows(place, split)
    files = _files(place.folder, stem, split, place.ending)
    if not files:
        return None
    fields = (row.fields for path in files for row in read_rows(path, columns=task.columns, ragged=True))
    return (Row(number, one) for number, one in enumerate(fields, 1))


def _files(folder: Path, stem: str, split: str, ending: str) -> list[Path]:
    """The official file; else those that the hub's copies have for the split; else the few-shot ones to train on."""
    if official := _official(folder, stem, ending):
        return [official]
    named = [path for path in sorted(folder.iterdir()) if re.fullmatch(re.escape(split) + HUB_FILE, path.name)]
    if named or stem != "train":
        return named
    return [path for few in FEW_SHOT if (path := _official(folder, few, ending))]


def _official(folder: Path, stem: str, ending: str) -> Path | None:
    return next((path for tail in ("", ".gz") if (path := folder / f"{stem}{ending}{tail}").is_file()), None)


def _data_set_rows(place: Place, split: str) -> Iterator[Row] | None:
    library = _datasets()
    try:
        splits: Any = library.load_dataset(place.dataset, place.config, streaming=True)
    except Exception as error:  # the library raises many kinds for a name that leads nowhere
        raise _unopened(place.dataset, error) from None
    if split not in splits:
        return None
    return (Row(number, dict(fields)) for number, fields in enumerate(splits[split], 1))


def _configurations(name: str) -> list[str]:
    library = _datasets()
    try:
        return list(library.get_dataset_config_names(name))
    except Exception as error:  # as above
        raise _unopened(name, error) from None


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise ForjaError(
            "reading Hugging Face data sets needs the library `datasets`.", fix="Install it: pip install 'forja[hub]'."
        ) from None
    return datasets


def _unopened(name: str, error: Exception) -> ForjaError:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return ForjaError(
        f"there is no such folder, and the data set of this name cannot be opened ({said}).",
        where=name,
        fix="Check the path; without a network, name a folder that lies on this machine.",
    )
