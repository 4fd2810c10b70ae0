"""The API's tokens: what opens it, as hashes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from storage import accounts
from storage.database import now
from storage.errors import LimitReached, NotFound
from storage.tables import tokens

_USED_AGAIN = timedelta(minutes=1)
"""The last use is written at most so often: a write for each request would cost more than the request."""


@dataclass(frozen=True, slots=True)
class Token:
    token_id: UUID
    account_id: UUID | None
    """None: the operator's."""
    secret_hash: bytes
    label: str
    """What uses it: a short word, nothing personal."""
    scopes: str
    """Separated by spaces."""
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    def is_open(self, at: datetime) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


_COLUMNS = [tokens.c[name] for name in Token.__dataclass_fields__]
_BY_ID = select(*_COLUMNS).where(tokens.c.token_id == bindparam("of_token"))
_BY_ID_WITH_CLOCK = _BY_ID.add_columns(func.clock_timestamp())


def insert_token(
    conn: Connection,
    token_id: UUID,
    *,
    account_id: UUID | None,
    secret_hash: bytes,
    label: str,
    scopes: str,
    expires_at: datetime | None,
    tokens_max: int,
) -> None:
    """Write a token. Raises LimitReached where its account, or the operator, has so many that are not revoked, and
    NotFound where the account is closed."""
    at = now(conn)
    if account_id is not None:
        accounts.hold(conn, account_id)
    same = select(tokens.c.token_id).where(_owner(account_id), tokens.c.revoked_at.is_(None))
    if len(conn.execute(same.limit(tokens_max)).all()) >= tokens_max:
        raise LimitReached(f"there are {tokens_max} tokens already: revoke one first")
    conn.execute(
        insert(tokens).values(
            token_id=token_id,
            account_id=account_id,
            secret_hash=secret_hash,
            label=label,
            scopes=scopes,
            created_at=at,
            expires_at=expires_at,
        )
    )


def find_token(conn: Connection, token_id: UUID) -> tuple[Token | None, datetime]:
    """Return a token, of whichever account, and the database's time."""
    if conn.dialect.name == "postgresql":  # in one round trip: every request begins with it
        found = conn.execute(_BY_ID_WITH_CLOCK, {"of_token": token_id}).one_or_none()
        return (None, now(conn)) if found is None else (Token(*found[:-1]), found[-1].astimezone(UTC))
    row = conn.execute(_BY_ID, {"of_token": token_id}).one_or_none()
    return (None if row is None else Token(*row)), now(conn)


def get_token(conn: Connection, account_id: UUID | None, token_id: UUID) -> Token:
    """Raises NotFound, also for another owner's."""
    row = conn.execute(select(*_COLUMNS).where(tokens.c.token_id == token_id, _owner(account_id))).one_or_none()
    if row is None:
        raise NotFound(f"no token {token_id}")
    return Token(*row)


def list_tokens(
    conn: Connection, account_id: UUID | None, *, after: UUID | None = None, limit: int = 100
) -> list[Token]:
    """Return up to `limit` tokens of an account, or of the operator, behind the id `after`, oldest first; revoked
    ones too."""
    query = select(*_COLUMNS).where(_owner(account_id)).order_by(tokens.c.token_id).limit(limit)
    if after is not None:
        query = query.where(tokens.c.token_id > after)
    return [Token(*row) for row in conn.execute(query)]


def revoke_token(conn: Connection, account_id: UUID | None, token_id: UUID) -> bool:
    """From the commit on the token opens nothing. Return False where it was revoked before. Raises NotFound."""
    if get_token(conn, account_id, token_id).revoked_at is not None:
        return False
    conn.execute(update(tokens).where(tokens.c.token_id == token_id, _owner(account_id)).values(revoked_at=now(conn)))
    return True


def note_use(conn: Connection, token_id: UUID) -> None:
    """Remember that a token was used now."""
    conn.execute(update(tokens).where(tokens.c.token_id == token_id).values(used_at=now(conn)))


def should_note_use(token: Token, at: datetime) -> bool:
    """Whether the last use that is written is too old to leave it at that."""
    return token.used_at is None or at - token.used_at >= _USED_AGAIN


def _owner(account_id: UUID | None) -> ColumnElement[bool]:
    # IS NULL needs its own spelling: "= NULL" finds nothing, and would hide every token of the operator.
    owner: ColumnElement[UUID | None] = tokens.c.account_id
    return owner.is_(None) if account_id is None else owner == account_id
