"""The mails of a seeded database: 1 KB of plain text each, with the values that the parser would give for them.

Parsing a million mails takes minutes of CPU; here the values of one parsed mail are replaced by those of the
next. A test compares them with what the parser says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import msgspec

from bench.words import LANGUAGES, sentence
from ingestd.mail.parse import parse
from ingestd.mail.types import Address, ParsedMail

RAW_BYTES = 1024
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_SECONDS_APART = 20  # a million mails in eight months
_LINES = 4096


@dataclass(frozen=True, slots=True)
class SeedMail:
    raw: bytes
    """Of exactly RAW_BYTES."""
    mail: ParsedMail
    raw_sha256: bytes
    received_at: datetime


def message_id(number: int) -> str:
    return f"<seed.{number}@example.com>"


class SeedMails:
    """Makes them, each from its number alone."""

    def __init__(self) -> None:
        rng = Random("seed")  # noqa: S311  (the same every time)
        self._lines = [sentence(rng, LANGUAGES["en"]) for _ in range(_LINES)]
        self._template = parse(_compose(0, 0, [], BEGIN, self._lines[:1]))

    def make(self, number: int, conversation: int, earlier: list[str]) -> SeedMail:
        """Return mail `number`, of the requester `conversation`; `earlier` are the conversation's Message-IDs."""
        at = BEGIN + timedelta(seconds=number * _SECONDS_APART)
        raw = _compose(number, conversation, earlier, at, self._lines)
        body = raw.partition(b"\r\n\r\n")[2]
        text = body.decode("ascii").replace("\r\n", "\n").rstrip("\n")
        mail = msgspec.structs.replace(
            self._template,
            subject=_subject(conversation, bool(earlier)),
            from_=(Address(_address(conversation), _name(conversation)),),
            message_id=message_id(number),
            in_reply_to=tuple(earlier[-1:]),
            references=tuple(earlier),
            date=at,
            text=text,
            new_text=text,
            body_sha256=hashlib.sha256(body).digest(),
        )
        return SeedMail(raw, mail, hashlib.sha256(raw).digest(), at)


def _address(conversation: int) -> str:
    return f"customer{conversation}@example.com"


def _name(conversation: int) -> str:
    return f"Customer {conversation}"


def _subject(conversation: int, is_reply: bool) -> str:
    return f"{'Re: ' if is_reply else ''}Order {conversation}: the printer does not work"


def _compose(number: int, conversation: int, earlier: list[str], at: datetime, lines: list[str]) -> bytes:
    thread = f"In-Reply-To: {earlier[-1]}\r\nReferences: {' '.join(earlier)}\r\n" if earlier else ""
    head = (
        f"From: {_name(conversation)} <{_address(conversation)}>\r\nTo: support@example.com\r\n"
        f"Subject: {_subject(conversation, bool(earlier))}\r\nDate: {format_datetime(at)}\r\n"
        f"Message-ID: {message_id(number)}\r\n{thread}MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    )
    room = RAW_BYTES - len(head) - len(".\r\n")
    at_line, body = number * 31 % len(lines), ""
    while len(body) < room:
        body += f"{lines[at_line % len(lines)]}\r\n"
        at_line += 1
    # Cut to size; a stop at the end, as trailing blanks are no text.
    return f"{head}{body[:room].rstrip()}".ljust(len(head) + room, ".").encode("ascii") + b".\r\n"
