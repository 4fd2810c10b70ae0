"""What all steps of the demo's story work with: the folder, the provider, the commands, the open store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import UUID

import httpx2
import yaml

from config import load
from ingestd.build.store import Store, open_store
from ingestd.demo.authserver import Client
from ingestd.demo.browser import loopback_http
from ingestd.demo.children import Ingestd
from ingestd.demo.local import LocalProvider
from ingestd.demo.mails import CUSTOMERS, SUPPORT
from ingestd.demo.telling import NotHeldError, Teller, until
from storage import accounts

T = TypeVar("T")

PROVIDER: Final = "demo"
"""The provider's name in the configuration."""
SECOND: Final = "sales@example.com"
"""Another mailbox at the provider, for those who play on with --keep."""
WAIT_SECONDS_MAX: Final = 30.0
_CLIENT_ID: Final = "ingestd"
_CLIENT_SECRET: Final = "demo-secret"


class MakeProvider(Protocol):
    """The class of a provider."""

    def __call__(
        self, addresses: Iterable[str], /, *, clients: Sequence[Client], auto_consent: bool, directory: Path
    ) -> LocalProvider:
        """Return one with a mailbox for each address; `directory` is for files of its own."""


@dataclass(slots=True)
class Stage:
    """One run of the demo."""

    teller: Teller
    folder: Path
    provider: LocalProvider
    api_url: str
    store_dir: Path = field(init=False)
    config: Path = field(init=False)
    log: Path = field(init=False)
    ingestd: Ingestd = field(init=False)
    daemon: Process | None = None

    def __post_init__(self) -> None:
        self.store_dir = self.folder / "store"
        self.config = self.store_dir / "ingestd.yaml"
        # Beside the databases, so that the search at the end sees it.
        self.log = self.store_dir / "daemon.log"
        self.ingestd = Ingestd(self.config)

    @property
    def client(self) -> Client:
        """The daemon, as the provider's authorization server knows it."""
        return next(iter(self.provider.auth.clients.values()))

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Wait for something that the daemon brings about. Raises NotHeldError, at once if the daemon has ended."""

        async def watched() -> T | None:
            if self.daemon is not None and self.daemon.returncode is not None:
                raise NotHeldError(what, expected="a running daemon", found=f"it ended with {self.daemon.returncode}")
            return await look()

        return await until(what, watched, seconds_max=WAIT_SECONDS_MAX)

    async def show(self, *arguments: object) -> str:
        """Run a command that must succeed, show it with what it prints, and return that."""
        (output,) = await self.show_all(arguments)
        return output

    async def show_all(self, *commands: Sequence[object]) -> list[str]:
        """Run commands side by side, show them one after the other, and return what they printed."""
        outputs = await asyncio.gather(*(self.ingestd.output(*arguments) for arguments in commands))
        for arguments, output in zip(commands, outputs, strict=True):
            self.teller.ran(arguments, output)
        return outputs

    async def ready(self) -> bool | None:
        """Return True once the daemon says that it is ready."""
        async with loopback_http() as http:
            with contextlib.suppress(httpx2.TransportError):
                return True if (await http.get(f"{self.api_url}/readyz")).status_code == 200 else None
        return None

    def write_providers(self) -> None:
        """Write the demo's provider, and the address to listen on, into the store's configuration."""
        port = self.api_url.rpartition(":")[2]
        text = self.config.read_text().replace("8025", port)
        providers = {"providers": {PROVIDER: self.provider.settings(self.client)}}
        self.config.write_text(text.replace("providers: {}\n", yaml.safe_dump(providers, sort_keys=False)))


@dataclass(slots=True)
class Opened:
    """The store, opened to look into it while the daemon works."""

    store: Store
    account_id: UUID


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Opened]:
    async with open_store(load(stage.config)) as store:
        (account,) = await store.content.read(None, accounts.list_accounts)
        yield Opened(store, account.account_id)


def new_stage(teller: Teller, folder: Path, make_provider: MakeProvider) -> Stage:
    """Prepare a run in `folder`. The port is chosen now: the redirect address that the provider knows names it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    client = Client(_CLIENT_ID, _CLIENT_SECRET, (f"{api_url}/oauth/callback",))
    certificates = folder / "provider"
    certificates.mkdir()
    provider = make_provider(
        (SUPPORT, SECOND, *CUSTOMERS), clients=(client,), auto_consent=False, directory=certificates
    )
    return Stage(teller, folder, provider, api_url)
