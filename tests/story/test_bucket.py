"""Large mails in a bucket: a real daemon puts them there, the command line reads and exports them, a disconnect
deletes them; and while the bucket is away, mail waits at its provider."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.servers.s3 import serving
from tests.stores import sqlite_urls
from tests.story.house import Servers, open_house
from tests.story.mails import mail

ANNA = "anna@customer.example.net"


async def test_large_mails_lie_in_the_bucket_and_go_with_their_mailbox(
    servers: Servers, new_user: Callable[[], str], tmp_path: Path
) -> None:
    user = new_user()
    with serving() as s3:
        storage = {"bucket": s3.settings(s3.make_bucket(), "mail/")}
        async with open_house(tmp_path, sqlite_urls(tmp_path), servers, storage=storage) as house:
            await house.daemon.start()
            mailbox_id = await house.linked(user)
            film = os.urandom(2_000_000)
            house.deliver(user, mail(ANNA, user, "Large", "See below.", attachment=("film.bin", film)))
            (ticket,) = await house.tickets(mailbox_id, 1)
            assert house.store.blobs.count(house.account_id, mailbox_id) == 1
            message_id = str(ticket.messages[0].row.message_id)
            done = await house.daemon.run_cli(
                "ticket", "attachment", "1", message_id, "0", "--output", tmp_path / "film"
            )
            assert done.status == 0
            assert (tmp_path / "film").read_bytes() == film
            exported = await house.daemon.cli("export", tmp_path / "export")
            assert (exported["messages"], exported["damaged"]) == (1, 0)

            s3.fail(True)
            house.deliver(user, mail(ANNA, user, "Large too", "See below.", attachment=("film.bin", film)))
            await house.daemon.wait_log("mailbox.read_failed")
            s3.fail(False)
            assert len(await house.tickets(mailbox_id, 2)) == 2
            assert house.store.blobs.count(house.account_id, mailbox_id) == 2

            receipt = await house.daemon.cli("mailbox", "disconnect", mailbox_id)
            assert (receipt["deleted"]["blobs"], receipt["left"]) == (2, {})
            assert receipt["blob_versions"] == "not_deleted"
            assert house.store.blobs.count(house.account_id, mailbox_id) == 0
            assert await house.daemon.stop() == 0
