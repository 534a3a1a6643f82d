"""What a person sees while something long is running: on a terminal, in a file, and when told to be quiet."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from forja import progress as module
from forja.progress import duration, progress, set_quiet

SCRIPT = """
import time
from forja.progress import progress
with progress("training", total=1184, unit="steps", done=1000, show_rate=False) as bar:
    for step in range(12):
        bar.advance(1, note="loss 5.551 · 11,921 tokens/s")
        time.sleep(0.1)
"""


def test_a_terminal_of_80_columns_has_room_for_the_whole_line() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # how the end of a terminal reads
        pass
    os.close(leader)
    assert process.wait() == 0
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()))
    last = [line for line in lines if "training" in line][-1]
    for part in ("1,012/1,184", "loss 5.551 · 11,921 tokens/s", "left"):
        assert part in last


def test_elsewhere_a_plain_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with progress("reading", total=100, unit="documents") as bar:
        for _ in range(5):
            bar.advance(10, note="3 MB")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  reading: 30 of 100 documents · 3 MB · 2.5 documents/s · 28s left"
    assert len(lines) == 2


def test_quiet_means_silence(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    try:
        with progress("reading", total=2) as bar:
            bar.advance(2, note="much")
            bar.say("aloud")
        module.say("aloud")
    finally:
        set_quiet(False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0s"), (59.4, "59s"), (200, "3m 20s"), (7500, "2h 05m")])
def test_durations_read_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told
