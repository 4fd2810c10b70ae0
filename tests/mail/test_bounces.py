"""Bounces and delay notices: by report, by text, by server; and what looks like one."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.mail.bounces import read_bounce
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.mime import read_tree
from ingestd.mail.parse import parse
from ingestd.mail.types import BounceInfo, Kind, ParsedMail
from tests.mail.bounce_samples import RETURNED, SERVERS, Sample
from tests.mail.bounce_samples_services import SERVICES

SAMPLES = (*SERVERS, *SERVICES)

Said = tuple[tuple[str, str, str, str], ...]


def message(header: str, text: str) -> ParsedMail:
    fields = f"{header}To: support@example.com\nContent-Type: text/plain; charset=utf-8\n\n{text}"
    return parse(fields.replace("\n", "\r\n").encode())


def report(*groups: str, notice: str = "It failed.", returned: str = RETURNED) -> ParsedMail:
    text = (
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nReturn-Path: <>\nSubject: Undelivered Mail\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\n\n{notice}\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        + "\n\n".join(groups)
        + f"\n\n--b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n"
    )
    return parse(text.replace("\n", "\r\n").encode())


def bounce_of(mail: ParsedMail) -> BounceInfo:
    assert mail.bounce is not None
    return mail.bounce


def said(mail: ParsedMail) -> Said:
    return tuple(
        (one.recipient, one.status, one.reply_code, "hard" if one.hard else "soft") for one in bounce_of(mail).failures
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_notice_without_a_report(sample: Sample) -> None:
    mail = message(sample.header, sample.text)
    assert mail.kind is Kind.BOUNCE
    assert said(mail) == sample.expected
    if sample.text.endswith(RETURNED):
        assert bounce_of(mail).original_message_ids[:1] == ("<ours@example.com>",)
    assert mail.evidence


# What Exchange says in its users' languages, where no code was left.
LOCALIZED = {
    "en": ("Undeliverable: x", "Delivery has failed to these recipients or groups:", "The address wasn't found."),
    "ru": ("Не удается доставить: x", "Не удалось доставить следующим получателям или группам:", "Адрес не найден."),
    "uk": ("Не вдалося доставити: x", "Не вдалося доставити таким одержувачам або групам:", "Адресу не знайдено."),
    "de": ("Unzustellbar: x", "Fehler bei der Nachrichtenzustellung an folgende Empfänger:", "Adresse nicht gefunden."),
    "fr": ("Non remis : x", "Échec de la remise à ces destinataires ou groupes :", "Destinataire inconnu."),
    "es": ("No se puede entregar: x", "Error al entregar a estos destinatarios o grupos:", "El usuario no existe."),
    "pt": ("Não Entregue: x", "A entrega falhou para estes destinatários ou grupos:", "O endereço não existe."),
    "it": ("Non recapitabile: x", "Recapito non riuscito per i seguenti destinatari:", "L'utente non esiste."),
    "pl": ("Nie można dostarczyć: x", "Dostarczenie do tych adresatów nie powiodło się:", "Nie znaleziono adresu."),
    "nl": ("Onbestelbaar: x", "Bezorging is mislukt bij de volgende geadresseerden:", "Het adres is niet gevonden."),
    "tr": ("Teslim edilemedi: x", "Şu alıcılara veya gruplara teslim edilemedi:", "Adres bulunamadı."),
    "zh": ("无法传递: x", "无法传递到以下收件人或组:", "找不到您输入的电子邮件地址。"),
    "ja": ("配信不能: x", "次の受信者またはグループへの配信に失敗しました:", "アドレスが見つかりませんでした。"),
    "ko": ("배달되지 않음: x", "다음 받는 사람 또는 그룹에게 배달하지 못했습니다:", "주소를 찾을 수 없습니다."),
}


@pytest.mark.parametrize("language", LOCALIZED)
def test_a_localized_notice_without_codes(language: str) -> None:
    subject, sentence, reason = LOCALIZED[language]
    mail = message(
        f"From: Microsoft Outlook <postmaster@example.net>\nReturn-Path: <>\nSubject: {subject}\n",
        f"{sentence}\n\njane@example.org\n{reason}\n",
    )
    assert mail.kind is Kind.BOUNCE
    assert said(mail) == (("jane@example.org", "5.1.1", "", "hard"),)


def test_a_daemon_that_writes_an_unknown_language_is_read_by_its_numbers() -> None:
    mail = message("From: MAILER-DAEMON@example.net\nSubject: Thông báo\n", "jane@example.org: 550 5.1.1 hộp thư\n")
    assert said(mail) == (("jane@example.org", "5.1.1", "550", "hard"),)


@pytest.mark.parametrize("newline", ["\n", "\r"])
def test_other_line_ends_change_nothing(newline: str) -> None:
    sample = SAMPLES[0]
    raw = f"{sample.header}\n{sample.text}".replace("\n", newline).encode()
    assert said(parse(raw)) == sample.expected


def group(status: str, diagnostic: str = "", action: str = "failed") -> str:
    fields = ["Final-Recipient: rfc822; jane@example.org", f"Action: {action}"]
    fields += [f"Status: {status}"] if status else []
    fields += [f"Diagnostic-Code: smtp; {diagnostic}"] if diagnostic else []
    return "\n".join(fields) + "\n"


FAILED = group("5.1.1")


@pytest.mark.parametrize(
    ("status", "diagnostic", "notice", "expected"),
    [
        ("5.1.1", "550 5.1.1 <jane@example.org>: User unknown", "", ("5.1.1", "550", "hard")),
        # Sendmail says 5.1.1 of everything that is refused after RCPT: the other server's words are more exact.
        ("5.1.1", "550 5.7.1 IP address blacklisted by recipient", "", ("5.7.1", "550", "soft")),
        ("5.1.1", "552 5.2.2 Over quota", "", ("5.2.2", "552", "soft")),
        # RFC 3463 §3.5: rather the code of the actual problem than 4.4.7.
        ("4.4.7", "554 4.4.7 Message expired.<421 4.4.2 Connection timed out>", "", ("4.4.2", "421", "soft")),
        # OpenSMTPD: the report is general, and the notice says it.
        ("5.0.0", "", "jane@example.org: 550 5.7.25 Reverse DNS validation failed", ("5.7.25", "550", "soft")),
        # Gmail: a general status, and a reason for people.
        ("5.0.0", "", "It wasn't delivered to jane@example.org: the address couldn't be found.", ("5.0.0", "", "hard")),
        ("5.2.1", "550 5.2.1 disabled", "", ("5.2.1", "550", "soft")),
        # The sender's domain does not exist, not the recipient's.
        ("5.1.8", "553 5.1.8 Domain of sender address does not exist", "", ("5.1.8", "553", "soft")),
        # A version number and an address are no status.
        ("", "rejected by Exchange 5.5.2653.19 at 4.5.1.2, Exim 4.92.3", "", ("5.0.0", "", "soft")),
        ("", "451 4.7.1 Greylisted", "", ("4.7.1", "451", "soft")),
    ],
)
def test_the_most_exact_of_what_is_said_counts(
    status: str, diagnostic: str, notice: str, expected: tuple[str, str, str]
) -> None:
    mail = report(group(status, diagnostic), notice=notice)
    assert mail.kind is Kind.BOUNCE
    assert said(mail) == (("jane@example.org", *expected),)
    assert mail.evidence == ("part message/delivery-status", "null return path")


def test_each_recipient_has_a_fate_of_its_own() -> None:
    mail = report(
        FAILED,
        "Final-Recipient: rfc822; slow@example.org\nAction: delayed\nStatus: 4.4.1",
        "Final-Recipient: rfc822; well@example.org\nAction: relayed\nStatus: 2.0.0",
    )
    bounce = bounce_of(mail)
    assert mail.kind is Kind.BOUNCE
    assert [(one.recipient, one.action, one.permanent) for one in bounce.failures] == [
        ("jane@example.org", "failed", True),
        ("slow@example.org", "delayed", False),
    ]
    assert (bounce.recipients, bounce.status) == (("jane@example.org", "slow@example.org"), ("5.1.1", "4.4.1"))


def test_two_groups_without_an_empty_line_are_two() -> None:
    """AOL writes them so."""
    mail = report(FAILED + FAILED.replace("jane", "joe").replace("5.1.1", "5.2.2"))
    assert said(mail) == (("jane@example.org", "5.1.1", "", "hard"), ("joe@example.org", "5.2.2", "", "soft"))


@pytest.mark.parametrize(
    ("fields", "recipient", "final"),
    [
        ("Original-Recipient: rfc822; jane@example.org\nFinal-Recipient: rfc822; j.doe@corp.example.org",
         "jane@example.org", "j.doe@corp.example.org"),
        ("Original-Recipient: rfc822;unknown\nFinal-Recipient: rfc822; JANE@Example.org",
         "jane@example.org", "jane@example.org"),
        ('Final-Recipient: rfc822; "odd..name"@example.org', '"odd..name"@example.org', '"odd..name"@example.org'),
        (r"Final-Recipient: utf-8; j\x{F6}rg@example.org", "jörg@example.org", "jörg@example.org"),
        ("Final-Recipient: X-Unix; |/usr/bin/procmail\nOriginal-Recipient: rfc822;jane@example.org",
         "jane@example.org", "jane@example.org"),
        ("Final-Recipient: rfc822; <jane@example.org>", "jane@example.org", "jane@example.org"),
    ],
)  # fmt: skip
def test_the_recipient_is_who_was_written_to(fields: str, recipient: str, final: str) -> None:
    """An alias leads elsewhere: the helpdesk knows the address that it wrote to (RFC 3464 §2.3.1)."""
    (one,) = bounce_of(report(fields + "\nAction: failed\nStatus: 5.1.1")).failures
    assert (one.recipient, one.final_recipient) == (recipient, final)


def test_postfix_tells_an_alias_in_the_notice() -> None:
    notice = "<j.doe@corp.example.org> (expanded from <jane@example.org>): host mx.example.org said: 550 5.1.1 unknown"
    mail = report("Final-Recipient: rfc822; j.doe@corp.example.org\nAction: failed\nStatus: 5.1.1", notice=notice)
    assert said(mail) == (("jane@example.org", "5.1.1", "550", "hard"),)


def test_a_report_whose_boundary_is_broken() -> None:
    mail = message(
        "From: MAILER-DAEMON@mx.example.net\nSubject: Returned mail\n",
        f"It failed.\n\nReporting-MTA: dns; mx.example.net\n\n{FAILED}\n{RETURNED}",
    )
    assert said(mail) == (("jane@example.org", "5.1.1", "", "hard"),)
    assert "fields of a delivery report in the text" in mail.evidence


def test_amazon_tells_it_in_json() -> None:
    told = {
        "notificationType": "Bounce",
        "bounce": {
            "bouncedRecipients": [
                {
                    "emailAddress": "jane@example.org",
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ]
        },
        "mail": {"commonHeaders": {"messageId": "<ours@example.com>"}},
    }
    mail = message("From: SES <no-reply@sns.amazonaws.com>\nSubject: AWS Notification Message\n", json.dumps(told))
    assert mail.kind is Kind.BOUNCE
    assert said(mail) == (("jane@example.org", "5.1.1", "550", "hard"),)
    assert bounce_of(mail).original_message_ids == ("<ours@example.com>",)


@pytest.mark.parametrize(
    "told", ["{", '{"notificationType":[' + "[" * 9000, '{"notificationType":"Bounce","bounce":3}']
)
def test_broken_json_is_no_bounce(told: str) -> None:
    assert message("From: SES <no-reply@sns.amazonaws.com>\nSubject: x\n", told).kind is Kind.CUSTOMER


EXIM_DELAY = """This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.example.net.

The address to which the message has not yet been delivered is:

  jane@example.org
    Delay reason: 450 4.2.2 mailbox full

No action is required on your part.
"""
GMAIL_DELAY = """THIS IS A WARNING MESSAGE ONLY.

Delivery to the following recipient has been delayed:

     jane@example.org

Message will be retried for 2 more day(s)

450 4.2.2 Mailbox Full
"""
SENDMAIL_DELAY = """    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **********************************************

   ----- The following addresses had transient non-fatal errors -----
<jane@example.org>

   ----- Transcript of session follows -----
<jane@example.org>... Deferred: 450 4.2.2 mailbox full
Warning: message still undelivered after 4 hours
"""


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Warning: message 1kSH9d-0005pw-05 delayed 24 hours", EXIM_DELAY),
        ("Delivery Status Notification (Delay)", GMAIL_DELAY),
        ("Warning: could not send message for past 4 hours", SENDMAIL_DELAY),
    ],
)
def test_a_delay_is_no_bounce(subject: str, text: str) -> None:
    mail = message(f"From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nSubject: {subject}\n", text)
    assert mail.kind is Kind.DELAY_NOTICE
    (one,) = bounce_of(mail).failures
    assert (one.action, one.status, one.permanent, one.hard) == ("delayed", "4.2.2", False, False)


def test_a_server_that_gave_up_says_suspended_too() -> None:
    mail = message(
        "From: MAILER-DAEMON@mx.example.net\nSubject: Undelivered Mail Returned to Sender\n",
        "<jane@example.org>: delivery temporarily suspended: connect to mx.example.org: Connection refused\n",
    )
    assert mail.kind is Kind.BOUNCE
    assert bounce_of(mail).failures[0].action == "failed"


def test_a_delay_by_report() -> None:
    mail = report(FAILED.replace("failed", "delayed").replace("5.1.1", "4.4.1"))
    assert mail.kind is Kind.DELAY_NOTICE
    assert bounce_of(mail).failures[0].action == "delayed"


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_a_report_of_success_is_a_receipt(action: str) -> None:
    mail = report(FAILED.replace("failed", action).replace("5.1.1", "2.0.0"))
    assert (mail.kind, mail.bounce) == (Kind.RECEIPT, None)


def test_an_expired_message_is_failed_though_its_cause_is_temporary() -> None:
    """The server gave it up (RFC 3464 §2.3.3): it is lost, whatever the class of the status."""
    (one,) = bounce_of(report("Final-Recipient: rfc822; jane@example.org\nAction: failed\nStatus: 4.4.7")).failures
    assert (one.action, one.status, one.permanent) == ("failed", "4.4.7", False)


def test_ids_and_tokens_of_the_returned_header() -> None:
    token = "b" * 52
    returned = f"Message-ID:\n <ours@example.com>\nX-Ingestd-Id: {token}\n\nMessage-ID: <in-the-body@example.com>\n"
    bounce = bounce_of(report(FAILED, returned=returned))
    assert bounce.original_message_ids == ("<ours@example.com>",)
    assert bounce.own_tokens == (token,)


HOSTILE = (
    "<a@example.com>:\n" * 20_000,
    "a" * 500_000,
    "550 5.1.1 " * 60_000,
    "-" * 400_000,
    "-- \n" * 100_000,
    "a@" * 200_000,
    "mailbox quota exceeded user unknown sender rejected from " * 10_000,
    "Final-Recipient: rfc822; a@example.com\n" * 20_000,
    "\n".join(f"Final-Recipient: rfc822; a{number}@example.com\nAction: failed" for number in range(20_000)),
    "".join(f"a{number}@example.com\nuser mailbox address domain message\n" for number in range(20_000)),
    "Received: x\n--- original message ---\n" * 20_000,
    "Message-ID: <" * 50_000,
    ("Diagnostic-Code: smtp; " + "user " * 500 + "\n") * 300,
    '{"notificationType":' + "[" * 200_000,
    "(expanded from <" * 40_000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_notice_costs_little(text: str) -> None:
    header = b"From: MAILER-DAEMON@mx.example.net\nReturn-Path: <>\nSubject: failure notice\n"
    plain = header + b"\n" + text.encode()
    parted = (
        header
        + b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        + f"{FAILED}\n{text}\n--b\nContent-Type: message/rfc822\n\n{text}\n--b--\n".encode()
    )
    for raw in (plain, parted):
        root, _, _ = read_tree(raw, DEFAULT_LIMITS)
        begun = time.process_time()
        notice = read_bounce(raw, root, root.walk(), text)
        assert time.process_time() - begun < 1.5
        assert notice is not None
        assert len(notice.info.failures) <= 100
        assert all(len(one.diagnostic) <= 1000 for one in notice.info.failures)


WORDS = [
    "jane@example.org",
    "<",
    ">",
    ":",
    "\n",
    "\n\n",
    " ",
    ";",
    "550",
    "5.1.1",
    "4.4.7",
    "user unknown",
    "--- ",
    "\u0130",
]
FIELDS = ["Received: x\n", "Message-ID: <a@b>\n", "Final-Recipient: rfc822;", "Action: failed\n", "Status: "]
OTHERS = ["Diagnostic-Code: smtp; ", "\\x{110000}", "(expanded from <", "did not reach the following recipient(s):"]
PIECES = st.sampled_from([*WORDS, *FIELDS, *OTHERS])


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=40).map("".join), st.lists(PIECES, max_size=20).map("".join))
def test_any_notice_is_read(text: str, group: str) -> None:
    for mail in (
        message("From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n", text),
        report(group, notice=text),
    ):
        for one in mail.bounce.failures if mail.bounce is not None else ():
            assert one.recipient
            assert one.status[:1] in ("2", "4", "5")
            assert one.permanent == one.status.startswith("5")
            assert one.permanent or not one.hard
