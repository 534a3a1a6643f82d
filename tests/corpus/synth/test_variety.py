"""The skeleton cannot be had by filling in other words, and the figures tell varied texts from uniform ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.synth import measure_variety, read_synth, skeleton
from forja.recipe import SynthSection

NOUNS = st.sampled_from(["payroll", "gateway", "Osk3r", "10.1.2.3", "db01.example", "old server", "“the”s", "Ärger"])


@given(NOUNS, NOUNS, st.integers(0, 10**9))
def test_other_names_numbers_and_nouns_in_the_same_sentence_are_the_same_skeleton(
    one: str, two: str, count: int
) -> None:
    def fill(noun: str, other: str, number: int) -> str:
        return f"The {noun} must be reviewed by {other} before {number} days have passed, and nobody else may do it."

    assert skeleton(fill(one, two, count)) == skeleton(fill("mailbox", "Ruth", 4))


def test_another_sentence_is_another_skeleton() -> None:
    assert skeleton("You must lock the screen.") != skeleton("Whoever leaves locks it, and so do we.")


def test_more_of_the_same_log_lines_and_other_values_make_no_other_skeleton() -> None:
    line = "Mar 14 08:12:{:02d} web{} sshd[{}]: Failed password for root from 192.0.2.{} port {} ssh2"
    one = "\n".join(line.format(n, 1, n, n, n) for n in range(3))
    two = "\n".join(line.format(n, 7, n + 9, n + 60, n + 50000) for n in range(30))
    assert skeleton(one) == skeleton(two)
    assert skeleton(one) != skeleton(one.replace("Failed password", "Accepted password").replace("port", "over port"))


def test_uniform_texts_are_told_from_varied_ones() -> None:
    uniform = [
        f"Dear Mr {name}, the report number {n} of the team is ready for you."
        for n, name in enumerate(["Abel", "Bea", "Cyr", "Dan", "Eva", "Fay", "Gil", "Hal"])
    ]
    found = measure_variety(uniform)
    assert found.largest == 1.0
    assert found.distinct == 1 / 8
    varied = measure_variety([record.text or "" for record in read_synth(SynthSection(documents=8), 3)])
    assert varied.largest == 1 / 8
    assert varied.compression < found.compression


def test_near_duplicates_are_counted_as_deduplication_would() -> None:
    base = " ".join(f"word{n}" for n in range(120))
    assert measure_variety([base, base + " end", "quite another text of a few words"]).near_duplicates == pytest.approx(
        1 / 3
    )


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="nothing"):
        measure_variety([])


@pytest.mark.parametrize("lang", ["en", "es"])
@pytest.mark.parametrize("kind", ["policy", "phishing", "intrusion", "injection"])
def test_no_skeleton_is_in_more_than_a_hundredth_of_the_documents(kind: str, lang: str) -> None:
    order = SynthSection.model_validate({"documents": 3000, "kinds": [kind], "languages": [lang]})
    found = measure_variety([record.text or "" for record in read_synth(order, 11)])
    assert found.largest <= 0.01
    assert found.near_duplicates < 0.05
