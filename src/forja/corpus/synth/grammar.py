"""The engine of seeded expansion: rules of alternatives, written as text, drawn from one stream of numbers.

What the rules say is in the kinds' own files; here is only how they are read and expanded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import xxhash

Draw = Callable[[], float]
"""The next number of a stream, in [0, 1)."""
Facts = Mapping[str, str]
"""What a scene has settled, by name: the sentences of a document, and its twin's, agree in it."""
Item = TypeVar("Item")


def stream(*key: object) -> Draw:
    """The numbers that belong to a key: the same on every machine and in every process.

    Only `random()` of the Mersenne Twister is used, the one method whose sequence Python promises to keep.
    """
    return random.Random(xxhash.xxh3_64_intdigest("/".join(map(str, key)).encode())).random


def pick(items: Sequence[Item], draw: Draw) -> Item:
    return items[int(draw() * len(items))]


def between(low: int, high: int, draw: Draw) -> int:
    """A whole number from low to high, both included."""
    return low + int(draw() * (high - low + 1))


def sample(items: Sequence[Item], count: int, draw: Draw) -> list[Item]:
    """`count` different items (all, where there are fewer) in a drawn order: Fisher and Yates, cut short."""
    left = list(items)
    count = min(count, len(left))
    for place in range(count):
        other = place + int(draw() * (len(left) - place))
        left[place], left[other] = left[other], left[place]
    return left[:count]


def shuffled(items: Sequence[Item], draw: Draw) -> list[Item]:
    return sample(items, len(items), draw)


@dataclass(slots=True)
class Fact:
    name: str


@dataclass(slots=True)
class Choice:
    """One of the alternatives, each as likely as another; `capital` writes its first letter large."""

    alternatives: list[tuple[Part, ...]] = field(default_factory=list)
    capital: bool = False


Part = str | Fact | Choice


class Grammar:
    """Rules by name.

    The notation: `! name name` says which facts there are, `@name` begins a rule, and each line after it is an
    alternative; lines that begin with `#` are comments, `\\n` is a line end. In an alternative `{name}` is a rule
    or a fact, `{one|two}` either, `{?words}` those words or nothing, and `{^name}` or `{^one|two}` begins with a
    capital. They nest.
    Raises ValueError for a name that is neither a rule nor a fact, and for brackets that do not close.
    """

    def __init__(self, text: str) -> None:
        self.facts: set[str] = set()
        self.rules: dict[str, Choice] = {}
        lines: list[tuple[str, str]] = []
        name = ""
        for line in text.split("\n"):
            if line.startswith("! "):
                self.facts.update(line[2:].split())
            elif line.startswith("@"):
                name = line[1:].strip()
                if name in self.rules:
                    raise ValueError(f"the rule {name} is there twice")
                self.rules[name] = Choice()
            elif line.strip() and not line.startswith("#"):
                lines.append((name, line))
        for name, line in lines:
            self.rules[name].alternatives.append(self.read(line))

    def read(self, line: str) -> tuple[Part, ...]:
        """An alternative compiled; `expand` writes it."""
        parts, end = self._sequence(line.replace("\\n", "\n"), 0, "")
        if end != len(line.replace("\\n", "\n")):
            raise ValueError(f"a bracket closes that was not opened: {line}")
        return parts

    def write(self, name: str, draw: Draw, facts: Facts) -> str:
        """One alternative of the rule, expanded."""
        rule = self.rules[name].alternatives
        return expand(rule[int(draw() * len(rule))], draw, facts)

    def named(self, prefix: str) -> list[str]:
        """What follows the prefix in the names of the rules that begin with it, in their order."""
        return [name.removeprefix(prefix) for name in self.rules if name.startswith(prefix)]

    def some(self, name: str, count: int, draw: Draw, facts: Facts) -> list[str]:
        """`count` different alternatives of the rule (all, where it has fewer), expanded, in a drawn order."""
        return [expand(parts, draw, facts) for parts in sample(self.rules[name].alternatives, count, draw)]

    def _sequence(self, text: str, place: int, ends: str) -> tuple[tuple[Part, ...], int]:
        parts: list[Part] = []
        begin = place
        while place < len(text) and text[place] not in ends and text[place] != "}":
            if text[place] != "{":
                place += 1
                continue
            if place > begin:
                parts.append(text[begin:place])
            part, place = self._bracket(text, place + 1)
            parts.append(part)
            begin = place
        if place > begin:
            parts.append(text[begin:place])
        return tuple(parts), place

    def _bracket(self, text: str, place: int) -> tuple[Part, int]:
        optional = text.startswith("?", place)
        capital = text.startswith("^", place)
        place += optional or capital
        alternatives = []
        begin = place
        while True:
            parts, place = self._sequence(text, place, "|")
            alternatives.append(parts)
            if place >= len(text):
                raise ValueError(f"a bracket does not close: {text}")
            place += 1
            if text[place - 1] == "}":
                break
        if optional:
            return Choice([(), *alternatives]), place
        if len(alternatives) == 1:
            return self._named(text[begin : place - 1], capital, text), place
        return Choice(alternatives, capital), place

    def _named(self, name: str, capital: bool, text: str) -> Part:
        if name in self.facts:
            return Choice([(Fact(name),)], True) if capital else Fact(name)
        if name not in self.rules:
            raise ValueError(f"there is no rule and no fact {name!r}: {text}")
        # The rule's own list, so that alternatives read later are in it too.
        return Choice(self.rules[name].alternatives, True) if capital else self.rules[name]


def expand(parts: Iterable[Part], draw: Draw, facts: Facts) -> str:
    """The text of a compiled alternative."""
    out: list[str] = []
    _expand(parts, draw, facts, out)
    return "".join(out)


def _expand(parts: Iterable[Part], draw: Draw, facts: Facts, out: list[str]) -> None:
    for part in parts:
        if part.__class__ is str:
            out.append(part)
        elif part.__class__ is Fact:
            out.append(facts[part.name])
        else:
            assert isinstance(part, Choice)
            chosen = part.alternatives[int(draw() * len(part.alternatives))]
            if part.capital:
                text = expand(chosen, draw, facts)
                out.append(text[:1].upper() + text[1:])
            else:
                _expand(chosen, draw, facts, out)


def hexadecimal_digits(length: int, draw: Draw) -> str:
    """`length` digits, from one draw for every twelve."""
    digits = ""
    while len(digits) < length:
        digits += f"{int(draw() * 2**48):012x}"
    return digits[:length]


BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def base64_digits(length: int, draw: Draw) -> str:
    """`length` digits that look random, from one draw for every six."""
    digits: list[str] = []
    while len(digits) < length:
        number = int(draw() * 2**36)
        digits += [BASE64[number >> shift & 63] for shift in range(0, 36, 6)]
    return "".join(digits[:length])
