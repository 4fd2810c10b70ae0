"""The demo's second part: the mailbox's owner links it, by OAuth in a browser."""

from __future__ import annotations

import re
from asyncio.subprocess import Process
from typing import Final
from uuid import UUID

from ingestd.demo.browser import allow
from ingestd.demo.mails import SUPPORT
from ingestd.demo.stage import PROVIDER, Opened, Stage
from ingestd.demo.telling import NotHeldError
from storage.mailboxes import MailboxState

_ADDRESS: Final = re.compile(rb"https?://\S+")


async def link_the_mailbox(stage: Stage, look: Opened) -> UUID:
    """Link the support mailbox, wait until its first reading is done, and return its id."""
    teller = stage.teller
    teller.step("The owner links the mailbox")
    arguments = ("mailbox", "link", PROVIDER, "--name", "Служба поддержки", "--wait", "60")
    teller.ran(arguments)
    async with stage.ingestd.started(*arguments) as child:
        address = await _printed_address(child)
        teller.note(f"the owner opens {address[:60]}…")
        visit = await allow(address, SUPPORT)
        teller.note(f"the provider asks: “{visit.asked}” It asks for: {visit.fields.get('scope', 'nothing')}")
        teller.check(
            "the request carries a one-use state, a nonce and a PKCE challenge",
            {"state", "nonce", "code_challenge"} <= visit.fields.keys(),
            expected="state, nonce, code_challenge",
            found=sorted(visit.fields),
        )
        teller.same("after the consent the owner reads “Mailbox linked”", visit.told, "Mailbox linked")
        rest, _ = await child.communicate()
    teller.same("the command that waited for it has ended well", child.returncode, 0)
    mailbox_id = UUID(rest.decode().split()[-1])

    async def read_once() -> bool | None:
        view = await look.store.desk.mailbox(look.account_id, mailbox_id)
        return True if view.mailbox.read_at and view.mailbox.state is MailboxState.ACTIVE else None

    await stage.until("the mailbox is read for the first time", read_once)
    listed = await stage.show("mailbox", "list")
    teller.check(
        "the mailbox is linked as the address that the provider vouches for, and watched",
        SUPPORT in listed,
        found=listed,
    )
    return mailbox_id


async def _printed_address(child: Process) -> str:
    assert child.stdout is not None
    seen = b""
    while line := await child.stdout.readline():
        seen += line
        if found := _ADDRESS.search(line):
            return found[0].decode()
    raise NotHeldError("`ingestd mailbox link` prints an address", expected="an address", found=seen.decode())
