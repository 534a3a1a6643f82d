from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.language import LEAST_CONFIDENCE, UNDETERMINED, identify

SENTENCES = {
    "en": "The committee will meet again next week to discuss what should be done about the river.",
    "es": "El comité se reunirá de nuevo la próxima semana para decidir qué hacer con el río.",
    "de": "Der Ausschuss trifft sich nächste Woche wieder, um zu besprechen, was mit dem Fluss geschehen soll.",
    "fr": "Le comité se réunira de nouveau la semaine prochaine pour décider ce qu'il faut faire de la rivière.",
    "it": "Il comitato si riunirà di nuovo la prossima settimana per decidere che cosa fare del fiume.",
    "pt": "A comissão vai reunir-se de novo na próxima semana para decidir o que fazer com o rio.",
    "nl": "De commissie komt volgende week weer bijeen om te bespreken wat er met de rivier moet gebeuren.",
    "ru": "На следующей неделе комитет снова соберётся, чтобы решить, что делать с рекой.",
    "zh": "委员会下周将再次开会，讨论应该如何处理这条河流的问题。",
    "ja": "委員会は来週また集まり、川をどうするべきか話し合う予定です。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_one_sentence_tells_its_language(language: str) -> None:
    found, confidence = identify(SENTENCES[language])
    assert found == language
    assert confidence >= LEAST_CONFIDENCE


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "ok", "12345 67890", "!!! ??? ...", "a1 b2 c3", "0x7ffe 0x1f 0xdead"]
)
def test_what_holds_no_prose_is_undetermined(text: str) -> None:
    assert identify(text) == (UNDETERMINED, 0.0)


def test_hexadecimal_and_paths_say_nothing_beside_a_sentence() -> None:
    noise = " ".join(f"/usr/lib/x{number}/{number:032x}" for number in range(200))
    assert identify(f"{SENTENCES['de']} {noise}")[0] in ("de", UNDETERMINED)


def test_a_page_that_begins_in_capitals_and_digits_is_told_by_the_rest() -> None:
    assert identify("CHAPTER I. 1850 " * 60 + (SENTENCES["es"] + " ") * 40)[0] == "es"


def test_code_is_no_foreign_language() -> None:
    code = (
        "for (int i = 0; i < n_items; ++i) { buf[i] = htons(p->hdr.len_16 ^ 0x5a); if (!buf[i]) goto err_out; }\n" * 30
    )
    assert identify(code)[0] in ("en", UNDETERMINED)


def test_a_dialect_has_the_code_of_its_language() -> None:
    egyptian = "انا مش عارف اعمل ايه دلوقتي عشان الموضوع ده صعب اوي وكمان مفيش حد بيساعدني في الشغل ده خالص"
    assert identify(egyptian)[0] == "ar"


@given(st.text(st.characters(), max_size=3000))
def test_any_text_has_an_answer(text: str) -> None:
    language, confidence = identify(text)
    assert language == UNDETERMINED or (2 <= len(language) <= 3 and confidence >= LEAST_CONFIDENCE)
    assert 0 <= confidence <= 1
    assert identify(text) == (language, confidence)


def test_half_a_surrogate_pair_is_no_obstacle() -> None:
    assert identify(f"\ud800 {SENTENCES['fr']} \udfff x\ud83d")[0] == "fr"


def _texts(path: Path) -> list[str]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line)["text"] for line in lines]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "language", "share"),
    [
        ("corpora/general/books_es.jsonl.gz", "es", 0.999),
        ("corpora/general/news_speech_web_en.jsonl.gz", "en", 0.99),
        ("corpora/security/owasp_docs.jsonl.gz", "en", 0.97),
        ("corpora/security/attack_capec_cwe_text.jsonl.gz", "en", 0.99),
    ],
)
def test_real_documents_are_told(realdata: Path, name: str, language: str, share: float) -> None:
    texts = _texts(realdata / name)
    right = sum(identify(text)[0] == language for text in texts)
    assert right >= share * len(texts)


@pytest.mark.realdata
def test_log_lines_are_english_or_nothing(realdata: Path) -> None:
    lines = []
    for log in sorted((realdata / "logs" / "loghub_2k").glob("*/*_2k.log")):
        lines += log.read_text(errors="replace").splitlines()[:150]
    other = [identify(line)[0] for line in lines]
    assert len(lines) > 1000
    assert sum(language not in ("en", UNDETERMINED) for language in other) <= 0.005 * len(lines)
