from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.attack import render_stix
from forja.corpus.sources.record import Record
from forja.corpus.sources.stix import read_stix
from forja.errors import ForjaError
from forja.recipe import Source


def thing(kind: str, number: int, key: str, name: str, **more: Any) -> dict[str, Any]:
    source = "capec" if key.startswith("CAPEC") else "mitre-attack"
    return {
        "type": kind,
        "id": f"{kind}--{number:08d}-0000-4000-8000-000000000000",
        "spec_version": "2.1",
        "name": name,
        "modified": "2025-04-15T19:58:01.218Z",
        "external_references": [{"source_name": source, "external_id": key, "url": f"https://attack.mitre.org/{key}"}],
        "x_mitre_domains": ["enterprise-attack"],
    } | more


def link(begin: dict[str, Any], kind: str, end: dict[str, Any], said: str = "", **more: Any) -> dict[str, Any]:
    return {
        "type": "relationship",
        "id": f"relationship--{begin['id'][-36:-28]}-{end['id'][-36:-28]}",
        "relationship_type": kind,
        "source_ref": begin["id"],
        "target_ref": end["id"],
        "description": said,
    } | more


TECHNIQUE = thing(
    "attack-pattern",
    1,
    "T1033",
    "User Discovery",
    description="Adversaries may use [OS Credential Dumping](https://attack.mitre.org/techniques/T1003) and "
    "<code>whoami</code>.(Citation: A (b) c)(Citation: Two)",
    kill_chain_phases=[{"kill_chain_name": "mitre-attack", "phase_name": "discovery"}],
    x_mitre_platforms=["Linux", "Windows"],
)
SUB = thing("attack-pattern", 2, "T1033.001", "Local User", description="A part.")
GROUP = thing("intrusion-set", 3, "G0007", "APT28", description="A group.", aliases=["APT28", "Fancy Bear"])
SOFTWARE = thing("malware", 4, "S0001", "Trojan", description="It steals.")
CAMPAIGN = thing("campaign", 5, "C0001", "Operation", description="It ran.", first_seen="2023-07-01T06:00:00.000Z")
MITIGATION = thing("course-of-action", 6, "M1036", "Account Policies", description="Limit them.")
TACTIC = thing("x-mitre-tactic", 7, "TA0007", "Discovery", description="To know.", x_mitre_shortname="discovery")
COMPONENT = thing(
    "x-mitre-data-component", 8, "DC0032", "Process Creation", description="New processes.",
    x_mitre_log_sources=[{"name": "WinEventLog:Security", "channel": "EventCode=4688"}],
)  # fmt: skip
ANALYTIC = thing(
    "x-mitre-analytic", 9, "AN0001", "Analytic 1", description="Watch for whoami.", x_mitre_platforms=["Windows"],
    x_mitre_log_source_references=[
        {"x_mitre_data_component_ref": COMPONENT["id"], "name": "Sysmon", "channel": "EventCode=1"}
    ],
    x_mitre_mutable_elements=[{"field": "TimeWindow", "description": "Minutes."}],
)  # fmt: skip
STRATEGY = thing(
    "x-mitre-detection-strategy", 10, "DET0001", "Detect Discovery", x_mitre_analytic_refs=[ANALYTIC["id"]]
)
GONE = thing("attack-pattern", 11, "T1000", "Old", description="Gone.", revoked=True)
OBJECTS = [
    TECHNIQUE, SUB, GROUP, SOFTWARE, CAMPAIGN, MITIGATION, TACTIC, COMPONENT, ANALYTIC, STRATEGY, GONE,
    link(SUB, "subtechnique-of", TECHNIQUE),
    link(GROUP, "uses", TECHNIQUE, "[APT28](https://a.example/groups/G0007) ran <code>whoami</code>.(Citation: X)"),
    link(GROUP, "uses", SOFTWARE, "It used it."),
    link(GROUP, "uses", GONE, "It used what is gone."),
    link(CAMPAIGN, "uses", TECHNIQUE, "The operation asked."),
    link(CAMPAIGN, "attributed-to", GROUP),
    link(MITIGATION, "mitigates", TECHNIQUE, "Allow little."),
    link(STRATEGY, "detects", TECHNIQUE),
    link(SOFTWARE, "uses", SUB, "dead", revoked=True),
]  # fmt: skip


def bundle(*objects: dict[str, Any]) -> bytes:
    return json.dumps({"type": "bundle", "id": "bundle--0", "objects": objects}).encode()


def read(data: bytes, since: str | None = None, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_stix(io.BytesIO(data), "b.json", Source(path="x", since=since), max_bytes))


def texts(*objects: dict[str, Any]) -> dict[str, str]:
    return {record.origin: render_stix(record).text or "" for record in read(bundle(*objects)) if record.reason is None}


def test_a_technique_says_what_is_around_it() -> None:
    assert (
        texts(*OBJECTS)["T1033"]
        == """T1033: User Discovery (ATT&CK technique)

Adversaries may use OS Credential Dumping and `whoami`.

Tactics: Discovery (TA0007).
Platforms: Linux and Windows.

Sub-techniques: Local User (T1033.001).

Detection:
Strategy: Detect Discovery (DET0001).

- On Windows: Watch for whoami.
  Log sources: Process Creation from Sysmon (EventCode=1).
  To be tuned: TimeWindow: Minutes.

Mitigations:
- Account Policies (M1036): Allow little.

Groups that use it: APT28 (G0007).

Campaigns that used it: Operation (C0001).

References:
- https://attack.mitre.org/T1033"""
    )


def test_what_a_group_does_stands_with_the_group() -> None:
    found = texts(*OBJECTS)
    assert (
        found["G0007"]
        == """G0007: APT28 (ATT&CK threat group)

A group.

Also known as: Fancy Bear.

Campaigns: Operation (C0001).

Techniques used:
- User Discovery (T1033): APT28 ran `whoami`.

Software used:
- Trojan (S0001): It used it.

References:
- https://attack.mitre.org/G0007"""
    )
    assert "(ATT&CK sub-technique of User Discovery (T1033))" in found["T1033.001"]
    assert "Groups that use it: APT28 (G0007)." in found["S0001"]
    assert "First seen in July 2023." in found["C0001"]
    assert "Attributed to: APT28 (G0007)." in found["C0001"]
    assert "Mitigates: User Discovery (T1033)." in found["M1036"]
    assert "- WinEventLog:Security (EventCode=4688)" in found["DC0032"]
    assert found["TA0007"].startswith("TA0007: Discovery (ATT&CK tactic)\n\nTo know.")


def test_what_is_revoked_is_told_and_not_named_by_others() -> None:
    records = read(bundle(*OBJECTS))
    assert [record.origin for record in records if record.reason == "revoked"] == ["T1000"]
    assert not any("T1000" in text or "gone" in text or "dead" in text for text in texts(*OBJECTS).values())


def test_a_detection_strategy_is_said_with_its_technique_or_alone() -> None:
    assert "DET0001" not in texts(*OBJECTS)
    assert "Watch for whoami." in texts(STRATEGY, ANALYTIC)["DET0001"]


def test_a_document_keeps_its_id_when_only_its_relations_change() -> None:
    def raw(*objects: dict[str, Any]) -> tuple[str, bytes]:
        return next((record.origin, record.raw) for record in read(bundle(*objects)) if record.origin == "T1033")

    assert raw(*OBJECTS) == raw(TECHNIQUE) == raw(*reversed(OBJECTS))
    assert raw(TECHNIQUE) != raw(TECHNIQUE | {"name": "Another"})


def test_relations_do_not_depend_on_the_order_of_the_bundle() -> None:
    assert texts(*OBJECTS) == texts(*reversed(OBJECTS))


def test_only_what_changed_since_a_date_is_taken_but_relations_still_hold() -> None:
    old = TACTIC | {"modified": "2020-01-01T00:00:00.000Z"}
    records = read(bundle(TECHNIQUE, old), "2024-01-01")
    assert [(record.origin, record.reason) for record in records] == [("T1033", None), ("TA0007", "before-since")]
    assert "Tactics: Discovery (TA0007)." in (render_stix(records[0]).text or "")


def test_a_cut_bundle_gives_its_whole_objects() -> None:
    data = bundle(*OBJECTS)
    records = read(data[: data.index(b'"T1000"')])
    assert [record.origin for record in records if record.reason is None] == [
        "T1033", "T1033.001", "G0007", "S0001", "C0001", "M1036", "TA0007", "DC0032", "DET0001",
    ]  # fmt: skip
    assert records[-1].reason == "truncated"


def test_a_damaged_object_costs_itself_only() -> None:
    data = bundle(*OBJECTS).replace(b'"name": "APT28"', b'"name": "APT28', 1)
    records = read(data)
    assert {"T1033", "T1033.001", "S0001", "M1036"} <= {record.origin for record in records if record.reason is None}
    assert [record.reason for record in records if record.reason not in (None, "revoked")] == ["not-json"]


def test_a_file_without_objects_is_an_error() -> None:
    for data in (b"", b'{"type": "bundle"}', b'{"vulnerabilities": []}'):
        with pytest.raises(ForjaError, match="objects"):
            read(data)


def test_what_is_no_stix_object_is_told() -> None:
    assert [record.reason for record in read(bundle({"a": 1}, {"type": "tool", "id": "malware--1"}))] == [
        "not-stix"
    ] * 2


def test_a_capec_pattern_says_its_mitigations_and_its_parent() -> None:
    parent = thing("attack-pattern", 21, "CAPEC-21", "Exploitation of Trust", description="P.", x_capec_version="3.9")
    measure = {
        "type": "course-of-action",
        "id": "course-of-action--1",
        "name": "coa-62-0",
        "description": "Use tokens.",
        "x_capec_version": "3.9",
    }
    pattern = thing(
        "attack-pattern",
        22,
        "CAPEC-62",
        "Cross Site Request Forgery",
        description="\n  <xhtml:p>A link.</xhtml:p>\n  <xhtml:p>A &lt;form&gt; <script>.</xhtml:p>",
        x_capec_abstraction="Standard",
        x_capec_version="3.9",
        x_capec_child_of_refs=[parent["id"]],
        x_capec_consequences={"Access_Control": ["Gain Privileges"]},
        x_capec_skills_required={"Medium": "Some."},
        x_capec_execution_flow="<h2> Execution Flow </h2><div><h3>Explore</h3><ol>"
        "<li> <p> <b>Look: </b>See it.</p></li>"
        "<table><tbody><tr><th>Techniques</th></tr><tr><td>Read <b>HTML</b></td></tr></tbody></table></ol></div>",
    )
    pattern["external_references"].append({"source_name": "cwe", "external_id": "CWE-352"})
    found = texts(parent, measure, pattern, link(measure, "mitigates", pattern))
    assert list(found) == ["CAPEC-21", "CAPEC-62"]
    assert (
        found["CAPEC-62"]
        == """CAPEC-62: Cross Site Request Forgery

A link.

A <form> <script>.

This is a standard attack pattern.

Relations:
- Child of CAPEC-21 Exploitation of Trust.

Execution flow:
Explore:
1. Look: See it.
   - Read HTML

Skills required:
- Medium: Some.

Consequences:
- Access Control: Gain Privileges.

Mitigations:
- Use tokens.

Weaknesses that it exploits: CWE-352."""
    )


@settings(max_examples=400)
@given(st.data())
def test_no_mutated_byte_raises_anything(data: st.DataObject) -> None:
    raw = bytearray(bundle(*OBJECTS))
    for _ in range(data.draw(st.integers(1, 12))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        for record in read(bytes(raw)):
            if record.reason is None:
                assert render_stix(record).text or render_stix(record).reason
    except ForjaError:
        pass


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["discovery", TACTIC["id"]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "source_name", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def test_a_reference_whose_source_is_a_list_raises_nothing() -> None:
    odd = {**OBJECTS[1], "external_references": [{"source_name": [], "external_id": "T1"}]}
    assert [record.reason for record in read(bundle(odd))] == [None]


@settings(max_examples=300)
@given(st.sampled_from(OBJECTS), st.data())
def test_no_field_of_another_type_raises_anything(entry: dict[str, Any], data: st.DataObject) -> None:
    odd = dict(entry)
    for _ in range(data.draw(st.integers(1, 4))):
        odd[data.draw(st.sampled_from(list(entry)))] = data.draw(ODD)
    for record in read(bundle(*OBJECTS, odd)):
        if record.reason is None:
            rendered = render_stix(record)
            assert rendered.text or rendered.reason
            json.dumps(rendered.meta)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "kept", "revoked"), [("enterprise-attack", 1863, 427), ("ics-attack", 245, 39), ("stix-capec", 558, 57)]
)
def test_real_bundles_are_text(realdata: Path, name: str, kept: int, revoked: int) -> None:
    with gzip.open(realdata / f"corpora/security/{name}.json.gz") as file:
        records = list(read_stix(file, name, Source(path="x"), 1 << 22))  # type: ignore[arg-type]
    assert Counter(record.reason for record in records) == {None: kept, "revoked": revoked}
    rendered = [render_stix(record) for record in records if record.reason is None]
    # Two CAPEC patterns have no description.
    assert sum(record.reason == "empty" for record in rendered) == (2 if name == "stix-capec" else 0)
    assert not any("(Citation:" in (record.text or "") or "xhtml:" in (record.text or "") for record in rendered)
    assert not any("](https://attack" in (record.text or "") for record in rendered)
