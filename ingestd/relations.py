"""What a ticket has to do with others: what it may belong to, what it follows up, what it was merged with, and its
twins. Where another one was merged, the ticket that it was merged into is told in its place.

A twin is a ticket of the same mail in another mailbox of the account. No row says so: the hash of a
Message-ID is made with its mailbox's key and dies with it, so another mailbox is asked by the hash that this mailbox
would have. A hash that all mailboxes of an account shared would be left in copies of the database when one is
forgotten, and would tell of a mail whether it had been there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound.identity import thread_key
from ingestd.keys import KeyRing
from ingestd.records import MessageRecord
from storage import mailboxes, merges, threads, tickets
from storage.database import Database
from storage.errors import KeyDestroyed, SealBroken
from storage.mailboxes import MailboxState
from storage.sealing import DataKey
from storage.threads import Found
from storage.tickets import Ticket

_MAILBOXES_MAX = 200
RELATED_BY_MAX = 50
"""Messages of a ticket, the first ones, whose twins are looked for."""
_RELATED_MAX = 20
"""Tickets of one relation that are told."""


class Relation(enum.StrEnum):
    SUSPECTED = "suspected"
    """It may belong to this one: the evidence was too weak to join it."""
    FOLLOWS = "follows"
    """It follows this one up, which had been closed too long ago."""
    FOLLOWED_BY = "followed_by"
    """It is followed up by this one."""
    TWIN = "twin"
    """This one has the same mail, in another mailbox."""
    MERGED_INTO = "merged_into"
    """It is part of this one, which has its messages."""
    MERGED_FROM = "merged_from"
    """This one was merged into it."""


@dataclass(frozen=True, slots=True)
class Related:
    relation: Relation
    ticket: Ticket


async def relations_of(
    content: Database, keys: KeyRing, ticket: Ticket, records: Sequence[MessageRecord]
) -> list[Related]:
    """Return what a ticket has to do with others; `records` are those of the messages that it received."""
    account_id = ticket.account_id
    linked = await content.read(account_id, _linked, ticket)
    bodies = {one.mail.message_id: one.mail.body_sha256 for one in reversed(records[:RELATED_BY_MAX])}
    bodies.pop("", None)
    twins = await _twins(content, keys, ticket, bodies) if bodies else []
    return linked + [Related(Relation.TWIN, one) for one in twins]


def _linked(conn: Connection, account_id: UUID, ticket: Ticket) -> list[Related]:
    found = []
    for relation, one in (
        (Relation.MERGED_INTO, ticket.merged_into_id),
        (Relation.SUSPECTED, ticket.suspected_ticket_id),
        (Relation.FOLLOWS, ticket.follows_ticket_id),
    ):
        if one is not None:
            others = tickets.unmerged(conn, account_id, tickets.list_by_id(conn, account_id, [one]))
            found += [Related(relation, other) for other in others if other.ticket_id != ticket.ticket_id]
    following = tickets.follow_ups(conn, account_id, ticket.ticket_id, _RELATED_MAX)
    found += [Related(Relation.FOLLOWED_BY, one) for one in reversed(following)]
    merged = merges.merged_into(conn, account_id, ticket.ticket_id, _RELATED_MAX)
    return found + [Related(Relation.MERGED_FROM, one) for one in merged]


async def _twins(content: Database, keys: KeyRing, ticket: Ticket, bodies: Mapping[str, bytes]) -> list[Ticket]:
    others = await _other_mailboxes(content, keys, ticket)
    wanted = {mailbox_id: [thread_key(key, message_id) for message_id in bodies] for mailbox_id, key in others.items()}
    found = await content.read(ticket.account_id, _look, wanted) if wanted else []
    same = {one.ticket_id for one in found if _is_same(others[one.mailbox_id], one, bodies)}
    twins = await content.read(ticket.account_id, tickets.list_by_id, same) if same else []
    return twins[:_RELATED_MAX]


async def _other_mailboxes(content: Database, keys: KeyRing, ticket: Ticket) -> dict[UUID, DataKey]:
    found: dict[UUID, DataKey] = {}
    for one in await content.read(ticket.account_id, mailboxes.list_mailboxes):
        if one.mailbox_id == ticket.mailbox_id or one.state is MailboxState.DISCONNECTING:
            continue
        try:
            found[one.mailbox_id] = await keys.mailbox(ticket.account_id, one.mailbox_id)
        except KeyDestroyed:
            continue  # it is being forgotten
        if len(found) == _MAILBOXES_MAX:
            break
    return found


def _look(conn: Connection, account_id: UUID, wanted: Mapping[UUID, Sequence[bytes]]) -> list[Found]:
    found = []
    for mailbox_id, thread_keys in wanted.items():
        found += threads.find_received(conn, account_id, mailbox_id, thread_keys, _RELATED_MAX)
    return found


def _is_same(key: DataKey, found: Found, bodies: Mapping[str, bytes]) -> bool:
    """Two mails that share a Message-ID but differ are two."""
    try:
        mail = key.open_record(MessageRecord.place(found.message_id), found.sealed, MessageRecord).mail
    except SealBroken:
        return False
    return bodies.get(mail.message_id) == mail.body_sha256
