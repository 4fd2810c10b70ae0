"""Several daemons on one PostgreSQL, and how they divide the mailboxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from uuid import UUID

import yaml
from sqlalchemy import Connection, select

from storage.tables import mailboxes
from tests.servers.process import free_port
from tests.story.daemon import INGESTD, DaemonProcess
from tests.story.house import House, until
from tests.story.settings import merged, write_settings


def holders(conn: Connection, account_id: UUID) -> list[UUID | None]:
    """Return by which process each mailbox is held."""
    return list(conn.execute(select(mailboxes.c.worker_id).where(mailboxes.c.account_id == account_id)).scalars())


async def divided(house: House, shares: Collection[int]) -> Counter[UUID | None]:
    """Wait until each mailbox is held, by so many processes with so many mailboxes each."""

    async def look() -> Counter[UUID | None] | None:
        counted = Counter(await house.read(holders))
        return counted if None not in counted and sorted(counted.values()) == sorted(shares) else None

    return await until(look, f"mailboxes divided {shares}", 60)


def replica(house: House, name: str, *, env: Mapping[str, str] | None = None) -> DaemonProcess:
    """Return another daemon for the same store, not started yet; with `env` it is one that is not forked from ours, so
    that the dynamic linker sees that, too."""
    document = merged(yaml.safe_load(house.daemon.config.read_text()), {"api": {"listen_port": free_port()}})
    config = write_settings(house.folder / f"{name}.yaml", document)
    return DaemonProcess(config, name=name, role="worker", env=env, program=INGESTD if env else ())
