"""What went into a corpus: every document accounted for, nothing claimed that was not measured, safe to open."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.made_figures import Given, corpus_figures
from evaluation.reading import Page
from forja.corpus import build
from forja.evaluation import corpus_findings, names
from forja.evaluation.corpus_report import write_corpus_report
from forja.evaluation.wording import percent, plural
from forja.pipeline import run_stages
from forja.recipe_file import load_recipe
from forja.run import Run
from made import TINY_RECIPE, write_corpus

HOSTILE = "</td><script>fetch('https://example.com')</script><img src=https://example.com/x.png onerror=alert(1)>"
REASONS = ["too-short", "c4.sentences", "exact-duplicate", "near-duplicate", "same-record", "over-share"]

TWENTY = "ar cs da de en es et fi fr it lt lv nl pl pt ru sk sv uk und"
CODES = TWENTY.split()

counts = st.dictionaries(st.sampled_from(REASONS), st.integers(1, 10**6), max_size=6)
one_source = st.builds(Given, kept=st.integers(0, 10**7), held=st.integers(0, 1000), rejected=counts)
corpora = st.dictionaries(st.text(min_size=1, max_size=9), one_source, min_size=1, max_size=5).map(corpus_figures)

MIXED = corpus_figures(
    {
        "cve": Given(
            900,
            held=2,
            rejected={"too-short": 40, "gopher_quality.mean_word_length": 7, "near-duplicate": 31},
            quarantined={"instructions": 2, "unicode-bidi": 1},
            masked={"email": 12},
        ),
        "made": Given(100, synthetic=100, masked={"email": 5, "secret": 1}),
    },
    languages={"en": 700, "es": 200, "xx-new": 60, "und": 40},
    regions={"unknown": 750, "DE": 150, "ES": 60, "Bavaria": 40},
)


def text_of(figures: dict[str, Any], folder: Path) -> str:
    return Page(write_corpus_report(figures, "a run", folder).read_text()).text


# --- every document is accounted for -----------------------------------------------------------


@given(corpora)
def test_from_step_to_step_exactly_what_is_left_out_goes_missing(corpus: dict[str, Any]) -> None:
    steps = corpus_findings.funnel(corpus)
    assert (steps[0].left, steps[-1].left) == (corpus["documents"]["read"], corpus["documents"]["kept"])
    for before, after in itertools.pairwise(steps):
        assert before.left - after.out == after.left
    for before, after in itertools.pairwise(steps[1:]):
        if before.left_bytes is not None and after.left_bytes is not None and after.out_bytes is not None:
            assert before.left_bytes - after.out_bytes == after.left_bytes


@given(corpora)
def test_what_became_of_a_sources_documents_adds_up_to_what_was_read(corpus: dict[str, Any]) -> None:
    rows = corpus_findings.source_rows(corpus)
    for row in rows:
        assert row.read == row.rejected + row.duplicates + row.quarantined + row.over_share + row.kept
    assert sum(row.quarantined for row in rows) == corpus["documents"]["quarantined"]


def test_the_corpus_stage_and_its_report_mean_the_same_by_a_duplicate() -> None:
    assert corpus_findings.DUPLICATES == build.DUPLICATES


def test_bytes_that_were_not_measured_are_not_made_up() -> None:
    corpus = corpus_figures({"a": Given(10, rejected={"too-short": 2, "near-duplicate": 1, "over-share": 3})})
    steps = {step.name: step for step in corpus_findings.funnel(corpus)}
    assert steps["over-share"].out_bytes is None
    assert steps["rejected"].left_bytes is None
    corpus["bytes"] |= {"over-share": 300, "rejected": 50}
    steps = {step.name: step for step in corpus_findings.funnel(corpus)}
    assert (steps["rejected"].out_bytes, steps["rejected"].left_bytes) == (50, 700 + 70 + 300)


def test_counts_are_told_by_kind_and_source_the_most_frequent_first() -> None:
    assert corpus_findings.tallies(MIXED, "masked") == [
        corpus_findings.Tally("email", 17, (("cve", 12), ("made", 5))),
        corpus_findings.Tally("secret", 1, (("made", 1),)),
    ]


# --- what the page says ------------------------------------------------------------------------


def test_the_page_tells_the_funnel_and_who_is_represented(tmp_path: Path) -> None:
    text = text_of(MIXED, tmp_path)
    for expected in (
        "1,080 documents were read from 2 sources, and 1,000 kept", "in 3 languages",
        "−47 documents", "−31 documents, 2.17 kB", "−2 documents, 140 bytes", "1,002 left",  # the funnel
        "100 are synthetic (10%)",
        "English (en)", "Spanish (es)", "xx-new", "Not told", "70%",  # languages
        "Germany (DE)", "Bavaria", "Unknown", "A region is known for 25% of the text",  # regions
        "Gopher: mean word length", "gopher_quality.mean_word_length", "Too short",  # rules
        "E-mail addresses", "Keys, tokens and passwords",  # personal data
        "2 documents were quarantined", "Instructions aimed at models", "corpus/quarantined-*.parquet",
    ):  # fmt: skip
        assert expected in text, expected


def test_the_synthetic_share_is_told_in_text_too_where_it_was_measured(tmp_path: Path) -> None:
    figures = corpus_figures({"made": Given(10, synthetic=5)})
    assert "5 are synthetic (50%), each" in text_of(figures, tmp_path)
    figures["bytes"]["synthetic"] = 70
    assert "5 are synthetic (50%, and 10% of the text), each" in text_of(figures, tmp_path)


def test_flags_of_documents_that_were_kept_are_told_apart(tmp_path: Path) -> None:
    figures = corpus_figures({"a": Given(5)})
    figures["sources"]["a"]["reported"] = {"instructions-discussed": 4}
    text = text_of(figures, tmp_path)
    assert "No document was quarantined" in text
    assert "as a subject instructions-discussed 0 4 a" in text
    assert "kept all the same have their flags in meta" in text


def test_a_corpus_of_one_document_is_told_in_the_singular_and_without_empty_tables(tmp_path: Path) -> None:
    text = text_of(corpus_figures({"note.txt": Given(1)}), tmp_path)
    for expected in (
        "1 document was read from 1 source, and 1 kept", "in 1 language.", "No document was rejected",
        "No region is known", "No document was flagged", "None of the documents kept is synthetic",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_corpus_whose_language_nobody_told_claims_none(tmp_path: Path) -> None:
    text = text_of(corpus_figures({"a": Given(3)}, languages={"und": 3}), tmp_path)
    assert "3 kept: 210 bytes of text." in text


def test_a_long_list_of_languages_is_folded_and_whole(tmp_path: Path) -> None:
    languages = {
        code: 100 - number
        for number, code in enumerate(
            ["en", "es", "de", "fr", "it", "pt", "nl", "pl", "cs", "sk", "sv", "da", "fi", "et"]
        )
    }
    text = text_of(corpus_figures({"a": Given(sum(languages.values()))}, languages=languages), tmp_path)
    assert "2 more languages" in text
    assert all(names.language(code) in text for code in languages)


def test_a_share_limit_has_a_column_only_where_it_left_something_out(tmp_path: Path) -> None:
    assert "Over share" in text_of(corpus_figures({"a": Given(3, rejected={"over-share": 1})}), tmp_path)
    assert "Over share" not in text_of(corpus_figures({"a": Given(3)}), tmp_path)


def test_hostile_names_are_shown_and_never_run(tmp_path: Path) -> None:
    figures = corpus_figures(
        {HOSTILE: Given(3, held=1, rejected={HOSTILE: 2}, quarantined={HOSTILE: 1}, masked={HOSTILE: 1})},
        languages={HOSTILE: 3},
        regions={HOSTILE: 3},
    )
    html = write_corpus_report(figures, HOSTILE, tmp_path).read_text()
    assert not {"script", "img"} & set(Page(html).tags)
    assert all(address.startswith("#") or address == "data:," for address in Page(html).addresses)
    assert Page(html).text.count("onerror=alert(1)") >= 7


def test_the_same_figures_give_the_same_page(tmp_path: Path) -> None:
    first = write_corpus_report(MIXED, "a run", tmp_path).read_bytes()
    again = json.loads(json.dumps(MIXED))  # as a receipt gives them back
    assert write_corpus_report(again, "a run", tmp_path).read_bytes() == first


def test_names_that_are_not_listed_are_told_as_they_are_written() -> None:
    assert names.language("qq") == "qq"
    assert names.region("Bavaria") == "Bavaria"
    assert names.reason("not-a-thing") == "Not a thing"
    assert names.reason("new_rules.some_rule") == "New rules: some rule"
    assert names.reason("gopher_repetition.duplicate_5_grams") == "Gopher repetition: duplicate 5-grams"
    assert names.placeholder("tax_number") == "Tax number"


def test_shares_never_round_to_nothing_or_to_everything() -> None:
    assert [percent(share) for share in (0, 1e-5, 0.125, 0.5, 0.9999, 1 - 1e-12, 1)] == [
        "0%", "<0.1%", "12.5%", "50%", ">99.9%", "100%", "100%",
    ]  # fmt: skip
    assert [plural(count, "document") for count in (0, 1, 1200)] == ["0 documents", "1 document", "1,200 documents"]


# --- in a run and in a browser -----------------------------------------------------------------


def test_a_page_is_drawn_again_without_collecting_the_corpus_again(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text.jsonl", 30, seed=3)
    (tmp_path / "tiny.yaml").write_text(TINY_RECIPE)
    recipe, base = load_recipe(str(tmp_path / "tiny.yaml"))
    run = Run(tmp_path / "runs" / "tiny")
    assert [done.status for done in run_stages(run, recipe, base, last="corpus-report")] == ["done", "done"]
    page = run.folder / "corpus-report.html"
    first = page.read_bytes()
    assert "30 kept" in Page(first.decode()).text
    page.unlink()
    again = run_stages(run, recipe, base, last="corpus-report")
    assert [done.status for done in again] == ["up to date", "done"]
    assert page.read_bytes() == first
    receipt = run.receipt("corpus-report")
    assert receipt is not None
    assert set(receipt["outputs"]) == {"corpus-report.html"}


LONG = {
    "a-source-with-a-name-that-is-far-longer-than-any-phone-is-wide.jsonl.gz" * 2: Given(
        9_000_000, held=3, rejected=dict.fromkeys(REASONS, 123456), quarantined={"flood": 3}, masked={"ip": 9}
    ),
    **{f"source-{number}": Given(1 + number, rejected={"too-short": number}) for number in range(30)},
}


@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sources", [LONG, {"note.txt": Given(1)}], ids=["many", "one"])
def test_a_browser_shows_the_page_whole_and_asks_the_network_for_nothing(
    look: Callable[[Path, int, str], Any], tmp_path: Path, width: int, scheme: str, sources: dict[str, Given]
) -> None:
    kept = sum(source.kept for source in sources.values())
    languages = dict.fromkeys(CODES, kept // 20) if kept > 20 else None
    figures = corpus_figures(sources, languages=languages, regions={"GS": kept})
    page = look(write_corpus_report(figures, "x" * 90, tmp_path), width, scheme)
    assert page.locator("svg").first.is_visible()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 900})  # A4 less its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
