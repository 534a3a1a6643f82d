"""The documentation already on the machine: Python's and installed packages' docstrings, package
descriptions and text files, and manual pages.

Of the installed packages those count that Forja itself needs, so that installing something else
beside it changes no corpus. Large packages give a fair sample, or one of them would be most of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from forja.corpus.sources.record import Form, Record

MANUALS = Path("/usr/share/man")
SECTIONS = ("man1", "man2", "man3", "man4", "man5", "man6", "man7", "man8")
FILES_A_PACKAGE = 250
MANUAL_PAGES = 2000
FAMILY_PAGES = 150
SKIPPED = {"test", "tests", "testing", "_vendor", "site-packages", "dist-packages", "idlelib", "lib2to3", "__pycache__"}
TEXTS = {".md", ".rst", ".txt"}


def find_local_docs() -> list[tuple[str, Path, Form]]:
    """(origin, path, form) of every file of documentation, in a fixed order."""
    found = _standard_library()
    for distribution in needed_distributions():
        found += _package(distribution)
    return found + _manuals()


def read_local_docs(max_bytes: int) -> Iterator[Record]:
    """One record a file; those that cannot be read are left out, as nobody named them."""
    for origin, path, form in find_local_docs():
        try:
            if path.stat().st_size > max_bytes:
                continue
            raw = path.read_bytes()
        except OSError:
            continue
        if form != "python" or b'"""' in raw or b"'''" in raw:
            yield Record(origin, raw, form, lang="en")


def _standard_library() -> list[tuple[str, Path, Form]]:
    top = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in sorted(top.rglob("*.py")) if not SKIPPED & set(path.relative_to(top).parts))
    return [(f"python/{path.relative_to(top).as_posix()}", path, "python") for path in files]


def needed_distributions() -> list[metadata.Distribution]:
    """The installed distributions that Forja needs without any extra, sorted by name."""
    known: dict[str, metadata.Distribution] = {}
    waiting = ["forja"]
    while waiting:
        name = waiting.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        key = _plain(name)
        if key in known:
            continue
        known[key] = distribution
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[ ;<>=!~\[(]", requirement, maxsplit=1)[0])
    known.pop("forja", None)
    return [known[key] for key in sorted(known)]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(distribution: metadata.Distribution) -> list[tuple[str, Path, Form]]:
    name = _plain(distribution.metadata["Name"])
    found: list[tuple[str, Path, Form]] = []
    for entry in distribution.files or []:
        if SKIPPED & set(entry.parts) or ".." in entry.parts:
            continue
        form: Form | None = None
        if entry.suffix == ".py":
            form = "python"
        elif entry.name == "METADATA":
            form = "metadata"
        elif entry.suffix in TEXTS and "dist-info" not in entry.parts[0]:
            form = "text"
        if form:
            found.append((f"{name}/{entry.as_posix()}", Path(str(distribution.locate_file(entry))), form))
    return _sample(found, FILES_A_PACKAGE)


def _manuals() -> list[tuple[str, Path, Form]]:
    """Pages of the eight English sections; those of one program, named with its prefix, are a family."""
    families: dict[str, list[tuple[str, Path, Form]]] = {}
    for section in SECTIONS:
        folder = MANUALS / section
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            pages = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        for page in pages:
            family = families.setdefault(re.split(r"[-_.:]", page, maxsplit=1)[0], [])
            family.append((f"man/{section}/{page}", folder / page, "roff"))
    found = [entry for name in sorted(families) for entry in _sample(families[name], FAMILY_PAGES)]
    return _sample(found, MANUAL_PAGES)


def _sample(found: list[tuple[str, Path, Form]], most: int) -> list[tuple[str, Path, Form]]:
    """At most `most`, chosen by a digest of the origin, in the order given."""
    if len(found) <= most:
        return found
    chosen = sorted(found, key=lambda entry: hashlib.blake2b(entry[0].encode(), digest_size=8).digest())[:most]
    return sorted(chosen)
