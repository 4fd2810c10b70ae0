"""`ingestd demo`: the whole story, told on a local provider with the real daemon, every sentence with its evidence.

A provider (authorization server; IMAP and submission, or a Gmail API, or Microsoft Graph) runs in this process, on
loopback; store, daemon and commands are the ones that everybody uses, as programs of their own.
The first claim that does not hold ends the story, and its folder is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from ingestd.demo.conversation import answer_a_ticket, customer_answers_back, mails_become_tickets, promises_hold
from ingestd.demo.forgetting import everything_is_forgotten
from ingestd.demo.gmailprovider import GmailProvider
from ingestd.demo.graphprovider import GraphProvider
from ingestd.demo.keeping import play_on
from ingestd.demo.linking import link_the_mailbox
from ingestd.demo.provider import DemoProvider
from ingestd.demo.stage import MakeProvider, Stage, new_stage, opened
from ingestd.demo.telling import NotHeldError, Teller

PROVIDERS: Final[dict[str, MakeProvider]] = {"imap": DemoProvider, "gmail": GmailProvider, "graph": GraphProvider}
_NUMBERS: Final = {2: "two", 3: "three"}


async def tell(*, provider: str, keep: bool) -> bool:
    """Tell the story on one of the `PROVIDERS`; return whether all of it held.

    With `keep` it stays before the disconnect, everything running, until Ctrl-C.
    Cancelling it ends every child and removes the folder.
    """
    teller = Teller(sys.stdout)
    folder = Path(mkdtemp(prefix="ingestd-demo-"))
    try:
        with _quiet(), _stopped_by_sigterm():
            await _tell_in(new_stage(teller, folder, PROVIDERS[provider]), keep)
    except NotHeldError as error:
        teller.broken(error)
        teller.note(f"The folder is kept: {folder} (the daemon's log is store/daemon.log)")
        return False
    except Exception:
        teller.note(f"The folder is kept: {folder} (the daemon's log is store/daemon.log)")
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    if not keep:
        teller.end(f"All {teller.held} claims held, in {teller.seconds:.0f} s. Nothing of it is left on this machine.")
    return True


async def _tell_in(stage: Stage, keep: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(stage.provider.running())
        await _make_store(stage)
        began = time.monotonic()
        stage.daemon = await stack.enter_async_context(stage.ingestd.daemon(stage.log))
        await _show_hosts(stage)
        await _await_daemon(stage, began)
        async with opened(stage) as look:
            mailbox_id = await link_the_mailbox(stage, look)
            mails = await mails_become_tickets(stage, look)
            answer = await answer_a_ticket(stage, look, mails)
            back = await customer_answers_back(stage, look, mails, answer)
            await promises_hold(stage)
        if keep:
            await play_on(stage, mailbox_id)
        else:
            await everything_is_forgotten(stage, mailbox_id, [*mails.all, back], answer)


async def _make_store(stage: Stage) -> None:
    teller, provider = stage.teller, stage.provider
    teller.step("A provider with mailboxes, and an empty store")
    teller.note(f"authorization server {provider.auth.issuer}, {provider.described}")
    await stage.show("init", "--dir", stage.store_dir)
    stage.write_providers()


async def _show_hosts(stage: Stage) -> None:
    teller, provider = stage.teller, stage.provider
    hosts = await stage.show("check-config")
    listed = [line.split()[0] for line in hosts.splitlines() if line.startswith("  ")]
    servers = sorted(provider.servers)
    teller.same(
        f"the daemon will contact the provider's {_NUMBERS[len(servers)]} servers, and no other host",
        sorted(set(listed)),
        servers,
    )


async def _await_daemon(stage: Stage, began: float) -> None:
    stage.teller.step("The daemon")
    stage.teller.ran(["run"])
    await stage.until("the daemon becomes ready", stage.ready)
    stage.teller.check(f"it was ready within {time.monotonic() - began:.1f} s, its API on {stage.api_url}", True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep asyncio's warnings out of the story: a Ctrl-C ends the daemon too, and breaks its connections to us."""
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM cancel the story, as Ctrl-C does, so that no child and no folder stays."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
