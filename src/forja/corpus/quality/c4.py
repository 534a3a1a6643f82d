"""The rules of C4 (Raffel et al. 2020, arXiv:1910.10683, section 2.2). C4 does not only reject pages, it drops
lines: what it judges is what is left. As in datatrove, the page-wide list of bad words is no part of the set: it
removes much of what security text is about, and dialects more than others (Dodge et al. 2021, section 5.3)."""

from __future__ import annotations

import re
from itertools import islice

from forja.corpus.quality.verdict import Verdict
from forja.corpus.quality.words import ABBREVIATIONS

LEAST_SENTENCES = 5
LEAST_WORDS_A_LINE = 3
LONGEST_WORD = 1000
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
# A mark, closing marks, blanks, and a word. A full stop counts after lower case, a digit, a mark, a blank or two
# capitals, not after a title or a single letter. Repeats are bounded and never retried: no line costs its square.
SENTENCE_END = re.compile(
    r"[.!?。](?:(?:(?<!\.)|(?:(?<=[^\W_A-Z]\.)|(?<=[\s)\]\"'”’%>`*]\.)|(?<=[A-Z]{2}\.))(?!\.)(?<!\b[a-z]\.)"
    + "".join(rf"(?<!\b{re.escape(title)}\.)" for title in ABBREVIATIONS)
    + r")(?:[^\w\s$€£+<=>^`|~]{0,20}+\s{1,20}+){1,9}+[^\w\s$€£+<=>^`|~]{0,20}(?=[\w$€£+<=>^`|~])"
    r"|(?<=[a-z]\.)(?=[A-Z]))"
)


def c4_clean(text: str) -> tuple[str, Verdict | None]:
    """The text with the lines that C4 drops left out, and why the page is rejected if it is (the text is then
    of no use). Dropped: lines that end in no terminal mark or in an ellipsis, of fewer than three words, with a word
    of over 1,000 characters, with "javascript", or with a phrase of a cookie or privacy policy; of other
    lines, Wikipedia's citation marks. Rejected: pages with "lorem ipsum" or `{` in a line not yet dropped, and
    of fewer than five sentences.
    """
    lowered = text.lower()
    lorem = "lorem ipsum" in lowered
    drops = [phrase for phrase in ("javascript", *POLICY) if phrase in lowered]
    kept = []
    sentences = 0
    for line in text.splitlines():
        line = line.strip()
        if len(line) > LONGEST_WORD and any(len(word) > LONGEST_WORD for word in line.split()):
            continue
        short = len(line.split(None, LEAST_WORDS_A_LINE - 1)) < LEAST_WORDS_A_LINE
        if "[" in line:
            line = CITATION.sub("", line)
        if short or not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
            continue
        if lorem and "lorem ipsum" in line.lower():
            return "", Verdict("c4.lorem_ipsum", 1, 0)
        if drops and "javascript" in (small := line.lower()):
            continue
        if "{" in line:
            return "", Verdict("c4.curly_bracket", line.count("{"), 0)
        if drops and any(phrase in small for phrase in drops):
            continue
        if sentences < LEAST_SENTENCES:
            # Enough is enough: a long line's other sentences are not looked for.
            sentences += 1 + sum(1 for _ in islice(SENTENCE_END.finditer(line), LEAST_SENTENCES))
        kept.append(line)
    if sentences < LEAST_SENTENCES:
        return "", Verdict("c4.sentences", sentences, LEAST_SENTENCES)
    return "\n".join(kept).strip(), None
