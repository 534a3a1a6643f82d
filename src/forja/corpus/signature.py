"""A quick look at what a recipe's sources name, by size and time alone, so that a run can tell in
a moment whether its inputs are still the ones it was built from."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from forja.corpus.clean import storable
from forja.corpus.sources.folder import find_files
from forja.recipe import CorpusSection, Source
from forja.run import cache_folder


def source_signature(section: CorpusSection, base_folder: Path) -> list[dict[str, Any]]:
    """One entry a source: files with size in bytes and modification time, or versions of what is documented."""
    known = [{"source": source.label, **_signature(source, section, base_folder)} for source in section.sources]
    sets = [base_folder / Path(name).expanduser() for name in section.decontamination.sets]
    return [*known, *({"evaluation set": path.name, "files": _files(path)} for path in sets)]


def _signature(source: Source, section: CorpusSection, base_folder: Path) -> dict[str, Any]:
    if source.kind == "local-docs":
        return _local_docs()
    if source.kind == "synth":
        return {}  # the recipe and the seed say it all
    if source.crawl is not None:
        return {"crawl": source.crawl}  # its files never change
    if source.url is not None:
        # A run that names no address, and has nothing to do, answers before these would be imported.
        from forja.corpus.reading import fetched_files
        from forja.corpus.sources.fetching import facts

        files = fetched_files(source, cache_folder(section.cache, base_folder))
        return {"files": [(name, path.stat().st_size, (facts(path) or {}).get("sha256")) for name, path in files]}
    if source.dataset is not None:
        folder = base_folder / Path(source.dataset).expanduser()
        return {"files": _files(folder)} if folder.is_dir() else {"dataset": source.dataset}
    return {"files": _files(base_folder / Path(source.path or "").expanduser())}


def _files(top: Path) -> list[tuple[str, int, int]]:
    files = find_files(top) if top.is_dir() else [top] if top.exists() else []
    known = []
    for path in files:
        name = storable(path.relative_to(top).as_posix())
        try:
            stat = path.stat()
        except OSError:
            known.append((name, -1, 0))
            continue
        known.append((name, stat.st_size, stat.st_mtime_ns))
    return known


def _local_docs() -> dict[str, Any]:
    from forja.corpus.sources.local_docs import MANUALS, SECTIONS, needed_distributions

    manuals = (MANUALS / section for section in SECTIONS)
    return {
        "python": platform.python_version(),
        "packages": {found.metadata["Name"]: found.version for found in needed_distributions()},
        "manuals": {folder.name: folder.stat().st_mtime_ns for folder in manuals if folder.is_dir()},
    }
