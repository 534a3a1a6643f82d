"""An order carried out: which documents, what they say of themselves, and that they hold nobody's real address."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.record import Record
from forja.corpus.synth import make_document, places, read_synth
from forja.corpus.synth.writers import CONTROL, HOSTS, RESERVED
from forja.recipe import SynthSection

KINDS = ("policy", "phishing", "intrusion", "injection")
LANGUAGES = ("en", "es")
DOCUMENTED = [
    ipaddress.ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]
PHONE = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,4}(?!\w)")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")


def order(documents: int = 400, kinds: tuple[str, ...] = KINDS, languages: tuple[str, ...] = LANGUAGES) -> SynthSection:
    return SynthSection.model_validate({"documents": documents, "kinds": list(kinds), "languages": list(languages)})


@pytest.fixture(scope="module")
def made() -> list[Record]:
    return list(read_synth(order(3000), 5))


def test_a_longer_order_begins_with_the_shorter_one() -> None:
    short, long = list(read_synth(order(60), 1)), list(read_synth(order(90), 1))
    assert long[:60] == short
    assert len(long) == 90


@settings(max_examples=25)
@given(st.integers(0, 200), st.integers(0, 80), st.integers(0, 2**40))
def test_any_slice_is_made_alone_as_in_the_whole(first: int, size: int, seed: int) -> None:
    section = order(240)
    wanted = list(places(section))[first : first + size]
    assert list(places(section, first, first + size)) == wanted
    for place in wanted[:2]:
        assert make_document(place, seed) == make_document(place, seed)


def test_another_seed_makes_other_documents() -> None:
    one, two = (list(read_synth(order(40), seed)) for seed in (1, 2))
    assert [record.origin for record in one] == [record.origin for record in two]
    assert not {record.raw for record in one} & {record.raw for record in two}


def test_kinds_and_languages_take_turns_and_origins_differ(made: list[Record]) -> None:
    counts = Counter((record.meta["kind"], record.lang) for record in made)
    assert set(counts) == {(kind, lang) for kind in KINDS for lang in LANGUAGES}
    assert max(counts.values()) - min(counts.values()) <= 2
    assert len({record.origin for record in made}) == len(made)


def test_every_document_says_that_it_is_synthetic_and_by_whom(made: list[Record]) -> None:
    for record in made:
        assert record.form == "string"
        assert record.raw == (record.text or "").encode()
        assert record.licence == "CC0-1.0"
        assert record.meta["synthetic"] is True
        assert record.meta["writer"] == "grammar"
        assert re.fullmatch(r"[0-9a-f]{16}", record.meta["skeleton"])
        json.dumps(record.meta)


def test_twins_stand_together_name_each_other_and_share_the_company(made: list[Record]) -> None:
    pairs = [pair for pair in pairwise(made) if pair[0].meta["twin"] == pair[1].origin]
    assert len(pairs) > 1000
    for attack, benign in pairs:
        assert benign.meta["twin"] == attack.origin
        assert (attack.meta["label"], benign.meta["label"]) == ("attack", "benign")
        assert attack.meta["company"] == benign.meta["company"]
        assert attack.meta["techniques"]
        assert not benign.meta["techniques"]
        assert attack.text != benign.text


def test_technique_and_weakness_ids_have_the_form_of_their_catalogues(made: list[Record]) -> None:
    for record in made:
        for technique in record.meta.get("techniques", []):
            assert re.fullmatch(r"T\d{4}(\.\d{3})?|LLM\d\d|AML\.T\d{4}(\.\d{3})?", technique)
        for weakness in record.meta.get("weaknesses", []):
            assert re.fullmatch(r"CWE-\d+", weakness)


def test_addresses_and_hosts_are_those_reserved_for_documentation(made: list[Record]) -> None:
    versions = re.compile(r"(?:Chrome|Safari|Firefox|Version)/[\d.]+")
    for record in made:
        text = versions.sub("", record.text or "")
        for found in IPV4.findall(text):
            address = ipaddress.ip_address(found) if found != "0.0.0.0" else None
            assert address is None or any(address in net for net in DOCUMENTED), (record.origin, found)
        if record.meta.get("wrapping") in ("rot13", "reverse"):
            continue  # the same hosts, in disguise
        for host in HOSTS.findall(text):
            assert RESERVED.search(host) or IPV4.fullmatch(host), (record.origin, host)


def test_no_document_holds_a_phone_number_a_control_token_or_a_gap(made: list[Record]) -> None:
    for record in made:
        text = record.text or ""
        assert not PHONE.search(text), record.origin
        assert not CONTROL.search(text), record.origin
        assert record.meta["kind"] not in ("policy", "phishing") or "{" not in text, record.origin
        assert len(text) >= 64, record.origin
        assert text == text.strip()


def test_lines_of_a_log_are_in_the_order_of_their_times(made: list[Record]) -> None:
    stamp = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z ", re.M)
    seen = 0
    for record in made:
        if record.meta["kind"] == "intrusion":
            times = stamp.findall(record.text or "")
            seen += len(times) > 1
            assert times == sorted(times), record.origin
    assert seen > 50


def test_an_injection_is_never_followed_and_its_twin_answers_the_same_kind_of_task(made: list[Record]) -> None:
    goals = {record.meta["goal"] for record in made if record.meta["kind"] == "injection" and "goal" in record.meta}
    wrappings = {record.meta["wrapping"] for record in made if "wrapping" in record.meta}
    assert len(goals) >= 12
    assert len(wrappings) >= 15
    for record in made:
        if record.meta["kind"] == "injection" and record.meta["label"] == "benign":
            assert "goal" not in record.meta


def test_a_phishing_mail_comes_from_elsewhere_or_fails_its_checks(made: list[Record]) -> None:
    seen = 0
    for attack, benign in pairwise(made):
        if attack.meta["kind"] != "phishing" or attack.meta["label"] != "attack":
            continue
        mails = [
            re.search(r"^From: .*?<?([^<>\s]+@[^<>\s]+?)>?$", record.text or "", re.M) for record in (attack, benign)
        ]
        assert mails[0] is not None
        assert mails[1] is not None
        forged = "Reply-To:" in (attack.text or "")
        assert (mails[0][1] != mails[1][1]) is not forged
        if forged:
            assert "dmarc=fail" in (attack.text or "")
        assert "dmarc=fail" not in (benign.text or "")
        seen += 1
    assert seen > 300
