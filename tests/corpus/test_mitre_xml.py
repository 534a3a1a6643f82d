from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.mitre_samples import CAPEC_XML, CWE_XML
from forja.corpus.sources.capec import render_capec
from forja.corpus.sources.cwe import render_cwe
from forja.corpus.sources.mitre_xml import fields_of, read_mitre_xml
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source

RENDERERS = {"cwe": render_cwe, "capec": render_capec}


def read(data: str | bytes, since: str | None = None, max_bytes: int = 1 << 20) -> list[Record]:
    raw = data.encode() if isinstance(data, str) else data
    return list(read_mitre_xml(io.BytesIO(raw), "cat.xml", Source(path="x", since=since), max_bytes))


def rendered(record: Record) -> Record:
    return RENDERERS[record.form](record)


def many(count: int) -> str:
    """A catalogue of `count` weaknesses."""
    begin, end = CWE_XML.index("      <Weakness ID"), CWE_XML.index('      <Weakness ID="1"')
    entries = [CWE_XML[begin:end].replace('ID="22"', f'ID="{number}"', 1) for number in range(100, 100 + count)]
    return CWE_XML[:begin] + "".join(entries) + CWE_XML[CWE_XML.index("   </Weaknesses>") :]


def test_each_entry_of_a_catalogue_is_a_record() -> None:
    assert [(record.origin, record.form, record.reason, record.date) for record in read(CWE_XML)] == [
        ("CWE-22", "cwe", None, "2024-11-19"),
        ("CWE-1", "text", "revoked", None),
        ("CWE-1219", "cwe", None, "2020-01-15"),
    ]
    assert [(record.origin, record.form, record.reason, record.date) for record in read(CAPEC_XML)] == [
        ("CAPEC-66", "capec", None, "2022-09-29"),
        ("CAPEC-82", "text", "revoked", None),
    ]
    assert [record.licence for record in read(CAPEC_XML)][:1] == ["CAPEC terms of use (MITRE)"]


def test_a_weakness_is_text_with_its_code() -> None:
    text = rendered(read(CWE_XML)[0]).text or ""
    assert text.startswith("CWE-22: Path Traversal: '../' & kin\n\nThe product uses external input")
    assert "There are several forms:\n\n- relative paths\n- absolute paths\n" in text
    assert "- Child of CWE-706.\n- Can precede CWE-20." in text
    assert "- Confidentiality and Integrity: Read Files or Directories. The attacker may read what is outside." in text
    assert (
        "- Implementation, Operation, Input Validation: Assume all input is malicious.\n\n  Canonicalise first." in text
    )
    assert (
        """Vulnerable code (Perl):
```perl
my $dataPath = "/users/profiles";
open(my $fh, "<$path") || die;
while (<$fh>) {
  print "<li>$_</li>\\n";
}
```

An attacker could give:

Attack:
```
../../../etc/passwd
```"""
        in text
    )
    assert "Attack patterns: CAPEC-126 and CAPEC-64." in text
    assert "- CVE-2024-37032: Large language model tool does not validate a digest." in text


def test_an_attack_pattern_is_text_with_its_steps() -> None:
    record = rendered(read(CAPEC_XML)[0])
    text = record.text or ""
    assert text.startswith("CAPEC-66: SQL Injection\n\nThis attack exploits target software")
    assert (
        """Execution flow:
Explore:
1. Survey application: The attacker takes an inventory of the functionality.
   - Spider web sites for all available links
   - Sniff network communications
Exploit:
2. Exploit SQL Injection vulnerability: The adversary refines the payload."""
        in text
    )
    assert "Mitigations:\n- Strong input validation.\n- Use of parameterized queries." in text
    assert record.meta["cwe"] == ["CWE-89", "CWE-1286"]
    assert (record.meta["severity"], record.meta["likelihood"]) == ("high", "high")


def test_a_category_names_its_members() -> None:
    assert "- Members CWE-22 and CWE-41." in (rendered(read(CWE_XML)[2]).text or "")


def test_only_what_changed_since_a_date_is_taken() -> None:
    assert [record.reason for record in read(CWE_XML, "2021-01-01")] == [None, "revoked", "before-since"]


# --- hostile and broken ----------------------------------------------------------------------------


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))


@pytest.mark.parametrize("catalogue", [CWE_XML, CAPEC_XML])
def test_a_catalogue_that_declares_entities_is_refused(catalogue: str) -> None:
    head, _, rest = catalogue.partition("?>\n")
    root = re.match(r"<(\w+)", rest)
    assert root is not None
    bomb = f"{head}?>\n<!DOCTYPE {root[1]} [{LAUGHS}]>\n{rest}"
    outside = f'{head}?>\n<!DOCTYPE {root[1]} SYSTEM "file:///etc/passwd">\n{rest}'
    for data in (bomb, outside):
        with pytest.raises(ForjaError, match="document type"):
            read(data)


def test_entities_in_an_entry_are_never_resolved() -> None:
    for planted in (
        f"<!DOCTYPE x [{LAUGHS}]>&l9;",
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;',
        "&l9;",
        "&e;",
    ):
        records = read(CWE_XML.replace("The product uses external input", planted, 1))
        assert rendered(records[0]).reason == "broken-xml"
        assert rendered(records[2]).text
        assert fields_of(f"<!DOCTYPE x [{LAUGHS}]><Weakness>&l9;</Weakness>".encode(), "cwe") is None


def test_a_file_of_another_kind_is_an_error() -> None:
    for data in ("", "<html></html>", "text", CWE_XML.encode("utf-16")):
        with pytest.raises(ForjaError, match="catalogue"):
            read(data)


def test_a_cut_catalogue_gives_its_whole_entries() -> None:
    data = many(40)
    records = read(data[: len(data) // 2])
    assert [record.origin for record in records[:-1]] == [f"CWE-{number}" for number in range(100, 99 + len(records))]
    assert len(records) >= 19
    assert (records[-1].origin, records[-1].reason) == ("cat.xml#end", "truncated")


def test_a_broken_entry_costs_itself_only() -> None:
    data = many(10).replace("</Weakness>", "</Weak>", 1)
    assert [record.reason for record in read(data)][:2] == ["broken-xml", None]
    data = many(10).replace("</Description>", "</Descr>", 1)
    found = [rendered(record) for record in read(data) if record.reason is None]
    assert [record.reason for record in found][:3] == ["broken-xml", None, None]


def test_an_entry_over_the_bound_is_too_long() -> None:
    data = many(3).replace("Many file operations", "x" * 400_000, 1)
    assert [record.reason for record in read(data, max_bytes=100_000)][:3] == ["too-long", None, None]


@settings(max_examples=400)
@given(st.sampled_from([CWE_XML, CAPEC_XML]), st.data())
def test_no_mutated_byte_raises_anything(catalogue: str, data: st.DataObject) -> None:
    raw = bytearray(catalogue.encode())
    for _ in range(data.draw(st.integers(1, 10))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        for record in read(bytes(raw)):
            if record.reason is None:
                found = rendered(record)
                assert found.text or found.reason
    except ForjaError:
        pass
