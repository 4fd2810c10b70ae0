"""One process serves the API, another works on mailboxes; they share the store and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import yaml

from tests.servers.process import free_port
from tests.stores import StoreUrls
from tests.story.daemon import DaemonProcess
from tests.story.house import Servers, open_house
from tests.story.mails import mail
from tests.story.settings import merged, write_settings


async def test_the_api_and_the_work_in_processes_of_their_own(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    user, customer = new_user(), new_user()
    async with open_house(tmp_path, store_urls, servers) as house:
        # The browser comes to the API's process: the worker listens elsewhere.
        api, worker_port = house.daemon, free_port()
        api.role = "api"
        document = merged(yaml.safe_load(api.config.read_text()), {"api": {"listen_port": worker_port}})
        config = write_settings(tmp_path / "worker.yaml", document)
        async with DaemonProcess(config, name="worker", role="worker") as worker:
            await api.start()
            await worker.start()
            made = await api.run_cli("token", "create", "helpdesk")
            assert made.status == 0, made.err
            house.words.add(made.out.strip())
            async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {made.out.strip()}"}) as client:
                known = await client.get(f"http://127.0.0.1:{house.port}/v1/token")
                assert known.json()["account_id"] == str(house.account_id)
                unknown = await client.get(f"http://127.0.0.1:{worker_port}/v1/token")
                assert unknown.status_code == 404
                for port, checks in ((house.port, {"database", "keystore"}), (worker_port, {"lease"})):
                    await api.wait_ready(port)
                    ready = (await client.get(f"http://127.0.0.1:{port}/readyz")).json()
                    assert checks <= set(ready["checks"])
            mailbox_id = await house.linked(user)
            house.deliver(user, mail(customer, user, "Roles", "Who reads this?"))
            (ticket,) = await house.tickets(mailbox_id)
            reply = await house.reply(ticket.ticket.number, "The worker does.")
            await house.reply_at(ticket.ticket.number, reply, "sent")
            # The API's process asks the provider by itself, without a mailbox of its own.
            nowhere = await house.explained("<nowhere@customer.example.net>", mailbox_id)
            assert (nowhere["at_provider"], nowhere["provider_error"]) == ([], None)
            for shown, hidden in ((worker, api), (api, worker)):
                what = "mailbox.claimed" if shown is worker else "link.completed"
                assert what in shown.log_text()
                assert what not in hidden.log_text()
