"""A mailbox whose grant is for the Gmail API alone: linked, read, answered from and forgotten, with no word to a mail
server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.demo.authserver import AuthServer
from ingestd.demo.gmailserver import GmailServer
from tests.stores import sqlite_urls
from tests.story.house import Servers, open_house, until
from tests.story.mails import header_of, mail

MODIFY = "https://www.googleapis.com/auth/gmail.modify"


@pytest.fixture
def gmail(auth_server: AuthServer) -> Iterator[GmailServer]:
    server = GmailServer(auth_server.check)
    server.start()
    yield server
    server.stop()


def provider(gmail: GmailServer, issuer: str) -> dict[str, Any]:
    """Return Google with the servers of the test."""
    addresses = {f"{name}_url": f"{issuer}/{name}" for name in ("authorize", "token", "userinfo", "revoke")}
    oauth = {**addresses, "scopes": ["openid", "email", MODIFY], "scopes_needed": [MODIFY]}
    return {"kind": "google", "gmail_url": gmail.root, "oauth": oauth}


async def test_the_story_by_the_gmail_api(
    servers: Servers,
    gmail: GmailServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, MODIFY))
    support, anna = new_user(), new_user()
    named = provider(gmail, servers.auth.issuer)
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=named) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.linked(support)
        shown = await house.daemon.cli("mailbox", "show", mailbox_id)
        assert (shown["read_by"], shown["send_by"], shown["access_warnings"]) == ("gmail", "gmail", [])

        written = mail(anna, support, "Printer on fire", "It burns since Monday.")
        house.words.update(written.words)
        box = gmail.box(support)
        await asyncio.to_thread(box.add, written.raw, ("INBOX", "UNREAD"))
        (ticket,) = await house.tickets(mailbox_id)
        number = ticket.ticket.number
        await house.reply_at(number, await house.reply(number, "Use the extinguisher."), "copy:filed")

        async def sent() -> list[bytes]:
            return [one.raw for one in box.messages.values() if "SENT" in one.labels]

        (left,) = await until(sent, "the reply in Sent")
        answer = mail(anna, support, "Re: Printer on fire", "It helped.", in_reply_to=header_of(left, "Message-ID"))
        house.words.update(answer.words)
        await asyncio.to_thread(box.add, answer.raw, ("INBOX", "UNREAD"))
        view = await house.ticket(number, messages=3)
        assert [one.row.direction for one in view.messages] == ["in", "out", "in"]
        assert len(await sent()) == 1, "the reply left once"

        # Google has forgotten how far we were: only what is new to us is fetched.
        fetched = gmail.calls["messages.get"]
        missed = mail(anna, support, "Another printer on fire", "That one, too.")
        house.words.update(missed.words)
        with box.lock:  # nobody reads in between
            box.forget_history()
            box.add(missed.raw, ("INBOX", "UNREAD"))
        await house.tickets(mailbox_id, 2)
        await house.repaired(recovered=1)
        assert gmail.calls["messages.get"] == fetched + 1
        receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
        assert (receipt["revocation"], receipt["refresh_after"], receipt["left"]) == ("revoked", "refused", {})


async def test_where_a_grant_opens_no_way_the_api_says_so(
    servers: Servers, gmail: GmailServer, new_user: Callable[[], str], tmp_path: Path
) -> None:
    """And no mail server is asked in its place: no way of the configuration leads to one, so none may be contacted."""
    named = provider(gmail, servers.auth.issuer) | {"read_by": ["gmail"], "send_by": ["gmail"]}
    oauth = named["oauth"] | {"scopes": ["openid", "email"], "scopes_needed": []}
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=named | {"oauth": oauth}) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.link(new_user())

        async def troubled() -> Any:
            view = await house.mailbox(mailbox_id)
            return view.mailbox if view.mailbox.trouble else None

        found = await until(troubled, "its trouble is known")
        assert (found.state, found.trouble) == ("reauth_required", "consent_or_mfa")
        assert "egress" not in house.daemon.log_text()
