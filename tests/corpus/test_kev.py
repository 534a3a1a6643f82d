from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.kev import read_kev, render_kev
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source

ENTRY: dict[str, Any] = {
    "cveID": "CVE-2023-27532",
    "vendorProject": "Veeam",
    "product": "Backup & Replication",
    "vulnerabilityName": "Veeam Backup Missing Authentication Vulnerability",
    "dateAdded": "2023-08-22",
    "shortDescription": "Veeam Backup lacks authentication.",
    "requiredAction": "Apply mitigations.",
    "dueDate": "2023-09-12",
    "knownRansomwareCampaignUse": "Known",
    "notes": "This affects an open-source component; https://example.com/a ; https://nvd.nist.gov/vuln/detail/CVE-2023-27532",
    "cwes": ["CWE-306"],
}


def catalogue(*entries: Any) -> bytes:
    return json.dumps({"title": "CISA KEV", "catalogVersion": "1", "count": 1, "vulnerabilities": entries}).encode()


def read(data: bytes, since: str | None = None) -> list[Record]:
    return list(read_kev(io.BytesIO(data), "kev.json", Source(path="x", since=since), 1 << 20))


def test_an_entry_says_since_when_it_is_exploited_and_what_to_do() -> None:
    (record,) = read(catalogue(ENTRY))
    rendered = render_kev(record)
    assert (record.origin, record.date, record.licence) == ("CVE-2023-27532", "2023-08-22", "CC0-1.0")
    assert (
        rendered.text
        == """CVE-2023-27532: Veeam Backup Missing Authentication Vulnerability

Veeam Backup lacks authentication.

Affected: Veeam Backup & Replication.

Weakness: CWE-306.

Known to be exploited in the wild: CISA added it to the Known Exploited Vulnerabilities catalogue on 2023-08-22, to be \
mended in US federal agencies by 2023-09-12. It is known to be used in ransomware campaigns.

Required action: Apply mitigations.

This affects an open-source component.

References:
- https://example.com/a
- https://nvd.nist.gov/vuln/detail/CVE-2023-27532"""
    )
    assert rendered.meta["exploited_since"] == "2023-08-22"


def test_older_and_broken_entries_are_told() -> None:
    reasons = [record.reason for record in read(catalogue(ENTRY, {"product": "x"}, 5), "2024-01-01")]
    assert reasons == ["before-since", "not-a-kev", "not-json"]


def test_a_file_of_another_kind_is_an_error() -> None:
    with pytest.raises(ForjaError, match="KEV"):
        read(b'{"objects": []}')


@settings(max_examples=300)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(catalogue(ENTRY, ENTRY))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        for record in read(bytes(raw)):
            if record.reason is None:
                assert render_kev(record).text or render_kev(record).reason
    except ForjaError:
        pass


@pytest.mark.realdata
def test_the_real_catalogue_is_text(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/security/known_exploited_vulnerabilities.json.gz") as file:
        records = list(read_kev(file, "kev", Source(path="x"), 1 << 22))  # type: ignore[arg-type]
    assert len(records) == len({record.origin for record in records}) == 1404
    assert all(render_kev(record).text for record in records)
