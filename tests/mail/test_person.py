"""One person in the mail of others: found where they stand by themselves, and nobody else."""

from __future__ import annotations

import pytest

from ingestd.mail.person import ERASED_ADDRESS, Person, hash_of, replaced
from ingestd.mail.rewrite import rewrite

KEY = bytes(range(32))
ANNA = Person(KEY, hash_of(KEY, "anna@example.com"), ["Anna Smith"])


def erased(text: str) -> str:
    return replaced(text, ANNA.find(text))


@pytest.mark.parametrize(
    "text",
    [
        "joanna@example.com",
        "anna@example.com.example.org",
        "anna@example.co",
        "anna+x@example.com",
        "x.anna@example.com",
        "anna@@example.com",
        "Thanks to Anna Smith for it.",
        "Annabel Smithers wrote:",
        "Bob <bob@example.com> wrote to Anna Smith",
    ],
)
def test_what_is_another_or_no_attribution_stays(text: str) -> None:
    assert erased(text) == text


@pytest.mark.parametrize(
    "around", ["%s", "*%s*", "_%s_", "<mailto:%s?subject=x>", "user=%s&x", "(%s).", "%s's", "%s\n"]
)
def test_an_address_is_found_in_whatever_stands_around_it(around: str) -> None:
    assert erased(around % "Anna@Example.com") == around % ERASED_ADDRESS


@pytest.mark.parametrize(
    "line",
    [
        "On Mon, 2 Mar 2026 at 10:00, %s <anna@example.com> wrote:",
        "On Mon, 2 Mar 2026 at 10:00, %s\n<anna@example.com> wrote:",
        "> Am 2. März 2026 um 10:00 schrieb %s:",
        "Le lun. 2 mars 2026 à 10:00, %s <anna@example.com> a écrit :",
        "%s wrote:",
        "Von: %s",
        "*From:* %s\r",
        "2 марта 2026 г., 10:00, %s пишет:",
    ],
)
def test_the_name_goes_from_lines_that_introduce_a_quotation(line: str) -> None:
    assert erased(line % "Anna Smith") == (line % "[erased]").replace("anna@example.com", ERASED_ADDRESS)


def test_html_headers_and_encoded_words() -> None:
    raw = (
        b"From: bob@example.org\r\nTo: =?utf-8?q?Anna_Smith?= <anna@example.com>, Carla <carla@example.com>\r\n"
        b"Subject: Re: =?utf-8?q?f=C3=BCr_anna=40example=2Ecom?=\r\nReceived: from x for <anna@example.com>; now\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        b'<p>On 2 Mar 2026 at 10:00, <b>Anna Smith</b> &lt;<a href="mailto:anna%40example.com">anna&#64;example.com</a>'
        b"&gt; wrote:<br>Hello</p>"
    )
    done = rewrite(raw, ANNA.find, ANNA.field)
    assert done is not None
    assert b"nna" not in done
    assert done.count(ERASED_ADDRESS.encode()) >= 4
    assert b"Carla <carla@example.com>" in done
    assert b"<br>Hello</p>" in done
    assert rewrite(done, ANNA.find, ANNA.field) is None
