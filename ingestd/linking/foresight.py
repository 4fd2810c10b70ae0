"""Tells of what will end the access to mailboxes: each risk once when it begins, and once when it is over.

What was told is a row, so that neither a restart nor another process tells it again. A
risk is over when it is cured, or has come true: then the mailbox's state tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config import Provider, Settings
from ingestd.inbound.states import tell
from ingestd.linking.risk_words import explain_risk
from ingestd.linking.risks import Risk, Threat, risks_of
from storage import access_warnings, mailboxes
from storage.access_warnings import Access
from storage.database import Database, now
from storage.errors import NotFound, StorageError

log = structlog.get_logger()

_PAGE_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A risk of a mailbox's access, in words."""

    risk: Risk
    since: datetime | None
    """None where it is so new that it was not told yet."""
    ends_at: datetime | None
    meaning: str
    cure: str


@dataclass(frozen=True, slots=True)
class _Seen:
    at: datetime
    access: Access
    told: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the configuration says."""

    providers: Mapping[str, Provider]
    warning_days: int

    def risks(self, access: Access, at: datetime) -> Mapping[Risk, Threat]:
        return risks_of(self.providers[access.provider], access, at, warning_days=self.warning_days)


class Foresight:
    """Looks at the grants of all mailboxes, and tells."""

    def __init__(self, content: Database, settings: Callable[[], Settings]) -> None:
        self._content = content
        self._settings = settings

    async def run(self) -> None:
        """Look now and then, until cancelled; a store that is away is waited for."""
        while True:
            try:
                await self.look()
            except StorageError as error:
                log.warning("storage.unavailable", exc_info=error)
            await asyncio.sleep(self._settings().linking.warning_check_seconds)

    async def look(self) -> None:
        """Tell what began and what is over. Raises StorageUnavailable."""
        settings = self._settings()
        known = _Known({name: settings.provider(name) for name in settings.providers}, settings.linking.warning_days)
        after: UUID | None = None
        while page := await self._content.read(None, _page, after):
            for seen in page:
                await self._settle(seen, known)
            after = page[-1].access.mailbox_id

    async def _settle(self, seen: _Seen, known: _Known) -> None:
        access = seen.access
        # Of a provider that is not configured nothing can be said, and so nothing is over.
        if access.provider not in known.providers or known.risks(access, seen.at).keys() == seen.told:
            return
        try:
            began, over = await self._content.transaction(access.account_id, _settle_warnings, access.mailbox_id, known)
        except NotFound:  # it is being disconnected
            return
        for risk in began:
            log.warning("mailbox.access_warning", mailbox_id=access.mailbox_id, reason=risk)
        for risk in over:
            log.info("mailbox.access_warning_ended", mailbox_id=access.mailbox_id, reason=risk)


async def foreseen(
    content: Database, settings: Settings, account_id: UUID, mailbox_ids: Sequence[UUID]
) -> list[list[Foreseen]]:
    """Return, for each mailbox, what threatens its access now. Raises StorageUnavailable."""
    return await content.read(account_id, _foreseen, mailbox_ids, settings)


def _page(conn: Connection, after: UUID | None) -> list[_Seen]:
    at, found = now(conn), access_warnings.list_access(conn, after=after, limit=_PAGE_ROWS)
    told = access_warnings.told_of_many(conn, [(one.account_id, one.mailbox_id) for one in found])
    return [_Seen(at, one, frozenset(told.get(one.mailbox_id, ()))) for one in found]


def _settle_warnings(
    conn: Connection, account_id: UUID, mailbox_id: UUID, known: _Known
) -> tuple[list[str], list[str]]:
    """Write what began and what is over, with their events; return both. Raises NotFound."""
    # Held: another process may be at the same, and what was read before may be old.
    mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    access = access_warnings.find_access(conn, account_id, [mailbox_id]).get(mailbox_id)
    if access is None:
        return [], []
    wanted = {risk.value for risk in known.risks(access, now(conn))}
    told = set(access_warnings.told_of(conn, account_id, [mailbox_id]).get(mailbox_id, ()))
    began, over = sorted(wanted - told), sorted(told - wanted)
    for risk in over:
        access_warnings.end(conn, account_id, mailbox_id, risk)
        tell(conn, account_id, mailbox_id, "mailbox.access_warning_ended", risk)
    for risk in began:
        access_warnings.begin(conn, account_id, mailbox_id, risk)
        tell(conn, account_id, mailbox_id, "mailbox.access_warning", risk)
    return began, over


def _foreseen(
    conn: Connection, account_id: UUID, mailbox_ids: Sequence[UUID], settings: Settings
) -> list[list[Foreseen]]:
    at = now(conn)
    found = access_warnings.find_access(conn, account_id, mailbox_ids)
    told = access_warnings.told_of(conn, account_id, mailbox_ids)
    return [_words(settings, found[one], told.get(one, {}).get, at) if one in found else [] for one in mailbox_ids]


def _words(settings: Settings, access: Access, since: Callable[[str], datetime | None], at: datetime) -> list[Foreseen]:
    if access.provider not in settings.providers:
        return []
    provider, made = settings.provider(access.provider), []
    threats = risks_of(provider, access, at, warning_days=settings.linking.warning_days)
    for risk in sorted(threats):
        words = explain_risk(risk, threats[risk], provider, access.mailbox_id, at)
        made.append(Foreseen(risk, since(risk), threats[risk].ends_at, words.meaning, words.cure))
    return made
