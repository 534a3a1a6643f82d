from __future__ import annotations

import contextlib
import csv
import io
import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources import logs
from forja.corpus.sources.log_lines import mask_log, tell_format
from forja.corpus.sources.logs import read_logs
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source

SOURCE = Source(path="auth.log")
CHOICE = random.Random(3)


def auth_lines(count: int) -> list[bytes]:
    lines = []
    for number in range(count):
        second = f"Dec 10 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} web sshd[{number + 100}]:"
        address = ".".join(str(CHOICE.randrange(1, 255)) for _ in range(4))
        lines.append(
            CHOICE.choice(
                [
                    f"{second} Failed password for invalid user bob{number} from {address} port {number + 1000} ssh2\n",
                    f"{second} Accepted publickey for alice from {address} port {number + 1000} ssh2\n",
                    f"{second} Connection closed by {address} [preauth]\n",
                ]
            ).encode()
        )
    return lines


LINES = auth_lines(400)
LOG = b"".join(LINES)


def read(data: bytes, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_logs(io.BytesIO(data), "auth.log", SOURCE, max_bytes))


# --- documents -------------------------------------------------------------------------------


def test_lines_are_grouped_and_none_is_lost() -> None:
    *records, templates = read(LOG)
    assert b"".join(record.raw for record in records) == LOG
    assert all(32 <= record.raw.count(b"\n") <= 64 for record in records[:-1])
    assert all(record.meta["log_format"] == "syslog" for record in records)
    assert templates.origin == "auth.log#templates"


def test_a_log_that_grew_or_was_rotated_keeps_its_documents() -> None:
    before = {record.origin for record in read(LOG)}
    grown = {record.origin for record in read(LOG + b"".join(auth_lines(100)))}
    rotated = {record.origin for record in read(b"".join(LINES[37:]))}
    assert len(before - grown) <= 1
    assert len(before - rotated) <= 4


def test_a_stack_trace_stays_with_its_line() -> None:
    trace = b"\tat org.example.Main.run(Main.java:1)\n" * 30
    lines = [b"2024-01-01 10:00:%02d,000 ERROR [main] a.B: it failed\n" % (n % 60) + trace for n in range(20)]
    for record in read(b"".join(lines))[:-1]:
        assert record.raw.startswith(b"2024")


def test_templates_are_mined_and_counted() -> None:
    *records, templates = read(LOG)
    lines = (templates.text or "").splitlines()
    assert sum(int(line.split("x ")[0]) for line in lines) == 400
    assert {line.split("x ", 1)[1] for line in lines} == {
        "Failed password for invalid user <user> from <ip> port <n> ssh2",
        "Accepted publickey for <user> from <ip> port <n> ssh2",
        "Connection closed by <ip> [preauth]",
    }
    assert templates.meta["templates"] == 3
    assert set().union(*(record.meta["template_ids"] for record in records)) == {1, 2, 3}


def test_the_number_of_templates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_TEMPLATES", 50)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(CHOICE.choices(letters, k=8)) for _ in range(4000)]
    data = "".join(" ".join(CHOICE.choices(words, k=CHOICE.randrange(3, 9))) + "\n" for _ in range(1500)).encode()
    miner = logs._Templates()
    for line in data.decode().splitlines():
        miner.add(line)
    assert len(miner._miner.drain.clusters) <= 50


def test_labels_go_to_meta_and_out_of_the_text() -> None:
    line = "{} 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL INFO parity error {}\n"
    calm = "".join(line.format("-", n) for n in range(20)).encode()
    alarm = "".join(line.format("KERNDTLB" if n % 5 == 0 else "-", n) for n in range(20)).encode()
    (quiet, _), (loud, _) = read(calm), read(alarm)
    assert (quiet.meta["label"], loud.meta["label"]) == ("normal", "alert")
    assert loud.meta["alerts"] == {"KERNDTLB": 4}
    assert "KERNDTLB" not in (loud.text or "")
    assert (loud.text or "").startswith("1117838570 2005.06.03")
    assert loud.date == "2005-06-03T22:42:50+00:00"


# --- personal data ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("Invalid user webmaster from 173.234.31.186", "Invalid user <user> from <ip>"),
        ("Accepted password for fztu from 119.137.62.142 port 4", "Accepted password for <user> from <ip> port 4"),
        ("Failed password for root from 5.36.59.76 port 42", "Failed password for root from <ip> port 42"),
        ("session opened for user ana by bea(uid=0)", "session opened for user <user> by <user>(uid=0)"),
        ("ruser= rhost=220-135-151-1.hinet-ip.hinet.net  user=ana", "ruser= rhost=<host>  user=<user>"),
        ("sudo: ana : TTY=pts/0 ; PWD=/home/ana/x ; USER=root", "sudo: <user> : TTY=pts/0 ; PWD=<secret> ; USER=root"),
        ("open C:\\Users\\ana\\x and /home/bea/y", "open C:\\Users\\<user>\\x and /home/<user>/y"),
        ("Addr: 2607:f140:6000:8:c6b3:1ff:fecd:467f up", "Addr: <ip> up"),
        ("DHCPOFFER to 00:11:43:e3:ba:c3 via eth1", "DHCPOFFER to <mac> via eth1"),
        ("GET https://ana:hunter2@x.org/ password=hunter2 ok", "GET https://<secret>@x.org/ password=<secret> ok"),
        ("Authorization: Bearer abcDEF0123456789abc.x", "Authorization: Bearer <secret>"),
        ("from calvisitor-10-105-160-95 and Anas-MacBook-Pro", "from <host> and <host>"),
        ("mail from ana@example.org", "mail from <email>"),
        ('1.2.3.4 - ana [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1', None),
    ],
)
def test_personal_data_in_a_line_is_masked(line: str, masked: str | None) -> None:
    text, counts = mask_log(line)
    if masked is None:
        assert text == '<ip> - <user> [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1'
    elif "PWD=" in line:
        assert "ana" not in text
    else:
        assert text == masked
    assert sum(counts.values()) == sum(text.count(f"<{kind}>") for kind in counts) or "root" in line


@pytest.mark.parametrize(
    "line",
    [
        "Jun 14 15:16:01 combo kernel: Linux version 2.6.5-1.358",
        "Loaded v6.1.7601.23505 version 0.0.0.6 at 127.0.0.1 on 0.0.0.0",
        "check pass; user unknown; std::vector<int>::at fe::ed",
        "Session: 30546173_4261722401 initialized by client WindowsUpdateAgent.",
        "Thermal pressure state: 1 at 12:30:45.123456",
    ],
)
def test_what_is_nobodys_stays(line: str) -> None:
    assert mask_log(line) == (line, {})


# --- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure", "syslog"),
        ("<34>1 2003-10-11T22:14:15.003Z web su - ID47 - 'su root' failed", "rfc5424"),
        ("2024-01-01T00:00:00.123+01:00 web sshd[12]: Connection closed", "syslog-iso"),
        ("[Sun Dec 04 04:47:44 2005] [error] mod_jk child in error state 6", "apache-error"),
        ('1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326', "apache-access"),
        ("no header at all", None),
    ],
)
def test_the_form_is_told_by_the_header(line: str, form: str | None) -> None:
    assert tell_format([line] * 3) == form


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 3, 200])
@pytest.mark.parametrize("run", [1, 4096, 100_000])
def test_a_run_of_nuls_costs_no_line_of_a_log(place: int, run: int) -> None:
    *records, templates = read(b"".join([*LINES[:place], b"\0" * run, *LINES[place:]]))
    assert b"".join(record.raw for record in records) == LOG
    assert {record.meta["log_format"] for record in records} == {"syslog"}
    assert templates.text == read(LOG)[-1].text


@pytest.mark.parametrize("data", [LOG.decode().encode("utf-16-le"), b"".join(bytes((n, 0, 0)) for n in range(256))])
def test_what_has_nuls_throughout_is_no_log(data: bytes) -> None:
    with pytest.raises(ForjaError, match="not text"):
        read(data)


def test_a_log_of_nothing_but_nuls_is_counted() -> None:
    assert [record.reason for record in read(bytes(5000))] == ["not-text"]


def test_a_binary_file_is_an_error_and_a_line_too_long_is_passed_over() -> None:
    with pytest.raises(ForjaError, match="not text"):
        read(bytes(range(256)) * 64)
    records = read(LINES[0] + b"x" * 300_000 + b"\n" + LINES[1], max_bytes=10_000)
    assert [record.reason for record in records] == [None, "too-long", None, None]
    assert read(b"") == []


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_cut_or_inserted_piece_costs_at_most_the_documents_it_touches(data: st.DataObject) -> None:
    mutated = bytearray(b"".join(LINES[:200]))
    good = {record.raw for record in read(bytes(mutated))[:-1]}
    place = data.draw(st.integers(4096, len(mutated) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if kind == "flip":
        mutated[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del mutated[place : place + data.draw(st.integers(1, 40))]
    else:
        mutated[place:place] = data.draw(st.binary(max_size=40))
    records = read(bytes(mutated))
    kept = b"".join(record.raw for record in records if not record.origin.endswith("#templates"))
    assert kept == mutated.replace(b"\0", b"")
    assert good & {record.raw for record in records}


@settings(max_examples=200)
@given(st.binary(max_size=500))
def test_any_bytes_are_a_log_or_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(ForjaError):
        read(data, max_bytes=100)


# --- real logs -------------------------------------------------------------------------------

SYSTEMS = "Android Apache BGL HDFS HPC Hadoop HealthApp Linux Mac OpenSSH Spark Thunderbird Windows"


def grouping_accuracy(mined: list[int], true: list[str]) -> float:
    """Share of messages whose group is exactly a true group (Zhu et al., ICSE-SEIP 2019, section 3.2)."""
    groups: dict[int, set[int]] = defaultdict(set)
    real: dict[str, set[int]] = defaultdict(set)
    for place, (one, other) in enumerate(zip(mined, true, strict=True)):
        groups[one].add(place)
        real[other].add(place)
    whole = {frozenset(group) for group in real.values()}
    return sum(len(group) for group in groups.values() if frozenset(group) in whole) / len(true)


@pytest.mark.realdata
def test_loghubs_logs_are_grouped_into_their_templates(realdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mined: list[int] = []

    class Noting(logs._Templates):
        def add(self, message: str) -> int:
            mined.append(super().add(message))
            return mined[-1]

    monkeypatch.setattr(logs, "_Templates", Noting)
    accuracies = {}
    for name in SYSTEMS.split():
        folder = realdata / "logs/loghub_2k" / name
        mined.clear()
        with open(folder / f"{name}_2k.log", "rb") as file:
            records = list(read_logs(file, name, SOURCE, 1 << 20))
        assert all(record.reason is None and record.meta["log_format"] != "plain" for record in records)
        with open(folder / f"{name}_2k.log_structured.csv", newline="", encoding="utf-8") as table:
            accuracies[name] = grouping_accuracy(mined, [row["EventId"] for row in csv.DictReader(table)])
    assert min(accuracies.values()) > 0.65, accuracies
    assert sum(accuracies.values()) / len(accuracies) > 0.87, accuracies
