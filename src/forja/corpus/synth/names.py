"""An invented world: companies, people, hosts, addresses and times that belong to nobody.

Domains end in .example, .test or .invalid (RFC 2606, RFC 6761); public addresses are those of RFC 5737 and
RFC 3849, private ones of RFC 1918, hardware addresses of RFC 7042.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from forja.corpus.synth.draft import words
from forja.corpus.synth.grammar import Draw, between, pick

PLAIN_LETTERS = str.maketrans("áéíóúñüÁÉÍÓÚÑÜ", "aeiounuAEIOUNU")
PUBLIC = ("192.0.2.", "198.51.100.", "203.0.113.")
EPOCH = datetime(2021, 1, 4)
DAYS_OF_SCENES = 1900


@dataclass(frozen=True, slots=True)
class Company:
    name: str
    word: str
    domain: str


@dataclass(frozen=True, slots=True)
class Person:
    first: str
    last: str
    role: str
    user: str
    mail: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


def company(draw: Draw, lang: str = "en") -> Company:
    word = pick(words("en")["starts"], draw) + pick(words("en")["ends"], draw)
    sector = pick(words(lang)["sectors"], draw)
    low = word.lower()
    if draw() < 0.25:
        return Company(f"{word} {sector}", word, f"{low}-{sector.lower().translate(PLAIN_LETTERS)}.example")
    return Company(f"{word} {sector}" if draw() < 0.8 else word, word, f"{low}.example")


def person(draw: Draw, domain: str, lang: str = "en") -> Person:
    """A person whose login and address follow one of a company's usual schemes."""
    first, last = pick(words(lang)["firsts"], draw), pick(words(lang)["lasts"], draw)
    plain, surname = first.translate(PLAIN_LETTERS).lower(), last.translate(PLAIN_LETTERS).lower()
    scheme = len(domain) % 4  # a company has one scheme
    user = (f"{plain}.{surname}", f"{plain[0]}{surname}", f"{plain}{surname[0]}", f"{surname}.{plain[0]}")[scheme]
    return Person(first, last, pick(words(lang)["roles"], draw), user, f"{user}@{domain}")


def public_address(draw: Draw) -> str:
    return f"{pick(PUBLIC, draw)}{between(2, 254, draw)}"


def public_v6(draw: Draw) -> str:
    return f"2001:db8:{int(draw() * 65536):x}:{int(draw() * 4096):x}::{between(1, 65535, draw):x}"


def private_network(draw: Draw) -> str:
    """The first three numbers of an inside network, with the dot."""
    kind = draw()
    if kind < 0.6:
        return f"10.{between(0, 254, draw)}.{between(0, 254, draw)}."
    if kind < 0.8:
        return f"172.{between(16, 31, draw)}.{between(0, 254, draw)}."
    return f"192.168.{between(0, 254, draw)}."


def hardware_address(draw: Draw, separator: str = ":") -> str:
    return separator.join(("00", "00", "5e", "00", "53", f"{int(draw() * 256):02x}"))


def moment(draw: Draw, *, office: bool = True) -> datetime:
    """A time to the second between 2021 and 2026; of a working day where `office`."""
    day = EPOCH + timedelta(days=int(draw() * DAYS_OF_SCENES))
    if office:
        if day.weekday() > 4:
            day += timedelta(days=2)
        return day + timedelta(seconds=between(7 * 3600, 18 * 3600, draw))
    return day + timedelta(seconds=int(draw() * 86400))


def long_date(when: datetime, lang: str = "en") -> str:
    month = words(lang)["months"][when.month - 1]
    return f"{when.day} de {month} de {when.year}" if lang == "es" else f"{when.day} {month} {when.year}"


def mail_date(when: datetime, zone: str) -> str:
    """RFC 5322, section 3.3; English in any language."""
    day, month = words("en")["days"][when.weekday()][:3], words("en")["months"][when.month - 1][:3]
    return f"{day}, {when.day:02d} {month} {when.year} {when:%H:%M:%S} {zone}"
