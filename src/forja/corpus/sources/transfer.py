"""One address copied into one file: tries again, resumes, follows redirects, gives up with a sentence.

What is kept of it, for how long, and under which name is in `fetching.py`.
"""

from __future__ import annotations

import email.utils
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from forja.errors import ForjaError
from forja.progress import Bar, progress
from forja.run import read_json, write_json_atomic

if TYPE_CHECKING:
    import httpx2

Sleep = Callable[[float], None]

TRIES = 7
"""Failures in a row that brought it no further, after which it is given up."""
MOST_TRIES = 100
MOST_REDIRECTS = 10
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
LONGEST_ASKED_WAIT = 900.0
"""Seconds that a server's Retry-After is obeyed; one that asks for more is for another day."""
STALL = 60.0
"""Seconds without a byte, or at under SLOWEST bytes a second, after which a connection counts as cut."""
SLOWEST = 100
MOST_BYTES = 1 << 38
SHOWN_FROM = 8_000_000
"""Bytes from which a download has a progress bar."""
RETRIED = {408, 425, 429, 500, 502, 503, 504}
CREDENTIALS = re.compile(r"//[^/@\s]*@")
QUERY = re.compile(r"\?\S*")


def shown(url: str) -> str:
    """The address as a person may see it and a file may keep it: no user, no password, no query, which may hold
    a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an address that is none)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


@dataclass(frozen=True)
class Request:
    """What is asked for. etag, last_modified: of the copy at hand, to be told whether it changed. resumable: the
    digest of the whole is known, so that a part may be continued though the server names no version of it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    last_modified: str | None = None
    max_bytes: int = MOST_BYTES
    resumable: bool = False
    stall: float = STALL
    tries: int = TRIES


@dataclass(frozen=True)
class Answer:
    """How it ended. changed: whether the part file is the new content, complete; it is not touched otherwise."""

    changed: bool
    etag: str | None = None
    last_modified: str | None = None


class Cut(Exception):
    """A failure that another try may mend. wait: seconds that the server asked for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        self.why = why
        self.wait = wait
        super().__init__(why)


class Unreachable(ForjaError):
    """The address could not be reached, or only fails now: a copy at hand is as good as it gets."""


def transfer(request: Request, part: Path, *, sleep: Sleep = time.sleep) -> Answer:
    """Copy an address (https://, http://, s3://) into the file `part`, continuing what an earlier call left there.

    Raises Unreachable where it stays out of reach, ForjaError where trying again is of no use.
    """
    attempt = _s3_attempt if request.url.startswith("s3://") else _http_attempt
    fruitless = best = 0
    for _ in range(MOST_TRIES):
        best = max(best, part.stat().st_size if part.exists() else 0)
        try:
            return attempt(request, part)
        except Cut as cut:
            after = part.stat().st_size if part.exists() else 0
            fruitless = 0 if after > best else fruitless + 1
            why = cut.why
            if cut.wait is not None and cut.wait > LONGEST_ASKED_WAIT:
                why = f"{why}, to be tried again in {cut.wait:,.0f} seconds"
                break
            if fruitless >= request.tries:
                break
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**fruitless) * random.uniform(0.5, 1.0)
            sleep(max(wait, cut.wait or 0.0))
        except OSError as error:
            raise ForjaError(
                f"the download cannot be written: {error.strerror or error}.", where=str(part.parent), fix="Make room."
            ) from None
    raise Unreachable(
        f"the address cannot be fetched: {why}.",
        where=shown(request.url),
        fix="Try again later: what has come is kept, and goes on from there.",
    )


# --- HTTP -------------------------------------------------------------------------------------------


def _http_attempt(request: Request, part: Path) -> Answer:
    import httpx2

    have, state = _state(part)
    headers = {"User-Agent": "forja", "Accept-Encoding": "identity", **request.headers}
    if have and state.get("total") == have:
        return Answer(True, state.get("etag"), state.get("last_modified"))
    validator = _validator(state)
    if have and (validator or request.resumable):
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": validator} if validator else {}
    else:
        headers |= {"If-None-Match": request.etag} if request.etag else {}
        headers |= {"If-Modified-Since": request.last_modified} if request.last_modified else {}
    logging.getLogger("httpx2").addFilter(_without_secrets)
    timeout = httpx2.Timeout(request.stall, connect=min(request.stall, 30.0))
    try:
        with (
            httpx2.Client(timeout=timeout, follow_redirects=False) as client,
            _response(client, request.url, headers) as response,
        ):
            return _receive(response, request, part, have, state)
    except httpx2.TimeoutException:
        raise Cut("the server does not answer in time") from None
    except httpx2.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise ForjaError(
                "the server's certificate cannot be trusted.",
                where=shown(request.url),
                fix="Behind a company's proxy, name its certificates in SSL_CERT_FILE.",
            ) from None
        failed = "failed" if isinstance(error, httpx2.ConnectError | httpx2.ProxyError) else "was cut"
        raise Cut(f"the connection {failed}{_said(error)}") from None
    except httpx2.InvalidURL:
        raise ForjaError("this is not an address.", where=shown(request.url)) from None


def _said(error: Exception) -> str:
    said = QUERY.sub("", CREDENTIALS.sub("//", str(error))).rstrip(".")
    return f" ({said})" if said else ""


def _without_secrets(record: logging.LogRecord) -> bool:
    """httpx2 logs every address in full."""
    if isinstance(record.args, tuple):
        record.args = tuple(shown(text) if "://" in (text := str(arg)) else arg for arg in record.args)
    return True


@contextmanager
def _response(client: httpx2.Client, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """The answer to a GET, redirects followed; never from https to http, never to another scheme or round in circles.
    What is secret in `headers` does not go to another host."""
    seen = {url}
    for _ in range(MOST_REDIRECTS + 1):
        with client.stream("GET", url, headers=headers) as response:
            location = response.headers.get("Location")
            if response.status_code not in (301, 302, 303, 307, 308) or not location:
                yield response
                return
        try:
            target = urljoin(url, location)
            before, after = urlsplit(url), urlsplit(target)
        except ValueError:
            raise ForjaError("the server redirects to what is no address.", where=shown(url)) from None
        if after.scheme not in ("http", "https"):
            raise ForjaError(f"the server redirects to an address of kind {after.scheme!r}.", where=shown(url))
        if before.scheme == "https" and after.scheme == "http":
            raise ForjaError(
                "the server redirects from https to http, where anyone on the way could change the file.",
                where=shown(url),
                fix=f"If you trust {shown(target)}, name it as the source's `url`.",
            )
        if target in seen:
            raise ForjaError("the server redirects in a circle.", where=shown(url), fix="Check the address.")
        if before.netloc.rpartition("@")[2] != after.netloc.rpartition("@")[2]:
            headers = {
                name: value for name, value in headers.items() if name.lower() not in ("apikey", "authorization")
            }
        url = target
        seen.add(url)
    raise ForjaError(f"the server redirects more than {MOST_REDIRECTS} times.", where=shown(url))


def _receive(response: httpx2.Response, request: Request, part: Path, have: int, state: dict[str, Any]) -> Answer:
    status = response.status_code
    if status == 304:
        return Answer(False, request.etag, request.last_modified)
    if status == 416:
        discard(part)
        raise Cut("the server has another file now than the part that had come")
    if status in RETRIED:
        raise Cut(f"the server says {status}", _asked_wait(response.headers.get("Retry-After")))
    if status not in (200, 206):
        fix = "It may need a key, or refuse this machine." if status in (401, 403, 407) else "Check the address."
        raise ForjaError(f"the server answers with status {status}.", where=shown(str(response.url)), fix=fix)
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if status == 206:
        begins, total = _range(response.headers.get("Content-Range"))
        if begins != have or (state.get("total") not in (None, total)):
            discard(part)
            raise Cut("the server sent another range than was asked for")
    else:
        have = 0
    _check_room(total, have, request, part)
    fresh: dict[str, Any] = {
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
        "total": total,
        "source": shown(request.url),
    }
    if have == 0:
        part.unlink(missing_ok=True)
        write_json_atomic(_beside(part), fresh)
    arrived = _write(response.iter_raw(), request, part, have, total)
    if total is not None and arrived != total:
        raise Cut(f"the connection was cut after {arrived:,} of {total:,} bytes")
    return Answer(True, fresh["etag"], fresh["last_modified"])


def _range(header: str | None) -> tuple[int | None, int | None]:
    """(first byte, bytes of the whole) of "bytes 100-199/200"."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header or "")
    if found is None:
        return None, None
    return int(found.group(1)), None if found.group(2) == "*" else int(found.group(2))


def _asked_wait(header: str | None) -> float | None:
    """Seconds of a Retry-After, which may also be a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


# --- S3 ---------------------------------------------------------------------------------------------


def _s3_attempt(request: Request, part: Path) -> Answer:
    """An object of S3, by Arrow's client through fsspec: with the credentials that the environment holds, or none."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    parts = urlsplit(request.url)
    key = f"{parts.netloc}{parts.path}"
    known = any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN"))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    have, state = _state(part)
    try:
        files = ArrowFSWrapper(
            S3FileSystem(
                anonymous=not known,
                region=region,
                endpoint_override=endpoint,
                request_timeout=request.stall,
                connect_timeout=30.0,
            )
        )
        info = files.info(key)
        version, total = str(info.get("mtime")), int(info["size"])
        if request.last_modified == version:
            return Answer(False, None, version)
        if have == total and state.get("last_modified") == version:
            return Answer(True, None, version)
        if state.get("last_modified") != version or have > total:
            discard(part)
            have = 0
            write_json_atomic(_beside(part), {"last_modified": version, "total": total, "source": shown(request.url)})
        _check_room(total, have, request, part)
        with files.open(key, "rb") as file:
            file.seek(have)
            arrived = _write(iter(lambda: file.read(1 << 20), b""), request, part, have, total)
    except FileNotFoundError:
        raise ForjaError("there is no such object.", where=shown(request.url), fix="Check the address.") from None
    except PermissionError:
        raise _refused(request.url) from None
    except OSError as error:
        if error.errno is None and "ACCESS_DENIED" in str(error):
            raise _refused(request.url) from None
        if error.errno is None or error.errno < 0:
            raise Cut("the object store failed") from None
        raise
    if arrived != total:
        raise Cut(f"the connection was cut after {arrived:,} of {total:,} bytes")
    return Answer(True, None, version)


def _refused(url: str) -> ForjaError:
    return ForjaError(
        "the object store refuses access.",
        where=shown(url),
        fix="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use the https:// address.",
    )


# --- the part file ----------------------------------------------------------------------------------


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _state(part: Path) -> tuple[int, dict[str, Any]]:
    """(bytes of the part at hand, the version of the file it is a part of)."""
    try:
        state = read_json(_beside(part))
    except ForjaError:
        state = None
    if not isinstance(state, dict) or not part.exists():
        return 0, {}
    return part.stat().st_size, state


def discard(part: Path) -> None:
    """Drop a part file, and what is known of it."""
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _validator(state: dict[str, Any]) -> str | None:
    """What If-Range may hold: a strong ETag, or a date (RFC 9110, section 13.1.5)."""
    etag = state.get("etag")
    return etag if etag and not etag.startswith("W/") else state.get("last_modified")


def _check_room(total: int | None, have: int, request: Request, part: Path) -> None:
    if total is None:
        return
    if total > request.max_bytes:
        raise _too_large(request, total)
    free = shutil.disk_usage(part.parent).free
    if total - have > free:
        raise ForjaError(
            f"the disk has {free / 1e9:,.1f} GB free; this file needs {(total - have) / 1e9:,.1f} GB.",
            where=str(part.parent),
            fix="Make room, or name another folder with corpus.cache.",
        )


def _too_large(request: Request, size: int) -> ForjaError:
    return ForjaError(f"the file is too large: over {min(size, request.max_bytes):,} bytes.", where=shown(request.url))


def _write(pieces: Iterator[bytes], request: Request, part: Path, have: int, total: int | None) -> int:
    """Append what arrives; gives the part's size then. Raises Cut where it stalls, ForjaError where it is too much."""
    title = shown(request.url).rsplit("/", 1)[-1] or "download"
    long = total is None or total - have > SHOWN_FROM
    megabytes = total / 1e6 if total is not None else None
    bar: AbstractContextManager[Bar | None] = (
        progress(f"Fetching {title}", total=megabytes, unit="MB", done=have / 1e6) if long else nullcontext()
    )
    mark, since = have, time.monotonic()
    with bar as shown_bar, open(part, "ab") as file:
        for piece in pieces:
            file.write(piece)
            have += len(piece)
            if have > request.max_bytes:
                raise _too_large(request, have)
            if shown_bar:
                shown_bar.advance(len(piece) / 1e6)
            if (passed := time.monotonic() - since) > request.stall:
                if have - mark < SLOWEST * passed:
                    raise Cut("the server has all but stopped sending")
                mark, since = have, time.monotonic()
    return have
