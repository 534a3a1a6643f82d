"""Raw records to text, by their form. The conversions themselves lie with the formats they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from forja.corpus.clean import decode
from forja.corpus.docstrings import metadata_to_text, python_to_text, roff_to_text
from forja.corpus.sources.record import Form, Record


def convert(record: Record) -> Record:
    """The record with its text, or with the reason why there is none. Raises nothing, whatever the record holds."""
    if record.reason is not None or record.form == "string":
        return record
    try:
        return _converter(record.form)(record)
    except RecursionError:
        return replace(record, reason="unreadable")


def _converter(form: Form) -> Callable[[Record], Record]:
    """Imported when the first record of a form comes: most corpora hold two or three."""
    if form == "html":
        from forja.corpus.html import render_html

        return render_html
    if form == "mail":
        from forja.corpus.sources.mail import render_mail

        return render_mail
    if form == "wikitext":
        from forja.corpus.sources.wikitext import render_wikitext

        return render_wikitext
    if form in ("cve", "nvd", "kev", "stix", "capec", "cwe", "sigma"):
        return _threat_converter(form)
    return _render_file


def _threat_converter(form: Form) -> Callable[[Record], Record]:
    from forja.corpus.sources import attack, capec, cve, cwe, kev, nvd, sigma

    converters: dict[Form, Callable[[Record], Record]] = {
        "cve": cve.render_cve,
        "nvd": nvd.render_nvd,
        "kev": kev.render_kev,
        "stix": attack.render_stix,
        "capec": capec.render_capec,
        "cwe": cwe.render_cwe,
        "sigma": sigma.render_sigma,
    }
    return converters[form]


def _render_file(record: Record) -> Record:
    readers = {"python": python_to_text, "metadata": metadata_to_text, "roff": roff_to_text}
    reader = readers.get(record.form)
    text = reader(record.raw) if reader else decode(record.raw, record.meta.get("charset"))
    if text is None:
        return replace(record, reason="unreadable" if reader else "not-text")
    return replace(record, text=text)
