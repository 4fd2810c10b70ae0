"""How `tests/upgrade/v0.1` was made: `python -m tests.upgrade.make_v0_1 FOLDER`, with the code of version 0.1.

Kept as a record, and as the pattern for the next version: it was run once, in a checkout of 0.1 to which only
`ingestd/backup` had been added. What lies in the folder is what 0.1 wrote, sealed under keys that the
master key of the tests wraps; later code must go on to read it, so it is never made again.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from ingestd.backup.dump import back_up_content, back_up_keystore
from ingestd.backup.folder import open_target
from ingestd.desk import Desk
from storage import schema
from tests.office import Office, mail
from tests.stores import Stores, sqlite_urls
from tests.verify import builder

_BLOB_BYTES = 2_000
_LARGE = "".join(f"{number:x}" for number in range(3_000))
_PART = (
    "--b\r\nContent-Type: text/plain\r\n\r\nSee the list.\r\n"
    '--b\r\nContent-Type: text/plain; name="list.txt"\r\nContent-Disposition: attachment\r\n\r\n'
    f"{_LARGE}\r\n--b--"
)


async def fill(stores: Stores) -> None:
    """Write a row of every kind: by the storage functions, and as the daemon itself takes mail in and replies."""
    office = await Office.open(stores)
    office.desk = Desk(stores.content, stores.blobs, office.keys, blob_bytes_min=_BLOB_BYTES)
    await office.take(
        mail("Drucker für Käthe"),
        mail("List", message_id="<q2@example.org>", headers="X-Kind: list\r\n"),
        _with_attachment(),
        mail("poison", message_id="<q4@example.org>"),
    )
    await office.take(mail("Re: Drucker", message_id="<q5@example.org>", headers="In-Reply-To: <q1@example.org>\r\n"))
    await office.reply(1, "Wir sehen nach.", idempotency_key="first")
    await office.check()
    # Its large blob is of zeros here, so that the copy stays small.
    vars(builder)["os"] = SimpleNamespace(urandom=bytes)
    world = await builder.build(stores)
    assert (await world.verify()).violations == []


def _with_attachment() -> bytes:
    head = "From: Anna <anna@example.org>\r\nTo: support@example.com\r\nSubject: A list\r\n"
    head += "Message-ID: <q3@example.org>\r\n"
    head += "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    return f"{head}\r\n{_PART}\r\n".encode()


async def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        stores = await Stores.open(sqlite_urls(Path(scratch)))
        try:
            await fill(stores)
            with open_target(folder / "content", schema.CONTENT) as target:
                await back_up_content(stores.content, stores.blobs, target)
            with open_target(folder / "keystore", schema.KEYSTORE) as target:
                await back_up_keystore(stores.keystore, target)
        finally:
            await stores.close()


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
