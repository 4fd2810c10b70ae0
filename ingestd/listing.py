"""Lists of tickets for people and programs: filtered, sorted, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from ingestd.desk import Desk, TicketSummary
from ingestd.inbound.identity import address_key
from ingestd.mail.addresses import normalize
from storage import mailboxes
from storage.database import Database
from storage.errors import KeyDestroyed, NotFound
from storage.mailboxes import MailboxState
from storage.ticket_lists import ALL_TICKETS, TicketFilter, TicketOrder, TicketPlace, list_tickets


@dataclass(frozen=True, slots=True)
class TicketPage:
    """A part of a list."""

    items: Sequence[TicketSummary]
    next: TicketPlace | None
    """Where the list goes on; None at its end."""


async def page_of_tickets(
    desk: Desk,
    account_id: UUID,
    wanted: TicketFilter = ALL_TICKETS,
    *,
    requester: str | None = None,
    order: TicketOrder = TicketOrder.NUMBER,
    descending: bool = False,
    after: TicketPlace | None = None,
    limit: int,
) -> TicketPage:
    """Return up to `limit` tickets behind the place `after`, in this order; those of one `requester` where one is
    given. Raises NotFound for a mailbox that is not there."""
    if wanted.mailbox_id is not None:
        await _require_mailbox(desk, account_id, wanted.mailbox_id)
    if requester is not None:
        keys = await requester_keys(desk, account_id, requester, mailbox_id=wanted.mailbox_id)
        wanted = replace(wanted, requester_keys=keys)
    found = await desk.content.read(
        account_id, list_tickets, wanted, order=order, descending=descending, after=after, limit=limit + 1
    )
    place = TicketPlace(found[limit - 1].number, found[limit - 1].updated_at) if len(found) > limit else None
    return TicketPage(await desk.open_tickets(found[:limit]), place)


async def last_ticket_number(content: Database, account_id: UUID) -> int:
    """Return the highest number of an account's tickets; 0 where it has none."""
    found = await content.read(account_id, list_tickets, descending=True, limit=1)
    return found[0].number if found else 0


async def _require_mailbox(desk: Desk, account_id: UUID, mailbox_id: UUID) -> None:
    mailbox = await desk.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    if mailbox.state is MailboxState.DISCONNECTING:
        raise NotFound(f"mailbox {mailbox_id} is being disconnected")


async def requester_keys(
    desk: Desk, account_id: UUID, address: str, *, mailbox_id: UUID | None = None
) -> dict[UUID, bytes]:
    """Return what an address is found by in each mailbox of the account, or in one: the hash is made with its key."""
    bare, found = normalize(address), {}
    for one in await desk.content.read(account_id, mailboxes.list_mailboxes):
        if one.state is MailboxState.DISCONNECTING or mailbox_id not in {None, one.mailbox_id}:
            continue
        try:
            key = await desk.keys.mailbox(account_id, one.mailbox_id)
        except KeyDestroyed:
            continue  # it is being forgotten since
        found[one.mailbox_id] = address_key(key, bare)
    return found
