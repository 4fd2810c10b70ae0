"""A mail that reading passed over, by the Gmail API and by Microsoft Graph: found, explained and taken in, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingestd.demo.gmailserver import GmailServer
from ingestd.demo.graphserver import GraphServer
from tests.losing import pass_over
from tests.stores import sqlite_urls
from tests.story.house import House, Servers, open_house
from tests.story.mails import Mail, mail
from tests.story.test_gmail import MODIFY, gmail
from tests.story.test_gmail import provider as gmail_provider
from tests.story.test_graph import SCOPES
from tests.story.test_graph import provider as graph_provider

__all__ = ["gmail"]


async def test_by_the_gmail_api(
    servers: Servers,
    gmail: GmailServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, MODIFY))
    user = new_user()
    named = gmail_provider(gmail, servers.auth.issuer)
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=named) as house:

        def deliver(written: Mail) -> None:
            gmail.box(user).add(written.raw, ("INBOX", "UNREAD"))

        await lost_and_found(house, user, deliver)
        assert all("UNREAD" in one.labels for one in gmail.box(user).messages.values()), "nothing is marked"


async def test_by_graph(
    servers: Servers,
    graph: GraphServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *SCOPES))
    user = new_user()
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=graph_provider(graph)) as house:

        def deliver(written: Mail) -> None:
            graph.deliver(user, written.raw)

        await lost_and_found(house, user, deliver)


async def lost_and_found(house: House, user: str, deliver: Callable[[Mail], None]) -> None:
    customer = "anna@customer.example.net"
    first, lost = (mail(customer, user, subject, "Please help.") for subject in ("First", "Lost"))
    house.words.update({*first.words, *lost.words})
    await house.daemon.start()
    await house.daemon.wait_ready(house.port)
    mailbox_id = await house.linked(user)
    await asyncio.to_thread(deliver, first)
    await house.tickets(mailbox_id)
    nowhere = await house.explained("<nowhere@customer.example.net>", mailbox_id)
    assert (nowhere["stored"], nowhere["at_provider"], nowhere["provider_error"]) == ([], [], None)
    assert await house.daemon.stop() == 0

    await asyncio.to_thread(deliver, lost)
    assert await pass_over(house.store, house.account_id, mailbox_id) == 1
    (place,) = (await _explain(house, lost, status=1))["there"]
    assert (place["folder"], place["why"]) == ("INBOX", "waiting")
    found = await _audit(house, mailbox_id, "--repair")
    assert (found["compared"], found["taken"], found["fetched"]) == (2, 1, 1)
    assert (len(found["unaccounted"]), found["repaired"]) == (1, 1)
    (stored,) = (await _explain(house, lost))["stored"]
    assert (stored["ticket"], stored["folder"]) == (2, "INBOX")
    again = await _audit(house, mailbox_id)
    assert (again["taken"], again["fetched"], again["unaccounted"]) == (2, 0, [])


async def _audit(house: House, mailbox_id: UUID, *options: str) -> dict[str, Any]:
    done = await house.daemon.run_cli("audit", mailbox_id, "--json", *options)
    assert done.status == 0, done.err
    return dict(done.json())


async def _explain(house: House, sought: Mail, status: int = 0) -> dict[str, Any]:
    done = await house.daemon.run_cli("explain", sought.message_id, "--json")
    assert done.status == status, done.err
    (found,) = done.json()
    assert found["error"] is None
    return dict(found)
