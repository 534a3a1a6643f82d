"""Files from public addresses, fetched once and kept: which copy is fresh, verified, and whose licence.

How the bytes come over the wire is in `transfer.py`; APIs that give pages in `paging.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from forja.corpus.sources.transfer import MOST_BYTES, TRIES, Answer, Request, Sleep, discard, shown, transfer
from forja.errors import ForjaError
from forja.progress import say
from forja.run import complete_or_absent, read_json, sha256_file, write_json_atomic


def fetch(
    url: str,
    cache: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    refresh_days: float = 7.0,
    licence: str | None = None,
    max_bytes: int = MOST_BYTES,
    sleep: Sleep = time.sleep,
) -> Path:
    """The file behind an address (https://, http://, s3://, file://), from the cache or fetched into it.

    What is in the cache is taken as it is for `refresh_days`, and for good where its digest is the one that was asked
    for; then the server is asked whether it changed. Out of reach, the old copy serves, and a line says so.
    Beside the file lies `<file>.json`: url, etag, last_modified, date, checked, size, sha256, licence.
    Several processes may fetch the same address. Raises ForjaError, which never holds a query or a password.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise ForjaError("this is not an address.", where=shown(url), fix="Check the source's `url`.") from None
    if scheme == "file":
        return _local(url, sha256, size)
    if scheme not in ("http", "https", "s3"):
        raise ForjaError(f"addresses of kind {scheme!r} cannot be fetched.", where=shown(url), fix="Use https://.")
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / cached_name(url)
    with locked(target, shown(url)):
        known = facts(target)
        if known and (sha256 or known["sha256"]) == known["sha256"] and (size or known["size"]) == known["size"]:
            if sha256 or not _older(known["checked"], refresh_days):
                return target
        else:
            known = None
        try:
            _renew(Request(url, max_bytes=max_bytes), target, known, sha256, size, licence, sleep)
        except ForjaError as error:
            if known is None:
                raise
            why = error.what.rstrip(".")
            say(f"  {shown(url)} cannot be looked at again ({why}); the copy of {known['date']} serves.")
    return target


def _renew(
    request: Request,
    target: Path,
    known: dict[str, Any] | None,
    sha256: str | None,
    size: int | None,
    licence: str | None,
    sleep: Sleep,
) -> None:
    """Fetch, or learn that nothing changed. Raises ForjaError."""
    part = target.with_name(f".{target.name}.part")
    for retry in (True, False):
        asked = Request(
            request.url,
            etag=known["etag"] if known else None,
            last_modified=known["last_modified"] if known else None,
            max_bytes=request.max_bytes,
            resumable=sha256 is not None and retry,
            # With a copy at hand, being offline must not cost minutes for each source.
            tries=2 if known else TRIES,
        )
        answer = transfer(asked, part, sleep=sleep)
        if known and not answer.changed:
            write_json_atomic(_side(target), known | {"checked": _now()})
            return
        got: dict[str, Any] = {"size": part.stat().st_size, "sha256": sha256_file(part)}
        wrong = (size is not None and got["size"] != size) or (sha256 is not None and got["sha256"] != sha256)
        if not wrong:
            _keep(request.url, part, target, got, answer, licence)
            return
        # A part that was continued may have been one of another version: once more from the start tells.
        discard(part)
    raise ForjaError(
        f"the file is not the one that was published: {got['size']:,} bytes, SHA-256 {got['sha256'][:16]}...",
        where=shown(request.url),
        fix="The source may have changed, or someone changed it on the way: compare with what its owner publishes.",
    )


def _keep(url: str, part: Path, target: Path, got: dict[str, Any], answer: Answer, licence: str | None) -> None:
    # Without its facts a file counts as absent: a kill here leaves either the old pair, nothing, or the new pair.
    _side(target).unlink(missing_ok=True)
    with complete_or_absent(target) as aside:
        os.replace(part, aside)
    now = _now()
    version = {"etag": answer.etag, "last_modified": answer.last_modified}
    write_json_atomic(
        _side(target), {"url": shown(url), **version, "date": now, "checked": now, **got, "licence": licence}
    )
    discard(part)


def facts(target: Path) -> dict[str, Any] | None:
    """What is known of a fetched file: url, etag, last_modified, date and checked (ISO 8601), size in bytes, sha256,
    licence; None where it is not there, or not whole."""
    try:
        known = read_json(_side(target))
        if isinstance(known, dict) and known["size"] == target.stat().st_size:
            return {"etag": None, "last_modified": None, "licence": None} | known | {"sha256": str(known["sha256"])}
    except (ForjaError, OSError, KeyError):
        pass
    return None


def cached_name(url: str) -> str:
    """The name of an address's file in the cache: a digest, and its own name for whoever looks there."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", unquote(urlsplit(url).path).rsplit("/", 1)[-1]).lstrip("._")[-100:]
    return f"{hashlib.blake2b(url.encode(), digest_size=6).hexdigest()}-{name or 'index'}"


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold `path` against other processes that would make it; waits for one that does, and says so."""
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  Another process is fetching {what}: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _local(url: str, sha256: str | None, size: int | None) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_file():
        raise ForjaError("there is no such file.", where=shown(url), fix="Check the address.")
    if (size is not None and path.stat().st_size != size) or (sha256 is not None and sha256_file(path) != sha256):
        raise ForjaError("the file is not the one that was published.", where=shown(url))
    return path


def _side(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _older(moment: str, days: float) -> bool:
    try:
        return datetime.now(UTC) - datetime.fromisoformat(moment) >= timedelta(days=days)
    except (ValueError, TypeError):
        return True
