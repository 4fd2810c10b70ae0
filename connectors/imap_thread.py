"""A blocking command in the thread pool, and what its failure means for the connection.

A plain refusal leaves the connection as it was. Everything else leaves its state in doubt and breaks it: the next
answer could be taken for that of another command, or of another mailbox.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import imaplib
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from imapclient.exceptions import ProtocolError

from connectors.base import ConnectorError, PermanentError, TemporaryError, Trouble
from connectors.imap_places import ServerThreads
from connectors.imap_wire import Wire

T = TypeVar("T")
_BROKEN = (ProtocolError, ValueError, AssertionError, IndexError, KeyError, TypeError, AttributeError)
"""What the parsers of imaplib and imapclient raise on broken answers. ProtocolError is an imaplib error, too, but no
refusal, and its text quotes the answer, which can be content."""


async def run_in_thread(
    executor: Executor,
    work: Callable[[], T],
    *,
    wire: Wire,
    places: ServerThreads,
    said: str,
    seconds: float,
    refusal: Callable[[str], ConnectorError],
    close_on_refusal: bool = False,
) -> T:
    """Run `work` in the pool, in one of its server's places, and turn what it raises into our errors."""
    running = await _submit(executor, work, wire, places)

    def discard() -> None:
        # The socket is closed only when its thread has left it: a closed descriptor can be given to
        # another connection at once, and the thread would read the mail of another mailbox.
        wire.abort()
        running.add_done_callback(lambda _: wire.close())

    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(running)
    except ConnectorError:
        if close_on_refusal:
            discard()
        raise
    except ssl.SSLCertVerificationError:
        discard()
        raise PermanentError(f"{said}: certificate not accepted", trouble=Trouble.ADMIN_BLOCKED) from None
    except (*_BROKEN, OSError):
        discard()
        raise TemporaryError(f"{said}: connection lost or answer broken") from None
    except imaplib.IMAP4.abort as error:
        discard()
        raise _lost(str(error), said, refusal, too_large=wire.literal_too_large) from None
    except imaplib.IMAP4.error as error:
        if close_on_refusal:
            discard()
        raise refusal(str(error)) from None
    except BaseException:
        # Cancelled in the middle of a command: the answer would be taken for the next one's.
        discard()
        raise
    finally:
        wire.report_alerts()


async def _submit(
    executor: Executor, work: Callable[[], T], wire: Wire, places: ServerThreads
) -> concurrent.futures.Future[T]:
    """Hand `work` to the pool once there is a place for it."""
    try:
        await places.acquire()
    except BaseException:
        wire.close()  # nobody is at work on it
        raise
    loop = asyncio.get_running_loop()

    def leave(_: object) -> None:
        # Only when the thread has left, however long ago it was given up.
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(places.release)

    running = executor.submit(work)
    running.add_done_callback(leave)
    return running


class OversizeLiteral(TemporaryError):
    """A message is larger than the server had said, and over the limit of a literal."""


def _lost(text: str, said: str, refusal: Callable[[str], ConnectorError], *, too_large: bool) -> ConnectorError:
    """Return what a connection's end means. It is never permanent, whatever the server's last words were."""
    if too_large:
        return OversizeLiteral(f"{said}: literal over the limit")
    lost = TemporaryError(f"{said}: connection lost")
    # imaplib quotes a line it does not understand, and that can be content: a sender must not pick our verdict.
    if "unexpected response" in text or "unterminated line" in text:
        return lost
    # A BYE can name the reason (Microsoft's back-off, "Too many simultaneous connections").
    verdict = refusal(text)
    return lost if isinstance(verdict, PermanentError) else verdict
