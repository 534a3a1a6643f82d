from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.identifiers import iban_holds, luhn_holds
from forja.corpus.privacy import mask, subject_key
from forja.recipe import Privacy

ALL = Privacy(email=True, phone=True, ip=True, card=True, iban=True, secret=True)


def check_digit(payload: str) -> str:
    """Luhn's, computed the long way."""
    total = 0
    for place, digit in enumerate(reversed(payload)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str(-total % 10)


@given(st.text("0123456789", min_size=12, max_size=18).filter(lambda digits: len(set(digits)) > 1))
def test_luhn_holds_for_the_right_check_digit_alone(payload: str) -> None:
    right = check_digit(payload)
    assert [digit for digit in "0123456789" if luhn_holds(payload + digit)] == [right]


@given(st.text("ABCDEFGHIJ0123456789", min_size=18, max_size=18))
def test_iban_holds_for_the_right_check_digits_and_fails_one_away(account: str) -> None:
    digits = "".join(str(int(character, 36)) for character in account + "DE00")
    check = 98 - int(digits) % 97
    assert iban_holds(f"DE{check:02d}{account}")
    assert not iban_holds(f"DE{(check + 1) % 97:02d}{account}")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Jane.Doe+x@mail.example.co.uk, please", "write to <email>, please"),
        ("call +49 30 1234567 or +1 (555) 123-4567", "call <phone> or <phone>"),
        ("pay with 4111 1111 1111 1111 today", "pay with <card> today"),
        ("to GB29 NWBK 6016 1331 9268 19.", "to <iban>."),
        ("from 192.168.10.1 and 2001:db8::8a2e:370:7334", "from <ip> and <ip>"),
        ("key AKIAIOSFODNN7EXAMPLE in the log", "key <secret> in the log"),
        ("token ghp_" + "a1B2" * 9 + ";", "token <secret>;"),
        ("git clone https://me:hunter2@host/repo", "git clone https://<secret>@host/repo"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<secret>"),
    ],
)
def test_personal_data_becomes_a_typed_placeholder(text: str, masked: str) -> None:
    assert mask(text, ALL).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4.5 of 2024-01-02 03:04:05, at 12:30:45",
        "@decorator\ndef f(a, b): return a@b",
        "RIP: 0033:0x7f1e93f279ed CR0: 0000000080050033",
        "[  +0.000005] WARNING: CPU: 7",
        "4111 1111 1111 1112 fails its check",
        "SHA 0123456789abcdef0123456789abcdef",
        "CVE-2021-44228 and CWE-79, RFC 5322",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert mask(text, ALL).text == text


def test_each_kind_is_counted_and_each_person_named_once() -> None:
    masked = mask("a@b.org, A@B.org and c@d.org", ALL)
    assert masked.counts == {"email": 3}
    assert masked.people == ("a@b.org", "c@d.org")


def test_what_the_settings_leave_out_stays() -> None:
    text = "a@b.org from 10.0.0.1"
    assert mask(text, Privacy(email=False)).text == text


def test_a_person_is_found_again_only_with_the_key() -> None:
    assert subject_key("a@b.org", b"k" * 16) == subject_key("a@b.org", b"k" * 16)
    assert subject_key("a@b.org", b"k" * 16) != subject_key("a@b.org", b"j" * 16)


@given(st.text(st.sampled_from("a@.+-:/0189 AKIBEGNPRVTEY\n"), max_size=200))
def test_masking_twice_finds_no_more_addresses(text: str) -> None:
    assert "email" not in mask(mask(text, ALL).text, ALL).counts


PIECES = st.lists(
    st.sampled_from(
        [
            *("a@b.org", "+49 30 1234567", "415-555-0123", "4111 1111 1111 1111", "GB29 NWBK 6016 1331 9268 19"),
            *("078-05-1120", "111222333", "12345678Z", "192.0.2.1", "2001:db8::1", "AKIAIOSFODNN7EXAMPLE"),
            *(
                "ghp_" + "a1B2" * 9,
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.",
                "-----BEGIN PRIVATE KEY-----",
                "-----END PRIVATE KEY-----",
            ),
            *(
                "://u:pw@",
                "password=",
                'secret: "',
                "Authorization: Bearer ",
                "$6$salt$",
                "abcdEFGH12345678",
                "Tel ",
                "BSN ",
            ),
            *(
                "<phone>",
                "<secret>",
                "<national_id>",
                "phone",
                "version ",
                " ",
                "\n",
                ",",
                "-",
                ".",
                "/",
                "(",
                ")",
                "'",
                '"',
            ),
            *("@", "+", "=", ":", "::", "0", "12", "A", "x", "_", "é", "\u00a0", "%", "\\n", "<", ">", "b.com"),
        ]
    ),
    max_size=16,
).map("".join)


@given(PIECES, st.sampled_from(["keep", "defang", "mask"]))
def test_masking_what_was_masked_changes_nothing(text: str, indicators: Literal["keep", "defang", "mask"]) -> None:
    settings = ALL.model_copy(update={"indicators": indicators})
    once = mask(text, settings)
    again = mask(once.text, settings)
    assert again.text == once.text
    assert not again.counts


@given(PIECES)
def test_lines_are_masked_as_if_each_stood_alone(text: str) -> None:
    lines = text.replace("-----BEGIN", "").split("\n")
    assert mask("\n".join(lines), ALL).text == "\n".join(mask(line, ALL).text for line in lines)


@given(PIECES, st.sampled_from(["email", "phone", "ip", "card", "iban", "national_id", "secret"]))
def test_only_the_kinds_that_are_asked_for_are_replaced(text: str, kind: str) -> None:
    nothing = dict.fromkeys(("email", "phone", "ip", "card", "iban", "national_id", "secret"), False)
    masked = mask(text, Privacy(**{**nothing, kind: True}))
    assert set(masked.counts) <= {kind}
    assert mask(text, Privacy(**nothing)).text == text


@pytest.mark.parametrize(
    "piece", ["@", "a@", "a@b.co+", "7", "1.", "://a:b@", "password=", "a-", "+1", "::", "4111 1111 1111 1111 "]
)
def test_text_made_to_be_slow_is_read_to_its_end(piece: str) -> None:
    once = mask(piece * 20_000, ALL).text
    assert mask(once, ALL).text == once


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("email=jane@x.org&a=1", "email=<email>&a=1"),
        ("<jane@x.org>, 'joe@x.org'", "<<email>>, '<email>'"),
        ("mailto:jané.dö@müller.example", "mailto:<email>"),
        ("jane@x.org.", "<email>."),
    ],
)
def test_an_address_ends_where_its_sentence_goes_on(text: str, masked: str) -> None:
    assert mask(text, ALL).text == masked


@pytest.mark.parametrize(
    "text",
    ["git@github.com:o/r.git", "icon@2x.png", "getty@tty1.service", "lodash@4.17.21", "@scope/pkg", "user@localhost"],
)
def test_what_only_has_an_at_sign_is_no_address(text: str) -> None:
    assert mask(text, ALL).text == text


@pytest.mark.parametrize(
    ("indicators", "masked"),
    [
        ("keep", "<email> got <phone> from https://<secret>@evil.com/a and <ip>"),
        ("defang", "<email> got <phone> from hxxps://<secret>@evil[.]com/a and <ip>"),
        ("mask", "<email> got <phone> from <url> and <ip>"),
    ],
)
def test_the_policy_for_indicators_goes_with_the_masking(
    indicators: Literal["keep", "defang", "mask"], masked: str
) -> None:
    text = "a@b.org got +49 30 1234567 from https://me:pw@evil.com/a and 192.0.2.1"
    assert mask(text, ALL.model_copy(update={"indicators": indicators})).text == masked


@pytest.mark.realdata
def test_books_hold_nothing_to_mask(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/general/books_en.jsonl.gz", "rt") as lines:
        for line in lines:
            assert not mask(json.loads(line)["text"], ALL).counts


@pytest.mark.realdata
def test_reports_of_weaknesses_keep_their_numbers(realdata: Path) -> None:
    """Of 13 MB, only the telephone numbers, ids and secrets of a few: identifiers and versions are none."""
    counts: Counter[str] = Counter()
    with gzip.open(realdata / "corpora/security/cve_text.jsonl.gz", "rt") as lines:
        for line in lines:
            counts += mask(json.loads(line)["text"], Privacy(email=False)).counts
    assert counts.total() <= 20
