from __future__ import annotations

import pytest

from forja.corpus.privacy import mask
from forja.recipe import Privacy


def masked(text: str) -> str:
    return mask(text, Privacy()).text


@pytest.mark.parametrize(
    "text",
    [
        # Strict forms, without a cue.
        "078-05-1120",
        "AB123456C",
        "AB 12 34 56 C",
        "15 070649 C 103",
        "2 55 08 14 168 025 38",
        "255081416802538",
        "12345678Z",
        "12.345.678-Z",
        "X1234567L",
        "X-1234567-L",
        "MRTMTT25D09F205Z",
        "85.07.30-033.28",
        "811218-9876",
        "19811218-9876",
        "131052-308T",
        "131052A308T",
        "780123/3540",
        "756.9217.0769.85",
    ],
)
def test_an_id_in_its_written_form_is_masked(text: str) -> None:
    assert masked(f"The applicant, {text}, was heard.") == "The applicant, <national_id>, was heard."


@pytest.mark.parametrize(
    "text",
    [
        "SSN 078051120",
        "social security number: 078 05 1120",
        "NHS number 943 476 5919",
        "Steuer-ID 86 095 742 719",
        "Personalausweis T220001293",
        "DNI: 12345678 Z",
        "BSN 111222333",
        "rijksregisternummer 85073003328",
        "PESEL 02070803628",
        "NIF 123 456 789",
        "Sozialversicherungsnummer 1237 010180",
        "personnummer 8112189876",
        "PPSN 1234567FA",
        "CPR-nr. 070761-4284",
        "AMKA 01013099997",
        "CNP 1800101221144",
        "rodné číslo 7801233540",
        "EGN 7523169263",
        "OIB 94577403194",
        "adóazonosító 8071592153",
        "asmens kodas 33309240064",
    ],
)
def test_an_id_of_digits_alone_needs_a_word_beside_it(text: str) -> None:
    number = text[min(place for place, character in enumerate(text) if character.isdigit()) :]
    if text.startswith("Personalausweis"):
        number = "T220001293"
    assert masked(f"see {text}.") == f"see {text[: -len(number)]}<national_id>."
    assert masked(f"build {number}.") == f"build {number}."


def test_the_word_may_follow_but_not_stand_in_another_line() -> None:
    assert masked("111222333 (BSN)") == "<national_id> (BSN)"
    assert masked("BSN\n111222333") == "BSN\n111222333"


@pytest.mark.parametrize(
    "text",
    [
        "+49 30 1234567",
        "+1 (555) 123-4567",
        "+1-555-0199-222",
        "+44 (0)20 7946 0958",
        "+33 1 23 45 67 89",
        "+4915112345678",
        "(555) 555-0123",
        "415-555-0123",
        "1-800-555-0199",
        "+49\u00a030\u00a01234567",
    ],
)
def test_a_telephone_number_in_international_or_american_form_is_masked(text: str) -> None:
    assert masked(f"I was at {text}, then left") == "I was at <phone>, then left"


@pytest.mark.parametrize(
    "text",
    [
        "Tel. 030 1234567",
        "phone: 0161 496 0123",
        "téléphone 01 23 45 67 89",
        "fax 0043 1 534400",
        "llamar 912 345 678",
        "call 415.555.0123",
        "Telefon 089/1234567",
    ],
)
def test_a_national_telephone_number_needs_a_word_before_it(text: str) -> None:
    name, _, number = text.partition(" ")
    assert masked(text) == f"{name} <phone>"
    assert masked(f"value {number}") == f"value {number}"


@pytest.mark.parametrize("text", ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005"])
def test_a_card_is_masked(text: str) -> None:
    assert masked(f"paid by {text}.") == "paid by <card>."
    assert masked(f"order 12 {text} shipped") == "order 12 <card> shipped"


def test_an_iban_ends_where_its_country_says() -> None:
    assert masked("to GB29 NWBK 6016 1331 9268 19 AND back") == "to <iban> AND back"
    assert masked("NL91ABNA0417164300, DE89370400440532013000") == "<iban>, <iban>"
    assert masked("GB29 NWBK 6016 1331 9268 18") == "GB29 NWBK 6016 1331 9268 18"


@pytest.mark.parametrize(
    "text",
    [
        "CVE-2021-44228, CVE-2023-1234567 and CWE-79 in RFC 5322",
        "GHSA-jfh8-c2jp-5v3q, KB5034441, MS17-010",
        "2021-12-10T13:45:30.123456Z and 20211210134530",
        "epoch 1639143930123, ns 1639143930123456789",
        "commit 48e3e5e7ead6777fa75d57c7711c8e55b501c24e",
        "sha256:b2da3316acdc2bec442190a1fe10dc094e7ba4121d029cb32075ff59bb27390a",
        "uuid 550e8400-e29b-41d4-a716-446655440000",
        "00 01 02 03 04 05 06 07 08 09 0a 0b",
        "0x7fff5fbff8c0 at 0000:00:1f.2, port 49152-65535",
        "[  567.614748] Call Trace: driver_unregister+0x38/0x40",
        "RIP: 0033:0x7f1e93f279ed CR0: 0000000080050033",
        "version 10.0.19041.1288, build 20230101A",
        "1.3.6.1.4.1.311.21.8.4116110.111111111",
        "ISBN 978-3-16-148410-0, ISSN 0378-5955",
        "081109 203615 148 INFO dfs.DataNode$PacketResponder: blk_-1608999687919862906",
        "pages 123-456-789 to 12 345 678",
        "$1,234,567.89 or 12 345 678 901 euro",
        "https://example.com/photos/4111111111111111/078-05-1120/",
        "123-45-67890",
        "+0.000005 and +1000",
    ],
)
def test_numbers_of_security_text_stay(text: str) -> None:
    assert masked(text) == text


def test_a_placeholder_is_no_word_that_names_a_number() -> None:
    assert masked("+49 30 1234567 or 030 7654321") == "<phone> or 030 7654321"
    assert masked("<phone> 030 7654321 <national_id> 111222333") == "<phone> 030 7654321 <national_id> 111222333"


@pytest.mark.parametrize("text", ["7" * 300_000, "1 " * 150_000, "AB12 " * 60_000, "+1" * 150_000, "1-" * 150_000])
def test_long_runs_are_read_and_left(text: str) -> None:
    assert masked(text) == text
