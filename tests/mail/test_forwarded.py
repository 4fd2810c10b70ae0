"""Who wrote a message that an agent passed on, by client and language; and what is no forward at all."""

from __future__ import annotations

import base64

import pytest

from ingestd.mail.parse import parse
from ingestd.mail.types import Address

JANE = Address("jane@example.com", "Jane Doe")
AGENT = b"From: Agent <agent@example.net>\r\nTo: support@example.net\r\nMessage-ID: <1@example.net>\r\n"


def forwarded(subject: str, body: str, content_type: str = "text/plain") -> Address | None:
    raw = AGENT + f"Subject: {subject}\r\nContent-Type: {content_type}; charset=utf-8\r\n\r\n{body}".encode()
    return parse(raw).forwarded_from


GMAIL = """Please help her.

---------- Forwarded message ---------
From: Jane Doe <jane@example.com>
Date: Mon, 2 Mar 2026 at 10:00
Subject: Printer
To: Agent <agent@example.net>


It does not print.
"""
APPLE = """FYI

Begin forwarded message:

From: Jane Doe <jane@example.com>
Subject: Printer
Date: 2 March 2026 at 10:00:00 CET
To: agent@example.net

It does not print.
"""
APPLE_QUOTED = """> Begin forwarded message:
>
> From: Jane Doe <jane@example.com>
> Subject: Printer
> To: agent@example.net
>
> It does not print.
"""
OUTLOOK = """See below.

________________________________
From: Jane Doe <jane@example.com>
Sent: Monday, March 2, 2026 10:00 AM
To: Agent <agent@example.net>
Subject: Printer

It does not print.
"""
OUTLOOK_OLD = """-----Original Message-----
From: Jane Doe [mailto:jane@example.com]
Sent: Monday, March 2, 2026 10:00 AM
To: Agent
Subject: Printer

It does not print.
"""
OUTLOOK_MAC = """From: Jane Doe <jane@example.com<mailto:jane@example.com>>
Date: Monday, 2 March 2026 at 10:00
To: Agent <agent@example.net<mailto:agent@example.net>>
Subject: Printer

It does not print.
"""
THUNDERBIRD = """-------- Forwarded Message --------
Subject: \tPrinter
Date: \tMon, 2 Mar 2026 10:00:00 +0100
From: \tJane Doe <jane@example.com>
To: \tagent@example.net

It does not print.
"""
YAHOO = """----- Forwarded Message -----
From: "Jane Doe" <jane@example.com>
To: "agent@example.net" <agent@example.net>
Sent: Monday, March 2, 2026, 10:00:00 AM GMT+1
Subject: Printer

It does not print.
"""
NOTES = """----- Forwarded by Agent/ACME on 03/02/2026 10:00 AM -----

From:\tJane Doe <jane@example.com>
To:\tagent@example.net
Date:\t03/02/2026 09:58 AM
Subject:\tPrinter

It does not print.
"""
YANDEX = """-------- Пересылаемое сообщение --------
02.03.2026, 10:00, "Jane Doe" <jane@example.com>:

Не печатает.
"""
YANDEX_LABELS = """-------- Начало переадресованного сообщения --------
От кого: Jane Doe <jane@example.com>
Кому: agent@example.net
Тема: Принтер

Не печатает.
"""
MAIL_RU = """-------- Пересылаемое сообщение --------
От: Jane Doe <jane@example.com>
Кому: agent@example.net
Дата: понедельник, 2 марта 2026, 10:00 +03:00
Тема: Принтер

Не печатает.
"""
UKRAINIAN = """---------- Переслане повідомлення ---------
Від: Jane Doe <jane@example.com>
Дата: пн, 2 бер. 2026 р. о 10:00
Тема: Принтер
Кому: <agent@example.net>

Не друкує.
"""
GERMAN = """Bitte übernehmen.

Von: Jane Doe <jane@example.com>
Gesendet: Montag, 2. März 2026 10:00
An: Agent <agent@example.net>
Betreff: Drucker

Er druckt nicht.
"""
GMX = """Gesendet: Montag, 02. März 2026 um 10:00 Uhr
Von: "Jane Doe" <jane@example.com>
An: agent@example.net
Betreff: Drucker

Er druckt nicht.
"""
FRENCH = """________________________________
De : Jane Doe <jane@example.com>
Envoyé : lundi 2 mars 2026 10:00
À : Agent <agent@example.net>
Objet : Imprimante

Elle n'imprime pas.
"""
SPANISH = """De: Jane Doe <jane@example.com>
Enviado: lunes, 2 de marzo de 2026 10:00
Para: Agent <agent@example.net>
Asunto: Impresora

No imprime.
"""
PORTUGUESE = """De: Jane Doe <jane@example.com>
Enviado: segunda-feira, 2 de março de 2026 10:00
Para: Agent <agent@example.net>
Assunto: Impressora

Não imprime.
"""
ITALIAN = """Inizio messaggio inoltrato:

Da: Jane Doe <jane@example.com>
Oggetto: Stampante
Data: 2 marzo 2026 alle ore 10:00:00 CET
A: agent@example.net

Non stampa.
"""
POLISH = """---------- Wiadomość przekazana ---------
Od: Jane Doe <jane@example.com>
Data: pon., 2 mar 2026 o 10:00
Temat: Drukarka
Do: <agent@example.net>

Nie drukuje.
"""
DUTCH = """Van: Jane Doe <jane@example.com>
Verzonden: maandag 2 maart 2026 10:00
Aan: Agent <agent@example.net>
Onderwerp: Printer

Hij print niet.
"""
TURKISH = """---------- İletilen mesaj ----------
Gönderen: Jane Doe <jane@example.com>
Tarih: 2 Mar 2026 Pzt, 10:00
Konu: Yazıcı
Kime: <agent@example.net>

Yazmıyor.
"""
CHINESE = """------------------ 原始邮件 ------------------
发件人: "Jane Doe"<jane@example.com>;
发送时间: 2026年3月2日(星期一) 上午10:00
收件人: "agent"<agent@example.net>;
主题: 打印机

不能打印。
"""
JAPANESE = """---------- 転送メッセージ ----------
差出人: Jane Doe <jane@example.com>
日付: 2026年3月2日(月) 10:00
件名: プリンタ
宛先: <agent@example.net>

印刷できません。
"""
KOREAN = """---------- 전달된 메시지 ----------
보낸 사람: Jane Doe <jane@example.com>
날짜: 2026년 3월 2일 (월) 10:00
제목: 프린터
받는 사람: <agent@example.net>

인쇄가 안 됩니다.
"""


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("Fwd: Printer", GMAIL),
        ("Fwd: Re: Printer", GMAIL),
        ("Printer", GMAIL),  # the agent rewrote the subject; the separator says it
        ("Fwd: Printer", APPLE),
        ("Fwd: Printer", APPLE_QUOTED),
        ("FW: Printer", OUTLOOK),
        ("FW: Printer", OUTLOOK_OLD),
        ("FW: Printer", OUTLOOK_MAC),
        ("Fwd: Printer", THUNDERBIRD),
        ("Fw: Printer", YAHOO),
        ("Fw: Printer", NOTES),
        ("Fwd: Принтер", YANDEX),
        ("Fwd: Принтер", YANDEX_LABELS),
        ("Fwd: Принтер", MAIL_RU),
        ("Fwd: Принтер", UKRAINIAN),
        ("WG: Drucker", GERMAN),
        ("Fwd: Drucker", GMX),
        ("TR : Imprimante", FRENCH),
        ("RV: Impresora", SPANISH),
        ("ENC: Impressora", PORTUGUESE),
        ("I: Stampante", ITALIAN),
        ("PD: Drukarka", POLISH),
        ("Doorst: Printer", DUTCH),
        ("İlt: Yazıcı", TURKISH),
        ("转发：打印机", CHINESE),
        ("Fwd: プリンタ", JAPANESE),
        ("Fwd: 프린터", KOREAN),
    ],
)
def test_the_sender_of_what_was_passed_on(subject: str, body: str) -> None:
    assert forwarded(subject, body) == JANE


def test_a_forward_of_html_alone() -> None:
    html = (
        '<div>Please.</div><hr><div id="divRplyFwdMsg"><b>From:</b> Jane Doe &lt;jane@example.com&gt;<br>'
        "<b>Sent:</b> Monday<br><b>To:</b> Agent<br><b>Subject:</b> Printer</div><div>It does not print.</div>"
    )
    assert forwarded("FW: Printer", html, "text/html") == JANE


@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_a_message_forwarded_as_an_attachment(encoding: str) -> None:
    inner = b"From: Jane Doe <jane@example.com>\r\nSubject: Printer\r\n\r\nIt does not print."
    body = base64.encodebytes(inner) if encoding == "base64" else inner
    raw = AGENT + (
        b"Subject: Fwd: Printer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nPlease help.\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n"
    )
    assert parse(raw + body + b"\r\n--b--\r\n").forwarded_from == JANE


def test_an_attached_message_of_a_customer_is_no_forward() -> None:
    raw = AGENT + (
        b"Subject: Complaint\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        b"Your colleague wrote what is attached.\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"From: Jane Doe <jane@example.com>\r\n\r\nx\r\n--b--\r\n"
    )
    assert parse(raw).forwarded_from is None


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("Re: Printer", OUTLOOK),  # Outlook quotes an answer like this
        ("AW: Drucker", GERMAN),
        ("Re: Fwd: Printer", GMAIL),
        ("Printer", OUTLOOK),  # no word of a forward
        (
            "Printer",
            "Yes.\n\nOn Mon, Bob wrote:\n> ---------- Forwarded message ---------\n> From: Jane <j@example.com>\n",
        ),
        ("Fwd: Printer", "Just look at it."),
        ("Fwd: Printer", "From: my heart\nI thank you."),
        ("FW: Printer", OUTLOOK.replace(" <jane@example.com>", "")),  # Exchange's own users: a name and no address
        ("Fwd: hours", "From: 9:00\nTo: 17:00\n"),
    ],
)
def test_what_is_no_forward_offers_nobody(subject: str, body: str) -> None:
    assert forwarded(subject, body) is None


def test_the_nearest_of_two_forwards_is_offered() -> None:
    twice = GMAIL.replace("It does not print.", OUTLOOK.replace("jane@example.com", "first@example.org"))
    assert forwarded("Fwd: Fwd: Printer", twice) == JANE


def test_a_bounce_that_quotes_a_header_is_no_forward() -> None:
    raw = (
        b"From: MAILER-DAEMON@example.net\r\nReturn-Path: <>\r\nSubject: Fwd: Undeliverable\r\n\r\n"
        b"Delivery failed.\r\n\r\nFrom: Jane <jane@example.com>\r\nTo: gone@example.org\r\nSubject: x\r\n"
    )
    assert parse(raw).forwarded_from is None


def test_hostile_blocks_are_read_in_bounded_time() -> None:
    for body in ("From: \n" * 50_000, "From: " + "<" * 200_000, "-" * 200_000, "> " * 100_000, "From:\nTo:\n" * 30_000):
        assert forwarded("Fwd: x", body) is None


@pytest.mark.parametrize(
    "separator",
    ["\u200f---------- Forwarded message ---------", "Anfang der weitergeleiteten Nachricht", "전달된 메시지 시작"],
)
def test_a_separator_behind_a_direction_mark_or_without_a_colon(separator: str) -> None:
    body = f"See this.\n\n{separator}\nFrom: Jane Doe <jane@example.com>\nSubject: x\n\nIt does not print."
    assert forwarded("Printer", body) == JANE
