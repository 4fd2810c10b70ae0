"""A TCP proxy that makes the network bad at an exact place.

It works on plain bytes, so a test that wants to cut in the middle of what TLS
carries lets the proxy end TLS itself (`upstream_context` and `server_context`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

Side = Literal["client", "server"]
_SO_ATTACH_FILTER: Final = 26
_BPF_RETURN: Final = 0x06
"""With 0: of a packet that comes in, no byte is kept (socket(7), linux/filter.h)."""


@dataclass
class Fault:
    """What happens, once, when `marker` passes (or `after_bytes` have passed) in the stream that `side` sends.

    The bytes up to `keep` bytes behind the marker's start are passed on, the rest never is.
    """

    side: Side
    marker: bytes = b""
    after_bytes: int | None = None
    keep: int = 0
    action: Literal["cut", "hang", "cut_after_upstream_answers"] = "cut"
    happened: bool = False


class Proxy:
    """Listens on a loopback port and forwards to another."""

    def __init__(
        self,
        target_port: int,
        *,
        server_context: ssl.SSLContext | None = None,
        upstream_context: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self.fault: Fault | None = None
        self.delay_seconds = 0.0
        self.connections = 0
        self.sent_by_client = bytearray()
        """What clients sent, over all connections: lets a test assert what reached the server."""
        self._target_port = target_port
        self._server_context = server_context
        self._upstream_context = upstream_context
        self._clients: set[Any] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._server_context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut_all()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        """Break every connection that is open now."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def fall_silent(self) -> None:
        """Answer nothing any more on the clients' connections that are open now, not even their packets: so it looks
        when the other side's machine is gone, or what lies between has forgotten the connection."""
        for sock in self._clients:
            nothing = ctypes.create_string_buffer(struct.pack("@HBBI", _BPF_RETURN, 0, 0, 0))
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(nothing)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        sock = writer.get_extra_info("socket")
        self._clients.add(sock)
        try:
            up_reader, up_writer = await asyncio.open_connection(
                "127.0.0.1",
                self._target_port,
                ssl=self._upstream_context,
                server_hostname="localhost" if self._upstream_context else None,
            )
        except OSError:
            writer.transport.abort()
            return
        except BaseException:
            writer.transport.abort()
            raise
        pair = (writer, up_writer)
        self._writers.update(pair)

        def cut() -> None:
            for one in pair:
                one.transport.abort()

        try:
            await asyncio.gather(
                self._pump("client", reader, up_writer, cut),
                self._pump("server", up_reader, writer, cut),
            )
        finally:
            cut()
            self._clients.discard(sock)
            self._writers.difference_update(pair)

    async def _pump(
        self, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Callable[[], None]
    ) -> None:
        passed = 0
        tail = b""
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                if side == "client":
                    self.sent_by_client += data
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                fault = self.fault
                keep = _place(fault, side, tail, data, passed) if fault else None
                if fault is None or keep is None:
                    writer.write(data)
                    await writer.drain()
                    passed += len(data)
                    # A marker can be split over two packets.
                    tail = (tail + data)[-64:]
                    continue
                fault.happened = True
                writer.write(data[:keep])
                await writer.drain()
                if fault.action == "hang":
                    await asyncio.Event().wait()
                if fault.action == "cut_after_upstream_answers":
                    # The server has the whole of it; only its answer is lost (see _pump of the other side).
                    self.fault = Fault("server", after_bytes=0)
                    continue
                # Lets what was written leave before the connection breaks.
                await asyncio.sleep(0.05)
                cut()
                return
        cut()


def _place(fault: Fault, side: Side, tail: bytes, data: bytes, passed: int) -> int | None:
    """Return how many bytes of `data` still pass when the fault is in it, else None."""
    if fault.happened or fault.side != side:
        return None
    if fault.after_bytes is not None:
        return max(0, fault.after_bytes) if fault.after_bytes == 0 or passed + len(data) >= fault.after_bytes else None
    at = (tail + data).find(fault.marker)
    if at < 0:
        return None
    return min(max(0, at - len(tail) + fault.keep), len(data))
