"""Which ticket a message of a batch joins: the evidence, gathered from what its transaction sees.

The decision itself is `ingestd.mail.thread`'s, a pure function; here are the look-ups that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.identity import MESSAGE_ID_PURPOSE, address_key, thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.mail.addresses import normalize
from ingestd.mail.message_id import token_of, verify_token
from ingestd.mail.thread import (
    Authentication,
    Candidate,
    Decision,
    Standing,
    ancestors,
    authentication_of,
    choose_ticket,
    decide,
)
from ingestd.mail.types import Address, Kind, ParsedMail
from storage import backfills, edits, events, messages, quarantine, tickets
from storage.errors import NotFound

_REFERENCES_MAX = 30
"""Ancestors of a message that are remembered, the nearest ones."""
_REFERRING_MAX = 20
"""Tickets that are looked at where many messages name the same one."""


@dataclass(slots=True)
class Draft:
    """What the transaction is going to write, collected while the batch is decided."""

    new_tickets: list[tickets.NewTicket] = field(default_factory=list)
    new_messages: list[messages.NewMessage] = field(default_factory=list)
    new_quarantine: list[quarantine.NewQuarantine] = field(default_factory=list)
    new_edits: list[edits.NewEdit] = field(default_factory=list)
    participants: list[tuple[UUID, bytes]] = field(default_factory=list)
    new_events: list[events.NewEvent] = field(default_factory=list)
    ticket_of_key: dict[bytes, UUID] = field(default_factory=dict)
    """Thread keys of this batch's messages: an answer can come in the same batch as its question."""
    bounced: int = 0
    imported: bool = False
    """Old mail: it is announced as such, and nothing is done about it."""
    ticket_status: str = "open"
    """Of the tickets that it opens."""
    remembers: bool = False
    """Older mail can still come: what messages name is remembered, and asked."""
    new_references: list[tuple[bytes, UUID]] = field(default_factory=list)
    tickets_of_reference: dict[bytes, list[UUID]] = field(default_factory=dict)
    """What this batch's messages name: a question can come behind its answer in the same batch."""

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


def decide_for(conn: Connection, context: MailboxContext, draft: Draft, mail: ParsedMail, kind: Kind) -> Decision:
    named = list(ancestors(mail.in_reply_to, mail.references))
    proofs = [mail.message_id, *named] if kind is Kind.OWN else named
    if mail.bounce is not None:
        proofs = [*proofs, *mail.bounce.original_message_ids]
    sender = address_key(context.key, normalize(requester_of(context, mail).addr))
    return decide(
        by_token=_by_token(conn, context, draft, proofs, sender),
        by_known_id=_by_known_id(conn, context, draft, named, sender),
        by_reference=_by_reference(conn, context, draft, [*named, mail.message_id], sender),
        authentication=_authentication(context, mail),
        kind=kind,
    )


def verified(context: MailboxContext, message_ids: Sequence[str]) -> list[UUID]:
    """Return the messages of ours that these Message-IDs prove, oldest first."""
    hmac_key = context.key.subkey(MESSAGE_ID_PURPOSE)
    tokens = [token for one in message_ids if (token := token_of(one))]
    return [UUID(bytes=proved) for token in tokens if (proved := verify_token(hmac_key, token))]


def _by_token(
    conn: Connection, context: MailboxContext, draft: Draft, message_ids: Sequence[str], sender: bytes
) -> Candidate | None:
    proved = verified(context, message_ids)
    if not proved:
        return None
    found = messages.tickets_by_message(conn, context.account_id, context.mailbox_id, proved)
    ticket_id = next((found[one] for one in reversed(proved) if one in found), None)
    return _candidate(conn, context, draft, ticket_id, sender)


def _by_known_id(
    conn: Connection, context: MailboxContext, draft: Draft, named: Sequence[str], sender: bytes
) -> Candidate | None:
    keys = {one: thread_key(context.key, one) for one in named}
    if not keys:
        return None
    stored = messages.tickets_by_thread_key(conn, context.account_id, context.mailbox_id, keys.values())
    known = draft.ticket_of_key | stored
    ticket_id = choose_ticket(named, {one: known[key] for one, key in keys.items() if key in known})
    return _candidate(conn, context, draft, ticket_id, sender)


def _by_reference(
    conn: Connection, context: MailboxContext, draft: Draft, message_ids: Sequence[str], sender: bytes
) -> Candidate | None:
    """Return the ticket whose messages name one of these ids; where several do, one that the sender is on.

    The message's own id comes last, and counts first. Anybody can name it, so one stranger's mail must not
    keep it from the ticket where it belongs.
    """
    keys = [thread_key(context.key, one) for one in reversed(message_ids) if one]
    if not draft.remembers or not keys:
        return None
    stored = backfills.tickets_by_reference(conn, context.account_id, context.mailbox_id, keys, _REFERRING_MAX)
    found = [ticket_id for key in keys for one, ticket_id in stored if one == key]
    found += [ticket_id for key in keys for ticket_id in draft.tickets_of_reference.get(key, ())]
    first = None
    for ticket_id in list(dict.fromkeys(found))[:_REFERRING_MAX]:
        candidate = _candidate(conn, context, draft, ticket_id, sender)
        if candidate is not None and candidate.standing is not Standing.STRANGER:
            return candidate
        first = first or candidate
    return first


def _candidate(
    conn: Connection, context: MailboxContext, draft: Draft, ticket_id: UUID | None, sender: bytes
) -> Candidate | None:
    if ticket_id is None:
        return None
    requesters = {ticket.ticket_id: ticket.requester_key for ticket in draft.new_tickets}
    if ticket_id not in requesters:
        try:
            requesters[ticket_id] = tickets.get_ticket_by_id(conn, context.account_id, ticket_id).requester_key
        except NotFound:
            return None
    if requesters[ticket_id] == sender:
        return Candidate(ticket_id, Standing.REQUESTER)
    joined = (ticket_id, sender) in draft.participants or tickets.is_participant(
        conn, context.account_id, ticket_id, sender
    )
    return Candidate(ticket_id, Standing.PARTICIPANT if joined else Standing.STRANGER)


def _authentication(context: MailboxContext, mail: ParsedMail) -> Authentication:
    """Believe the provider's own verdict only; anybody can write the header under another name."""
    if mail.auth is None or mail.auth.authserv_id.lower() not in context.authserv_ids:
        return Authentication.ABSENT
    return authentication_of(mail.auth.methods)


def sender_of(mail: ParsedMail) -> Address:
    return mail.from_[0] if mail.from_ else (mail.sender or Address(""))


def own_addresses(context: MailboxContext) -> set[str]:
    return {normalize(address) for address in context.record.own_addresses()}


def requester_of(context: MailboxContext, mail: ParsedMail) -> Address:
    """Return who asks: the From; Reply-To where one of our own addresses or a contact form wrote for somebody."""
    sender = sender_of(mail)
    for_another = own_addresses(context) | context.contact_forms
    if mail.reply_to and normalize(sender.addr) in for_another:
        return next((one for one in mail.reply_to if normalize(one.addr) not in for_another), sender)
    return sender
