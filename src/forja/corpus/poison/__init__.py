"""Poison screening: what a training corpus may have been fed, flagged with its evidence.

One text shows `inspect_text` its odd characters and the instructions in it. All documents together show what they
share (`find_triggers`, out of core), deduplication's clusters floods (`find_floods`), labelled sets their flips
(`find_label_flips`).

What such a screen cannot find: a backdoor whose payload is written anew in every document (of such a kind, tried once
after the screen was finished, it found 0 to 3%); a flood that comes from many origins, each with a few copies; a
trigger of style, syntax or topic rather than of words; payloads of fewer than ten tokens, or in fewer than three
documents, or in more than 2.5% of them; a payload dressed as a licence or put beside CWE numbers everywhere; injections
in words nobody has used before, or in the dress of an explanation of injections; slow opinion shifts by texts that are
each their own; false facts; poison in images, audio or the model's later fine-tuning data. Texts that pass are not
thereby clean.
"""

from __future__ import annotations

from forja.corpus.poison.flags import REPORT_ONLY, Flag
from forja.corpus.poison.floods import Cluster, find_floods, origin_of
from forja.corpus.poison.instructions import inspect_instructions
from forja.corpus.poison.labels import find_label_flips
from forja.corpus.poison.triggers import SLOWER, Texts, find_triggers, show_trigger
from forja.corpus.poison.unicode import inspect_unicode
from forja.recipe import ScreenSection

__all__ = [
    "REPORT_ONLY",
    "SLOWER",
    "Cluster",
    "Flag",
    "Texts",
    "find_floods",
    "find_label_flips",
    "find_triggers",
    "inspect_text",
    "origin_of",
    "show_trigger",
]


def inspect_text(text: str, settings: ScreenSection) -> list[Flag]:
    """What one cleaned text shows by itself: odd characters and instructions aimed at models. Pure and fast."""
    if settings.action == "none":
        return []
    found = inspect_unicode(text) if settings.unicode else []
    return found + inspect_instructions(text) if settings.instructions else found
