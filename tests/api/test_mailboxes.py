"""Mailboxes: how they stand, and what people do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import Trouble
from ingestd.access import Scope
from ingestd.inbound.folders import open_folders
from ingestd.records import FoldersRecord
from storage import grants, mailboxes, outbox, pushes
from storage.mailboxes import MailboxState
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores)) as opened:
        yield opened


def path_of(desk: ApiDesk) -> str:
    return f"/mailboxes/{desk.office.held.mailbox_id}"


async def test_a_healthy_mailbox(desk: ApiDesk) -> None:
    await desk.office.take(mail())
    (listed,) = (await desk.get("/mailboxes"))["items"]
    shown = await desk.get(path_of(desk))
    assert (listed["address"], listed["state"], listed["warnings"]) == ("support@example.com", "active", [])
    assert 0 <= listed["lag_seconds"] < 60
    assert {name: shown[name] for name in ("trouble", "meaning", "cure", "backfill")} == dict.fromkeys(
        ("trouble", "meaning", "cure", "backfill")
    )
    assert shown["options"]["folders"] == ["INBOX"]
    assert (shown["sending"]["replies_waiting"], shown["sending"]["sent_day_max"]) == (0, 20_000)
    await desk.verified()


async def test_what_is_wrong_is_told_with_its_cure(desk: ApiDesk) -> None:
    office, do = desk.office, desk.backend.content.transaction
    at = (office.held.account_id, office.held.mailbox_id)
    await do(
        at[0],
        mailboxes.set_state,
        at[1],
        fence=office.held.fence,
        state=MailboxState.REAUTH_REQUIRED,
        trouble=Trouble.GRANT_REVOKED,
        reason="invalid_grant",
    )
    (listed,) = (await desk.get("/mailboxes"))["items"]
    assert (listed["state"], listed["trouble"], listed["reason"]) == (
        "reauth_required",
        "grant_revoked",
        "invalid_grant",
    )
    assert "taken back" in listed["meaning"]
    assert "consent again" in listed["cure"]
    assert listed["lag_seconds"] is None


async def test_warnings_of_an_active_mailbox(desk: ApiDesk) -> None:
    office, do = desk.office, desk.backend.content.transaction
    account_id, mailbox_id, fence = office.held.account_id, office.held.mailbox_id, office.held.fence
    await do(
        account_id,
        mailboxes.set_sending,
        mailbox_id,
        fence=fence,
        trouble=Trouble.TRANSIENT,
        reason="421",
        retry_in=timedelta(minutes=5),
    )
    before = open_folders(
        office.context.key, await desk.backend.content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    )
    missing = FoldersRecord(since=before.since if before else {}, missing=("Kunden",))
    sealed = office.context.key.seal_record(FoldersRecord.place(mailbox_id), missing)
    await do(account_id, mailboxes.set_folders, mailbox_id, sealed=sealed, missing=1)
    await office.take(mail())
    reply = await office.reply(1)
    await do(account_id, _wait_for_budget, reply.message_id)
    await do(account_id, grants.put_grant, mailbox_id, None, b"sealed", scopes=("openid",))
    for shown in (await desk.get(path_of(desk)), (await desk.get("/mailboxes"))["items"][0]):
        assert [(one["kind"], one["trouble"]) for one in shown["warnings"]] == [
            ("folders_missing", "folders_missing"),
            ("sending", "transient"),
            ("access", "scope_missing"),
            ("budget", "budget_day"),
        ]
        folders, sending, access, budget = shown["warnings"]
        assert "Kunden" in folders["meaning"]
        assert sending["until"] > sending["since"]
        assert "It lacks: mail." in access["meaning"]
        assert budget["until"]
        assert all(one["meaning"] and one["cure"] for one in shown["warnings"])
        assert shown["state"] == "active"


def _wait_for_budget(conn: Any, account_id: Any, message_id: Any) -> None:
    reply = outbox.get_reply(conn, account_id, message_id)
    outbox.change_reply(
        conn,
        account_id,
        message_id,
        was=reply.status,
        status=reply.status,
        due_at=reply.status_since + timedelta(hours=1),
        reason="budget_day",
    )


async def test_lists_are_paged(desk: ApiDesk) -> None:
    for address in ("sales@example.com", "help@example.com"):
        await Office.open(desk.office.stores, address=address, beside=desk.office)
    first = await desk.get("/mailboxes?limit=2")
    rest = await desk.get(f"/mailboxes?limit=2&after={first['next']}")
    assert [one["address"] for one in first["items"] + rest["items"]] == [
        "support@example.com",
        "sales@example.com",
        "help@example.com",
    ]
    assert rest["next"] is None


async def test_pause_and_resume(desk: ApiDesk) -> None:
    paused = await desk.post(f"{path_of(desk)}/pause", key="p")
    assert paused["state"] == "paused"
    assert (await desk.post(f"{path_of(desk)}/pause"))["state"] == "paused"
    assert (await desk.post(f"{path_of(desk)}/resume"))["state"] == "active"
    # The pause that comes again under its key was done long ago.
    again = await desk.ask("POST", f"{path_of(desk)}/pause", key="p")
    assert (again.json()["state"], again.headers["idempotency-replayed"]) == ("active", "true")
    assert (await desk.office.event_types())[-2:] == ["mailbox.paused", "mailbox.resumed"]
    await desk.verified()


async def test_options_are_changed_and_taken_back(desk: ApiDesk) -> None:
    wanted = {
        "after_import": "seen",
        "folders": ["INBOX", "Support"],
        "mirror": {"spam": "junk"},
        "name": "Example Support",
        "reply_to": "help@example.com",
        "reply_token": "plus",
        "signature": "Jane Doe\nExample Ltd",
    }
    changed = (await desk.ask("PATCH", path_of(desk), json=wanted, key="o")).json()["options"]
    assert changed == {
        **wanted,
        "mirror": {"read": "nothing", "spam": "junk", "delete": "nothing", "solved": "nothing"},
    }
    again = await desk.ask("PATCH", path_of(desk), json=wanted, key="o")
    assert (again.json()["options"], again.headers["idempotency-replayed"]) == (changed, "true")
    one = (await desk.ask("PATCH", path_of(desk), json={"name": ""})).json()["options"]
    assert one == {**changed, "name": ""}
    back = (await desk.ask("PATCH", path_of(desk), json=dict.fromkeys(wanted))).json()["options"]
    assert (back["after_import"], back["folders"], back["mirror"]["spam"]) == ("nothing", ["INBOX"], "nothing")
    assert (back["name"], back["reply_to"], back["reply_token"], back["signature"]) == ("", "", "off", "")
    await desk.verified()


_IMPOSSIBLE: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"folders": []}, None),
    ({"folder": ["A"]}, None),
    ({"after_import": "burn"}, "must be nothing"),
    ({"after_import": "move:Secret", "folders": ["Secret"]}, "watched itself"),
    ({"mirror": {"spam": "burn"}}, "must be"),
    ({"reply_to": "no address"}, "no address"),
    ({"name": "a\r\nBcc: eve@example.net"}, "line break"),
    ({"signature": "x" * 4001}, "more than 4000"),
]


async def test_options_that_cannot_be(desk: ApiDesk) -> None:
    for wanted, said in _IMPOSSIBLE:
        told = assert_problem(await desk.ask("PATCH", path_of(desk), json=wanted), 422, "invalid")
        assert said is None or said in told["detail"]
        assert "Secret" not in str(told)
        assert "eve" not in str(told)


async def test_options_wait_for_a_reply_that_is_being_sent(desk: ApiDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestd.api.v1.mailboxes._UNDER_WAY_SECONDS", 0.0)
    office = desk.office
    await office.take(mail())
    created = await office.reply(1)
    reply = await desk.backend.content.read(desk.account_id, outbox.get_reply, created.message_id)
    await desk.backend.content.transaction(
        desk.account_id, outbox.start_attempt, reply, outbox.ReplyStatus.SENDING, office.held.mailbox_id
    )
    refused = await desk.ask("PATCH", path_of(desk), json={"name": "A"})
    assert "is being sent" in assert_problem(refused, 409, "conflict")["detail"]


async def test_backfill(desk: ApiDesk) -> None:
    path = f"{path_of(desk)}/backfill"
    assert_problem(await desk.ask("GET", path), 404, "not_found")
    nothing = await desk.ask("POST", path, json={})
    assert "how far back" in assert_problem(nothing, 409, "conflict")["detail"]
    asked = await desk.ask("POST", path, json={"start_from": "days", "start_days": 30, "order": "oldest"}, key="b")
    assert (asked.status_code, asked.json()["status"], asked.json()["order"]) == (202, "running", "oldest")
    again = await desk.ask("POST", path, json={"start_from": "days", "start_days": 30, "order": "oldest"}, key="b")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert_problem(await desk.ask("POST", path, json={"start_from": "everything"}), 409, "conflict")
    assert (await desk.ask("DELETE", path)).json()["status"] == "stopped"
    assert_problem(await desk.ask("DELETE", path), 409, "conflict")
    resumed = await desk.post(path, {})
    assert (resumed["status"], resumed["order"], resumed["since"]) == ("running", "oldest", asked.json()["since"])
    assert (await desk.get(path_of(desk)))["backfill"] == await desk.get(path)
    wrong = await desk.ask("POST", path, json={"start_from": "days"})
    assert_problem(wrong, 422, "invalid")
    await desk.verified()


async def test_a_disconnect_is_asked_for_as_often_as_you_like(desk: ApiDesk) -> None:
    await desk.office.take(mail())
    first, twin = await asyncio.gather(*(desk.ask("DELETE", path_of(desk)) for _ in range(2)))
    assert (first.status_code, twin.status_code) == (202, 202), (first.text, twin.text)
    assert first.json() == twin.json()
    assert first.json()["step"] == "requested"
    assert await desk.get(first.headers["location"]) == first.json()
    keyed = await desk.ask("DELETE", path_of(desk), key="d")
    again = await desk.ask("DELETE", path_of(desk), key="d")
    assert (keyed.status_code, again.status_code, again.headers["idempotency-replayed"]) == (202, 202, "true")
    assert (await desk.office.event_types()).count("mailbox.disconnected") == 1
    # To everybody it is gone.
    assert (await desk.get("/mailboxes"))["items"] == []
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("GET", "/backfill")):
        assert_problem(await desk.ask(method, path_of(desk) + path), 404, "not_found")
    assert_problem(await desk.ask("PATCH", path_of(desk), json={"name": "A"}), 404, "not_found")
    assert_problem(await desk.ask("POST", f"{path_of(desk)}/backfill", json={}), 404, "not_found")
    await desk.verified()


async def test_scopes_and_others(desk: ApiDesk) -> None:
    reader = await desk.new_token([Scope.READ])
    manager = await desk.new_token([Scope.MANAGE])
    assert (await desk.ask("GET", path_of(desk), token=reader)).status_code == 200
    assert_problem(await desk.ask("GET", path_of(desk), token=manager), 403, "forbidden")
    for method, path in (("POST", "/pause"), ("DELETE", ""), ("DELETE", "/backfill")):
        assert_problem(await desk.ask(method, path_of(desk) + path, token=reader), 403, "forbidden")
    other = await Office.open(desk.office.stores)
    foreign = f"/mailboxes/{other.held.mailbox_id}"
    for method, path in (("GET", ""), ("POST", "/pause"), ("DELETE", ""), ("DELETE", "/backfill")):
        assert_problem(await desk.ask(method, foreign + path), 404, "not_found")
        assert_problem(await desk.ask(method, f"/mailboxes/{new_id()}{path}", key="x"), 404, "not_found")
    state = await other.stores.content.read(other.held.account_id, mailboxes.get_mailbox, other.held.mailbox_id)
    assert state.state is MailboxState.ACTIVE


async def test_the_subscription_of_a_mailbox_is_shown(desk: ApiDesk) -> None:
    held, content = desk.office.held, desk.office.stores.content
    path = f"/mailboxes/{held.mailbox_id}"
    assert (await desk.get(path))["push"] is None
    await content.transaction(held.account_id, pushes.want, held.mailbox_id, fence=held.fence)
    await content.transaction(
        held.account_id, pushes.note_failed, held.mailbox_id, fence=held.fence, retry_in=timedelta(minutes=5)
    )
    shown = (await desk.get(path))["push"]
    assert (shown["active_until"], shown["failures"]) == (None, 1)
    until = datetime.now(UTC) + timedelta(days=3)
    await content.transaction(
        held.account_id,
        pushes.note_made,
        held.mailbox_id,
        fence=held.fence,
        sealed=b"x",
        expires_at=until,
        renew_in=timedelta(days=1),
    )
    shown = (await desk.get(path))["push"]
    assert (datetime.fromisoformat(shown["active_until"]), shown["failures"]) == (until, 0)
