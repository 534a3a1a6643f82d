from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus import identifiers as ids

# Specimens that the issuing bodies print in their own rules, and numbers made up to the same rules.
SPECIMENS = [
    (ids.us_ssn_holds, "078051120", 9),
    (ids.uk_nhs_holds, "9434765919", 10),
    (ids.de_tax_holds, "86095742719", 11),
    (ids.de_card_holds, "T220001293", 10),
    (ids.de_pension_holds, "15070649C103", 12),
    (ids.fr_nir_holds, "255081416802538", 15),
    (ids.es_dni_holds, "12345678Z", 9),
    (ids.es_dni_holds, "X1234567L", 9),
    (ids.it_fiscal_holds, "MRTMTT25D09F205Z", 16),
    (ids.nl_bsn_holds, "111222333", 9),
    (ids.be_register_holds, "85073003328", 11),
    (ids.be_register_holds, "17073003384", 11),
    (ids.pl_pesel_holds, "02070803628", 11),
    (ids.pt_nif_holds, "123456789", 9),
    (ids.at_svnr_holds, "1237010180", 10),
    (ids.se_person_holds, "8112189876", 10),
    (ids.se_person_holds, "198112189876", 12),
    (ids.fi_hetu_holds, "131052308T", 10),
    (ids.fi_hetu_holds, "131052A308T", 11),
    (ids.ie_pps_holds, "1234567T", 8),
    (ids.ie_pps_holds, "1234567FA", 9),
    (ids.gr_amka_holds, "01013099997", 11),
    (ids.gr_afm_holds, "094259216", 9),
    (ids.ro_cnp_holds, "1800101221144", 13),
    (ids.cz_birth_holds, "7801233540", 10),
    (ids.bg_egn_holds, "7523169263", 10),
    (ids.hr_oib_holds, "94577403194", 11),
    (ids.hu_tax_holds, "8071592153", 10),
    (ids.hu_taj_holds, "123456788", 9),
    (ids.baltic_holds, "33309240064", 11),
    (ids.ch_ahv_holds, "7569217076985", 13),
]
CHECKED = [(holds, number) for holds, number, _ in SPECIMENS if holds is not ids.us_ssn_holds]


@pytest.mark.parametrize(("holds", "number", "length"), SPECIMENS)
def test_a_specimen_holds(holds: Callable[[str], bool], number: str, length: int) -> None:
    assert len(number) == length
    assert holds(number)


@pytest.mark.parametrize(("holds", "number"), CHECKED)
def test_most_numbers_one_character_away_fail(holds: Callable[[str], bool], number: str) -> None:
    others = [
        number[:place] + other + number[place + 1 :]
        for place, character in enumerate(number)
        for other in ("0123456789" if character.isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        if other != character
    ]
    assert sum(map(holds, others)) <= 0.2 * len(others)


@pytest.mark.parametrize("number", ["000121234", "666121234", "123001234", "123120000", "111111111", "900461234"])
def test_social_security_numbers_that_are_never_issued_fail(number: str) -> None:
    assert not ids.us_ssn_holds(number)


@pytest.mark.parametrize("code", ["BG123456C", "QQ123456C", "AO123456C", "AB123456E"])
def test_insurance_numbers_with_a_prefix_or_end_that_is_never_issued_fail(code: str) -> None:
    assert ids.uk_nino_holds("AB123456C")
    assert not ids.uk_nino_holds(code)


def test_a_corsican_number_counts_its_letter() -> None:
    body = "1850" + "52A004123"
    key = 97 - int(body.replace("2A", "19")) % 97
    assert ids.fr_nir_holds(f"{body}{key:02d}")
    assert not ids.fr_nir_holds(f"{body.replace('2A', '2B')}{key:02d}")


@pytest.mark.parametrize(
    "code",
    [
        "GB29 NWBK 6016 1331 9268 19",
        "DE89 3704 0044 0532 0130 00",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NL91 ABNA 0417 1643 00",
        "NO93 8601 1117 947",
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    ],
)
def test_the_registry_s_example_ibans_hold_and_one_digit_away_fail(code: str) -> None:
    assert ids.iban_holds(code)
    assert not ids.iban_holds(code[:-1] + ("1" if code[-1] != "1" else "2"))


@given(st.text("0123456789", min_size=10, max_size=28).filter(lambda account: len(account) != 18))
def test_an_iban_of_another_length_than_its_country_s_fails(account: str) -> None:
    check = 98 - int(f"{account}131400") % 97
    assert not ids.iban_holds(f"DE{check:02d}{account}")


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "30569309025904",
    ],
)
def test_the_schemes_test_cards_hold(number: str) -> None:
    assert ids.card_holds(number)


def test_a_number_that_no_scheme_issues_is_no_card_though_its_check_digit_holds() -> None:
    assert ids.luhn_holds("1234567812345670")
    assert not ids.card_holds("1234567812345670")
    assert not ids.card_holds("411111111111116")  # a Visa of 15 digits
