"""Code that means harm, run for real: each of its attempts is stopped."""

from __future__ import annotations

import socket
import sys
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


def test_harmless_code_passes() -> None:
    outcome = run_locked("import json, math, re\nassert math.factorial(5) == 120\nprint('done')")
    assert outcome.passed, outcome
    assert outcome.output == "done"


def test_a_failed_assertion_and_a_syntax_error_do_not_pass() -> None:
    assert "AssertionError" in stopped("assert 1 == 2").output
    assert "SyntaxError" in stopped("def f(:").output


def test_leaving_early_is_no_pass() -> None:
    assert stopped("import sys; sys.exit(0)").reason
    assert stopped("import os; os._exit(0)").reason


def test_an_endless_loop_ends() -> None:
    assert "ended by" in stopped("while True: pass", seconds=1).reason
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


def test_there_is_no_network() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        outcome = stopped(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2)")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "Error" in outcome.output


def test_no_file_of_the_users_is_read_or_written(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    assert "hunter2" not in stopped(f"print(open({str(secret)!r}).read())").output
    stopped(f"open({str(secret)!r}, 'w').write('changed')")
    stopped(f"open({str(tmp_path / 'new')!r}, 'w').write('x')")
    stopped("print(open('/etc/passwd').read())")
    stopped("import os; print(os.listdir('/root'))")
    assert secret.read_text() == "hunter2"
    assert not (tmp_path / "new").exists()


def test_its_own_folder_is_its_own(tmp_path: Path) -> None:
    assert run_locked("open('a.txt', 'w').write('x'); assert open('a.txt').read() == 'x'").passed


def test_other_processes_are_out_of_reach() -> None:
    code = "import os, signal\nos.kill(os.getppid() or 1, signal.SIGKILL)\nos.kill(1, signal.SIGKILL)\nos.kill(-1, 9)"
    assert stopped(code).reason  # and this process is still here to say so


def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORJA_TEST_SECRET", "hunter2")
    assert run_locked("import os; assert 'FORJA_TEST_SECRET' not in os.environ").passed
