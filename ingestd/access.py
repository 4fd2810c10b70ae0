"""Who may use the API: tokens, what each opens, and what happens to those who guess.

A token is `ingestd_<id>_<secret>`. The id finds its row, the secret (256 random bits) is compared
as a SHA-256 in constant time; a slow hash would protect nothing that is not guessable anyway.
Only whoever makes a token ever sees it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from storage import tokens
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.tokens import Token
from storage.types import new_id

LABEL: Final = r"^[a-z0-9][a-z0-9._-]{0,39}$"
"""A label says what uses a token: one short word, so that nothing personal gets into it."""
_FORM: Final = re.compile(r"ingestd_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
_ADDRESSES_MAX: Final = 10_000
_RECENT_MAX: Final = 10_000


def is_label(text: str) -> bool:
    """Whether it can be a token's label."""
    return re.fullmatch(LABEL, text) is not None


class Scope(enum.StrEnum):
    """What a token may do. Each is asked for by itself: `admin` does not include the others."""

    READ = "read"
    """Read tickets, messages, replies, events, mailboxes."""
    REPLY = "reply"
    """Answer tickets, and change, merge and close them."""
    MANAGE = "manage"
    """Link, pause and disconnect mailboxes; webhooks."""
    ADMIN = "admin"
    """Make and revoke tokens; for the operator's, accounts too."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking."""

    token_id: UUID
    account_id: UUID | None
    """None: the operator, who may act for every account."""
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def acts_for(self, account_id: UUID) -> bool:
        return self.account_id is None or self.account_id == account_id


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made: the one time that its text is known."""

    token_id: UUID
    text: str

    def __repr__(self) -> str:
        return f"<NewToken {self.token_id}>"


class TooManyFailures(Exception):
    """Somebody tries tokens. `retry_seconds`: when the next try is looked at."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("too many requests with a wrong token")
        self.retry_seconds = retry_seconds


class TooManyRequests(Exception):
    """A token asks faster than it may. `retry_seconds`: when it may again."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("too many requests")
        self.retry_seconds = retry_seconds


def draw_token() -> tuple[NewToken, bytes]:
    """Return a new token, and the hash that is kept of it."""
    token_id, secret = new_id(), secrets.token_urlsafe(32)
    return NewToken(token_id, f"ingestd_{token_id.hex}_{secret}"), _hash(secret)


def create_token(
    conn: Connection,
    account_id: UUID | None,
    *,
    token_id: UUID,
    secret_hash: bytes,
    label: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    tokens_max: int,
) -> None:
    """Write a token that `draw_token` drew. Raises LimitReached."""
    tokens.insert_token(
        conn,
        token_id,
        account_id=account_id,
        secret_hash=secret_hash,
        label=label,
        scopes=" ".join(sorted(scopes)),
        expires_at=expires_at,
        tokens_max=tokens_max,
    )


async def make_token(
    content: Database,
    account_id: UUID | None,
    *,
    label: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
    tokens_max: int,
) -> NewToken:
    """Make a token of an account, or with None the operator's. Raises LimitReached."""
    made, secret_hash = draw_token()
    await content.transaction(
        None,
        create_token,
        account_id,
        token_id=made.token_id,
        secret_hash=secret_hash,
        label=label,
        scopes=scopes,
        expires_at=expires_at,
        tokens_max=tokens_max,
    )
    return made


def scopes_of(token: Token) -> frozenset[Scope]:
    return frozenset(map(Scope, token.scopes.split()))


class Access:
    """Opens the door to those with a token, and counts those without."""

    def __init__(
        self,
        content: Database,
        *,
        failures_per_minute_max: int,
        requests_per_second_max: float,
        burst_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._content = content
        self._failures = Buckets(failures_per_minute_max / 60, failures_per_minute_max, clock)
        self._requests = Buckets(requests_per_second_max, burst_max, clock)
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        """Digests of tokens that opened lately: their owner is let in while another at the same address guesses."""

    async def check(self, text: str | None, address: str) -> Caller | None:
        """Return who has this token; None where it opens nothing. `address` is where the request comes from.

        Raises TooManyFailures, TooManyRequests, StorageUnavailable.
        """
        digest = hashlib.sha256((text or "").encode("utf-8", "replace")).digest()
        if digest not in self._recent and (wait := self._failures.wait(address)):
            raise TooManyFailures(wait)
        token = await self._find(text)
        if token is None:
            self._recent.pop(digest, None)
            self._failures.take(address)
            return None
        self._recent[digest] = None
        self._recent.move_to_end(digest)
        if len(self._recent) > _RECENT_MAX:
            self._recent.popitem(last=False)
        key = token.token_id.hex
        if wait := self._requests.wait(key):
            raise TooManyRequests(wait)
        self._requests.take(key)
        return Caller(token.token_id, token.account_id, scopes_of(token))

    async def still_opens(self, caller: Caller) -> bool:
        """Whether the token of one who was let in opens yet: streams ask now and then. Raises StorageUnavailable."""
        token, at = await self._content.read(None, tokens.find_token, caller.token_id)
        return token is not None and token.is_open(at)

    async def _find(self, text: str | None) -> Token | None:
        parts = _FORM.fullmatch(text or "")
        if parts is None:
            return None
        token, at = await self._content.read(None, tokens.find_token, UUID(hex=parts[1]))
        # Compared also where there is no such id, so that the time tells nothing of ids.
        known = token.secret_hash if token is not None else bytes(32)
        if not hmac.compare_digest(known, _hash(parts[2])) or token is None or not token.is_open(at):
            return None
        if tokens.should_note_use(token, at):
            try:
                await self._content.transaction(None, tokens.note_use, token.token_id)
            except StorageUnavailable:
                return token  # a full disk, perhaps: reading goes on
        return token


class Buckets:
    """Token buckets by key, in memory: each fills by `per_second` up to `most`. The longest unused go first.

    >>> buckets = Buckets(1.0, 2, lambda: 0.0)
    >>> buckets.take("a"), buckets.take("a"), buckets.wait("a"), buckets.wait("b")
    (None, None, 1.0, 0.0)
    """

    def __init__(self, per_second: float, most: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._most = most
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return the seconds until one more may be taken; 0 where it may now."""
        left = self._filled(key)
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def take(self, key: str) -> None:
        self._left[key] = (max(0.0, self._filled(key) - 1), self._clock())
        self._left.move_to_end(key)
        if len(self._left) > _ADDRESSES_MAX:
            self._left.popitem(last=False)

    def _filled(self, key: str) -> float:
        left, at = self._left.get(key, (float(self._most), self._clock()))
        return min(float(self._most), left + (self._clock() - at) * self._per_second)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
