from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.growth import assert_in_proportion
from forja.corpus.html import html_to_text, page_metadata, render_html
from forja.corpus.html_blocks import MAX_DEPTH, parse
from forja.corpus.sources.record import Record

PARAGRAPH = "<p>" + "Buffers overflow, when lengths are not checked, and stacks are smashed. " * 6 + "</p>"


def page(*parts: str, head: str = "") -> str:
    return f"<!DOCTYPE html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


@pytest.mark.parametrize(
    "boilerplate",
    [
        "<nav><a href=/>Home</a><a href=/x>UNWANTED</a></nav>",
        "<div class='cookie-consent'><p>UNWANTED We and our partners store information on a device.</p></div>",
        "<div id=sidebar><h3>UNWANTED</h3><p>Ten more things that you did not know of the stack, and more.</p></div>",
        "<section class=comments><p>UNWANTED I disagree with every word of this, and with you, friend.</p></section>",
        "<div><ul><li><a href=/1>UNWANTED one</a></li><li><a href=/2>another story</a></li></ul></div>",
        "<script>if (a < b) document.write('<p>UNWANTED</p>');</script>",
        "<style>p:before { content: '<p>UNWANTED' }</style>",
        "<!-- <p>UNWANTED</p> -->",
        "<p hidden>UNWANTED</p><p style='color: red; display: none'>UNWANTED</p><div aria-hidden=true>UNWANTED</div>",
        "<template><p>UNWANTED</p></template><noscript><p>UNWANTED</p></noscript>",
        "<form><select><option>UNWANTED</select><button>UNWANTED</button><textarea>UNWANTED</textarea></form>",
        "<footer><p>UNWANTED All rights reserved by the company that holds them all.</p></footer>",
        "<div class='post-tags tags'>UNWANTED tag</div><p class=byline>By UNWANTED</p>",
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_boilerplate_is_left_out_wherever_it_stands(boilerplate: str, before: bool) -> None:
    article = f"<div class=entry><h2>Overflows</h2>{PARAGRAPH * 3}</div>"
    text = html_to_text(page(*([boilerplate, article] if before else [article, boilerplate])))
    assert "UNWANTED" not in text
    assert text.count("Buffers overflow") == 18
    assert "Overflows" in text


def test_code_keeps_its_layout() -> None:
    code = "int main() {\n\tif (a &lt; b)\n\n        return <b>0</b>;  // 100%\n}"
    text = html_to_text(page("<article>", PARAGRAPH, f"<pre><code class='c'>\n{code}\n</code></pre>", "</article>"))
    assert "int main() {\n\tif (a < b)\n\n        return 0;  // 100%\n}" in text


def test_the_first_line_of_highlighted_code_keeps_its_indentation() -> None:
    text = html_to_text(page(PARAGRAPH, "<pre>    <span>return</span> <span>x</span>\n    end</pre>"))
    assert "\n    return x\n    end" in text


def test_table_rows_and_list_items_are_lines() -> None:
    table = "<table><tr><th>CVE<th>Score<tr><td>CVE-2021-44228<td>10.0<tr><td>CVE-2014-0160<td>7.5</table>"
    items = "<ul><li>first<li>second<ul><li>within</ul><li>third</ul>"
    text = html_to_text(page("<main>", PARAGRAPH, table, items, "</main>"))
    assert "\n\nCVE | Score\nCVE-2021-44228 | 10.0\nCVE-2014-0160 | 7.5\n" in text
    assert "- first\n- second\n  - within\n- third" in text


def test_line_breaks_are_kept_and_other_white_space_is_one_blank() -> None:
    assert html_to_text("<p>Roses\n\t are  red<br>violets&nbsp; are<br/>blue</p><p>end") == (
        "Roses are red\nviolets are\nblue\n\nend"
    )


def test_a_lead_between_title_and_article_is_content_and_what_is_before_the_title_is_not() -> None:
    lead = "<div class=intro><p>" + "How a missing check came to matter to everyone. " * 2 + "</p></div>"
    early = "<div><p>" + "Before the title stands what is no part of it. " * 2 + "</p></div>"
    text = html_to_text(page(early, "<h1>Title</h1>", lead, "<div class=entry-content>", PARAGRAPH * 5, "</div>"))
    assert text.startswith("How a missing check")
    assert "Before the title" not in text


def test_a_page_of_a_few_words_gives_them_all() -> None:
    assert html_to_text("<body><nav><a href=/>Home</a></nav>") == "Home"
    assert html_to_text("<p>Hello</p>") == "Hello"
    assert html_to_text("no markup, 1 < 2 && 3 > 2") == "no markup, 1 < 2 && 3 > 2"
    assert html_to_text("") == ""


def test_what_calls_itself_a_sidebar_but_holds_the_article_stays() -> None:
    assert "Buffers" in html_to_text(page("<div class='with-sidebar'>", PARAGRAPH * 3, "</div><div>Short.</div>"))


def test_a_page_that_a_script_shows_gives_its_text() -> None:
    assert "Buffers" in html_to_text(page("<div style='display:none'>", PARAGRAPH, "</div><p>Loading</p>"))


def test_a_page_that_a_script_makes_gives_the_article_that_it_states() -> None:
    body = json.dumps({"@type": "NewsArticle", "articleBody": 'They said "no", ' * 30})
    text = html_to_text(page("<p>Please enable JavaScript.", f"<script type=application/ld+json>{body}</script>"))
    assert text.startswith('They said "no", They')


def test_end_tags_may_be_missing_and_stray_ones_do_no_harm() -> None:
    text = html_to_text(page("<table><tr><td></div></p>a<td>b<tr><td>c</table><dl><dt>t<dd>d</dl><p>x<p>y</section>z"))
    assert text == "a | b\nc\n\nt\n\nd\n\nx\n\ny\n\nz"


def test_attributes_hold_what_they_like() -> None:
    text = html_to_text("""<p title="a > b" data-x='<script>' alt=don't>one</p><P CLASS=x>two</P>""")
    assert text == "one\n\ntwo"


def test_soft_hyphens_are_taken_out_of_words() -> None:
    assert html_to_text("<p>Werk&shy;zeuge und Unter\u00adschiede") == "Werkzeuge und Unterschiede"


HOSTILE = {
    "deep": "<div>",
    "deep formatting": "<b><font size=1><p>",
    "deep lists": "<ul><li>x",
    "deep tables": "<table><tr><td>x",
    "stray ends": "<td><div></section>",
    "links": "<a href=x><p>x",
    "less than": "<",
    "ampersands": "&",
    "entities": "&notit;&#x41;",
    "open quotes": "<a ='\"",
    "comments": "<!--",
    "scripts": "<script></scrip",
    "paragraphs": "<p>x",
    "breaks": "<br>x",
    "meta": "<meta name=x ",
    "html": "<html ",
    "title": "<title>",
    "stated": '"articleBody":"\\',
    "blanks": " \n",
    "nul": "\0<",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pages_take_time_in_proportion_to_their_length(unit: str) -> None:
    def run(length: int) -> None:
        html = unit * (length // len(unit))
        html_to_text(html)
        page_metadata(html)

    assert_in_proportion(run, 25_000)


def test_a_tag_of_a_million_attributes_is_one_tag() -> None:
    attributes = " ".join(f"a{number}=1" for number in range(1_000_000))
    assert html_to_text(f"<p {attributes}>text</p>") == "text"


def test_ten_million_signs_and_a_hundred_thousand_levels_end() -> None:
    assert html_to_text("<" * 10_000_000) == "<" * 10_000_000
    deep = parse("<div>" * 100_000 + "text" + "</div>" * 100_000 + "<p>after")
    assert [block.text for block in deep.blocks] == ["text", "after"]
    assert len(deep.tags) <= MAX_DEPTH + 2


PIECES = (
    "<div> </div> <p> </p> <a> <a_href=x> </a> <ul> <li> </ul> <table> <tr> <td> </table> <pre> </pre> <span> </span>"
    " <nav> </nav> <svg> <svg/> <script> </script> <!-- --> <br> <h1> word another &amp; &lt <b </ < > \" ' ="
    " <div_class='comment'> <p_hidden> <main> </main> _"
)
MARKUP = st.lists(st.sampled_from(PIECES.split()), max_size=60)


@given(MARKUP)
def test_any_markup_makes_a_page_whose_elements_follow_their_parents(pieces: list[str]) -> None:
    html = "".join(piece.replace("_", " ") for piece in pieces)
    made = parse(html)
    assert all(parent < element for element, parent in enumerate(made.parents) if element)
    assert len(made.parents) == len(made.tags) == len(made.attributes)
    assert all(block.node < len(made.tags) for block in made.blocks)
    assert all(0 <= block.links <= len(block.text) for block in made.blocks)
    text = html_to_text(html)
    assert text or not made.blocks


@given(st.text(max_size=200))
def test_text_without_markup_comes_through(text: str) -> None:
    plain = re.sub(r"[<&\xad]", "", text)
    assert html_to_text(plain).split() == plain.split()


def test_metadata_is_what_the_page_states() -> None:
    head = (
        "<meta charset=utf-8><title> A &amp; B\n| Site</title><meta property='og:title' content='A &amp; B'>"
        '<meta content="2024-02-29T10:00:00Z" property="article:published_time">'
        "<link rel=license href=https://creativecommons.org/licenses/by/4.0/>"
    )
    assert page_metadata(page(PARAGRAPH, head=head)) == {
        "title": "A & B",
        "lang": "en",
        "date": "2024-02-29",
        "licence": "CC-BY-4.0",
    }


def test_metadata_that_is_missing_or_makes_no_sense_is_none() -> None:
    nonsense = '<html lang=x><title> </title><meta name=date content=\'yesterday\'><p>"datePublished": "2024-99-99"'
    for html in ("", "<p>text", nonsense):
        assert page_metadata(html) == {"title": None, "lang": None, "date": None, "licence": None}
    assert page_metadata('<html xml:lang="pt-BR"><script>{"datePublished":"2023-05-06T00:00"}')["date"] == "2023-05-06"
    assert page_metadata('<html xml:lang="pt-BR">')["lang"] == "pt"


def test_a_record_gets_its_text_and_what_its_source_did_not_say() -> None:
    raw = page("<p>Größe</p>", head="<title>T</title>").encode("cp1252")
    done = render_html(Record("https://x.example/", raw, form="html", lang="de", meta={"charset": "iso-8859-1"}))
    assert (done.form, done.text, done.lang, done.reason) == ("string", "Größe", "de", None)
    assert done.meta == {"charset": "iso-8859-1", "title": "T"}
    assert done.raw == raw


def test_a_record_that_is_no_text_is_rejected() -> None:
    done = render_html(Record("x", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", form="html"))
    assert done.reason == "not-text"
    assert done.text is None


@pytest.mark.realdata
def test_the_main_content_of_real_pages_is_found_as_well_as_was_measured(realdata: Path) -> None:
    import lxml.html

    scores = []
    with zipfile.ZipFile(realdata / "corpora/raw/html/readability_pages.zip") as archive:
        for entry in archive.namelist():
            if not entry.endswith("/source.html"):
                continue
            expected = lxml.html.fromstring(archive.read(entry.replace("source", "expected")).decode() or "<p></p>")
            truth = Counter(re.findall(r"\w+", " ".join(expected.itertext()).lower()))
            text = Counter(re.findall(r"\w+", html_to_text(archive.read(entry).decode("utf-8", "replace")).lower()))
            scores.append(2 * (text & truth).total() / (text.total() + truth.total()))
    assert len(scores) == 52
    # trafilatura 2.3.1 reaches 0.950 (benchmarks/html_text.py).
    assert sum(scores) / 52 > 0.98
