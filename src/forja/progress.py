"""Progress that tells the truth: a live line on a terminal, a plain line now and then elsewhere.

Always on standard error, so that standard output stays for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_EVERY = 10.0
"""Seconds between plain lines where there is no terminal."""

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence progress (for --json and --quiet); errors still show."""
    global _quiet
    _quiet = quiet


def say(line: str) -> None:
    """One plain line for the person watching."""
    if not _quiet:
        print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 42s, 3m 20s, 2h 05m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


class Bar(Protocol):
    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """`amount` more is done; `note` is shown beside the bar."""

    def say(self, line: str) -> None:
        """A plain line that stays above the bar."""


@contextmanager
def progress(
    title: str, *, total: float | None = None, unit: str = "items", done: float = 0, show_rate: bool = True
) -> Iterator[Bar]:
    """Follow work of `total` units (unknown if None), of which `done` were done before.

    show_rate: whether a terminal's line has units a second, which it has no room for beside a long note.
    """
    if _quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        with _live(title, total, unit, done, show_rate) as bar:
            yield bar
    else:
        plain = _Plain(title, total, unit, done)
        yield plain
        plain.finish()


class _Silent:
    def advance(self, amount: float = 1, *, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        pass


class _Plain:
    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.began_at = done
        self.note = ""
        self.start = self.last = time.monotonic()

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= PLAIN_EVERY:
            self.last = now
            self._print(now)

    def say(self, line: str) -> None:
        say(line)

    def finish(self) -> None:
        if self.last > self.start:
            self._print(time.monotonic())

    def _print(self, now: float) -> None:
        rate = (self.done - self.began_at) / max(now - self.start, 1e-9)
        parts = [f"  {self.title}: {self.done:,.0f}"]
        if self.total is not None:
            parts[0] += f" of {self.total:,.0f}"
        parts[0] += f" {self.unit}"
        if self.note:
            parts.append(self.note)
        parts.append(f"{rate:,.1f} {self.unit}/s")
        if self.total is not None and rate > 0 and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        print(" · ".join(parts), file=sys.stderr, flush=True)


@contextmanager
def _live(title: str, total: float | None, unit: str, done: float, show_rate: bool) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    start = time.monotonic()

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = (task.completed - done) / max(time.monotonic() - start, 1e-9)
            parts = [f"{rate:,.1f} {unit}/s"] if show_rate else []
            if task.total is not None and rate > 0:
                parts.append(f"{duration((task.total - task.completed) / rate)} left")
            return Text(" · ".join(parts))

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}" + (f"/{total:,.0f}" if total is not None else "")),
        TextColumn("{task.fields[note]}"),
        Pace(table_column=Column(no_wrap=True)),
        console=console,
    )

    class Live:
        def advance(self, amount: float = 1, *, note: str = "") -> None:
            fields = {"note": note} if note else {}
            bar.update(task, advance=amount, **fields)  # type: ignore[arg-type]

        def say(self, line: str) -> None:
            console.print(line, highlight=False, markup=False)

    with bar:
        task = bar.add_task(title, total=total, completed=done, note="")  # type: ignore[arg-type]
        yield Live()
