"""Residency: an account that is pinned to a location is kept, linked and told of in that location alone.

What a location is, and what lies in it, is the operator's word (`locations` of the configuration): no program can know
where a disk stands. What is compared is that word with the account's pin, everywhere and each time: at the start of a
process and at a reload, when a mailbox is linked, and before each delivery to a webhook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Connection

from config import Locations
from storage import accounts, closures, webhooks
from storage.database import Database

_NAMED_MAX: Final = 10
"""Accounts that an error names."""


class Misplaced(Exception):
    """A store is not where an account is pinned to. The text says which, for operators: ids and labels."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    account_id: UUID
    location: str
    """What the account is pinned to."""
    stores: dict[str, str | None]
    """The stores that are not there, by their settings, and the labels that they have."""

    def words(self) -> str:
        return f"account {self.account_id} is pinned to {self.location}, but {_words(self.stores)}"


async def mismatches(content: Database, locations: Locations) -> list[Mismatch]:
    """Return the open accounts that are pinned elsewhere than the stores are. Raises StorageError."""
    pinned = await content.read(None, accounts.list_pinned)
    found = (Mismatch(account_id, location, locations.elsewhere(location)) for account_id, location in pinned)
    return [one for one in found if one.stores]


async def check_stores(content: Database, locations: Locations) -> None:
    """Raises Misplaced where an account is pinned elsewhere than the stores are."""
    if found := await mismatches(content, locations):
        raise Misplaced(_all_words(found))


def check_pin(locations: Locations, location: str | None) -> None:
    """Raises Misplaced where an account cannot be pinned to a location, as a store is not there."""
    if location is not None and (stores := locations.elsewhere(location)):
        raise Misplaced(f"no account can be pinned to {location}: {_words(stores)}. {_CURE}")


def set_location(conn: Connection, account_id: UUID, locations: Locations, location: str | None) -> None:
    """Pin an account to a location, or to none any more. From the commit on nothing is begun for its webhooks by
    anybody who knew the pin before. Raises Misplaced, NotFound."""
    check_pin(locations, location)
    webhooks.have_read_anew(conn, account_id)
    closures.lock(conn, account_id)
    accounts.set_location(conn, account_id, location)
    # One may have been made until the account was locked.
    webhooks.have_read_anew(conn, account_id)


def is_elsewhere(locations: Locations, location: str | None, url: str) -> bool:
    """Whether a webhook leads elsewhere than its account is pinned to.

    >>> is_elsewhere(Locations(webhooks={"*.example.com": "eu"}), "eu", "https://a.example.com/hooks")
    False
    >>> is_elsewhere(Locations(), "eu", "https://a.example.com/hooks"), is_elsewhere(Locations(), None, "https://a.b/")
    (True, False)
    """
    return location is not None and locations.of_host(urlsplit(url).hostname or "") != location


_CURE: Final = (
    "Say under `locations` where the stores are, move them, or pin the account elsewhere "
    "(`ingestd account set ACCOUNT --location LABEL|none`)"
)


def _words(stores: dict[str, str | None]) -> str:
    """
    >>> _words({"storage.database": "us", "storage.keystore": None})
    'storage.database is in us, storage.keystore has no location'
    """
    return ", ".join(f"{one} is in {label}" if label else f"{one} has no location" for one, label in stores.items())


def _all_words(found: Sequence[Mismatch]) -> str:
    said = [one.words() for one in found[:_NAMED_MAX]]
    if len(found) > _NAMED_MAX:
        said.append(f"and {len(found) - _NAMED_MAX} accounts more")
    return f"{'; '.join(said)}. {_CURE}"
