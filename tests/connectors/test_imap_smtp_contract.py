"""The contract suite on IMAP and SMTP: a rich server, and one without IDLE, MOVE, SPECIAL-USE and OAUTHBEARER."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from tests.connectors.contract import ReaderContract, SenderContract
from tests.connectors.mailbox import Mailbox


class TestRichServer(ReaderContract, SenderContract):
    @pytest.fixture
    async def box(self, mailbox: Mailbox) -> AsyncIterator[Mailbox]:
        yield mailbox
        await mailbox.close()


class TestPoorServer(ReaderContract):
    move_gives_locator: ClassVar[bool] = True

    @pytest.fixture
    async def box(self, plain_mailbox: Mailbox) -> AsyncIterator[Mailbox]:
        plain_mailbox.change(poll_seconds=1.0)
        yield plain_mailbox
        await plain_mailbox.close()
