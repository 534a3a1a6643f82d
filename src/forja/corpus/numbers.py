"""Where in a text telephone numbers, payment cards, IBANs and national ids stand; their checks: `identifiers.py`.

A number is told by its *shape*, digits as 0, capitals as A, small letters as a, all else as it is: 078-05-1120 has
the shape 000-00-0000. Shapes repeat, so that the forms a shape holds are looked up and not
searched. A form whose check is weak counts only where a word nearby says what it is (a *cue*).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from forja.corpus import identifiers as ids
from forja.corpus.spans import Span

# Four digits or more, with at most two separators between them, and all digits, separators and single capitals after.
# Possessive, so that a long run costs its length. Starts with a class, which makes the search fast.
CLUSTER = re.compile(
    r"[0-9](?:[ .\-/()\xa0\u2011]{0,2}[0-9]){3}[0-9 .\-/()\xa0\u202f\u2011\u2013]*+"
    r"(?:[A-Z]{1,2}(?![A-Za-z])[0-9 .\-/()\xa0\u202f\u2011\u2013]*+){0,2}"
)
SEPARATORS = " .-/()\xa0\u202f\u2011\u2013"
PLAIN_SEPARATORS = str.maketrans("\xa0\u202f\u2011\u2013", "  --")
LETTERS_AND_DIGITS = string.ascii_letters + string.digits
SHAPE = bytes(
    48 if chr(code).isdigit() else 65 if chr(code).isupper() else 97 if chr(code).islower() else code
    for code in range(128)
) + bytes(range(128, 256))
LONGEST_WORD = 16
"""No form but an IBAN has so many letters and digits in a row; longer words are hashes and the like."""
LONGEST_KEPT_SHAPE = 48

# Identifiers that begin with a capital. The look back comes after the first class for the same reason.
CODE = re.compile(
    r"[A-Z](?<![A-Za-z0-9_].)(?:"
    r"(?P<nino>[A-Z](?: ?[0-9]{2}){3} ?[A-D])"
    r"|(?P<nie>(?<=[XYZ])-?[0-9]{7}-?[A-Z])"
    r"|(?P<iban>[A-Z][0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)"
    r"|(?P<fiscal>[A-Z]{5}[0-9L-NP-V]{2}[ABCDEHLMPRST][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z])"
    r"|(?P<idcard>(?<=[CFGHJKLMNPRTVWXYZ])[CFGHJKLMNPRTVWXYZ0-9]{8}[0-9])"
    r")(?![A-Za-z0-9_])"
)
# Not after "<": a placeholder such as <phone> is no cue.
ID_CUE = re.compile(
    r"(?<![A-Za-z0-9<])(?:(?i:social[ _-]?security|tax[ _-]?(?:id|no|number|payer|identification)|taxpayer|steuer-?id|"
    r"steuer(?:liche )?-?identifikation\w*|identifikationsnummer|idnr|steuernummer|national[ _-]insurance|nhs|"
    r"national[ _-]?(?:id|identity|identification|identifier|number)|"
    r"(?:identity|id|identification)[ _-]?(?:card|number|no|code|document)|"
    r"personal[ _-]?(?:id|identity|identification|code|number)|personalausweis\w*|ausweis(?:nummer|nr)|passport|"
    r"reisepass\w*|burgerservicenummer|sofinummer|rijksregister\w*|(?:numéro|registre) national|pesel|contribuinte|"
    r"sozialversicherungs\w*|versicherungsnummer|rentenversicherung\w*|personnummer|samordningsnummer|henkilötunnus|"
    r"cpr[ -]?(?:nr|nummer|no)|f[øo]dselsnummer|cod numeric personal|rodn[ée] [čc][íi]slo|ad[óo]azonos[íi]t[óo]|"
    r"szem[ée]lyi|asmens kodas|isikukood|codice fiscale|s[ée]curit[ée] sociale|documento nacional|"
    r"id[ -]?kaart|id[ -]?nummer|tunnus|dowód|egn|егн|oib|αμκα|αφμ|ssn|bsn|dni|nif|hetu|pps[ -]?no|ppsn|svnr|nino)"
    r"|ITIN|TIN|NIE|NISS|INSZ|PPS|CPR|AMKA|AFM|CNP|EGN|OIB|TAJ|AHV|AVS|NIR)(?![A-Za-z])"
)
PHONE_CUE = re.compile(
    r"(?i)(?<![A-Za-z<])(?:tel|telephone|phones?|call|fax|mobile|mob|cell|dial|hotline|whatsapp|telefono?|telefonnummer|"
    r"telefoon(?:nummer)?|t[ée]l[ée]phone|t[ée]l|tel[ée]fono|m[óo]vil|cellulare|portable|tfno|handy|mobil|rufnummer|"
    r"anrufen|appele[rz]|llama[rd]?|chiama(?:re)?|bellen|puhelin|puh|telefax|telemóvel|tlf|tlfn|τηλ)(?![A-Za-z])"
)
CUE_BEFORE, CUE_AFTER = 40, 16
"""Characters of the same line before and after a number in which a cue counts."""


class Form(NamedTuple):
    """kind: the placeholder's; shape: what is looked for; holds: the check; cue: what must stand nearby."""

    kind: str
    shape: re.Pattern[str]
    holds: Callable[[str], bool]
    cue: re.Pattern[str] | None


def find_numbers(text: str, phone: bool, card: bool, iban: bool, national_id: bool) -> list[Span]:
    """Numbers of these kinds in text, as spans that may overlap."""
    spans: list[Span] = []
    if phone or card or national_id:
        wanted = {"phone": phone, "card": card, "national_id": national_id}
        for match in CLUSTER.finditer(text):
            start, cluster = _whole(text, match.start(), match.end())
            shape = cluster.encode("ascii", "replace").translate(SHAPE).decode()
            for first, last, form in _forms(shape) if len(shape) > LONGEST_KEPT_SHAPE else _kept_forms(shape):
                if wanted[form.kind] and _stands(text, start + first, start + last, form, cluster[first:last]):
                    spans.append(Span(start + first, start + last, form.kind, f"<{form.kind}>"))
    if iban or national_id:
        spans += _codes(text, iban, national_id)
    return spans


def _whole(text: str, start: int, end: int) -> tuple[int, str]:
    """Start and characters of the cluster text[start:end] with the words it begins and ends in, bracket and plus."""
    while text[end - 1] in SEPARATORS:
        end -= 1
    tail, head = text[end : end + LONGEST_WORD], text[max(0, start - LONGEST_WORD) : start]
    if len(rest := tail.lstrip(LETTERS_AND_DIGITS)) < len(tail) and (rest or len(tail) < LONGEST_WORD):
        end += len(tail) - len(rest)
    if len(rest := head.rstrip(LETTERS_AND_DIGITS)) < len(head) and (rest or len(head) < LONGEST_WORD):
        start -= len(head) - len(rest)
    if start > 1 and text[start - 1] in " -" and "A" <= text[start - 2] <= "Z":
        one = start - 2
        one -= one > 0 and "A" <= text[one - 1] <= "Z"
        if one == 0 or not text[one - 1].isalnum():
            start = one
    if start and text[start - 1] == "(":
        start -= 1
    if start and text[start - 1] == "+":
        start -= 1
    cluster = text[start:end]
    return start, cluster if cluster.isascii() else cluster.translate(PLAIN_SEPARATORS)


def _stands(text: str, start: int, end: int, form: Form, value: str) -> bool:
    """Whether the form's check and cue hold there, and it is no part of something longer."""
    before, after = text[start - 1 : start], text[end : end + 2]
    if before.isalnum() or before in ("_", "%", "\\") or after[:1].isalnum() or after[:1] in ("_", "%"):
        return False
    plain = "".join(character for character in value if character.isalnum())
    if form.cue is not None:
        return form.holds(plain) and _cued(text, start, end, form.cue)
    if before in ("-", ".", "/", "$", "€", "£", "#") or (len(after) == 2 and after[0] in "-/.=" and after[1].isalnum()):
        return False
    return form.holds(plain)


def _cued(text: str, start: int, end: int, cue: re.Pattern[str]) -> bool:
    low = max(text.rfind("\n", 0, start) + 1, start - CUE_BEFORE)
    if cue.search(text, low, start):
        return True
    if cue is PHONE_CUE:
        return False
    high = text.find("\n", end, end + CUE_AFTER)
    return cue.search(text, end, min(len(text), end + CUE_AFTER) if high < 0 else high) is not None


def _codes(text: str, iban: bool, national_id: bool) -> Iterator[Span]:
    """Identifiers with letters in front."""
    for match in CODE.finditer(text):
        start, end, which = match.start(), match.end(), match.lastgroup
        if which == "iban":
            if iban and (length := _iban_end(match[0])):
                yield Span(start, start + length, "iban", "<iban>")
            continue
        plain = "".join(character for character in match[0] if character.isalnum())
        holds = (
            (which == "nino" and ids.uk_nino_holds(plain))
            or (which == "nie" and ids.es_dni_holds(plain))
            or (which == "fiscal" and ids.it_fiscal_holds(plain))
            or (which == "idcard" and ids.de_card_holds(plain) and _cued(text, start, end, ID_CUE))
        )
        if national_id and holds and text[start - 1 : start] not in ("-", "/"):
            yield Span(start, end, "national_id", "<national_id>")


def _iban_end(found: str) -> int:
    """How many of these characters are the IBAN that they begin with; 0 where they are none."""
    left = ids.IBAN_LENGTHS.get(found[:2], 0)
    for place, character in enumerate(found):
        left -= character != " "
        if left == 0:
            whole = place + 1 == len(found) or not found[place + 1].isalnum()
            return place + 1 if whole and ids.iban_holds(found[: place + 1]) else 0
    return 0


def phone_holds(number: str) -> bool:
    """The length that ITU-T E.164 allows, less the shortest, which fractions of seconds in logs have."""
    return 8 <= len(number) <= 15 and number[0] != "0"


def _nanp_holds(number: str) -> bool:
    """North American numbering plan: area and exchange begin with 2 to 9, and no service code (x11)."""
    area, exchange = number[-10:-7], number[-7:-4]
    return area[0] > "1" and exchange[0] > "1" and area[1:] != "11" and (len(number) == 10 or number[0] == "1")


def _area_holds(number: str) -> bool:
    return number[-10] > "1" and (len(number) == 10 or number[0] == "1")


def _national_holds(number: str) -> bool:
    """A number as dialled in its own country: a trunk 0, or the nine or ten digits of plans without one. Seconds since
    1970 begin with 1, as such numbers do not but with America's trunk 1."""
    if number[0] == "0":
        return 8 <= len(number) <= 14
    return len(number) == 11 if number[0] == "1" else 9 <= len(number) <= 10 and len(set(number)) > 2


def _is_no_date(number: str) -> bool:
    return not (number[:2] in ("19", "20") and "01" <= number[4:6] <= "12")


def _dni_holds(code: str) -> bool:
    return _is_no_date(code) and code[8] not in "ABCDEF" and ids.es_dni_holds(code)


def _of_length(*holds: Callable[[str], bool]) -> Callable[[str], bool]:
    """A number that one of these countries' checks accept."""
    return lambda number: any(one(number) for one in holds)


def _form(kind: str, shape: str, holds: Callable[[str], bool], cue: re.Pattern[str] | None = None) -> Form:
    """Shapes are bounded: no digit or letter beside them, nor beyond a hyphen, dot or slash."""
    escaped = shape.replace(".", r"\.")
    return Form(kind, re.compile(rf"(?<![0Aa])(?<![0Aa][-./])(?:{escaped})(?![0Aa])(?![-./][0Aa])"), holds, cue)


def _n(*groups: int, by: str = " ") -> str:
    """Digits in groups of these sizes."""
    return by.join("0" * size for size in groups)


ID = "national_id"
INTERNATIONAL = r"\+\(?0{1,4}\)?[ .\-/]?(?:\(0{1,5}\)[ .\-/]?)?0{1,5}"
FORMS = (
    # One more group each: of those that hold the longest is taken.
    *(
        Form("phone", re.compile(rf"^{INTERNATIONAL}(?:[ .\-/]?0{{2,5}}){{{groups}}}(?![0Aa])"), phone_holds, None)
        for groups in range(1, 6)
    ),
    _form("phone", r"(?:\+?0[ .-])?\(000\)[ ]?000[ .-]0000", _area_holds),
    _form("phone", r"(?:\+?0-)?000-000-0000", _nanp_holds),
    _form(
        "phone",
        r"(?:0-)?000[ .-]000[ .-]0000|\(?0{2,6}\)?[ ]?[ /-]0{1,8}(?:[ -]0{1,8}){0,4}|0{2,4}(?:.0{2,4}){2,4}|0{9,12}",
        _national_holds,
        PHONE_CUE,
    ),
    _form("phone", r"00000 000000|000 0000 0000", lambda number: number[:2] in ("01", "02", "07")),
    _form("card", "|".join((_n(16), _n(4, 4, 4, 4), _n(4, 4, 4, 4, by="-"))), ids.card_holds),
    _form(
        "card",
        "|".join((_n(15), _n(4, 6, 5), _n(4, 6, 5, by="-"), _n(14), _n(4, 6, 4), _n(4, 6, 4, by="-"))),
        ids.card_holds,
    ),
    _form("card", "|".join((_n(19), _n(4, 4, 4, 4, 3), _n(6, 13))), ids.card_holds),
    _form(ID, "000-00-0000", ids.us_ssn_holds),
    _form(ID, "000 00 0000|000000000", ids.us_ssn_holds, ID_CUE),
    _form(ID, "0{10}|000 000 0000", ids.uk_nhs_holds, ID_CUE),
    _form(ID, "0{11}|00 000 000 000", ids.de_tax_holds, ID_CUE),
    _form(ID, "00 ?000000 ?A ?000", ids.de_pension_holds),
    _form(ID, "0 ?00 ?00 ?(?:00|0A) ?000 ?000 ?00", ids.fr_nir_holds),
    _form(ID, "0{8}A", _dni_holds),
    _form(ID, "0{8}-A|00.000.000-A", lambda code: _is_no_date(code) and ids.es_dni_holds(code)),
    _form(ID, "0{8}[ -]?A|00.000.000[ -]?A", ids.es_dni_holds, ID_CUE),
    _form(
        ID,
        "0{9}|0000.00.000|000 000 000",
        _of_length(ids.nl_bsn_holds, ids.pt_nif_holds, ids.gr_afm_holds, ids.hu_taj_holds),
        ID_CUE,
    ),
    _form(ID, "00.00.00-000.00", ids.be_register_holds),
    _form(
        ID,
        "0{11}|000000-?00000|000000 00000|00 00 00 00000",
        _of_length(
            ids.be_register_holds,
            ids.pl_pesel_holds,
            ids.hr_oib_holds,
            ids.baltic_holds,
            ids.gr_amka_holds,
            ids.no_birth_holds,
            ids.hu_person_holds,
        ),
        ID_CUE,
    ),
    _form(ID, "0-000000-0000", ids.hu_person_holds),
    _form(
        ID,
        "0{10}|0000 000000|000000 0000|000000-0000",
        _of_length(
            ids.at_svnr_holds,
            ids.se_person_holds,
            ids.fi_hetu_holds,
            ids.dk_cpr_holds,
            ids.cz_birth_holds,
            ids.bg_egn_holds,
            ids.hu_tax_holds,
        ),
        ID_CUE,
    ),
    _form(ID, "(?:00)?000000-0000", ids.se_person_holds),
    _form(ID, "0{12}", ids.se_person_holds, ID_CUE),
    _form(ID, "000000(?:-|A)000[A0]", ids.fi_hetu_holds),
    _form(ID, "0{7} ?A{1,2}", ids.ie_pps_holds, ID_CUE),
    _form(ID, "0{13}", ids.ro_cnp_holds, ID_CUE),
    _form(ID, "000000/0000", ids.cz_birth_holds),
    _form(ID, "000.0000.0000.00", ids.ch_ahv_holds),
    _form(ID, "0{13}", ids.ch_ahv_holds, ID_CUE),
)


def _forms(shape: str) -> tuple[tuple[int, int, Form], ...]:
    """Where in a shape which forms stand."""
    return tuple((match.start(), match.end(), form) for form in FORMS for match in form.shape.finditer(shape))


_kept_forms = lru_cache(maxsize=16384)(_forms)
