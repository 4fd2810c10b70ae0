"""What people do with tickets, as transactions: closing, opening again, reading, spam and deleting.

Each status can follow any other; `open` is the way back from all of them. Only merging (`ingestd.merging`) is for
good: nothing of this can be done with a ticket that is merged, and the refusal names the one that it is part of. What
an action does in the mailbox is planned in its own transaction (`ingestd.inbound.mirroring`) and done afterwards, as
often as it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from config import MailboxDefaults, Settings
from ingestd.desk import Desk
from ingestd.inbound.mirroring import Mirrored, mirror_read, mirror_status
from ingestd.mirror import mirror_of
from ingestd.options import mirrored
from ingestd.records import MailboxRecord
from storage import accounts, events, mailboxes, tickets
from storage.errors import Conflict
from storage.mailboxes import Mailbox
from storage.merges import refuse_merged
from storage.sealing import DataKey
from storage.tickets import Ticket, TicketStatus

EVENT_OF_STATUS: Final[Mapping[TicketStatus, str]] = {
    TicketStatus.OPEN: "ticket.reopened",
    TicketStatus.CLOSED: "ticket.closed",
    TicketStatus.SPAM: "ticket.spam",
    TicketStatus.DELETED: "ticket.deleted",
}
"""What people can set. Reading has no status, and no event: whoever read it knows."""


@dataclass(frozen=True, slots=True)
class Mirroring:
    """What it takes to mirror an action in the mailbox."""

    key: DataKey
    defaults: MailboxDefaults
    messages_max: int


async def mirroring_of(desk: Desk, settings: Settings, account_id: UUID, number: int) -> tuple[UUID, Mirroring]:
    """Return a ticket's mailbox, and what it takes to mirror an action there. Raises NotFound."""
    mailbox_id = await desk.mailbox_of_ticket(account_id, number)  # raises NotFound, before its key is asked for
    key = await desk.keys.mailbox(account_id, mailbox_id)
    return mailbox_id, Mirroring(key, settings.mailbox_defaults, settings.inbound.mirror_messages_max)


class ChangedMeanwhile(Exception):
    """The ticket is not as whoever wants to change it has seen it: it must be read, and decided on, again."""


def version_of(ticket: Ticket) -> str:
    """Return what is another after each change of a ticket: each mail to it, each reply, each action.

    Two actions on a ticket hold its mailbox one after the other, so that their times differ.
    """
    return f"{int(ticket.updated_at.timestamp()):x}.{ticket.updated_at.microsecond:x}.{ticket.status}"


@dataclass(frozen=True, slots=True)
class Changed:
    """What an action did."""

    changed: bool
    """False where the ticket stood there already; then nothing was done."""
    mirrored: Mirrored


def set_status(
    conn: Connection,
    account_id: UUID,
    number: int,
    status: str,
    mirroring: Mirroring | None = None,
    *,
    versions: Collection[str] | None = None,
) -> Changed:
    """Set a ticket to one of EVENT_OF_STATUS; without `mirroring` the mailbox stays as it is.

    Raises NotFound; TicketMerged; Conflict for a status that nobody can set; where `versions` are given and the
    ticket's is none of them, ChangedMeanwhile.
    """
    wanted, ticket = TicketStatus(status), tickets.get_ticket(conn, account_id, number)
    if wanted not in EVENT_OF_STATUS:
        raise Conflict(f"a ticket does not become {wanted.value} by setting its status")
    held = mailboxes.hold_unfenced(conn, account_id, ticket.mailbox_id)
    # Asked again under the lock: a mail may have reopened it in between.
    ticket = tickets.get_ticket(conn, account_id, number)
    refuse_merged(conn, account_id, ticket)
    if versions is not None and version_of(ticket) not in versions:
        raise ChangedMeanwhile
    if ticket.status == wanted:
        return Changed(changed=False, mirrored=Mirrored())
    done = plan(conn, account_id, mirroring, held, ticket, wanted)
    tickets.touch_ticket(conn, account_id, ticket.ticket_id, status=wanted)
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    event = events.NewEvent(EVENT_OF_STATUS[wanted], ticket.mailbox_id, ticket.ticket_id)
    events.insert_events(conn, account_id, sequence, [event])
    return Changed(changed=True, mirrored=done)


def read_ticket(conn: Connection, account_id: UUID, number: int, mirroring: Mirroring) -> Mirrored:
    """Note that an agent has read a ticket: only the mailbox is told. Raises NotFound, TicketMerged."""
    ticket: Ticket = tickets.get_ticket(conn, account_id, number)
    held = mailboxes.hold_unfenced(conn, account_id, ticket.mailbox_id)
    refuse_merged(conn, account_id, tickets.get_ticket(conn, account_id, number))
    mirror = mirror_of(mirrored(_open(mirroring.key, held), mirroring.defaults))
    return mirror_read(conn, account_id, mirroring.key, mirror, ticket, mirroring.messages_max)


def plan(
    conn: Connection, account_id: UUID, mirroring: Mirroring | None, held: Mailbox, ticket: Ticket, status: TicketStatus
) -> Mirrored:
    """Plan what is done in the mailbox, which the caller holds, where a ticket's mail comes under another status."""
    if mirroring is None:
        return Mirrored()
    mirror = mirror_of(mirrored(_open(mirroring.key, held), mirroring.defaults))
    return mirror_status(conn, account_id, mirroring.key, mirror, ticket, status, mirroring.messages_max)


def _open(key: DataKey, held: Mailbox) -> MailboxRecord:
    return key.open_record(MailboxRecord.place(held.mailbox_id), held.sealed, MailboxRecord)
