"""Many near-identical texts of one origin are a flood; syndication and a site's own templates are not."""

from __future__ import annotations

import pytest

from forja.corpus.poison import Cluster, find_floods, origin_of


def test_many_near_copies_of_one_origin_flag_the_survivor_with_the_numbers() -> None:
    flags = find_floods([Cluster(7, "host spam.example", 30)], {"host spam.example": 40}, 10_000)
    assert list(flags) == [7]
    assert flags[7][0].evidence == {"origin": "host spam.example", "copies": 30, "different": 30, "of_origin": 40}


@pytest.mark.parametrize(
    ("clusters", "by_origin"),
    [
        ([Cluster(1, "host a", 9)], {"host a": 9}),
        ([Cluster(1, "host a", 30)], {"host a": 1000}),
        ([Cluster(1, "host a", 20), Cluster(1, "host b", 20), Cluster(1, "host c", 20)], {"host a": 20}),
        ([Cluster(1, "host a", 30, exact=30)], {"host a": 30}),
        ([Cluster(1, "host a", 60)], {"host a": 60}),
    ],
    ids=["few", "a small part of a site", "syndicated", "the same page again", "few for so large a corpus"],
)
def test_what_is_no_flood_passes(clusters: list[Cluster], by_origin: dict[str, int]) -> None:
    documents = 10_000 if len(clusters) > 1 or clusters[0].copies != 60 else 1_000_000
    assert find_floods(clusters, by_origin, documents) == {}


@pytest.mark.parametrize(
    ("others", "sizes"),
    [
        (
            [Cluster(1, f"host {number}", 1) for number in range(300)],
            dict.fromkeys(map("host {}".format, range(300)), 40),
        ),
        ([Cluster(1, f"host {number}", 1) for number in range(300)], {}),
        ([Cluster(1, "file advisories.csv", 1000)], {"file advisories.csv": 20_000}),
    ],
    ids=["sites that use it now and then", "authors who wrote nothing else", "a large file with many of them"],
)
def test_a_flood_on_a_template_that_others_use_is_told_by_what_they_make_of_it(
    others: list[Cluster], sizes: dict[str, int]
) -> None:
    flags = find_floods([*others, Cluster(1, "host flood", 100)], {**sizes, "host flood": 100}, 30_000)
    assert flags[1][0].evidence["origin"] == "host flood"


def test_sites_that_use_a_template_each_in_its_measure_pass() -> None:
    sizes = {f"host {number}": 20 + 10 * number for number in range(20)}
    used = [Cluster(1, origin, size // 2) for origin, size in sizes.items()]
    assert find_floods(used, sizes, 10_000) == {}


@pytest.mark.parametrize(
    ("origin", "author", "expected"),
    [
        ("https://www.example.org/a?b", None, "host example.org"),
        ("mail.mbox#3", None, "file mail.mbox"),
        ("mail.mbox#3", "4f2a", "author 4f2a"),
    ],
)
def test_an_origin_is_the_author_or_the_host_or_the_file(origin: str, author: str | None, expected: str) -> None:
    assert origin_of(origin, author) == expected
