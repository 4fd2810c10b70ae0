"""How many replies are made at all: what keeps two machines from writing to each other for ever (RFC 3834 §2).

An automatic message answers people only: no machine, none of our own mailboxes, no mail from before the mailbox was
linked. And it answers seldom. What a person writes is capped as well, far higher: that one stops a helpdesk that
has gone mad.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from config import Outbound
from ingestd.desk import Conversation, Desk, MailboxView, OpenMessage
from ingestd.mail.addresses import normalize
from ingestd.mail.classify import has_no_return_path, is_machine_address
from ingestd.mail.types import Kind
from ingestd.outbound.refused import ReplyRefused
from ingestd.raw import RawPlace, load_range
from storage import sending
from storage.database import now
from storage.sending import Made

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_ANSWERED = frozenset({Kind.CUSTOMER.value})
"""The only kind of message that an automatic one may answer."""
_HEADER_BYTES_MAX = 64 * 1024
"""Return-Path stands at the very top (RFC 5321 §4.4)."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is asked in the transaction that would write a reply."""

    settings: Outbound
    automatic: bool
    refusal: ReplyRefused | None = None
    """What is known already; it is said there, so that a repeated request still gets its first reply."""

    def check(
        self, conn: Connection, account_id: UUID, mailbox_id: UUID, ticket_id: UUID, recipients: Sequence[bytes]
    ) -> None:
        """Raises ReplyRefused. `recipients` are address keys."""
        if self.refusal is not None:
            raise self.refusal
        at = now(conn)
        of_day, of_hour = sending.replies_of_ticket(conn, account_id, ticket_id, at - _DAY, at - _HOUR)
        self._cap_ticket(of_hour, "hour")
        self._cap_ticket(of_day, "day")
        for recipient in recipients:
            self._cap_recipient(sending.replies_to(conn, account_id, mailbox_id, recipient, at - _DAY))

    def _cap_ticket(self, made: Made, window: str) -> None:
        of = self.settings
        limit, limit_automatic = {
            "hour": (of.replies_per_ticket_per_hour_max, of.automatic_per_ticket_per_hour_max),
            "day": (of.replies_per_ticket_per_day_max, of.automatic_per_ticket_per_day_max),
        }[window]
        _within(made.all, limit, f"replies to this ticket in the last {window}", f"ticket_{window}")
        if self.automatic:
            what = f"automatic replies to this ticket in the last {window}"
            _within(made.automatic, limit_automatic, what, f"automatic_ticket_{window}")

    def _cap_recipient(self, made: Made) -> None:
        limit, limit_automatic = (
            self.settings.replies_per_recipient_per_day_max,
            self.settings.automatic_per_recipient_per_day_max,
        )
        _within(made.all, limit, "replies to one recipient in the last day", "recipient_day")
        if self.automatic:
            what = "automatic replies to one recipient in the last day"
            _within(made.automatic, limit_automatic, what, "automatic_recipient_day")


async def refuse_automatic(
    desk: Desk, account_id: UUID, view: Conversation, recipients: Collection[str]
) -> ReplyRefused | None:
    """Return why nothing automatic may be said on this ticket, to these addresses; None where it may."""
    ours = await desk.mailboxes(account_id)
    own = {normalize(address) for one in ours if one.record for address in one.record.own_addresses()}
    if any(normalize(address) in own for address in recipients):
        return _no("an automatic reply is never written to one of our own mailboxes", "automatic_own_address")
    if any(is_machine_address(address) for address in recipients):
        return _no("an automatic reply is never written to an address that a machine writes from", "automatic_no_reply")
    newest = next((one for one in reversed(view.messages) if one.row.direction == "in"), None)
    if newest is None:
        return None
    mailbox = next((one for one in ours if one.mailbox.mailbox_id == view.ticket.mailbox_id), None)
    if mailbox is not None and _is_imported(newest, mailbox):
        return _no("the newest message is from before the mailbox was linked", "automatic_imported")
    if newest.row.muted:
        return _no("the newest message came beyond a limit, and is not answered automatically", "automatic_flood")
    if newest.row.kind not in _ANSWERED:
        return _no(f"the newest message is no person's ({newest.row.kind})", "automatic_to_machine")
    place = RawPlace(newest.row.message_id, newest.row.chunks, newest.row.raw_place)
    begin = await load_range(
        desk.content, desk.blobs, view.key, place, 0, min(newest.row.size_bytes, _HEADER_BYTES_MAX)
    )
    if has_no_return_path(begin):
        return _no("the newest message has no return path: nobody must answer it", "automatic_to_machine")
    return None


def _is_imported(message: OpenMessage, mailbox: MailboxView) -> bool:
    """Whether a backfill read it: it came before its folder was watched, or before the mailbox was linked."""
    since = mailbox.mailbox.created_at
    if mailbox.folders is not None:
        since = mailbox.folders.since.get(message.record.folder, since)
    return message.row.received_at < since


def _within(made: int, limit: int, what: str, code: str) -> None:
    if made >= limit:
        raise _no(f"there were {made} {what}; the limit is {limit}", f"capped_{code}")


def _no(text: str, code: str) -> ReplyRefused:
    return ReplyRefused(text, code=code)
