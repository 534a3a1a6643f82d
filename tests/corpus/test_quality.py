from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.quality import LONGEST_JUDGED, Verdict, c4_clean, judge, judge_all
from forja.corpus.quality.words import split_words
from forja.recipe import QualitySection

PROSE = (
    "The river had risen in the night, and by morning the lower fields were gone. Nobody in the village had seen it so "
    "high since the winter when the old bridge fell. They carried what they could to the church, which stands on the "
    "only hill, and waited there for the boats. Some of the children slept. The others watched the water and counted "
    "the trees that still stood above it, and when one of them went under they were quiet for a while.\n"
    "In the afternoon a man came with news from the town. The mill was safe, he said, but the road was cut in three "
    "places, and no help could be expected before the next day. He had walked along the ridge to reach them. Was there "
    "anything to eat? There was bread, and someone had saved a cheese.\n"
    "That evening the rain stopped. It was cold, with a clear sky, and one could hear the river from far away."
)
ALL = QualitySection(gopher_quality=True, gopher_repetition=True, c4=True, fineweb=True)
GOPHER = QualitySection(gopher_quality=True)
REPETITION = QualitySection(gopher_repetition=True)
C4 = QualitySection(c4=True)
FINEWEB = QualitySection(fineweb=True)


def words_of(text: str) -> list[str]:
    words = split_words([text])
    return [f"\n{text}\n"[start:end] for start, end in zip(words.starts, words.ends, strict=True)]


def rule(text: str, settings: QualitySection, lang: str | None = "en") -> str | None:
    verdict = judge(text, lang, settings)
    return verdict.rule if verdict else None


def test_prose_passes_every_rule() -> None:
    assert judge(PROSE, "en", ALL) is None


def test_with_all_rules_off_everything_passes() -> None:
    assert judge_all(["", "x", "{" * 100], [None, "en", "de"], QualitySection()) == [None, None, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's John's.", "It 's John 's ."),
        ("I don't, we'll", "I do n't , we 'll"),
        ("well-known (foo(bar)) 3.14 1,000", "well - known ( foo(bar ) ) 3.14 1,000"),
        ("Mr. Smith of the U.S. left...", "Mr. Smith of the U.S. left ..."),
        ("see https://example.com/a-b?c=d:e.", "see https://example.com/a-b?c=d:e ."),
        ('He said "Go!" word--word', 'He said " Go ! " word -- word'),
        ("key=value a/b R02-M1 2003-01-02", "key = value a / b R02 - M1 2003 - 01 - 02"),
        ("wait....what (end.) 5$ $5", "wait .... what ( end . ) 5 $ $ 5"),
    ],
)
def test_words_are_those_of_spacy(text: str, expected: str) -> None:
    assert words_of(text) == expected.split(" ")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), max_size=6))
def test_words_hold_all_that_is_not_blank_and_no_text_changes_another(texts: list[str]) -> None:
    words = split_words(texts)
    joined = "\n".join(("", *texts, ""))
    for index, text in enumerate(texts):
        low, high = words.bounds[index], words.bounds[index + 1]
        pieces = [joined[a:b] for a, b in zip(words.starts[low:high], words.ends[low:high], strict=True)]
        assert "".join(pieces) == "".join(text.split())
        assert words.hashes[low:high].tolist() == split_words([text]).hashes.tolist()


@given(st.lists(st.text(st.sampled_from("ab.-'’ \n,:/x1(…")), max_size=4))
def test_equal_words_have_equal_hashes_and_others_do_not(texts: list[str]) -> None:
    words = split_words(texts)
    joined = "\n".join(("", *texts, ""))
    pieces = [joined[a:b] for a, b in zip(words.starts, words.ends, strict=True)]
    assert (
        len(set(pieces)) == len(set(words.hashes.tolist())) == len(set(zip(pieces, words.hashes.tolist(), strict=True)))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" ".join(PROSE.split()[:40]), "gopher_quality.words"),
        ("word " * 100_001, "gopher_quality.words"),
        ("a b c be to of " * 20, "gopher_quality.mean_word_length"),
        ("incomprehensibilities counterrevolutionaries " * 30, "gopher_quality.mean_word_length"),
        (PROSE.replace(" the ", " # the # "), "gopher_quality.hashes"),
        (PROSE.replace(" ", "... ", 40), "gopher_quality.ellipses"),
        ("\n".join(f"- {line}" for line in re.split(r"(?<=\.)\s", PROSE)), "gopher_quality.bullet_lines"),
        (re.sub(r"\. ", "...\n", PROSE), "gopher_quality.ellipsis_lines"),
        (re.sub(r" (\w+) (\w+)", r" \1 1850", PROSE), "gopher_quality.alphabetic_words"),
        ("alpha beta gamma delta epsilon zeta theta iota kappa lambda " * 6, "gopher_quality.stop_words"),
    ],
)
def test_each_gopher_quality_rule_rejects_by_name(text: str, expected: str) -> None:
    assert rule(text, GOPHER) == expected


def test_a_verdict_gives_value_and_threshold() -> None:
    verdict = judge("the and of " * 10, "en", GOPHER)
    assert verdict == Verdict("gopher_quality.words", 30, 50)
    assert str(verdict) == "gopher_quality.words: 30 (threshold 50)"


@pytest.mark.parametrize(
    ("lang", "expected"),
    [("es", None), ("en", "gopher_quality.stop_words"), (None, "gopher_quality.stop_words"), ("fi", None)],
)
def test_stop_words_are_those_of_the_language(lang: str | None, expected: str | None) -> None:
    spanish = "El río creció por la noche y los campos de abajo ya no estaban cuando salió el sol sobre la iglesia " * 3
    assert rule(spanish, GOPHER, lang) == expected


def test_rules_that_count_words_leave_scripts_without_blanks_alone() -> None:
    chinese = "委员会下周将再次开会，讨论应该如何处理这条河流的问题。\n村里的人都在等待消息。\n" * 2
    assert rule(chinese, GOPHER, "zh") is None
    assert rule(chinese * 5, REPETITION, "zh") == "gopher_repetition.duplicate_lines"


def _numbered(count: int) -> list[str]:
    return [f"Line {index} says {index * index} things about the number {index}." for index in range(count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n\n".join([*_numbered(6), *["The same paragraph."] * 5]), "gopher_repetition.duplicate_paragraphs"),
        ("\n\n".join([*_numbered(8), *[PROSE] * 2]), "gopher_repetition.duplicate_paragraph_characters"),
        ("\n".join([*_numbered(6), *["The same."] * 5]), "gopher_repetition.duplicate_lines"),
        (
            "\n".join([*_numbered(9), *["A longer line of its own, " * 9] * 2]),
            "gopher_repetition.duplicate_line_characters",
        ),
        (" ".join(f"river bank {word}" for word in PROSE.split()), "gopher_repetition.top_2_gram"),
        (" ".join(f"at an oak {index:04d}{'x' * 26}" for index in range(40)), "gopher_repetition.top_3_gram"),
        (" ".join(f"at an oak by {index:04d}{'x' * 45}" for index in range(40)), "gopher_repetition.top_4_gram"),
        (f"{PROSE} {' '.join(PROSE.split()[10:70])}", "gopher_repetition.duplicate_5_grams"),
    ],
)
def test_each_repetition_rule_rejects_by_name(text: str, expected: str) -> None:
    assert rule(text, REPETITION) == expected


def _counted_as_published(words: list[str], size: int) -> int:
    """Characters in repeated n-grams, the plain way."""
    seen: set[tuple[str, ...]] = set()
    total = position = 0
    while position + size <= len(words):
        gram = tuple(words[position : position + size])
        if gram in seen:
            total += sum(map(len, gram))
            position += size
        else:
            seen.add(gram)
            position += 1
    return total


@given(st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "eee"]), min_size=30, max_size=120), st.integers(0, 40))
def test_repeated_ngrams_are_counted_as_the_paper_says(words: list[str], rare: int) -> None:
    words = [*words, *(f"w{index:03d}x" * 3 for index in range(rare * 10))]
    text = " ".join(words)
    expected = None
    for size, threshold in {2: 0.20, 3: 0.18, 4: 0.16}.items():
        grams = [" ".join(words[index : index + size]) for index in range(len(words) - size + 1)]
        top = max(dict.fromkeys(grams), key=grams.count)
        if expected is None and len(top) * grams.count(top) / len(text) > threshold:
            expected = f"gopher_repetition.top_{size}_gram"
    for size, threshold in {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}.items():
        if expected is None and _counted_as_published(words, size) / len(text) > threshold:
            expected = f"gopher_repetition.duplicate_{size}_grams"
    assert rule(text, REPETITION) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two three four. Five six seven.", "c4.sentences"),
        (f"{PROSE}\nHere is some lorem ipsum for you.", "c4.lorem_ipsum"),
        (f"{PROSE}\nThe function is f(x) {{ return x; }}.", "c4.curly_bracket"),
        ("\n".join(line[:-1] for line in PROSE.split("\n")), "c4.sentences"),
    ],
)
def test_each_c4_rule_rejects_by_name(text: str, expected: str) -> None:
    assert rule(text, C4) == expected


def test_c4_drops_lines_and_keeps_the_rest() -> None:
    dropped = [
        "Home | News | About",
        "Too short.",
        "Please turn on Javascript to see this page.",
        "By going on you accept our Privacy Policy in full.",
        "And so it went on and on...",
        f"A word of {'x' * 1001} characters is in this line.",
    ]
    cleaned, verdict = c4_clean("\n".join([*dropped, PROSE.replace("gone.", "gone.[12][citation needed]"), *dropped]))
    assert verdict is None
    assert cleaned == PROSE


def test_a_bracket_in_a_line_that_is_dropped_rejects_no_page() -> None:
    assert rule(f"var x = {{}}\n{PROSE}", C4) is None


def test_titles_abbreviations_and_numbers_end_no_sentence() -> None:
    line = "Mr. Brown of the U.S. Navy paid 3.50 dollars to Dr. A. Smith, e.g. for bread, in St. Louis."
    verdict = c4_clean(line)[1]
    assert verdict == Verdict("c4.sentences", 1, 5)


@given(st.text(st.sampled_from("Ab. !?\n\"'[]3{,…"), max_size=400))
def test_c4_makes_up_no_line(text: str) -> None:
    cleaned, verdict = c4_clean(text)
    if verdict is None:
        assert set(cleaned.split("\n")) <= {
            re.sub(r"\[\d*]", "", line.strip()).strip() for line in text.splitlines()
        } | {re.sub(r"\[\d*]", "", line.strip()) for line in text.splitlines()}


def test_a_hostile_line_costs_no_square() -> None:
    for mark in ("! ", ". ", "!", "a. ", '."', "-- ", "' "):
        line = mark * (400_000 // len(mark)) + "."
        assert len(judge_all([line], ["en"], ALL)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n \n\t\n", "fineweb.lines"),
        (
            "\n".join("A line without an end, long enough to be no short one" for _ in range(9)),
            "fineweb.line_punctuation",
        ),
        ("\n".join(f"Short {index}." for index in range(9)), "fineweb.short_lines"),
        ("\n".join([*_numbered(30), _numbered(30)[7]]), "fineweb.duplicate_characters"),
        (
            "\n\n\n".join(f"{index} incomprehensibilities counterrevolutionaries." for index in range(9)),
            "fineweb.breaks_a_word",
        ),
    ],
)
def test_each_fineweb_rule_rejects_by_name(text: str, expected: str) -> None:
    assert rule(text, FINEWEB) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([PROSE, PROSE * 3, "", " ", "short.", "x{}" * 50, "río " * 99]),
            st.sampled_from(["en", "es", "zh", "und", None]),
        )
    )
)
def test_many_at_once_are_judged_as_each_alone(documents: list[tuple[str, str | None]]) -> None:
    texts, languages = [text for text, _ in documents], [language for _, language in documents]
    assert judge_all(texts, languages, ALL) == [judge(text, language, ALL) for text, language in documents]


@given(st.text(st.characters(), max_size=500))
def test_any_text_has_a_verdict(text: str) -> None:
    for settings in (GOPHER, REPETITION, C4, FINEWEB):
        verdict = judge(text, "en", settings)
        assert verdict is None or verdict.value != verdict.threshold


def test_a_text_too_long_for_memory_is_judged_by_its_beginning() -> None:
    assert rule("the and of it " * LONGEST_JUDGED, REPETITION) == rule("the and of it " * 1000, REPETITION)


@pytest.mark.realdata
def test_real_prose_is_kept_and_logs_and_code_are_not(realdata: Path) -> None:
    with gzip.open(realdata / "corpora/general/news_speech_web_en.jsonl.gz", "rt") as lines:
        news = [json.loads(line) for line in lines]
    speeches = [row["text"] for row in news if "inaugural" in row["source"] or "state_union" in row["source"]]
    logs = [path.read_text(errors="replace") for path in (realdata / "logs/loghub_2k").glob("*/*_2k.log")]
    code = [path.read_text(errors="replace") for path in (realdata / "contracts/openzeppelin").rglob("*.sol")][:50]
    gopher = QualitySection(gopher_quality=True, gopher_repetition=True)
    assert len(speeches) > 100
    assert len(logs) > 10
    assert len(code) > 20
    assert sum(verdict is None for verdict in judge_all(speeches, ["en"] * len(speeches), gopher)) > 0.97 * len(
        speeches
    )
    assert all(verdict is not None for verdict in judge_all(logs + code, [None] * (len(logs) + len(code)), ALL))
