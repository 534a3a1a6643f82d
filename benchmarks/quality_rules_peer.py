"""datatrove's quality filters over the texts of a JSONL file, for quality_rules.py; needs datatrove and spacy,
not Forja. Verdicts, C4's texts and processor seconds go to standard output as one line of JSON."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )
    from datatrove.utils.text import split_into_words

    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(),
        "fineweb": FineWebQualityFilter(),
    }
    given: dict[str, list[str]] = {}
    if sys.argv[2] == "given":
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language: given[text]
    split_into_words("warm up")
    seconds = dict.fromkeys(filters, 0.0)
    verdicts = []
    cleaned = []
    with open(sys.argv[1]) as lines:
        for line in lines:
            row = json.loads(line)
            given = {row["text"]: row["words"]}
            found: dict[str, str | None] = {}
            for name, one in filters.items():
                document = Document(text=row["text"], id="")
                start = time.process_time()
                answer = one.filter(document)
                seconds[name] += time.process_time() - start
                found[name] = None if answer is True else answer[1]
                if name == "c4":
                    cleaned.append(document.text if answer is True else None)
            verdicts.append(found)
    print(json.dumps({"verdicts": verdicts, "c4": cleaned, "seconds": seconds}))


if __name__ == "__main__":
    main()
