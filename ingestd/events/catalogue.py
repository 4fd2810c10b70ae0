"""The events of the log: every type, its version, and what it means to a helpdesk.

A type never changes its meaning. A field is only ever added; where one has to change, the type
gets another version beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from connectors.base import Trouble
from ingestd.linking.risks import Risk
from ingestd.mail.types import Kind
from storage.events import Event

IDS: Final = ("mailbox_id", "ticket_id", "message_id")
_IDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "mailbox": ("mailbox_id",),
    "backfill": ("mailbox_id",),
    "erasure": ("mailbox_id",),
    "message": IDS,
    "ticket": ("mailbox_id", "ticket_id"),
    "reply": IDS,
}


@dataclass(frozen=True, slots=True)
class EventType:
    meaning: str
    detail: str = ""
    """What `detail` says; "" where it is null."""
    version: int = 1
    words: tuple[str, ...] = ()
    """Examples of `detail`, or all of its words. More of them may come."""
    ids: tuple[str, ...] | None = None
    """Which of IDS it carries, the others are null; None: those that its kind does (`ids_of`)."""


_TROUBLES: Final = tuple(one.value for one in Trouble)
_RISKS: Final = tuple(one.value for one in Risk)
_KINDS: Final = tuple(one.value for one in Kind)
_COUNT: Final = ("3",)


EVENTS: Final[Mapping[str, EventType]] = {
    "account.suspended": EventType(
        "The operator suspended the account: its mailboxes are neither read nor sent from, everything is kept."
    ),
    "account.erasure_warning": EventType(
        "The account is suspended for so long that it will be erased: renew it, or export its data, before.",
        "How many days are left.",
        words=("30", "7", "1"),
    ),
    "account.closing": EventType(
        "The account is being closed: it is forgotten, this log and its webhooks too. Delete your own copies of its "
        "content. Nothing is told after it but that its mailboxes are disconnected and forgotten.",
        "Why.",
        words=("operator", "retention", "restored"),
    ),
    "account.resumed": EventType("The operator resumed the account; its mailboxes go on where they stopped."),
    "mailbox.linked": EventType("A mailbox was linked; its mail is read from now on."),
    "mailbox.relinked": EventType("A mailbox has a new grant; it goes on where it stopped."),
    "mailbox.recovered": EventType("The mailbox is read again."),
    "mailbox.warning": EventType(
        "The mailbox cannot be read for now; it is tried again by itself.", "The trouble.", words=_TROUBLES
    ),
    "mailbox.throttled": EventType("The provider asked for a pause.", "The trouble.", words=_TROUBLES),
    "mailbox.blocked": EventType(
        "Somebody must change something at the provider first.", "The trouble.", words=_TROUBLES
    ),
    "mailbox.reauth_required": EventType(
        "The grant is gone: the owner must link the mailbox again.", "The trouble.", words=_TROUBLES
    ),
    "mailbox.send_warning": EventType(
        "Replies wait: the mailbox cannot send for now.", "The trouble.", words=_TROUBLES
    ),
    "mailbox.send_recovered": EventType("The mailbox sends again."),
    "mailbox.repaired": EventType(
        "The mailbox was read anew, as its server had forgotten where we were.",
        "How many messages that brought which would have been missed.",
        words=_COUNT,
    ),
    "mailbox.folders_missing": EventType(
        "The server has not all of the watched folders; what is in the others is read.",
        "How many it lacks.",
        words=_COUNT,
    ),
    "mailbox.folders_found": EventType("The server has all of the watched folders again."),
    "mailbox.access_warning": EventType(
        "Something will end the access to the mailbox, which is read all the same; `mailbox show` tells what to do.",
        "The risk.",
        words=_RISKS,
    ),
    "mailbox.access_warning_ended": EventType(
        "That risk is over: it is cured, or has come true (then the mailbox's own events tell).",
        "The risk.",
        words=_RISKS,
    ),
    "mailbox.paused": EventType("Somebody paused the mailbox."),
    "mailbox.resumed": EventType("Somebody resumed the mailbox."),
    "mailbox.disconnected": EventType("The mailbox is being forgotten: delete your own copies of its content."),
    "erasure.completed": EventType("Nothing of the mailbox is left here; its receipt is ready."),
    "backfill.started": EventType("The reading of the mailbox's old mail has begun, or goes on."),
    "backfill.done": EventType("All of the old mail that was asked for is read."),
    "backfill.stopped": EventType("Somebody stopped it; what is in stays."),
    "backfill.failed": EventType(
        "It failed too often in a row; it can be asked for again.", "The trouble.", words=_TROUBLES
    ),
    "message.received": EventType("A message came in.", "Its kind.", words=_KINDS),
    "message.imported": EventType("A message from before the link was read: answer nobody.", "Its kind.", words=_KINDS),
    "message.muted": EventType(
        "A message came in beyond a limit, or to spam: answer nobody.", "Its kind.", words=_KINDS
    ),
    "message.quarantined": EventType(
        "A message could not be understood; its bytes are kept.",
        "Why.",
        words=("timeout", "memory", "crash", "withheld"),
        ids=("mailbox_id", "message_id"),
    ),
    "message.dropped": EventType(
        "A quarantined message was given up: its bytes are deleted.",
        "Why.",
        words=("dropped", "known", "expired"),
        ids=("mailbox_id", "message_id"),
    ),
    "message.erased": EventType(
        "A person was erased from the account. Deleted: the message was theirs; rewritten: it named them, read it "
        "anew. Delete your own copy of what it was.",
        "What became of it.",
        words=("deleted", "rewritten"),
    ),
    "ticket.created": EventType("A message opened a ticket."),
    "ticket.imported": EventType("A message from before the link opened a ticket: answer nobody."),
    "ticket.reopened": EventType("The ticket is open again: somebody wrote, or an agent opened it."),
    "ticket.closed": EventType("The ticket is closed."),
    "ticket.spam": EventType("The ticket is spam."),
    "ticket.deleted": EventType("The ticket is in the trash."),
    "ticket.erased": EventType(
        "The ticket and its messages are deleted: it was solved for longer than the account keeps such, or its "
        "requester was erased.",
        "Its number.",
        words=("3",),
    ),
    "ticket.merged": EventType("The ticket is part of another one now.", "The number of that one."),
    "ticket.flooded": EventType(
        "More came than the limits allow; what comes beyond is muted.", "The limit.", words=("sender", "ticket")
    ),
    "reply.queued": EventType("A reply was accepted, and waits to be sent."),
    "reply.sent": EventType(
        "The provider took the reply.",
        "Null, or how: that it took it for some recipients only, or that it was found in Sent.",
        words=("partly_refused", "found_in_sent"),
    ),
    "reply.failed": EventType(
        "The reply was not sent, and will not be.", "Why.", words=("refused_at_rcpt", "deferred_at_data")
    ),
    "reply.unknown": EventType(
        "Nobody knows whether the reply was sent: it is looked for, else a person decides.",
        "Why.",
        words=("lost_at_data", "worker_lost", "restored"),
    ),
    "reply.bounced": EventType(
        "The reply came back. `ticket_id` is the ticket that the bounce is in. Comes again for each further recipient."
    ),
    "reply.cancelled": EventType("The reply was cancelled before it was sent.", "Why.", words=("cancelled_by_person",)),
    "webhook.disabled": EventType("A webhook was switched off; what happens meanwhile waits for it.", "Its id."),
}
"""Every type. A client ignores those that it does not know: more will come."""


def ids_of(name: str) -> tuple[str, ...]:
    """Return which ids the events of a type carry.

    >>> ids_of("ticket.closed")
    ('mailbox_id', 'ticket_id')
    """
    given = EVENTS[name].ids
    return _IDS_OF.get(name.partition(".")[0], ()) if given is None else given


@dataclass(frozen=True, slots=True)
class EventView:
    """An event as it is told: ids, times and fixed words, never content."""

    sequence: int
    """Its place in the account's log; a later event has a greater one, and there are gaps."""
    type: str
    version: int
    at: datetime
    account_id: UUID
    mailbox_id: UUID | None
    ticket_id: UUID | None
    ticket_number: int | None
    message_id: UUID | None
    """Of a message, a reply, or one in quarantine."""
    detail: str | None


def view_of(account_id: UUID, event: Event, ticket_number: int | None) -> EventView:
    """Return an event as it is told. Unknown types, of a newer version beside us, have version 1."""
    known = EVENTS.get(event.type)
    return EventView(
        sequence=event.sequence,
        type=event.type,
        version=known.version if known else 1,
        at=event.at,
        account_id=account_id,
        mailbox_id=event.mailbox_id,
        ticket_id=event.ticket_id,
        ticket_number=ticket_number,
        message_id=event.message_id,
        detail=event.detail,
    )


def plain(view: EventView) -> dict[str, Any]:
    """Return an event in the values of JSON, as the API and webhooks spell it."""
    return {
        "sequence": view.sequence,
        "type": view.type,
        "version": view.version,
        "at": view.at.isoformat().replace("+00:00", "Z"),
        "account_id": str(view.account_id),
        "mailbox_id": _text(view.mailbox_id),
        "ticket_id": _text(view.ticket_id),
        "ticket_number": view.ticket_number,
        "message_id": _text(view.message_id),
        "detail": view.detail,
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
