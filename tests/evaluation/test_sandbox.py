"""Code that means harm, run for real: each of its attempts is stopped."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from forja.errors import ForjaError
from forja.evaluation.sandbox import Outcome, run_locked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")


@pytest.fixture(scope="module", autouse=True)
def _locks() -> None:
    try:
        run_locked("pass")
    except ForjaError as refused:
        pytest.skip(f"this kernel locks nothing in, so NOTHING was run: {refused.what}")


def stopped(code: str, **limits: float) -> Outcome:
    outcome = run_locked(code, **limits)  # type: ignore[arg-type]
    assert not outcome.passed
    return outcome


def unlocked(code: str) -> str:
    """What the same code does where nothing stops it."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def test_harmless_code_passes() -> None:
    modules = "asyncio, collections.abc, ctypes, hashlib, json, math, re, socket, sqlite3, ssl, threading, unittest"
    outcome = run_locked(f"import {modules}\nassert math.factorial(5) == 120\nprint('done')")
    assert outcome.passed, outcome
    assert outcome.output == "done"


def test_a_failed_assertion_and_a_syntax_error_do_not_pass() -> None:
    assert "AssertionError" in stopped("assert 1 == 2").output
    assert "SyntaxError" in stopped("def f(:").output


def test_leaving_early_is_no_pass() -> None:
    assert stopped("import sys; sys.exit(0)").reason
    assert stopped("import os; os._exit(0)").reason


@pytest.mark.parametrize("code", [1, 97, 128, 200, 255])
def test_no_exit_code_passes_for_a_machine_that_refuses(code: int) -> None:
    assert stopped(f"import os; os._exit({code})").reason == f"it ended with code {code}"


def test_an_endless_loop_ends() -> None:
    assert "CPU time limit" in stopped("while True: pass", seconds=1).reason
    assert stopped("import time; time.sleep(60)", seconds=1).reason


def test_memory_is_limited() -> None:
    assert "MemoryError" in stopped("x = bytearray(4 * 1024**3)").output


def test_processes_are_limited() -> None:
    code = "import os\nwhile True:\n    os.fork()\n"
    assert stopped(code, seconds=2).reason


def test_files_are_limited_in_size_and_number() -> None:
    assert stopped("open('big', 'wb').write(b'x' * 100_000_000)").reason
    many = "n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(b'x' * 1_000_000)"
    assert "No space left" in stopped(many).output


def test_output_is_limited() -> None:
    assert len(stopped("while True: print('x' * 1000)", seconds=2).output) < 200_000


def alive(name: str) -> list[str]:
    """Processes of this name, anywhere on the machine."""
    found = []
    for told in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            found += [told.parent.name] if told.read_text().strip() == name else []
    return found


def named() -> tuple[str, str]:
    """A name, and code that takes it."""
    name = f"forja-{secrets.token_hex(4)}"
    return name, f"import ctypes, os, signal, time\nlibc = ctypes.CDLL(None)\nlibc.prctl(15, b'{name}')\n"


def test_nothing_outlives_the_clock() -> None:
    name, code = named()
    code += (
        "libc.prctl(1, 0, 0, 0, 0)\n"  # no end with the parent
        "signal.alarm(0)\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "if os.fork() == 0: os.setsid()\n"  # out of the group
        "time.sleep(120)\n"
    )
    assert stopped(code, seconds=0.5).reason == "it did not end in time"
    wait_until(lambda: not alive(name))


def test_nothing_outlives_the_codes_own_end() -> None:
    name, code = named()
    assert run_locked(code + "if os.fork() == 0:\n    os.setsid()\n    time.sleep(120)\n").passed
    wait_until(lambda: not alive(name))


def test_what_runs_ends_with_forja() -> None:
    name, code = named()
    calling = f"from forja.evaluation.sandbox import run_locked\nrun_locked({code + 'time.sleep(120)'!r}, seconds=60)"
    forja = subprocess.Popen([sys.executable, "-c", calling])
    wait_until(lambda: bool(alive(name)))
    forja.kill()
    forja.wait()
    wait_until(lambda: not alive(name))


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_there_is_no_network() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        code = f"import socket\nsocket.create_connection({listener.getsockname()}, timeout=2)"
        unlocked(code)
        listener.accept()[0].close()
        outcome = stopped(code)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "PermissionError" in outcome.output or "Network is unreachable" in outcome.output


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user of this machine may read and write."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_services_of_this_machine_are_out_of_reach(open_folder: Path) -> None:
    """Those that listen at a path, as a desktop's and a container engine's do, which is no matter of the network."""
    place = open_folder / "service"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        place.chmod(0o777)
        listener.listen()
        code = f"import socket\nsocket.socket(socket.AF_UNIX).connect({str(place)!r})"
        unlocked(code)
        assert "FileNotFoundError" in stopped(code).output


def test_no_file_of_the_users_is_read_or_written(open_folder: Path) -> None:
    secret, new = open_folder / "secret.txt", open_folder / "new"
    secret.write_text("hunter2")
    secret.chmod(0o666)
    reading = f"print(open({str(secret)!r}).read())"
    assert "hunter2" in unlocked(reading)
    outcome = stopped(reading)
    assert "hunter2" not in outcome.output
    assert "FileNotFoundError" in outcome.output
    for code in (
        f"open({str(secret)!r}, 'w').write('changed')",
        f"open({str(new)!r}, 'w').write('x')",
        "open('/etc/passwd')",
        "open('/proc/self/status')",
        f"import os; os.listdir({str(Path.home())!r})",
        "import os; open(os.path.dirname(os.__file__) + '/forja-was-here.py', 'w')",
    ):
        assert "Error: [Errno" in stopped(code).output
    assert secret.read_text() == "hunter2"
    assert not new.exists()


def test_no_privilege_is_left_to_look_for_a_way_out() -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "assert libc.capget(header, sets) == 0 and not any(sets)\n"
        "assert libc.prctl(39, 0, 0, 0, 0) == 1\n"  # no new privileges
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1\n"
    )
    outcome = run_locked(code)
    assert outcome.passed, outcome


def test_its_own_folder_is_its_own(tmp_path: Path) -> None:
    assert run_locked("open('a.txt', 'w').write('x'); assert open('a.txt').read() == 'x'").passed


def test_other_processes_are_out_of_reach() -> None:
    with subprocess.Popen(["sleep", "30"]) as other:
        outside = (os.getpid(), os.getppid(), other.pid)
        code = (
            f"import os\nfor process in {outside}:\n    try: os.kill(process, 9)\n    except ProcessLookupError: pass"
        )
        assert run_locked(code).passed
        assert other.poll() is None
        other.kill()
    assert stopped("import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)\nos.kill(os.getpid(), 9)").reason


def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORJA_TEST_SECRET", "hunter2")
    assert run_locked("import os; assert 'FORJA_TEST_SECRET' not in os.environ").passed
