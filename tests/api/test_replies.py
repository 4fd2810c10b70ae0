"""Replies: written over HTTP, with files and limits; shown, cancelled, tried again, decided."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from config import Settings
from connectors.base import Refusal, SendOutcome, SendStatus
from ingestd.access import Scope
from ingestd.outbound import delay
from storage import replies
from storage.outbox import ReplyStatus
from storage.tables import outbox as outbox_table
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.office import Office, mail
from tests.outbound.test_sender import AUTO, QUICK, Provider
from tests.plans import plans
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage

REPLIES = "/tickets/1/replies"


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with replying(stores) as opened:
        yield opened


def replying(stores: Stores, given: Settings | None = None) -> Any:
    return _Replying(stores, given)


class _Replying:
    """An office with one ticket, served."""

    def __init__(self, stores: Stores, given: Settings | None) -> None:
        self._stores, self._given = stores, given

    async def __aenter__(self) -> ApiDesk:
        office = await Office.open(self._stores, mailbox={"signature": "Jane Doe", "name": "Example Support"})
        await office.take(mail())
        self._open = api_desk(office, self._given)
        return await self._open.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._open.__aexit__(*error)


async def composed(desk: ApiDesk, reply: dict[str, Any]) -> EmailMessage:
    """Return the mail that will be sent."""
    raw = await desk.backend.desk.raw(desk.account_id, UUID(reply["message_id"]))
    found = message_from_bytes(raw, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


async def send(desk: ApiDesk, *outcomes: SendOutcome) -> None:
    """Let the daemon send what is due."""
    await desk.office.outbox(Provider(*outcomes), QUICK, AUTO).run_due()


async def test_a_reply_is_what_was_asked_for(desk: ApiDesk) -> None:
    content = base64.b64encode(b"1;2;3").decode()
    answer = await desk.ask(
        "POST",
        REPLIES,
        json={
            "markdown": "We **look** into it. ![logo](cid:logo)",
            "cc": [{"address": "bob@example.net", "name": "Bob"}],
            "bcc": [{"address": "boss@example.com"}],
            "attachments": [{"name": "list.csv", "content_type": "text/csv", "content_base64": content}],
            "images": [{"cid": "logo", "name": "logo.png", "content_type": "image/png", "content_base64": content}],
            "author": "kim",
            "quote": True,
        },
    )
    assert answer.status_code == 201, answer.text
    reply = answer.json()
    assert answer.headers["location"].endswith(f"/replies/{reply['message_id']}")
    assert (reply["status"], reply["author"], reply["ticket_number"]) == ("queued", "kim", 1)
    assert [(one["address"], one["bcc"], one["status"]) for one in reply["recipients"]] == [
        ("anna@example.org", False, "pending"),
        ("bob@example.net", False, "pending"),
        ("boss@example.com", True, "pending"),
    ]
    sent = await composed(desk, reply)
    assert (sent["To"], sent["Cc"], sent["Bcc"]) == ("anna@example.org", "Bob <bob@example.net>", None)
    (attached,) = sent.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("list.csv", "text/csv")
    plain = sent.get_body(("plain",))
    assert plain is not None
    assert "Jane Doe" in plain.get_content()
    assert "> It does not print." in plain.get_content()
    assert await desk.get(f"/replies/{reply['message_id']}") == reply
    await desk.verified()


async def test_a_repeated_request_is_one_reply(desk: ApiDesk) -> None:
    wanted = {"text": "We look.", "send_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    first = await desk.post(REPLIES, wanted, key="r")
    again = await desk.ask("POST", REPLIES, json=wanted, key="r")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first, "true")
    assert_problem(
        await desk.ask("POST", REPLIES, json={**wanted, "text": "B"}, key="r"), 409, "idempotency_key_reused"
    )
    assert (await desk.post(REPLIES, wanted))["message_id"] != first["message_id"]
    assert first["waits_for"] == "time"


async def test_a_repeated_request_is_the_same_where_it_could_not_be_made_any_more(
    desk: ApiDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time to be sent at has passed meanwhile: refused, the client would think that there is no reply."""
    monkeypatch.setattr(delay, "_LATE", timedelta(hours=2))
    wanted = {"text": "Good morning.", "send_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    first = await desk.post(REPLIES, wanted, key="r")
    monkeypatch.undo()
    again = await desk.ask("POST", REPLIES, json=wanted, key="r")
    assert (again.status_code, again.json()["message_id"]) == (201, first["message_id"])
    refused = await desk.ask("POST", REPLIES, json=wanted, key="another")
    assert "has passed" in assert_problem(refused, 422, "reply_refused")["detail"]


async def test_what_cannot_be_a_reply(desk: ApiDesk) -> None:
    upload = str(new_id())
    for wanted in (
        {},
        {"text": "a", "html": "b"},
        {"text": ""},
        {"text": "a", "subject": "b"},
        {"text": "a", "attachments": [{}]},
        {"text": "a", "attachments": [{"content_base64": "MTsyOzM="}]},
        {"text": "a", "attachments": [{"content_base64": "no base64!", "name": "x"}]},
        {"text": "a", "attachments": [{"upload_id": upload, "name": "x"}]},
        {"text": "a", "images": [{"upload_id": upload}]},
        {"text": "a", "undo_seconds": -1},
        {"text": "a", "undo_seconds": 10**30},
        {"text": "a", "send_at": "2026-03-01T09:00:00"},
        {"text": "a", "send_at": "9999-03-01T09:00:00Z"},
        {"text": "a", "author": "x" * 201},
    ):
        assert_problem(await desk.ask("POST", REPLIES, json=wanted), 422, "invalid")
    half = await desk.ask("POST", REPLIES, content=b'{"text": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert_problem(half, 422, "invalid")
    for wanted, said in (
        ({"text": "a", "cc": [{"address": "no address"}]}, "no address"),
        ({"text": "a", "cc": [{"address": "b@example.net", "name": "x\r\ny"}]}, "line break"),
        ({"text": "a", "attachments": [{"upload_id": upload}]}, "not there"),
        ({"text": "a", "send_at": "2020-03-01T09:00:00Z"}, "has passed"),
        ({"html": "<img src='https://example.net/x.png'>"}, "image"),
    ):
        refused = assert_problem(await desk.ask("POST", REPLIES, json=wanted), 422, "reply_refused")
        assert said in refused["detail"]
    assert_problem(await desk.ask("POST", "/tickets/99/replies", json={"text": "a"}), 404, "not_found")
    assert_problem(await desk.ask("POST", f"/tickets/{2**70}/replies", json={"text": "a"}), 422, "invalid")
    assert (await desk.get("/replies"))["items"] == []
    await desk.verified()


async def test_the_limits_of_the_settings(stores: Stores) -> None:
    limits = {
        "recipients_max": 2,
        "text_bytes_max": 1024,
        "replies_per_ticket_per_hour_max": 2,
        "reply_bytes_max": 4096,
    }
    async with replying(stores, settings(outbound=limits)) as desk:
        many = {"text": "a", "cc": [{"address": f"{n}@example.net"} for n in range(2)]}
        large = {"text": "a", "attachments": [{"name": "a", "content_base64": base64.b64encode(bytes(4000)).decode()}]}
        for wanted, said in ((many, "recipients"), ({"text": "a" * 1025}, "text"), (large, "bytes, the limit is 4096")):
            refused = await desk.ask("POST", REPLIES, json=wanted)
            assert said in assert_problem(refused, 422, "reply_refused")["detail"]
        for _ in range(2):
            await desk.post(REPLIES, {"text": "a"})
        capped = assert_problem(await desk.ask("POST", REPLIES, json={"text": "a"}), 422, "reply_refused")
        assert capped["reason"] == "capped_ticket_hour"
        await desk.verified()


async def test_listed_cancelled_and_tried_again(desk: ApiDesk) -> None:
    later = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    put_off = await desk.post(REPLIES, {"text": "Later.", "send_at": later})
    undone = await desk.post(REPLIES, {"text": "Soon.", "undo_seconds": 300})
    first = await desk.get("/replies?limit=1")
    rest = await desk.get(f"/replies?after={first['next']}")
    both = [put_off["message_id"], undone["message_id"]]
    assert [one["message_id"] for one in first["items"] + rest["items"]] == both
    path = f"/replies/{undone['message_id']}"
    cancelled = await desk.post(f"{path}/cancel", {"author": "kim"}, key="c")
    assert (cancelled["status"], [(one["what"], one["by"]) for one in cancelled["decisions"]]) == (
        "cancelled",
        [("cancel", "kim")],
    )
    again = await desk.ask("POST", f"{path}/cancel", json={"author": "kim"}, key="c")
    assert (again.json(), again.headers["idempotency-replayed"]) == (cancelled, "true")
    refused = await desk.ask("POST", f"{path}/retry", json={})
    assert "cannot be tried again" in assert_problem(refused, 409, "illegal_step")["detail"]
    now = await desk.post(f"/replies/{put_off['message_id']}/retry", {})
    assert (now["status"], now["waits_for"], now["send_at"]) == ("queued", None, None)
    for query, found in (
        ("status=cancelled", [undone]),
        ("status=queued&status=cancelled", [put_off, undone]),
        ("status=sent", []),
        (f"mailbox_id={new_id()}", []),
        (f"mailbox_id={desk.office.held.mailbox_id}", [put_off, undone]),
    ):
        listed = (await desk.get(f"/replies?{query}"))["items"]
        assert [one["message_id"] for one in listed] == [one["message_id"] for one in found], query
    assert_problem(await desk.ask("GET", "/replies?status=lost"), 422, "invalid")
    await desk.verified()


async def test_a_person_decides_on_a_doubt(desk: ApiDesk) -> None:
    created = await desk.post(REPLIES, {"text": "We look."})
    path = f"/replies/{created['message_id']}"
    early = await desk.ask("POST", f"{path}/resolve", json={"decision": "sent"})
    assert_problem(early, 409, "illegal_step")
    await send(desk, SendOutcome(SendStatus.UNKNOWN, "dot"))
    doubtful = await desk.get(path)
    assert doubtful["status"] == "unknown"
    assert "handed over" in doubtful["doubt"]["why"]
    assert [(one["number"], one["outcome"], one["stage"]) for one in doubtful["attempts_made"]] == [
        (1, "unknown", "dot")
    ]
    assert (await desk.get("/replies?waiting_for_person=true"))["items"] == []
    await _give_up_looking(desk, created["message_id"])
    (waiting,) = (await desk.get("/replies?waiting_for_person=true"))["items"]
    assert waiting["waits_for"] == "person"
    body = {"decision": "sent", "author": "kim"}
    decided = await desk.post(f"{path}/resolve", body, key="s")
    assert (decided["status"], decided["reason"], decided["doubt"]) == ("sent", "resolved_by_person", None)
    again = await desk.ask("POST", f"{path}/resolve", json=body, key="s")
    assert (again.json()["decisions"], again.headers["idempotency-replayed"]) == (decided["decisions"], "true")
    assert_problem(await desk.ask("POST", f"{path}/resolve", json={"decision": "maybe"}), 422, "invalid")
    await desk.verified()


async def _give_up_looking(desk: ApiDesk, message_id: str) -> None:
    def change(conn: Connection) -> None:
        where = outbox_table.c.message_id == UUID(message_id)
        conn.execute(update(outbox_table).where(where).values(due_at=None, reason="needs_person"))

    await desk.backend.content.transaction(None, change)


async def test_a_refused_recipient_is_told(desk: ApiDesk) -> None:
    created = await desk.post(REPLIES, {"text": "We look.", "cc": [{"address": "gone@example.net"}]})
    refusal = {"gone@example.net": Refusal(550, "5.1.1")}
    await send(desk, SendOutcome(SendStatus.ACCEPTED, "dot", 250, refused_recipients=refusal))
    shown = await desk.get(f"/replies/{created['message_id']}")
    assert [(one["address"], one["status"], one["code"]) for one in shown["recipients"]] == [
        ("anna@example.org", "accepted", None),
        ("gone@example.net", "refused", 550),
    ]


async def test_scopes_and_others(desk: ApiDesk) -> None:
    created = await desk.post(REPLIES, {"text": "We look."})
    path = f"/replies/{created['message_id']}"
    reader, replier = await desk.new_token([Scope.READ]), await desk.new_token([Scope.REPLY])
    assert_problem(await desk.ask("POST", REPLIES, json={"text": "a"}, token=reader), 403, "forbidden")
    assert_problem(await desk.ask("GET", path, token=replier), 403, "forbidden")
    assert (await desk.ask("POST", f"{path}/cancel", json={}, token=replier)).status_code == 200
    other = await Office.open(desk.office.stores, address="other@example.com")
    foreign, theirs = await desk.new_token(account_id=other.held.account_id), f"/v1/accounts/{other.held.account_id}"
    for method, what, body in (
        ("GET", path, None),
        ("POST", f"{path}/cancel", {}),
        ("POST", f"{path}/retry", {}),
        ("POST", f"{path}/resolve", {"decision": "sent"}),
        ("POST", REPLIES, {"text": "a"}),
        ("POST", "/tickets/1/uploads?name=a", {}),
    ):
        assert_problem(await desk.ask(method, theirs + what, json=body, token=foreign), 404, "not_found")
    assert (await desk.get(f"{theirs}/replies", token=foreign))["items"] == []
    # What is of a mailbox that is being forgotten is not there either.
    await desk.ask("DELETE", f"/mailboxes/{desk.office.held.mailbox_id}")
    for method, what, body in (("GET", path, None), ("POST", f"{path}/retry", {}), ("POST", REPLIES, {"text": "a"})):
        assert_problem(await desk.ask(method, what, json=body), 404, "not_found")
    assert (await desk.get("/replies"))["items"] == []


async def test_lists_of_replies_are_read_from_an_index(desk: ApiDesk) -> None:
    await desk.post(REPLIES, {"text": "We look."})

    def look(conn: Connection) -> list[str]:
        some = (ReplyStatus.QUEUED, ReplyStatus.FAILED)
        return plans(
            conn,
            "outbox",
            lambda: replies.list_replies(conn, desk.account_id, statuses=some, limit=20),
            lambda: replies.list_replies(
                conn, desk.account_id, statuses=tuple(ReplyStatus), waiting_for_person=True, limit=20
            ),
        )

    found = await desk.backend.content.transaction(None, look)
    assert any("ix_outbox_account_id_status_message_id" in line for line in found)
    wrong = ("Seq Scan on outbox", "SCAN outbox", "TEMP B-TREE")
    assert [line for line in found for one in wrong if one in line] == []
