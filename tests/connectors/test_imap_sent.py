"""The Sent folder: found by its role or its name, made where there is none, and left alone by others' copies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from connectors.base import OWN_HEADER, PlaceMissing
from connectors.imap_cursor import Locator
from tests.connectors.mailbox import Mailbox, raw_mail, until

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.fixture
async def box(mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    yield mailbox
    await mailbox.close()


@pytest.fixture
async def poor(plain_mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    yield plain_mailbox
    await plain_mailbox.close()


async def test_a_localized_folder_is_known_by_its_name(poor: Mailbox) -> None:
    poor.server.create_folder(poor.user, "Отправленные")
    filed = await poor.sender().file_in_sent(raw_mail("copy"), NOW)
    assert Locator.parse(filed.locator).folder == "Отправленные"
    assert len(poor.server.mails(poor.user, "Отправленные")) == 1


async def test_where_there_is_no_sent_folder_it_is_made_and_subscribed(poor: Mailbox) -> None:
    assert "Sent" not in poor.server.folders(poor.user)
    sender = poor.sender()
    with pytest.raises(PlaceMissing):
        await sender.find_in_sent("<x@example.com>", "t")
    assert "Sent" not in poor.server.folders(poor.user)  # looking makes nothing
    filed = await sender.file_in_sent(raw_mail("copy"), NOW)
    assert Locator.parse(filed.locator).folder == "Sent"
    assert "Sent" in poor.dovecot.doveadm("mailbox", "list", "-s", "-u", poor.user).decode().split("\n")


async def test_the_operators_folder_comes_first(box: Mailbox) -> None:
    box.change(role_folders={"sent": "Ausgang"})
    sender = box.sender()
    # In a folder that is not there nothing can be absent: who believed it would send a reply twice.
    with pytest.raises(PlaceMissing):
        await sender.find_in_sent("<x@example.com>", "t")
    filed = await sender.file_in_sent(raw_mail("copy"), NOW)
    assert Locator.parse(filed.locator).folder == "Ausgang"
    assert await sender.find_in_sent("<x@example.com>", "t") == []


async def test_a_copy_that_the_provider_filed_under_another_id_is_found_by_our_header(box: Mailbox) -> None:
    mail = raw_mail("copy", message_id="<rewritten@provider.example.net>", extra=f"{OWN_HEADER}: hmac-7\r\n".encode())
    box.server.deliver(box.user, mail, "Sent")
    box.deliver("another", "Sent", extra=f"{OWN_HEADER}: hmac-8\r\n".encode())
    (found,) = await box.sender().find_in_sent("<ours@help.example.com>", "hmac-7")
    assert found.message_id == "<rewritten@provider.example.net>"


async def test_two_copies_are_both_told(box: Mailbox) -> None:
    for _ in range(2):
        box.deliver("twice", "Sent", message_id="<twice@help.example.com>")
    found = await box.sender().find_in_sent("<twice@help.example.com>", "unused")
    assert len({copy.locator for copy in found}) == 2


async def test_the_connection_is_closed_when_idle(box: Mailbox) -> None:
    box.change(connection_idle_seconds=0.2)
    sender = box.sender()
    await sender.find_in_sent("<x@example.com>", "t")
    await until(lambda: box.server.connections(box.user) == 0)
    filed = await sender.file_in_sent(raw_mail("after"), NOW)
    assert filed.message_id is not None
