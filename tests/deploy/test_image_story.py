"""The whole story, told by the built image: its daemon and commands, as its own user, under a read-only root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.image import Image
from tests.servers.postgres import PostgresServer
from tests.stores import postgres_urls, sqlite_urls
from tests.story.house import Servers, open_house
from tests.story.test_story import (
    agent_replies,
    customer_answers,
    customers_write,
    find_ticket,
    mailbox_is_forgotten,
)

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root")]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_the_story_from_the_image(
    engine: str,
    image: Image,
    servers: Servers,
    new_user: Callable[[], str],
    postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    support, anna = new_user(), new_user()
    # What the image's user has to read of the tests' provider.
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Path(servers.certificates.ca_file).read_bytes())
    provider = {"tls_ca_file": str(authorities), "sent_wait_seconds": 0.5}
    urls = sqlite_urls(tmp_path) if engine == "sqlite" else postgres_urls(postgres.create_database, tmp_path)
    program = image.command("ingestd", bind=[tmp_path])
    async with open_house(tmp_path, urls, servers, provider=provider, program=program) as house:
        image.own(tmp_path)
        await house.daemon.start()
        await house.daemon.wait_ready(house.port)
        assert os.stat(f"/proc/{house.daemon.pid}").st_uid == image.user_id
        mailbox_id = await house.link_by_cli(support, "--name", "Support team")
        await house.settled(mailbox_id)
        await customers_write(house, support, anna)
        number = await find_ticket(house, anna)
        await agent_replies(house, number, support, anna, provider_files=False)
        await customer_answers(house, number, support, anna)
        await mailbox_is_forgotten(house, str(mailbox_id), support)
        assert await house.daemon.stop() == 0
