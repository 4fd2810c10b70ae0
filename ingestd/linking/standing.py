"""Where a linking stands, and why it failed, in words for whoever began it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from storage import flows, mailboxes
from storage.database import Database, now
from storage.errors import NotFound
from storage.flows import Flow
from storage.mailboxes import MailboxState

_WORDS: Final[Mapping[str, str]] = {
    "no_device_code": "this provider gives no device codes for mail, or not to this application; try --paste",
    "unknown_or_used": "the time is over, or the answer was used before; begin again",
    "expired": "nobody consented in time; begin again",
    "code_refused": "the code is too old or was used before; begin again",
    "consent_refused": "the mailbox's owner, or the provider for him, said no",
    "wrong_mailbox": "another mailbox was signed in to than the one that is to be linked again",
    "already_linked": "this mailbox is linked in this account already",
    "admin_blocked": "an administrator of the owner's organisation must allow this application first",
    "client_rejected": "the provider refuses this application; check client_id, client_secret and redirect_uri",
    "mailbox_wanted": "this provider's mailboxes are opened by application permissions: say which one (--mailbox)",
    "nobody_to_ask": "application permissions open this mailbox: link it without --device and --paste",
    "mailbox_not_named": "the configuration does not name this mailbox for this account: add it to oauth.mailboxes",
    "mailbox_not_taken": "this provider's mailboxes are linked by their owners' consent (oauth.flow: delegated)",
    "shared_not_configured": "the provider's configuration does not ask for shared mailboxes: set shared_mailboxes",
    "mailbox_denied": "Microsoft does not let us into this mailbox: an administrator must allow it",
    "mailbox_unknown": "there is no such mailbox, or Microsoft Graph does not reach it",
    "location_differs": "this account is pinned to a location in which what is linked would not be kept",
    "partial_consent": "not everything was granted that is needed; begin again, and tick every box",
}


class LinkStatus(enum.StrEnum):
    OPEN = "open"
    """Its owner can still consent."""
    COMPLETED = "completed"
    FAILED = "failed"
    """Also where nobody consented in time."""


@dataclass(frozen=True, slots=True)
class LinkStanding:
    flow_id: UUID
    mailbox_id: UUID
    """The mailbox that is there once it is completed."""
    provider: str
    relink: bool
    status: LinkStatus
    reason: str | None
    """A fixed word where it failed."""
    meaning: str | None
    """The same in words."""
    expires_at: datetime


def link_words(reason: str) -> str:
    """Return why a linking failed, as a person reads it.

    >>> link_words("expired"), link_words("mailbox_gone")
    ('nobody consented in time; begin again', 'mailbox gone')
    """
    return _WORDS.get(reason, reason.replace("_", " "))


def standing_of(flow: Flow, at: datetime) -> LinkStanding:
    """Return where a linking stands at a time."""
    status, reason = LinkStatus.OPEN, None
    if flow.status == "completed":
        status = LinkStatus.COMPLETED
    elif flow.status == "failed":
        status, reason = LinkStatus.FAILED, flow.reason or "unknown"
    elif flow.expires_at <= at:
        status, reason = LinkStatus.FAILED, "expired"
    return LinkStanding(
        flow_id=flow.flow_id,
        mailbox_id=flow.mailbox_id,
        provider=flow.provider,
        relink=flow.relink,
        status=status,
        reason=reason,
        meaning=link_words(reason) if reason else None,
        expires_at=flow.expires_at,
    )


async def find_link(content: Database, account_id: UUID, flow_id: UUID) -> LinkStanding:
    """Raises NotFound, also once it is forgotten: an hour after its end, or with its mailbox."""
    return await content.read(account_id, _find, flow_id)


def _find(conn: Connection, account_id: UUID, flow_id: UUID) -> LinkStanding:
    flow = flows.get_flow(conn, account_id, flow_id)
    known = mailboxes.find_mailbox(conn, account_id, flow.mailbox_id)
    if known is not None and known.state is MailboxState.DISCONNECTING:
        raise NotFound("the mailbox of this authorization request is being disconnected")
    return standing_of(flow, now(conn))
