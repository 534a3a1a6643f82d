from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.mitre_samples import CAPEC_XML, CWE_XML
from forja.corpus.sources.telling import tell_json_kind, tell_xml_kind, tell_yaml_kind

CVE = {"dataType": "CVE_RECORD", "cveMetadata": {"cveId": "CVE-2024-1"}, "containers": {"cna": {}}}
NVD = {"resultsPerPage": 1, "format": "NVD_CVE", "vulnerabilities": [{"cve": {"id": "CVE-2024-1"}}]}
KEV = {"title": "CISA", "catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-2024-1"}]}
STIX = {"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001", "objects": []}
CWE = {"ID": "85", "Name": "Doubled", "Abstraction": "Variant", "Description": "D"}


@pytest.mark.parametrize("indent", [None, 4])
def test_each_kind_of_json_is_told(indent: int | None) -> None:
    for entry, kind in (
        (CVE, "cve"),
        (NVD, "nvd"),
        (KEV, "kev"),
        (STIX, "stix"),
        (CWE, "cwe"),
        ({"Weaknesses": [CWE]}, "cwe"),
    ):
        data = json.dumps(entry, indent=indent).encode()
        assert tell_json_kind(data) == kind
        assert tell_json_kind(b"\xef\xbb\xbf \n" + data) == kind
        assert tell_json_kind(json.dumps([entry], indent=indent).encode()) == kind
    assert tell_json_kind(json.dumps(dict(reversed(CVE.items()))).encode()) == "cve"


def test_ordinary_json_is_none_of_them_even_where_it_quotes_them() -> None:
    for entry in (CVE, NVD, KEV, STIX, CWE):
        assert tell_json_kind(json.dumps({"text": json.dumps(entry)}).encode()) is None
    for entry in ({"ID": "A1", "Prompt": "x"}, {"id": 1, "type": "bundle"}, {"vulnerabilities": [{"lines": [1]}]}):
        assert tell_json_kind(json.dumps(entry).encode()) is None
    assert tell_json_kind(b"") is None
    assert tell_json_kind(b"text") is None


def test_each_kind_of_xml_is_told_by_its_root() -> None:
    assert tell_xml_kind(CWE_XML.encode()) == "cwe"
    assert tell_xml_kind(CAPEC_XML.encode()) == "capec"
    assert tell_xml_kind(b'<!-- <Weakness_Catalog> --><mediawiki xmlns="x">') == "wikipedia"
    assert tell_xml_kind(b"<html><Weakness_Catalog/></html>") is None
    assert tell_xml_kind(b"text <mediawiki>") is None
    assert tell_xml_kind(b"<" * 65536) is None


def test_sigma_is_told_from_other_yaml() -> None:
    assert tell_yaml_kind(b"title: x\nlogsource:\n  product: y\ndetection:\n  a: b\n") == "sigma"
    assert tell_yaml_kind(b"title: x\ncorrelation:\n  type: event_count\n") == "sigma"
    assert tell_yaml_kind(b"title: x\ndescription: y\n") is None
    assert tell_yaml_kind(b"on:\n  push\njobs:\n  detection:\n") is None


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(data: bytes) -> None:
    for head in (data, b"{" + data, b"<" + data):
        tell_json_kind(head)
        tell_xml_kind(head)
        tell_yaml_kind(head)


@pytest.mark.realdata
def test_real_files_are_told_and_no_other_file_is_taken_for_one(realdata: Path) -> None:
    security = {
        "enterprise-attack.json.gz": "stix",
        "ics-attack.json.gz": "stix",
        "stix-capec.json.gz": "stix",
        "known_exploited_vulnerabilities.json.gz": "kev",
        "nvd_api2_cves-2023.json.gz": "nvd",
        "cwe_weaknesses.jsonl.gz": "cwe",
    }
    for path in sorted(realdata.rglob("*.json*")):
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            assert tell_json_kind(file.read(65536)) == security.get(path.name), path.name
    with zipfile.ZipFile(realdata / "corpora/security/sigma_rules.zip") as rules:
        assert {tell_yaml_kind(rules.read(name)[:65536]) for name in rules.namelist()} == {"sigma"}
    with zipfile.ZipFile(realdata / "corpora/security/cve_json5.zip") as records:
        assert {tell_json_kind(records.read(name)[:65536]) for name in records.namelist()} == {"cve"}
