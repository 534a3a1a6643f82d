"""A corpus with planted exact and near duplicates, and the truth about them.

Documents are real sentences in a new order, so that any size can be made of a few megabytes. A near
duplicate has a run of its words replaced; the true Jaccard similarity of each planted pair is computed here, by
sets of 5-word tuples, and spreads evenly over the range asked for. Decoys are pairs below the threshold.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def real_sentences(data: Path) -> list[str]:
    """Sentences of 40 to 400 characters of the general and security text below a data folder."""
    found = set()
    for name in (
        "general/books_en",
        "general/news_speech_web_en",
        "general/wiki_c4_en",
        "security/owasp_docs",
        "security/attack_capec_cwe_text",
        "security/cve_text",
    ):
        with gzip.open(data / "corpora" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                found.update(part for part in SENTENCE.split(json.loads(line)["text"]) if 40 <= len(part) <= 400)
    return sorted(found)


def similarity(one: list[str], two: list[str]) -> float:
    sets = [{tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))} for words in (one, two)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def documents(sentences: list[str], megabytes: float, seed: int = 1) -> Iterator[dict[str, object]]:
    """{id, text, of?, jaccard?, plant?}: originals, and of a hundred two exact copies, four near ones, two decoys."""
    draw = random.Random(seed)
    size = number = 0
    while size < megabytes * 1e6:
        count = draw.choice((6, 10, 16, 25, 40, 60))
        text = "\n".join(
            " ".join(draw.choice(sentences) for _ in range(min(5, count - start))) for start in range(0, count, 5)
        )
        rows = [{"id": f"d{number}", "text": text}]
        kind = number % 100
        if kind < 2:
            rows.append({"id": f"d{number}-exact", "text": text, "of": f"d{number}", "jaccard": 1.0, "plant": "exact"})
        elif kind < 8:
            wanted = draw.uniform(0.8, 1.0) if kind < 6 else draw.uniform(0.4, 0.7)
            copy = changed(text, wanted, draw)
            alike = similarity(WORD.findall(text.lower()), WORD.findall(copy.lower()))
            plant = "near" if kind < 6 else "decoy"
            rows.append(
                {"id": f"d{number}-{plant}", "text": copy, "of": f"d{number}", "jaccard": alike, "plant": plant}
            )
        for row in rows:
            size += len(row["text"].encode())
            yield row
        number += 1


def changed(text: str, wanted: float, draw: random.Random) -> str:
    """The text with words replaced in one run, so that about this Jaccard similarity is left."""
    words = text.split(" ")
    shingles = max(1, len(WORD.findall(text)) - 4)
    run = max(1, round(shingles * (1 - wanted) / (1 + wanted)) - 4)
    start = draw.randrange(max(1, len(words) - run))
    words[start : start + run] = [f"z{draw.randrange(10**6)}" for _ in range(run)]
    return " ".join(words)


def write(folder: Path, data: Path, megabytes: float, *, files: int = 4, seed: int = 1) -> list[dict[str, object]]:
    """JSON Lines files of about this size in all; returns the planted rows without their text."""
    sentences = real_sentences(data)
    folder.mkdir(parents=True, exist_ok=True)
    truth = []
    with ExitStack() as opened:
        outputs = [opened.enter_context(open(folder / f"{number:02d}.jsonl", "w")) for number in range(files)]
        for number, row in enumerate(documents(sentences, megabytes, seed)):
            outputs[number % files].write(json.dumps({"id": row["id"], "text": row["text"]}) + "\n")
            if "plant" in row:
                truth.append({key: value for key, value in row.items() if key != "text"})
    return truth


PAGE = """<!DOCTYPE html><html lang="en"><head><title>{title}</title><meta charset="utf-8">
<style>body {{ margin: 0 }} .nav {{ float: left }}</style><script>window.dataLayer = [];</script></head><body>
<nav class="nav"><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>
<li><a href="/about">About us</a></li>
<li><a href="/contact">Contact</a></li></ul></nav>
<header><div class="logo"><a href="/">Example Site</a></div></header>
<div class="sidebar"><h3>Related</h3><ul>
<li><a href="/1">Another story</a></li><li><a href="/2">One more</a></li></ul></div>
<main><article><h1>{title}</h1>{body}</article></main>
<div class="cookie">We use cookies. <button>Accept</button></div>
<footer><p>Copyright Example.
<a href="/privacy">Privacy policy</a> <a href="/terms">Terms</a></p></footer></body></html>"""


def write_web(folder: Path, data: Path, megabytes: float, *, files: int = 4, seed: int = 1) -> None:
    """The same documents as web pages, about this much HTML, with personal data in some, as WARC files."""
    import html
    import io

    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    with ExitStack() as opened:
        outputs = [opened.enter_context(open(folder / f"{number:02d}.warc.gz", "wb")) for number in range(files)]
        writers = [WARCWriter(output, gzip=True) for output in outputs]
        for number, row in enumerate(documents(real_sentences(data), megabytes, seed)):
            text = str(row["text"])
            if number % 10 == 0:
                text += f"\nWrite to person{number}@mail.example.org or call +1 212 555 {draw.randrange(1000, 9999)}."
            body = "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in text.split("\n"))
            page = PAGE.format(title=html.escape(text[:40]), body=body).encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            url = f"http://site{number % 50}.example.com/{row['id']}"
            writer = writers[number % files]
            payload = io.BytesIO(page)
            writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=headers))
