"""What servers' words mean: the table of phrases, statuses and reply codes."""

from __future__ import annotations

import time

import pytest

from ingestd.mail.bounce_status import judge
from ingestd.mail.phrases import Phrases, prepare


@pytest.mark.parametrize(
    ("words", "status", "hard"),
    [
        ("user unknown", "5.1.1", True),
        ("550 the mailbox jane@example.org does not exist", "5.1.1", True),
        ("mailbox full", "5.2.2", False),
        ("452 mailbox full", "4.2.2", False),
        ("message is too big", "5.3.4", False),
        ("host unknown", "5.1.2", True),
        ("the domain nowhere.example does not exist", "5.1.2", True),
        ("an MX or SRV record indicated no SMTP service", "5.1.10", True),
        ("message expired", "5.4.7", False),
        ("relaying denied", "5.7.1", False),
        ("554 rejected as spam", "5.7.1", False),
        ("550 account disabled", "5.2.1", False),
        ("mail loop detected", "5.4.6", False),
        ("451 greylisted, try again later", "4.4.5", False),
        ("something else", "5.0.0", False),
        ("550 Sender address rejected: Domain not found", "5.7.1", False),
        ("550 5.4.4 Invalid domain", "5.4.4", True),
        ("550 5.4.1 Recipient address rejected: Access denied", "5.4.1", True),
        ("this address has moved", "5.1.6", True),
    ],
)
def test_the_table_of_phrases(words: str, status: str, hard: bool) -> None:
    verdict = judge("", words)
    assert (verdict.status, verdict.hard) == (status, hard)
    assert verdict.derived == (status not in words)


def test_a_number_is_no_reply_code() -> None:
    assert (
        judge("", "the limit of 500 MB, 450 messages; see https://example.com/codes#554 and 192.0.2.550").reply_code
        == ""
    )


def test_the_class_of_a_derived_status_is_the_servers_intent() -> None:
    assert judge("", "mailbox full", delayed=True).status == "4.2.2"
    assert judge("", "mailbox temporarily full").status == "4.2.2"
    assert judge("", "this is a permanent error: mailbox temporarily full").status == "5.2.2"


def test_phrases_end_with_the_sentence() -> None:
    phrases = Phrases("bin … nicht im büro | _spf_")
    assert phrases.search(prepare("Ich bin bis zum 5. Mai nicht im Büro.", 100))
    assert not phrases.search(prepare("Ich bin da. Er ist nicht im Büro.", 100))
    assert not phrases.search(prepare("spfx", 100))


@pytest.mark.parametrize("text", ["mailbox " * 50_000, "a" * 400_000, "user mailbox address " * 20_000, ". " * 200_000])
def test_no_text_makes_phrases_slow(text: str) -> None:
    begun = time.process_time()
    judge("", text)
    assert time.process_time() - begun < 0.5
