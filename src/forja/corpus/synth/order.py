"""An order of made documents carried out: which document comes when, and each as a record.

Document `number` of a kind and language is a function of these and the seed alone, so that workers may share an
order in any way and a longer order begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from xxhash import xxh3_64_intdigest

from forja.corpus.sources.record import Record
from forja.corpus.synth.draft import Draft
from forja.corpus.synth.injection import injection
from forja.corpus.synth.intrusion import intrusion
from forja.corpus.synth.phishing import phishing
from forja.corpus.synth.policy import policy
from forja.corpus.synth.variety import skeleton_id
from forja.corpus.synth.writers import Writer, in_words, reject_reason
from forja.recipe import SynthSection

LICENCE = "CC0-1.0"
KINDS: dict[str, Callable[[int, int, str], Draft]] = {
    "policy": policy,
    "phishing": phishing,
    "intrusion": intrusion,
    "injection": injection,
}
TWINLESS = "policy"
WINDOW = 64
"""Documents that a writer is asked for at once."""


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
    text = made.text.replace(" \n", "\n").strip()
    if place.lang == "es":
        # A fact that begins with its article meets a preposition; both fuse.
        text = text.replace(" de el ", " del ").replace(" a el ", " al ")
    return Draft(text, made.label, made.order, made.meta)


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
    return Record(place.origin, text.encode(), form="string", text=text, lang=place.lang, licence=LICENCE, meta=meta)


def read_synth(
    settings: SynthSection,
    seed: int,
    *,
    base_folder: Path = Path(),
    cache: Path | None = None,
    first: int = 0,
    last: int | None = None,
) -> Iterator[Record]:
    """The documents of an order, or the slice of them that a worker takes, by whom the order names.

    cache: a folder that keeps an endpoint's answers, so that a killed run goes on and a repeated one is equal.
    An answer that is no document is tried once more, and then given as a rejected record.
    Raises ForjaError where the order names a model or an endpoint that cannot write.
    """
    writer = _writer(settings, base_folder, cache)
    if writer is None:
        for place in places(settings, first, last):
            yield make_document(place, seed)
        return
    ordered = places(settings, first, last)
    while window := list(islice(ordered, WINDOW)):
        yield from _written(window, seed, writer)


def _writer(settings: SynthSection, base_folder: Path, cache: Path | None) -> Writer | None:
    if settings.endpoint is not None:
        from forja.corpus.synth.endpoint import endpoint_writer

        return endpoint_writer(settings.endpoint, settings.model, settings.key_variable, cache=cache)
    if settings.model is not None:
        from forja.corpus.synth.local_model import model_writer

        return model_writer(settings.model, base_folder=base_folder)
    return None


def _written(window: list[Place], seed: int, writer: Writer) -> Iterator[Record]:
    drafts = [draft(place, seed) for place in window]
    orders = [in_words(place.kind, place.lang, made) for place, made in zip(window, drafts, strict=True)]
    seeds = [xxh3_64_intdigest(f"{seed}/{place.origin}".encode()) >> 33 for place in window]
    texts = writer.write(list(zip(orders, seeds, strict=True)))
    reasons = [reject_reason(text, order) for text, order in zip(texts, orders, strict=True)]
    again = [number for number, reason in enumerate(reasons) if reason is not None]
    for number, text in zip(again, writer.write([(orders[n], seeds[n] + 1) for n in again]), strict=True):
        texts[number], reasons[number] = text, reject_reason(text, orders[number])
    for place, made, text, reason in zip(window, drafts, texts, reasons, strict=True):
        # Who may use what a model wrote is its owner's to say: the source's `licence` does.
        yield replace(record(place, made, text, writer=writer.name), licence=None, reason=reason)
