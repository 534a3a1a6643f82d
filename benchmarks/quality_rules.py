"""Forja's quality rules against datatrove's filters of the same names over the same real texts: how often they
agree, where they do not, and processor time. datatrove runs in a Python of its own (quality_rules_peer.py)."""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forja.corpus.language import identify
from forja.corpus.quality import c4_clean, judge_all
from forja.corpus.quality.words import split_words
from forja.recipe import QualitySection

SETS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
SAME_RULE = {
    "gopher_short_doc": "words",
    "gopher_long_doc": "words",
    "gopher_below_avg_threshold": "mean_word_length",
    "gopher_above_avg_threshold": "mean_word_length",
    "gopher_too_many_hashes": "hashes",
    "gopher_too_many_ellipsis": "ellipses",
    "gopher_too_many_bullets": "bullet_lines",
    "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "alphabetic_words",
    "gopher_enough_stop_words": "stop_words",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_characters",
    "too_few_sentences": "sentences",
    "lorem_ipsum": "lorem_ipsum",
    "curly_bracket": "curly_bracket",
    "line_punct_ratio": "line_punctuation",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_characters",
    "list_ratio": "breaks_a_word",
    "empty": "lines",
    **{f"top_{size}_gram": f"top_{size}_gram" for size in (2, 3, 4)},
    **{f"duplicated_{size}_n_grams": f"duplicate_{size}_grams" for size in range(5, 11)},
}
"""datatrove's names for the rules, and ours."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with corpora/, phishing/ and logs/")
    parser.add_argument("--peer", required=True, help="a Python with datatrove and spacy")
    parser.add_argument("--documents", type=int, default=3000, help="texts drawn, 0 for all")
    arguments = parser.parse_args()
    texts = sample(arguments.data, arguments.documents)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} texts, {megabytes:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "texts.jsonl"
        with given.open("w") as file:
            for text in texts:
                file.write(json.dumps({"text": text, "words": our_words(text)}) + "\n")
        own = peer(arguments.peer, given, "own")
        ours = peer(arguments.peer, given, "given")
    compare(texts, own, "datatrove with its own words (spaCy)")
    compare(texts, ours, "datatrove given Forja's words")
    speed(texts, own["seconds"], megabytes)


def sample(data: Path, count: int) -> list[str]:
    """Real texts of every kind in the folder, drawn with a fixed seed."""
    texts: list[str] = []
    for path in sorted((data / "corpora").glob("general/*.jsonl.gz")) + sorted(
        (data / "corpora/security").glob("*.jsonl.gz")
    ):
        with gzip.open(path, "rt") as lines:
            rows = [json.loads(line) for line in lines]
        texts += drawn([row["text"] for row in rows if row.get("text")], 1200)
    csv.field_size_limit(2**24)
    for name in ("enron_spam", "nazario_phishing"):
        with gzip.open(data / f"phishing/{name}.csv.gz", "rt") as lines:
            texts += drawn([row["text"] for row in csv.DictReader(lines)], 500)
    for path in sorted((data / "logs/loghub_2k").glob("*/*_2k.log")):
        lines = path.read_text(errors="replace").splitlines()
        texts += ["\n".join(lines[first : first + 50]) for first in range(0, 250, 50)]
    texts = [text for text in texts if text.strip()]
    return drawn(texts, count) if count else texts


def drawn(texts: list[str], count: int) -> list[str]:
    return random.Random(0).sample(texts, min(count, len(texts)))


def our_words(text: str) -> list[str]:
    words = split_words([text])
    return [f"\n{text}"[start:end] for start, end in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]


def peer(python: str, given: Path, words: str) -> dict[str, Any]:
    """{"verdicts": one {set: reason or None} a text, "c4": cleaned texts, "seconds": {set: processor seconds}}."""
    script = Path(__file__).with_name("quality_rules_peer.py")
    done = subprocess.run([python, str(script), str(given), words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the peer failed: does {python} have datatrove and spacy?")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(texts: list[str], answer: dict[str, Any], title: str) -> None:
    print(f"\n{title}\n| rules | same verdict | same rule | rejected by both | differences (datatrove, Forja) |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name in SETS:
        verdicts = judge_all(texts, ["en"] * len(texts), QualitySection(**{name: True}))
        ours = [verdict.rule.split(".")[1] if verdict else None for verdict in verdicts]
        theirs = [SAME_RULE[found[name]] if found[name] else None for found in answer["verdicts"]]
        pairs = list(zip(theirs, ours, strict=True))
        verdict = sum((a is None) == (b is None) for a, b in pairs) / len(pairs)
        rule = sum(a == b for a, b in pairs) / len(pairs)
        both = sum(a is not None and b is not None for a, b in pairs)
        differences = Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(4)
        told = ", ".join(f"{count} x ({a or 'kept'}, {b or 'kept'})" for (a, b), count in differences)
        print(f"| {name} | {verdict:.2%} | {rule:.2%} | {both} | {told} |")
    kept = [(c4_clean(text), theirs) for text, theirs in zip(texts, answer["c4"], strict=True) if theirs is not None]
    same = [ours[0] == theirs for ours, theirs in kept if ours[1] is None]
    print(f"C4's cleaned text is the same in {sum(same)} of {len(same)} texts that both keep.")


def speed(texts: list[str], peer_seconds: dict[str, float], megabytes: float) -> None:
    """Processor time, the best of three for Forja. datatrove's includes its words, which it remembers from one filter
    to the next for a text, as in a pipeline."""
    print("\n| rules | Forja MB/s | datatrove MB/s | ratio |\n| --- | ---: | ---: | ---: |")
    rows: Iterator[tuple[str, dict[str, bool], float]] = (
        (name, dict.fromkeys(names, True), sum(peer_seconds[one] for one in names))
        for name, names in [*((one, [one]) for one in SETS), ("all", list(SETS))]
    )
    for name, switches, theirs in rows:
        section = QualitySection.model_validate(switches)
        ours = min(seconds(lambda section=section: judge_all(texts, ["en"] * len(texts), section)) for _ in range(3))
        print(f"| {name} | {megabytes / ours:.1f} | {megabytes / theirs:.2f} | {theirs / ours:.0f} |")
    language = min(seconds(lambda: [identify(text) for text in texts]) for _ in range(3))
    both = megabytes / (ours + language)
    print(f"Language: {language / len(texts) * 1e6:.0f} us a text; all rules and language: {both:.1f} MB/s")


def seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
