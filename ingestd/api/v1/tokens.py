"""Tokens: what opens the API. Each is shown once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field

from ingestd.access import LABEL, Caller, Scope, create_token, draw_token, scopes_of
from ingestd.api.here import Administering, Operating, get_caller
from ingestd.api.problems import Problem
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, Shown, Taken, When
from storage import tokens
from storage.requests import once
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
    _refuse_more(here.caller, body.scopes)
    made, secret_hash = draw_token()
    done = await here.backend.content.transaction(
        here.account_id,
        once,
        await here.claim(made.token_id),
        create_token,
        token_id=made.token_id,
        secret_hash=secret_hash,
        label=body.label,
        scopes=body.scopes,
        expires_at=body.expires_at,
        tokens_max=here.backend.settings().api.tokens_max,
    )
    if done.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    token_id = UUID(done.resource) if done.repeated else made.token_id
    row = await here.backend.content.read(here.account_id, tokens.get_token, token_id)
    return TokenMade(**_fields(row), token=None if done.repeated else made.text)


@router.get("/accounts/{account_id}/tokens", summary="List the tokens of an account")
async def list_(here: Administering, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> TokenPage:
    """Revoked ones too, oldest first."""
    found = await here.backend.content.read(here.account_id, tokens.list_tokens, after=after, limit=limit + 1)
    return _page(found, limit)


@router.delete("/accounts/{account_id}/tokens/{token_id}", status_code=204, summary="Revoke a token of an account")
async def revoke(here: Administering, token_id: TokenId) -> None:
    """From now on it opens nothing."""
    await here.backend.content.transaction(here.account_id, tokens.revoke_token, token_id)


@router.get("/tokens", summary="List the operator's tokens")
async def list_operators(asked: Operating, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> TokenPage:
    """Revoked ones too, oldest first. `ingestd token create --operator` makes one."""
    content = asked.backend.content
    found = await content.read(None, tokens.list_tokens, None, after=after, limit=limit + 1)
    return _page(found, limit)


@router.delete("/tokens/{token_id}", status_code=204, summary="Revoke a token of the operator's")
async def revoke_operators(asked: Operating, token_id: TokenId) -> None:
    """From now on it opens nothing."""
    await asked.backend.content.transaction(None, tokens.revoke_token, None, token_id)


def _refuse_more(caller: Caller, scopes: frozenset[Scope]) -> None:
    if more := sorted(scopes - caller.scopes):
        raise Problem("forbidden", f"the token that is used has not the scope `{more[0].value}` itself")


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
