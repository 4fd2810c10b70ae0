"""What the messages of a batch are going to ask the database for, asked together: a statement for each message and
question would take longer than all the rest of the transaction.

The transaction holds the mailbox, so what was read of it stays true until its end; tickets of other mailboxes, to which
some were merged, are asked for each time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.intake import MailboxContext
from storage import threads, tickets
from storage.threads import KnownId
from storage.tickets import Ticket, TicketStatus

_KEYS_MAX = 1000
"""Of one statement."""


@dataclass(slots=True)
class Foreseen:
    """Answers of the database; what was not foreseen is asked for when it is wanted."""

    _known: dict[bytes, KnownId | None] = field(default_factory=dict)
    _tickets: dict[UUID, Ticket] = field(default_factory=dict)

    def foresee(self, conn: Connection, context: MailboxContext, keys: Iterable[bytes]) -> None:
        """Ask for the thread keys that the messages name, and for their tickets."""
        found = self.known_ids(conn, context, dict.fromkeys(keys))
        wanted = iter({one.ticket_id for one in found.values()})
        while some := list(islice(wanted, _KEYS_MAX)):
            for one in tickets.list_by_id(conn, context.account_id, some):
                self._keep(context, one)

    def known_ids(self, conn: Connection, context: MailboxContext, keys: Collection[bytes]) -> dict[bytes, KnownId]:
        """As `threads.known_ids`."""
        missing = iter([one for one in keys if one not in self._known])
        while some := list(islice(missing, _KEYS_MAX)):
            found = threads.known_ids(conn, context.account_id, context.mailbox_id, some)
            self._known.update((one, found.get(one)) for one in some)
        return {key: known for key in keys if (known := self._known[key]) is not None}

    def ticket(self, conn: Connection, context: MailboxContext, ticket_id: UUID) -> Ticket:
        """Raises NotFound."""
        found = self._tickets.get(ticket_id)
        if found is None:
            found = tickets.get_ticket_by_id(conn, context.account_id, ticket_id)
            self._keep(context, found)
        return found

    def reopened(self, ticket: Ticket) -> None:
        """Note that this transaction has opened a ticket again."""
        if ticket.ticket_id in self._tickets:
            self._tickets[ticket.ticket_id] = replace(ticket, status=TicketStatus.OPEN, closed_at=None)

    def _keep(self, context: MailboxContext, ticket: Ticket) -> None:
        if ticket.mailbox_id == context.mailbox_id:
            self._tickets[ticket.ticket_id] = ticket
