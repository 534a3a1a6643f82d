"""FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6), with what the paper leaves open
decided as datatrove 0.10 does."""

from __future__ import annotations

from forja.corpus.quality.verdict import Verdict
from forja.corpus.quality.words import sentence_terminals

LEAST_LINES_ENDING_A_SENTENCE = 0.12
MOST_SHORT_LINES = 0.67
SHORT_LINE = 30
MOST_DUPLICATE_CHARACTERS = 0.01
MOST_BREAKS_A_WORD = 0.3


def judge_lines(text: str, words: int | None) -> Verdict | None:
    """words: in the text; None in languages written without blanks, which the last rule does not hold for."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return Verdict("fineweb.lines", 0, 1)
    terminals = sentence_terminals()
    share = sum(line[-1] in terminals for line in lines) / len(lines)
    if share < LEAST_LINES_ENDING_A_SENTENCE:
        return Verdict("fineweb.line_punctuation", share, LEAST_LINES_ENDING_A_SENTENCE)
    share = sum(len(line) <= SHORT_LINE for line in lines) / len(lines)
    if share > MOST_SHORT_LINES:
        return Verdict("fineweb.short_lines", share, MOST_SHORT_LINES)
    different = set(lines)
    breaks = text.count("\n")
    if len(different) < len(lines):
        share = (sum(map(len, lines)) - sum(map(len, different))) / (len(text) - breaks)
        if share > MOST_DUPLICATE_CHARACTERS:
            return Verdict("fineweb.duplicate_characters", share, MOST_DUPLICATE_CHARACTERS)
    if words is not None and breaks > MOST_BREAKS_A_WORD * max(1, words):
        return Verdict("fineweb.breaks_a_word", breaks / max(1, words), MOST_BREAKS_A_WORD)
    return None
