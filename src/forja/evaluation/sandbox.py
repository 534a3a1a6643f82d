"""Code that a model wrote, run where it can do no harm: without network, without any file but its own empty folder,
with limits on time, memory, processes and output.

Linux only: namespaces and Landlock (kernel 5.13 on). Where the kernel gives less, nothing is run.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forja.errors import ForjaError

OUTPUT_BYTES = 64 * 1024
FOLDER_BYTES = 16 * 1024 * 1024
PROCESSES = 16
REFUSED = 97
"""The exit code by which the child says that it could not lock itself in, and ran nothing."""


@dataclass(frozen=True)
class Outcome:
    """passed: the code ran to its end; reason: else why not, in words; output: the last of what it printed."""

    passed: bool
    reason: str
    output: str


def run_locked(code: str, *, seconds: float = 5.0, memory_bytes: int = 512 * 1024 * 1024) -> Outcome:
    """Run Python code in a process of its own that is locked in before it reads the code.

    seconds: of the processor, and twice as many by the clock; memory_bytes: of address space. Raises ForjaError where
    this machine cannot lock a process in; then nothing has run.
    """
    if not sys.platform.startswith("linux"):
        raise _cannot("this is not Linux")
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="forja-locked-") as folder:
        place, said = Path(folder) / "inside", Path(folder) / "output"
        place.mkdir()
        (Path(folder) / "python").mkdir()
        os.chmod(folder, 0o711)
        with open(said, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", CHILD, str(place), str(seconds), str(memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=place,
                env={"HOME": str(place), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                start_new_session=True,
                close_fds=True,
            )
            late = False
            try:
                process.communicate(f"{token}\n{code}".encode("utf-8", "replace"), timeout=2 * seconds + 5)
            except subprocess.TimeoutExpired:
                late = True
            except BrokenPipeError:
                pass
            finally:
                _kill(process)
        told = said.read_bytes()
    if process.returncode == REFUSED:
        raise _cannot(told.decode("utf-8", "replace").strip() or "the kernel refused")
    output_text = told[-OUTPUT_BYTES:].decode("utf-8", "replace")
    if process.returncode == 0 and token in output_text:
        return Outcome(True, "", output_text.replace(token, "").strip())
    return Outcome(False, _reason(process.returncode, late), output_text.strip())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started: the first of its namespace takes the others along."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _reason(code: int, late: bool) -> str:
    if late:
        return "it did not end in time"
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        return f"it was ended by signal {number} ({signal.strsignal(number) or 'unknown'})"
    return f"it ended with code {code}" if code else "it ended before its end"


def _cannot(why: str) -> ForjaError:
    return ForjaError(
        f"code cannot be run safely on this machine ({why}), so none was run.",
        fix="Leave out the tests of the set, or use a Linux with user namespaces and Landlock.",
    )


CHILD = f"""
import ctypes, os, resource, signal, struct, sys
place, seconds, memory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
token, _, code = sys.stdin.read().partition("\\n")
libc = ctypes.CDLL(None, use_errno=True)

def refuse(what):
    print(what, flush=True)
    os._exit({REFUSED})

def must(result, what):
    if result < 0:
        refuse(what + ": " + os.strerror(ctypes.get_errno()))
    return result

# Namespaces: no network but an unconnected one, no other processes, own mounts.
root, uid, gid = os.geteuid() == 0, os.geteuid(), os.getegid()
flags = 0x40000000 | 0x20000000 | 0x00020000 | 0x08000000 | (0 if root else 0x10000000)
must(libc.unshare(flags), "no namespaces")
if not root:
    try:
        for name, said in (("setgroups", "deny"), ("uid_map", f"{{uid}} {{uid}} 1"), ("gid_map", f"{{gid}} {{gid}} 1")):
            with open("/proc/self/" + name, "w") as file:
                file.write(said)
    except OSError as error:
        refuse("no user namespace: " + str(error))
must(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None), "no private mounts")
must(libc.mount(b"tmpfs", place.encode(), b"tmpfs", 2 | 4, b"size={FOLDER_BYTES},mode=777"), "no folder of its own")
# Python itself may lie where no other user may look: here it is seen at a place of its own.
python = os.path.join(os.path.dirname(place), "python")
must(libc.mount(sys.base_prefix.encode(), python.encode(), None, 0x1000 | 0x4000, None), "no view of Python")
inside = os.fork()
if inside:
    _, status = os.waitpid(inside, 0)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

os.chdir(place)
if root:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
must(libc.prctl(1, 9, 0, 0, 0), "no end with the parent")
must(libc.prctl(38, 1, 0, 0, 0), "privileges may grow")
signal.alarm(int(2 * seconds) + 1)

# Landlock: the folder may be written, Python and the system's libraries read, and nothing else.
abi = must(libc.syscall(444, None, 0, 1), "no Landlock")
write = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
write |= (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
read = sum(1 << bit for bit in (0, 2, 3))
rules = struct.pack("QQ", read | write, (1 | 2) if abi >= 4 else 0)
ruleset = must(libc.syscall(444, rules, len(rules) if abi >= 4 else 8, 0), "no ruleset")

def allow(path, access):
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    must(libc.syscall(445, ruleset, 1, struct.pack("=Qi", access, handle), 0), "no rule for " + path)
    os.close(handle)

sys.path = [path.replace(sys.base_prefix, python, 1) for path in sys.path if path.startswith(sys.base_prefix)]
for path in (python, "/usr/lib", "/lib", "/lib64"):
    allow(path, read)
allow(place, read & ~1 | write)
must(libc.syscall(446, ruleset, 0), "not locked")
os.close(ruleset)

def limit(kind, value):
    resource.setrlimit(kind, (value, value))

limit(resource.RLIMIT_CPU, max(1, int(seconds + 0.999)))
limit(resource.RLIMIT_AS, memory)
limit(resource.RLIMIT_FSIZE, {FOLDER_BYTES // 16})
limit(resource.RLIMIT_NPROC, {PROCESSES})
limit(resource.RLIMIT_NOFILE, 32)
limit(resource.RLIMIT_CORE, 0)
os.close(0)
sys.stdin = None
exec(compile(code, "<code>", "exec"), {{"__name__": "__main__"}})
sys.stdout.flush()
print("\\n" + token, flush=True)
"""
