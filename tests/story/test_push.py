"""News that providers tell of: mail comes in long before anybody would have polled, and nothing hangs on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
import pytest

from ingestd.demo.authserver import AuthServer
from ingestd.demo.gmailfaults import Fault
from ingestd.demo.gmailserver import GmailServer
from ingestd.demo.graph_push import Subscription
from ingestd.demo.graphserver import GraphServer
from storage import pushes
from storage.pushes import Push
from tests.servers.postgres import PostgresServer
from tests.stores import StoreUrls, postgres_urls, sqlite_urls
from tests.story import test_gmail, test_graph
from tests.story.house import PROVIDER, House, Servers, open_house, until
from tests.story.mails import mail
from tests.story.test_signals import reload, rewrite

SUBSCRIPTION: Final = "projects/demo/subscriptions/gmail"
TOPIC: Final = "projects/demo/topics/gmail"
SELDOM: Final = {"poll_seconds": 3600.0, "api_poll_seconds_min": 3600.0}
"""Nothing that a test waits for can come by polling."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUrls:
    if request.param == "sqlite":
        return sqlite_urls(tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return postgres_urls(server.create_database, tmp_path)


@pytest.fixture
def gmail(auth_server: AuthServer) -> Iterator[GmailServer]:
    server = GmailServer(auth_server.check, subscriptions=(SUBSCRIPTION,))
    server.start()
    yield server
    server.stop()


def by_gmail(gmail: GmailServer, issuer: str, folder: Path) -> dict[str, Any]:
    key_file = folder / "service-account.json"
    key_file.write_text(gmail.service_account.key_file())
    key_file.chmod(0o600)
    push = {
        "topic": TOPIC,
        "subscription": SUBSCRIPTION,
        "service_account_file": str(key_file),
        "pubsub_url": gmail.root,
        "token_url": f"{gmail.root}token",
    }
    return {**test_gmail.provider(gmail, issuer), "gmail_push": push}


async def test_gmail_tells_of_news(
    servers: Servers,
    gmail: GmailServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, test_gmail.MODIFY))
    support, other, anna = new_user(), new_user(), new_user()
    named = by_gmail(gmail, servers.auth.issuer, tmp_path)
    # One mailbox's `watch` is refused: that is told, and its mail is read at the next poll; the other is not concerned.
    gmail.faults.next("watch", Fault(403, "forbidden"))
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=named, inbound=SELDOM) as house:
        house.words.update(("pubsub-token", "demo.iam", SUBSCRIPTION))
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        await house.linked(other)
        await house.daemon.wait_log("push.failed")
        mailbox_id = await house.linked(support)
        box = gmail.box(support)

        async def is_watched() -> bool:
            return support in gmail.watches

        await until(is_watched, "a watch")
        assert other not in gmail.watches
        for number in (1, 2):
            written = mail(anna, support, f"Printer {number} on fire", "It burns.")
            house.words.update(written.words)
            await asyncio.to_thread(box.add, written.raw, ("INBOX", "UNREAD"))
            await house.tickets(mailbox_id, number)

        async def is_acknowledged() -> bool:
            return gmail.pubsub.unacknowledged() == 0

        await until(is_acknowledged, "an empty subscription")
        assert gmail.calls["watch"] == 2, "it lasts for days"
        assert gmail.service_account.given == 1
        assert 'ingestd_pushes_total{way="gmail"}' in await metrics(house)

        # A changed configuration begins everything anew.
        rewrite(house, inbound={"edit_attempts_max": 9})
        await reload(house, "config.reloaded")
        await until(lambda: _is(other in gmail.watches and gmail.calls["watch"] == 4), "new watches")
        written = mail(anna, support, "Printer 3 on fire", "It burns.")
        house.words.update(written.words)
        await asyncio.to_thread(box.add, written.raw, ("INBOX", "UNREAD"))
        await house.tickets(mailbox_id, 3)
        assert gmail.service_account.given == 2
        receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
        assert (receipt["revocation"], receipt["refresh_after"], receipt["left"]) == ("revoked", "refused", {})
        assert gmail.watches.keys() == {other}


async def test_graph_tells_of_news(
    urls: StoreUrls,
    servers: Servers,
    graph: GraphServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *test_graph.SCOPES))
    support = new_user()
    named = test_graph.provider(graph, graph_push="always")
    async with open_house(tmp_path, urls, servers, provider=named, inbound=SELDOM) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.linked(support)
        told = Telling(house, graph, support, mailbox_id)

        first = await told.standing()
        await told.arrives(1)

        # What it tells of the subscription itself.
        graph.subscriptions.standing.pop(first.identity)
        await told.delivered(2)
        graph.subscriptions.standing[first.identity] = first.subscription
        graph.subscriptions.lifecycle(first.identity, "missed")
        await house.tickets(mailbox_id, 2)
        first.subscription.fields["expirationDateTime"] = "2030-01-01T00:00:00Z"
        graph.subscriptions.lifecycle(first.identity, "reauthorizationRequired")
        await until(lambda: _is(first.subscription.fields["expirationDateTime"] < "2030"), "a renewal")
        graph.subscriptions.lifecycle(first.identity, "subscriptionRemoved")
        second = await told.standing(other_than=first.identity)
        await told.arrives(3)

        # One that is gone without a word is found to be gone.
        del graph.subscriptions.standing[second.identity]
        assert await told.post(second.identity, second.secret, lifecycleEvent="reauthorizationRequired") == 202
        third = await told.standing(other_than=second.identity)
        await told.arrives(4)

        await told.forge(third)
        await told.arrives(5)
        assert 'ingestd_push_failures_total{way="graph"} 0.0' in await metrics(house)
        await test_graph.forget(house, str(mailbox_id))
        assert told.mine() == {}


async def test_graph_cannot_reach_us_and_mail_comes_all_the_same(
    servers: Servers,
    graph: GraphServer,
    new_user: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers.auth, "scopes", (*servers.auth.scopes, *test_graph.SCOPES))
    support, anna = new_user(), new_user()
    named = test_graph.provider(graph, graph_push="always")

    async def is_unreachable(_url: str) -> bool:
        return False

    monkeypatch.setattr("ingestd.demo.graph_push._validates", is_unreachable)
    async with open_house(tmp_path, sqlite_urls(tmp_path), servers, provider=named) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.linked(support)
        await house.daemon.wait_log("push.failed")
        push = await house.read(pushes.find_push, mailbox_id)
        assert push is not None
        assert (push.sealed, push.failures) == (None, 1)
        written = mail(anna, support, "Printer on fire", "It burns.")
        house.words.update(written.words)
        await asyncio.to_thread(graph.deliver, support, written.raw)
        await house.tickets(mailbox_id)

        # So it is not to be tried any more.
        rewrite(house, providers={PROVIDER: {"graph_push": "never"}})
        await reload(house, "config.reloaded")

        async def is_unwanted() -> bool:
            return await house.read(pushes.find_push, mailbox_id) is None

        await until(is_unwanted, "no subscription")


class Standing:
    """A subscription that stands, at both ends."""

    def __init__(self, identity: str, subscription: Subscription, push: Push) -> None:
        self.identity = identity
        self.subscription = subscription
        self.push = push
        self.secret = str(subscription.fields["clientState"])


class Telling:
    """One mailbox, and what Graph tells of it."""

    def __init__(self, house: House, graph: GraphServer, user: str, mailbox_id: UUID) -> None:
        self._house = house
        self._graph = graph
        self._user = user
        self._mailbox_id = mailbox_id

    def mine(self) -> dict[str, Subscription]:
        found = dict(self._graph.subscriptions.standing)
        return {identity: one for identity, one in found.items() if one.mailbox.address == self._user}

    async def standing(self, *, other_than: str = "") -> Standing:
        """Wait for the only subscription that stands, and is written down."""

        async def look() -> Standing | None:
            push = await self._house.read(pushes.find_push, self._mailbox_id)
            found = [(identity, one) for identity, one in self.mine().items() if identity != other_than]
            if push is None or push.sealed is None or push.told is not None or not found:
                return None
            ((identity, subscription),) = found
            self._house.words.update((identity, str(subscription.fields["clientState"])))
            is_same = push.expires_at is not None and abs(push.expires_at - subscription.expires_at) < timedelta(0, 2)
            return Standing(identity, subscription, push) if is_same else None

        return await until(look, "a subscription")

    async def delivered(self, number: int) -> None:
        written = mail("anna@example.com", self._user, f"Printer {number} on fire", "It burns.")
        self._house.words.update(written.words)
        await asyncio.to_thread(self._graph.deliver, self._user, written.raw)

    async def arrives(self, number: int) -> None:
        """A mail comes, and is a ticket soon: the `number`th."""
        await self.delivered(number)
        await self._house.tickets(self._mailbox_id, number)

    async def post(self, identity: str, secret: object, *, to: object = None, **more: object) -> int:
        """Post as Graph does; return the status of the answer."""
        one = {"subscriptionId": identity, "clientState": secret, "changeType": "created", **more}
        return await self._post(json.dumps({"value": [one]}).encode(), to)

    async def _post(self, body: bytes, to: object = None) -> int:
        url = f"http://127.0.0.1:{self._house.port}/push/graph/{to or self._mailbox_id}"
        async with httpx2.AsyncClient(trust_env=False) as http:
            return (await http.post(url, content=body)).status_code

    async def forge(self, real: Standing) -> None:
        """What others post changes nothing, and is answered as if it were true."""
        removed = {"lifecycleEvent": "subscriptionRemoved"}
        before = await self._house.read(pushes.find_push, self._mailbox_id)
        for secret in ("", "guessed", real.secret[:-1], None, 7):
            assert await self.post(real.identity, secret, **removed) == 202
        assert await self.post("another", real.secret, **removed) == 202
        assert await self.post(real.identity, real.secret, to=UUID(int=7), **removed) == 202
        assert await self.post(real.identity, real.secret, to="no-id", **removed) == 404
        assert await self._post(b"[" * 100_000) == 202
        assert await self._post(b" " * (1024 * 1024 + 1)) == 413
        assert await self._house.read(pushes.find_push, self._mailbox_id) == before
        assert self.mine().keys() == {real.identity}


async def _is(value: bool) -> bool:
    return value


async def metrics(house: House) -> str:
    async with httpx2.AsyncClient(trust_env=False) as http:
        return (await http.get(f"http://127.0.0.1:{house.port}/metrics")).text
