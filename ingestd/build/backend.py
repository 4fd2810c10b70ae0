"""What the API's routes call."""

from __future__ import annotations

from collections.abc import Callable

from config import Settings
from ingestd.access import Access
from ingestd.api.backend import Backend
from ingestd.build.store import Store
from ingestd.events.feed import EventFeed
from ingestd.linking.link import Linking
from ingestd.wakes import Bell


def new_backend(store: Store, linking: Linking, bell: Bell, settings: Callable[[], Settings]) -> Backend:
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
        feed=EventFeed(store.content, bell, lambda: settings().events),
        bell=bell,
    )
