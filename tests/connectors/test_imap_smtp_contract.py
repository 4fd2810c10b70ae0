"""The contract suite on IMAP and SMTP: a rich server, a poor one, and one of another make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from tests.connectors.contract import EditContract, HistoryContract, ReaderContract, SenderContract
from tests.connectors.mailbox import Mailbox


class TestRichServer(ReaderContract, HistoryContract, EditContract, SenderContract):
    @pytest.fixture
    async def box(self, mailbox: Mailbox) -> AsyncIterator[Mailbox]:
        yield mailbox
        await mailbox.close()


class TestPoorServer(ReaderContract, HistoryContract, EditContract):
    move_gives_locator: ClassVar[bool] = True

    @pytest.fixture
    async def box(self, plain_mailbox: Mailbox) -> AsyncIterator[Mailbox]:
        plain_mailbox.change(poll_seconds=2.0)
        yield plain_mailbox
        await plain_mailbox.close()


class TestCourier(ReaderContract, HistoryContract, EditContract):
    @pytest.fixture
    async def box(self, courier_mailbox: Mailbox) -> AsyncIterator[Mailbox]:
        courier_mailbox.change(poll_seconds=2.0)
        yield courier_mailbox
        await courier_mailbox.close()
