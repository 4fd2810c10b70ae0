"""What a bounce does to the reply that came back.

Anybody can write a bounce. What proves one is our HMAC: in the Message-ID or the header of the mail that it returns,
or in the envelope id that it names. A bounce without that changes nothing. Where its recipient got one reply only of
late, its ticket is linked to that reply's, for people to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Refusal
from ingestd.inbound.draft import Draft
from ingestd.inbound.identity import address_key
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.joining import verified
from ingestd.mail.addresses import normalize
from ingestd.mail.thread import Decision
from ingestd.mail.types import BounceRecipient, ParsedMail
from ingestd.outbound import recipients
from ingestd.outbound.statuses import ReplyEvent, next_status
from storage import events, outbox, reply_recipients
from storage.errors import NotFound
from storage.outbox import Reply, ReplyStatus
from storage.sealing import DataKey


def note_bounce(conn: Connection, context: MailboxContext, draft: Draft, mail: ParsedMail, ticket_id: UUID) -> None:
    """Change the replies that a bounce proves to have come back, and those of their recipients that it names."""
    failures = _failures(mail)
    if mail.bounce is None or not failures:
        return
    for message_id in dict.fromkeys(verified(context, mail.bounce.original_message_ids, mail.bounce.own_tokens)):
        try:
            reply = outbox.get_reply(conn, context.account_id, message_id)
        except NotFound:
            continue
        if reply.mailbox_id != context.mailbox_id or not _note(conn, context, draft, reply, failures):
            continue
        draft.new_events.append(events.NewEvent("reply.bounced", context.mailbox_id, ticket_id, message_id))


def _note(
    conn: Connection, context: MailboxContext, draft: Draft, reply: Reply, failures: Sequence[BounceRecipient]
) -> bool:
    """Return whether it is news: of the reply, or of one more of its recipients."""
    status = next_status(reply.status, ReplyEvent.BOUNCE)
    if status is not ReplyStatus.BOUNCED:
        return False  # an earlier attempt's: the reply is on its way again, or was given up
    said = [(one, Refusal(_code(one), one.status or None)) for one in failures]
    failed = {key: answer for one, answer in reversed(said) for key in _keys_of(context.key, one)}
    bounced = recipients.bounce(conn, context.account_id, reply.message_id, failed, said[0][1])
    if status is reply.status:
        return bounced > 0
    outbox.change_reply(
        conn,
        context.account_id,
        reply.message_id,
        was=reply.status,
        status=status,
        due_at=reply.due_at if reply.sent_copy is outbox.SentCopy.DUE else None,
        reason="bounced",
    )
    draft.bounced.append(reply.message_id)
    return True


def suspect(
    conn: Connection, context: MailboxContext, mail: ParsedMail, decision: Decision, received_at: datetime
) -> Decision:
    """Link a bounce that proves nothing to the ticket of the only reply that it can be about, if there is one.

    It is weak evidence: whoever knows whom we write to could have written it. So it opens a ticket of its own.
    """
    within = context.rules.bounces_within
    if decision.ticket_id is not None or decision.suspected is not None or not within:
        return decision
    keys = {key for one in _failures(mail) for key in _keys_of(context.key, one)}
    if not keys:
        return decision
    found = reply_recipients.replies_to(
        conn, context.account_id, context.mailbox_id, keys, since=received_at - within, limit=2
    )
    if len(found) != 1:
        return decision
    _, ticket_id = found[0]
    return replace(decision, suspected=ticket_id, evidence=("recipient and time", "suspected only"))


def _failures(mail: ParsedMail) -> list[BounceRecipient]:
    # Also one that a server gave up after days of trying (4.4.7): its class is 4, and it did not arrive all the same.
    return [one for one in mail.bounce.failures if one.action == "failed"] if mail.bounce is not None else []


def _code(one: BounceRecipient) -> int | None:
    return int(one.reply_code) if one.reply_code.isascii() and one.reply_code.isdecimal() else None


def _keys_of(key: DataKey, one: BounceRecipient) -> list[bytes]:
    """Return the address keys of whom a failure is about: where an alias led on, we know the first address only."""
    addresses = dict.fromkeys(normalize(address) for address in (one.recipient, one.final_recipient) if address)
    return [address_key(key, address) for address in addresses]
