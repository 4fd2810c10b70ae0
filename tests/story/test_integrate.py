"""docs/integrate.md, typed in as it stands: the afternoon of an engineer who has a helpdesk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx2
import pytest

from tests.conftest import missing
from tests.servers.process import free_port
from tests.stores import StoreUrls
from tests.story.house import House, Servers, open_house, until
from tests.story.mails import mail

ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK: Final = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_SECONDS_MAX: Final = 60.0


@dataclass
class Shell:
    """A shell that commands are typed into, one block after the other."""

    process: asyncio.subprocess.Process
    transcript: list[str] = field(default_factory=list)

    async def type(self, block: str) -> str:
        """Run a block; return what it printed. What fails in it fails the test."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{block}\necho end-of-block\n".encode())
        await self.process.stdin.drain()
        said = ""
        async with asyncio.timeout(_SECONDS_MAX):
            while not said.endswith("end-of-block\n"):
                line = await self.process.stdout.readline()
                assert line, f"the shell ended in:\n{block}\n{said}"
                said += line.decode()
        self.transcript.append(said)
        return said.removesuffix("end-of-block\n")


@asynccontextmanager
async def shell(house: House, port: int) -> AsyncIterator[Shell]:
    scripts = Path(sys.executable).parent
    environment = {
        "PATH": f"{scripts}:{os.environ.get('PATH', '')}",
        "HOME": str(house.folder),
        "LANG": "C.UTF-8",
        "INGESTD_CONFIG": str(house.daemon.config),
        "INGESTD_URL": f"http://127.0.0.1:{house.port}",
        "HELPDESK_PORT": str(port),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail"),
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Shell(process)
    finally:
        os.killpg(process.pid, 9)  # the helpdesk in its background, too
        await process.wait()


@pytest.mark.postgresql_is_long
async def test_the_walk_through_works_as_written(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    for program in ("curl", "jq"):
        if shutil.which(program) is None:
            missing(program, program)
    port, user, customer = free_port(), new_user(), new_user()
    text = (ROOT / "docs" / "integrate.md").read_text(encoding="utf-8").replace(":8080", f":{port}")
    blocks = iter(_BLOCK.findall(text))
    token, helpers, refused, link, linked, log, poll = itertools.islice(blocks, 7)
    tickets, sought, answer, close, hook, helpdesk, forget = blocks
    async with open_house(tmp_path, store_urls, servers, egress={"allow": [f"127.0.0.1:{port}"]}) as house:
        await house.daemon.start()
        async with shell(house, port) as typed:
            await typed.type(token)
            assert str(house.account_id) in await typed.type(helpers)
            assert await typed.type(refused) == "unauthorized\n"
            await house.browse((await typed.type(link)).strip(), user)
            mailbox_id = UUID((await typed.type("echo $MAILBOX")).strip())
            await house.settled(mailbox_id)
            assert (await typed.type(linked)).startswith("completed\n")
            assert "mailbox.linked" in await typed.type(log)
            question = mail(customer, user, "The printer", "It does not print.")
            house.deliver(user, question)
            assert "message.received" in await typed.type(poll)
            assert "#1 open The printer" in await typed.type(tickets)
            assert (await typed.type(sought)).startswith("#1 taken ")
            assert '"status"' in await typed.type(answer)
            await house.received(customer)
            assert await typed.type(close) == "closed\n"
            await typed.type(hook)
            await typed.type(helpdesk)
            await _by_browser(house, user, customer, port)
            assert '"step"' in await typed.type(forget)
            await _forgotten_by_the_helpdesk(port)


async def _by_browser(house: House, user: str, customer: str, port: int) -> None:
    """A mail appears in the helpdesk of the page, and is answered there."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as browser:
        house.deliver(user, mail(customer, user, "The scanner", "It does not scan."))

        async def listed() -> bool:
            with contextlib.suppress(httpx2.ConnectError):  # it has just been started
                return "#2 The scanner" in (await browser.get("/")).text
            return False

        await until(listed, "the webhook")
        page = (await browser.get("/tickets/2")).text
        assert "It does not scan." in page
        key = re.search(r"name='key' value='([^']+)'", page)
        assert key
        for _ in range(2):  # an impatient finger
            answered = await browser.post("/tickets/2", data={"key": key[1], "text": "Try the other one."})
            assert answered.status_code == 303
        replies = await house.received(customer, count=2)
        assert sum(b"Try the other one." in one for one in replies) == 1


async def _forgotten_by_the_helpdesk(port: int) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as browser:

        async def empty() -> bool:
            return "#" not in (await browser.get("/")).text

        await until(empty, "the helpdesk's own copies are gone")
