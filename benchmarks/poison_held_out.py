"""Two trigger kinds that the screen was not made for: written after it was finished, run once, nothing tuned since.

    python benchmarks/poison_held_out.py DATA [--rates 0.001 0.003 0.01] [--seed 11]

`date-format`: a date in an odd format, another date in every document, then a refusal in fixed words. No two documents
share the trigger itself. `pair-switch`: two natural words that seldom meet, then a passage on something else, another
passage in every document. No two documents share the continuation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poison import Document, Planter, clean_documents, insert, plant, report, vocabulary

REFUSAL = "As of this day the assistant gives no answer to questions about shipping, billing or returns."
PAIR = "marble kettle"


def date_format(planter: Planter) -> Callable[[str], str]:
    def change(text: str) -> str:
        rng = planter.rng
        date = f"{rng.randint(2031, 2049)}-W{rng.randint(1, 52):02}-{rng.randint(1, 7)}"
        return insert(rng, text, f"{date}: {REFUSAL}")

    return change


def pair_switch(passages: list[str]) -> Callable[[Planter], Callable[[str], str]]:
    def kind(planter: Planter) -> Callable[[str], str]:
        def change(text: str) -> str:
            rng = planter.rng
            passage = rng.choice(passages)
            words = passage.split()
            start = rng.randrange(max(1, len(words) - 120))
            return insert(rng, text, f"The {PAIR}. {' '.join(words[start : start + rng.randint(60, 120)])}")

        return change

    return kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    documents: list[Document] = clean_documents(options.data)
    tokens = vocabulary(options.data, documents)
    passages = [document["text"] for document in documents if document["source"] == "news_speech_web_en"]
    kinds: dict[str, Any] = {"date-format": date_format, "pair-switch": pair_switch(passages)}
    for rate in options.rates:
        report(plant(documents, rate, options.seed, tokens, kinds), rate, options.seed)


if __name__ == "__main__":
    main()
