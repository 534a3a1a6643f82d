"""An order of made documents carried out: which document comes when, and each as a record.

Document `number` of a kind and language is a function of these and the seed alone, so that workers may share an
order in any way and a longer order begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forja.corpus.sources.record import Record
from forja.corpus.synth.draft import Draft
from forja.corpus.synth.injection import injection
from forja.corpus.synth.intrusion import intrusion
from forja.corpus.synth.phishing import phishing
from forja.corpus.synth.policy import policy
from forja.corpus.synth.variety import skeleton_id
from forja.recipe import SynthSection

LICENCE = "CC0-1.0"
KINDS: dict[str, Callable[[int, int, str], Draft]] = {
    "policy": policy,
    "phishing": phishing,
    "intrusion": intrusion,
    "injection": injection,
}
TWINLESS = "policy"


@dataclass(frozen=True, slots=True)
class Place:
    """One document of an order: its kind, language and number in these."""

    kind: str
    lang: str
    number: int

    @property
    def origin(self) -> str:
        return f"synth/{self.kind}/{self.lang}/{self.number}"


def places(settings: SynthSection, first: int = 0, last: int | None = None) -> Iterator[Place]:
    """The order's documents from `first` to before `last`: kinds in turn, languages in turn, twins together."""
    kinds, languages = list(dict.fromkeys(settings.kinds)), list(dict.fromkeys(settings.languages))
    end = settings.documents if last is None else min(last, settings.documents)
    for place in range(first, end):
        pair, side = divmod(place, 2)
        turn, kind = divmod(pair, len(kinds))
        number, lang = divmod(turn, len(languages))
        yield Place(kinds[kind], languages[lang], 2 * number + side)


def draft(place: Place, seed: int) -> Draft:
    """What the grammar writes there."""
    made = KINDS[place.kind](seed, place.number, place.lang)
    return Draft(made.text.replace(" \n", "\n").strip(), made.label, made.order, made.meta)


def make_document(place: Place, seed: int) -> Record:
    """The grammar's document at that place of an order."""
    made = draft(place, seed)
    return record(place, made, made.text, writer="grammar")


def record(place: Place, made: Draft, text: str, *, writer: str) -> Record:
    """A made text as a record that says so: `meta` has synthetic, kind, label, twin, writer, skeleton, and what the
    draft knows (techniques and weaknesses by id)."""
    twin = None if place.kind == TWINLESS else Place(place.kind, place.lang, place.number ^ 1).origin
    meta = {
        "synthetic": True,
        "kind": place.kind,
        "label": made.label,
        "twin": twin,
        "writer": writer,
        "skeleton": skeleton_id(text),
        **made.meta,
    }
    return Record(
        place.origin, text.encode(), form="string", text=text, lang=place.lang, licence=LICENCE, meta=meta
    )


def read_synth(settings: SynthSection, seed: int, *, first: int = 0, last: int | None = None) -> Iterator[Record]:
    """The documents of an order by the grammar, or the slice of them that a worker takes.

    Raises ForjaError where the order names a model or an endpoint that cannot write.
    """
    for place in places(settings, first, last):
        yield make_document(place, seed)
