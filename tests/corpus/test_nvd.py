from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.nvd import cpe_name, read_nvd, render_nvd
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source

SOURCE = Source(path="x")
ENTRY: dict[str, Any] = {
    "id": "CVE-2022-36432",
    "published": "2022-11-17T05:15:14.290",
    "lastModified": "2022-11-21T19:39:46.673",
    "vulnStatus": "Analyzed",
    "cisaExploitAdd": "2023-01-10",
    "cisaActionDue": "2023-01-31",
    "cisaRequiredAction": "Apply updates per vendor instructions.",
    "cisaVulnerabilityName": "Amasty Blog Pro XSS",
    "descriptions": [{"lang": "en", "value": "The plugin uses eval unsafely."}, {"lang": "es", "value": "El plugin."}],
    "metrics": {
        "cvssMetricV2": [{"type": "Primary", "baseSeverity": "LOW", "cvssData": {"version": "2.0", "baseScore": 3.5}}],
        "cvssMetricV31": [
            {"type": "Secondary", "cvssData": {"version": "3.1", "baseScore": 6.1, "baseSeverity": "MEDIUM"}},
            {
                "type": "Primary",
                "cvssData": {
                    "version": "3.1",
                    "baseScore": 5.4,
                    "baseSeverity": "MEDIUM",
                    "vectorString": "CVSS:3.1/AV:N/AC:L/PR:L/UI:R/S:C/C:L/I:L/A:N",
                },
            },
        ],
    },
    "weaknesses": [
        {"description": [{"lang": "en", "value": "CWE-79"}]},
        {"description": [{"lang": "en", "value": "NVD-CWE-noinfo"}]},
    ],
    "configurations": [
        {
            "nodes": [
                {
                    "cpeMatch": [
                        {
                            "vulnerable": True,
                            "criteria": "cpe:2.3:a:amasty:blog_pro:*:*:*:*:*:magento:*:*",
                            "versionEndExcluding": "2.10.5",
                        },
                        {"vulnerable": False, "criteria": "cpe:2.3:o:linux:kernel:-:*:*:*:*:*:*:*"},
                    ]
                }
            ]
        }
    ],
    "references": [{"url": "https://example.com/advisory"}],
}


def page(*entries: dict[str, Any]) -> bytes:
    vulnerabilities = [{"cve": entry} for entry in entries]
    return json.dumps(
        {"resultsPerPage": 2, "format": "NVD_CVE", "version": "2.0", "vulnerabilities": vulnerabilities}
    ).encode()


def read(data: bytes, since: str | None = None) -> list[Record]:
    return list(read_nvd(io.BytesIO(data), "page.json", Source(path="x", since=since), 1 << 20))


def test_a_record_says_what_a_reader_needs() -> None:
    (record,) = read(page(ENTRY))
    rendered = render_nvd(record)
    assert (record.origin, record.date, rendered.lang) == ("CVE-2022-36432", "2022-11-21T19:39:46.673", "en")
    assert (
        rendered.text
        == """CVE-2022-36432: Amasty Blog Pro XSS

The plugin uses eval unsafely.

Affected:
- amasty blog pro for magento: before 2.10.5.

Weakness: CWE-79.

Severity: CVSS 3.1 base score 5.4 (medium), vector CVSS:3.1/AV:N/AC:L/PR:L/UI:R/S:C/C:L/I:L/A:N: reachable over the \
network, low attack complexity, low privileges needed, user interaction required, scope changed, impact on \
confidentiality low and integrity low.
Also CVSS 2.0 base score 3.5 (low).

Known to be exploited in the wild since 2023-01-10 (CISA KEV).

Required action by 2023-01-31: Apply updates per vendor instructions.

Published on 2022-11-17.

References:
- https://example.com/advisory"""
    )
    assert (rendered.meta["cvss"], rendered.meta["cwe"]) == (5.4, ["CWE-79"])


def test_old_and_rejected_records_are_left_out_for_their_reason() -> None:
    assert [record.reason for record in read(page(ENTRY), "2022-11-22")] == ["before-since"]
    assert [record.reason for record in read(page(ENTRY | {"vulnStatus": "Rejected"}))] == ["revoked"]
    assert [record.reason for record in read(page({"id": "CVE-x"}))] == ["not-a-cve"]


def test_a_page_that_is_cut_gives_its_whole_records() -> None:
    data = page(*(ENTRY | {"id": f"CVE-2022-{number}"} for number in range(1000, 1010)))
    records = read(data[: len(data) * 2 // 3])
    assert [record.origin for record in records if record.reason is None] == [
        f"CVE-2022-{n}" for n in range(1000, 1006)
    ]
    assert records[-1].reason == "truncated"


def test_a_file_of_another_kind_is_an_error_and_an_empty_page_too() -> None:
    for data in (b"", b"{}", b'{"objects": []}', b"text"):
        with pytest.raises(ForjaError, match="vulnerabilities"):
            read(data)


def test_a_cpe_name_is_said_without_its_escapes() -> None:
    assert cpe_name(r"cpe:2.3:a:acme\:corp:big_tool\+:1.0:sp1:*:*:*:*:*:*") == ("acme:corp big tool+", "1.0 sp1")
    assert cpe_name("cpe:2.3:a:wire:wire:*:*:*:*:*:*:*:*") == ("wire", "")
    assert cpe_name("nonsense") == ("", "")


@settings(max_examples=300)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(page(ENTRY, ENTRY))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        for record in read(bytes(raw)):
            if record.reason is None:
                assert render_nvd(record).text or render_nvd(record).reason
    except ForjaError:
        pass


@pytest.mark.realdata
def test_a_real_page_is_text(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/security/nvd_api2_cves-2023.json.gz") as file:
        records = list(read_nvd(file, "nvd", SOURCE, 1 << 22))  # type: ignore[arg-type]
    assert (len(records), sum(record.reason == "revoked" for record in records)) == (200, 1)
    assert all(render_nvd(record).text for record in records if record.reason is None)
