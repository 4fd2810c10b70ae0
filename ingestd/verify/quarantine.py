"""Nothing lost, nothing twice: what left the quarantine is a ticket message, or was dropped."""

from __future__ import annotations

from sqlalchemy import select

from ingestd.verify.look import live, same
from ingestd.verify.stated import Count, Flag, Statements, stated
from storage.messages import ROWS
from storage.quarantine import QuarantineStatus
from storage.tables import messages, quarantine


@stated
def what_left_the_quarantine_left_its_bytes() -> Statements:
    """A quarantined message is held with its bytes, is a ticket message of the same id and mailbox, or was dropped."""
    yield Count(quarantine, live(quarantine))
    status = quarantine.c.status
    query = select(quarantine.c.account_id, quarantine.c.quarantine_id).where(live(quarantine))
    yield Flag(query.where(status.not_in(list(QuarantineStatus))), "the status is unknown")
    bytes_named = (quarantine.c.chunks != 0) | (quarantine.c.raw_place != ROWS)
    left = status.in_((QuarantineStatus.TAKEN, QuarantineStatus.DROPPED))
    yield Flag(query.where(left, bytes_named), "it left the quarantine, but not its bytes")
    theirs = same(messages, quarantine, ("message_id", "quarantine_id"), "mailbox_id")
    message = select(messages.c.message_id).where(*theirs).exists()
    yield Flag(query.where(status == QuarantineStatus.TAKEN, ~message), "it was taken, but is no message")
    yield Flag(query.where(status != QuarantineStatus.TAKEN, message), "it is a message, but was not taken")
