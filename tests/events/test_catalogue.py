"""Every event that code writes is in the catalogue, and every one that is there is written; the page is current."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection

import ingestd
import storage
from ingestd.events import reference
from ingestd.events.catalogue import EVENTS, IDS, ids_of
from ingestd.events.envelope import TEST_EVENT
from ingestd.telemetry.vocabulary import EVENTS as LOG_EVENTS
from storage.accounts import draw_numbers
from storage.events import NewEvent, insert_events
from tests.office import Office
from tests.stores import Stores

_ASKED = {
    *("mailbox.linked", "mailbox.reauth_required", "mailbox.recovered", "mailbox.warning", "mailbox.disconnected"),
    *("message.received", "message.quarantined", "ticket.created", "ticket.reopened", "erasure.completed"),
    *("reply.sent", "reply.failed", "reply.bounced", "reply.unknown"),
}
_KINDS = {name.partition(".")[0] for name in EVENTS}
_NAME = re.compile(r"[a-z]+\.[a-z]+(_[a-z]+)*")


def _written() -> Iterator[str]:
    """Yield the strings of the sources that look like an event's type, docstrings and the catalogue left out."""
    for package in (ingestd, storage):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            if path.name in {"catalogue.py", "vocabulary.py"} or "verify" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
                    yield node.value


def test_what_is_written_is_in_the_catalogue_and_the_other_way_round() -> None:
    written = {name for name in _written() if name.partition(".")[0] in _KINDS}
    # A webhook's trial is told to its receiver alone: it is in no log.
    assert written - set(LOG_EVENTS) - set(EVENTS) == {TEST_EVENT}
    assert set(EVENTS) - written == set()


async def test_no_test_writes_an_event_that_is_not_in_it(stores: Stores) -> None:
    """What is made of parts is not found in the sources; each transaction of the tests is looked at (conftest)."""
    account = (await Office.open(stores)).held.account_id
    with pytest.raises(AssertionError, match="not in the catalogue"):
        await stores.content.transaction(account, _tell, "mailbox.unheard_of")
    await stores.content.transaction(account, _tell, "mailbox.paused")


def _tell(conn: Connection, account_id: UUID, name: str) -> None:
    _, sequence = draw_numbers(conn, account_id, events=1)
    insert_events(conn, account_id, sequence, [NewEvent(name)])


def test_the_events_that_a_helpdesk_needs_are_there() -> None:
    assert set(EVENTS) >= _ASKED


def test_every_type_says_what_it_means() -> None:
    for name, one in EVENTS.items():
        assert one.meaning.endswith("."), name
        assert one.version >= 1
        assert set(ids_of(name)) <= set(IDS)
        assert not one.words or one.detail


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run: python -m ingestd.events.reference"
