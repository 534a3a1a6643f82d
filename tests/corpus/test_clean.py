from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.clean import clean, decode, looks_binary, storable
from forja.corpus.html import html_to_text

# Characters that cleaning has something to do with, so that they meet often.
AWKWARD = st.text(st.sampled_from("a Â©Ãâ€™\x80\x99\x9d\u0301e\t\r\n\x0b\x85\ufeff\u2028\u00a0\ud800 ﬁ½Å"), max_size=60)


@given(st.one_of(st.text(), AWKWARD))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once


@given(st.one_of(st.text(st.characters(blacklist_categories=())), AWKWARD))
def test_cleaned_text_is_nfc_with_plain_line_ends_and_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not set(cleaned) & set("\r\x00\x85\u2028\ufeff")
    cleaned.encode("utf-8")


def test_clean_keeps_indentation_and_drops_trailing_blanks() -> None:
    assert clean("def f():  \r\n    return 1\t\r\n") == "def f():\n    return 1"


def test_mojibake_is_repaired() -> None:
    assert clean("It’s a cafÃ© and donâ€™t") == "It’s a café and don’t"


def test_text_that_only_looks_like_mojibake_stays() -> None:
    assert clean("São Tomé, Â and naïve façade") == "São Tomé, Â and naïve façade"


def test_a_million_blanks_do_not_cost_their_square() -> None:
    assert clean("a" + " " * 1_000_000 + "b").endswith("b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_unicode_encoding_with_a_mark_is_read(encoding: str) -> None:
    assert decode("Ein schöner Tag, 漢字".encode(encoding)) == "Ein schöner Tag, 漢字"


def test_an_old_encoding_is_told_by_its_bytes() -> None:
    text = "La mañana está fría y el café también. " * 10
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize("raw", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x7fELF\x02\x01\x01\0", bytes(range(256)) * 8])
def test_what_is_no_text_is_known(raw: bytes) -> None:
    assert looks_binary(raw)
    assert decode(raw) is None


@pytest.mark.parametrize(
    ("text", "encoding", "declared"),
    [
        ("Größe: 5 € – “ja”", "cp1252", "ISO-8859-1"),
        ("Größe: 5 € – “ja”", "cp1252", "us-ascii"),
        ("Привет, мир", "koi8-r", "KOI8-R"),
        ("Привет, мир", "cp1251", " windows-1251 "),
        ("日本語①髙", "cp932", "Shift_JIS"),
        ("漢字，𠮷", "gb18030", "gb2312"),
        ("한글 똠", "cp949", "euc-kr"),
        ("Ünï\u2014code", "utf-16-le", "utf-16"),
        ("Ünï\u2014code", "utf-16-be", "utf-16be"),
    ],
)
def test_a_declared_charset_means_what_browsers_take_it_for(text: str, encoding: str, declared: str) -> None:
    assert decode(text.encode(encoding), declared) == text


@pytest.mark.parametrize(
    "start",
    ["<meta charset=windows-1251>", "<META http-equiv=Content-Type content='text/html; charset=cp1251'>"],
)
def test_a_page_names_its_own_charset(start: str) -> None:
    page = f"<html><head>{start}</head><p>Шрифт"
    assert decode(page.encode("cp1251")) == page


def test_a_document_names_its_own_charset() -> None:
    document = "<?xml version='1.0' encoding='iso-8859-2'?><p>Zażółć gęślą jaźń"
    assert decode(document.encode("iso-8859-2")) == document


def test_what_is_utf_8_is_that_whatever_it_is_declared_to_be() -> None:
    text = "<meta charset=iso-8859-1>Größe, 漢字"
    for declared in (None, "iso-8859-1", "gb2312", "utf-16", "x-user-defined", "zip_codec", "rot13", "idna", ""):
        assert decode(text.encode(), declared) == text


def test_a_text_cut_in_the_middle_of_a_character_is_still_utf_8() -> None:
    text = "Größe und Länge, 漢字" * 20
    assert decode(text.encode()[:-1]) == text[:-1] + "\ufffd"


def test_a_wrong_declaration_is_not_believed() -> None:
    text = "La mañana está fría y el café también. " * 10
    assert decode(text.encode("cp1252"), "shift_jis") == text


@given(
    st.binary(max_size=300), st.sampled_from([None, "utf-8", "utf-16", "gbk", "iso-8859-1", "iso-2022-jp", "nonsense"])
)
def test_any_bytes_are_text_or_none(raw: bytes, declared: str | None) -> None:
    text = decode(raw, declared)
    assert text is None or isinstance(text, str)


def test_html_keeps_the_article_and_its_code_and_leaves_navigation_out() -> None:
    article = "<p>" + "Buffers overflow when lengths are not checked. " * 10 + "</p>"
    page = (
        "<html><head><title>T</title><style>p {color: red}</style><script>var x = 1;</script></head><body>"
        f"<nav><a href='/'>Home</a> <a href='/a'>About us</a></nav><main><article><h1>Overflows</h1>{article}"
        "<pre>int main() {\n    return 0;\n}</pre></article></main><footer>Cookies</footer></body></html>"
    )
    text = html_to_text(page)
    assert "Buffers overflow" in text
    assert "    return 0;" in text
    assert "color: red" not in text
    assert "var x" not in text
    assert "About us" not in text


def test_lone_surrogates_are_written_out() -> None:
    assert storable("a\ud800b") == "a\\ud800b"
