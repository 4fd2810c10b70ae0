"""What a transaction is going to write, collected while the batch is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from ingestd.inbound.foreseen import Foreseen
from ingestd.inbound.identity import thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.mail.thread import ancestors
from ingestd.mail.types import ParsedMail
from storage import edits, events, messages, quarantine, tickets

_REFERENCES_MAX = 30
"""Ancestors of a message that are remembered, the nearest ones."""


@dataclass(slots=True)
class Draft:
    new_tickets: dict[UUID, tickets.NewTicket] = field(default_factory=dict)
    """In the order in which they get their numbers."""
    new_messages: list[messages.NewMessage] = field(default_factory=list)
    new_quarantine: list[quarantine.NewQuarantine] = field(default_factory=list)
    new_edits: list[edits.NewEdit] = field(default_factory=list)
    participants: dict[tuple[UUID, bytes], None] = field(default_factory=dict)
    new_events: list[events.NewEvent] = field(default_factory=list)
    ticket_of_key: dict[bytes, UUID] = field(default_factory=dict)
    """Thread keys of this batch's messages: an answer can come in the same batch as its question."""
    muted: list[str] = field(default_factory=list)
    """Which limit each message was beyond that is muted; or `spam`."""
    bounced: list[UUID] = field(default_factory=list)
    """Replies of ours that came back."""
    imported: bool = False
    """Old mail: it is announced as such, and nothing is done about it."""
    ticket_status: str = "open"
    """Of the tickets that it opens."""
    remembers: bool = False
    """Older mail can still come: what messages name is remembered, and asked."""
    new_references: list[tuple[bytes, UUID]] = field(default_factory=list)
    tickets_of_reference: dict[bytes, list[UUID]] = field(default_factory=dict)
    """What this batch's messages name: a question can come behind its answer in the same batch."""
    received: dict[UUID, list[tuple[datetime, bool]]] = field(default_factory=dict)
    """Of tickets that were looked at: when their newest messages came in, newest first, and which are muted."""
    openings: dict[bytes, list[tickets.Opening]] = field(default_factory=dict)
    """Of senders that were looked at: their newest tickets, newest first."""
    touched: dict[UUID, None] = field(default_factory=dict)
    """Tickets that are changed by their messages alone."""
    foreseen: Foreseen = field(default_factory=Foreseen)

    def remember(self, context: MailboxContext, mail: ParsedMail, message_id: UUID, ticket_id: UUID) -> None:
        """Keep the ids of a message that is being written, for those that come after it."""
        if mail.message_id:
            self.ticket_of_key.setdefault(thread_key(context.key, mail.message_id), ticket_id)
        if not self.remembers:
            return
        for one in ancestors(mail.in_reply_to, mail.references)[-_REFERENCES_MAX:]:
            key = thread_key(context.key, one)
            self.new_references.append((key, message_id))
            self.tickets_of_reference.setdefault(key, []).append(ticket_id)

    def follow_ups(self, ticket_id: UUID) -> Sequence[tickets.NewTicket]:
        """Return this batch's tickets that follow a ticket up."""
        return [one for one in self.new_tickets.values() if one.follows_ticket_id == ticket_id]
