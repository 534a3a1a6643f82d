"""Pieces of Python, as they break off and as they are cut."""

from __future__ import annotations

import pytest

from forja.evaluation.code_pieces import at_margin, closed, cut, is_valid, statements

GIVEN = "def run(text):\n    "


def test_a_completion_ends_where_the_function_does() -> None:
    assert cut(GIVEN, "x = 1\n    return x\n\nprint(run(1))\n") == "x = 1\n    return x\n\n"
    assert cut(GIVEN, "return 1\n# said\n    # inside\n\n") == "return 1\n# said\n    # inside\n\n"
    assert cut("x = ", "1\ny = 2\n") == "1\ny = 2\n"


def test_a_text_of_several_lines_ends_no_function() -> None:
    said = "return '''\nSELECT 1\n'''\n"
    assert cut(GIVEN, f"{said}x = 1\n") == said


def test_a_last_line_that_breaks_off_is_left_out_and_no_other() -> None:
    assert cut(GIVEN, "x = 1\n    return x.spl(") == "x = 1\n"
    assert cut(GIVEN, "x = 1 1\n    return x.spl(") == "x = 1 1\n    return x.spl("
    assert cut("", "x = 1\nprint(") == "x = 1\n"
    assert cut(GIVEN, "return x.spl(") == "return x.spl("  # nothing would be left


def test_of_a_fence_what_is_in_it() -> None:
    assert cut("", "Here:\n```python\nx = 1\n```\nDone") == "x = 1\n"
    assert cut("", "```\nx = 1\n") == "x = 1\n"
    given = "import os\ndef run(text):\n    '''Run it.'''"
    assert statements(given + cut(given, "Sure:\n```python\n    return os.system(text)\n```")) == 3


def test_only_statements_that_do_something_count() -> None:
    assert statements("def f():\n    'Doc.'\n    pass\n") == statements("def f():\n    x\n") == 1
    assert statements("import os\nos.getcwd()\nif os:\n    x = 1\n") == 4
    assert statements("The function runs a text.") == -1
    assert statements("") == statements("# said") == 0


@pytest.mark.parametrize(
    "code",
    [
        GIVEN,
        "import os",
        "def f():",
        "def f():\n",
        "for x in y:\n    if x:",
        "class A:\n\tdef f(self):\n\t\tif self:",
        "def f():\n    '''Doc.'''",
    ],
)
def test_code_that_breaks_off_is_made_whole(code: str) -> None:
    assert is_valid(closed(code))
    assert closed(code).startswith(code)


def test_what_is_no_code_is_left_as_it_is() -> None:
    assert closed("Write a function") == "Write a function"


def test_a_piece_from_within_a_block_parses_with_what_leaves_the_block() -> None:
    piece = at_margin("        x = 1\n        if x:\n")
    assert is_valid(piece + "            pass\n        y = 2\n    z = 3\na = 4\n")
    assert at_margin("x = 1\n") == "x = 1\n"
    assert is_valid(at_margin("\t\tx = 1\n"))


def test_what_nobody_can_parse_is_not_valid() -> None:
    assert not is_valid("x = \0")
    assert not is_valid("(" * 100_000)
