"""Version 1 of the API: a module a resource, each with its shapes and its routes, and no logic.

What is here stays as it is: fields and addresses are only ever added.
"""

from __future__ import annotations

from fastapi import APIRouter

from ingestd.api.v1 import accounts, events, tokens

PREFIX = "/v1"

router = APIRouter(prefix=PREFIX)
for _part in (accounts, events, tokens):
    router.include_router(_part.router)
