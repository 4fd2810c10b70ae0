"""Linking as the HTTP edge sees it: the same two steps, with the outcomes that its pages tell."""

from __future__ import annotations

import asyncio

from ingestd.api.edge import LinkOutcome, LinkRefused, LinkResult
from ingestd.linking import link
from storage.errors import StorageUnavailable

_OUTCOMES = {
    "unknown_or_used": LinkOutcome.EXPIRED,
    "consent_refused": LinkOutcome.DENIED,
    "provider_refused": LinkOutcome.DENIED,
    "wrong_mailbox": LinkOutcome.WRONG_MAILBOX,
    "already_linked": LinkOutcome.ALREADY_LINKED,
    "partial_consent": LinkOutcome.SCOPE_MISSING,
    "client_rejected": LinkOutcome.ADMIN_BLOCKED,
    "admin_blocked": LinkOutcome.ADMIN_BLOCKED,
    "mailbox_denied": LinkOutcome.ADMIN_BLOCKED,
    "callback_rejected": LinkOutcome.OTHER_BROWSER,
    "location_differs": LinkOutcome.ELSEWHERE,
    "code_refused": LinkOutcome.EXPIRED,
    "provider_unavailable": LinkOutcome.UNAVAILABLE,
    "throttled": LinkOutcome.UNAVAILABLE,
}


class BrowserLinking:
    """The LinkingEdge of `ingestd.api`."""

    def __init__(self, linking: link.Linking) -> None:
        self._linking = linking

    async def open(self, state: str, browser: str) -> str:
        try:
            return await self._linking.open(state, browser)
        except link.LinkRefused as refused:
            raise LinkRefused(outcome_of(refused.reason)) from refused
        except StorageUnavailable as error:
            raise LinkRefused(LinkOutcome.UNAVAILABLE) from error

    async def complete(
        self, *, state: str, browser: str, code: str | None, error: str | None, iss: str | None
    ) -> LinkResult:
        try:
            # A browser that goes away, or a request that takes too long, must not cut it off between the
            # exchange of the code and the storing of the tokens.
            await asyncio.shield(self._linking.complete(state=state, browser=browser, code=code, error=error, iss=iss))
        except link.LinkRefused as refused:
            return LinkResult(outcome_of(refused.reason))
        except StorageUnavailable:
            return LinkResult(LinkOutcome.UNAVAILABLE)
        return LinkResult(LinkOutcome.LINKED)


def outcome_of(reason: str) -> LinkOutcome:
    """Return the page for a reason.

    >>> outcome_of("partial_consent").value, outcome_of("something new").value
    ('scope_missing', 'failed')
    """
    return _OUTCOMES.get(reason, LinkOutcome.FAILED)
