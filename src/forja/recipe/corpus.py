"""The corpus section: sources, cleaning, deduplication, screening."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from forja.recipe.section import Section

SourceKind = Literal[
    "auto",
    "text",
    "markdown",
    "html",
    "jsonl",
    "csv",
    "parquet",
    "dataset",
    "mail",
    "common-crawl",
    "wikipedia",
    "cve",
    "nvd",
    "kev",
    "stix",
    "capec",
    "cwe",
    "sigma",
    "logs",
    "local-docs",
    "synth",
]


SynthKind = Literal["policy", "phishing", "intrusion", "injection"]
SynthLanguage = Literal["en", "es"]
ENGLISH: tuple[SynthLanguage, ...] = ("en",)


class SynthSection(Section):
    """Security text made to order; every document of it is marked synthetic in its `meta`."""

    documents: int = Field(1000, ge=1, description="How many documents to make.")
    kinds: list[SynthKind] = Field(
        default_factory=lambda: list(get_args(SynthKind)),
        description="`policy` passages; `phishing` mails, `intrusion` logs and prompt `injection`, each attack with "
        "its benign twin (or the right refusal).",
    )
    languages: list[SynthLanguage] = Field(default_factory=lambda: list(ENGLISH), description="Written in these.")
    model: str | None = Field(
        None, description="A causal model's folder or name that writes in place of the built-in grammar."
    )
    endpoint: str | None = Field(
        None, description="An OpenAI-compatible address (https://host/v1) whose `model` writes instead."
    )
    key_variable: str = Field("OPENAI_API_KEY", description="The environment variable that holds the endpoint's key.")


class QualitySection(Section):
    """Language identification and the published quality rules; each rejection names its rule and value."""

    identify_language: bool = Field(True, description="Tell the language of documents that state none.")
    gopher_quality: bool = Field(False, description="Rae et al. 2021, table A1: length, symbols, bullets, stop words.")
    gopher_repetition: bool = Field(
        False, description="Rae et al. 2021, table A1: repeated lines, paragraphs, n-grams."
    )
    c4: bool = Field(False, description="Raffel et al. 2020, section 2.2: sentences, lorem ipsum, braces, bad lines.")
    fineweb: bool = Field(False, description="Penedo et al. 2024, section 3.6: line punctuation, short lines, repeats.")


class Source(Section):
    """Where documents come from. Give one of `path`, `url`, `dataset` or `crawl`, or a kind that needs none."""

    name: str | None = Field(
        None, description="Name of the source in every document and figure; its path or data set by default."
    )
    kind: SourceKind = Field(
        "auto",
        description="How to read it. `auto` tells by extension and content, file by file, inside archives too. "
        "`local-docs` is the documentation already on this machine: Python's, installed packages', manual pages. "
        "`synth` is text made to order.",
    )
    path: str | None = Field(
        None, description="A file or a folder, relative to the recipe's own folder (or the current one)."
    )
    url: str | None = Field(
        None,
        description="A public address (https://, s3://) of a file that `kind` reads; it is fetched once, resumed where "
        "it was cut, and looked at again when `refresh_days` have passed.",
    )
    dataset: str | None = Field(
        None,
        description="A Hugging Face `datasets` name or local folder, `name` or `name:config` (extra: hub).",
    )
    crawl: str | None = Field(
        None, pattern=r"^CC-MAIN-\d{4}-\d{2}$", description="A Common Crawl id, such as CC-MAIN-2025-08."
    )
    split: str = Field("train", description="Which split of the data set to read.")
    text_field: str = Field(
        "text", description="The column or key that holds the text (JSONL, CSV, Parquet, data set)."
    )
    label_field: str | None = Field(
        None, description="The column or key that holds a label, kept in `meta` and screened for flips."
    )
    members: list[str] = Field(
        default_factory=list,
        description="Zip and tar archives: only members whose path in the archive is like one of these, such as "
        "`*.md` (`*` stands for slashes too); all where empty.",
    )
    url_pattern: str | None = Field(None, description="Web records: only addresses that this regular expression finds.")
    languages: list[str] = Field(
        default_factory=list, description="Only documents in these languages (ISO 639-1); all where empty."
    )
    segments: int = Field(1, ge=1, description="Common Crawl: how many WARC or WET files of the crawl to read.")
    archive: Literal["warc", "wet"] = Field("wet", description="Common Crawl: pages with markup, or extracted text.")
    since: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="Only records published or changed on this date or later."
    )
    refresh_days: float = Field(7.0, ge=0, description="Days after which an address is asked whether it changed.")
    synth: SynthSection | None = Field(None, description="What a `synth` source makes.")
    quality: QualitySection | None = Field(
        None,
        description="This source's own rules, in place of corpus.quality: the published ones are made for web prose.",
    )
    weight: float = Field(
        1.0,
        ge=0,
        le=100,
        description="How often each training document is taken in an epoch; 0.5 takes half.",
    )
    limit: int | None = Field(None, gt=0, description="At most this many documents, the first in reading order.")
    share: float | None = Field(
        None, gt=0, le=1, description="At most this share of the corpus's bytes; what is over is left out by id."
    )
    licence: str | None = Field(None, description="Licence written into the documents that state none themselves.")
    lang: str | None = Field(None, description="Language written into the documents that state none.")
    region: str | None = Field(None, description="Region written into the documents' `meta`, for the report.")

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        places = [name for name in ("path", "url", "dataset", "crawl") if getattr(self, name) is not None]
        if self.kind in ("local-docs", "synth"):
            if places:
                raise ValueError(f"a {self.kind} source takes no {places[0]}")
            return self
        if self.kind == "dataset" and places != ["dataset"]:
            raise ValueError("a source of kind dataset needs `dataset`")
        if len(places) != 1:
            raise ValueError(
                "a source needs exactly one of `path`, `url`, `dataset` and `crawl`, or `kind: local-docs` or `synth`"
            )
        if self.crawl is not None and self.kind not in ("auto", "common-crawl"):
            raise ValueError("a source with `crawl` is of kind common-crawl")
        return self

    @property
    def label(self) -> str:
        """The source's name as written into documents."""
        place = self.path or self.url or self.dataset or self.crawl or self.kind
        return self.name or place.rstrip("/").split("/")[-1]


class Privacy(Section):
    """Personal data and secrets (GDPR article 4, CCPA 1798.140) replaced by typed placeholders, such as <email>."""

    email: bool = Field(True, description="Replace e-mail addresses by <email>.")
    phone: bool = Field(
        True,
        description="Replace telephone numbers by <phone>: international, US, and national after a word such as tel.",
    )
    ip: bool = Field(False, description="Replace IPv4 and IPv6 addresses by <ip>; off, as security text is about them.")
    card: bool = Field(True, description="Replace payment card numbers (Luhn-checked) by <card>.")
    iban: bool = Field(True, description="Replace IBANs (mod-97-checked) by <iban>.")
    national_id: bool = Field(
        True,
        description="Replace national ids of the larger EU countries, the UK and the US, checked, by <national_id>.",
    )
    secret: bool = Field(
        True, description="Replace private keys, API keys, tokens, passwords and their hashes by <secret>."
    )
    indicators: Literal["keep", "defang", "mask"] = Field(
        "keep",
        description="Indicators of compromise that are the content (IP addresses, domains, hashes): `keep` them, "
        "`defang` addresses and domains (192[.]0[.]2[.]1, hxxps://), or `mask` all three.",
    )


class DecontaminationSection(Section):
    """Documents that share runs of tokens with an evaluation set are left out (Brown et al. 2020, appendix C)."""

    sets: list[str] = Field(default_factory=list, description="Files of evaluation sets: JSONL, JSON, CSV, TSV, text.")
    tokens: int = Field(13, ge=4, le=64, description="Length of a shared run, in words.")


class ScreenSection(Section):
    """Poison screening: what is flagged is quarantined with its evidence, or only reported."""

    action: Literal["quarantine", "report", "none"] = Field(
        "quarantine", description="Leave flagged documents out, keep them and say so, or do not look."
    )
    triggers: bool = Field(True, description="Rare n-grams shared by documents with an anomalous continuation.")
    floods: bool = Field(True, description="Near-identical texts in large number from one origin.")
    unicode: bool = Field(True, description="Invisible and bidirectional characters.")
    instructions: bool = Field(True, description="Instructions aimed at models, in plain and encoded forms.")
    labels: bool = Field(True, description="Flipped labels, by confident learning (Northcutt et al. 2021).")


NEAR_PRESETS = {"recall": (22, 8, 5, 0.8), "fineweb": (14, 8, 5, 0.75), "slimpajama": (9, 13, 13, 0.8)}
"""Bands, rows, words in a shingle and threshold: ours, Penedo et al. 2024, and Soboleva et al. 2023."""


class NearDuplicates(Section):
    """Near-duplicate removal by MinHash-LSH with exact verification (Broder 1997; Lee et al. 2022)."""

    enabled: bool = Field(True, description="Remove near duplicates as well as exact ones.")
    preset: Literal["recall", "fineweb", "slimpajama"] = Field(
        "recall", description="The parameters of a published recipe; any key given beside it wins."
    )
    threshold: float = Field(0.8, gt=0, le=1, description="Jaccard similarity of shingles from which two match.")
    bands: int = Field(22, ge=1, le=256, description="LSH bands; more find more pairs.")
    rows: int = Field(8, ge=1, le=64, description="Hashes a band; more make a band stricter.")
    shingle: int = Field(5, ge=1, le=32, description="Words in a shingle.")
    keep: Literal["longest", "oldest"] = Field(
        "longest",
        description="Which of a cluster stays: the longest text, or the earliest date; of equals the lesser id.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") in NEAR_PRESETS:
            names = ("bands", "rows", "shingle", "threshold")
            return {**dict(zip(names, NEAR_PRESETS[values["preset"]], strict=True)), **values}
        return values


class CorpusSection(Section):
    """Documents: collected, cleaned, deduplicated, screened."""

    sources: list[Source] = Field(
        default_factory=list,
        description="Where the text comes from; `--source PATH` on the command line replaces it.",
    )
    engine: Literal["native", "ray"] = Field(
        "native", description="Daft runs in this process's machine (`native`) or on a Ray cluster (extra: ray)."
    )
    ray_address: str | None = Field(
        None, description="The Ray cluster's address; by default RAY_ADDRESS, or a cluster of this machine alone."
    )
    min_characters: int = Field(64, ge=1, description="Shorter documents are rejected, after cleaning.")
    max_document_bytes: int = Field(
        64 * 2**20,
        ge=1024,
        description="Longer records are rejected unread, so that one line, or one bomb, cannot fill memory.",
    )
    quality: QualitySection = Field(default_factory=QualitySection)
    privacy: Privacy = Field(default_factory=Privacy)
    decontamination: DecontaminationSection = Field(default_factory=DecontaminationSection)
    near_duplicates: NearDuplicates = Field(default_factory=NearDuplicates)
    screen: ScreenSection = Field(default_factory=ScreenSection)
    synthetic_share: float = Field(
        1.0, ge=0, le=1, description="Synthetic documents are at most this share of the corpus's bytes."
    )
    cache: str | None = Field(None, description="Where downloads are kept; by default FORJA_CACHE, or ~/.cache/forja.")
    subject_key_file: str | None = Field(
        None,
        description="A file with a secret key: people's addresses found while masking are then kept as keyed HMACs in "
        "`subjects`, so that a person's documents can be found later. Without it the column stays empty.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> CorpusSection:
        labels = [source.label for source in self.sources]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two sources are both called {twice[0]!r}; give each its own `name`")
        return self
