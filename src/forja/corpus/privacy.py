"""Personal data and secrets replaced by typed placeholders, each kind counted.

Recognised by form and, where a form has a checksum, only if it holds.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from forja.recipe import Privacy

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
PHONE = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}(?!\w)")
CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
# A mark that a secret of the kind must hold, and its form. Each begins with its mark's letters, which makes
# the search fast.
SECRETS = (
    ("PRIVATE KEY-----", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----.{0,16384}?-----END [A-Z ]*-----", re.S)),
    ("AKIA", re.compile(r"AKIA(?<!\wAKIA)[A-Z0-9]{16}(?!\w)")),
    ("ASIA", re.compile(r"ASIA(?<!\wASIA)[A-Z0-9]{16}(?!\w)")),
    ("gh", re.compile(r"gh[pousr]_(?<!\wgh._)[A-Za-z0-9]{36,}")),
    ("xox", re.compile(r"xox[abprs]-(?<!\wxox.-)[A-Za-z0-9-]{10,}")),
    ("eyJ", re.compile(r"eyJ(?<!\weyJ)[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("://", re.compile(r"://[^\s/:@]{1,64}:[^\s/@]{1,64}(?=@)")),
)


@dataclass(frozen=True)
class Masked:
    """text: with placeholders; counts: replacements a kind; people: the e-mail addresses found, lower case."""

    text: str
    counts: Counter[str]
    people: tuple[str, ...]


def mask(text: str, settings: Privacy) -> Masked:
    """Replace what the settings name."""
    counts: Counter[str] = Counter()
    people: list[str] = []

    def replace(pattern: re.Pattern[str], kind: str, holds: Callable[[str], bool] | None = None) -> None:
        nonlocal text

        def placeholder(match: re.Match[str]) -> str:
            if holds is not None and not holds(match[0]):
                return match[0]
            counts[kind] += 1
            if kind == "email":
                people.append(match[0].lower())
            return f"://<{kind}>" if match[0].startswith("://") else f"<{kind}>"

        text = pattern.sub(placeholder, text)

    # The cheap look first: most texts hold none of the characters that a kind needs.
    for mark, form in SECRETS if settings.secret else ():
        if mark in text:
            replace(form, "secret")
    if settings.email and "@" in text:
        replace(EMAIL, "email")
    if settings.iban:
        replace(IBAN, "iban", iban_holds)
    if settings.card:
        replace(CARD, "card", luhn_holds)
    if settings.phone and "+" in text:
        replace(PHONE, "phone", phone_holds)
    if settings.ip:
        replace(IPV4, "ip", _is_address)
        replace(IPV6, "ip", _is_address)
    return Masked(text, counts, tuple(dict.fromkeys(people)))


def subject_key(person: str, key: bytes) -> str:
    """A keyed HMAC by which a person's documents can be found, by whoever has the key."""
    return hmac.new(key, person.encode(), hashlib.sha256).hexdigest()[:32]


def phone_holds(number: str) -> bool:
    """The length that ITU-T E.164 allows, less the shortest, which fractions of seconds in logs have."""
    return 8 <= sum(character.isdigit() for character in number) <= 15


def luhn_holds(number: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B)."""
    digits = [int(character) for character in number if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_holds(code: str) -> bool:
    """The check digits of an IBAN (ISO 13616; ISO 7064 MOD 97-10)."""
    plain = code.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified
