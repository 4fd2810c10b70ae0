"""Tokens: what opens the API. Each is shown once, when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field
from sqlalchemy import Connection

from ingestd import access
from ingestd.access import LABEL, Caller, Scope, create_token, draw_token, scopes_of
from ingestd.api.here import Administering, Asked, Operating, get_caller
from ingestd.api.problems import Problem
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken, When
from storage import tokens
from storage.requests import Done, once, once_of_operator
from storage.tokens import Token

router = APIRouter(tags=["tokens"])

TokenId = Annotated[UUID, Path(description="The token's id.")]


class NewToken(Taken):
    label: Annotated[
        str,
        Field(pattern=LABEL, examples=["helpdesk"], description="What uses it, in one word. Nothing personal."),
    ]
    scopes: Annotated[
        frozenset[Scope],
        Field(min_length=1, examples=[["read", "reply"]], description="What it may do; none includes another."),
    ]
    expires_at: When | None = Field(default=None, description="From then on it opens nothing; null: it stays.")


class TokenShown(Shown):
    token_id: UUID
    account_id: UUID | None = Field(description="The account it is bound to; null: the operator's, for all accounts.")
    label: str = Field(examples=["helpdesk"])
    scopes: list[Scope] = Field(examples=[["read", "reply"]])
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = Field(description="Its last use, to the minute.")
    revoked_at: datetime | None


class TokenMade(TokenShown):
    token: str | None = Field(
        description="The token itself, this once. Null where the request was repeated: nobody has it any more.",
        examples=["ingestd_0190f3…_…"],
    )


class TokenPage(Shown):
    items: list[TokenShown]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


class CallerShown(Shown):
    token_id: UUID
    account_id: UUID | None
    scopes: list[Scope]


@router.get("/token", summary="Show the token that is used")
async def whoami(asked: Annotated[Caller, Depends(get_caller)]) -> CallerShown:
    """Which account it is bound to and what it may do. Any token can ask."""
    return CallerShown(token_id=asked.token_id, account_id=asked.account_id, scopes=sorted(asked.scopes))


@router.post("/accounts/{account_id}/tokens", status_code=201, summary="Make a token of an account")
async def create(here: Administering, body: NewToken, response: Response) -> TokenMade:
    """Its `token` is shown this once. It gets no scope that the caller's own token has not."""
    new = _draw(here, body)
    done = await here.backend.content.transaction(
        here.account_id, once, await here.claim(new.token.token_id), new.write
    )
    return await _made(here, here.account_id, new, done, response)


@router.get("/accounts/{account_id}/tokens", summary="List the tokens of an account")
async def list_(here: Administering, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> TokenPage:
    """Revoked ones too, oldest first."""
    found = await here.backend.content.read(here.account_id, tokens.list_tokens, after=after, limit=limit + 1)
    return _page(found, limit)


@router.delete("/accounts/{account_id}/tokens/{token_id}", status_code=204, summary="Revoke a token of an account")
async def revoke(here: Administering, token_id: TokenId) -> None:
    """From now on it opens nothing."""
    await here.backend.content.transaction(here.account_id, tokens.revoke_token, token_id)


@router.post("/tokens", status_code=201, summary="Make a token of the operator's")
async def create_operators(asked: Operating, body: NewToken, response: Response) -> TokenMade:
    """It acts for every account. Its `token` is shown this once. It gets no scope that the caller's own has not."""
    new = _draw(asked, body)
    done = await asked.backend.content.transaction(
        None, once_of_operator, await asked.claim(new.token.token_id), new.write
    )
    return await _made(asked, None, new, done, response)


@router.get("/tokens", summary="List the operator's tokens")
async def list_operators(asked: Operating, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> TokenPage:
    """Revoked ones too, oldest first. `ingestd token create --operator` makes the first one."""
    content = asked.backend.content
    found = await content.read(None, tokens.list_tokens, None, after=after, limit=limit + 1)
    return _page(found, limit)


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token of the operator's")
async def revoke_operators(asked: Operating, token_id: TokenId) -> None:
    """From now on it opens nothing."""
    await asked.backend.content.transaction(None, tokens.revoke_token, None, token_id)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A token that is about to be written."""

    token: access.NewToken
    secret_hash: bytes
    body: NewToken
    tokens_max: int

    def write(self, conn: Connection, account_id: UUID | None) -> None:
        create_token(
            conn,
            account_id,
            token_id=self.token.token_id,
            secret_hash=self.secret_hash,
            label=self.body.label,
            scopes=self.body.scopes,
            expires_at=self.body.expires_at,
            tokens_max=self.tokens_max,
        )


def _draw(asked: Asked, body: NewToken) -> _Drawn:
    if more := sorted(body.scopes - asked.caller.scopes):
        raise Problem("forbidden", f"the token that is used has not the scope `{more[0].value}` itself")
    token, secret_hash = draw_token()
    return _Drawn(token, secret_hash, body, asked.backend.settings().api.tokens_max)


async def _made(asked: Asked, account_id: UUID | None, new: _Drawn, done: Done[None], response: Response) -> TokenMade:
    asked.note_repeated(response, done.repeated)
    token_id = UUID(done.resource) if done.repeated else new.token.token_id
    row = await asked.backend.content.read(None, tokens.get_token, account_id, token_id)
    return TokenMade(**_fields(row), token=None if done.repeated else new.token.text)


def _page(found: list[Token], limit: int) -> TokenPage:
    items = [TokenShown(**_fields(one)) for one in found[:limit]]
    return TokenPage(items=items, next=items[-1].token_id if len(found) > limit else None)


def _fields(one: Token) -> dict[str, Any]:
    return {
        "token_id": one.token_id,
        "account_id": one.account_id,
        "label": one.label,
        "scopes": sorted(scopes_of(one)),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "used_at": one.used_at,
        "revoked_at": one.revoked_at,
    }
