"""What the API's routes call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from config import Settings
from ingestd.access import Access
from ingestd.api.backend import Backend
from ingestd.build.mailboxes import open_context
from ingestd.build.store import Store
from ingestd.events.desk import WebhookDesk
from ingestd.events.feed import EventFeed
from ingestd.inbound.explain import Looks
from ingestd.inbound.parser import ParserPool
from ingestd.linking.link import Linking
from ingestd.wakes import Bell


def new_backend(
    store: Store,
    linking: Linking,
    webhooks: WebhookDesk,
    bell: Bell,
    parser: ParserPool,
    looks: Looks,
    settings: Callable[[], Settings],
) -> Backend:
    """`settings` returns those in force, also after a reload."""
    api = settings().api
    return Backend(
        settings=settings,
        desk=store.desk,
        keystore=store.keystore,
        keys=store.keys,
        access=Access(
            store.content,
            failures_per_minute_max=api.failures_per_minute_max,
            requests_per_second_max=api.token_requests_per_second_max,
            burst_max=api.token_burst_max,
        ),
        linking=linking,
        webhooks=webhooks,
        feed=EventFeed(store.content, bell, lambda: settings().events),
        bell=bell,
        parser=parser,
        open_context=lambda mailbox: open_context(replace(store, settings=settings()), mailbox),
        looks=looks,
    )
