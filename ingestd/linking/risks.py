"""What will end the access to a mailbox, seen before it does. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from config import Provider
from ingestd.linking.tokens import lacking
from ingestd.linking.ways import opens_a_way, ways_of
from storage.access_warnings import Access
from storage.mailboxes import MailboxState

_TESTING_LIFE: Final = timedelta(days=8)
"""Google ends grants of an application in Testing after 7 days; a refresh does not lengthen them."""


class Risk(enum.StrEnum):
    """What will end the access to a mailbox, or keeps it from being given."""

    CLIENT_SECRET_EXPIRING = "client_secret_expiring"  # noqa: S105  # a word
    """Our application's secret ends soon, or has ended."""
    GRANT_IDLE = "grant_idle"
    """The refresh token was not used for so long that the provider will end it."""
    GRANT_ENDING = "grant_ending"
    """The provider gave the grant for a limited time, which is nearly over."""
    APP_IN_TESTING = "app_in_testing"
    """Our application is in a trial state, in which grants end after days."""
    PUBLISHER_UNVERIFIED = "publisher_unverified"
    """The provider does not know who publishes our application, and may refuse its owners."""
    SCOPE_MISSING = "scope_missing"
    """The grant allows less than what is asked for."""


@dataclass(frozen=True, slots=True)
class Threat:
    """A risk that there is."""

    ends_at: datetime | None = None
    """When the access ends; None where nobody knows."""
    scopes: tuple[str, ...] = ()
    """Those that are missing."""


def risks_of(provider: Provider, access: Access, now: datetime, *, warning_days: int) -> Mapping[Risk, Threat]:
    """Return what threatens the access to a mailbox.

    What is of the grant is no threat any more once the grant is gone.
    """
    found = _of_application(provider, now, timedelta(days=warning_days))
    if access.state not in {MailboxState.REAUTH_REQUIRED, MailboxState.DISCONNECTING}:
        found |= _of_grant(provider, access, now, timedelta(days=warning_days))
    return found


def _of_application(provider: Provider, now: datetime, ahead: timedelta) -> dict[Risk, Threat]:
    oauth, found = provider.oauth, {}
    if oauth.client_secret_expires_at is not None:
        # From the day's beginning: which hour is meant, and in which zone, nobody says.
        ends_at = datetime.combine(oauth.client_secret_expires_at, time(), UTC)
        if ends_at - ahead <= now:
            found[Risk.CLIENT_SECRET_EXPIRING] = Threat(ends_at)
    if not oauth.publisher_verified:
        found[Risk.PUBLISHER_UNVERIFIED] = Threat()
    return found


def _of_grant(provider: Provider, access: Access, now: datetime, ahead: timedelta) -> dict[Risk, Threat]:
    oauth, found = provider.oauth, {}
    # Application permissions have no refresh token that could lie idle.
    if oauth.refresh_idle_days is not None and oauth.flow == "delegated":
        life = timedelta(days=oauth.refresh_idle_days)
        ends_at = access.refreshed_at + life
        # A life shorter than the time ahead would be a warning for ever.
        if ends_at - min(ahead, life / 2) <= now:
            found[Risk.GRANT_IDLE] = Threat(ends_at)
    if is_in_testing(provider, access):
        found[Risk.APP_IN_TESTING] = Threat(access.refresh_ends_at)
    elif access.refresh_ends_at is not None and access.refresh_ends_at - ahead <= now:
        found[Risk.GRANT_ENDING] = Threat(access.refresh_ends_at)
    if access.scopes is not None:
        missing = _missing(provider, access, access.scopes)
        if missing:
            found[Risk.SCOPE_MISSING] = Threat(scopes=missing)
    return found


def _missing(provider: Provider, access: Access, granted: Sequence[str]) -> tuple[str, ...]:
    """Return what was asked for and is not granted, but for ways that are not needed: a grant for IMAP and SMTP goes
    on to be good where new ones are for an API."""
    oauth = provider.oauth
    missing = lacking(oauth.scopes, granted, by_permission=oauth.client == "msal")
    ways = ways_of(provider, granted, access.read_way)
    if ways.read is None or ways.send is None:
        return missing
    return tuple(scope for scope in missing if not opens_a_way(provider.kind, scope))


def is_in_testing(provider: Provider, access: Access) -> bool:
    """Whether the operator says so, or Google's tokens do by their end."""
    if provider.oauth.testing:
        return True
    if provider.kind != "google" or access.refresh_ends_at is None:
        return False
    return access.refresh_ends_at - access.refreshed_at <= _TESTING_LIFE
