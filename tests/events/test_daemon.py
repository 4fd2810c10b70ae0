"""A real daemon delivers what another process writes, through its own wiring; and goes on after it was killed."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import httpx2

from storage import accounts
from storage.database import Database
from storage.events import NewEvent
from tests.events.post import tell as tell_events
from tests.events.receiver import Receiver
from tests.servers.process import free_port
from tests.stores import Stores, StoreUrls
from tests.story.daemon import DaemonProcess
from tests.story.settings import settings_document, write_settings


async def tell(content: Database, account_id: UUID, *types: str) -> None:
    await content.transaction(account_id, tell_events, [NewEvent(one) for one in types])


async def test_a_daemon_delivers(stores: Stores, store_urls: StoreUrls, tmp_path: Path) -> None:
    port = free_port()
    async with Receiver().serving() as receiver:
        document = settings_document(
            store_urls,
            tmp_path,
            port=port,
            providers={},
            egress={"allow": [receiver.allowed]},
            webhooks={"hold_seconds": 1.0, "retry_seconds": [0.2, 0.2, 0.2]},
        )
        async with DaemonProcess(write_settings(tmp_path / "ingestd.yaml", document)) as daemon:
            await daemon.cli("account", "create", "Example")
            made = await daemon.cli("token", "create", "desk", "--scope", "manage")
            ((account_id),) = [one.account_id for one in await stores.content.read(None, accounts.list_accounts)]
            await daemon.start()
            await daemon.wait_ready(port)
            base, headers = f"http://127.0.0.1:{port}/v1", {"Authorization": f"Bearer {made['token']}"}
            async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
                answer = await client.post(
                    f"{base}/accounts/{account_id}/webhooks", json={"url": receiver.url, "types": ["reply.sent"]}
                )
                assert answer.status_code == 201, answer.text
                receiver.secret, path = answer.json()["secret"], f"webhooks/{answer.json()['webhook_id']}"
                tried = await client.post(f"{base}/accounts/{account_id}/{path}/test")
                assert tried.json()["delivered"], tried.text
                metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            assert 'ingestd_deliveries_total{outcome="delivered"}' in metrics
            await tell(stores.content, account_id, "reply.sent", "reply.queued", "reply.sent")
            await receiver.until(lambda: receiver.types().count("reply.sent") == 2)
            await daemon.kill()
            await tell(stores.content, account_id, "reply.sent")
            await daemon.start()
            await daemon.wait_ready(port)
            await receiver.until(lambda: len(receiver.ids()) == 4)
            listed = await daemon.cli("webhook", "list")
            assert [one["status"] for one in listed] == ["enabled"]
            assert await daemon.stop() == 0
    assert receiver.wrong == []
