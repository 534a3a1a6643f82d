"""The run folder: where things are, how a stage's work becomes final, receipts, the lock, the ledger.

A stage works in `.building/<stage>/` and its results are renamed into place when complete, so what
a run folder shows is never half written, and a killed stage finds its partial work again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forja.errors import ForjaError


def runs_folder() -> Path:
    """Where runs live: the folder FORJA_RUNS names, or ./runs."""
    return Path(os.environ.get("FORJA_RUNS") or "runs").expanduser()


def cache_folder(name: str | None, base_folder: Path) -> Path:
    """Where downloads are kept: the recipe's folder, the one FORJA_CACHE names, or ~/.cache/forja."""
    place = name or os.environ.get("FORJA_CACHE") or "~/.cache/forja"
    return base_folder / Path(place).expanduser()


def find_run(reference: str) -> Path:
    """The folder of an existing run, given as its name or its path. Raises ForjaError."""
    for candidate in (runs_folder() / reference, Path(reference).expanduser()):
        if (candidate / "recipe.yaml").is_file():
            return candidate.resolve()
    raise ForjaError(
        f"there is no run {reference!r} here.",
        fix=f"Runs are looked for in {runs_folder()}/ (FORJA_RUNS moves it); `forja run demo` makes one.",
    )


# --- files that are complete or absent -------------------------------------------------------


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; then it is synced and renamed: readers see the old file or the new
    one, never a part. Where the writing fails nothing is left of it."""
    aside = path.with_name(f".{path.name}.new")
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    with complete_or_absent(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json_atomic(path: Path, value: Any) -> None:
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON, or None where there is no such file. Raises ForjaError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ForjaError(
            "the file is damaged (it is not JSON).", where=str(path), fix="Delete it; its stage will be run again."
        ) from None


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def output_digests(root: Path, names: Iterable[str], *, aside: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """SHA-256 and size in bytes of each file below `root/name`, keyed by path relative to root.

    Hidden files are what a kill left of writes that were never finished: they are no outputs. Nor are files in the
    folders `aside`, which other programs may change later.
    """
    apart = [root / folder for folder in aside]
    files: dict[str, dict[str, Any]] = {}
    for name in names:
        top = root / name
        members = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in members:
            if any(path.is_relative_to(folder) for folder in apart):
                continue
            if path.name != "receipt.json" and not path.name.startswith("."):
                relative = path.relative_to(root).as_posix()
                files[relative] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    return files


# --- the run --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def receipt(self, first_output: str) -> dict[str, Any] | None:
        """The receipt of the stage whose first output is this folder, if its outputs are all there."""
        receipt = read_json(self.folder / first_output / "receipt.json")
        if receipt is None:
            return None
        for relative, known in receipt["outputs"].items():
            path = self.folder / relative
            if not path.is_file() or path.stat().st_size != known["bytes"]:
                return None
        return dict(receipt)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; a second process on the same run is refused with ForjaError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ForjaError(
                    "another process is working on this run.",
                    where=str(self.folder),
                    fix="Wait for it, stop it, or give this run another --name.",
                ) from None
            yield

    # A stage's work in the making ------------------------------------------------------------

    def building(self, stage: str) -> Path:
        return self.folder / ".building" / stage

    def open_building(self, stage: str, fingerprint: str) -> Path:
        """The stage's workshop: earlier partial work of the same plan is kept, any other is cleared."""
        place = self.building(stage)
        plan = place / "plan.json"
        try:
            same = (read_json(plan) or {}).get("fingerprint") == fingerprint
        except ForjaError:
            same = False
        if not same:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            write_json_atomic(plan, {"fingerprint": fingerprint})
        return place

    def finish(self, stage: str, outputs: tuple[str, ...]) -> None:
        """Put the stage's complete outputs in the place of the old ones."""
        write_json_atomic(self.building(stage) / "complete.json", {"outputs": outputs})
        self.recover(stage)

    def recover(self, stage: str) -> None:
        """Finish the moves that a kill interrupted. Does nothing otherwise."""
        place = self.building(stage)
        complete = read_json(place / "complete.json") if place.is_dir() else None
        if complete is None:
            return
        for name in complete["outputs"]:
            fresh, final, old = place / name, self.folder / name, place / f"old-{name}"
            if fresh.exists():
                if final.exists():
                    _remove(old)
                    os.rename(final, old)
                os.rename(fresh, final)
        fsync_folder(self.folder)
        # The marker goes last but for the folder: without it what is left here counts as partial work.
        shutil.rmtree(place)

    # The ledger ------------------------------------------------------------------------------

    def append_ledger(self, event: dict[str, Any]) -> None:
        """Append one event to the hash chain `audit/ledger.jsonl`."""
        path = self.folder / "audit" / "ledger.jsonl"
        path.parent.mkdir(exist_ok=True)
        whole, previous, index = _ledger_tail(path)
        entry = {"index": index, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **event}
        entry["previous"] = previous
        entry["hash"] = digest(entry)
        with open(path, "ab") as file:
            file.truncate(whole)
            file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())


def _ledger_tail(path: Path) -> tuple[int, str, int]:
    """Bytes of whole lines (a kill can cut the last one), the last hash, and the next index."""
    if not path.exists():
        return 0, "0" * 64, 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    previous = json.loads(lines[-1])["hash"] if lines else "0" * 64
    return whole, previous, len(lines)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
