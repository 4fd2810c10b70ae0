"""The table of a reply's statuses: what it allows, and what it must never allow."""

from __future__ import annotations

import pytest

from ingestd.outbound.statuses import FINAL, TABLE, IllegalStepError, ReplyEvent, next_status
from storage.outbox import ReplyStatus


def test_a_bounce_has_a_row_for_every_status() -> None:
    assert {status for status, event in TABLE if event is ReplyEvent.BOUNCE} == set(ReplyStatus)


def test_an_unlisted_step_raises() -> None:
    listed = set(TABLE)
    unlisted = [(s, e) for s in ReplyStatus for e in ReplyEvent if (s, e) not in listed]
    assert len(unlisted) + len(listed) == len(ReplyStatus) * len(ReplyEvent)
    for status, event in unlisted:
        with pytest.raises(IllegalStepError):
            next_status(status, event)


def test_every_reply_can_come_to_an_end() -> None:
    reachable = {status: {TABLE[s, e] for s, e in TABLE if s is status} for status in ReplyStatus}
    for status in ReplyStatus:
        seen, waiting = set[ReplyStatus](), {status}
        while waiting:
            seen |= (step := waiting)
            waiting = set().union(*(reachable[one] for one in step)) - seen
        assert seen & FINAL


def test_what_was_sent_is_never_sent_again() -> None:
    """Nothing leads from `sent` back to where a worker takes replies from; from `unknown` only proof or a person."""
    taken_from = {status for status, event in TABLE if event is ReplyEvent.TAKE}
    back = {(s, e) for (s, e), to in TABLE.items() if to in taken_from and s not in taken_from}
    assert back == {
        (ReplyStatus.SENDING, ReplyEvent.DEFER),
        (ReplyStatus.SENDING, ReplyEvent.RETURN),
        (ReplyStatus.UNKNOWN, ReplyEvent.PROVE_ABSENT),
        (ReplyStatus.UNKNOWN, ReplyEvent.PERSON_RESEND),
        (ReplyStatus.FAILED, ReplyEvent.PERSON_RESEND),
        (ReplyStatus.FAILED, ReplyEvent.PERSON_RETRY),
    }
