from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.growth import assert_in_proportion
from forja.corpus.sources.files import read_stream
from forja.corpus.sources.record import Record
from forja.corpus.sources.sigma import load, read_sigma, render_sigma
from forja.recipe import Source

RULE = r"""title: Whoami Execution
id: 09d3b48b-be17-47f5-bf4e-94e7e75d09ce
status: test
description: |
    Detects   the execution of whoami.
    It is used for discovery.
references:
    - https://example.com/a
author: Someone
date: 2022/01/12
modified: 2023-02-14 # again
tags:
    - attack.discovery
    - attack.t1033
    - attack.s0029
    - cve.2023-1234
    - car.2016-03-001
logsource:
    product: windows
    category: process_creation
detection:
    selection:
        Image|endswith: '\whoami.exe' # the tool
        User: 0012
    filter:
        - ParentImage: 'C:\x.exe'

    condition: selection and not filter
falsepositives:
    - Administrators
level: high
"""


def read(data: str | bytes, since: str | None = None, max_bytes: int = 1 << 20) -> list[Record]:
    raw = data.encode() if isinstance(data, str) else data
    return list(read_sigma(io.BytesIO(raw), "rules/r.yml", Source(path="x", since=since), max_bytes))


def test_a_rule_says_what_it_detects_and_how() -> None:
    (record,) = read(RULE)
    rendered = render_sigma(record)
    assert (record.origin, record.date) == ("09d3b48b-be17-47f5-bf4e-94e7e75d09ce", "2023-02-14")
    assert (rendered.author, rendered.licence) == (None, None)
    assert (
        rendered.text
        == r"""Whoami Execution (Sigma rule)

Rule id: 09d3b48b-be17-47f5-bf4e-94e7e75d09ce.

Detects the execution of whoami.
It is used for discovery.

Log source: product windows, category process_creation.

Level: high. Status: test.

ATT&CK tactics: discovery.
ATT&CK techniques: T1033.
ATT&CK groups and software: S0029.
Vulnerabilities: CVE-2023-1234.
Tags: car.2016-03-001.

Detection:
```yaml
detection:
    selection:
        Image|endswith: '\whoami.exe' # the tool
        User: 0012
    filter:
        - ParentImage: 'C:\x.exe'

    condition: selection and not filter
```

False positives:
- Administrators

References:
- https://example.com/a"""
    )
    assert rendered.meta == {
        "id": "09d3b48b-be17-47f5-bf4e-94e7e75d09ce",
        "title": "Whoami Execution",
        "kind": "detection",
        "level": "high",
        "status": "test",
        "techniques": ["T1033"],
        "cve": ["CVE-2023-1234"],
        "logsource": "windows/process_creation",
    }


def test_the_licence_is_what_the_rule_states() -> None:
    assert render_sigma(read(RULE + "license: MIT\n")[0]).licence == "MIT"


def test_several_documents_in_a_file_are_several_rules() -> None:
    second = RULE.replace("09d3b48b", "19d3b48b").replace("Whoami", "Hostname")
    records = read(f"---\n{RULE}---\n{second}...\n")
    assert [record.origin[:8] for record in records] == ["09d3b48b", "19d3b48b"]
    assert all(render_sigma(record).text for record in records)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_packed_file_gives_its_whole_rules_and_counts_the_cut(pack: Callable[[bytes], bytes]) -> None:
    rules = [
        RULE.replace("09d3b48b", f"{number:08x}") + f"# {random.Random(number).randbytes(3000).hex()}\n"
        for number in range(40)
    ]
    packed = pack("---\n".join(rules).encode())
    source = Source(path="r.yml", kind="sigma")
    *records, last = read_stream(io.BytesIO(packed[: len(packed) * 7 // 8]), "r.yml.gz", source, 1 << 20)
    assert (last.origin, last.reason) == ("r.yml.gz#end", "truncated")
    assert [record.reason for record in records] == [None] * len(records)
    assert [int(record.origin[:8], 16) for record in records] == list(range(len(records)))
    assert b"".join(record.raw for record in records) == "".join(rules[: len(records)]).encode()
    assert len(records) >= 15


def test_what_a_global_document_says_holds_for_those_that_follow() -> None:
    logic = RULE.index("logsource:")
    data = f"action: global\n{RULE[:logic]}---\n{RULE[logic:]}"
    (record,) = read(data)
    text = render_sigma(record).text or ""
    assert text.startswith("Whoami Execution (Sigma rule)")
    assert r"Image|endswith: '\whoami.exe'" in text
    assert record.origin == "09d3b48b-be17-47f5-bf4e-94e7e75d09ce"


def test_a_correlation_is_a_rule_too() -> None:
    data = "title: Many\nid: aaaa-1\ncorrelation:\n  type: event_count\n  rules: [x]\n  timespan: 5m\nlevel: low\n"
    text = render_sigma(read(data)[0]).text or ""
    assert text.startswith("Many (Sigma correlation rule)")
    assert "```yaml\ncorrelation:\n  type: event_count\n  rules: [x]\n  timespan: 5m\n```" in text


def test_logic_that_is_not_in_block_style_is_written_anew() -> None:
    text = render_sigma(
        read('{"title": "J", "logsource": {"product": "x"}, "detection": {"s": {"a": "1"}, "condition": "s"}}')[0]
    ).text
    assert text is not None
    assert "```yaml\ndetection:\n  s:\n    a: '1'\n  condition: s\n```" in text


def test_deprecated_and_old_rules_are_left_out() -> None:
    assert [record.reason for record in read(RULE.replace("status: test", "status: deprecated"))] == ["revoked"]
    assert [record.reason for record in read(RULE, "2023-03-01")] == ["before-since"]
    assert [record.reason for record in read(RULE, "2022-03-01")] == [None]


def test_what_is_no_rule_is_told() -> None:
    assert [record.reason for record in read("")] == ["empty"]
    assert [record.reason for record in read("---\n---\n")] == ["empty"]
    assert [record.reason for record in read(RULE, max_bytes=100)] == ["too-long"]
    for data, reason in (
        ("- a\n- b", "not-a-rule"),
        ("title: x", "not-a-rule"),
        ("a: [", "not-yaml"),
        ("a: \x01", "not-yaml"),
    ):
        assert render_sigma(read(data)[0]).reason == reason


def test_aliases_and_deep_nesting_are_refused_and_tags_construct_nothing() -> None:
    laughs = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert load(laughs.encode()) == "yaml-alias"
    for deep in (b"[", b"{", b"- ", b"? "):
        assert load(deep * 1_000_000) == "yaml-nested"
    assert load(b"a: !!python/object/apply:os.system [ls]") == {"a": ["ls"]}
    assert load(b"a: 2024-02-30\nb: 0012\nc: on") == {"a": "2024-02-30", "b": "0012", "c": "on"}


@pytest.mark.parametrize(
    "piece", ["---\n", "detection:\n", " \n", "a:\n", "id: x\n", "- ", "detection:\n -", "''", "#", "...\n"]
)
def test_hostile_yaml_takes_time_in_proportion(piece: str) -> None:
    def run(size: int) -> None:
        for record in read(f"title: x\n{piece * (size // len(piece))}"):
            if record.reason is None:
                render_sigma(record)

    assert_in_proportion(run, 1 << 13)


@settings(max_examples=500)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(RULE.encode())
    for _ in range(data.draw(st.integers(1, 10))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for record in read(bytes(raw)):
        if record.reason is None:
            rendered = render_sigma(record)
            assert rendered.reason or rendered.text


@pytest.mark.realdata
def test_every_real_rule_is_text(realdata: Path) -> None:
    with zipfile.ZipFile(realdata / "corpora/security/sigma_rules.zip") as archive:
        records = [
            record
            for name in archive.namelist()
            for record in read_sigma(io.BytesIO(archive.read(name)), name, Source(path="x"), 1 << 20)
        ]
    assert len(records) == len({record.origin for record in records}) == 900
    rendered = [render_sigma(record) for record in records]
    assert all("condition:" in (record.text or "") for record in rendered)
    assert all(record.meta["logsource"] and record.date for record in rendered)
