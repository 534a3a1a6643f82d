from __future__ import annotations

import gzip

from forja.corpus.docstrings import metadata_to_text, python_to_text, roff_to_text

MODULE = b'''"""What this module is about, in a sentence."""

def public(first, *, second=1):
    """Return the first of the two, whichever it may be."""
    def inner():
        """Nobody outside ever sees this, and so it is left out."""

def _private():
    """Not for others, and so it is left out of what is said."""


class Thing:
    """A thing that can be used for many purposes at once."""

    def method(self):
        """Do to the thing what has to be done to things."""
'''

PAGE = rb""".\" A comment
.TH LS 1 "May 2024"
.SH NAME
ls \- list directory contents
.SH DESCRIPTION
.PP
List information about the \fIFILE\fRs.
.TP 2m
\fB\-a\fR, \fB\-\-all\fR
do not ignore entries starting with .
.BR chmod (1)
"""


def test_a_module_becomes_its_docstrings_under_their_names() -> None:
    text = python_to_text(MODULE)
    assert text is not None
    assert text.startswith("What this module is about")
    assert "public(first" in text
    assert "Thing" in text
    assert "Do to the thing" in text
    assert "Nobody outside" not in text
    assert "Not for others" not in text


def test_what_is_not_python_gives_nothing() -> None:
    assert python_to_text(b"def (:") is None
    assert python_to_text(b"x = 1\0") is None


def test_a_manual_page_loses_its_markup_packed_or_not() -> None:
    text = roff_to_text(PAGE)
    assert text is not None
    assert "ls - list directory contents" in text
    assert "List information about the FILEs." in text
    assert "-a, --all" in text
    assert "\\f" not in text
    assert "2m" not in text
    assert "comment" not in text
    assert roff_to_text(gzip.compress(PAGE)) == text


def test_a_damaged_manual_page_gives_nothing() -> None:
    assert roff_to_text(gzip.compress(PAGE)[:30]) is None


def test_a_page_that_only_points_elsewhere_is_empty() -> None:
    assert roff_to_text(b".so man3/printf.3\n") == ""


def test_package_metadata_gives_the_description_without_the_fields_for_installers() -> None:
    raw = (
        b"Metadata-Version: 2.4\r\nName: thing\r\nSummary: Does it all\r\nRequires-Dist: x\r\n\r\n# Thing\r\n\r\nText."
    )
    assert metadata_to_text(raw) == "thing: Does it all\n\n# Thing\n\nText."
