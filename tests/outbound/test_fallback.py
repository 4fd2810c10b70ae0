"""Where a provider has switched the way of sending off, mail leaves by the other one, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from connectors.base import (
    AuthError,
    ConnectorError,
    Envelope,
    FiledCopy,
    PermanentError,
    SendOutcome,
    SendStatus,
    StillOurs,
    Trouble,
    always,
)
from connectors.smtp_outcome import login_refusal
from ingestd.outbound.fallback import AGAIN_SECONDS, FallbackSender

ENVELOPE = Envelope("support@example.com", ("kim@example.net",), "token")
SWITCHED_OFF = login_refusal(
    "auth",
    535,
    "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
    "smtp.example.com:587",
)


class Playing:
    """A sender that does as it is told."""

    def __init__(self, error: ConnectorError | None = None) -> None:
        self.error = error
        self.sent = 0
        self.looked = 0
        self.closed = 0

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        if self.error is not None:
            raise self.error
        self.sent += 1
        return SendOutcome(SendStatus.ACCEPTED, "dot")

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        self.looked += 1
        return ()

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        raise NotImplementedError

    async def hang_up(self) -> None:
        self.closed += 1

    async def close(self) -> None:
        self.closed += 1


def two(first: Playing, second: Playing) -> tuple[FallbackSender, list[float]]:
    at = [0.0]
    return FallbackSender(first, second, clock=lambda: at[0]), at


async def test_the_first_way_is_taken_as_long_as_it_works() -> None:
    first, second = Playing(), Playing()
    sender, _ = two(first, second)
    assert (await sender.send(ENVELOPE, b"mail")).status is SendStatus.ACCEPTED
    assert (first.sent, second.sent) == (1, 0)


async def test_a_way_that_is_switched_off_is_left_for_an_hour() -> None:
    first, second = Playing(SWITCHED_OFF), Playing()
    sender, at = two(first, second)
    for _ in range(3):
        assert (await sender.send(ENVELOPE, b"mail")).status is SendStatus.ACCEPTED
    assert (first.sent, second.sent) == (0, 3)
    await sender.find_in_sent("<id@example.com>", "token")
    assert (first.looked, second.looked) == (0, 1)
    first.error = None
    await sender.send(ENVELOPE, b"mail")
    assert (first.sent, second.sent) == (0, 4)
    at[0] = AGAIN_SECONDS
    await sender.send(ENVELOPE, b"mail")
    assert (first.sent, second.sent) == (1, 4)


@pytest.mark.parametrize("error", [AuthError("refused"), PermanentError("gone", trouble=Trouble.GRANT_REVOKED)])
async def test_what_the_other_way_would_meet_too_is_told(error: ConnectorError) -> None:
    first, second = Playing(error), Playing()
    sender, _ = two(first, second)
    with pytest.raises(type(error)) as caught:
        await sender.send(ENVELOPE, b"mail")
    assert caught.value is error
    assert second.sent == 0


async def test_where_neither_works_the_first_ones_refusal_is_told() -> None:
    first, second = Playing(SWITCHED_OFF), Playing(PermanentError("no consent", trouble=Trouble.CONSENT_OR_MFA))
    sender, _ = two(first, second)
    with pytest.raises(PermanentError) as caught:
        await sender.send(ENVELOPE, b"mail")
    assert caught.value.trouble is Trouble.ADMIN_BLOCKED
    await sender.close()
    await sender.hang_up()
    assert (first.closed, second.closed) == (2, 2)


def test_microsofts_refusal_is_the_one_that_is_meant() -> None:
    assert SWITCHED_OFF.trouble is Trouble.ADMIN_BLOCKED
