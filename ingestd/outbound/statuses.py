"""Where a reply can go from where it stands: one table.

A reply is `queued`, taken as `sending`, and ends as `sent`, `failed`, `bounced` or
`cancelled`. `deferred` waits for another attempt that is known to be safe. `unknown`
may have been sent: it is resolved by looking in Sent, else by a person, and never
repeated blindly.

An event of our own without a row is a bug and raises. An event from outside (a bounce)
has a row for every status.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from storage.outbox import ReplyStatus as Status


class ReplyEvent(enum.StrEnum):
    TAKE = "take"
    """A worker records an attempt, before anything is sent."""
    ACCEPT = "accept"
    """250 to the final dot."""
    REFUSE = "refuse"
    """A final no."""
    DEFER = "defer"
    """A no for now, before the final dot."""
    EXHAUST = "exhaust"
    """A no for now, once too often."""
    RETURN = "return"
    """The mailbox could not be used at all; the reply has nothing to do with it."""
    LOSE = "lose"
    """The connection, or the worker itself, was lost within the attempt."""
    FIND = "find"
    """It was found in Sent."""
    MISS = "miss"
    """It is not in Sent (yet)."""
    PROVE_ABSENT = "prove_absent"
    """It is not in Sent, and in this mailbox that proves something."""
    PERSON_SENT = "person_sent"
    PERSON_RESEND = "person_resend"
    PERSON_FAILED = "person_failed"
    PERSON_RETRY = "person_retry"
    """Once more, and now: it is known that nothing was sent."""
    CANCEL = "cancel"
    BOUNCE = "bounce"
    """A bounce that our HMAC proves to be this reply's."""


class IllegalStepError(Exception):
    """A reply cannot take this step from where it stands."""


TABLE: Mapping[tuple[Status, ReplyEvent], Status] = MappingProxyType(
    {
        (Status.QUEUED, ReplyEvent.TAKE): Status.SENDING,
        (Status.DEFERRED, ReplyEvent.TAKE): Status.SENDING,
        (Status.SENDING, ReplyEvent.ACCEPT): Status.SENT,
        (Status.SENDING, ReplyEvent.REFUSE): Status.FAILED,
        (Status.SENDING, ReplyEvent.DEFER): Status.DEFERRED,
        (Status.SENDING, ReplyEvent.EXHAUST): Status.FAILED,
        (Status.SENDING, ReplyEvent.RETURN): Status.QUEUED,
        (Status.SENDING, ReplyEvent.LOSE): Status.UNKNOWN,
        (Status.UNKNOWN, ReplyEvent.FIND): Status.SENT,
        (Status.UNKNOWN, ReplyEvent.MISS): Status.UNKNOWN,
        (Status.UNKNOWN, ReplyEvent.PROVE_ABSENT): Status.QUEUED,
        (Status.UNKNOWN, ReplyEvent.PERSON_SENT): Status.SENT,
        (Status.UNKNOWN, ReplyEvent.PERSON_RESEND): Status.QUEUED,
        (Status.UNKNOWN, ReplyEvent.PERSON_FAILED): Status.FAILED,
        (Status.FAILED, ReplyEvent.PERSON_RESEND): Status.QUEUED,
        (Status.FAILED, ReplyEvent.PERSON_RETRY): Status.QUEUED,
        (Status.QUEUED, ReplyEvent.PERSON_RETRY): Status.QUEUED,  # due now
        (Status.DEFERRED, ReplyEvent.PERSON_RETRY): Status.DEFERRED,  # due now
        (Status.QUEUED, ReplyEvent.CANCEL): Status.CANCELLED,
        (Status.DEFERRED, ReplyEvent.CANCEL): Status.CANCELLED,
        # Bounces come from outside, at any time.
        (Status.SENT, ReplyEvent.BOUNCE): Status.BOUNCED,
        (Status.UNKNOWN, ReplyEvent.BOUNCE): Status.BOUNCED,  # so it had been sent
        (Status.BOUNCED, ReplyEvent.BOUNCE): Status.BOUNCED,  # another recipient's, or the same one twice
        (Status.SENDING, ReplyEvent.BOUNCE): Status.SENDING,  # of an earlier attempt; the one under way decides
        (Status.QUEUED, ReplyEvent.BOUNCE): Status.QUEUED,  # of an earlier attempt
        (Status.DEFERRED, ReplyEvent.BOUNCE): Status.DEFERRED,  # of an earlier attempt
        (Status.FAILED, ReplyEvent.BOUNCE): Status.FAILED,  # no news
        (Status.CANCELLED, ReplyEvent.BOUNCE): Status.CANCELLED,  # of an earlier attempt
    }
)

FINAL = frozenset({Status.SENT, Status.FAILED, Status.BOUNCED, Status.CANCELLED})


def next_status(status: Status, event: ReplyEvent) -> Status:
    """Return where the event leads. Raises IllegalStepError.

    >>> next_status(Status.SENDING, ReplyEvent.LOSE).value
    'unknown'
    """
    try:
        return TABLE[status, event]
    except KeyError:
        raise IllegalStepError(f"a reply that is {status} cannot {event}") from None
