from __future__ import annotations

import pytest

from forja.corpus.credentials import entropy
from forja.corpus.privacy import mask
from forja.recipe import Privacy

HEX = "0123456789abcdef"
MIXED = "aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA" * 4


def masked(text: str) -> str:
    return mask(text, Privacy()).text


@pytest.mark.parametrize(
    "token",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + MIXED[:36],
        "github_pat_" + MIXED[:82],
        "glpat-" + MIXED[:20],
        "xoxb-" + "123456789012-" + MIXED[:24],
        "sk_live_" + MIXED[:24],
        "sk-" + MIXED[:48],
        "sk-ant-api03-" + MIXED[:93],
        "sk-proj-" + MIXED[:64],
        "AIza" + MIXED[:35],
        "ya29." + MIXED[:60],
        "npm_" + MIXED[:36],
        "pypi-AgE" + MIXED[:60],
        "123456789:AA" + MIXED[:33],
        "SK" + HEX * 2,
        "SG." + MIXED[:22] + "." + MIXED[:43],
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + MIXED[:43],
        "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7,
        "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
        "$2y$10$" + MIXED[:53],
        "$6$saltsalt$" + MIXED[:86],
        "$apr1$salt1234$" + MIXED[:22],
        "{SSHA}" + MIXED[:32],
        "$argon2id$v=19$m=65536,t=3,p=4$" + MIXED[:22] + "$" + MIXED[:43],
    ],
)
def test_a_token_is_known_by_its_form(token: str) -> None:
    assert masked(f"it says {token} there") == "it says <secret> there"
    assert masked(f'"{token}",') == '"<secret>",'


@pytest.mark.parametrize(
    "kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]
)
def test_a_private_key_goes_with_all_its_lines(kind: str) -> None:
    lines = "\n".join([MIXED[:64]] * 20)
    assert masked(f"a\n-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\nb") == "a\n<secret>\nb"


def test_a_private_key_without_its_last_line_goes_as_far_as_it_looks_like_one() -> None:
    lines = "\n".join([MIXED[:64]] * 3)
    assert masked(f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\nThat was all.") == "<secret>\nThat was all."


def test_a_pgp_key_and_one_written_in_json_go_whole() -> None:
    pgp = (
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 2\n\n{MIXED[:64]}\n=aB3d\n-----END PGP PRIVATE KEY BLOCK-----"
    )
    assert masked(pgp) == "<secret>"
    json = f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{MIXED[:64]}\\n-----END PRIVATE KEY-----\\n"}}'
    assert masked(json) == '{"private_key": "<secret>\\n"}'


def test_certificates_and_public_keys_stay() -> None:
    text = f"-----BEGIN CERTIFICATE-----\n{MIXED[:64]}\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----"
    assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('password = "letmein!"', 'password = "<secret>"'),
        ('"password": "p@$$w0rd(1)"', '"password": "<secret>"'),
        ("DB_PASSWORD='hunter2'", "DB_PASSWORD='<secret>'"),
        ('{"password": "hunter2", "user": "a"}', '{"password": "<secret>", "user": "a"}'),
        ("password=Tr0ub4dor&3x=1", "password=<secret>&3x=1"),
        (f"api_key: {MIXED[:32]}", "api_key: <secret>"),
        (f"aws_secret_access_key = {MIXED[:20]}/{MIXED[:19]}", "aws_secret_access_key = <secret>"),
        (f"AccountKey={MIXED[:86]}==;EndpointSuffix=core", "AccountKey=<secret>;EndpointSuffix=core"),
        (f"Authorization: Bearer {MIXED[:40]}", "Authorization: Bearer <secret>"),
        ("Authorization: Basic YWRtaW46aHVudGVyMg==", "Authorization: Basic <secret>"),
        ("https://me:hunter2@host.example/a", "https://<secret>@host.example/a"),
        ("postgres://app:s3cret@db:5432/x", "postgres://<secret>@db:5432/x"),
        (
            f"https://hooks.slack.com/services/T0000000A/B0000000B/{MIXED[:24]}",
            "https://hooks.slack.com/services/<secret>",
        ),
    ],
)
def test_what_is_given_to_a_password_or_key_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "password: the user must choose one of 12 characters",
        'password = os.environ["DB_PASSWORD"]',
        "password=${DB_PASSWORD}, token=%s, secret={{ vault }}",
        'password = "<password>" or "your-password-here" or "********"',
        '{"type": "password", "name": "token", "secret": "string"}',
        "api_key = get_key(1)",
        'f\'{{"password":"{new_password}"}}\'',
        "login?user='1'&password='%20or%20'1'='1",
        "fetch(url, {credentials: 'same-origin'})",
        "Bad activity token: android.os.BinderProxy@2bd79ce",
        "the key: value pairs; a bypass: 12345abc works",
        "CSRF token: abc",
        "def f(password: str, token: Optional[str]) -> None:",
        "sk-learn-contrib-lightning-and-more-packages",
        "it costs $5 or $10$",
        "commit 48e3e5e7ead6777fa75d57c7711c8e55b501c24e",
        "http://host:8080/@scope",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_only_speaks_of_secrets_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "text",
    ["eyJ" * 100_000, "sk-" * 100_000, "-----BEGIN PRIVATE KEY-----" * 5_000, "password=" * 20_000, "$1$" * 100_000],
)
def test_text_made_to_be_slow_is_read_to_its_end(text: str) -> None:
    once = masked(text)
    assert len(once) <= len(text)
    assert masked(once) == once


def test_entropy_is_shannon_s() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
