"""The whole story, told once on each database and with each mechanism: link, read, reply, Sent, forget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.postgres import PostgresServer
from tests.stores import StoreUrls, postgres_urls, sqlite_urls
from tests.story.daemon import INGESTD
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import header_of, mail

# Each value of each column once; the other half of the pairs belongs to the long tests.
STORIES = [
    ("sqlite", "OAUTHBEARER", False),
    ("postgresql", "XOAUTH2", True),
    pytest.param("sqlite", "XOAUTH2", True, marks=pytest.mark.long),
    pytest.param("postgresql", "OAUTHBEARER", False, marks=pytest.mark.long),
]


def urls_of(engine: str, request: pytest.FixtureRequest, folder: Path) -> StoreUrls:
    if engine == "sqlite":
        return sqlite_urls(folder)
    server: PostgresServer = request.getfixturevalue("postgres")
    return postgres_urls(server.create_database, folder)


@pytest.mark.parametrize(("engine", "mechanism", "provider_files"), STORIES)
async def test_the_story(
    engine: str,
    mechanism: str,
    provider_files: bool,
    request: pytest.FixtureRequest,
    servers: Servers,
    new_user: Callable[[], str],
    tmp_path: Path,
) -> None:
    support, anna = new_user(), new_user()
    provider = {"mechanisms": [mechanism], "sent_wait_seconds": 15.0 if provider_files else 0.5}
    urls = urls_of(engine, request, tmp_path)
    async with open_house(tmp_path, urls, servers, provider=provider, by_cli=True, program=INGESTD) as house:
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        mailbox_id = await house.link_by_cli(support, "--name", "Support team")
        await house.settled(mailbox_id)
        await customers_write(house, support, anna)
        number = await find_ticket(house, anna)
        await agent_replies(house, number, support, anna, provider_files=provider_files)
        await customer_answers(house, number, support, anna)
        await mailbox_is_forgotten(house, str(mailbox_id), support)
        assert await house.daemon.stop() == 0
    assert_mechanism(servers, support, mechanism)


async def customers_write(house: House, support: str, anna: str) -> None:
    house.deliver(support, mail("bob@customer.example.net", support, "Printer on fire", "It burns since Monday."))
    house.deliver(
        support,
        mail(
            f"Анна <{anna}>",
            support,
            "Не работает принтер",
            "Здравствуйте! Помогите.",
            attachment=("план.pdf", b"%PDF" * 999),
        ),
    )
    house.deliver(
        support, mail("carol@customer.example.net", support, "No identity", "Sent by a scanner.", message_id="")
    )

    async def three() -> bool:
        return len(await house.store.desk.tickets(house.account_id)) == 3

    await until(three, "three tickets")


async def find_ticket(house: House, anna: str) -> int:
    listed = await house.daemon.cli("ticket", "list")
    assert [one["subject"] for one in listed] == ["Printer on fire", "Не работает принтер", "No identity"]
    ticket = next(one for one in listed if one["requester"] == anna)
    shown = await house.daemon.cli("ticket", "show", ticket["number"])
    (message,) = shown["messages"]
    assert message["text"].strip() == "Здравствуйте! Помогите."
    assert [one["name"] for one in message["attachments"]] == ["план.pdf"]
    output = house.folder / "attachment"
    done = await house.daemon.run_cli(
        "ticket",
        "attachment",
        ticket["number"],
        message["message"],
        message["attachments"][0]["position"],
        "--output",
        output,
    )
    assert done.status == 0, done.err
    assert output.read_bytes() == b"%PDF" * 999
    return int(ticket["number"])


async def agent_replies(house: House, number: int, support: str, anna: str, *, provider_files: bool) -> None:
    file = house.folder / "инструкция.txt"
    file.write_bytes(b"Turn it off and on again.")
    house.words |= {"Выключите и включите.", "инструкция"}
    arguments = (
        "ticket",
        "reply",
        number,
        "--text",
        "Выключите и включите.",
        "--attach",
        file,
        "--idempotency-key",
        "k1",
    )
    first = await house.daemon.cli(*arguments)
    again = await house.daemon.cli(*arguments)
    assert (first["repeated"], again) == (False, {"message": first["message"], "repeated": True})
    (arrived,) = await house.received(anna)
    if provider_files:
        house.servers.dovecot.deliver(support, arrived, "Sent")
    shown, mailbox = await copy_filed(house, number, first["message"])
    assert [one["outcome"] for one in shown["reply"]["attempts"]] == ["accepted"]
    (sent,) = await house.received(support, folder="Sent")
    assert header_of(sent, "Message-ID") == header_of(arrived, "Message-ID") == shown["message_id"]
    assert header_of(arrived, "To").endswith(f"<{anna}>")
    assert header_of(arrived, "From").endswith(f"<{support}>")
    assert b"Turn it off and on again." in arrived or b"VHVybiBpdCBvZmY" in arrived
    row = await house.daemon.cli("mailbox", "show", mailbox)
    assert (row["sent_copies_found"], row["sent_copies_filed"]) == ((1, 0) if provider_files else (0, 1))


async def copy_filed(house: House, number: int, message: str) -> tuple[dict[str, Any], str]:
    async def look() -> bool:
        view = await house.store.desk.ticket(house.account_id, number)
        return any(one.reply and one.reply.reply.sent_copy.value == "filed" for one in view.messages)

    await until(look, "Sent copy")
    shown = await house.daemon.cli("ticket", "show", number)
    return next(one for one in shown["messages"] if one["message"] == message), shown["mailbox"]


async def customer_answers(house: House, number: int, support: str, anna: str) -> None:
    (arrived,) = await house.received(anna)
    answer = mail(
        anna, support, "Re: Не работает принтер", "Спасибо, помогло!", in_reply_to=header_of(arrived, "Message-ID")
    )
    house.deliver(support, answer)
    view = await house.ticket(number, messages=3)
    assert [one.row.direction for one in view.messages] == ["in", "out", "in"]
    assert view.messages[-1].record.evidence[0] == "token verified"
    # Nothing was sent or filed a second time meanwhile.
    assert len(await asyncio.to_thread(house.servers.dovecot.mails, anna)) == 1
    assert len(await asyncio.to_thread(house.servers.dovecot.mails, support, "Sent")) == 1


async def mailbox_is_forgotten(house: House, mailbox: str, support: str) -> None:
    assert house.servers.auth.grants.living_grants(support) == 1
    receipt = await house.daemon.cli("mailbox", "disconnect", mailbox)
    assert receipt["mailbox_id"] == mailbox
    assert (receipt["revocation"], receipt["left"]) == ("revoked", {})
    assert receipt["deleted"]["messages"] == 5
    assert house.servers.auth.grants.living_grants(support) == 0
    assert await house.store.desk.mailboxes(house.account_id) == []
    assert await house.store.desk.tickets(house.account_id) == []
    assert (await house.daemon.cli("verify"))["violations"] == []
    # The mailbox itself is the customer's: nothing in it was touched.
    assert len(house.servers.dovecot.mails(support)) == 4


def assert_mechanism(servers: Servers, support: str, mechanism: str) -> None:
    lines = [line for line in servers.dovecot.log().splitlines() if "Login: user=" in line and support in line]
    assert lines
    assert all(f"method={mechanism}" in line.upper().replace("METHOD", "method") for line in lines), lines[:3]
