from __future__ import annotations

import bz2
import io
from collections import Counter
from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.growth import assert_in_proportion
from forja.corpus.sources.record import Record
from forja.corpus.sources.wikipedia import read_wikipedia
from forja.corpus.sources.wikitext import render_wikitext, wikitext_to_text
from forja.errors import ForjaError
from forja.recipe import Source

SOURCE = Source(path="dump.xml")
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo><sitename>Wikipedia</sitename><dbname>enwiki</dbname>
    <base>https://en.wikipedia.org/wiki/Main_Page</base><generator>MediaWiki 1.43.0-wmf.5</generator></siteinfo>
"""


def page(number: int, text: str, *, ns: int = 0, extra: str = "", model: str = "wikitext") -> str:
    return f"""  <page>
    <title>Page &amp; {number}</title><ns>{ns}</ns><id>{number}</id>{extra}
    <revision><id>9{number}</id><timestamp>2024-05-0{number % 9 + 1}T10:00:00Z</timestamp>
      <contributor><username>Someone</username><id>77</id></contributor><model>{model}</model>
      <text bytes="9" xml:space="preserve">{escape(text)}</text></revision>
  </page>
"""


def dump(*pages: str) -> bytes:
    return (HEAD + "".join(pages) + "</mediawiki>\n").encode()


def read(data: bytes, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_wikipedia(io.BytesIO(data), "dump.xml", SOURCE, max_bytes))


def good(records: list[Record]) -> list[str]:
    return [record.raw.decode() for record in records if record.reason is None]


# --- reading ---------------------------------------------------------------------------------


def test_a_page_is_a_record_with_what_the_dump_says_of_it() -> None:
    (record,) = read(dump(page(12, "'''Text''' & more")))
    assert record.origin == "enwiki#12 Page & 12"
    assert (record.raw, record.form, record.lang) == (b"'''Text''' & more", "wikitext", "en")
    assert (record.date, record.licence) == ("2024-05-04T10:00:00Z", "CC BY-SA 4.0")
    assert record.meta["url"] == "https://en.wikipedia.org/wiki/Page_&_12"
    assert record.meta["title"] == "Page & 12"


def test_an_older_dump_is_under_the_older_licence() -> None:
    (record,) = read(dump(page(1, "text")).replace(b"1.43.0", b"1.27.0"))
    assert record.licence == "CC BY-SA 3.0"


def test_another_wiki_has_no_licence_put_on_it() -> None:
    (record,) = read(dump(page(1, "text")).replace(b"en.wikipedia.org", b"wiki.example.org"))
    assert record.licence is None


def test_redirects_other_namespaces_and_other_models_are_counted_as_rejected() -> None:
    records = read(
        dump(
            page(1, "#REDIRECT [[Other]]", extra='<redirect title="Other" />'),
            page(2, "#redirect [[Other]]"),
            page(3, "talk", ns=1),
            page(4, "body { }", model="css"),
            page(5, "  "),
            page(6, "an article"),
        )
    )
    assert [record.reason for record in records] == ["redirect", "redirect", "namespace", "not-wikitext", "empty", None]


def test_of_a_history_the_last_revision_is_taken() -> None:
    old = "<revision><id>1</id><timestamp>2001-01-01T00:00:00Z</timestamp><text>old</text></revision>"
    (record,) = read(dump(page(1, "new", extra=old)))
    assert (record.raw, record.date) == (b"new", "2024-05-02T10:00:00Z")


def test_a_dump_cut_in_the_middle_gives_its_whole_pages() -> None:
    data = dump(*(page(number, f"text {number}") for number in range(5)))
    records = read(data[: data.index(b"text 3")])
    assert good(records) == ["text 0", "text 1", "text 2"]
    assert records[-1].reason == "truncated"


def test_broken_xml_costs_one_page() -> None:
    pages = [page(number, f"text {number}") for number in range(4)]
    pages[1] = pages[1].replace("</title>", "</tilte>")
    pages[2] = pages[2].replace("</page>", "")
    records = read(dump(*pages))
    assert good(records) == ["text 0", "text 3"]
    assert Counter(record.reason for record in records) == {None: 2, "broken-xml": 2}


def test_a_gap_never_joins_the_halves_of_two_pages() -> None:
    data = dump(*(page(number, f"text {number}") for number in range(3)))
    start, end = data.index(b"text 0") + 2, data.index(b"text 2") + 2
    assert good(read(data[:start] + b"\0" + data[end:])) == []


def test_entities_of_ones_own_are_refused_and_never_expanded() -> None:
    laughs = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(ForjaError, match="document type"):
        read(laughs.encode() + dump(page(1, "x").replace("x</text>", "&b;</text>")))
    inside = page(1, "x").replace("<title>", '<!DOCTYPE m [<!ENTITY a "ha">]><title>')
    records = read(dump(inside, page(2, "x").replace(">x<", ">&b;<"), page(3, "good")))
    assert [record.reason for record in records] == ["broken-xml", "broken-xml", None]


def test_a_page_that_is_too_long_is_passed_over_without_being_held() -> None:
    class Counting(io.BytesIO):
        most = 0

        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(min(size or 0, 4096))

    records = list(read_wikipedia(Counting(dump(page(1, "long " * 400_000), page(2, "good"))), "dump", SOURCE, 100_000))
    assert [record.reason for record in records] == ["too-long", None]
    assert len(records[0].raw) <= 1024


def test_a_file_that_is_no_dump_is_an_error() -> None:
    with pytest.raises(ForjaError, match="not a MediaWiki XML dump"):
        read(b"<html><body>A page, but no dump.</body></html>")
    with pytest.raises(ForjaError, match="not a MediaWiki XML dump"):
        read(b"a" * 3_000_000)


WHOLE = dump(*(page(number, f"Text of page {number}, [[linked]].") for number in range(8)))
TEXTS = set(good(read(WHOLE)))


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_cut_or_inserted_piece_costs_at_most_the_pages_it_touches(data: st.DataObject) -> None:
    place = data.draw(st.integers(WHOLE.index(b"<page>") + 6, len(WHOLE) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if kind == "flip":
        mutated = bytearray(WHOLE)
        mutated[place] ^= 1 << data.draw(st.integers(0, 7))
        changed = bytes(mutated)
    elif kind == "cut":
        changed = WHOLE[:place] + WHOLE[place + data.draw(st.integers(1, 40)) :]
    else:
        changed = WHOLE[:place] + data.draw(st.binary(max_size=40)) + WHOLE[place:]
    records = read(changed)
    assert len(TEXTS - set(good(records))) <= 2
    for record in records:
        if record.reason is None:
            render_wikitext(record)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_dump_or_a_clear_error(data: bytes) -> None:
    try:
        read(data)
        read(HEAD.encode() + b"<page>" + data + b"</page>")
    except ForjaError:
        pass


# --- wikitext --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''italic''", "Bold and italic"),
        ("[[Target]], [[Target|label]], [[Foo (bar)|]] and [[:Category:Foo]]", "Target, label, Foo and Category:Foo"),
        ("a[[File:x.png|thumb|A [[linked]] caption]]b [[Category:C]][[fr:Autre]]", "ab"),
        ("[https://x.org The label] and [https://y.org] or https://z.org", "The label and or https://z.org"),
        ('said<ref>not [[this]]</ref>, so<ref name=a /> it<ref name="b">{{cite|x}}</ref> is', "said, so it is"),
        ("a<!-- hidden {{ -->b", "ab"),
        ("<nowiki>[[kept]]</nowiki> {{!}}", "[[kept]] |"),
        ("H<sub>2</sub>O and 10<sup>-6</sup>, 1<sup>st</sup>", "H2O and 10^-6, 1st"),
        ("x <math>a_{b_{c}}</math> y", "x $a_{b_{c} }$ y"),
        ("one<br>two<br />three", "one\ntwo\nthree"),
        ("== Title ==\ntext\n=== Sub ===\nmore", "Title\n\ntext\n\nSub\n\nmore"),
        ("text\n== Empty ==\n{{reflist}}\n== Full ==\nx", "text\n\nFull\n\nx"),
        ("* one\n** two\n# three\n: four", "- one\n  - two\n- three\nfour"),
        ("{{convert|5|km|mi}} in {{start date|2001|3|4}}", "5 km in March 4, 2001"),
        ("{{convert|5|ft|6|in|m}} and {{convert|10|-|20|kg|lb|abbr=on}}", "5 ft 6 in and 10–20 kg"),
        ("{{lang|fr|Bonjour}}, {{lang-grc|λόγος}}, {{nowrap|a {{small|b}}}}", "Bonjour, Ancient Greek: λόγος, a b"),
        ("{{quote|To be.|Hamlet}}", "To be.\n— Hamlet"),
        ("{{Infobox x | a = [[b]] {{c|d}} }}Text (born {{x}}; 1900) __TOC__({{y}})", "Text (born; 1900)"),
        ("{{unknown|x={{nowrap|a|b}}|y}}Text &amp; &lt;b&gt;&nbsp;x", "Text & <b> x"),
        ("a {{#if: x | yes | no}} {{#invoke:m|f}}{{lc:ABC}}", "a yes abc"),
        ("Foo {{PAGENAME}}", "Foo Title"),
        ("Land (x {{y}}; {{z}}), {{a}}, {{b}}, c", "Land (x), c"),
        ("{|\n| colspan=2 {{n/a}} || bgcolor=white | 2\n|}", "N/A | 2"),
    ],
)
def test_markup_becomes_what_a_reader_sees(wikitext: str, text: str) -> None:
    assert wikitext_to_text(wikitext, "Title") == text


def test_code_is_kept_as_it_was_written() -> None:
    text = wikitext_to_text(
        "Before\n<syntaxhighlight lang=c>\nif (a[[0]]) {{  x; }}\n\n\n   y &amp;&amp; z\n</syntaxhighlight>After"
    )
    assert "if (a[[0]]) {{  x; }}" in text
    assert "   y && z" in text


def test_a_table_becomes_lines_of_cells() -> None:
    table = """{| class="wikitable"
|+ Caption
! Name !! style="x" | Size
|-
| [[A|a]] || rowspan=2 | {{nowrap|1 m}}
|-
| colspan="2" |
|-
| b
| 2
|}"""
    assert wikitext_to_text(table).splitlines() == ["Caption", "Name | Size", "a | 1 m", "b | 2"]


def test_a_table_that_is_never_closed_leaves_its_text() -> None:
    text = wikitext_to_text("Before\n{| class=x\n|-\n| a\n|-\n| b\n")
    assert "|-" not in text
    assert [line for line in text.splitlines() if line][-2:] == ["a", "b"]


def test_navigation_tables_are_left_out() -> None:
    assert wikitext_to_text('{| class="infobox vcard"\n| a || b\n|}\nText') == "Text"


def test_a_redirect_of_templates_alone_is_empty() -> None:
    assert render_wikitext(Record("o", b"{{only}}", "wikitext", meta={"title": "T"})).reason == "empty"


@pytest.mark.parametrize(
    "piece",
    [
        "{{",
        "}}",
        "[[",
        "]]",
        "\n{|",
        "{{a|[[",
        "<ref>",
        "<ref",
        "<!--",
        "<pre>",
        "=",
        "[http:a ",
        "( ",
        "&#9",
        "\n| style id ",
        "  ",
    ],
)
def test_unbalanced_markup_costs_no_more_than_its_length(piece: str) -> None:
    assert_in_proportion(lambda size: wikitext_to_text(piece * (size // len(piece))), 50_000)


def test_deep_nesting_ends() -> None:
    wikitext_to_text("{{nowrap|" * 100_000 + "x" + "}}" * 100_000)
    wikitext_to_text("\n{|\n|" * 50_000 + "\n|}" * 50_000)


MARKS = ["{{", "}}", "[[", "]]", "|", "=", "\n{|", "\n|}", "\n|-", "\n!", "<ref>", "</ref>", "<!--", "-->", "<math>"]
MARKS += ["</math>", "convert", "lang", "5", "km"]
MARKS += ["&#", "&#x110000;", "&#99999999999;", "''", "\n==", "\n*", "x", " ", "File:"]


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(MARKS),
        max_size=40,
    )
)
def test_any_order_of_marks_gives_text_without_marks_of_ours(pieces: list[str]) -> None:
    text = wikitext_to_text("".join(pieces))
    assert not set(text) & set("\x02\x03\x04\x05")


# --- real dumps ------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_dumps_become_text_without_markup(realdata: Path) -> None:
    texts = []
    raw = 0
    for path in sorted((realdata / "corpora/raw/wikipedia").glob("*.bz2")):
        with bz2.open(path) as file:
            for record in read_wikipedia(file, path.name, SOURCE, 1 << 22):
                assert record.reason in (None, "redirect")
                if record.reason is None:
                    raw += len(record.raw)
                    texts.append(render_wikitext(record).text or "")
    assert len(texts) == 111
    marks = ("{{", "}}", "[[", "|-", "<ref")
    assert sum(any(mark in text for mark in marks) for text in texts) <= len(texts) // 100
    assert sum(map(len, texts)) > 0.4 * raw
