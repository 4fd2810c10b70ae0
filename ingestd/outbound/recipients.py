"""Where a reply stands for each of its recipients, as its own status moves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import Connection

from connectors.base import Refusal
from ingestd.outbound.statuses import ReplyEvent
from storage.reply_recipients import RecipientStatus, list_recipients, mark

_PENDING, _ACCEPTED = RecipientStatus.PENDING, RecipientStatus.ACCEPTED
_ALL = tuple(RecipientStatus)

_LEFT = frozenset({ReplyEvent.ACCEPT, ReplyEvent.FIND, ReplyEvent.PERSON_SENT})
"""From here on those have it who were not refused."""
_REFUSED = frozenset({ReplyEvent.REFUSE, ReplyEvent.EXHAUST})
"""Nobody has it, and the server said why."""
_AGAIN = frozenset({ReplyEvent.PROVE_ABSENT, ReplyEvent.PERSON_RESEND})
"""Everybody is asked anew."""


def follow(
    conn: Connection,
    account_id: UUID,
    message_id: UUID,
    event: ReplyEvent,
    *,
    refused: Mapping[int, Refusal],
    answer: Refusal,
) -> None:
    """Move the recipients of a reply that was moved by an event. A reply from before they were kept has none.

    `refused`: those, by their place, that the server refused by themselves; `answer`: what it said to the whole.
    """
    if event in _AGAIN:
        mark(conn, account_id, message_id, _PENDING, was=_ALL)
    elif event is ReplyEvent.PERSON_RETRY:
        # What was refused is tried again; of a reply that still waits nobody has been answered for.
        mark(conn, account_id, message_id, _PENDING, was=[RecipientStatus.REFUSED])
    if event in _LEFT or event in _REFUSED or event is ReplyEvent.LOSE:
        for position, said in refused.items():
            _refuse(conn, account_id, message_id, said, [position])
    if event in _LEFT:
        mark(conn, account_id, message_id, _ACCEPTED, was=[_PENDING])
    elif event in _REFUSED:
        _refuse(conn, account_id, message_id, answer, None)


def bounce(
    conn: Connection, account_id: UUID, message_id: UUID, failed: Mapping[bytes, Refusal], others: Refusal
) -> int:
    """Note a proved bounce of a reply that had left; return how many recipients it is news about.

    `failed`: those that it names, by their address keys. One that names nobody whom the reply was sent to (an alias,
    a list, or nobody at all) concerns all who got it, with `others` as the server's answer.
    """
    mark(conn, account_id, message_id, _ACCEPTED, was=[_PENDING])  # it had left, or it could not come back
    rows = list_recipients(conn, account_id, message_id)
    named = {one.position: failed[one.address_key] for one in rows if one.address_key in failed}
    concerned = named or {one.position: others for one in rows}
    return sum(
        mark(
            conn,
            account_id,
            message_id,
            RecipientStatus.BOUNCED,
            was=[_ACCEPTED],
            positions=[position],
            code=said.code,
            enhanced_code=said.enhanced_code,
        )
        for position, said in concerned.items()
    )


def _refuse(
    conn: Connection, account_id: UUID, message_id: UUID, said: Refusal, positions: Collection[int] | None
) -> None:
    mark(
        conn,
        account_id,
        message_id,
        RecipientStatus.REFUSED,
        was=[_PENDING],
        positions=positions,
        code=said.code,
        enhanced_code=said.enhanced_code,
    )
