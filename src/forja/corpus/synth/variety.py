"""How varied made text is: what is left of a text when its names, numbers and nouns are taken out, and how often
the same thing is left."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import xxhash

from forja.corpus.synth.draft import words

LENGTH = 32
"""Words of a skeleton that are looked at: texts that begin alike and end otherwise are alike."""
LOG_LINE = re.compile(
    r"[\-*>\s]*(?:\{|type=|\d{4}-\d\d-\d\d|\d\d-[A-Z][a-z]{2}-\d{4}|[A-Z][a-z]{2} +\d+ \d\d:|"
    r"\d+\.\d+\.\d+\.\d+ |\[?\d{2}/)"
)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
KEY = re.compile(r'"?([A-Za-z_]+)"?[=:]')
EDGES = "\"'()[]{}<>.,;:!?¿¡*#|`"


def skeleton(text: str) -> str:
    """The frame of a text: of prose its function words in order, of lines of a log the words that the program wrote.

    Names, numbers, quoted values, addresses and every content word are gone, runs of them count as one gap, and
    lines that repeat the one before count once; so filling other words into the same sentences, or more of the
    same lines, makes no other skeleton. At most the first LENGTH words and gaps count.
    """
    frame: list[str] = []
    before: list[str] = []
    for line in text.split("\n"):
        found = _of_log(line) if LOG_LINE.match(line) else _of_prose(line)
        if not found or found == before:
            continue
        before = found
        frame += found
        if len(frame) >= LENGTH:
            break
    return " ".join(frame[:LENGTH])


def skeleton_id(text: str) -> str:
    """16 hexadecimal digits that stand for the skeleton."""
    return f"{xxhash.xxh3_64_intdigest(skeleton(text).encode()):016x}"


@cache
def function_words() -> frozenset[str]:
    """Words of closed classes, in both languages."""
    return frozenset(word for lang in ("en", "es") for word in words(lang)["function"])


def _of_prose(line: str) -> list[str]:
    found: list[str] = []
    gap, frame = False, function_words()
    for chunk in line.split():
        word = chunk.strip(EDGES).lower()
        if word in frame:
            found.append(word)
            gap = False
        elif not gap:
            found.append("·")
            gap = True
    return found


def _of_log(line: str) -> list[str]:
    """Keys and lower-case words of the line; values, and whatever has a digit, a dot or a capital, are gaps."""
    found: list[str] = []
    for chunk in line.split():
        if key := KEY.match(chunk):
            found.append(key[1] + "=")
            continue
        word = chunk.strip(EDGES)
        if word.isalpha() and word.islower():
            found.append(word)
        elif not found or found[-1] != "·":
            found.append("·")
    return found


@dataclass(frozen=True)
class Variety:
    """documents: how many were measured. largest: share of the documents that have the commonest skeleton.
    distinct: skeletons as a share of documents. sentence: share of the documents that hold the commonest frame of a
    sentence of eight words or more. distinct_4: different runs of four words as a share of all (Li et al. 2016).
    compression: bytes before over bytes after zlib, of all together; repetitive text compresses better
    (Shaib et al. 2024). near_duplicates: share that Forja's own deduplication would remove, at its default."""

    documents: int
    largest: float
    distinct: float
    sentence: float
    distinct_4: float
    compression: float
    near_duplicates: float


def measure_variety(texts: Sequence[str]) -> Variety:
    """The figures of these samples; raises ValueError where there are none."""
    if not texts:
        raise ValueError("there is nothing to measure")
    skeletons = Counter(map(skeleton, texts))
    sentences: Counter[str] = Counter()
    runs: set[int] = set()
    total = packed = size = 0
    pack = zlib.compressobj(6)
    for text in texts:
        sentences.update(_sentence_frames(text))
        tokens = WORD.findall(text.lower())
        hashes = [hash(tuple(tokens[place : place + 4])) for place in range(len(tokens) - 3)]
        runs.update(hashes)
        total += len(hashes)
        raw = text.encode()
        size += len(raw)
        packed += len(pack.compress(raw))
    packed += len(pack.flush())
    return Variety(
        documents=len(texts),
        largest=skeletons.most_common(1)[0][1] / len(texts),
        distinct=len(skeletons) / len(texts),
        sentence=max(sentences.values(), default=0) / len(texts),
        distinct_4=len(runs) / max(1, total),
        compression=size / packed,
        near_duplicates=near_duplicate_share(texts),
    )


def _sentence_frames(text: str) -> set[str]:
    frames = set()
    for line in text.split("\n"):
        if LOG_LINE.match(line):
            continue
        for sentence in re.split(r"(?<=[.!?]) ", line):
            frame = _of_prose(sentence)
            if len(frame) >= 8:
                frames.add(" ".join(frame))
    return frames


def near_duplicate_share(texts: Sequence[str]) -> float:
    """Share of the texts that the corpus stage would drop as near duplicates of others, by its default settings."""
    import numpy as np

    from forja.corpus.dedup import band_keys, candidate_pairs, components, jaccard, normalise, shingles, unique_pairs
    from forja.recipe import NearDuplicates

    settings = NearDuplicates()
    plain = [normalise(text) for text in texts]
    keys, places = band_keys(plain, settings), np.arange(len(texts))
    pairs = unique_pairs(np.concatenate([candidate_pairs(keys[:, band], places) for band in range(settings.bands)]))
    kept = {place: shingles(plain[place], settings.shingle) for place in np.unique(pairs).tolist()}
    alike = [(one, two) for one, two in pairs.tolist() if jaccard(kept[one], kept[two]) >= settings.threshold]
    if not alike:
        return 0.0
    nodes, least = components(np.array(alike, np.int64))
    return int(np.count_nonzero(nodes != least)) / len(texts)
