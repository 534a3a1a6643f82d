from __future__ import annotations

import io
import time
import zipfile
from collections import Counter
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forja.corpus.sources.mail import read_eml, read_mbox, render_mail
from forja.corpus.sources.record import Record
from forja.errors import ForjaError
from forja.recipe import Source

SOURCE = Source(path="mail")


def message(body: str = "Hello.\n> quoted\n", **headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ana Núñez <Ana@Example.org>"
    mail["Subject"] = headers.pop("subject", "Grüße aus Köln")
    mail["Date"] = "Tue, 05 Mar 2024 10:00:00 +0100"
    mail["Message-ID"] = headers.pop("message_id", "<one@example.org>")
    mail.set_content(body)
    return mail


def render(raw: bytes) -> Record:
    (record,) = read_eml(io.BytesIO(raw), "a.eml", SOURCE, 1 << 20)
    return render_mail(record)


def mbox(*mails: EmailMessage) -> bytes:
    mark = b"From ana@example.org Tue Mar  5 10:00:00 2024\n"
    return b"".join(mark + mail.as_bytes().replace(b"\nFrom ", b"\n>From ") + b"\n" for mail in mails)


def read(data: bytes, max_bytes: int = 1 << 20) -> list[Record]:
    return list(read_mbox(io.BytesIO(data), "a.mbox", SOURCE, max_bytes))


# --- messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_mail_becomes_its_subject_and_its_text(line_end: bytes) -> None:
    record = render(message().as_bytes().replace(b"\n", line_end))
    assert record.text == "Subject: Grüße aus Köln\n\nHello.\n> quoted"
    assert record.author == "ana@example.org"
    assert record.date == "2024-03-05T10:00:00+01:00"
    assert record.meta == {"subject": "Grüße aus Köln", "message-id": "one@example.org"}
    assert "ana" not in (record.text or "").lower()


def test_plain_text_is_preferred_to_html() -> None:
    mail = message("The plain one.")
    mail.add_alternative("<p>The <b>rich</b> one.</p>", subtype="html")
    assert "The plain one." in (render(mail.as_bytes()).text or "")
    assert "rich" not in (render(mail.as_bytes()).text or "")


def test_html_is_read_where_there_is_nothing_else() -> None:
    mail = message()
    mail.set_content("<html><body><p>Only <b>rich</b> &amp; nothing else.</p></body></html>", subtype="html")
    assert "Only rich & nothing else." in (render(mail.as_bytes()).text or "")


def test_attachments_are_named_and_not_opened() -> None:
    mail = message("See attached.")
    mail.add_attachment(b"MZ\x90 secret bytes", maintype="application", subtype="octet-stream", filename="Rückruf.exe")
    mail.add_attachment("text that is attached", filename="notes.txt")
    text = render(mail.as_bytes()).text or ""
    assert "[attachment: Rückruf.exe]\n[attachment: notes.txt]" in text
    assert "secret" not in text
    assert "text that is attached" not in text


@pytest.mark.parametrize("charset", ["iso-8859-15", "utf-16", "koi8-r", "shift_jis"])
def test_a_body_is_decoded_as_it_says(charset: str) -> None:
    said = {"iso-8859-15": "zehn €", "utf-16": "größer", "koi8-r": "привет", "shift_jis": "こんにちは"}[charset]
    mail = message()
    mail.set_content(said, charset=charset, cte="base64")
    assert said in (render(mail.as_bytes()).text or "")


@pytest.mark.parametrize("charset", ["x-unknown", "punycode", "idna", "zlib", "hex", "", "utf-8; drop"])
def test_a_charset_that_is_none_is_guessed(charset: str) -> None:
    raw = f'Subject: x\nContent-Type: text/plain; charset="{charset}"\n\nHällo, Wörld of ünknown.\n'.encode()
    assert "Hällo, Wörld of ünknown." in (render(raw).text or "")


def test_headers_that_are_not_ascii_and_dates_that_are_none_do_not_matter() -> None:
    record = render("Subject: Grüße\nDate: the other day\nFrom: nobody\n\ntext\n".encode("latin-1"))
    assert record.meta["subject"] == "Grüße"
    assert (record.date, record.author) == (None, None)


def test_what_is_no_mail_is_rejected() -> None:
    assert render(b"\n\njust some text").reason == "not-mail"
    assert [record.reason for record in read_eml(io.BytesIO(b" \n"), "a", SOURCE, 100)] == ["empty"]
    assert [record.reason for record in read_eml(io.BytesIO(b"a: b\n\n" * 99), "a", SOURCE, 100)] == ["too-long"]


# --- hostile ones ----------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    heads = "".join(f'Content-Type: multipart/mixed; boundary="b{level}"\n\n--b{level}\n' for level in range(levels))
    return f"Subject: deep\n{heads}Content-Type: text/plain\n\nthe bottom\n".encode()


def test_parts_nested_deep_are_left_out() -> None:
    assert "the bottom" in (render(nested(5)).text or "")
    assert render(nested(5000)).text == "Subject: deep"


def test_hostile_mails_cost_no_more_than_their_length() -> None:
    many_parts = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 50_000
    long_header = b"Content-Type: text/plain" + b"; a=b" * 100_000 + b"\n\ntext"
    long_subject = b"Subject: " + b"=?a?q?" * 100_000 + b"\n\ntext"
    many_headers = b"a: b\n" * 100_000 + b"\ntext"
    address = b"From: " + b"(" * 300_000 + b"\n\ntext"
    start = time.process_time()
    for raw in (many_parts, long_header, long_subject, many_headers, address, nested(20_000)):
        render(raw)
    assert time.process_time() - start < 10


# --- mbox ------------------------------------------------------------------------------------


def test_an_mbox_gives_its_messages_under_lasting_names() -> None:
    one = message("First.\n\nFrom here on it is text.\n", message_id="<1@x>")
    two = message("Second.\n", message_id="<2@x>")
    both, alone = read(mbox(one, two)), read(mbox(two))
    assert [render_mail(record).text for record in both] == [
        "Subject: Grüße aus Köln\n\nFirst.\n\nFrom here on it is text.",
        "Subject: Grüße aus Köln\n\nSecond.",
    ]
    assert both[1].origin == alone[0].origin
    assert both[0].origin != both[1].origin
    assert "@" not in both[0].origin


def test_an_mbox_cut_in_the_middle_gives_what_is_there() -> None:
    data = mbox(*(message(f"Mail {number}.\n") for number in range(3)))
    records = read(data[: data.index(b"Mail 2") + 3])
    assert len(records) == 3
    assert "Mail 1." in (render_mail(records[1]).text or "")


def test_a_mail_that_is_too_long_is_passed_over() -> None:
    records = read(mbox(message("long\n" * 20_000), message("short\n")), max_bytes=10_000)
    assert [record.reason for record in records] == ["too-long", None]
    assert len(records[0].raw) <= 1024


def test_what_stands_before_the_first_message_is_rejected_and_no_message_at_all_is_an_error() -> None:
    records = read(b"garbage\n\n" + mbox(message()))
    assert [record.reason for record in records] == ["not-mail", None]
    with pytest.raises(ForjaError, match="not an mbox"):
        read(b"garbage\nwithout a beginning\n")


WHOLE = mbox(*(message(f"This is mail {number}.\n", message_id=f"<{number}@x>") for number in range(5)))
TEXTS = {render_mail(record).text for record in read(WHOLE)}


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_cut_or_inserted_piece_costs_at_most_the_mails_it_touches(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(WHOLE) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    mutated = bytearray(WHOLE)
    if kind == "flip":
        mutated[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del mutated[place : place + data.draw(st.integers(1, 40))]
    else:
        mutated[place:place] = data.draw(st.binary(max_size=40))
    texts = {render_mail(record).text for record in read(bytes(mutated)) if record.reason is None}
    assert len(TEXTS - texts) <= 2


RICH = message("Plain.")
RICH.add_alternative("<p>Rich &amp; more</p>", subtype="html")
RICH.add_attachment(b"\0\1\2", maintype="image", subtype="png", filename="ä.png")
RICH_BYTES = RICH.as_bytes(policy=SMTP)


@settings(max_examples=400)
@given(st.data())
def test_no_mutation_of_a_mail_makes_rendering_raise(data: st.DataObject) -> None:
    mutated = bytearray(RICH_BYTES)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            mutated[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del mutated[place : place + data.draw(st.integers(1, 30))]
        else:
            mutated[place:place] = data.draw(st.binary(max_size=30))
    record = render_mail(Record("a", bytes(mutated), "mail"))
    assert record.reason is not None or record.text


# --- real mails ------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_mails_are_read_the_malformed_ones_among_them(realdata: Path) -> None:
    reasons: Counter[str | None] = Counter()
    with zipfile.ZipFile(realdata / "corpora/raw/email/spamassassin_test_mails.zip") as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                for record in read_eml(file, name, SOURCE, 1 << 22):
                    reasons[render_mail(record).reason] += 1
    # One is a list of addresses under a mail's name.
    assert reasons == {None: 104, "empty": 1}
    with open(realdata / "corpora/raw/email/nice.mbox", "rb") as file:
        records = list(read_mbox(file, "nice.mbox", SOURCE, 1 << 22))
    assert [render_mail(record).author for record in records] == [
        "evolve@ximian.com",
        "nsb@thumper.bellcore.com",
        "julliard@winehq.com",
    ]
