"""`verify --against-mailbox`, `audit` and `explain`: what the server holds is compared with what is stored."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.losing import pass_over
from tests.stores import StoreUrls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail

pytestmark = pytest.mark.postgresql_is_long


async def compared(house: House, status: int = 0) -> dict[str, object]:
    done = await house.daemon.run_cli("verify", "--against-mailbox", "--json")
    assert done.status == status, done.err
    (found,) = done.json()["mailboxes"]
    assert isinstance(found, dict)
    return found


async def places(house: House, mailbox_id: UUID) -> list[str]:
    return [one.messages[0].record.locator for one in await house.tickets(mailbox_id, 3)]


async def test_what_reading_passed_over_is_found(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        for subject in ("One", "Two", "Three"):
            house.deliver(user, mail(customer, user, subject, "Please help."))
        await house.tickets(mailbox_id, 3)
        assert await compared(house) == {"mailbox": str(mailbox_id), "compared": 3, "fetched": 0, "lost": []}

        # Moved out and back, it lies elsewhere, and is the same message.
        before = await places(house, mailbox_id)
        servers.dovecot.doveadm("mailbox", "create", "-u", user, "Aside")
        servers.dovecot.doveadm("move", "-u", user, "Aside", "mailbox", "INBOX", "subject", "Two")
        servers.dovecot.doveadm("move", "-u", user, "INBOX", "mailbox", "Aside", "all")

        async def read_again() -> bool:
            return await places(house, mailbox_id) != before

        await until(read_again, "the moved message was read again")
        assert await compared(house) == {"mailbox": str(mailbox_id), "compared": 3, "fetched": 0, "lost": []}
        assert await house.daemon.stop() == 0

        house.deliver(user, mail(customer, user, "Lost", "Nobody reads me."))
        assert (await compared(house))["compared"] == 3  # not passed yet, so nothing is lost
        assert await pass_over(house.store, house.account_id, mailbox_id) == 1
        found = await compared(house, status=1)
        assert (found["compared"], found["fetched"]) == (4, 1)
        assert len(found["lost"]) == 1  # type: ignore[arg-type]
        told = await house.daemon.run_cli("verify", "--against-mailbox", "--mailbox", mailbox_id)
        assert "1 messages are on a server and not here" in told.err
        assert "FAIL mailbox" in told.out

        audited = await house.daemon.run_cli("audit", mailbox_id, "--json")
        assert (audited.status, audited.json()["unaccounted"]) == (1, found["lost"])
        assert (audited.json()["taken"], audited.json()["repaired"], audited.json()["complete"]) == (3, 0, True)
        assert "--repair takes them in" in audited.err
        repaired = await house.daemon.run_cli("audit", mailbox_id, "--repair", "--json")
        assert (repaired.status, repaired.json()["repaired"]) == (0, 1), repaired.err
        assert len(await house.tickets(mailbox_id, 4)) == 4
        again = await house.daemon.run_cli("audit", mailbox_id, "--repair", "--json")
        assert (again.status, again.json()["taken"], again.json()["unaccounted"]) == (0, 4, [])
        assert (await compared(house))["lost"] == []
        assert b"Seen" not in servers.dovecot.doveadm("fetch", "-u", user, "flags", "mailbox", "INBOX")
        await house.daemon.start()
        await house.tickets(mailbox_id, 4)


async def test_a_mailbox_that_cannot_be_asked_is_not_called_good(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user = new_user()
    async with open_house(tmp_path, store_urls, servers) as house:
        await house.daemon.start()
        await house.linked(user)
        assert await house.daemon.stop() == 0
        servers.auth.revoke(user)
        found = await compared(house, status=1)
        assert "grant" in str(found["error"])


async def explained(house: House, message_id: str, status: int = 0) -> dict[str, list[dict[str, object]]]:
    done = await house.daemon.run_cli("explain", message_id, "--json")
    assert done.status == status, done.err
    (found,) = done.json()
    assert found["error"] is None
    return found  # type: ignore[no-any-return]


async def test_where_is_my_mail(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    old, first, aside = (mail(customer, user, subject, "Please help.") for subject in ("Old", "First", "Aside"))
    answer = mail(customer, user, "Answer", "And this?", in_reply_to=first.message_id)
    async with open_house(tmp_path, store_urls, servers) as house:
        house.deliver(user, old)
        folder = servers.dovecot.home / "mail" / user / "new"
        for path in folder.iterdir():
            os.utime(path, (1_500_000_000, 1_500_000_000))
        servers.dovecot.doveadm("mailbox", "create", "-u", user, "Aside")
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, first)
        await house.tickets(mailbox_id, 1)
        house.deliver(user, answer)

        async def joined() -> bool:
            found = await house.daemon.run_cli("explain", answer.message_id, "--stored", "--json")
            return bool(found.json()[0]["stored"])

        await until(joined, "the answer was read")
        house.deliver(user, aside, "Aside")
        (found,) = (await explained(house, first.message_id.strip("<>")))["stored"]
        assert (found["ticket"], found["folder"], found["kind"]) == (1, "INBOX", "customer")
        (found,) = (await explained(house, answer.message_id))["stored"]
        assert found["ticket"] == 1
        assert "sender requester" in found["because"]  # type: ignore[operator]
        assert [one["why"] for one in (await explained(house, old.message_id, 1))["there"]] == ["before_start"]
        (place,) = (await explained(house, aside.message_id, 1))["there"]
        assert (place["folder"], place["why"]) == ("Aside", "folder_not_followed")
        by_api = await house.explained(aside.message_id, mailbox_id)
        assert [(one["folder"], one["why"]) for one in by_api["at_provider"]] == [("Aside", "folder_not_followed")]
        assert (await explained(house, "<nowhere@customer.example.net>", 1))["there"] == []
        told = await house.daemon.run_cli("explain", aside.message_id)
        assert "that folder is not followed" in told.out
        told = await house.daemon.run_cli("explain", answer.message_id)
        assert "ticket 1 (open): customer, read from INBOX" in told.out
        await house.daemon.cli("mailbox", "pause", mailbox_id)
        told = await house.daemon.run_cli("explain", aside.message_id)
        assert "the mailbox is paused" in told.out, "and its provider is not asked"
        await house.daemon.cli("mailbox", "resume", mailbox_id)
        assert await house.daemon.stop() == 0
        late = mail(customer, user, "Late", "Nobody runs.")
        house.deliver(user, late)
        assert [one["why"] for one in (await explained(house, late.message_id, 1))["there"]] == ["waiting"]


@pytest.mark.long
async def test_a_daemon_compares_by_itself(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers, inbound={"audit_days": 0.00001}) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "One", "Please help."))
        await house.tickets(mailbox_id, 1)
        (told, *_) = await house.daemon.wait_log("mailbox.audited", seconds=100)
        assert (told["messages"], told["count"], told["outcome"]) == (1, 0, "complete")
        assert await house.daemon.stop() == 0
