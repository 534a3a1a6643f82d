"""Poison screening: what a training corpus may have been fed, flagged with its evidence."""

from __future__ import annotations

from forja.corpus.poison.flags import REPORT_ONLY, Flag
from forja.corpus.poison.instructions import inspect_instructions
from forja.corpus.poison.unicode import inspect_unicode
from forja.recipe import ScreenSection

__all__ = ["REPORT_ONLY", "Flag", "inspect_text"]


def inspect_text(text: str, settings: ScreenSection) -> list[Flag]:
    """What one cleaned text shows by itself: odd characters and instructions aimed at models. Pure and fast."""
    if settings.action == "none":
        return []
    found = inspect_unicode(text) if settings.unicode else []
    return found + inspect_instructions(text) if settings.instructions else found
