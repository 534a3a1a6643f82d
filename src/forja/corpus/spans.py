"""Pieces of a text that are replaced: which of overlapping ones wins, and replacing until nothing more is found.

What is found, and by what it is replaced, is the finders' business (`privacy.py`, `indicators.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """text[start:end] is of this kind and becomes `replacement`; offsets in characters."""

    start: int
    end: int
    kind: str
    replacement: str


class Replaced(NamedTuple):
    """One replacement made: its kind, and what stood there."""

    kind: str
    original: str


Find = Callable[[str], list[Span]]


def settled(spans: list[Span]) -> list[Span]:
    """Those that stay when each takes its place from the left, the longer first, and overlap with none before."""
    if len(spans) < 2:
        return spans
    spans.sort(key=lambda span: (span.start, -span.end, span.kind))
    kept = [spans[0]]
    for span in spans[1:]:
        if span.start >= kept[-1].end:
            kept.append(span)
    return kept


def rewrite(text: str, find: Find) -> tuple[str, list[Replaced]]:
    """The text with what `find` finds replaced, over and over until it finds no more.

    A replacement changes what stands beside it, so that a second look may find more, or a placeholder may be taken
    for a word. As no finder but that of private keys looks past a line, only the lines that changed
    are looked at again. `find` must replace by something shorter than what it found, or that it finds no more.
    """
    spans = settled(find(text))
    if not spans:
        return text, []
    pieces: list[str] = []
    made: list[Replaced] = []
    done = 0
    for block, start, end in _blocks(text, spans):
        pieces.append(text[done:start])
        lines = _replace(text, block, start, end, made)
        while again := settled(find(lines)):
            lines = _replace(lines, again, 0, len(lines), made)
        pieces.append(lines)
        done = end
    pieces.append(text[done:])
    return "".join(pieces), made


def _blocks(text: str, spans: Sequence[Span]) -> list[tuple[list[Span], int, int]]:
    """Spans by the whole lines they lie in: (spans, start of the first line, end of the last)."""
    blocks: list[tuple[list[Span], int, int]] = []
    for span in spans:
        if blocks and span.start < blocks[-1][2]:
            blocks[-1][0].append(span)
            if span.end <= blocks[-1][2]:
                continue
            start, members = blocks[-1][1], blocks.pop()[0]
        else:
            start, members = text.rfind("\n", 0, span.start) + 1, [span]
        end = text.find("\n", span.end)
        blocks.append((members, start, len(text) if end < 0 else end))
    return blocks


def _replace(text: str, spans: Sequence[Span], start: int, end: int, made: list[Replaced]) -> str:
    """text[start:end] with these spans replaced."""
    pieces: list[str] = []
    done = start
    for span in spans:
        pieces += (text[done : span.start], span.replacement)
        made.append(Replaced(span.kind, text[span.start : span.end]))
        done = span.end
    pieces.append(text[done:end])
    return "".join(pieces)
