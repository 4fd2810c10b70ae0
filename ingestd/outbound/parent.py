"""What a reply takes from the messages before it: ids, Outlook's index, and what is quoted.

A reply goes to the ticket's requester. Where another ticket was merged into his, that one's mail may be somebody
else's: of all this he gets only what he wrote or was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ingestd.desk import Conversation, OpenMessage
from ingestd.mail.addresses import normalize
from ingestd.mail.fields import writable_id
from ingestd.mail.international import same_spelling
from ingestd.mail.quoting import Quoted
from ingestd.mail.thread import ancestors
from ingestd.mail.thread_index import reply_thread_index
from ingestd.mail.types import Address, Kind, ParsedMail

_WRITTEN = frozenset({Kind.CUSTOMER.value, Kind.BULK.value})
"""What persons write, also through a list."""


def seen_by_requester(view: Conversation) -> Sequence[OpenMessage]:
    """Return the messages that a reply may tell its requester of, oldest first: all, unless a ticket was merged into
    this one; then those that are from him or, openly, to him."""
    if not any(one.row.merged_from_id for one in view.messages):
        return view.messages
    requester = normalize(same_spelling(view.record.requester.addr))
    return [one for one in view.messages if requester in _people_of(one.record.mail)]


def _people_of(mail: ParsedMail) -> set[str]:
    return {normalize(same_spelling(one.addr)) for one in (*mail.from_, *mail.reply_to, *mail.to, *mail.cc)}


def parent_of(view: Conversation) -> ParsedMail | None:
    """Return the newest message with a Message-ID: what the customer's client shows the reply under."""
    with_id = [one.record.mail for one in seen_by_requester(view) if writable_id(one.record.mail.message_id)]
    return with_id[-1] if with_id else None


def references_of(parent: ParsedMail | None) -> tuple[str, ...]:
    """Return the ids above a reply, oldest first, its parent's last (RFC 5322 §3.6.4).

    Ids that no header can hold are left out: a strange one must not keep the customer from being answered.
    """
    if parent is None:
        return ()
    above = (*ancestors(parent.in_reply_to[:1], parent.references), parent.message_id)
    return tuple(one for one in above if writable_id(one))


def thread_index_of(parent: ParsedMail | None, at: datetime, random: int) -> str:
    return reply_thread_index(parent.thread_index, at, random) if parent is not None else ""


def quoted_of(view: Conversation, bytes_max: int) -> Quoted | None:
    """Return what is quoted: the newest message that a person wrote to us; None where there is none."""
    newest = next((one for one in reversed(seen_by_requester(view)) if _is_written(one)), None)
    if newest is None:
        return None
    mail = newest.record.mail
    author = mail.from_[0] if mail.from_ else (mail.sender or Address(""))
    return Quoted(author, mail.date or newest.row.received_at, mail.text, mail.html, bytes_max)


def _is_written(one: OpenMessage) -> bool:
    return one.row.direction == "in" and one.row.kind in _WRITTEN
