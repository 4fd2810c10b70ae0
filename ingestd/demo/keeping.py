"""`ingestd demo --keep`: everything stays up to play with; mails are dropped into a folder, and come out in others."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from ingestd.demo.mails import CUSTOMERS, SUPPORT, question
from ingestd.demo.stage import SECOND, Stage

_LOOK_SECONDS: Final = 0.5
_MAIL_BYTES_MAX: Final = 50 * 1024 * 1024

_GUIDE: Final = """
  Everything runs. In another terminal:

    export INGESTD_CONFIG={config}
    ingestd ticket list
    ingestd ticket show 1
    ingestd ticket reply 2 --text "…"
    ingestd mailbox list
    ingestd mailbox disconnect {mailbox_id}
    ingestd verify

  A mail to {support}: drop it as a file that ends in .eml (twice the same mail stays one)
    cp {example} {drop}/

  What the customers get comes out in {inboxes}

  Another mailbox: open the address that this prints in a browser, and choose {second};
  the consent page is the demo provider's, {issuer}
    ingestd mailbox link

  The daemon's log: {log}

  Ctrl-C ends it all and removes the folder.
"""


async def play_on(stage: Stage, mailbox_id: UUID) -> None:
    """Leave everything running until SIGINT or SIGTERM."""
    drop, inboxes, example = stage.folder / "drop", stage.folder / "inboxes", stage.folder / "example.eml"
    drop.mkdir()
    inboxes.mkdir()
    example.write_bytes(question().raw)
    stage.teller.note(
        _GUIDE.format(
            config=stage.config,
            mailbox_id=mailbox_id,
            support=SUPPORT,
            example=example,
            drop=drop,
            inboxes=inboxes,
            second=SECOND,
            issuer=stage.provider.auth.issuer,
            log=stage.log,
        )
    )
    ended = asyncio.Event()
    with _ended_by_signals(ended):
        while not ended.is_set():
            await _deliver_dropped(stage)
            await _show_inboxes(stage)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await ended.wait()


async def _deliver_dropped(stage: Stage) -> None:
    for file in sorted((stage.folder / "drop").glob("*.eml")):
        if file.stat().st_size > _MAIL_BYTES_MAX:
            stage.teller.note(f"{file.name} is too large for this provider")
        else:
            await stage.provider.deliver(SUPPORT, file.read_bytes())
            stage.teller.note(f"{file.name} is delivered")
        file.unlink()


async def _show_inboxes(stage: Stage) -> None:
    for address in CUSTOMERS:
        for number, raw in enumerate(await stage.provider.mails(address), 1):
            file = stage.folder / "inboxes" / f"{address}-{number}.eml"
            if not file.exists():
                file.write_bytes(raw)


@contextlib.contextmanager
def _ended_by_signals(ended: asyncio.Event) -> Iterator[None]:
    """Take Ctrl-C as the wished end, not as an interruption. It stays so while things are taken down."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
