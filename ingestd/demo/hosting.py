"""How the demo's servers run: in the caller's event loop, or in a thread of their own; and uvicorn as they use it."""

from __future__ import annotations

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final

import uvicorn

START_SECONDS_MAX: Final = 10.0


class Hosted(ABC):
    """A server that runs in a thread of its own between `start` and `stop`, for callers without a loop."""

    thread_name: str
    _thread: threading.Thread | None = None
    _stopping: Callable[[], None]

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[str]:
        """Serve in this event loop; yields the server's address."""

    def start(self) -> str:
        """Serve in a thread of its own; returns the server's address. Raises TimeoutError."""
        started = threading.Event()
        address = ""

        async def serve() -> None:
            nonlocal address
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()

            def stop() -> None:
                loop.call_soon_threadsafe(stopped.set)

            self._stopping = stop
            async with self.running() as address:
                started.set()
                await stopped.wait()

        def run() -> None:
            asyncio.run(serve())

        self._thread = threading.Thread(target=run, name=self.thread_name)
        self._thread.start()
        if not started.wait(START_SECONDS_MAX):
            raise TimeoutError(f"{self.thread_name} did not start")
        return address

    def stop(self) -> None:
        """Stop what `start` started."""
        if self._thread is not None:
            self._stopping()
            self._thread.join()
            self._thread = None


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to somebody else."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int, *, backlog: int | None = None) -> socket.socket:
    """Listen on loopback; 0 is any port that is free."""
    listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
    # Accepted connections inherit it; asyncio does not set it on those of a listener that it did not make, and each
    # answer, in two packets, would wait 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def served(
    listener: socket.socket, config: uvicorn.Config, *, ending: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Serve in this event loop until the block ends; `ending` is called before requests under way are waited for."""
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await server.ready.wait()
        yield
    finally:
        ending()
        server.should_exit = True
        await task
        listener.close()
