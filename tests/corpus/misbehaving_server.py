"""A local HTTP server for tests that does what servers do on bad days: it cuts connections, lies about lengths,
refuses for a while, redirects in circles, forgets ranges, and changes files between two parts of a download.

It also speaks as the starter recipe's sources do: `add_folder` serves real files below a path.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Page:
    """What lies at a path, and how the server misbehaves with it.

    cuts: the connection is cut after so many bytes of the body, for one request each. statuses: (status, Retry-After)
    answered first, one request each. lie: added to the Content-Length. drip: seconds between pieces of 8 bytes.
    versions: contents that take the place of the present one, one after each request that has sent any of it.
    """

    content: bytes = b""
    etag: bool = True
    modified: float | None = 1_700_000_000.0
    ranges: bool = True
    wrong_range: bool = False
    length: bool = True
    lie: int = 0
    drip: float = 0.0
    redirect: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[tuple[int, str | None]] = field(default_factory=list)
    versions: list[bytes] = field(default_factory=list)
    answer: Callable[[dict[str, str]], bytes] | None = None
    content_type: str = "application/octet-stream"

    def tag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0


class Server:
    """The running server: `pages` may be changed at any time, `seen` is every request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []

    def add(self, path: str, content: bytes = b"", **behaviour: object) -> str:
        """Serve a page; gives its address."""
        self.pages[path] = Page(content, **behaviour)  # type: ignore[arg-type]
        return self.url + path

    def add_folder(self, path: str, folder: Path) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.add(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def statuses(self) -> list[int]:
        return [request.status for request in self.seen]


@contextmanager
def misbehaving_server() -> Iterator[Server]:
    """A server on a free local port, closed at the end."""

    class Handler(_Handler):
        pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = Server(f"http://127.0.0.1:{httpd.server_address[1]}")
    Handler.site = server
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Server
    _seen: Seen

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        seen = Seen(self.command, self.path, query, {name.lower(): value for name, value in self.headers.items()})
        self._seen = seen
        self.site.seen.append(seen)
        page = self.site.pages.get(self.path) or self.site.pages.get(unquote(parts.path))
        if page is None:
            self._plain(404)
        elif page.statuses:
            status, wait = page.statuses.pop(0)
            self._plain(status, {"Retry-After": wait} if wait is not None else {})
        elif page.redirect is not None:
            self._plain(302, {"Location": page.redirect})
        else:
            if page.answer:
                page.content = page.answer(query)
            self._serve(page, seen.headers)

    def send_response(self, code: int, message: str | None = None) -> None:
        self._seen.status = code  # before the client has it, which may look at once
        super().send_response(code, message)

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, page: Page, headers: dict[str, str]) -> None:
        modified = email.utils.formatdate(page.modified, usegmt=True) if page.modified is not None else None
        if (page.etag and headers.get("if-none-match") == page.tag()) or (
            modified and "if-none-match" not in headers and headers.get("if-modified-since") == modified
        ):
            self._plain(304)
            return
        begin = _begin(page, headers, modified)
        if begin is not None and begin >= len(page.content):
            self._plain(416, {"Content-Range": f"bytes */{len(page.content)}"})
            return
        status = 200 if begin is None else 206
        body = page.content[begin or 0 :]
        self.send_response(status)
        if status == 206:
            first = (begin or 0) + (1 if page.wrong_range else 0)
            self.send_header("Content-Range", f"bytes {first}-{len(page.content) - 1}/{len(page.content)}")
        if page.length:
            self.send_header("Content-Length", str(len(body) + page.lie))
        else:
            self.send_header("Connection", "close")
        if page.etag:
            self.send_header("ETag", page.tag())
        if modified:
            self.send_header("Last-Modified", modified)
        self.send_header("Content-Type", page.content_type)
        self.end_headers()
        if self.command != "HEAD":
            self._send(page, body)

    def _send(self, page: Page, body: bytes) -> None:
        cut = page.cuts.pop(0) if page.cuts else None
        body = body if cut is None else body[:cut]
        step = 8 if page.drip else 1 << 16
        try:
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                time.sleep(page.drip)
            self.wfile.flush()
        except OSError:
            return
        finally:
            if page.versions:
                page.content = page.versions.pop(0)
        if cut is not None or page.lie > 0 or not page.length:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _begin(page: Page, headers: dict[str, str], modified: str | None) -> int | None:
    """The first byte of a range that is asked for and may be given."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if not page.ranges or asked is None:
        return None
    valid_for = {page.tag() if page.etag else None, modified, None}
    return int(asked.group(1)) if headers.get("if-range") in valid_for else None
