"""What the daemon asks of its database takes no longer the more messages, tickets, events and mailboxes that holds.

The plan of each statement is looked at, of those that real work has run (`tests.statements`): none may read, or sort, a
table that grows, but for those that are named here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, MetaData

from storage.database import Database
from tests.plans import pretend_large, wide_reads
from tests.statements import Statement

PLACES_MIN: Final = 40
EXCEPTIONS: Final[dict[str, tuple[str, str]]] = {
    "storage/figures.py:_mailboxes": (
        "mailboxes",
        "the figures are of all mailboxes: once through the table, in at most a fiftieth of the time (`ingestd.pulse`)",
    ),
    "storage/figures.py:read_figures": ("accounts backfills", "as _mailboxes"),
    "storage/figures.py:_backfilled_since": ("backfills", "as _mailboxes: a mailbox has at most one"),
    "storage/figures.py:_remaining": ("backfills", "as _mailboxes: a mailbox has at most one"),
    "storage/figures.py:_taken_since": ("edits mailboxes", "as count_by_status of edits"),
    "storage/edits.py:count_by_status": ("edits", "those that wait, or failed: what is done has no row any more"),
    "storage/access_warnings.py:count_by_risk": ("access_warnings", "a warning that is over has no row any more"),
    "storage/access_warnings.py:_told": ("access_warnings", "a mailbox's, one of each risk"),
    "storage/webhooks.py:count_by_status": ("webhooks", "an account has at most webhooks.webhooks_max"),
    "storage/deliveries.py:greatest_lag": ("webhooks deliveries", "as count_by_status; of deliveries those that wait"),
    "storage/deliveries.py:load_pending": ("deliveries", "those that wait, which are to be sent"),
    "storage/webhooks.py:any_free": ("webhooks", "an index on held_until would be written at each renewal"),
    "storage/webhooks.py:claim": ("webhooks", "as any_free"),
    "storage/webhooks.py:list_all": ("webhooks", "once an hour, as each is swept"),
    "storage/webhooks.py:list_deleted": ("webhooks", "once an hour"),
    "storage/webhooks.py:have_read_anew": ("webhooks", "an account's, at most webhooks.webhooks_max"),
    "storage/webhooks.py:release_all": ("webhooks", "at the start of the one process on SQLite"),
    "storage/leases.py:clear": ("mailboxes", "at the start of the one process on SQLite"),
    "storage/leases.py:_share": (
        "mailboxes",
        "counted in an index alone: 15 ms of 100,000, every five seconds in each process",
    ),
    "storage/accounts.py:list_pinned": ("accounts", "at the start, and where the configuration changed"),
    "storage/outbox.py:list_in_flight": ("outbox", "of an account, those that are being sent just now"),
    "storage/erasures.py:list_done_since": ("erasures", "those that ended within the hour"),
    "storage/accounts.py:list_accounts": ("accounts", "once an hour, as each account is looked at"),
    "storage/mailboxes.py:list_all_mailboxes": ("mailboxes", "once an hour, to compare them with the keys"),
    "storage/mailboxes.py:list_mailboxes": ("mailboxes", "all mailboxes of an account are asked for"),
    "storage/mailboxes.py:delete_mailbox": (
        "access_warnings forgotten_messages quarantine tickets uploads grants pushes backfills participants",
        "SQLite looks for rows that refer to the mailbox; they are gone before",
    ),
    "storage/webhooks.py:delete_deleted": ("deliveries", "as delete_mailbox: they are gone before"),
    "storage/erasures.py:count_rows": ("*", "what is left of one mailbox, at the end of its erasure: nothing"),
    "storage/some_rows.py:delete": ("*", "some rows by the index that begins with what is given, up to its limit"),
    "storage/events.py:forget_old": ("events", "those up to a sequence that was read with a limit"),
    "storage/ticket_lists.py:list_tickets": ("mailboxes", "those of the account that are being forgotten"),
    "storage/persons.py:list_unfinished": ("person_erasures accounts", "one a person that asked for it"),
    "storage/persons.py:request": ("person_erasures", "one a person that asked for it"),
    "storage/keystore.py:list_keys": ("wrapped_keys", "once an hour, to compare them with the mailboxes"),
    "storage/keystore.py:list_revocations": ("revocations", "those of a day"),
    "storage/keystore.py:list_ledger": ("ledger", "what was added since it was read last"),
    "storage/expiry.py:delete_message": ("idempotency", "those of a mailbox, of a day"),
    "storage/uploads.py:insert_upload": ("uploads", "a mailbox has at most uploads_per_mailbox_max"),
    "storage/sending.py:sent_since": ("attempts", "those of a mailbox within an hour or a day"),
    "storage/sending.py:usage": ("attempts", "as sent_since"),
    "storage/flows.py:insert_flow": ("link_flows", "those of an account that are under way"),
}
"""By the function that runs it: the tables that it may read so (`*`: all), and why."""


class GrowsWithTheDatabase(AssertionError):
    """A statement would take longer the more the database holds; the text names where it is run, and what it reads."""


async def check(content: Database, keystore: Database, found: Collection[Statement]) -> None:
    """Raises GrowsWithTheDatabase. The statements must be those of databases of the same kind."""
    assert len({one.place for one in found}) >= PLACES_MIN, "there was no real work"
    for database in (content, keystore):
        mine = sorted(one for one in found if not _tables(one.text).isdisjoint(database.metadata.tables))
        wide = await database.transaction(None, _wide, database.metadata, mine)
        unknown = {f"{one.place} reads {read}: {one.text}" for one, read in wide if not _is_known(one, read)}
        if unknown:
            raise GrowsWithTheDatabase("\n".join(sorted(unknown)))


def _tables(text: str) -> set[str]:
    return set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", text))


def _is_known(one: Statement, read: str) -> bool:
    tables = EXCEPTIONS.get(one.place, ("", ""))[0].split()
    return "*" in tables or read.partition(" ")[0] in tables


def _wide(conn: Connection, metadata: MetaData, found: Collection[Statement]) -> list[tuple[Statement, str]]:
    pretend_large(conn, metadata)
    return [(one, read) for one in found for read in wide_reads(conn, metadata, one.text)]
