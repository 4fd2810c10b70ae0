"""What a process may believe of its lease."""

from __future__ import annotations

import asyncio

import pytest

from config import Inbound
from ingestd.inbound.lease import Lease
from ingestd.inbound.running import MailboxWork
from ingestd.inbound.supervisor import Supervisor
from ingestd.telemetry.health import Health
from ingestd.wakes import Bell
from storage import leases
from storage.leases import Held
from storage.types import new_id
from tests.stores import Stores


async def _no_work(_held: Held) -> MailboxWork:
    raise AssertionError("nothing is linked")


@pytest.mark.parametrize("stopping", [False, True])
async def test_a_lost_lease_is_ours_again_only_when_it_is_taken_anew(stores: Stores, stopping: bool) -> None:
    """While draining it is not taken anew: a send in flight must then stop before its final dot."""
    now = [0.0]
    lease = Lease(new_id(), 15, clock=lambda: now[0])
    health = Health(["lease"])
    supervisor = Supervisor(stores.content, lease, Inbound(), Bell(), health, _no_work, _stopping=stopping)
    await supervisor.register()
    assert lease.is_ours()
    await stores.content.transaction(None, leases.release, lease.worker_id)  # as whoever takes over does
    now[0] = 20.0
    beating = asyncio.create_task(supervisor._beat())
    async with asyncio.timeout(10):
        while health.readyz()[1]["lease"] == "missing":
            await asyncio.sleep(0.01)
    beating.cancel()
    assert lease.is_ours() is not stopping
