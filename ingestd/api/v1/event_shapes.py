"""The schema of each type of event, made of the catalogue, for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, create_model

from ingestd.api.shapes import NUMBER_MAX, Shown
from ingestd.events.catalogue import EVENTS, IDS, EventType, ids_of

_ABOUT = {
    "mailbox_id": "The mailbox.",
    "ticket_id": "The ticket.",
    "message_id": "The message, the reply, or the message in quarantine.",
}


class AnyEvent(Shown):
    """What happened: ids, times and fixed words, never content."""

    sequence: int = Field(ge=1, le=NUMBER_MAX, examples=[4711], description="Its place in the account's log.")
    at: datetime
    account_id: UUID
    ticket_number: int | None = Field(description="Null where there is no ticket, or it is gone.", examples=[42])


def _shape(name: str, one: EventType) -> type[AnyEvent]:
    """Return the model of one type: `message.received` is MessageReceived."""
    fields: dict[str, Any] = {
        "type": (Literal[name], Field(description=one.meaning)),
        "version": (Literal[one.version], Field(description="Of the type's fields.")),
        "detail": (str | None if one.detail else None, Field(description=one.detail, examples=list(one.words) or None)),
    }
    for field in IDS:
        carried = field in ids_of(name)
        fields[field] = (UUID if carried else None, Field(description=_ABOUT[field] if carried else ""))
    title = "".join(part.capitalize() for part in name.replace(".", "_").split("_"))
    return create_model(title, __base__=AnyEvent, __doc__=one.meaning, **fields)


_SHAPES = [_shape(name, one) for name, one in EVENTS.items()]

if TYPE_CHECKING:
    EventShown = AnyEvent
    TypeName = str
else:
    EventShown = Annotated[
        reduce(or_, _SHAPES),
        Field(discriminator="type", description="Ignore types that you do not know: more will come."),
    ]
    """One of them, by its `type`."""
    TypeName = Literal[tuple(EVENTS)]
    """A type that can be asked for."""
