"""Where is my mail, asked over HTTP: in which ticket, in quarantine, at the provider; and never another account's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import ConnectorError, Fingerprint, PermanentError, RawMessage, Trouble, Whereabouts
from ingestd.inbound.audit import Audited
from storage import mailboxes
from storage.mailboxes import MailboxState
from tests.api.desk import ApiDesk, api_desk, assert_problem
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/inbound


@dataclass
class Server:
    """A provider's answers to `find`, in the place of a reader."""

    places: list[Whereabouts] = field(default_factory=list)
    raw: bytes = b""
    error: ConnectorError | None = None
    closed: int = 0

    async def find(self, message_id: str) -> Sequence[Whereabouts]:
        if self.error is not None:
            raise self.error
        return self.places

    async def fingerprints(self, locators: Sequence[str]) -> dict[str, Fingerprint]:
        return {}

    async def fetch(self, locator: str) -> RawMessage | None:
        header = self.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return RawMessage(locator, "INBOX", len(self.raw), datetime.now(UTC), self.raw, header)

    async def close(self) -> None:
        self.closed += 1

    def readers(self) -> Audited:
        return Audited(self, ("INBOX",))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def desk(stores: Stores, server: Server) -> AsyncIterator[ApiDesk]:
    office = await Office.open(stores)
    await office.take(mail(), mail("poison", message_id="<bad@example.org>"))
    async with api_desk(office, readers=server.readers()) as opened:
        yield opened


async def sought(desk: ApiDesk, message_id: str, path: str = "/explain", **more: Any) -> list[dict[str, Any]]:
    found = await desk.post(path, {"message_id_header": message_id, **more})
    return list(found["items"])


async def asked(desk: ApiDesk, message_id: str) -> dict[str, Any]:
    """Ask the provider, too."""
    (found,) = await sought(desk, message_id, mailbox_id=str(desk.office.held.mailbox_id), ask_provider=True)
    return found


async def test_what_is_stored_is_told(desk: ApiDesk, server: Server) -> None:
    reply = await desk.post("/tickets/1/replies", {"text": "Hello"})
    own = (await desk.get(f"/messages/{reply['message_id']}"))["message_id_header"]
    (here,) = await sought(desk, "q1@example.org")
    (message,) = here.pop("stored")
    assert here == {
        "mailbox_id": str(desk.office.held.mailbox_id),
        "quarantined": [],
        "at_provider": None,
        "provider_error": None,
    }
    first = (await desk.get("/tickets/1/messages"))["items"][0]
    assert {name: message[name] for name in ("message_id", "ticket_number", "direction", "kind", "evidence")} == {
        name: first[name] for name in ("message_id", "ticket_number", "direction", "kind", "evidence")
    }
    assert (message["ticket_status"], message["folder"], message["muted"]) == ("open", "INBOX", False)
    assert message["received_at"] <= message["taken_at"]
    (here,) = await sought(desk, own)
    assert [(one["direction"], one["kind"], one["folder"]) for one in here["stored"]] == [("out", "reply", "")]
    (held,) = (await desk.get("/quarantine"))["items"]
    for found in ((await sought(desk, "<bad@example.org>"))[0], await asked(desk, "<bad@example.org>")):
        assert found["stored"] == []
        assert [(one["quarantine_id"], one["reason"]) for one in found["quarantined"]] == [
            (held["quarantine_id"], "timeout")
        ]
        assert found["at_provider"] is None, "what is here is not asked for"
    (here,) = await sought(desk, "<nowhere@example.org>")
    assert (here["stored"], here["quarantined"], here["at_provider"]) == ([], [], None)
    assert server.closed == 0
    await desk.verified()


async def test_mailboxes_are_told_page_by_page(desk: ApiDesk, stores: Stores) -> None:
    more = await Office.open(stores, address="sales@example.com", beside=desk.office)
    await more.take(mail(text="The same to both."))
    both = [str(desk.office.held.mailbox_id), str(more.held.mailbox_id)]
    found = await sought(desk, "<q1@example.org>")
    assert [(one["mailbox_id"], len(one["stored"])) for one in found] == [(mailbox_id, 1) for mailbox_id in both]
    (one,) = await sought(desk, "<q1@example.org>", mailbox_id=both[1])
    assert one["mailbox_id"] == both[1]
    page = await desk.post("/explain?limit=1", {"message_id_header": "<q1@example.org>"})
    assert ([one["mailbox_id"] for one in page["items"]], page["next"]) == (both[:1], both[0])
    page = await desk.post(f"/explain?limit=1&after={both[0]}", {"message_id_header": "<q1@example.org>"})
    assert ([one["mailbox_id"] for one in page["items"]], page["next"]) == (both[1:], None)


async def test_the_provider_says_where_it_lies(desk: ApiDesk, server: Server) -> None:
    lost = mail("Lost", message_id="<lost@example.org>")
    now = datetime.now(UTC)
    server.raw = lost
    server.places = [
        Whereabouts("1:9:INBOX", "INBOX", now + timedelta(minutes=1), 0),
        Whereabouts("1:8:INBOX", "INBOX", now - timedelta(days=9), 0),
        Whereabouts("2:7:Aside", "Aside", now, None),
    ]
    found = await asked(desk, "<lost@example.org>")
    assert [(one["folder"], one["why"]) for one in found["at_provider"]] == [
        ("INBOX", "waiting"),
        ("INBOX", "before_start"),
        ("Aside", "folder_not_followed"),
    ]
    server.raw = mail()
    assert {one["why"] for one in (await asked(desk, "<moved@example.org>"))["at_provider"]} == {"taken"}
    server.places = []
    assert (await asked(desk, "<nowhere@example.org>"))["at_provider"] == []
    assert server.closed == 3
    server.error = PermanentError("refused", trouble=Trouble.GRANT_REVOKED)
    found = await asked(desk, "<lost@example.org>")
    assert (found["at_provider"], found["provider_error"]) == (None, "grant_revoked")
    await desk.post(f"/mailboxes/{desk.office.held.mailbox_id}/pause")
    found = await asked(desk, "<lost@example.org>")
    assert (found["at_provider"], found["provider_error"], server.closed) == (None, "paused", 4)
    await desk.verified()


async def test_a_provider_that_is_not_configured_any_more_is_not_asked(stores: Stores) -> None:
    async with api_desk(await Office.open(stores)) as desk:
        assert (await asked(desk, "<lost@example.org>"))["provider_error"] == "not_configured"


async def test_another_accounts_mail_is_not_there(desk: ApiDesk, stores: Stores) -> None:
    other = await Office.open(stores, address="other@example.net")
    await other.take(mail("Secret", message_id="<theirs@example.org>"))
    (here,) = await sought(desk, "<theirs@example.org>")
    assert (here["mailbox_id"], here["stored"]) == (str(desk.office.held.mailbox_id), [])
    body = {"message_id_header": "<theirs@example.org>", "mailbox_id": str(other.held.mailbox_id)}
    for ask_provider in (False, True):
        answer = await desk.ask("POST", "/explain", json={**body, "ask_provider": ask_provider})
        assert_problem(answer, 404, "not_found")
    token = await desk.new_token(account_id=other.held.account_id)
    theirs = await desk.client.post(
        f"/v1/accounts/{other.held.account_id}/explain", headers={"Authorization": f"Bearer {token}"}, json=body
    )
    assert len(theirs.json()["items"][0]["stored"]) == 1, "the control"


async def test_what_cannot_be_asked_is_refused(desk: ApiDesk) -> None:
    everywhere = {"message_id_header": "<q1@example.org>", "ask_provider": True}
    assert_problem(await desk.ask("POST", "/explain", json=everywhere), 422, "invalid")
    for wrong in ("", "x" * 999):
        assert_problem(await desk.ask("POST", "/explain", json={"message_id_header": wrong}), 422, "invalid")
    held = desk.office.held
    await desk.backend.content.transaction(
        held.account_id, mailboxes.set_state, held.mailbox_id, fence=held.fence, state=MailboxState.REAUTH_REQUIRED
    )
    assert (await asked(desk, "<lost@example.org>"))["provider_error"] == "reauth_required"
