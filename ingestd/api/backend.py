"""What the routes of the API call: the daemon's own functions and what these need. Built by the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from config import Settings
from ingestd.access import Access
from ingestd.desk import Desk
from ingestd.events.desk import WebhookDesk
from ingestd.events.feed import EventFeed
from ingestd.inbound.explain import Looks
from ingestd.inbound.intake import MailboxContext
from ingestd.inbound.parser import ParserPool
from ingestd.keys import KeyRing
from ingestd.linking.link import Linking
from ingestd.wakes import Bell
from storage.database import Database
from storage.mailboxes import Mailbox


@dataclass(frozen=True, slots=True)
class Backend:
    """All that the API's routes are given. They hold no logic: each calls one function and shapes its answer."""

    settings: Callable[[], Settings]
    """Those in force, also after a reload."""
    desk: Desk
    """What is stored, opened."""
    keystore: Database
    keys: KeyRing
    access: Access
    linking: Linking
    webhooks: WebhookDesk
    feed: EventFeed
    """The log of events, as it grows."""
    bell: Bell
    """Rings when something was written."""
    parser: ParserPool
    """The daemon's own."""
    open_context: Callable[[Mailbox], Awaitable[MailboxContext]]
    """Returns what is known of a mailbox while its mail is taken in. Raises KeyError for a provider that the
    configuration does not have any more."""
    looks: Looks
    """Asks providers where a mail lies."""

    @property
    def content(self) -> Database:
        return self.desk.content
