from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.cve import read_cve, render_cve
from forja.corpus.sources.cvss import severity_sentence, vector_in_words
from forja.corpus.sources.record import Record
from forja.recipe import Source

SOURCE = Source(path="x")
ENTRY: dict[str, Any] = {
    "dataType": "CVE_RECORD",
    "dataVersion": "5.1",
    "cveMetadata": {
        "cveId": "CVE-2024-1234",
        "state": "PUBLISHED",
        "assignerShortName": "acme",
        "datePublished": "2024-02-02T12:51:55.566Z",
        "dateUpdated": "2024-08-02T21:01:22.679Z",
    },
    "containers": {
        "cna": {
            "title": "Acme Widget XSS",
            "descriptions": [
                {"lang": "es", "value": "Una vulnerabilidad."},
                {"lang": "en", "value": "Acme Widget  does not escape input."},
            ],
            "affected": [
                {
                    "vendor": "Acme",
                    "product": "Widget",
                    "platforms": ["Linux"],
                    "versions": [
                        {"version": "0", "lessThan": "1.2", "status": "affected"},
                        {"version": "2.0", "lessThanOrEqual": "2.4", "status": "affected"},
                        {"version": "3.0", "status": "unaffected"},
                    ],
                },
                {"vendor": "n/a", "product": "n/a"},
            ],
            "problemTypes": [
                {"descriptions": [{"lang": "en", "cweId": "CWE-79", "description": "CWE-79 Cross-site Scripting"}]}
            ],
            "metrics": [
                {
                    "cvssV3_1": {
                        "version": "3.1",
                        "baseScore": 9.8,
                        "baseSeverity": "CRITICAL",
                        "vectorString": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
                    }
                }
            ],
            "impacts": [
                {"capecId": "CAPEC-63", "descriptions": [{"lang": "en", "value": "CAPEC-63 Cross-Site Scripting"}]}
            ],
            "solutions": [{"lang": "en", "value": "Update to 1.2."}],
            "credits": [{"lang": "en", "value": "Ada Lovelace"}],
            "references": [{"url": "https://acme.example/1"}],
        },
        "adp": [
            {
                "title": "CISA ADP Vulnrichment",
                "metrics": [
                    {"other": {"type": "kev", "content": {"dateAdded": "2024-03-01"}}},
                    {
                        "other": {
                            "type": "ssvc",
                            "content": {
                                "options": [
                                    {"Exploitation": "active"},
                                    {"Automatable": "yes"},
                                    {"Technical Impact": "total"},
                                ]
                            },
                        }
                    },
                ],
                "references": [{"url": "https://acme.example/1"}, {"url": "https://acme.example/2"}],
            }
        ],
    },
}


def changed(**about: Any) -> dict[str, Any]:
    entry = copy.deepcopy(ENTRY)
    entry["cveMetadata"] |= about
    return entry


def read(data: bytes, source: Source = SOURCE, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_cve(io.BytesIO(data), "file.json", source, max_bytes))


def text_of(entry: dict[str, Any]) -> str:
    (record,) = read(json.dumps(entry).encode())
    return render_cve(record).text or ""


def test_a_record_says_what_a_reader_needs() -> None:
    (record,) = read(json.dumps(ENTRY).encode())
    assert (record.origin, record.form, record.date) == ("CVE-2024-1234", "cve", "2024-08-02T21:01:22.679Z")
    rendered = render_cve(record)
    assert (rendered.form, rendered.lang, rendered.licence, rendered.author) == (
        "string",
        "en",
        "CVE Program terms of use",
        None,
    )
    assert (
        rendered.text
        == """CVE-2024-1234: Acme Widget XSS

Acme Widget does not escape input.

Affected:
- Acme Widget on Linux: before 1.2 and 2.0 through 2.4.

Weakness: CWE-79 Cross-site Scripting.

Attack pattern: CAPEC-63 Cross-Site Scripting.

Severity: CVSS 3.1 base score 9.8 (critical), vector CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H: reachable over the \
network, low attack complexity, no privileges needed, no user interaction, impact on confidentiality high, integrity \
high and availability high.

Known to be exploited in the wild since 2024-03-01 (CISA KEV).

CISA's assessment (SSVC): active exploitation, attacks can be automated, technical impact total.

Solution: Update to 1.2.

Published on 2024-02-02, assigned by acme, last changed on 2024-08-02.

References:
- https://acme.example/1
- https://acme.example/2"""
    )
    assert rendered.meta == {
        "id": "CVE-2024-1234",
        "url": "https://www.cve.org/CVERecord?id=CVE-2024-1234",
        "published": "2024-02-02T12:51:55.566Z",
        "products": ["Acme Widget"],
        "cwe": ["CWE-79"],
        "cvss": 9.8,
        "exploited_since": "2024-03-01",
    }


def test_the_people_credited_are_not_named() -> None:
    assert "Lovelace" not in text_of(ENTRY)


def test_the_raw_bytes_are_the_same_however_the_record_was_written() -> None:
    (one,), (other,) = read(json.dumps(ENTRY, indent=4).encode()), read(json.dumps(ENTRY, sort_keys=True).encode())
    assert (one.origin, one.raw) == (other.origin, other.raw)


def test_lists_and_lines_of_records_are_read_too() -> None:
    entries = [changed(cveId=f"CVE-2024-{number}") for number in range(1000, 1005)]
    wanted = [f"CVE-2024-{number}" for number in range(1000, 1005)]
    assert [record.origin for record in read(json.dumps(entries).encode())] == wanted
    assert [record.origin for record in read("\n".join(map(json.dumps, entries)).encode())] == wanted


def test_only_what_changed_since_a_date_is_taken() -> None:
    source = Source(path="x", since="2024-08-03")
    assert read(json.dumps(ENTRY).encode(), source)[0].reason == "before-since"
    assert read(json.dumps(ENTRY).encode(), Source(path="x", since="2024-08-02"))[0].reason is None


def test_records_that_their_authority_rejected_are_left_out() -> None:
    (record,) = read(json.dumps(changed(state="REJECTED")).encode())
    assert (record.origin, record.reason) == ("CVE-2024-1234", "revoked")


def test_what_is_no_cve_record_is_told() -> None:
    assert [record.reason for record in read(b'{"a": 1}')] == ["not-a-cve"]
    assert [record.reason for record in read(b"")] == ["empty"]
    assert [record.reason for record in read(json.dumps(ENTRY).encode()[:-9])] == ["truncated"]
    assert [record.reason for record in read(json.dumps(ENTRY).encode(), max_bytes=512)] == ["too-long"]
    assert read(json.dumps(changed(cveId="CVE-1")).encode())[0].reason == "not-a-cve"


def test_versions_are_said_in_words() -> None:
    entry = changed()
    (product, _) = entry["containers"]["cna"]["affected"]
    for versions, default, words in (
        ([{"version": "1.0", "status": "affected"}], "", "1.0"),
        ([{"version": "1.0", "lessThan": "*", "status": "affected"}], "", "1.0 and later"),
        ([{"version": "0", "lessThan": "*", "status": "affected"}], "", "all versions"),
        ([{"version": "2", "status": "unaffected"}], "affected", "all versions except 2"),
        ([{"version": "2", "lessThanOrEqual": "None", "status": "affected"}], "", "2"),
        ([{"version": "a" * 40, "lessThan": "b" * 40, "status": "affected"}], "", f"from {'a' * 12} before {'b' * 12}"),
    ):
        product |= {"versions": versions, "defaultStatus": default}
        assert f"- Acme Widget on Linux: {words}." in text_of(entry)


def test_a_description_written_as_html_is_text_and_one_about_tags_keeps_them() -> None:
    entry = changed()
    entry["containers"]["cna"]["descriptions"] = [{"lang": "en-US", "value": "<p>One &amp; two.</p>\n<p>Three.</p>"}]
    assert "\n\nOne & two.\n\nThree.\n\n" in text_of(entry)
    entry["containers"]["cna"]["descriptions"] = [{"lang": "en", "value": "A crafted <img src=x> or <b> tag."}]
    assert "\n\nA crafted <img src=x> or <b> tag.\n\n" in text_of(entry)


def test_a_vector_of_each_version_is_put_in_words() -> None:
    assert vector_in_words("AV:N/AC:M/Au:S/C:P/I:N/A:C") == (
        "reachable over the network, medium attack complexity, single authentication, "
        "impact on confidentiality partial and availability complete"
    )
    four = "CVSS:4.0/AV:L/AC:L/AT:P/PR:N/UI:P/VC:H/VI:N/VA:N/SC:L/SI:N/SA:N"
    assert severity_sentence({"baseScore": 7, "vectorString": four}) == (
        f"CVSS 4.0 base score 7.0 (high), vector {four}: needs local access, low attack complexity, attack "
        "requirements present, no privileges needed, passive user interaction, impact on confidentiality high, "
        "impact on other systems' confidentiality low."
    )
    assert severity_sentence({"baseScore": "9"}) == ""
    assert severity_sentence({"baseScore": 0, "version": "3.1"}) == "CVSS 3.1 base score 0.0 (none)."


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["en", "CWE-79", "affected", "1.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in nested JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path] * bool(path) + [found for key, one in inner for found in places(one, (*path, key))]


@settings(max_examples=300)
@given(st.data())
def test_no_field_of_another_type_raises_anything(data: st.DataObject) -> None:
    entry = copy.deepcopy(ENTRY)
    for _ in range(data.draw(st.integers(1, 5))):
        path = data.draw(st.sampled_from(places(entry)))
        holder: Any = entry
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(ODD)
    for record in read(json.dumps(entry).encode()):
        if record.reason is None:
            rendered = render_cve(record)
            assert rendered.reason or rendered.text
            json.dumps(rendered.meta)


@settings(max_examples=300)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(json.dumps(ENTRY).encode())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for record in read(bytes(raw)):
        if record.reason is None:
            render_cve(record)
    render_cve(Record("CVE-2024-1234", bytes(raw), "cve"))


@pytest.mark.realdata
def test_every_real_record_is_text_or_told_why_not(realdata: Path) -> None:
    kept = 0
    with zipfile.ZipFile(realdata / "corpora/security/cve_json5.zip") as archive:
        for name in archive.namelist():
            (record,) = read_cve(io.BytesIO(archive.read(name)), name, SOURCE, 1 << 22)
            assert record.origin == Path(name).stem
            if record.reason is not None:
                assert record.reason == "revoked"
                continue
            rendered = render_cve(record)
            assert rendered.reason is None
            assert rendered.text is not None
            assert rendered.text.startswith(record.origin)
            assert (
                "None" not in rendered.text.split("References:")[0].replace("None of", "")
                or "None" in record.raw.decode()
            )
            kept += 1
    assert kept == 3781
