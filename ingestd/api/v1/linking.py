"""Linking: a mailbox's owner opens an address in a browser and consents at the provider; then it is linked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import Field, model_validator

from ingestd.api.here import Here, Managing, Reading
from ingestd.api.problems import Problem
from ingestd.api.shapes import MailboxId, Shown, Taken
from ingestd.linking.labels import label_of
from ingestd.linking.link import LinkRequest
from ingestd.linking.standing import LinkStatus, find_link
from ingestd.options import NAME_CHARS_MAX, check_identity
from storage.types import new_id

router = APIRouter(prefix="/accounts/{account_id}", tags=["linking"])

FlowId = Annotated[UUID, Path(description="The linking's id.")]


class NewMailbox(Taken):
    provider: Annotated[str, Field(min_length=1, max_length=100, examples=["google"], description="Its name.")]
    start_from: Literal["now", "days", "everything"] | None = Field(
        default=None,
        description="What is read first: only new mail, also that of the last days, or all. Null: as configured.",
    )
    start_days: Annotated[int, Field(ge=1, le=36_500)] | None = Field(default=None, description="With `days`.")
    name: Annotated[str, Field(max_length=NAME_CHARS_MAX)] = Field(
        default="", examples=["Example Support"], description="The name that replies come from."
    )
    addresses: Annotated[list[Annotated[str, Field(min_length=1, max_length=320)]], Field(max_length=100)] = Field(
        default_factory=list, examples=[["help@example.com"]], description="Aliases of the mailbox."
    )

    shared: Annotated[str, Field(max_length=320)] = Field(
        default="",
        examples=["support@example.com"],
        description="A shared mailbox that is to be linked (Microsoft); who consents may open it.",
    )
    mailbox: Annotated[str, Field(max_length=320)] = Field(
        default="",
        examples=["support@example.com"],
        description="A mailbox that application permissions open (Microsoft): nobody is asked, it is linked at once.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.start_from == "days") is not (self.start_days is not None):
            raise ValueError("start_days goes with start_from: days")
        return self


class LinkStarted(Shown):
    flow_id: UUID
    mailbox_id: UUID = Field(description="The mailbox's id once it is linked.")
    consent_url: str | None = Field(
        examples=["https://mail.example.com/oauth/start?state=…"],
        description="What the mailbox's owner opens in a browser: good once, until `expires_at`. Null where a repeated "
        "request comes when it was used, or is too old, and where application permissions have linked it.",
    )
    expires_at: datetime


class LinkShown(Shown):
    flow_id: UUID
    mailbox_id: UUID
    provider: str = Field(examples=["google"])
    relink: bool = Field(description="Whether a mailbox that was linked before is linked again.")
    status: LinkStatus
    reason: str | None = Field(examples=["consent_refused"], description="Where it failed: why, as a fixed word.")
    meaning: str | None = Field(description="The same for people.")
    expires_at: datetime


class ProviderShown(Shown):
    name: str = Field(examples=["google"], description="What `provider` names.")
    kind: str = Field(examples=["google"], description="Its preset, or `generic`.")
    label: str = Field(examples=["Google"], description="For people.")


class ProviderList(Shown):
    items: list[ProviderShown]


@router.get("/providers", summary="List the providers")
async def providers(here: Reading) -> ProviderList:
    """Those whose mailboxes can be linked."""
    configured = here.backend.settings().providers
    return ProviderList(
        items=[
            ProviderShown(name=name, kind=configured[name].kind, label=label_of(name, configured[name].kind))
            for name in sorted(configured)
        ]
    )


@router.post("/mailboxes", status_code=201, summary="Link a mailbox")
async def link(here: Managing, body: NewMailbox, response: Response) -> LinkStarted:
    """Its owner opens `consent_url` in a browser and consents; `GET …/links/{flow_id}` tells what came of it.

    With `mailbox` it is linked by the time of the answer."""
    settings = here.backend.settings()
    if body.provider not in settings.providers:
        raise Problem("invalid", "there is no such provider; `GET …/providers` lists them")
    check_identity(body.name, body.addresses)
    defaults = settings.mailbox_defaults
    start_from = body.start_from or defaults.start_from
    request = LinkRequest(
        provider=body.provider,
        start_from=start_from,
        start_days=body.start_days or (defaults.start_days if body.start_from is None else 0),
        name=body.name,
        addresses=tuple(dict.fromkeys(body.addresses)),
        shared=body.shared,
        mailbox=body.mailbox,
    )
    return await _start(here, request, response)


@router.post("/mailboxes/{mailbox_id}/relink", status_code=201, summary="Link a mailbox again")
async def relink(here: Managing, mailbox_id: MailboxId, response: Response) -> LinkStarted:
    """After its grant was lost. Reading goes on where it stopped, waiting replies go out. Only the mailbox's own owner
    can consent."""
    view = await here.backend.desk.linked_mailbox(here.account_id, mailbox_id)
    request = LinkRequest(provider=view.mailbox.provider, mailbox_id=mailbox_id)
    return await _start(here, request, response)


@router.get("/links/{flow_id}", summary="Show a linking")
async def show(here: Reading, flow_id: FlowId) -> LinkShown:
    """What came of it. It is forgotten an hour after its end."""
    found = await find_link(here.backend.content, here.account_id, flow_id)
    return LinkShown(
        flow_id=found.flow_id,
        mailbox_id=found.mailbox_id,
        provider=found.provider,
        relink=found.relink,
        status=found.status,
        reason=found.reason,
        meaning=found.meaning,
        expires_at=found.expires_at,
    )


async def _start(here: Here, request: LinkRequest, response: Response) -> LinkStarted:
    claim = await here.claim(new_id(), mailbox_id=request.mailbox_id)
    started = await here.backend.linking.start(here.account_id, request, claim=claim)
    here.note_repeated(response, started.repeated)
    return LinkStarted(
        flow_id=started.flow_id,
        mailbox_id=started.mailbox_id,
        consent_url=started.address or None,
        expires_at=started.expires_at,
    )
