from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.indicators import apply_indicators, find_addresses
from forja.corpus.privacy import mask
from forja.recipe import Privacy

PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "192.0.2.1",
                "10.0.0.255",
                "2001:db8::1",
                "::1",
                "http://",
                "https://",
                "hxxp://",
                "ftp://",
                "[.]",
                "[:]",
                "//",
            ),
            *(
                "evil.com",
                "a.example.org",
                "www.x.co.uk",
                "setup.py",
                "readme.md",
                "System.Net",
                "user@",
                ":8080",
                "/24",
            ),
            *(
                "d41d8cd98f00b204e9800998ecf8427e",
                "a" * 39 + "1",
                "version ",
                "v",
                ".",
                ",",
                " ",
                "\n",
                "(",
                ")",
                "[",
                "]",
            ),
            *("<ip>", "<url>", "<domain>", "/path?q=b.com", "x", "1", "-", "_", "é", "::", "fe80::1%eth0", "[dot]"),
        ]
    ),
    max_size=14,
).map("".join)


@pytest.mark.parametrize(
    ("text", "defanged", "masked"),
    [
        ("seen at 192.0.2.1.", "seen at 192[.]0[.]2[.]1.", "seen at <ip>."),
        (
            "from 192.0.2.1:8080 and 198.51.100.0/24",
            "from 192[.]0[.]2[.]1:8080 and 198[.]51[.]100[.]0/24",
            "from <ip>:8080 and <ip>/24",
        ),
        ("to 2001:db8::8a2e:370:7334, too", "to 2001[:]db8[:][:]8a2e[:]370[:]7334, too", "to <ip>, too"),
        ("get http://evil.example/a.exe.", "get hxxp://evil[.]example/a.exe.", "get <url>."),
        ("(https://a.evil.com/x_(y))", "(hxxps://a[.]evil[.]com/x_(y))", "(<url>)"),
        ("ftp://192.0.2.1/p", "fxp://192[.]0[.]2[.]1/p", "<url>"),
        ("[C2](https://evil.com) is", "[C2](hxxps://evil[.]com) is", "[C2](<url>) is"),
        (
            "calls out to evil.com and www.bad.co.uk/x",
            "calls out to evil[.]com and www[.]bad[.]co[.]uk/x",
            "calls out to <domain> and <domain>/x",
        ),
        (
            "already hxxp://evil[.]com and 192[.]0[.]2[.]1",
            "already hxxp://evil[.]com and 192[.]0[.]2[.]1",
            "already <url> and <ip>",
        ),
        ("bad[.]org, bad[dot]net", "bad[.]org, bad[dot]net", "<domain>, <domain>"),
        ("md5 d41d8cd98f00b204e9800998ecf8427e", "md5 d41d8cd98f00b204e9800998ecf8427e", "md5 <hash>"),
        ("SHA256=" + "0A" * 32, "SHA256=" + "0A" * 32, "SHA256=<hash>"),
    ],
)
def test_an_indicator_is_kept_defanged_or_masked(text: str, defanged: str, masked: str) -> None:
    assert apply_indicators(text, "keep") == (text, {})
    assert apply_indicators(text, "defang")[0] == defanged
    assert apply_indicators(text, "mask")[0] == masked


def test_each_kind_is_counted() -> None:
    text = "192.0.2.1 got http://a.com/ and http://b.com/ from cc.com as d41d8cd98f00b204e9800998ecf8427e"
    assert apply_indicators(text, "mask")[1] == {"ip": 1, "url": 2, "domain": 1, "hash": 1}
    assert apply_indicators(text, "defang")[1] == {"ip": 1, "url": 2, "domain": 1}


@pytest.mark.parametrize(
    "text",
    [
        "see readme.md, setup.py, index.html, main.rs and build.sh",
        "os.path.join, System.Net.Http, java.io.File, com.example.app, node.id, ASP.NET and array.at(1)",
        "e.g. this, i.e. that. End.It starts again",
        "version 1.2.3.4, v1.2.3.4 and foo-1.2.3.4.tar.gz",
        "section 4.5.5.2 and § 7.1.1.2",
        "OID 1.3.6.1.4.1.311",
        "std::vector<a::b>, Dead::Beef at 12:30:45, mac 00:1a:2b:3c:4d:5e",
        "guid 00:02:c9:03:00:00:00:01",
        "commit 48e3e5e, uuid 550e8400-e29b-41d4-a716-446655440000",
        "0" * 32 + " and " + "f" * 40,
        "// a comment, a//b and http:// alone",
    ],
)
def test_versions_files_and_code_are_no_indicators(text: str) -> None:
    assert apply_indicators(text, "mask")[0] == text
    assert apply_indicators(text, "defang")[0] == text


@pytest.mark.parametrize(
    "text",
    [
        "Oracle Fusion Middleware 11.2.0.4, 12.1.0.1 and 12.1.0.2",
        "Supported versions that are affected are 10.3.6.0, 12.1.3.0 and 12.2.1.2.",
        "all versions up to, and including, 2.2.33.32 via",
        "Liferay Portal 7.4.3.21 through 7.4.3.50",
        "in Tenda AC500 2.0.1.9(1307)",
        "before 9.0.0.1, 8.0.0.1 and earlier",
        "firmware 1.0.0.8 allows",
        ">= 1.2.3.4 or <1.2.3.9",
    ],
)
def test_versions_of_four_numbers_stay_in_reports_of_weaknesses(text: str) -> None:
    assert find_addresses(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Failed password for root from 203.0.113.9 port 22 ssh2",
        "rhost=203.0.113.9  user=root",
        "Connection closed by 203.0.113.9 [preauth]",
        "LOGIN FROM 203.0.113.9,",
        "the firmware version calls http://203.0.113.9/x",
        "Address: 203.0.113.9",
        "src: /203.0.113.9:36059",
        "203.0.113.9 - - [10/Oct/2000] GET /",
        "(203.0.113.9)",
        "`203.0.113.9`",
        "update server 203.0.113.9:443",
    ],
)
def test_addresses_of_logs_and_reports_are_found(text: str) -> None:
    assert [text[span.start : span.end] for span in find_addresses(text)] == ["203.0.113.9"]


@given(PIECES)
def test_defanging_and_masking_twice_change_nothing_more(text: str) -> None:
    for policy in ("defang", "mask"):
        once, _ = apply_indicators(text, policy)  # type: ignore[arg-type]
        assert apply_indicators(once, policy) == (once, {})  # type: ignore[arg-type]


@given(PIECES)
def test_defanging_only_puts_brackets_and_x_in(text: str) -> None:
    once, _ = apply_indicators(text, "defang")

    def back(defanged: str) -> str:
        plain = defanged.replace("hxxp", "http").replace("fxp:", "ftp:")
        return plain.replace("[.]", ".").replace("[:]", ":")

    assert back(once) == back(text)


@given(PIECES)
def test_no_address_is_left_for_the_indicators_where_addresses_are_masked(text: str) -> None:
    hidden = mask(text, Privacy(ip=True)).text
    assert find_addresses(hidden) == []
    assert apply_indicators(hidden, "mask")[1]["ip"] == 0 or "ip" not in mask(hidden, Privacy(ip=True)).counts


@pytest.mark.parametrize(
    "piece", ["//", "http://", "a.", "1.", "[.]", "a::", "f:", ":", "192.0.2.1,", "http://)", "(", "."]
)
def test_text_made_to_be_slow_is_read_to_its_end(piece: str) -> None:
    for policy in ("defang", "mask"):
        once, _ = apply_indicators(piece * 20_000, policy)  # type: ignore[arg-type]
        assert apply_indicators(once, policy)[0] == once  # type: ignore[arg-type]


@pytest.mark.realdata
def test_what_is_found_in_real_logs_are_their_addresses(realdata: Path) -> None:
    text = (realdata / "logs/loghub_2k/OpenSSH/OpenSSH_2k.log").read_text()
    # No version of four numbers is in it, so that whatever has the form is an address.
    form = re.compile(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b")
    assert [text[span.start : span.end] for span in find_addresses(text)] == form.findall(text)
