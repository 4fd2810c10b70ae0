"""Mailboxes: how they stand; pause, resume, change, disconnect. `linking` links them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from ingestd.api.here import Here, Managing, Reading
from ingestd.api.shapes import PAGE_DEFAULT, AfterId, Limit, MailboxId
from ingestd.api.v1.mailbox_shapes import MailboxPage, MailboxShown, OptionsChanged, shown_of, summary_of
from ingestd.api.v1.receipts import ForgettingShown, receipt_path, show_forgetting
from ingestd.inbound.states import pause as pause_mailbox
from ingestd.inbound.states import resume as resume_mailbox
from ingestd.options import change_options
from ingestd.privacy.requests import disconnect_mailbox
from ingestd.standing import counts_of, pushed_of, spending_of, stand
from storage.requests import once

router = APIRouter(prefix="/accounts/{account_id}/mailboxes", tags=["mailboxes"])

_UNDER_WAY_SECONDS = 10.0
"""How long a reply that is being sent is waited for."""


@router.get("", summary="List the mailboxes")
async def list_(here: Reading, after: AfterId = None, limit: Limit = PAGE_DEFAULT) -> MailboxPage:
    """Oldest first. Those that are being forgotten are not there any more: `receipts` tells how far that has come."""
    backend, settings = here.backend, here.backend.settings()
    found, behind = await backend.desk.mailbox_page(here.account_id, after=after, limit=limit)
    stands = await stand(backend.content, settings, here.account_id, found)
    items = [summary_of(one, *stood) for one, stood in zip(found, stands, strict=True)]
    return MailboxPage(items=items, next=behind)


@router.get("/{mailbox_id}", summary="Show a mailbox")
async def show(here: Reading, mailbox_id: MailboxId) -> MailboxShown:
    """What it does, what is wrong and what cures it, what waits, and how it is set."""
    return await _show(here, mailbox_id)


@router.patch("/{mailbox_id}", summary="Change a mailbox")
async def change(here: Managing, mailbox_id: MailboxId, body: OptionsChanged, response: Response) -> MailboxShown:
    """What is done in the mailbox after import and by agents' actions, which folders are watched, how replies look.

    Naming `after_import` or `mirror` also tries again what had been given up; with `nothing`, the edits that it had
    asked for and that are still due are not done any more.
    """
    backend = here.backend
    done = await change_options(
        backend.content,
        backend.keys,
        here.account_id,
        mailbox_id,
        body.options(),
        backend.settings().mailbox_defaults,
        wait_seconds=_UNDER_WAY_SECONDS,
        claim=await here.claim(mailbox_id, mailbox_id=mailbox_id),
    )
    here.note_repeated(response, done.repeated)
    return await _show(here, mailbox_id)


@router.post("/{mailbox_id}/pause", summary="Pause a mailbox")
async def pause(here: Managing, mailbox_id: MailboxId, response: Response) -> MailboxShown:
    """It is neither read nor sent from until it is resumed. Replies that are asked for wait."""
    claim = await here.claim(mailbox_id, mailbox_id=mailbox_id)
    done = await here.backend.content.transaction(here.account_id, once, claim, pause_mailbox, mailbox_id)
    here.note_repeated(response, done.repeated)
    return await _show(here, mailbox_id)


@router.post("/{mailbox_id}/resume", summary="Resume a mailbox")
async def resume(here: Managing, mailbox_id: MailboxId, response: Response) -> MailboxShown:
    """It goes on where it stopped: what came meanwhile is read, what waits is sent."""
    claim = await here.claim(mailbox_id, mailbox_id=mailbox_id)
    done = await here.backend.content.transaction(here.account_id, once, claim, resume_mailbox, mailbox_id)
    here.note_repeated(response, done.repeated)
    return await _show(here, mailbox_id)


@router.delete("/{mailbox_id}", status_code=202, summary="Disconnect a mailbox")
async def disconnect(here: Managing, mailbox_id: MailboxId, response: Response) -> ForgettingShown:
    """Forget it: its key is destroyed, its grant revoked, its data deleted. `Location` is where its receipt will be.

    It cannot be undone. Asked for again, also once it is forgotten, it answers how far it has come.
    """
    # The claim is not of the mailbox: it would be deleted with it, and be written again behind that.
    claim = await here.claim(mailbox_id)
    done = await here.backend.content.transaction(here.account_id, once, claim, disconnect_mailbox, mailbox_id)
    here.note_repeated(response, done.repeated)
    response.headers["Location"] = receipt_path(here.account_id, mailbox_id)
    return await show_forgetting(here, mailbox_id)


async def _show(here: Here, mailbox_id: UUID) -> MailboxShown:
    backend, settings = here.backend, here.backend.settings()
    view = await backend.desk.linked_mailbox(here.account_id, mailbox_id)
    (stood,) = await stand(backend.content, settings, here.account_id, [view])
    return shown_of(
        settings,
        view,
        *stood,
        await spending_of(backend.content, settings, view.mailbox),
        await counts_of(backend.content, view.mailbox),
        await backend.desk.backfill(here.account_id, mailbox_id),
        await pushed_of(backend.content, view.mailbox),
    )
