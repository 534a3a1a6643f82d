from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.growth import calls
from forja.corpus.sources.delimited import read_delimited, tell_dialect
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source


def read(data: bytes | str, max_bytes: int = 1 << 20, **source: str) -> list[Record]:
    raw = data.encode() if isinstance(data, str) else data
    return list(read_delimited(io.BytesIO(raw), "a.csv", Source(path="a.csv", **source), max_bytes))


def written(rows: list[list[str]], **options: object) -> str:
    file = io.StringIO()
    csv.writer(file, **options).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


def texts(records: list[Record]) -> list[str | None]:
    return [record.text for record in records if record.reason is None]


ROWS = [["id", "text", "label"]] + [[str(n), f'Row {n}, said "so"\nand on', str(n % 2)] for n in range(6)]


# --- dialects --------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_dialect_is_found(delimiter: str, quoting: int, line_end: str) -> None:
    records = read(written(ROWS, delimiter=delimiter, quoting=quoting, lineterminator=line_end), label_field="label")
    assert texts(records) == [row[1] for row in ROWS[1:]]
    assert records[3].meta == {"id": "3", "label": "1"}
    assert records[3].origin == "a.csv#4"


def test_quotes_escaped_by_backslashes_are_read() -> None:
    data = 'text,label\n"He said \\"no\\", twice",1\n"Another, \\"one\\"",0\nplain,1\n'
    assert texts(read(data)) == ['He said "no", twice', 'Another, "one"', "plain"]


def test_in_a_file_of_tabs_a_quote_is_a_quote() -> None:
    assert texts(read('text\tlabel\n"Open, she said\t1\nIt is 5" long\t0\n" x\t1\n')) == [
        '"Open, she said',
        'It is 5" long',
        '" x',
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_is_found(encoding: str) -> None:
    rows = [["text", "n"]] + [[f"Größe und Maß für Nummer {n}, schön", str(n)] for n in range(30)]
    assert texts(read(written(rows).encode(encoding))) == [row[0] for row in rows[1:]]


def test_the_id_is_made_of_the_row_and_not_of_how_it_is_quoted() -> None:
    plain, quoted = read(written(ROWS)), read(written(ROWS, quoting=csv.QUOTE_ALL, delimiter=";"))
    assert [record.raw for record in plain] == [record.raw for record in quoted]


# --- the text's column -----------------------------------------------------------------------


def test_the_one_column_that_is_named_like_a_text_is_taken() -> None:
    assert texts(read("id,Message\n1,hello there\n")) == ["hello there"]


def test_no_such_column_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ForjaError, match=r"no column 'text'; it has id, title, url"):
        read("id,title,url\n1,2,3\n")
    with pytest.raises(ForjaError, match="no column 'text'"):
        read("body,message\n1,2\n")
    with pytest.raises(ForjaError, match="no column 'text'"):
        read("")


def test_a_label_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ForjaError, match="no column 'class'; it has text, label"):
        read("text,label\na,1\n", label_field="class")


def test_a_first_row_that_is_data_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ForjaError) as error:
        read("4111 1111 1111 1111,Ana's own very long secret that nobody else may see in a message\n1,2\n")
    assert "Ana" not in str(error.value)


# --- broken rows -----------------------------------------------------------------------------


def test_a_row_with_too_few_or_too_many_columns_is_rejected() -> None:
    records = read("text,label\none,1\ntwo\nthree,3,3\nfour,4,,\n\nfive,5\n")
    assert [record.reason for record in records] == [None, "wrong-columns", "wrong-columns", None, None]


def test_a_broken_quote_costs_its_row_alone() -> None:
    data = written(ROWS, quoting=csv.QUOTE_ALL).replace('"2","', '"2","x" y', 1)
    records = read(data)
    assert texts(records) == [row[1] for number, row in enumerate(ROWS[1:]) if number != 2]
    assert Counter(record.reason for record in records) == {None: 5, "bad-quoting": 1}


def test_a_quote_that_is_never_closed_costs_its_row_alone() -> None:
    data = (
        "text,label\n"
        + "".join(f"row {n},0\n" for n in range(50))
        + '"open,1\n'
        + "".join(f"row {n},0\n" for n in range(50, 90))
    )
    records = read(data)
    assert texts(records) == [f"row {n}" for n in range(90)]
    assert [record.reason for record in records if record.reason] == ["bad-quoting"]


def test_nul_bytes_and_bytes_that_are_no_utf8_cost_their_row() -> None:
    data = written([["text", "n"], *([f"fine {n}", "1"] for n in range(20))]).encode()
    data = data.replace(b"fine 3", b"fi\0ne 3").replace(b"fine 7", b"fi\xff\xfene 7")
    records = read(data)
    assert Counter(record.reason for record in records) == {None: 18, "nul-bytes": 1, "invalid-utf-8": 1}


def test_a_row_over_the_limit_is_passed_over() -> None:
    data = "text,n\nshort,1\n" + "x" * 500_000 + ",2\nshort again,3\n"
    records = read(data, max_bytes=10_000)
    assert [record.reason for record in records] == [None, "too-long", None]
    assert len(records[1].raw) <= 4096
    quoted = 'text,n\nshort,1\n"' + "x\n" * 50_000 + '",2\n"short, again",3\n'
    records = read(quoted, max_bytes=10_000)
    assert texts(records) == ["short", "short, again"]
    assert "too-long" in [record.reason for record in records]


@pytest.mark.parametrize("line", ['"x', 'x,"y', '"",""a', '"a"",', 'a"",""",'])
def test_broken_quotes_on_every_line_cost_no_more_than_the_file(line: str) -> None:
    def steps(lines: int) -> int:
        return calls(lambda: read("text,label\na,b\n" + f"{line}\n" * lines))

    # Each line that is looked at again is a call; the least file says what finding the dialect costs.
    dialect, short, long = (steps(lines) for lines in (1, 250, 4_000))
    assert long - dialect < 20 * (short - dialect)


WHOLE = written(ROWS).encode()
GOOD = set(texts(read(WHOLE)))


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_cut_or_inserted_piece_costs_at_most_the_rows_it_touches(data: st.DataObject) -> None:
    place = data.draw(st.integers(WHOLE.index(b"\n") + 1, len(WHOLE) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    mutated = bytearray(WHOLE)
    if kind == "flip":
        mutated[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del mutated[place : place + data.draw(st.integers(1, 8))]
    else:
        mutated[place:place] = data.draw(st.binary(max_size=8))
    assert len(GOOD - set(texts(read(bytes(mutated))))) <= 2


@settings(max_examples=300)
@given(
    st.binary(max_size=400), st.sampled_from([b"text,n\n", b"text\tn\r\n", b"text\n", b"\xff\xfet\0e\0x\0t\0\n\0", b""])
)
def test_any_bytes_are_a_table_or_a_clear_error(data: bytes, header: bytes) -> None:
    try:
        for record in read(header + data, max_bytes=64):
            assert record.reason is not None or isinstance(record.text, str)
    except ForjaError:
        pass


# --- real tables -----------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_tables_are_read_whole(realdata: Path) -> None:
    def reasons(path: str, **source: str) -> dict[str | None, int]:
        whole = (realdata / path).read_bytes()
        return Counter(
            record.reason for record in read(gzip.decompress(whole) if path.endswith(".gz") else whole, **source)
        )

    # Seven rows hold a NUL byte.
    assert reasons("phishing/enron_spam.csv.gz") == {None: 8608, "nul-bytes": 7}
    assert reasons("phishing/sms_spam.csv.gz") == {None: 4189}
    assert reasons("glue/QNLI/dev.tsv") == {None: 5463}
    assert reasons("glue/MRPC/train.tsv", text_field="#1 String") == {None: 3667}
    assert reasons("logs/loghub_2k/Android/Android_2k.log_structured.csv", text_field="Content") == {None: 2000}
    head = (realdata / "glue/QNLI/dev.tsv").read_bytes()[:65536]
    assert tell_dialect(head, "dev.tsv", "text").text_field == "sentence"
