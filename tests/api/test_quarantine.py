"""The quarantine over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from typing import Any

import pytest

from ingestd.access import Scope
from ingestd.inbound.parser import ParserPool, ParserRejected
from ingestd.mail.transform import Transformed, transform
from storage import mailboxes
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage

POISON = mail("poison")
ACTIONS = ("replay", "drop")


class Mended(ParserPool):
    """Understands everything, in the test's own process; until it does, gives up for a reason."""

    def __init__(self) -> None:
        self.rejects = ""

    async def transform(
        self, raw: bytes, *, live: bool = True, masked: bool = False, owner: Hashable = None
    ) -> Transformed:
        if self.rejects:
            raise ParserRejected(self.rejects)
        return transform(raw)


@pytest.fixture
def parser() -> Mended:
    return Mended()


@pytest.fixture
async def desk(stores: Stores, parser: Mended) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores), parser=parser) as opened:
        yield opened


async def held(desk: ApiDesk, *raws: bytes) -> list[str]:
    await desk.office.take(*(raws or (POISON,)))
    return [one["quarantine_id"] for one in (await desk.get("/quarantine"))["items"]]


async def test_list_show_and_raw(desk: ApiDesk) -> None:
    await held(desk)
    # In a batch of its own: those of one batch are given up on in any order.
    ids = await held(desk, mail("poison", message_id="<q2@example.org>"), mail(message_id="<q3@example.org>"))
    assert len(ids) == 2
    page = await desk.get("/quarantine?limit=1")
    assert ([page["next"]], len(page["items"])) == (ids[:1], 1)
    rest = await desk.get(f"/quarantine?limit=1&after={page['next']}&mailbox_id={desk.office.held.mailbox_id}")
    assert ([one["quarantine_id"] for one in rest["items"]], rest["next"]) == (ids[1:], None)
    assert (await desk.get(f"/quarantine?mailbox_id={new_id()}"))["items"] == []
    assert (await desk.get("/quarantine?status=taken&status=dropped"))["items"] == []
    shown = await desk.get(f"/quarantine/{ids[0]}")
    assert (shown["status"], shown["reason"], shown["folder"], shown["replays"]) == ("held", "timeout", "INBOX", 0)
    assert (shown["truncated"], shown["ticket_number"]) == (False, None)
    raw = await desk.ask("GET", f"/quarantine/{ids[0]}/raw")
    assert (raw.content, raw.headers["content-type"]) == (POISON, "message/rfc822")
    assert raw.headers["content-disposition"].startswith("attachment;")


async def test_what_is_understood_becomes_a_ticket_message(desk: ApiDesk, parser: Mended) -> None:
    (one,) = await held(desk)
    parser.rejects = "memory"
    again = await desk.post(f"/quarantine/{one}/replay", key="k1")
    assert (again["status"], again["reason"], again["replays"]) == ("held", "memory", 1)
    parser.rejects = ""
    # The same request again: it was done, and is not done again.
    repeated = await desk.ask("POST", f"/quarantine/{one}/replay", key="k1")
    assert (repeated.json()["replays"], repeated.headers["idempotency-replayed"]) == (1, "true")
    taken = await desk.post(f"/quarantine/{one}/replay", key="k2")
    assert (taken["status"], taken["ticket_number"], taken["folder"]) == ("taken", 1, "")
    assert await desk.post(f"/quarantine/{one}/replay", key="k2") == taken
    assert (await desk.get(f"/messages/{one}"))["subject"] == "poison"
    for action in ACTIONS:
        assert_problem(await desk.ask("POST", f"/quarantine/{one}/{action}"), 409, "conflict")
    assert_problem(await desk.ask("GET", f"/quarantine/{one}/raw"), 404, "not_found")
    assert (await desk.get("/quarantine"))["items"] == []
    assert [shown["status"] for shown in (await desk.get("/quarantine?status=taken"))["items"]] == ["taken"]
    await desk.verified()


async def test_what_is_dropped_is_gone(desk: ApiDesk) -> None:
    (one,) = await held(desk)
    dropped = await desk.post(f"/quarantine/{one}/drop", key="k1")
    assert dropped["status"] == "dropped"
    assert await desk.post(f"/quarantine/{one}/drop", key="k1") == dropped
    assert_problem(await desk.ask("POST", f"/quarantine/{one}/drop", key="k2"), 409, "conflict")
    assert_problem(await desk.ask("GET", f"/quarantine/{one}/raw"), 404, "not_found")
    assert (await desk.office.event_types())[-1] == "message.dropped"
    await desk.verified()


async def test_the_provider_went_from_the_configuration(desk: ApiDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = await held(desk)

    async def unknown(_office: Office, _mailbox: mailboxes.Mailbox) -> Any:
        raise KeyError("local")

    monkeypatch.setattr(Office, "known_of", unknown)
    async with api_desk(desk.office, parser=Mended()) as other:
        assert_problem(await other.ask("POST", f"/quarantine/{one}/replay"), 409, "conflict")


async def test_who_may_what(desk: ApiDesk) -> None:
    (one,) = await held(desk)
    reader = await desk.new_token([Scope.READ])
    other = await Office.open(desk.office.stores)
    foreign = await desk.new_token(account_id=other.held.account_id)
    paths = [("GET", f"/quarantine/{one}"), ("GET", f"/quarantine/{one}/raw")]
    paths += [("POST", f"/quarantine/{one}/{action}") for action in ACTIONS]
    for method, path in paths:
        assert_problem(await desk.ask(method, path, token=foreign), 404, "not_found")
        theirs = f"/v1/accounts/{other.held.account_id}{path}"
        assert_problem(await desk.ask(method, theirs, token=foreign), 404, "not_found")
        if method == "POST":
            assert_problem(await desk.ask(method, path, token=reader), 403, "forbidden")
    content = desk.office.stores.content
    await content.transaction(desk.account_id, mailboxes.start_disconnect, desk.office.held.mailbox_id)
    for method, path in paths:
        assert_problem(await desk.ask(method, path), 404, "not_found")
    assert (await desk.get("/quarantine"))["items"] == []
