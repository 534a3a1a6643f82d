"""The engine that the corpus stage's work runs on: Daft, in this machine's processes or on a Ray cluster.

Two ways to use it: a stream of chunks through one function, and one function over a list of items. What
either of them computes does not depend on which engine ran it, how many workers it had, or their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol

from forja.errors import ForjaError
from forja.recipe import CorpusSection

AHEAD = 4
"""Chunks in flight a worker: enough to keep it busy, few enough to keep memory flat."""
WORTH_BYTES = 512 * 2**20
"""Bytes sorted or copied from which on it pays to start other processes."""
POLL_SECONDS = 0.002
CLOSING_SECONDS = 5.0
QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "1", "DAFT_PROGRESS_BAR": "0"}
QUIET_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

Chunks = Callable[[], Iterator[bytes]]
"""Makes a fresh iterator of chunks; it travels to the machine where it is read."""


class Engine(Protocol):
    """Where the work runs."""

    workers: int
    parts: int
    """Into how many parts a folder is split for reading: one where one process reads them all."""

    def stream(self, readers: Sequence[Chunks], work: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """What `work` makes of every chunk of every reader, in no particular order."""

    def each(self, work: Callable[[Any], Any], items: Sequence[Any], size: int) -> Iterator[Any]:
        """What `work` makes of every item, both JSON, in no particular order.
        size: bytes it goes through in all, weighed by how much longer than sorting it takes."""


def open_engine(section: CorpusSection) -> Engine:
    """The engine of the recipe. Raises ForjaError where Ray is asked for and is not there."""
    on_ray = section.engine == "ray"
    for key, value in {**QUIET, **(QUIET_RAY if on_ray else {})}.items():
        os.environ.setdefault(key, value)  # read when the libraries are imported
    return _Daft(section.ray_address if on_ray else None, on_ray=on_ray)


class _Daft:
    def __init__(self, address: str | None, *, on_ray: bool) -> None:
        self._on_ray, self._address = on_ray, address
        self._started = False
        self.workers = max(1, len(os.sched_getaffinity(0)))
        if on_ray:
            self._start()
        self.parts = 4 * self.workers if on_ray else 1

    def stream(self, readers: Sequence[Chunks], work: Callable[[bytes], bytes]) -> Iterator[bytes]:
        if self._on_ray:
            yield from self._run(_chunks_of(readers, None), work)
            return
        early: list[bytes] = []
        chunks = (chunk for reader in readers for chunk in reader())
        for chunk in chunks:
            early.append(chunk)
            if len(early) == 2:
                break
        if len(early) < 2:  # not worth the start of a process
            yield from map(work, early)
            return
        self._start()
        gate = _Gate(AHEAD * self.workers)
        # Held by name: as the loop's own it would be closed before the gate, and wait for a reader that waits there.
        results = self._run(_chunks_of([lambda: itertools.chain(early, chunks)], gate), work)
        try:
            for result in results:
                gate.room.release()
                yield result
        finally:
            gate.close()

    def each(self, work: Callable[[Any], Any], items: Sequence[Any], size: int) -> Iterator[Any]:
        if not self._on_ray and (len(items) < 2 or size < WORTH_BYTES):
            yield from map(work, items)
            return

        def through(payload: bytes) -> bytes:
            return json.dumps(work(json.loads(payload))).encode()

        self._start()
        import daft

        payloads = [json.dumps(item).encode() for item in items]
        frame = daft.from_pydict({"chunk": payloads})
        if self._on_ray:
            frame = frame.into_partitions(min(len(items), 4 * self.workers))
        for result in self._run(frame, through):
            yield json.loads(result)

    def _run(self, frame: Any, work: Callable[[bytes], bytes]) -> Iterator[bytes]:
        import daft

        @daft.func.batch(return_dtype=daft.DataType.binary(), use_process=True, batch_size=1)
        def apply(chunk: Any) -> Any:
            return [work(payload) for payload in chunk.to_pylist()]

        results = frame.select(apply(daft.col("chunk")).alias("result"))
        try:
            for batch in results.to_arrow_iter(results_buffer_size=AHEAD * self.workers):
                for value in batch.column(0):
                    yield value.as_py()
        except ForjaError:
            raise
        except Exception as error:  # the engine wraps what happened in a worker in errors of its own
            raise _explained(error) from error

    def _start(self) -> None:
        """Set up once; a corpus of one chunk never gets here."""
        if self._started:
            return
        import daft

        if self._on_ray:
            self.workers = _join_cluster(self._address)
        with contextlib.suppress(Exception):  # a process has one runner for good; which, is looked at below
            daft.set_runner_ray(noop_if_initialized=True) if self._on_ray else daft.set_runner_native()
        running = daft.get_or_create_runner().name
        if (running == "ray") is not self._on_ray:
            raise ForjaError(
                f"this process already runs its work on {running}, and a process has one engine.",
                where="corpus.engine",
                fix="Start a new process.",
            )
        self._started = True


def _join_cluster(address: str | None) -> int:
    """Join or start a Ray cluster; its processors in all."""
    try:
        import ray
    except ImportError:
        raise ForjaError(
            "corpus.engine=ray needs the library `ray`.", fix="Install it: pip install 'forja[ray]'."
        ) from None
    if not ray.is_initialized():
        address = address or os.environ.get("RAY_ADDRESS")
        try:
            if address:
                _reach(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # it raises many kinds for a cluster that does not answer
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ForjaError(
                f"the Ray cluster cannot be joined ({said}).",
                where=f"corpus.ray_address {address or '(this machine)'}",
                fix="Check the address, or use corpus.engine=native.",
            ) from None
    return max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]


def _reach(address: str) -> None:
    """Ray itself tries an address that nobody listens at for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CLOSING_SECONDS).close()


def _explained(error: Exception) -> ForjaError:
    """What a worker said, in a sentence."""
    text = str(error)
    if any(mark in text for mark in ("MemoryError", "died", "EOF", "closed the connection")):
        return ForjaError(
            "a process that works on documents was killed, perhaps for want of memory.",
            where="corpus",
            fix="Give the machine more memory, or lower corpus.max_document_bytes.",
        )
    last = next((line for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
    return ForjaError(f"a process that works on documents failed ({last.strip()}).", where="corpus")


class _Gate:
    """Places for chunks in flight: the engine by itself reads on as fast as it can, whatever waits, and memory
    would grow with the corpus. And an end: a reader that still runs when the interpreter ends would abort it."""

    def __init__(self, places: int) -> None:
        self.room = threading.Semaphore(places)
        self._closed = threading.Event()
        self._reading = 0
        self._idle = threading.Condition()

    def close(self) -> None:
        self._closed.set()
        with self._idle:
            self._idle.wait_for(lambda: self._reading == 0, timeout=CLOSING_SECONDS)

    async def entered(self) -> bool:
        """Wait for a place; False where there is no more to read for."""
        while not self._closed.is_set():
            if self.room.acquire(blocking=False):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._idle:
            self._reading += 1
        try:
            yield
        finally:
            with self._idle:
                self._reading -= 1
                self._idle.notify_all()


def _chunks_of(readers: Sequence[Chunks], gate: _Gate | None) -> Any:
    """A frame of the readers' chunks, one reader a task."""
    from daft.io.source import DataSource, DataSourceTask
    from daft.recordbatch import RecordBatch

    schema = RecordBatch.from_pydict({"chunk": [b""]}).schema()

    class Task(DataSourceTask):
        def __init__(self, reader: Chunks) -> None:
            self._reader = reader

        @property
        def schema(self) -> Any:
            return schema

        async def read(self) -> AsyncIterator[Any]:
            with gate.reading() if gate else contextlib.nullcontext():
                for chunk in self._reader():
                    if gate is not None and not await gate.entered():
                        return
                    yield RecordBatch.from_pydict({"chunk": [chunk]})

    class Source(DataSource):
        @property
        def name(self) -> str:
            return "chunks"

        @property
        def schema(self) -> Any:
            return schema

        async def get_tasks(self, pushdowns: Any) -> AsyncIterator[Any]:
            for reader in readers:
                yield Task(reader)

    return Source().read()
