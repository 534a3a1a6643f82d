"""Technique and weakness ids that the made text names are in the catalogues themselves."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from forja.corpus.synth import read_synth
from forja.recipe import SynthSection


@pytest.mark.realdata
def test_every_technique_and_weakness_named_is_in_attack_and_cwe(realdata: Path) -> None:
    folder = realdata / "corpora" / "security"
    with gzip.open(folder / "enterprise-attack.json.gz") as file:
        objects = json.load(file)["objects"]
    techniques = {
        reference["external_id"]
        for entry in objects
        if entry["type"] == "attack-pattern" and not entry.get("revoked") and not entry.get("x_mitre_deprecated")
        for reference in entry["external_references"]
        if reference["source_name"] == "mitre-attack"
    }
    with gzip.open(folder / "cwe_weaknesses.jsonl.gz", "rt", encoding="utf-8") as lines:
        weaknesses = {f"CWE-{json.loads(line)['ID']}" for line in lines}
    named: set[str] = set()
    for record in read_synth(SynthSection(documents=4000), 0):
        named.update(record.meta.get("techniques", []), record.meta.get("weaknesses", []))
        named.update(re.findall(r"\bT1\d{3}(?:\.\d{3})?\b|CWE-\d+", record.text or ""))
    assert {name for name in named if name.startswith("T1")} - techniques == set()
    assert {name for name in named if name.startswith("CWE-")} - weaknesses == set()
    assert len(named) > 30
