"""Numbers by which a person or an account is known, by their published check: national ids, IBAN, payment cards.

Each check takes the characters alone, upper case, without separators, and says whether they can be such a number. How a
number is written, and where in a text it is looked for, is in `numbers.py`. The rules are those the issuing bodies
publish, as gathered by the European Commission (taxation and customs, TIN on Europa) and OECD (TIN by jurisdiction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# How long an IBAN is in each country: the SWIFT IBAN registry's table.
COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
    "YE30"
)
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in COUNTRIES.split()}
CARD_LENGTHS = (
    # First digits from, to (inclusive), and the lengths that are issued (ISO/IEC 7812; the schemes' own tables).
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("300", "305", (14,)),
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("3528", "3589", (16,)),
    ("4", "4", (16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("50", "50", (16,)),
    ("6011", "6011", (16,)),
    ("62", "62", (16, 19)),
    ("63", "69", (16,)),
)
MOD_23 = "TRWAGMYFPDXBNJZSQVHLCKE"
MOD_31 = "0123456789ABCDEFHJKLMNPRSTUVWXY"
ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (*(1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def luhn_holds(number: str) -> bool:
    """The check digit of payment cards and many ids (ISO/IEC 7812-1, annex B). Not for one digit repeated."""
    digits = [int(character) for character in number if character.isdigit()]
    if len(digits) < 2 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def card_holds(number: str) -> bool:
    """A payment card: a length and first digits that are issued, and Luhn's check digit."""
    return any(
        low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in CARD_LENGTHS
    ) and luhn_holds(number)


def iban_holds(code: str) -> bool:
    """An IBAN's check digits (ISO 13616; ISO 7064 MOD 97-10), and its length where its country registered one."""
    plain = code.replace(" ", "")
    if not 15 <= len(plain) <= 34 or len(plain) != IBAN_LENGTHS.get(plain[:2], 0) or not plain.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def us_ssn_holds(number: str) -> bool:
    """US Social Security number or ITIN: the areas, groups and serials that are issued (SSA; IRS)."""
    area, group, serial = number[:3], number[3:5], number[5:]
    if area in ("000", "666") or group == "00" or serial == "0000" or len(set(number)) == 1:
        return False
    return area < "900" or 50 <= int(group) <= 65 or 70 <= int(group) <= 88 or 90 <= int(group) <= 99


def uk_nino_holds(code: str) -> bool:
    """UK National Insurance number: the prefixes that are issued (HMRC, NIM39110)."""
    return (
        code[0] not in "DFIQUV"
        and code[1] not in "DFIOQUV"
        and code[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")
        and code[-1] in "ABCD"
    )


def uk_nhs_holds(number: str) -> bool:
    """UK NHS number: modulus 11 (NHS data dictionary)."""
    return len(set(number)) > 1 and (11 - _weighted(number[:9], range(10, 1, -1)) % 11) % 11 == int(number[9])


def de_tax_holds(number: str) -> bool:
    """German Steuer-Identifikationsnummer: one digit of the first ten twice or thrice, ISO 7064 MOD 11,10."""
    most = Counter(number[:10]).most_common(2)
    return number[0] != "0" and most[0][1] in (2, 3) and most[1][1] == 1 and _mod_11_10_holds(number)


def de_card_holds(code: str) -> bool:
    """German identity card or passport number with its check digit (ICAO 9303, weights 7 3 1)."""
    return sum(int(character, 36) * (7, 3, 1)[place % 3] for place, character in enumerate(code[:9])) % 10 == int(
        code[9]
    )


def de_pension_holds(code: str) -> bool:
    """German Rentenversicherungsnummer (VKVV section 2): birth date, letter, digit sums with weights."""
    day, month = int(code[2:4]), int(code[4:6])
    digits = f"{code[:8]}{ord(code[8]) - 64:02d}{code[9:11]}"
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    total = sum(sum(divmod(int(digit) * weight, 10)) for digit, weight in zip(digits, weights, strict=True))
    return 1 <= month <= 12 and 1 <= day <= 81 and total % 10 == int(code[11])


def fr_nir_holds(code: str) -> bool:
    """French NIR: sex, month, and the key 97 - n mod 97; Corsica's 2A and 2B count as 19 and 18 (INSEE)."""
    body = code[:5] + code[5:7].replace("2A", "19").replace("2B", "18") + code[7:]
    month = int(code[3:5])
    if not body.isdigit() or not (1 <= month <= 12 or 20 <= month <= 42 or month >= 50):
        return False
    return code[0] in "123478" and 97 - int(body[:13]) % 97 == int(body[13:])


def es_dni_holds(code: str) -> bool:
    """Spanish DNI, and NIE with X, Y or Z in place of the first digit: the letter of n mod 23."""
    digits = code[:8].translate({88: "0", 89: "1", 90: "2"})
    return digits.isdigit() and len(set(digits)) > 1 and MOD_23[int(digits) % 23] == code[8]


def it_fiscal_holds(code: str) -> bool:
    """Italian codice fiscale: the check character over odd and even places (DM 23 December 1976)."""
    even = sum(int(character) if character.isdigit() else ord(character) - 65 for character in code[1:15:2])
    return (sum(ODD[character] for character in code[:15:2]) + even) % 26 == ord(code[15]) - 65


def nl_bsn_holds(number: str) -> bool:
    """Dutch burgerservicenummer: the 11-test."""
    return (
        len(set(number)) > 1
        and (_weighted(number[:8], range(9, 1, -1)) - int(number[8])) % 11 == 0
        and number != "0" * 9
    )


def be_register_holds(number: str) -> bool:
    """Belgian rijksregisternummer: 97 - n mod 97, with a 2 before n for those born from 2000."""
    month, day, check = int(number[2:4]) % 20, int(number[4:6]), int(number[9:])
    return month <= 12 and day <= 31 and check in (97 - int(number[:9]) % 97, 97 - int("2" + number[:9]) % 97)


def pl_pesel_holds(number: str) -> bool:
    """Polish PESEL: birth date with the century in the month, weights 1 3 7 9."""
    return (
        _date_holds(int(number[2:4]) % 20, number[4:6])
        and _weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def pt_nif_holds(number: str) -> bool:
    """Portuguese NIF: modulus 11."""
    check = 11 - _weighted(number[:8], range(9, 1, -1)) % 11
    return number[0] in "1235689" and int(number[8]) == (0 if check > 9 else check) and len(set(number)) > 1


def at_svnr_holds(number: str) -> bool:
    """Austrian Sozialversicherungsnummer: modulus 11 in the fourth place, birth date after it."""
    check = _weighted(number, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11
    return number[0] != "0" and check == int(number[3]) and _date_holds(int(number[6:8]), number[4:6])


def se_person_holds(number: str) -> bool:
    """Swedish personnummer or samordningsnummer (day + 60), ten digits or twelve: Luhn over the last ten."""
    number = number[-10:]
    return _date_holds(int(number[2:4]), f"{int(number[4:6]) % 60:02d}") and luhn_holds(number)


def fi_hetu_holds(code: str) -> bool:
    """Finnish henkilötunnus, without or with its century sign: the character of n mod 31."""
    plain = code[:6] + code[-4:]
    return _date_holds(int(plain[2:4]), plain[:2]) and MOD_31[int(plain[:9]) % 31] == plain[9]


def ie_pps_holds(code: str) -> bool:
    """Irish PPS number: modulus 23 with weights 8 to 2, and 9 for a second letter."""
    second = ord(code[8]) - 64 if len(code) == 9 and code[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(_weighted(code[:7], range(8, 1, -1)) + 9 * second) % 23] == code[7]


def dk_cpr_holds(number: str) -> bool:
    """Danish CPR number: a date and a serial; it has no check since 2007."""
    return _date_holds(int(number[2:4]), number[:2])


def no_birth_holds(number: str) -> bool:
    """Norwegian fødselsnummer: two check digits, modulus 11; day + 40 for a D-number."""
    first = -_weighted(number[:9], (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
    second = -_weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _date_holds(int(number[2:4]), f"{int(number[:2]) % 40:02d}") and number[9:] == f"{first}{second}"


def gr_amka_holds(number: str) -> bool:
    """Greek AMKA: birth date, Luhn."""
    return _date_holds(int(number[2:4]), number[:2]) and luhn_holds(number)


def gr_afm_holds(number: str) -> bool:
    """Greek AFM: powers of two, modulus 11."""
    return len(set(number)) > 1 and _weighted(number[:8], [2**power for power in range(8, 0, -1)]) % 11 % 10 == int(
        number[8]
    )


def ro_cnp_holds(number: str) -> bool:
    """Romanian CNP: sex, birth date, weights 279146358279, modulus 11."""
    check = _weighted(number[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (
        number[0] != "0"
        and _date_holds(int(number[3:5]), number[5:7])
        and int(number[12]) == (1 if check == 10 else check)
    )


def cz_birth_holds(number: str) -> bool:
    """Czech and Slovak rodné číslo of ten digits: divisible by 11 (or the old tenth digit 0), month + 50, 20, 70."""
    month = int(number[2:4])
    whole = int(number) % 11 == 0 or (int(number[:9]) % 11 == 10 and number[9] == "0")
    return whole and _date_holds((month - 20 if month % 50 > 12 else month) % 50, number[4:6])


def bg_egn_holds(number: str) -> bool:
    """Bulgarian EGN: birth date with the century in the month, weights 2 4 8 5 10 9 7 3 6, modulus 11."""
    check = _weighted(number[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10
    return _date_holds(int(number[2:4]) % 20, number[4:6]) and check == int(number[9])


def hr_oib_holds(number: str) -> bool:
    """Croatian OIB: ISO 7064 MOD 11,10."""
    return len(set(number)) > 1 and _mod_11_10_holds(number)


def hu_person_holds(number: str) -> bool:
    """Hungarian személyi azonosító: birth date, modulus 11 with rising weights, falling from 1997."""
    rising, falling = _weighted(number[:10], range(1, 11)) % 11, _weighted(number[:10], range(10, 0, -1)) % 11
    return (
        number[0] in "12345678" and _date_holds(int(number[3:5]), number[5:7]) and int(number[10]) in (rising, falling)
    )


def hu_tax_holds(number: str) -> bool:
    """Hungarian adóazonosító jel: 8, then modulus 11."""
    return number[0] == "8" and _weighted(number[:9], range(1, 10)) % 11 == int(number[9])


def hu_taj_holds(number: str) -> bool:
    """Hungarian TAJ number: weights 3 and 7, modulus 10."""
    return len(set(number)) > 1 and _weighted(number[:8], (3, 7) * 4) % 10 == int(number[8])


def baltic_holds(number: str) -> bool:
    """Lithuanian asmens kodas and Estonian isikukood: two rounds of modulus 11."""
    check = _weighted(number[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = _weighted(number[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return number[0] in "123456" and _date_holds(int(number[3:5]), number[5:7]) and check == int(number[10])


def ch_ahv_holds(number: str) -> bool:
    """Swiss AHV number: 756, EAN-13's check digit."""
    return number[:3] == "756" and _weighted(number, (1, 3) * 6 + (1,)) % 10 == 0


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _mod_11_10_holds(number: str) -> bool:
    """ISO 7064 MOD 11,10, the check digit last."""
    product = 10
    for digit in number[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[-1])


def _date_holds(month: int, day: str) -> bool:
    return 1 <= month <= 12 and 1 <= int(day) <= 31
