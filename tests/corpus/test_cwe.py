from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.cwe import read_cwe, render_cwe
from forja.corpus.sources.record import Record
from forja.recipe import Source

ENTRY: dict[str, Any] = {
    "ID": "85",
    "Name": "Doubled Character XSS Manipulations",
    "Abstraction": "Variant",
    "Status": "Draft",
    "Description": "The application does not filter\ninput [REF-12].",
    "RelatedWeaknesses": [
        {"Nature": "ChildOf", "CweID": "79", "ViewID": "1000"},
        {"Nature": "ChildOf", "CweID": "79", "ViewID": "1003"},
        {"Nature": "PeerOf", "CweID": "675"},
    ],
    "ApplicablePlatforms": [{"Type": "Language", "Class": "Not Language-Specific"}, {"Name": "Web Server"}],
    "ModesOfIntroduction": [{"Phase": "Implementation"}],
    "CommonConsequences": [
        {"Scope": ["Confidentiality", "Integrity"], "Impact": ["Read Data", "Run Code"], "Note": "Bad."}
    ],
    "LikelihoodOfExploit": "High",
    "PotentialMitigations": [{"Phase": ["Implementation"], "Description": "Filter.", "Effectiveness": "Limited"}],
    "DemonstrativeExamples": [
        {
            "Entries": [
                {"IntroText": "Here:"},
                {"Nature": "Bad", "Language": "PHP", "ExampleCode": "```\n\tif ($x) {\n\t\techo $x;\n\t}\n```"},
                {"BodyText": "It is not escaped."},
            ]
        }
    ],
    "ObservedExamples": [{"Reference": "CVE-2002-2086", "Description": 'XSS using "<script".'}],
    "RelatedAttackPatterns": ["245"],
    "ContentHistory": [
        {"ModificationDate": "2008-07-01"},
        {"SubmissionDate": "2006-07-19"},
        {"ModificationDate": "2023-06-29"},
    ],
}


def read(data: bytes, since: str | None = None) -> list[Record]:
    return list(read_cwe(io.BytesIO(data), "w.jsonl", Source(path="x", since=since), 1 << 20))


def test_a_weakness_says_what_a_reader_needs() -> None:
    (record,) = read(json.dumps(ENTRY).encode())
    rendered = render_cwe(record)
    assert (record.origin, record.date, rendered.licence) == ("CWE-85", "2023-06-29", "CWE terms of use (MITRE)")
    assert (
        rendered.text
        == """CWE-85: Doubled Character XSS Manipulations

The application does not filter input.

This is a variant weakness, found in Web Server.

Relations:
- Child of CWE-79.
- Peer of CWE-675.

Introduced during:
- Implementation

Consequences:
- Confidentiality and Integrity: Read Data; Run Code. Bad.

Likelihood of exploit: high.

Mitigations:
- Implementation: Filter. Effectiveness: limited.

Example 1:

Here:

Vulnerable code (PHP):
```php
if ($x) {
	echo $x;
}
```

It is not escaped.

Observed examples:
- CVE-2002-2086: XSS using "<script".

Attack patterns: CAPEC-245."""
    )


def test_an_answer_of_the_rest_api_is_read_too() -> None:
    answer = json.dumps({"Weaknesses": [ENTRY, ENTRY | {"ID": "86"}]}).encode()
    assert [record.origin for record in read(answer)] == ["CWE-85", "CWE-86"]


def test_deprecated_and_old_entries_are_left_out() -> None:
    assert [record.reason for record in read(json.dumps(ENTRY | {"Status": "Deprecated"}).encode())] == ["revoked"]
    assert [record.reason for record in read(json.dumps(ENTRY).encode(), "2024-01-01")] == ["before-since"]


def test_a_broken_line_costs_itself_only() -> None:
    lines = [json.dumps(ENTRY | {"ID": str(number)}) for number in range(10, 20)]
    lines[4] = lines[4][:200]
    records = read("\n".join(lines).encode())
    assert [record.origin for record in records if record.reason is None] == [
        f"CWE-{number}" for number in range(10, 20) if number != 14
    ]
    assert len([record for record in records if record.reason]) == 1
    assert [record.reason for record in read(b'{"a": 1}\n5')] == ["not-a-cwe", "not-json"]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Entries", "Phase", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.data())
def test_no_field_of_another_type_raises_anything(data: st.DataObject) -> None:
    odd = dict(ENTRY)
    for _ in range(data.draw(st.integers(1, 4))):
        odd[data.draw(st.sampled_from(list(ENTRY)))] = data.draw(ODD)
    for record in read(json.dumps(odd).encode()):
        if record.reason is None:
            assert render_cwe(record).text or render_cwe(record).reason


@settings(max_examples=300)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(json.dumps(ENTRY).encode() + b"\n" + json.dumps(ENTRY).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for record in read(bytes(raw)):
        if record.reason is None:
            assert render_cwe(record).text or render_cwe(record).reason


@pytest.mark.realdata
def test_all_real_weaknesses_are_text(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/security/cwe_weaknesses.jsonl.gz") as file:
        records = list(read_cwe(file, "cwe", Source(path="x"), 1 << 22))  # type: ignore[arg-type]
    assert (len(records), sum(record.reason == "revoked" for record in records)) == (969, 25)
    rendered = [render_cwe(record) for record in records if record.reason is None]
    assert all(record.text for record in rendered)
    # Fences come in pairs.
    assert all((record.text or "").count("```") % 2 == 0 for record in rendered)
