"""What the scanners see in code, and what they must not be talked out of."""

from __future__ import annotations

from forja.evaluation.code_scan import NOT_SCANNED, scan

HEAD = "import os\ndef run(text):\n    "


def test_a_scan_finds_what_is_severe_and_where() -> None:
    told = scan([HEAD + "return eval(text)\n", HEAD + "return text.strip()\n", "def broken(:"])
    assert ("B307", 78, 3) in [(one.rule, one.cwe, one.line) for one in told[0]]
    assert told[1] == told[2] == []


def test_what_is_of_low_severity_does_not_count() -> None:
    assert scan(["import subprocess\nassert subprocess\n"]) == [[]]


def test_a_comment_silences_no_scanner() -> None:
    assert scan([HEAD + "return eval(text)  # nosec # nosemgrep\n"])[0]


def test_what_a_scanner_fails_on_is_not_taken_for_secure() -> None:
    told = scan(["# coding: no-such-thing\nx = eval(y)\n", "x = 1\n"])
    assert NOT_SCANNED in [one.rule for one in told[0]]
    assert told[1] == []


def test_many_pieces_are_scanned_at_once_and_told_apart() -> None:
    codes = [HEAD + ("return eval(text)\n" if number % 3 == 0 else "return text\n") for number in range(60)]
    assert [bool(found) for found in scan(codes)] == [number % 3 == 0 for number in range(60)]
