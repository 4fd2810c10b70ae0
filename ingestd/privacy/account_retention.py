"""The retention of accounts: those that are suspended for long are warned, and closed in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config import Settings
from ingestd.account_states import tell
from ingestd.privacy.requests import request_close
from ingestd.privacy.rules import Facts, Rule, Rules, Verdict, decide
from storage import accounts, closures, suspensions
from storage.database import Database
from storage.errors import NotFound
from storage.suspensions import Suspended

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Planned:
    """A suspended account, and what its rule says at one time."""

    account: Suspended
    verdict: Verdict

    @property
    def word(self) -> str:
        """What is done with it: held, kept, wait, warn or erase."""
        if self.account.held_since is not None:
            return "held"
        if self.verdict.erase_at is None:
            return "kept"
        return "erase" if self.verdict.erase else "wait" if self.verdict.warn is None else "warn"


def rules_of(settings: Settings) -> Rules:
    given = settings.retention
    return Rules([Rule(one.tickets_min, one.days) for one in given.suspended], given.warn_days)


@dataclass(frozen=True, slots=True)
class AccountRetention:
    """`rules` returns those that are in force. The clock is an argument of everything here."""

    content: Database
    rules: Callable[[], Rules]

    async def plan(self, at: datetime) -> list[Planned]:
        """Return what would be done with each suspended account at a time. Raises StorageUnavailable."""
        # One at a time: the tickets of a large one take a while to count.
        suspended = await self.content.read(None, suspensions.list_suspended)
        planned = [await self.plan_one(account_id, at) for account_id in suspended]
        return [one for one in planned if one is not None]

    async def plan_one(self, account_id: UUID, at: datetime) -> Planned | None:
        """As `plan`, of one account; None where it is not suspended. Raises NotFound, StorageUnavailable."""
        rules = self.rules()
        found = await self.content.read(account_id, suspensions.find_suspended, rules.tickets_max)
        return None if found is None else _plan(found, rules, at)

    async def run(self, at: datetime) -> list[Planned]:
        """Warn and close whom the rules name at this time; return what was found. Raises StorageUnavailable."""
        planned = await self.plan(at)
        for one in planned:
            if one.word in {"warn", "erase"}:
                await self._do(one.account.account_id, at)
        return planned

    async def _do(self, account_id: UUID, at: datetime) -> None:
        try:
            done = await self.content.transaction(account_id, _apply, self.rules(), at)
        except NotFound:  # it is being closed already
            return
        if done is None:
            return
        if done.verdict.erase:
            log.warning("account.erased", account_id=account_id)
        else:
            log.warning("account.erasure_warning", account_id=account_id)


def _apply(conn: Connection, account_id: UUID, rules: Rules, at: datetime) -> Planned | None:
    """Look again, with the account held: another process may be at it, and somebody may have resumed or held it."""
    closures.lock(conn, account_id)
    accounts.hold_still(conn, account_id)
    found = suspensions.find_suspended(conn, account_id, rules.tickets_max)
    if found is None:
        return None
    planned = _plan(found, rules, at)
    if planned.verdict.erase:
        request_close(conn, account_id, "retention")
    elif planned.verdict.warn is not None:
        suspensions.warn(conn, account_id, planned.verdict.warn, at)
        tell(conn, account_id, "account.erasure_warning", str(planned.verdict.warn))
    else:
        return None
    return planned


def _plan(found: Suspended, rules: Rules, at: datetime) -> Planned:
    facts = Facts(found.since, found.tickets, found.held_since is not None, found.warned)
    return Planned(found, decide(facts, rules, at))
