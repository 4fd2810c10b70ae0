"""Which ticket a message of a batch joins: the evidence, gathered from what its transaction sees.

The decision itself is `ingestd.mail.thread`'s, a pure function; here are the look-ups that it needs. Each is
bounded, however much a stranger wrote before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.draft import Draft
from ingestd.inbound.identity import MESSAGE_ID_PURPOSE, REPLY_ADDRESS_PURPOSE, address_key, thread_key
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.senders import authentication, is_own_address, requester_of, sender_of
from ingestd.mail.addresses import normalize
from ingestd.mail.message_id import token_of, verify_token
from ingestd.mail.reply_address import is_token_of, number_in, tokens_in
from ingestd.mail.thread import Candidate, Decision, Standing, ancestors, choose_ticket, decide
from ingestd.mail.types import Kind, ParsedMail
from ingestd.records import TOKEN_PLUS
from storage import backfills, threads, tickets
from storage.errors import NotFound
from storage.threads import KnownId
from storage.tickets import TicketStatus

_REFERRING_MAX = 20
"""Tickets that are looked at where many messages name the same one, or many follow one up."""
_ADDRESS_TOKENS_MAX = 5
"""Reply addresses of one message that are looked up; a mail of one conversation has one."""
_FOLLOW_UPS_MAX = 10
"""Follow-ups of follow-ups that are gone through to the one that an answer belongs to."""


def foresee(conn: Connection, context: MailboxContext, draft: Draft, mails: Sequence[ParsedMail]) -> None:
    """Ask the database together for what the decisions on these mails will ask of it."""
    named = {one for mail in mails for one in (*_named(mail, Kind.OWN), *_named(mail, mail.kind)) if one}
    draft.foreseen.foresee(conn, context, [thread_key(context.key, one) for one in named])


def _named(mail: ParsedMail, kind: Kind) -> list[str]:
    """Return the Message-IDs by which a mail says where it belongs, oldest first."""
    named = list(ancestors(mail.in_reply_to, mail.references))
    if kind is Kind.OWN:
        named = [*named, mail.message_id]
    if mail.bounce is not None:
        # What they name in their own header is rarely ours: a bounce is about what it returns.
        named = [*named, *mail.bounce.original_message_ids]
    return named


def decide_for(
    conn: Connection, context: MailboxContext, draft: Draft, mail: ParsedMail, kind: Kind, received_at: datetime
) -> Decision:
    named = _named(mail, kind)
    tokens = [*mail.own_tokens] if kind is Kind.OWN else []
    if mail.bounce is not None:
        tokens += mail.bounce.own_tokens
    look = _Look(
        conn=conn,
        context=context,
        draft=draft,
        sender=normalize(requester_of(context, mail).addr),
        received_at=received_at,
        follows_up=kind in (Kind.CUSTOMER, Kind.BULK) and not draft.imported,
    )
    return decide(
        by_token=look.by_token(named, tokens),
        by_address=look.by_address(mail),
        by_known_id=look.by_known_id(named),
        by_reference=look.by_reference([*named, mail.message_id]),
        authentication=authentication(context, mail),
        kind=kind,
        imported=draft.imported,
    )


def is_own(conn: Connection, context: MailboxContext, draft: Draft, mail: ParsedMail) -> bool:
    """Whether it is a reply of ours that came back to the mailbox, through an alias or a list.

    Its From proves nothing: a contact form writes under our address, too. What does is our HMAC, or the id that the
    provider gave to what we sent; but under another's name only a list sends it on.
    """
    if not is_own_address(context, sender_of(mail).addr) and mail.kind is not Kind.BULK:
        return False
    if verified(context, [mail.message_id], mail.own_tokens):
        return True
    if not mail.message_id:
        return False
    key = thread_key(context.key, mail.message_id)
    known = draft.foreseen.known_ids(conn, context, [key])
    return key in known and known[key].ours


def verified(context: MailboxContext, message_ids: Iterable[str], tokens: Iterable[str] = ()) -> list[UUID]:
    """Return the messages of ours that these Message-IDs and tokens prove, oldest first."""
    hmac_key = context.key.subkey(MESSAGE_ID_PURPOSE)
    shown = [*(token for one in message_ids if (token := token_of(one))), *tokens]
    proved = (verify_token(hmac_key, token) for token in shown)
    return [UUID(bytes=one) for one in proved if one]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a ticket that evidence points to."""

    ticket_id: UUID
    requester_key: bytes
    status: str
    closed_at: datetime | None


def _known(one: tickets.Ticket) -> _Known:
    return _Known(one.ticket_id, one.requester_key, one.status, one.closed_at)


@dataclass(frozen=True, slots=True)
class _Look:
    """One message's look at what there is: in the database, and in the batch before it."""

    conn: Connection
    context: MailboxContext
    draft: Draft
    sender: str
    """The normalized address of who asks; "" where the mail names nobody."""
    received_at: datetime
    follows_up: bool
    """Where its ticket has ended, it belongs to the follow-up that its sender opened."""

    def by_token(self, named: Sequence[str], tokens: Sequence[str]) -> Candidate | None:
        proved = verified(self.context, named, tokens)
        if not proved:
            return None
        found = threads.tickets_by_message(self.conn, self.context.account_id, self.context.mailbox_id, proved)
        ticket_id = next((found[one] for one in reversed(proved) if one in found), None)
        return self._candidate(ticket_id, ours=True)

    def by_address(self, mail: ParsedMail) -> Candidate | None:
        """Return the ticket of the first reply address that is proved; where mail was delivered to counts first."""
        if self.context.record.reply_token != TOKEN_PLUS:
            return None
        hmac_key = self.context.key.subkey(REPLY_ADDRESS_PURPOSE)
        addresses = (*mail.delivered_to, *(one.addr for one in (*mail.to, *mail.cc)))
        for token in tokens_in(addresses, _ADDRESS_TOKENS_MAX):
            try:
                found = tickets.get_ticket(self.conn, self.context.account_id, number_in(token))
            except NotFound:
                continue
            of_mailbox = found.mailbox_id == self.context.mailbox_id
            if of_mailbox and is_token_of(hmac_key, token, found.number, found.ticket_id.bytes):
                return self._candidate(found.ticket_id, ours=True)
        return None

    def by_known_id(self, named: Sequence[str]) -> Candidate | None:
        keys = {one: thread_key(self.context.key, one) for one in named if one}
        if not keys:
            return None
        known = {key: KnownId(one, False) for key, one in self.draft.ticket_of_key.items() if key in keys.values()}
        known |= self.draft.foreseen.known_ids(self.conn, self.context, keys.values())
        ticket_id = choose_ticket(named, {one: known[key].ticket_id for one, key in keys.items() if key in known})
        # A customer who answers himself names his own mail last, and what we sent before it.
        ours = any(one.ours and one.ticket_id == ticket_id for one in known.values())
        return self._candidate(ticket_id, ours=ours)

    def by_reference(self, message_ids: Sequence[str]) -> Candidate | None:
        """Return the ticket whose messages name one of these ids; where several do, one that the sender is on.

        The message's own id comes last, and counts first. Anybody can name it, so one stranger's mail must not
        keep it from the ticket where it belongs.
        """
        keys = [thread_key(self.context.key, one) for one in reversed(message_ids) if one]
        if not self.draft.remembers or not keys:
            return None
        mailbox = (self.context.account_id, self.context.mailbox_id)
        stored = backfills.tickets_by_reference(self.conn, *mailbox, keys, _REFERRING_MAX)
        found = [ticket_id for key in keys for one, ticket_id in stored if one == key]
        found += [ticket_id for key in keys for ticket_id in self.draft.tickets_of_reference.get(key, ())]
        first = None
        for ticket_id in list(dict.fromkeys(found))[:_REFERRING_MAX]:
            candidate = self._candidate(ticket_id)
            if candidate is not None and candidate.standing is not Standing.STRANGER:
                return candidate
            first = first or candidate
        return first

    def _candidate(self, ticket_id: UUID | None, *, ours: bool = False) -> Candidate | None:
        found = self._ticket(ticket_id)
        if found is None:
            return None
        standing, passed = self._standing(found), {found.ticket_id}
        for _ in range(_FOLLOW_UPS_MAX):
            following = self._follow_up(found) if self.follows_up and self._has_ended(found) else None
            # Where a ticket was merged into its follow-up's follow-up, they go round in a circle.
            if following is None or following.ticket_id in passed:
                break
            passed.add(following.ticket_id)
            found, standing = following, self._standing(following)
        spam = found.status == TicketStatus.SPAM
        return Candidate(found.ticket_id, standing, ours=ours, ended=self._has_ended(found), spam=spam)

    def _ticket(self, ticket_id: UUID | None) -> _Known | None:
        if ticket_id is None:
            return None
        if (new := self.draft.new_tickets.get(ticket_id)) is not None:
            return _Known(ticket_id, new.requester_key, new.status, None)
        try:
            found = self.draft.foreseen.ticket(self.conn, self.context, ticket_id)
            # Only a reply address names a merged ticket: its messages, by which all else is found, have moved.
            if found.merged_into_id is not None:
                found = self.draft.foreseen.ticket(self.conn, self.context, found.merged_into_id)
        except NotFound:
            return None
        return _known(found)

    def _standing(self, found: _Known) -> Standing:
        if not self.sender:
            return Standing.STRANGER  # a mail without a From is nobody's, and not that of the last nobody
        key = address_key(self.context.key, self.sender)
        if found.requester_key == key:
            return Standing.REQUESTER
        joined = (found.ticket_id, key) in self.draft.participants or tickets.is_participant(
            self.conn, self.context.account_id, found.ticket_id, key
        )
        return Standing.PARTICIPANT if joined else Standing.STRANGER

    def _has_ended(self, found: _Known) -> bool:
        if found.status != TicketStatus.CLOSED:
            return found.status == TicketStatus.DELETED
        after = self.context.rules.follow_up_after
        return after is not None and found.closed_at is not None and self.received_at - found.closed_at >= after

    def _follow_up(self, found: _Known) -> _Known | None:
        """Return the newest ticket that follows this one up and that the sender is on."""
        stored = tickets.follow_ups(self.conn, self.context.account_id, found.ticket_id, _REFERRING_MAX)
        new = self.draft.follow_ups(found.ticket_id)
        following = [_Known(one.ticket_id, one.requester_key, one.status, None) for one in reversed(new)]
        following += map(_known, stored)
        return next((one for one in following if self._standing(one) is not Standing.STRANGER), None)
