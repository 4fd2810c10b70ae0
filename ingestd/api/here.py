"""Who asks, for which account, under which idempotency key: what nearly every route begins with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ingestd.access import Caller, Scope
from ingestd.api.backend import Backend
from ingestd.api.problems import Problem
from storage import accounts
from storage.requests import Claim

KEY_CHARS_MAX: Final = 255

_BEARER = HTTPBearer(auto_error=False, description="A token: `ingestd token create` makes one.")
_OPERATORS: Final = "this is the operator's: an account's token cannot do it"
_UNAUTHORIZED: Final = {"WWW-Authenticate": 'Bearer realm="ingestd"'}


async def get_backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def get_caller(
    request: Request,
    backend: Annotated[Backend, Depends(get_backend)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> Caller:
    """Return who asks. Raises Problem."""
    address = request.client.host if request.client else ""
    caller = await backend.access.check(bearer.credentials if bearer else None, address)
    if caller is None:
        raise Problem("unauthorized", "send a token as `Authorization: Bearer …`", headers=_UNAUTHORIZED)
    return caller


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in."""

    request: Request
    backend: Backend
    caller: Caller
    idempotency_key: str | None

    async def _identity(self, body: bytes | None) -> tuple[bytes, bytes]:
        """Return who asks for what under which key, and what exactly is asked for: both to be hashed."""
        place = f"{self.request.method} {self.request.url.path}"
        if body is None:
            body = await self.request.body()
        return (
            f"{place}\0{self.idempotency_key}".encode(),
            f"{place}?{self.request.url.query}\0".encode() + _canonical(body),
        )

    @staticmethod
    def note_repeated(response: Response, repeated: bool) -> None:
        """Say in the answer that the request had been done before."""
        if repeated:
            response.headers["Idempotency-Replayed"] = "true"


@dataclass(frozen=True, slots=True)
class ByOperator(Asked):
    """A request of the operator's, about no account."""

    async def claim(self, resource: object) -> Claim | None:
        """Return this request as one that is done once; None where it came without an idempotency key.

        The operator has no key to hash it with, and asks for nothing personal.
        """
        if self.idempotency_key is None:
            return None
        request_key, request = await self._identity(None)
        return Claim(hashlib.sha256(request_key).digest(), hashlib.sha256(request).digest(), str(resource))


@dataclass(frozen=True, slots=True)
class OnAccount(ByOperator):
    """A request of the operator's about one account, which its own tokens cannot do. Its claims are the operator's:
    they outlive the account."""

    account_id: UUID


@dataclass(frozen=True, slots=True)
class Here(Asked):
    """A request about one account, that its caller may act for."""

    account_id: UUID

    async def claim(
        self, resource: object, *, mailbox_id: UUID | None = None, body: bytes | None = None
    ) -> Claim | None:
        """Return this request as one that is done once; None where it came without an idempotency key.

        `resource` is the id of what it makes or is about, `mailbox_id` the mailbox that it is forgotten with, `body`
        what stands for a body that was read as a stream.
        """
        if self.idempotency_key is None:
            return None
        key = await self.backend.keys.account(self.account_id)
        request_key, request = await self._identity(body)
        return Claim(
            key.hash("idempotency", request_key), key.hash("idempotent request", request), str(resource), mailbox_id
        )


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_CHARS_MAX,
        description="The same key with the same request is done once, for 24 hours. Draw a random one for each.",
    ),
]


def _in_account(scope: Scope) -> Callable[..., Awaitable[Here]]:
    async def dependency(
        request: Request,
        account_id: Annotated[UUID, Path(description="The account's id.")],
        backend: Annotated[Backend, Depends(get_backend)],
        caller: Annotated[Caller, Depends(get_caller)],
        idempotency_key: IdempotencyKey = None,
    ) -> Here:
        # Another's account is not there: its existence is nobody's business.
        if not caller.acts_for(account_id):
            raise Problem("not_found")
        _require(caller, scope)
        if caller.account_id is None:
            await backend.content.read(account_id, accounts.get_account)
        return Here(request, backend, caller, idempotency_key, account_id)

    return dependency


def _of_operator(scope: Scope) -> Callable[..., Awaitable[ByOperator]]:
    async def dependency(
        request: Request,
        backend: Annotated[Backend, Depends(get_backend)],
        caller: Annotated[Caller, Depends(get_caller)],
        idempotency_key: IdempotencyKey = None,
    ) -> ByOperator:
        if caller.account_id is not None:
            raise Problem("forbidden", _OPERATORS)
        _require(caller, scope)
        return ByOperator(request, backend, caller, idempotency_key)

    return dependency


def _of_operator_on_account(scope: Scope) -> Callable[..., Awaitable[OnAccount]]:
    async def dependency(
        request: Request,
        account_id: Annotated[UUID, Path(description="The account's id.")],
        backend: Annotated[Backend, Depends(get_backend)],
        caller: Annotated[Caller, Depends(get_caller)],
        idempotency_key: IdempotencyKey = None,
    ) -> OnAccount:
        if not caller.acts_for(account_id):
            raise Problem("not_found")
        if caller.account_id is not None:
            raise Problem("forbidden", _OPERATORS)
        _require(caller, scope)
        await backend.content.read(account_id, accounts.get_account)
        return OnAccount(request, backend, caller, idempotency_key, account_id)

    return dependency


def _require(caller: Caller, scope: Scope) -> None:
    if not caller.may(scope):
        raise Problem("forbidden", f"the token has not the scope `{scope.value}`")


def _canonical(body: bytes) -> bytes:
    """Return a JSON body so that the same values are the same bytes; another body as it is."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return body
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


Reading = Annotated[Here, Depends(_in_account(Scope.READ))]
Replying = Annotated[Here, Depends(_in_account(Scope.REPLY))]
Managing = Annotated[Here, Depends(_in_account(Scope.MANAGE))]
Administering = Annotated[Here, Depends(_in_account(Scope.ADMIN))]
Operating = Annotated[ByOperator, Depends(_of_operator(Scope.ADMIN))]
OperatingOn = Annotated[OnAccount, Depends(_of_operator_on_account(Scope.ADMIN))]
