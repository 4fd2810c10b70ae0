"""What providers have in common whose mailboxes are opened by an API alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from ingestd.demo.authserver import STANDARD_SCOPES, AuthServer, Client


class ApiProvider(ABC):
    """An authorization server that grants the scopes of an API, which the subclass makes."""

    scopes: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        clients: Sequence[Client],
        access_token_seconds: float = 3600,
        auto_consent: bool = True,
        directory: Path | None = None,
    ) -> None:
        self.addresses = tuple(addresses)
        self.auth = AuthServer(
            self.addresses,
            clients,
            access_token_seconds=access_token_seconds,
            auto_consent=auto_consent,
            scopes=(*STANDARD_SCOPES, *self.scopes),
        )
        self._make_api()

    @abstractmethod
    def _make_api(self) -> None:
        """Make the API's server, with a mailbox for each address; `addresses` and `auth` are there."""
