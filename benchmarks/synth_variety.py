"""How varied the made security text is, by kind and over all, and how fast it is made.

    python benchmarks/synth_variety.py --documents 10000

Goals: no skeleton in more than 1% of the documents, fewer than 5% near duplicates by Forja's own deduplication at
its default, and 3,000 documents a second of one core. Speed is by processor time.
"""

from __future__ import annotations

import argparse
import time

from forja.corpus.synth import Variety, measure_variety, read_synth
from forja.recipe import SynthSection

KINDS = ("policy", "phishing", "intrusion", "injection")
LANGUAGES = ("en", "es")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000, help="of each kind and language")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=LANGUAGES)
    options = parser.parse_args()
    print(
        "kind           documents   docs/s  chars   largest  distinct  sentence  distinct-4  compression  "
        "near duplicates"
    )
    for lang in options.languages:
        for kind in options.kinds:
            report(
                f"{kind} {lang}",
                SynthSection(documents=options.documents, kinds=[kind], languages=[lang]),
                options.seed,
            )
    everything = SynthSection(documents=options.documents, kinds=options.kinds, languages=options.languages)
    report("all", everything, options.seed)


def report(name: str, order: SynthSection, seed: int) -> None:
    next(read_synth(order, seed))  # reads the rules
    begin = time.process_time()
    texts = [record.text or "" for record in read_synth(order, seed)]
    rate = len(texts) / (time.process_time() - begin)
    print(line(name, measure_variety(texts), rate, sum(map(len, texts)) / len(texts)), flush=True)


def line(name: str, found: Variety, rate: float, size: float) -> str:
    return (
        f"{name:14} {found.documents:9,} {rate:8,.0f} {size:6,.0f} {found.largest:9.2%} {found.distinct:9.1%} "
        f"{found.sentence:9.2%} {found.distinct_4:11.3f} {found.compression:12.2f} {found.near_duplicates:16.2%}"
    )


if __name__ == "__main__":
    main()
