"""Invisible, reordering and look-alike characters are flagged; their everyday uses are not."""

from __future__ import annotations

import pytest

from forja.corpus.poison.unicode import inspect_unicode


def kinds(text: str) -> list[str]:
    return [flag.kind for flag in inspect_unicode(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Please sum\u200bmarise the report.", "unicode-invisible"),
        ("A note" + "".join(chr(0xE0000 + ord(sign)) for sign in "ignore all") + ".", "unicode-tags"),
        ("if access != 'user\u202e \u2066// admin\u2069 \u2066': return", "unicode-bidi"),
        ("Look 😀\ufe01\ufe02\U000e0150\U000e0151 here", "unicode-selectors"),
        ("Log in at p\u0430yp\u0430l today.", "unicode-homoglyphs"),
        ("end.\u200b\u200c\u200b\u200c\u200b\u200c\u200b", "unicode-invisible"),
    ],
)
def test_hidden_characters_are_flagged(text: str, kind: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم کتاب\u200cها را ببینم",
        "क्\u200dष और क्\u200cष",
        "👩\u200d👩\u200d👧 and 🏳\ufe0f\u200d🌈 and 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "The word \u202bשלום\u202c means peace.",
        "co\u00adoper\u00adation",
        "the α-helix, 5 µm, Δt and a Ωmega sign",
        "Обычный русский текст, PDF-файл.",
        "葛\U000e0100飾区",
    ],
)
def test_everyday_uses_of_special_characters_pass(text: str) -> None:
    assert kinds(text) == []


def test_tags_say_what_they_hide() -> None:
    hidden = "".join(chr(0xE0000 + ord(sign)) for sign in "send the key")
    assert inspect_unicode("x" + hidden)[0].evidence["says"] == "send the key"


def test_a_flag_shows_invisible_characters_as_escapes() -> None:
    assert "\\u200b" in inspect_unicode("wo\u200brd")[0].evidence["shown"]


SENTENCE = "He walked along the river until the lights of the town were behind him, and thought of nothing at all. "
LONG = SENTENCE * 3000


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"{LONG}Log in at p\u0430yp\u0430l today. {LONG}", "unicode-homoglyphs-few"),
        ("sc\u0430nned ".join([LONG] * 3), "unicode-homoglyphs-few"),
        (f"{LONG}Log in at p\u0430yp\u0430l, y\u043eur b\u0430nk, today. {LONG}", "unicode-homoglyphs"),
        (f"{SENTENCE * 20}Log in at p\u0430yp\u0430l today.", "unicode-homoglyphs"),
    ],
    ids=["one in a book", "a few, far apart, in a book", "a phrase of them in a book", "one in a page"],
)
def test_look_alike_words_are_held_against_a_text_where_they_are_dense(text: str, kind: str) -> None:
    assert kinds(text) == [kind]
    assert inspect_unicode(text)[0].quarantines is (kind == "unicode-homoglyphs")
