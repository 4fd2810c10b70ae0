"""What the providers' words at login and at sending mean. The replies are theirs, as their users quote them."""

from __future__ import annotations

import pytest

from connectors.base import (
    AuthError,
    ConnectorError,
    PermanentError,
    RateLimited,
    SendStatus,
    TemporaryError,
    Trouble,
)
from connectors.smtp_outcome import DAY_USED_UP_SECONDS, THROTTLE_SECONDS, login_refusal, refusal

_DISABLED = "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the"


@pytest.mark.parametrize(
    ("stage", "code", "text", "error", "trouble"),
    [
        ("auth", 535, f"{_DISABLED} Tenant. Visit https://aka.ms/x", PermanentError, Trouble.ADMIN_BLOCKED),
        ("auth", 535, f"{_DISABLED} Mailbox.", PermanentError, Trouble.ADMIN_BLOCKED),
        (
            "auth",
            535,
            "5.7.139 Authentication unsuccessful, the request did not meet the criteria. Contact your administrator.",
            PermanentError,
            Trouble.ADMIN_BLOCKED,
        ),
        ("auth", 535, "5.7.3 Authentication unsuccessful", AuthError, Trouble.TOKEN_EXPIRED),
        ("auth", 535, "5.7.8 Username and Password not accepted", AuthError, Trouble.TOKEN_EXPIRED),
        ("auth", 535, "5.7.139 Authentication unsuccessful", AuthError, Trouble.TOKEN_EXPIRED),
        ("auth", 535, "Incorrect authentication data", AuthError, Trouble.TOKEN_EXPIRED),
        ("auth", 504, "5.7.4 Unrecognized authentication type", PermanentError, Trouble.PROTOCOL_DISABLED),
        ("auth", 454, "4.7.0 Temporary authentication failure", TemporaryError, Trouble.TRANSIENT),
        ("auth", 454, "4.7.0 Too many login attempts, please try again later.", RateLimited, Trouble.THROTTLED),
        ("auth", 432, "4.3.2 Concurrent connections limit exceeded", RateLimited, Trouble.THROTTLED),
        ("connect", 421, "4.3.2 Service not active", TemporaryError, Trouble.TRANSIENT),
        ("connect", 421, "4.7.0 Too many concurrent SMTP connections", RateLimited, Trouble.THROTTLED),
        ("connect", 554, "5.7.1 no access", PermanentError, Trouble.PROTOCOL_DISABLED),
    ],
)
def test_a_refused_login(stage: str, code: int, text: str, error: type[ConnectorError], trouble: Trouble) -> None:
    verdict = login_refusal(stage, code, text, "smtp.example.com:587")
    assert isinstance(verdict, error)
    assert verdict.trouble is trouble
    assert "uthentication" not in str(verdict)


@pytest.mark.parametrize(
    ("code", "text", "wait"),
    [
        (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=x]", THROTTLE_SECONDS),
        (421, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", THROTTLE_SECONDS),
        (451, "4.7.500 Request is throttled. Suggested Backoff Time: 30000 milliseconds", 30.0),
        (451, "Ratelimit limit for mailbox exceeded", THROTTLE_SECONDS),
        (550, "5.4.5 Daily user sending limit exceeded. For more information go to", DAY_USED_UP_SECONDS),
        (550, "5.1.90 Your message can't be sent because you've reached your daily limit", DAY_USED_UP_SECONDS),
        (450, "4.2.1 greylisted", None),
    ],
)
def test_a_send_that_is_throttled_is_deferred_for_as_long_as_it_is_said(
    code: int, text: str, wait: float | None
) -> None:
    outcome = refusal("mail", code, text)
    assert outcome.status is SendStatus.DEFERRED
    assert outcome.retry_after == wait
    assert not outcome.of_message


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("4.2.0 Recipient address rejected: Greylisted, try again in 300 seconds", 300.0),
        ("4.7.1 Greylisting in action, please come back in 00:05:00", 300.0),
        ("4.3.0 busy, Retry-After: 120", 120.0),
        ("4.3.0 retry after 99999", 3600.0),
    ],
)
def test_a_greylisted_message_waits_alone(text: str, wait: float) -> None:
    outcome = refusal("rcpt", 450, text)
    assert (outcome.status, outcome.retry_after, outcome.of_message) == (SendStatus.DEFERRED, wait, True)


def test_a_full_mailbox_is_no_days_limit() -> None:
    assert refusal("rcpt", 552, "5.2.2 quota exceeded").status is SendStatus.REFUSED
