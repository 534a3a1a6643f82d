"""JSON APIs that give their records page by page: NVD's 2.0 API (https://nvd.nist.gov/developers/vulnerabilities).

A pull is a folder of page files, so that a cut one goes on where it was, and a later one asks only for what changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from forja.corpus.sources.fetching import cached_name, locked
from forja.corpus.sources.transfer import Request, Sleep, discard, shown, transfer
from forja.errors import ForjaError
from forja.progress import progress, say
from forja.run import complete_or_absent, read_json, write_json_atomic

LONGEST_WINDOW = timedelta(days=120)
"""NVD refuses a longer span between lastModStartDate and lastModEndDate."""
PAGE = 2000
"""Records a page: NVD's most."""
PAUSE, PAUSE_WITH_KEY = 6.0, 0.6
"""Seconds between requests: NVD allows 5 in 30 seconds, 50 with a key."""
BROKEN_PAGES = 3
MOST_PAGE_BYTES = 1 << 28


def _utc_now() -> datetime:
    return datetime.now(UTC)


def fetch_pages(
    url: str,
    cache: Path,
    *,
    since: str | None = None,
    key: str | None = None,
    page: int = PAGE,
    pause: float | None = None,
    refresh_days: float = 7.0,
    sleep: Sleep = time.sleep,
    now: Callable[[], datetime] = _utc_now,
) -> list[Path]:
    """The page files of an API like NVD's 2.0, in order; where two hold the same record, the later page is newer.
    A page without records is none of them: a pull to which nothing came is the same as before.

    since: only records changed on this date (ISO 8601) or later, asked for in windows of at most 120 days; without it
    the first pull takes everything. A complete pull is taken up again after `refresh_days`, with what changed since.
    key: an API key, sent as a header. Out of reach, a complete older pull serves, and a line says so.
    Raises ForjaError.
    """
    folder = cache / f"{cached_name(url)}-pages-{since or 'all'}-{page}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, shown(url)):
        pull = _Pull(url, folder, key, page, pause if pause is not None else PAUSE_WITH_KEY if key else PAUSE, sleep)
        if not pull.windows:
            pull.plan(_windows(since, now()))
        complete_before = pull.complete()
        if complete_before and now() - pull.until() >= timedelta(days=refresh_days):
            pull.plan(_windows(pull.until().isoformat(), now()))
        try:
            pull.run()
        except ForjaError as error:
            if not complete_before:
                raise
            say(f"  {shown(url)} cannot be asked for changes ({error.what.rstrip('.')}); what came by then serves.")
        return pull.paths(only_complete=True)


def _windows(since: str | None, until: datetime) -> list[tuple[str | None, str]]:
    """(start, end) of each span, end to end; a start of None is everything there is."""
    if since is None:
        return [(None, until.isoformat())]
    start = datetime.fromisoformat(since)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    if start >= until:
        raise ForjaError("`since` is in the future.", where=since, fix="Give a date that has passed.")
    spans: list[tuple[str | None, str]] = []
    while start < until:
        end = min(start + LONGEST_WINDOW, until)
        spans.append((start.isoformat(), end.isoformat()))
        start = end
    return spans


class _Pull:
    """The state of one folder of pages: `pull.json` holds the windows, and the pages that have come of each."""

    def __init__(self, url: str, folder: Path, key: str | None, page: int, pause: float, sleep: Sleep) -> None:
        self._url, self._folder, self._page, self._pause, self._sleep = url, folder, page, pause, sleep
        self._headers = {"apiKey": key} if key else {}
        self._asked = False
        try:
            known = read_json(folder / "pull.json") or {}
            self.windows: list[dict[str, Any]] = list(known.get("windows", []))
        except (ForjaError, AttributeError):
            self.windows = []

    def plan(self, windows: list[tuple[str | None, str]]) -> None:
        self.windows += [{"start": start, "end": end, "pages": [], "complete": False} for start, end in windows]
        self._save()

    def complete(self) -> bool:
        return all(window["complete"] for window in self.windows)

    def until(self) -> datetime:
        return datetime.fromisoformat(self.windows[-1]["end"])

    def run(self) -> None:
        """Fetch what is missing."""
        missing = [number for number, window in enumerate(self.windows) if not window["complete"]]
        if not missing:
            return
        with progress(f"Fetching {urlsplit(self._url).hostname}", unit="records", total=None) as bar:
            for number in missing:
                window = self.windows[number]
                while not window["complete"]:
                    bar.advance(self._next_page(number, window))

    def paths(self, *, only_complete: bool) -> list[Path]:
        return [
            self._folder / entry["file"]
            for window in self.windows
            if window["complete"] or not only_complete
            for entry in window["pages"]
            if entry["count"]
        ]

    def _next_page(self, number: int, window: dict[str, Any]) -> int:
        """Fetch one page of a window; gives the records in it."""
        begin = sum(entry["count"] for entry in window["pages"])
        query: dict[str, Any] = {"startIndex": begin, "resultsPerPage": self._page}
        if window["start"]:
            query |= {"lastModStartDate": _stamp(window["start"]), "lastModEndDate": _stamp(window["end"])}
        file = f"{number:04d}-{begin:08d}.json"
        count, total = self._get(f"{self._url}?{urlencode(query)}", self._folder / file, begin)
        if count == 0 and begin < total:
            raise ForjaError(f"the server gives no records from {begin:,} of {total:,} on.", where=shown(self._url))
        window["pages"].append({"file": file, "count": count})
        window["complete"] = begin + count >= total
        self._save()
        return count

    def _get(self, url: str, target: Path, begin: int) -> tuple[int, int]:
        """(records in the page, records in all). Raises ForjaError where it is again and again no such page."""
        part = target.with_name(f".{target.name}.part")
        for _ in range(BROKEN_PAGES):
            if self._asked:
                self._sleep(self._pause)
            self._asked = True
            transfer(Request(url, headers=self._headers, max_bytes=MOST_PAGE_BYTES), part, sleep=self._sleep)
            counted = _counts(part, begin)
            if counted:
                with complete_or_absent(target) as aside:
                    part.rename(aside)
                discard(part)
                return counted
            discard(part)
        raise ForjaError(
            "the server's page is not what NVD's 2.0 API gives (startIndex, totalResults, a list of records).",
            where=shown(url),
            fix="Check the address, or try again later.",
        )

    def _save(self) -> None:
        write_json_atomic(self._folder / "pull.json", {"url": shown(self._url), "windows": self.windows})


def _counts(path: Path, begin: int) -> tuple[int, int] | None:
    try:
        page = json.loads(path.read_bytes())
        records = max((value for value in page.values() if isinstance(value, list)), key=len, default=[])
        if page["startIndex"] == begin and isinstance(page["totalResults"], int):
            return len(records), page["totalResults"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        pass
    return None


def _stamp(moment: str) -> str:
    """NVD's extended ISO 8601, with milliseconds and an offset."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="milliseconds")
