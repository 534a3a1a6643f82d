"""The files of a folder, in a fixed order."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def find_files(top: Path) -> list[Path]:
    """Regular files below a folder, sorted by path; hidden ones and links are left out, and so nothing loops.

    What cannot be looked at is in the list too, for the reader to say so.
    """
    found: list[Path] = []
    closed: list[Path] = []
    for folder, folders, names in os.walk(top, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".") and _is_file(folder, name)]
    return found + closed


def _is_file(folder: str, name: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(os.path.join(folder, name)).st_mode)
    except OSError:
        return True
