"""Mailboxes that are not the own one of who consents: shared ones, and those that application permissions open.

Nobody signs in as such a mailbox, so no ID token names it. What proves that it may be linked is that Microsoft lets
us in: its inbox is asked for, with the very token that is to be kept. It is known by its address in its directory,
whoever opened it: a shared mailbox can be linked again by another of its users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx2

from config import OAuth
from connectors.base import AccessToken, AuthError, ConnectorError, PermanentError, RateLimited, Trouble
from connectors.graph_access import GraphAccess
from connectors.graph_client import GraphClient, TooLarge
from connectors.graph_errors import CallRefused, ItemMissing
from connectors.graph_limiter import MailboxLimiter
from ingestd.linking.errors import (
    AdminBlocked,
    LinkingError,
    MailboxDenied,
    MailboxUnknown,
    NotLinkable,
    PartialConsent,
    ProviderDown,
    TokenEndpointBusy,
)
from ingestd.linking.identity import Identity, is_address
from ingestd.linking.ways import SHARED, asks_for_shared, of_graph, spelled
from ingestd.records import MailboxRecord

_BY_ADDRESS: Final = "mailbox:"


@dataclass(frozen=True, slots=True)
class Unowned:
    """What is to be linked; both are empty where it is the own mailbox of who consents."""

    shared: str = ""
    """The address of a shared mailbox."""
    application: str = ""
    """The address of one that application permissions open."""


def unowned(oauth: OAuth, account_id: str, *, shared: str, mailbox: str, known: MailboxRecord | None) -> Unowned:
    """Return what a request means. `known` is the mailbox that is to be linked again, None for a new one.

    Raises NotLinkable where the configuration does not allow it.
    """
    before = known.graph_user if known is not None else ""
    if oauth.flow == "application":
        address = mailbox or before
        if not address or shared:
            raise NotLinkable("mailbox_wanted")
        if not oauth.opens(address, account_id):
            raise NotLinkable("mailbox_not_named")
        # As the configuration spells it.
        return Unowned(application=next(one for one in oauth.mailboxes if one.casefold() == address.casefold()))
    if mailbox:
        raise NotLinkable("mailbox_not_taken")
    address = shared or before
    if not address:
        return Unowned()
    if not asks_for_shared(oauth):
        raise NotLinkable("shared_not_configured")
    if not is_address(address):
        raise NotLinkable("mailbox_unknown")
    return Unowned(shared=address)


def identity_by_address(address: str, issuer: str) -> Identity:
    """Return the identity of a mailbox that nobody signs in as."""
    return Identity(f"{_BY_ADDRESS}{address.casefold()}", address, issuer)


def is_same(known: MailboxRecord, identity: Identity) -> bool:
    """Tell whether a linked mailbox is the one that is to be linked.

    One that nobody signs in as may be linked as its owner's, too: then its address tells, within its directory.
    """
    if known.issuer != identity.issuer:
        return False
    if known.subject == identity.subject:
        return True
    by_address = bool(known.graph_user) or identity.subject.startswith(_BY_ADDRESS)
    return by_address and known.address.casefold() == identity.address.casefold()


def shared_scopes(granted: Sequence[str]) -> tuple[str, ...]:
    """Return what was granted of Graph's. Raises PartialConsent where it does not open shared mailboxes."""
    found = of_graph(granted)
    if missing := SHARED - {spelled("microsoft", one) for one in found}:
        raise PartialConsent(sorted(missing))
    return found


async def look_into(access: GraphAccess, transport: httpx2.AsyncBaseTransport, access_token: str) -> None:
    """Ask for a mailbox's inbox, to see whether a token opens it.

    Raises MailboxDenied, MailboxUnknown, AdminBlocked, TokenEndpointBusy, ProviderDown.
    """

    async def token(*, rejected: str | None = None) -> AccessToken:
        if rejected is not None:
            raise AuthError("Microsoft Graph refuses a token that has just been given")
        return AccessToken(access_token, None)

    client = GraphClient(access, token, transport, MailboxLimiter(), "linking")
    try:
        await client.get(client.url("mailFolders", "inbox", select="id"), "mailFolders")
    except ConnectorError as error:
        raise _as_linking_error(error) from error
    except TooLarge as error:
        raise ProviderDown("Microsoft Graph answers without end") from error


def _as_linking_error(error: ConnectorError) -> LinkingError:
    if isinstance(error, RateLimited):
        return TokenEndpointBusy("Microsoft Graph asks us to wait", retry_after=error.retry_after)
    if isinstance(error, AuthError):
        return AdminBlocked("Microsoft Graph refuses the token")
    if isinstance(error, PermanentError):
        if error.trouble in {Trouble.WRONG_MAILBOX, Trouble.PROTOCOL_DISABLED}:
            return MailboxUnknown("Microsoft Graph knows no such mailbox")
        return MailboxDenied("Microsoft Graph does not let us into the mailbox")
    # To a user who may not open it, a mailbox is as good as empty.
    if isinstance(error, ItemMissing) or (isinstance(error, CallRefused) and error.status == 403):
        return MailboxDenied("Microsoft Graph does not let us into the mailbox")
    return ProviderDown("Microsoft Graph could not be asked")
