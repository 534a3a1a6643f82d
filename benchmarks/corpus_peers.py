"""The peers of benchmarks/corpus.py, run by the Python of an environment of their own (their versions of common
libraries are not Forja's). Prints one JSON object: seconds, and the ids that were kept."""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import planted


def datatrove_dedup(source: Path, work: Path, workers: int) -> dict[str, object]:
    """The four MinHash steps with Forja's parameters (22 bands of 8, 5 words), JSON Lines in and out."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = MinhashConfig(n_grams=5, num_buckets=22, hashes_per_bucket=8)
    reader = JsonlReader(str(source))
    tasks = len(list(source.iterdir()))
    steps = [
        ([reader, MinhashDedupSignature(str(work / "signatures"), config=config)], tasks),
        ([MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)], 22),
        ([MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)], 1),
        ([reader, MinhashDedupFilter(str(work / "remove")), JsonlWriter(str(work / "kept"))], tasks),
    ]
    start = time.monotonic()
    for number, (pipeline, count) in enumerate(steps):
        LocalPipelineExecutor(
            pipeline, tasks=count, workers=workers, logging_dir=str(work / f"logs{number}"), start_method="spawn"
        ).run()
    return {"seconds": time.monotonic() - start, "kept": _ids(work / "kept")}


def datatrove_whole(source: Path, work: Path, workers: int, language_model: str) -> dict[str, object]:
    """WARC to kept documents: extraction, language, quality rules, personal data, then MinHash."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    start = time.monotonic()
    first = [
        WarcReader(str(source)),
        Trafilatura(favour_precision=True),
        language_filter(LanguageFilter, language_model),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        PIIFormatter(),
        JsonlWriter(str(work / "clean"), compression=None),
    ]
    tasks = len(list(source.iterdir()))
    LocalPipelineExecutor(
        first, tasks=tasks, workers=workers, logging_dir=str(work / "logs"), start_method="fork"
    ).run()
    kept = datatrove_dedup(work / "clean", work / "dedup", workers)
    return {"seconds": time.monotonic() - start, "kept": kept["kept"]}


def language_filter(kind: type, model: str) -> object:
    """The filter with the model from a file, as nothing is downloaded here: fastText's small model, Forja's own."""
    from datatrove.utils import lid

    lid.FT176LID.MODEL_URL = model
    lid.cached_asset_path_or_download = lambda url, **_: url
    return kind(languages=["en"])


def datasketch_dedup(source: Path, work: Path, workers: int) -> dict[str, object]:
    """datasketch's MinHashLSH, each document kept unless one before it is near, in one process."""
    from datasketch import MinHash, MinHashLSH

    start = time.monotonic()
    index = MinHashLSH(num_perm=176, params=(22, 8))
    kept = []
    for path in sorted(source.iterdir()):
        with open(path, encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                words = row["text"].lower().split()
                sketch = MinHash(num_perm=176)
                runs = range(max(1, len(words) - 4))
                sketch.update_batch([" ".join(words[at : at + 5]).encode() for at in runs])
                if not index.query(sketch):
                    index.insert(row["id"], sketch)
                    kept.append(row["id"])
    return {"seconds": time.monotonic() - start, "kept": kept}


def _ids(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*.jsonl*")):
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
            found += [json.loads(line)["id"] for line in file]
    return found


if __name__ == "__main__":
    what, source, work, workers, *rest = sys.argv[1:]
    if what == "write-web":  # warcio is the peers'
        planted.write_web(Path(work), Path(source), float(workers))
        raise SystemExit
    run = {"datatrove": datatrove_dedup, "datatrove-whole": datatrove_whole, "datasketch": datasketch_dedup}[what]
    print(json.dumps(run(Path(source), Path(work), int(workers), *rest)), file=sys.__stdout__)
