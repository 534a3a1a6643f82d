"""Personal data and secrets replaced by typed placeholders, each kind counted.

E-mail addresses are found here; numbers, secrets and addresses of machines in `numbers.py`, `credentials.py` and
`indicators.py`. All look at the same text, and the leftmost and longest wins, so that no order of kinds matters.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forja.corpus.credentials import find_private_keys, find_secrets
from forja.corpus.indicators import find_addresses, find_indicators
from forja.corpus.numbers import find_numbers
from forja.corpus.spans import Span, rewrite
from forja.errors import ForjaError
from forja.recipe import Privacy

LOCAL = re.compile(r"[\w.+'%-]{1,64}\Z")
DOMAIN = re.compile(r"(?:\w(?:[\w-]{0,61}\w)?\.){1,8}(?:[^\W\d_]{2,24}|xn--[A-Za-z0-9-]{2,59})(?![\w-]|\.\w)")
LONGEST_LOCAL = 64
FILE_ENDINGS = (
    "png jpg jpeg gif svg webp css js ts json xml yml yaml txt log conf cfg service socket target timer mount scope so "
    "dll exe jar class java h c cpp hpp html htm php asp aspx jsp pdf zip gz tar bak tmp dat bin git"
)
NOT_DOMAINS = frozenset(FILE_ENDINGS.split())
"""Endings that no domain has: files (icon@2x.png) and units of systemd (getty@tty1.service)."""


@dataclass(frozen=True)
class Masked:
    """text: with placeholders; counts: replacements a kind; people: the e-mail addresses found, lower case."""

    text: str
    counts: Counter[str]
    people: tuple[str, ...]


def mask(text: str, settings: Privacy) -> Masked:
    """Replace what the settings name, the indicators' policy with it. Masking what was masked changes nothing."""

    def find(part: str) -> list[Span]:
        # Each looks for what is rare and all that it needs, and reads on only there.
        spans = find_numbers(part, settings.phone, settings.card, settings.iban, settings.national_id)
        if settings.secret:
            spans += find_secrets(part)
        if settings.email and "@" in part:
            spans += _emails(part)
        if settings.ip:
            spans += find_addresses(part)
        if settings.indicators != "keep":
            spans += find_indicators(part, settings.indicators)
        return spans

    # Private keys go first, as they alone have many lines, which nothing inside them may cut.
    text, keys = rewrite(text, find_private_keys) if settings.secret else (text, [])
    masked, made = rewrite(text, find)
    people = dict.fromkeys(found.original.lower() for found in made if found.kind == "email")
    return Masked(masked, Counter(found.kind for found in keys + made), tuple(people))


def read_subject_key(path: Path) -> bytes:
    """The secret key that `corpus.subject_key_file` names. Raises ForjaError."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ForjaError(
            f"the key cannot be read ({error.strerror}).", where=f"corpus.subject_key_file {path}"
        ) from None
    if len(key) < 16:
        raise ForjaError("the key has fewer than 16 bytes.", where=f"corpus.subject_key_file {path}")
    return key


def subject_key(person: str, key: bytes) -> str:
    """A keyed HMAC by which a person's documents can be found, by whoever has the key."""
    return hmac.new(key, person.encode(), hashlib.sha256).hexdigest()[:32]


def _emails(text: str) -> Iterator[Span]:
    """Addresses (RFC 5321, without quoted local parts and address literals), found by their @."""
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = DOMAIN.match(text, at + 1)
        if domain:
            low = max(done, at - LONGEST_LOCAL - 1)
            local = LOCAL.search(text[low:at])
            end = domain.end()
            if local and len(local[0]) <= LONGEST_LOCAL and _is_address(text, local[0], domain[0], end):
                start = low + local.start() + len(local[0]) - len(local[0].lstrip(".'%-"))
                if start < at:
                    yield Span(start, end, "email", "<email>")
                    done = end
        at = text.find("@", at + 1)


def _is_address(text: str, local: str, domain: str, end: int) -> bool:
    ending = domain[domain.rindex(".") + 1 :]
    # git@host:path is how a repository is named, and no one's address.
    return ending.lower() not in NOT_DOMAINS and not (local == "git" and text[end : end + 1] in (":", "/"))
