from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from corpus.misbehaving_server import Server, misbehaving_server
from forja.corpus.signature import source_signature
from forja.corpus.sources import transfer as transfers
from forja.corpus.sources.fetching import cached_name, facts, fetch
from forja.corpus.sources.paging import fetch_pages
from forja.corpus.sources.transfer import Request, Unreachable, transfer
from forja.errors import ForjaError
from forja.recipe import CorpusSection

CONTENT = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OLD = timedelta(days=30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with misbehaving_server() as server:
        yield server


class Clock:
    """Sleeps that only write down how long they were to be."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def age(file: Path, by: timedelta = OLD) -> None:
    side = file.with_name(file.name + ".json")
    known = json.loads(side.read_text())
    known["checked"] = (datetime.now(UTC) - by).isoformat()
    side.write_text(json.dumps(known))


def left_over(cache: Path) -> list[str]:
    return sorted(
        path.name for path in cache.iterdir() if path.name.startswith(".") and not path.name.endswith(".lock")
    )


# --- the plain case ---------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_its_facts_lie_beside_it(server: Server, tmp_path: Path) -> None:
    url = server.add("/data/cves.json.gz", CONTENT)
    file = fetch(url, tmp_path, licence="CC0-1.0")
    assert file.read_bytes() == CONTENT
    assert file.name.endswith("-cves.json.gz")
    assert fetch(url, tmp_path) == file
    assert len(server.seen) == 1
    known = facts(file)
    assert known is not None
    assert (known["url"], known["size"], known["sha256"], known["licence"]) == (url, len(CONTENT), SHA256, "CC0-1.0")
    assert left_over(tmp_path) == []


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path) -> None:
    assert fetch(server.add("/empty", b""), tmp_path).read_bytes() == b""


def test_a_file_without_a_stated_length_is_taken_to_its_end(server: Server, tmp_path: Path) -> None:
    assert fetch(server.add("/unknown", CONTENT, length=False), tmp_path).read_bytes() == CONTENT


def test_a_local_address_is_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_bytes(CONTENT)
    url = (tmp_path / "a b.txt").as_uri()
    assert fetch(url, tmp_path / "cache", sha256=SHA256, size=len(CONTENT)) == tmp_path / "a b.txt"
    with pytest.raises(ForjaError, match="published"):
        fetch(url, tmp_path / "cache", sha256="0" * 64)
    with pytest.raises(ForjaError, match="no such file"):
        fetch(url + "x", tmp_path / "cache")


@pytest.mark.parametrize("url", ["ftp://example.org/a", "data:,a", "no address", "http://", "http://[::bad/"])
def test_other_addresses_are_refused_with_a_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(ForjaError):
        fetch(url, tmp_path, sleep=Clock())


# --- cuts -------------------------------------------------------------------------------------------


def test_a_cut_download_goes_on_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000, 50_000])
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [200, 206, 206]
    begins = [int(request.headers["range"][6:-1]) for request in server.seen[1:]]
    assert 0 < begins[0] <= 100_000
    assert begins[0] < begins[1] <= 150_000
    assert server.seen[1].headers["if-range"] == server.pages["/big"].tag()


def test_a_killed_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[200_000] + [0] * 50)
    with pytest.raises(ForjaError, match="cut"):
        fetch(url, tmp_path, sleep=Clock())
    assert not (tmp_path / cached_name(url)).exists()
    server.pages["/big"].cuts.clear()
    server.seen.clear()
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [206]


def test_a_server_without_ranges_is_asked_from_the_start(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], ranges=False)
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [200, 200]


def test_a_date_serves_where_there_is_no_etag(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], etag=False)
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [200, 206]


def test_without_any_version_a_part_is_not_continued_blindly(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], etag=False, modified=None, versions=[CONTENT[::-1]])
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT[::-1]
    assert "range" not in server.seen[1].headers


def test_with_a_published_digest_a_part_is_continued_though_nothing_names_its_version(
    server: Server, tmp_path: Path
) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], etag=False, modified=None)
    assert fetch(url, tmp_path, sha256=SHA256, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [200, 206]


def test_a_file_that_changes_between_two_parts_is_taken_anew(server: Server, tmp_path: Path) -> None:
    changed = CONTENT[::-1]
    url = server.add("/big", CONTENT, cuts=[100_000], versions=[changed])
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == changed
    assert server.statuses() == [200, 200]


def test_a_blindly_continued_file_that_changed_is_found_out_by_its_digest(server: Server, tmp_path: Path) -> None:
    changed = CONTENT[::-1]
    url = server.add("/big", CONTENT, cuts=[100_000], etag=False, modified=None, versions=[changed])
    digest = hashlib.sha256(changed).hexdigest()
    assert fetch(url, tmp_path, sha256=digest, sleep=Clock()).read_bytes() == changed
    assert server.statuses() == [200, 206, 200]


def test_another_range_than_asked_for_is_not_glued_on(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], wrong_range=True)
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [200, 206, 200]


def test_a_file_that_became_shorter_than_its_part_is_taken_anew(server: Server, tmp_path: Path) -> None:
    url = server.add("/big", CONTENT, cuts=[100_000], etag=False, versions=[b"short"])
    assert fetch(url, tmp_path, sleep=Clock()).read_bytes() == b"short"
    assert server.statuses() == [200, 416, 200]


def test_a_server_that_goes_silent_counts_as_cut(server: Server, tmp_path: Path) -> None:
    url = server.add("/slow", CONTENT[:64], drip=1.5, ranges=False)
    clock = Clock()
    request = Request(url, stall=0.3, tries=2)
    with pytest.raises(Unreachable, match="in time"):
        transfer(request, tmp_path / "part", sleep=clock)
    assert len(clock.slept) >= 1


def test_a_server_that_drips_counts_as_stalled(server: Server, tmp_path: Path) -> None:
    url = server.add("/drip", CONTENT[:4000], drip=0.15, ranges=False)
    with pytest.raises(Unreachable, match="all but stopped"):
        transfer(Request(url, stall=0.4, tries=1), tmp_path / "part", sleep=Clock())


# --- wrong lengths and digests ----------------------------------------------------------------------


def test_a_length_that_is_never_reached_is_given_up_and_leaves_no_file(server: Server, tmp_path: Path) -> None:
    url = server.add("/liar", CONTENT, lie=1000)
    clock = Clock()
    with pytest.raises(Unreachable) as failure:
        fetch(url, tmp_path, sleep=clock)
    assert "Try again later" in str(failure.value)
    assert not (tmp_path / cached_name(url)).exists()
    assert len(clock.slept) < 25


def test_a_length_that_is_too_short_is_found_out_by_the_published_size(server: Server, tmp_path: Path) -> None:
    url = server.add("/liar", CONTENT, lie=-1000)
    with pytest.raises(ForjaError, match="not the one that was published"):
        fetch(url, tmp_path, size=len(CONTENT), sleep=Clock())
    assert not (tmp_path / cached_name(url)).exists()


def test_a_wrong_digest_is_refused_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", CONTENT)
    with pytest.raises(ForjaError, match="not the one that was published"):
        fetch(url, tmp_path, sha256="0" * 64, sleep=Clock())
    assert left_over(tmp_path) == []
    assert fetch(url, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_cached_file_of_another_digest_is_fetched_again(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", b"old")
    fetch(url, tmp_path)
    server.add("/file", CONTENT)
    assert fetch(url, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_file_over_the_bound_is_refused_before_and_while_it_comes(server: Server, tmp_path: Path) -> None:
    for path, stated in (("/stated", True), ("/unstated", False)):
        url = server.add(path, CONTENT, length=stated)
        with pytest.raises(ForjaError, match="too large"):
            fetch(url, tmp_path, max_bytes=100_000, sleep=Clock())
        assert not (tmp_path / cached_name(url)).exists()


def test_a_full_disk_is_said_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = transfers.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ForjaError, match="disk has"):
        fetch(server.add("/big", CONTENT), tmp_path)


def test_a_disk_that_fills_meanwhile_is_an_error_with_a_sentence(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfers, "_write", full)
    with pytest.raises(ForjaError, match="cannot be written"):
        fetch(server.add("/big", CONTENT), tmp_path)


# --- refusals ---------------------------------------------------------------------------------------


def test_429_and_5xx_are_tried_again_after_a_growing_wait(server: Server, tmp_path: Path) -> None:
    url = server.add("/busy", CONTENT, statuses=[(429, None), (503, None), (500, None), (502, None)])
    clock = Clock()
    assert fetch(url, tmp_path, sleep=clock).read_bytes() == CONTENT
    assert len(clock.slept) == 4
    assert clock.slept[3] > clock.slept[0]


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(server: Server, tmp_path: Path) -> None:
    when = (datetime.now(UTC) + timedelta(seconds=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    url = server.add("/busy", CONTENT, statuses=[(429, "40"), (503, when), (503, "nonsense")])
    clock = Clock()
    assert fetch(url, tmp_path, sleep=clock).read_bytes() == CONTENT
    assert clock.slept[0] == 40
    assert 90 < clock.slept[1] <= 100
    assert clock.slept[2] <= 60


def test_a_server_that_wants_hours_of_patience_is_left_alone(server: Server, tmp_path: Path) -> None:
    url = server.add("/busy", CONTENT, statuses=[(429, "36000")])
    clock = Clock()
    with pytest.raises(Unreachable, match="36,000 seconds"):
        fetch(url, tmp_path, sleep=clock)
    assert clock.slept == []


def test_a_server_that_always_refuses_is_given_up(server: Server, tmp_path: Path) -> None:
    url = server.add("/busy", CONTENT, statuses=[(503, None)] * 100)
    clock = Clock()
    with pytest.raises(Unreachable, match="503"):
        fetch(url, tmp_path, sleep=clock)
    assert len(clock.slept) == transfers.TRIES - 1
    assert len(server.seen) == transfers.TRIES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_plain_no_is_not_asked_again(status: int, server: Server, tmp_path: Path) -> None:
    url = server.add("/no", statuses=[(status, None)] * 2)
    with pytest.raises(ForjaError, match=str(status)):
        fetch(url, tmp_path, sleep=Clock())
    assert len(server.seen) == 1


def test_a_host_that_is_not_there_is_said(tmp_path: Path) -> None:
    clock = Clock()
    with pytest.raises(Unreachable, match="connection failed"):
        fetch("http://127.0.0.1:9/x", tmp_path, sleep=clock)
    assert len(clock.slept) == transfers.TRIES - 1


# --- redirects --------------------------------------------------------------------------------------


def test_redirects_are_followed_and_a_resume_goes_through_them(server: Server, tmp_path: Path) -> None:
    server.add("/real", CONTENT, cuts=[100_000])
    server.add("/hop", redirect="/real")
    assert fetch(server.add("/start", redirect="hop"), tmp_path, sleep=Clock()).read_bytes() == CONTENT
    assert server.statuses() == [302, 302, 200, 302, 302, 206]


def test_a_redirect_loop_is_refused(server: Server, tmp_path: Path) -> None:
    server.add("/a", redirect="/b")
    server.add("/b", redirect="/a")
    with pytest.raises(ForjaError, match="circle"):
        fetch(server.url + "/a", tmp_path, sleep=Clock())


def test_an_endless_chain_of_redirects_is_refused(server: Server, tmp_path: Path) -> None:
    for number in range(20):
        server.add(f"/{number}", redirect=f"/{number + 1}")
    with pytest.raises(ForjaError, match="more than 10"):
        fetch(server.url + "/0", tmp_path, sleep=Clock())


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/x", "javascript:1"])
def test_a_redirect_to_another_kind_of_address_is_refused(target: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="redirects to an address of kind"):
        fetch(server.add("/a", redirect=target), tmp_path, sleep=Clock())


def replies(request: httpx2.Request) -> httpx2.Response:
    if request.url.path == "/down":
        return httpx2.Response(302, headers={"Location": "http://example.org/x?token=hush"})
    if request.url.path == "/away":
        return httpx2.Response(302, headers={"Location": "https://elsewhere.org/x"})
    return httpx2.Response(200, json=dict(request.headers))


def test_a_redirect_from_https_to_http_is_refused_and_keys_stay_with_their_host() -> None:
    with httpx2.Client(transport=httpx2.MockTransport(replies)) as client:
        with (
            pytest.raises(ForjaError, match="from https to http") as failure,
            transfers._response(client, "https://example.org/down", {}),
        ):
            pass
        assert "hush" not in str(failure.value)
        secret = {"apiKey": "hush", "Authorization": "hush", "User-Agent": "forja"}
        with transfers._response(client, "https://example.org/away", secret) as response:
            response.read()
            assert "hush" not in response.text
            assert "forja" in response.text


# --- looking again ----------------------------------------------------------------------------------


def test_an_old_copy_that_did_not_change_is_kept(server: Server, tmp_path: Path) -> None:
    for behaviour in ({}, {"etag": False}):
        url = server.add("/file", CONTENT, **behaviour)
        file = fetch(url, tmp_path / str(len(behaviour)))
        server.seen.clear()
        age(file)
        inode = file.stat().st_ino
        assert fetch(url, tmp_path / str(len(behaviour))).stat().st_ino == inode
        assert server.statuses() == [304]
        fetch(url, tmp_path / str(len(behaviour)))
        assert server.statuses() == [304]


def test_an_old_copy_that_changed_is_replaced(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", b"old")
    age(fetch(url, tmp_path))
    server.add("/file", CONTENT, modified=1_700_000_100.0)
    file = fetch(url, tmp_path)
    assert file.read_bytes() == CONTENT
    known = facts(file)
    assert known is not None
    assert known["sha256"] == SHA256


def test_an_old_copy_of_the_wanted_digest_is_not_looked_at_again(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", CONTENT)
    age(fetch(url, tmp_path, sha256=SHA256))
    fetch(url, tmp_path, sha256=SHA256)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [503, 404])
def test_offline_the_old_copy_serves_and_a_line_says_so(
    status: int, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.add("/file", CONTENT)
    age(fetch(url, tmp_path))
    server.add("/file", statuses=[(status, None)] * 100)
    clock = Clock()
    assert fetch(url, tmp_path, sleep=clock).read_bytes() == CONTENT
    said = capsys.readouterr().err
    assert str(status) in said
    assert "serves" in said
    assert sum(clock.slept) < 5


def test_a_damaged_cache_is_mended(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", CONTENT)
    file = fetch(url, tmp_path)
    file.write_bytes(b"cut")
    assert fetch(url, tmp_path).read_bytes() == CONTENT
    file.with_name(file.name + ".json").write_text("{not json")
    assert fetch(url, tmp_path).read_bytes() == CONTENT
    file.with_name(file.name + ".json").write_text("[]")
    assert fetch(url, tmp_path).read_bytes() == CONTENT
    file.unlink()
    assert fetch(url, tmp_path).read_bytes() == CONTENT


# --- several at once --------------------------------------------------------------------------------


def _fetch_in_process(url: str, cache: str) -> str:
    return hashlib.sha256(fetch(url, Path(cache)).read_bytes()).hexdigest()


def test_two_processes_that_fetch_the_same_address_make_one_whole_file(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", CONTENT, cuts=[50_000])
    with multiprocessing.get_context("fork").Pool(3) as pool:
        digests = pool.starmap(_fetch_in_process, [(url, str(tmp_path))] * 3)
    assert digests == [SHA256] * 3
    assert server.statuses() == [200, 206]


def test_threads_that_fetch_the_same_address_make_one_whole_file(server: Server, tmp_path: Path) -> None:
    url = server.add("/file", CONTENT)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(url, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in found] == [CONTENT] * 4
    assert len(server.seen) == 1


# --- proxies and secrets ----------------------------------------------------------------------------


def test_the_systems_proxy_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.add("http://nowhere.invalid/file", CONTENT)
    assert fetch("http://nowhere.invalid/file", tmp_path).read_bytes() == CONTENT
    assert server.seen[0].path == "http://nowhere.invalid/file"


@pytest.mark.parametrize("status", [404, 503, 302])
def test_secrets_of_an_address_are_in_no_error_no_log_no_file(
    status: int,
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    place = server.url.removeprefix("http://")
    url = f"http://ana:hunter2@{place}/file?token=hush"
    server.add("/file", statuses=[(status, None)] * 20, redirect="/file?token=hush" if status == 302 else None)
    if status == 302:
        server.pages["/file"].statuses.clear()
    with pytest.raises(ForjaError) as failure:
        fetch(url, tmp_path, sleep=Clock())
    server.add("/file", CONTENT)
    age(fetch(url, tmp_path))
    server.add("/file", statuses=[(404, None)])
    fetch(url, tmp_path)
    written = "".join(
        path.name + path.read_text("latin-1") for path in tmp_path.iterdir() if path.name.endswith("json")
    )
    for text in (str(failure.value), caplog.text, capsys.readouterr().err, written):
        assert "hush" not in text
        assert "hunter2" not in text
    assert "authorization" in server.seen[0].headers


# --- S3 ---------------------------------------------------------------------------------------------


def test_an_object_of_s3_is_fetched_and_not_fetched_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    server.add("/bucket/some/object.bin", CONTENT, cuts=[100_000])
    file = fetch("s3://bucket/some/object.bin", tmp_path, sha256=SHA256, sleep=Clock())
    assert file.read_bytes() == CONTENT
    age(file)
    sent = sum(request.method == "GET" for request in server.seen)
    assert fetch("s3://bucket/some/object.bin", tmp_path, sleep=Clock()) == file
    assert sum(request.method == "GET" for request in server.seen) == sent
    with pytest.raises(ForjaError, match="no such object"):
        fetch("s3://bucket/some/other.bin", tmp_path, sleep=Clock())


# --- pages ------------------------------------------------------------------------------------------


def nvd(records: list[dict[str, str]]) -> object:
    """What NVD's 2.0 API would answer."""

    def answer(query: dict[str, str]) -> bytes:
        start, count = int(query["startIndex"]), int(query["resultsPerPage"])
        chosen = records
        if "lastModStartDate" in query:
            begin = datetime.fromisoformat(query["lastModStartDate"])
            end = datetime.fromisoformat(query["lastModEndDate"])
            assert end - begin <= timedelta(days=120)
            chosen = [entry for entry in records if begin <= datetime.fromisoformat(entry["lastModified"]) < end]
        page = {"startIndex": start, "totalResults": len(chosen), "vulnerabilities": chosen[start : start + count]}
        return json.dumps({"resultsPerPage": count, **page}).encode()

    return answer


def entries(days: int, first: datetime) -> list[dict[str, str]]:
    return [{"id": f"CVE-{day}", "lastModified": (first + timedelta(days=day)).isoformat()} for day in range(days)]


def ids(paths: list[Path]) -> list[str]:
    return [entry["id"] for path in paths for entry in json.loads(path.read_text())["vulnerabilities"]]


FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def test_all_pages_come_in_order_and_only_once(server: Server, tmp_path: Path) -> None:
    url = server.add("/rest", answer=nvd(entries(25, FIRST)))
    clock = Clock()
    for _ in range(2):
        paths = fetch_pages(url, tmp_path, page=10, sleep=clock, key="hush")
        assert ids(paths) == [f"CVE-{day}" for day in range(25)]
    assert len(server.seen) == 3
    assert clock.slept == [0.6, 0.6]
    assert server.seen[0].headers["apikey"] == "hush"
    assert not any("hush" in path.read_text() for path in tmp_path.rglob("*.json"))


def test_since_is_asked_for_in_windows_of_at_most_120_days(server: Server, tmp_path: Path) -> None:
    url = server.add("/rest", answer=nvd(entries(400, FIRST)))
    now = FIRST + timedelta(days=400)
    paths = fetch_pages(url, tmp_path, since="2024-01-11", page=50, sleep=Clock(), now=lambda: now)
    assert ids(paths) == [f"CVE-{day}" for day in range(10, 400)]
    spans = {(request.query["lastModStartDate"], request.query["lastModEndDate"]) for request in server.seen}
    assert len(spans) == 4


def test_an_interrupted_pull_goes_on_with_the_page_that_is_missing(server: Server, tmp_path: Path) -> None:
    url = server.add("/rest", answer=nvd(entries(25, FIRST)))
    good = server.pages["/rest"].answer
    assert good is not None

    def failing(query: dict[str, str]) -> bytes:
        return good(query) if query["startIndex"] == "0" else b"<html>maintenance</html>"

    server.pages["/rest"].answer = failing
    with pytest.raises(ForjaError, match="NVD"):
        fetch_pages(url, tmp_path, page=10, sleep=Clock())
    server.pages["/rest"].answer = good
    server.seen.clear()
    assert len(ids(fetch_pages(url, tmp_path, page=10, sleep=Clock()))) == 25
    assert [request.query["startIndex"] for request in server.seen] == ["10", "20"]


def test_a_later_pull_asks_only_for_what_changed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.add("/rest", answer=nvd(entries(25, FIRST)))
    moment = FIRST + timedelta(days=25)
    fetch_pages(url, tmp_path, page=10, sleep=Clock(), now=lambda: moment)
    server.pages["/rest"].answer = nvd(entries(30, FIRST))
    server.seen.clear()
    soon = fetch_pages(url, tmp_path, page=10, sleep=Clock(), now=lambda: moment + timedelta(days=6))
    assert len(ids(soon)) == 25
    assert server.seen == []
    later = moment + timedelta(days=8)
    assert ids(fetch_pages(url, tmp_path, page=10, sleep=Clock(), now=lambda: later))[25:] == [
        f"CVE-{day}" for day in range(25, 30)
    ]
    assert len(server.seen) == 1
    server.pages["/rest"].statuses = [(503, None)] * 100
    much_later = later + timedelta(days=8)
    assert len(ids(fetch_pages(url, tmp_path, page=10, sleep=Clock(), now=lambda: much_later))) == 30
    assert "what came by then serves" in capsys.readouterr().err


def test_a_pull_to_which_nothing_came_is_the_same_source(server: Server, tmp_path: Path) -> None:
    url = server.add("/rest", answer=nvd(entries(25, FIRST)))
    source = {"url": url, "kind": "nvd", "refresh_days": 0}
    section = CorpusSection.model_validate({"sources": [source], "cache": str(tmp_path)})
    before = source_signature(section, tmp_path)
    assert len(before[0]["files"]) == 1
    server.seen.clear()
    assert source_signature(section, tmp_path) == before
    assert len(server.seen) == 1
    changed = {"id": "CVE-25", "lastModified": datetime.now(UTC).isoformat()}
    server.pages["/rest"].answer = nvd([*entries(25, FIRST), changed])
    time.sleep(0.01)  # the API counts in milliseconds
    assert source_signature(section, tmp_path) != before


def test_a_server_that_never_gives_the_rest_is_not_asked_for_ever(server: Server, tmp_path: Path) -> None:
    def empty(query: dict[str, str]) -> bytes:
        return json.dumps({"startIndex": int(query["startIndex"]), "totalResults": 5, "vulnerabilities": []}).encode()

    with pytest.raises(ForjaError, match="no records"):
        fetch_pages(server.add("/rest", answer=empty), tmp_path, sleep=Clock())


def test_a_date_in_the_future_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ForjaError, match="future"):
        fetch_pages(server.url + "/rest", tmp_path, since="2999-01-01", sleep=Clock())
