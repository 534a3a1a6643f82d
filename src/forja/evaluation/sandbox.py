"""Code that a model wrote, run where it can do no harm: without network, without any file but Python's own and an empty
folder, with limits on time, memory, processes and output.

Linux only: namespaces and Landlock (kernel 5.13 on). Where the kernel gives less, nothing is run.
"""

from __future__ import annotations

import json
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
FILE_BYTES = 1024 * 1024
FOLDER_BYTES = 16 * 1024 * 1024
PROCESSES = 8
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
READY = "ready"


@dataclass(frozen=True)
class Outcome:
    """passed: the code ran to its end; reason: else why not, in words; output: the last of what it printed."""

    passed: bool
    reason: str
    output: str


def run_locked(code: str, *, seconds: float = 5.0, memory_bytes: int = 512 * 1024 * 1024) -> Outcome:
    """Run Python code, with the standard library alone, in a process of its own that is locked in before it reads it.

    seconds: of the processor, and by the clock twice as many and five for the start; memory_bytes: of address space, of
    each of PROCESSES at most. Raises ForjaError where this machine cannot lock a process in; then nothing has run.

    That the code ran to its end is told from inside its process: leaving early is found out, but code that sets out to
    forge its own end can. It gains nothing else by it.
    """
    if not sys.platform.startswith("linux"):
        raise _cannot("this is not Linux")
    token = secrets.token_hex(16)
    clock = 2 * seconds + 5
    with tempfile.TemporaryDirectory(prefix="forja-locked-") as folder:
        root, said = Path(folder) / "root", Path(folder) / "output"
        root.mkdir()
        told, tells = os.pipe()
        try:
            with open(said, "wb") as output:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        "-B",
                        "-c",
                        LOCK,
                        _settings(root, tells, seconds, clock, memory_bytes),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={},
                    start_new_session=True,
                    pass_fds=[tells],
                )
            os.close(tells)
            late = _feed(process, f"{token}\n{code}", clock)
            state = os.read(told, 4096).decode("utf-8", "replace")
        finally:
            os.close(told)
        with open(said, "rb") as output:
            output.seek(max(0, said.stat().st_size - OUTPUT_BYTES))
            printed = output.read().decode("utf-8", "replace")
    if state != READY:
        raise _cannot(state or (printed.strip().splitlines() or ["Python did not start"])[-1])
    if process.returncode == 0 and printed.endswith(token):
        return Outcome(True, "", printed.removesuffix(token).strip())
    return Outcome(False, _reason(process.returncode, late), printed.strip())


def _settings(root: Path, tells: int, seconds: float, clock: float, memory_bytes: int) -> str:
    return json.dumps(
        {
            "root": str(root),
            "python": os.path.realpath(sys.executable),
            "prefix": os.path.realpath(sys.base_prefix),
            "libraries": LIBRARIES,
            "parent": os.getpid(),
            "tells": tells,
            "clock": int(clock) + 5,
            "folder": FOLDER_BYTES,
            "run": RUN,
            "limits": {
                "CPU": [max(1, int(seconds + 0.999)), max(1, int(seconds + 0.999)) + 1],
                "AS": [memory_bytes, memory_bytes],
                "FSIZE": [FILE_BYTES, FILE_BYTES],
                "NPROC": [PROCESSES, PROCESSES],
                "NOFILE": [32, 32],
                "CORE": [0, 0],
            },
        }
    )


def _feed(process: subprocess.Popen[bytes], text: str, clock: float) -> bool:
    """Give it the code and wait for its end, whoever brings that about; whether it was late."""
    try:
        process.communicate(text.encode("utf-8", "replace"), timeout=clock)
    except subprocess.TimeoutExpired:
        return True
    finally:
        # The first process of the code's namespace is in this group and out of the code's reach: it takes all along.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _reason(code: int, late: bool) -> str:
    if late:
        return "it did not end in time"
    number = -code if code < 0 else code - 128
    if number in signal.valid_signals():
        return f"it was ended by signal {number} ({signal.strsignal(number)})"
    return f"it ended with code {code}" if code else "it ended before its end"


def _cannot(why: str) -> ForjaError:
    return ForjaError(
        f"code cannot be run safely on this machine ({why}), so none was run.",
        fix="Leave out the tests of the set, or use a Linux with user namespaces and Landlock.",
    )


LOCK = """
import ctypes, json, os, resource, signal, struct, sys
given = json.loads(sys.argv[1])
root, prefix, tells = given["root"], given["prefix"], given["tells"]
libc = ctypes.CDLL(None, use_errno=True)

def refuse(what):
    os.write(tells, what.encode())
    os._exit(1)

def must(result, what):
    if result < 0:
        refuse(what + ": " + os.strerror(ctypes.get_errno()))
    return result

def end_of(child):
    while True:  # the first process of a namespace also buries those whose parents are gone
        buried, status = os.wait()
        if buried == child:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

# Forja's end is this one's end.
must(libc.prctl(1, signal.SIGKILL, 0, 0, 0), "no end with the parent")
if os.getppid() != given["parent"]:
    os._exit(1)

# Namespaces: no network but an unconnected one, no other processes, own mounts, own shared memory.
user, uid, gid = os.geteuid() != 0, os.geteuid(), os.getegid()
must(libc.unshare(0x40000000 | 0x20000000 | 0x00020000 | 0x08000000 | (0x10000000 if user else 0)), "no namespaces")
if user:
    try:
        for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open("/proc/self/" + name, "w") as file:
                file.write(line)
    except OSError as error:
        refuse("no user namespace: " + str(error))

# A root of its own, in memory: Python and the system's libraries at their places, an empty folder, and nothing else, so
# that no socket or device of the machine has a name here.
if prefix == "/" or not given["python"].startswith(prefix + "/"):
    refuse("Python lies outside of " + prefix)
must(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None), "no private mounts")
options = f"size={given['folder']},nr_inodes=4096,mode=755"
must(libc.mount(b"tmpfs", root.encode(), b"tmpfs", 2 | 4, options.encode()), "no folder of its own")
readable = [prefix]
for path in (prefix, *given["libraries"]):
    inside = root + path
    if path != prefix and (path + "/").startswith(prefix + "/"):
        continue
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), inside)
    elif os.path.isdir(path):
        os.makedirs(inside, exist_ok=True)
        must(libc.mount(path.encode(), inside.encode(), None, 0x1000 | 0x4000, None), "no view of " + path)
        readable.append(path)
os.mkdir(root + "/tmp")
os.chmod(root + "/tmp", 0o777)
os.chdir(root)
must(libc.mount(root.encode(), b"/", None, 0x2000, None), "no root of its own")
os.chroot(".")
os.chdir("/tmp")

# Three processes: this one waits outside; the first inside waits too, and when it ends, the kernel ends all inside,
# whatever they did to leave their group; the third is the code's.
first = os.fork()
if first:
    os.close(tells)
    end_of(first)
must(libc.prctl(1, signal.SIGKILL, 0, 0, 0), "no end with the parent")
signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signal.SIGALRM))
signal.alarm(given["clock"])
own = os.fork()
if own:
    os.close(tells)
    end_of(own)
os.setsid()
if not user:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
must(libc.prctl(38, 1, 0, 0, 0), "privileges may grow")

# Landlock: the folder may be written, Python and the libraries read, and nothing else.
abi = must(libc.syscall(444, None, 0, 1), "no Landlock")
write = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))
write |= (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
execute, read = 1, 1 << 2 | 1 << 3
rules = struct.pack("QQ", execute | read | write, (1 | 2) if abi >= 4 else 0)
ruleset = must(libc.syscall(444, rules, 16 if abi >= 4 else 8, 0), "no ruleset")
for path, access in [("/tmp", read | write), *((path, execute | read) for path in readable)]:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    must(libc.syscall(445, ruleset, 1, struct.pack("=Qi", access, handle), 0), "no rule for " + path)
    os.close(handle)
must(libc.syscall(446, ruleset, 0), "not locked")
os.close(ruleset)
for name, both in given["limits"].items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), both)

# Python anew: what capabilities a user namespace gave end here, and the code finds nothing of the above in its process.
try:
    environment = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
    os.execve(given["python"], [given["python"], "-I", "-S", "-B", "-c", given["run"], str(tells)], environment)
except OSError as error:
    refuse("Python does not start: " + str(error))
"""

RUN = f"""
import os, sys
token, _, code = sys.stdin.buffer.read().decode("utf-8", "replace").partition("\\n")
tells = int(sys.argv.pop())
os.write(tells, b"{READY}")
os.close(tells)
exec(compile(code, "<code>", "exec"), {{"__name__": "__main__"}})
sys.stdout.flush()
os.write(1, b"\\n" + token.encode())
"""
