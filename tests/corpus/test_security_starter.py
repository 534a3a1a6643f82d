from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from corpus.misbehaving_server import Server, misbehaving_server
from corpus.starter_site import Site, mirrored, real_site, small_site
from forja.recipe import Recipe
from forja.recipe_file import load_recipe, shipped_recipes
from made import forja

STARTER = "security-starter"
NO_DATE_OF_THEIR_OWN = {"owasp-cheat-sheets", "owasp-testing-guide"}
"""Markdown files say no date; when the archive they lie in was fetched is kept beside it."""


@dataclass
class Starter:
    """The recipe with its addresses on a local mirror, and what a run of it leaves."""

    folder: Path
    server: Server
    site: Site
    recipe: Recipe

    def url(self, source: str) -> str:
        """The path of a source's address on the mirror."""
        return mirrored(next(one.url or "" for one in self.recipe.corpus.sources if one.label == source))

    def write(self, *, refresh_days: float | None = None) -> Path:
        """The recipe as a person would change it for a mirror: addresses alone."""
        data = yaml.safe_load(shipped_recipes()[STARTER])
        for source in data["corpus"]["sources"]:
            if "url" in source:
                source["url"] = source["url"].replace("https://", f"{self.server.url}/")
            if "since" in source:
                source["since"] = (datetime.now(UTC) - timedelta(days=100)).strftime("%Y-%m-%d")
            if refresh_days is not None and "url" in source:
                source["refresh_days"] = refresh_days
        path = self.folder / "starter.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    def corpus(self, monkeypatch: pytest.MonkeyPatch, recipe: Path) -> str:
        """Run `forja corpus` as a person does; gives what it said."""
        monkeypatch.setenv("FORJA_CACHE", str(self.folder / "cache"))
        monkeypatch.setenv("FORJA_COMMON_CRAWL", f"{self.server.url}/data.commoncrawl.org/")
        monkeypatch.setenv("NVD_API_KEY", "made-for-a-test")  # with one, less time passes between pages
        done = forja("corpus", recipe, runs=self.folder / "runs")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def rows(self, kind: str) -> list[dict[str, Any]]:
        place = self.folder / "runs" / STARTER / "corpus"
        return [row for path in sorted(place.glob(f"{kind}-*.parquet")) for row in pq.read_table(path).to_pylist()]

    def by_id(self) -> dict[str, tuple[str, str]]:
        """id: (source, origin) of every record that was read, whatever became of it."""
        kinds = ("documents", "rejected", "quarantined")
        return {row["id"]: (row["source"], row["origin"]) for kind in kinds for row in self.rows(kind)}


@pytest.fixture
def mirror() -> Iterator[Server]:
    with misbehaving_server() as server:
        yield server


def starter(folder: Path, server: Server, site: Site) -> Starter:
    recipe, _ = load_recipe(STARTER)
    site.serve(server, recipe)
    return Starter(folder, server, site, recipe)


def is_corpus_of_all_sources(made: Starter) -> None:
    documents = made.rows("documents")
    sources = {source.label for source in made.recipe.corpus.sources}
    assert {row["source"] for row in documents} == sources
    assert all(row["licence"] and row["lang"] for row in documents)
    assert {row["source"] for row in documents if not row["date"]} == NO_DATE_OF_THEIR_OWN
    sides = [path for path in (made.folder / "cache").glob("*.json") if path.with_suffix("").exists()]
    kept = [json.loads(path.read_text()) for path in sides]
    assert all(one["date"] and one["size"] and one["sha256"] for one in kept)
    # One file a source; of the crawl the list and its segments, and NVD's pages are a folder.
    assert len(kept) == len(sources) - 2 + 1 + min(2, len(made.site.wet))


def goes_through_its_life(made: Starter, monkeypatch: pytest.MonkeyPatch, cuts: dict[str, list[int]]) -> None:
    server, site = made.server, made.site
    for source, places in cuts.items():
        server.pages[made.url(source)].cuts = list(places)

    # The first run, over connections that are cut.
    assert "running" in made.corpus(monkeypatch, made.write())
    is_corpus_of_all_sources(made)
    for source, places in cuts.items():
        answers = [(seen.status, seen.headers.get("range")) for seen in server.seen if seen.path == made.url(source)]
        assert answers == [(200, None), *((206, f"bytes={have}-") for have in accumulate(places))]
    before, first = made.by_id(), made.rows("documents")

    # The second finds everything fresh, and asks nobody.
    asked = len(server.seen)
    assert "corpus: up to date" in made.corpus(monkeypatch, made.write())
    assert len(server.seen) == asked

    # Then things change: new CVE records, an entry of KEV changed and another one new, and one changed at NVD.
    known = site.kev
    changed = {**known[1], "knownRansomwareCampaignUse": "Known", "notes": "It is used by a group that is paid."}
    added = {**known[0], "cveID": "CVE-2099-0001", "shortDescription": "A thing that nobody had thought of was found."}
    site.kev = [known[0], changed, *known[2:], added]
    site.cves |= site.later
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    site.nvd[0] = {"cve": site.nvd[0]["cve"] | {"lastModified": now}}
    expected = {("cve", name.rsplit("/", 1)[1].removesuffix(".json")) for name in site.later}
    expected |= {("kev", changed["cveID"]), ("kev", "CVE-2099-0001"), ("nvd", site.nvd[0]["cve"]["id"])}
    site.serve(server, made.recipe)
    asked = len(server.seen)
    said = made.corpus(monkeypatch, made.write(refresh_days=0))
    assert "sources changed" in said

    after = made.by_id()
    new = [place for identity, place in after.items() if identity not in before]
    assert sorted(new) == sorted(expected)
    # What is gone is the old version of what changed.
    gone = [place for identity, place in before.items() if identity not in after]
    assert gone == [("kev", changed["cveID"])]
    # Of copies the one with the least id stays, and a changed record has a new one: another copy may stay now.
    copies = {row["id"] for row in made.rows("rejected") if row["reason"].endswith("-duplicate")}
    lost = {row["id"] for row in first} - {row["id"] for row in made.rows("documents")}
    assert lost <= (set(before) - set(after)) | copies
    # What has not changed was asked about, and not sent again.
    unchanged = {made.url(name) for name in ("attack-enterprise", "capec", "cwe", "sigma", "wikipedia")}
    assert {seen.status for seen in server.seen[asked:] if seen.path in unchanged} == {304}


def test_the_recipe_goes_through_its_life_on_a_mirror(
    tmp_path: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_through_its_life(
        starter(tmp_path, mirror, small_site()), monkeypatch, {"cve": [1000], "wikipedia": [200, 400]}
    )


@pytest.mark.realdata
def test_the_recipe_goes_through_its_life_with_the_real_files(
    tmp_path: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch, realdata: Path
) -> None:
    made = starter(tmp_path, mirror, real_site(realdata, held_back=5))
    cuts = {"cve": [1_000_000, 3_000_000], "attack-enterprise": [20_000_000], "wikipedia": [500_000]}
    goes_through_its_life(made, monkeypatch, cuts)


def test_every_source_of_the_recipe_has_a_public_address_a_licence_and_a_comment() -> None:
    recipe, _ = load_recipe(STARTER)
    for source in recipe.corpus.sources:
        assert source.crawl or (source.url or "").startswith("https://")
        assert source.licence
    text = shipped_recipes()[STARTER]
    for before in text.split("    - name: ")[:-1]:
        assert before.rstrip().splitlines()[-1].lstrip().startswith("# "), "the source that follows has no comment"
