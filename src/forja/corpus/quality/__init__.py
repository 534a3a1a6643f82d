"""The published quality rules by their names: Gopher quality and repetition, C4, FineWeb. Whether a document is
kept is decided here; how documents are cleaned otherwise is not."""

from __future__ import annotations

from collections.abc import Sequence

from forja.corpus.quality.c4 import c4_clean
from forja.corpus.quality.verdict import Verdict
from forja.recipe import QualitySection

__all__ = ["Verdict", "c4_clean", "judge", "judge_all"]


LONGEST_JUDGED = 1 << 20
"""Characters: a longer text is judged by its first so many, as the rules are ratios and memory is not endless."""


def judge(text: str, lang: str | None, settings: QualitySection) -> Verdict | None:
    """The first rule that rejects the text, or None; many texts are judged several times faster by judge_all.

    lang: ISO 639-1; None and `und` are judged as English. With c4 on, a text is judged by what c4_clean leaves of
    it; who wants C4's text as well calls c4_clean.
    """
    return judge_all([text], [lang], settings)[0]


def judge_all(texts: Sequence[str], languages: Sequence[str | None], settings: QualitySection) -> list[Verdict | None]:
    """One verdict a text, in order: as `judge` of each. Rules are asked in the order of FineWeb's pipeline: Gopher
    repetition, Gopher quality, C4, FineWeb."""
    from forja.corpus.quality.words import batches

    texts = [text[:LONGEST_JUDGED] for text in texts]
    verdicts: list[Verdict | None] = []
    for first, last in batches(texts):
        verdicts += _judge_batch(texts[first:last], languages[first:last], settings)
    return verdicts


def _judge_batch(
    texts: Sequence[str], languages: Sequence[str | None], settings: QualitySection
) -> list[Verdict | None]:
    from forja.corpus.quality import fineweb, gopher
    from forja.corpus.quality.words import split_words

    verdicts: list[Verdict | None] = [None] * len(texts)
    counted = settings.gopher_quality or settings.gopher_repetition or settings.fineweb
    words = split_words(texts) if counted else None
    if words is not None and settings.gopher_repetition:
        verdicts = gopher.repetition(texts, languages, words)
    if words is not None and settings.gopher_quality:
        verdicts = [one or other for one, other in zip(verdicts, gopher.quality(texts, languages, words), strict=True)]
    if settings.c4:
        verdicts = [verdict or c4_clean(text)[1] for verdict, text in zip(verdicts, texts, strict=True)]
    if words is not None and settings.fineweb:
        counts = words.counts.tolist()
        verdicts = [
            verdict or fineweb.judge_lines(text, None if language in gopher.UNSPACED else count)
            for verdict, text, language, count in zip(verdicts, texts, languages, counts, strict=True)
        ]
    return verdicts
