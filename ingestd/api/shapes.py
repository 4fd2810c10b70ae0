"""What the bodies of the API are made of. Times are RFC 3339 in UTC, sizes are bytes, ids are UUIDs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
NUMBER_MAX: Final = 2**63 - 1

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Taken(BaseModel):
    """A body that is sent to us: a field that we do not know is a mistake of the client's, and is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(BaseModel):
    """A body that we send."""

    model_config = ConfigDict(frozen=True)


def _storable(value: datetime) -> datetime:
    if not _EARLIEST <= value <= _LATEST:
        raise ValueError("must be between the years 1970 and 9000")
    return value.astimezone(UTC)


When = Annotated[AwareDatetime, AfterValidator(_storable)]
"""A time with its zone that any database of ours can hold."""

Number = Annotated[int, Path(ge=1, le=NUMBER_MAX, description="The ticket's number in its account.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="At most so many.")]
AfterId = Annotated[UUID | None, Query(description="Only those behind this one: `next` of the page before.")]


MailboxId = Annotated[UUID, Path(description="The mailbox's id.")]
Author = Annotated[str, Field(max_length=200, examples=["kim"], description="Who, as the helpdesk names its agent.")]


class Address(Shown):
    """A mail address and the name that came with it."""

    address: str = Field(examples=["anna@example.com"])
    name: str = Field(examples=["Anna Example"])
