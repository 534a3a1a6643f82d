"""The place where an intrusion happens, or does not: hosts, people, addresses and a clock that both twins share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forja.corpus.synth.grammar import Draw, between, pick, sample
from forja.corpus.synth.names import Company, Person, company, moment, person, private_network, public_address

SERVERS = [
    "web",
    "app",
    "db",
    "mail",
    "git",
    "build",
    "file",
    "vpn",
    "proxy",
    "bastion",
    "erp",
    "crm",
    "ldap",
    "backup",
    "jump",
    "api",
    "shop",
    "wiki",
    "mon",
    "print",
]
SERVICES = [
    "deploy",
    "backup",
    "postgres",
    "www-data",
    "monitor",
    "ansible",
    "jenkins",
    "nagios",
    "svc_sql",
    "svc_backup",
    "svc_scan",
]


@dataclass
class Site:
    """inside: the first three numbers of the network, with the dot. outside: attackers' addresses. home: where a
    remote worker comes from. facts: what the note may quote."""

    firm: Company
    host: str
    others: list[str]
    people: list[Person]
    service: str
    inside: str
    outside: list[str]
    home: str
    start: datetime
    night: datetime
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str:
        return self.people[0].user

    @property
    def admin(self) -> str:
        return self.people[1].user

    def address(self, number: int) -> str:
        return f"{self.inside}{number}"


def site(draw: Draw) -> Site:
    firm = company(draw)
    scheme = int(draw() * 4)
    names = [_host(name, scheme, firm, draw) for name in sample(SERVERS, 4, draw)]
    people = [person(draw, firm.domain) for _ in range(4)]
    outside = list(dict.fromkeys(public_address(draw) for _ in range(3)))
    start = moment(draw)
    night = start.replace(hour=between(0, 5, draw)) + timedelta(days=1)
    host, *others = names
    return Site(
        firm,
        host,
        others,
        people,
        pick(SERVICES, draw),
        private_network(draw),
        outside,
        public_address(draw),
        start,
        night,
    )


def _host(name: str, scheme: int, firm: Company, draw: Draw) -> str:
    number = between(1, 24, draw)
    if scheme == 0:
        return f"{name}{number:02d}"
    if scheme == 1:
        return f"{name}-{pick(('prod', 'eu1', 'dmz', 'int'), draw)}-{number}"
    if scheme == 2:
        return f"{firm.word[:3].lower()}{name}{number}"
    return f"srv-{name}{number:02d}"


class Clock:
    """A time that only goes on."""

    def __init__(self, start: datetime, draw: Draw) -> None:
        self.now, self._draw = start, draw

    def after(self, low: float, high: float) -> datetime:
        """Between `low` and `high` seconds later, to the millisecond."""
        self.now += timedelta(milliseconds=int(1000 * (low + self._draw() * (high - low))))
        return self.now


Line = tuple[datetime, str]


@dataclass
class Story:
    """lines: what the log holds. technique: of MITRE ATT&CK, with sub-technique; weakness: of CWE, if any.
    log: the name of the file or channel. facts: for the note."""

    lines: list[Line]
    technique: str
    log: str
    facts: dict[str, str]
    weakness: str | None = None

    def in_order(self) -> Iterator[str]:
        for _, line in sorted(self.lines, key=lambda entry: entry[0]):
            yield line


def office_pc(people: Person, draw: Draw) -> str:
    return f"{pick(('PC', 'LT', 'WS', 'NB'), draw)}-{people.last.upper()[:6]}{between(1, 9, draw)}"
