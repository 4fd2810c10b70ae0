"""Where a reply stands and why, in words: what the command line and the API tell alike."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ingestd.desk import ReplyView
from storage.outbox import ReplyStatus
from storage.replies import ListedReply

_LOST: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dot": "The message was handed over, and the connection was lost before the server said whether it took it.",
        "worker_lost": "The process that was sending it died.",
        "stopped": "The process that was sending it was stopped in the middle of that.",
        "restored": "It was being sent when the backup was made that was restored.",
    }
)


class Waits(enum.StrEnum):
    """What a reply waits for."""

    PERSON = "person"
    """Somebody has to decide: nobody else can tell whether it was sent."""
    TIME = "time"
    """It was put off."""
    EARLIER_REPLY = "earlier_reply"
    """Of the same ticket."""
    ACCOUNT = "account"
    """It is suspended."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nobody knows whether a reply was sent."""

    why: str
    sought: str
    """By what it is looked for."""


def why(view: ReplyView) -> str:
    """Return why a reply stands where it stands; "" where there is nothing to say."""
    last = view.attempts[-1] if view.attempts else None
    if view.reply.status is ReplyStatus.FAILED and last is not None and last.enhanced_code == "5.6.7":
        # RFC 6531 §3.5: the name of the recipient, before the "@", is not ASCII, and the server has no SMTPUTF8.
        return "the mail server takes no addresses with letters beyond ASCII (it has no SMTPUTF8)"
    return view.reply.reason.replace("_", " ") if view.reply.reason else ""


def waits_for(one: ListedReply) -> Waits | None:
    """Return what a reply waits for; None where it waits for its turn alone, or for nothing."""
    if one.waits_for_person:
        return Waits.PERSON
    if one.waits_for_account:
        return Waits.ACCOUNT
    if one.waits_for_time:
        return Waits.TIME
    return Waits.EARLIER_REPLY if one.waits_for_earlier else None


def doubt(view: ReplyView) -> Doubt | None:
    """Return why nobody knows whether a reply was sent; None where that is known."""
    reply, record = view.reply, view.record
    if reply.status is not ReplyStatus.UNKNOWN:
        return None
    why_lost = "It may have been sent before this database was restored."
    lost = [one for one in view.attempts if one.outcome == "unknown"]
    if reply.reason != "restored" and lost:
        why_lost = _LOST.get(lost[-1].stage or "", "The connection was lost before the server answered.")
    return Doubt(
        why_lost, f"It is looked for in Sent, as {record.message_id} and by the header X-Ingestd-Id: {record.token}"
    )
