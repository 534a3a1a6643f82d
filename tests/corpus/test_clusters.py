from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forja.corpus import clusters, engine, staging
from forja.corpus.build import build_corpus
from forja.recipe import CorpusSection


def words(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(count)]


def changed(original: list[str], count: int, seed: int) -> list[str]:
    copy = list(original)
    for place in random.Random(seed).sample(range(len(copy)), count):
        copy[place] = f"changed{seed}"
    return copy


def build(place: Path, texts: list[dict[str, Any]], name: str = "corpus", **section: Any) -> Path:
    (place / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (place / name).mkdir()
    build_corpus(
        CorpusSection.model_validate({"sources": [{"path": "in.jsonl"}], "screen": {"action": "none"}, **section}),
        place / name,
        base_folder=place,
    )
    return place / name


def rows(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    found = (row for path in sorted(folder.glob(f"{kind}-*.parquet")) for row in pq.read_table(path).to_pylist())
    return {json.loads(row["meta"])["name"]: row for row in found}


def row(name: str, text: list[str], **other: Any) -> dict[str, Any]:
    return {"name": name, "text": " ".join(text), **other}


def test_a_chain_of_near_duplicates_is_one_cluster_and_every_member_names_it(tmp_path: Path) -> None:
    first = words(3, 300)
    second = [*first[8:], *words(4, 8)]
    third = [*second[8:], *words(5, 9)]
    folder = build(tmp_path, [row("c", third), row("b", second), row("a", first), row("other", words(9, 300))])
    kept, rejected = rows(folder, "documents"), rows(folder, "rejected")
    assert set(kept) == {"c", "other"}, "the longest stays"
    assert {rejected[name]["reason"] for name in "ab"} == {"near-duplicate"}
    assert {rejected[name]["duplicate_of"] for name in "ab"} == {kept["c"]["id"]}
    members = [kept["c"], rejected["a"], rejected["b"]]
    assert {member["cluster"] for member in members} == {min(member["id"] for member in members)}
    assert kept["other"]["cluster"] is None


def test_the_oldest_stays_where_the_recipe_says_so(tmp_path: Path) -> None:
    text = words(1, 200)
    texts = [
        row("new", [*text, "much", "longer"], date="2024-05-01"),
        row("old", text, date="2019"),
        row("undated", [*text, "end"]),
    ]
    assert set(rows(build(tmp_path, texts, near_duplicates={"keep": "oldest"}), "documents")) == {"old"}


def test_the_threshold_decides_by_exact_similarity(tmp_path: Path) -> None:
    original = words(1, 204)
    close, far = [*original[:190], *words(2, 14)], [*original[:150], *words(3, 54)]  # Jaccard 0.87 and 0.57
    texts = [row("original", [*original, "tail"]), row("close", close), row("far", far)]
    assert set(rows(build(tmp_path, texts), "documents")) == {"original", "far"}
    loose = build(tmp_path, texts, "loose", near_duplicates={"threshold": 0.5, "bands": 64, "rows": 3})
    assert set(rows(loose, "documents")) == {"original"}


def test_a_record_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(" ".join(words(1, 60)))
    (tmp_path / "corpus").mkdir()
    section = CorpusSection.model_validate({"sources": [{"path": "page.txt", "name": "one"}, {"path": "page.txt"}]})
    figures = build_corpus(section, tmp_path / "corpus", base_folder=tmp_path)
    assert figures.documents["kept"] == 1
    assert figures.documents["duplicates"] == 1


def test_a_bucket_too_large_to_sort_at_once_is_split_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [row(str(seed), words(seed // 2, 40)) for seed in range(600)]
    whole = build(tmp_path, texts)
    monkeypatch.setattr(staging, "SORTED_BYTES", 500)
    split = build(tmp_path, texts, "split")
    for kind in ("documents", "rejected"):
        assert rows(whole, kind) == rows(split, kind)
        assert list(rows(whole, kind)) == list(rows(split, kind)), "the order is that of the ids"
    assert len(rows(split, "documents")) == 300


def test_clusters_are_the_same_however_the_work_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for seed in range(120):
        original = words(seed, 150)
        texts += [row(f"{seed}-{copy}", changed(original, copy, seed * 10 + copy)) for copy in range(4)]
        texts.append(row(f"{seed}-again", original))
    whole = build(tmp_path, texts)
    monkeypatch.setattr(clusters, "PART_DOCUMENTS", 200)
    monkeypatch.setattr(clusters, "FEW_KEYS", 1)
    monkeypatch.setattr(clusters, "BANDS_A_TASK", 5)
    monkeypatch.setattr(clusters, "PART_PAIRS", 37)
    monkeypatch.setattr(staging, "HELD_BYTES", 1000)
    monkeypatch.setattr(engine, "WORTH_BYTES", 0)
    cut = build(tmp_path, texts, "cut")
    for path in sorted(whole.iterdir()):
        assert path.read_bytes() == (cut / path.name).read_bytes()
    kept = rows(whole, "documents")
    assert len(kept) == 120
