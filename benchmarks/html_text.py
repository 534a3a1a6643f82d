"""Main text of web pages: Forja's against trafilatura's and resiliparse's, by words found and by time.

    python benchmarks/html_text.py ../shared/data

Truth: the 52 pages of Mozilla's Readability with the main content that its authors expect of each. Words are runs of
letters and digits in lower case; precision and recall are of a page's words as a multiset, F1 is their harmonic
mean, averaged over pages; pooled figures are of all pages' words together. Pages are split by the hash of their name:
Forja's rule was tuned on the first half, and on half of trafilatura's own evaluation set, alone. Time is CPU time of
one thread, the best of several rounds in which all take turns. On pages of other sites and languages, without a
truth, the agreement with trafilatura is told.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

WORD = re.compile(r"\w+")
JUDGE = "trafilatura, favor_recall"
"""The peer whose time is the measure, as its F1 is the best of the peers' settings."""
Extract = Callable[[str], str | None]


@dataclass
class Score:
    """found: words of the text that are expected; given, expected: words of each. f1: one for each page."""

    found: int = 0
    given: int = 0
    expected: int = 0
    f1: list[float] = field(default_factory=list)

    def add(self, text: Counter[str], truth: Counter[str]) -> None:
        found, given, expected = (text & truth).total(), text.total(), truth.total()
        self.found += found
        self.given += given
        self.expected += expected
        self.f1.append(2 * found / (given + expected) if given + expected else 1.0)

    @property
    def mean(self) -> float:
        return sum(self.f1) / len(self.f1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds corpora/raw/html")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = options.data / "corpora" / "raw" / "html"
    pages = readability_pages(folder / "readability_pages.zip")
    others = trafilatura_pages(folder / "trafilatura_pages.zip")
    extractors = contenders()
    texts = [page for _, page, _ in pages]
    seconds = timed(extractors, texts, options.rounds)
    size = sum(len(page.encode()) for page in texts) / 1e6
    print(f"{len(pages)} pages, {size:.1f} MB\n")
    print("| | F1 | tuned on | held out | precision | recall | F1, pooled | MB/s | times trafilatura's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, extract in extractors.items():
        whole, halves = Score(), (Score(), Score())
        for page_name, page, truth in pages:
            text = words(extract(page) or "")
            whole.add(text, truth)
            halves[half(page_name)].add(text, truth)
        figures = (whole.found / whole.given, whole.found / whole.expected)
        pooled = 2 * whole.found / (whole.given + whole.expected)
        quality = [whole.mean, halves[0].mean, halves[1].mean, *figures, pooled]
        speed = f"{size / seconds[name]:.0f} | {seconds[JUDGE] / seconds[name]:.1f}"
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in quality)} | {speed} |")
    print(f"\nagreement with trafilatura on {len(others)} other pages (mean F1 of one's words against the other's):")
    reference = [words(extractors["trafilatura"](page) or "") for page in others]
    for name, extract in extractors.items():
        agreement = Score()
        for page, truth in zip(others, reference, strict=True):
            agreement.add(words(extract(page) or ""), truth)
        print(f"  {name}: {agreement.mean:.3f}")


def contenders() -> dict[str, Extract]:
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    from forja.corpus.html import html_to_text

    return {
        "Forja": html_to_text,
        "trafilatura": trafilatura.extract,
        JUDGE: lambda page: trafilatura.extract(page, favor_recall=True),
        "resiliparse, main_content": lambda page: extract_plain_text(page, main_content=True, alt_texts=False),
    }


def timed(extractors: dict[str, Extract], pages: list[str], rounds: int) -> dict[str, float]:
    """CPU seconds for all pages, the best of the rounds; the first, in which libraries warm up, is left out."""
    best = dict.fromkeys(extractors, float("inf"))
    for number in range(rounds + 1):
        for name, extract in extractors.items():
            start = time.process_time()
            for page in pages:
                extract(page)
            if number:
                best[name] = min(best[name], time.process_time() - start)
    return best


def half(name: str) -> int:
    return hashlib.sha256(name.encode()).digest()[0] % 2


def words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))


def readability_pages(path: Path) -> list[tuple[str, str, Counter[str]]]:
    """(name, page, words expected) for each."""
    import lxml.html

    pages = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(entry.rpartition("/")[0] for entry in archive.namelist() if entry.endswith("/source.html")):
            expected = lxml.html.fromstring(archive.read(f"{name}/expected.html").decode() or "<p></p>")
            page = archive.read(f"{name}/source.html").decode("utf-8", "replace")
            pages.append((name, page, words(" ".join(expected.itertext()))))
    return pages


def trafilatura_pages(path: Path) -> list[str]:
    from forja.corpus.clean import decode

    with zipfile.ZipFile(path) as archive:
        pages = [decode(archive.read(entry)) for entry in sorted(archive.namelist()) if entry.endswith(".html")]
    return [page for page in pages if page]


if __name__ == "__main__":
    main()
