"""What linking writes: the request, and at its end the mailbox with its grant; each in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from ingestd.inbound import backfill_steps
from ingestd.linking.tokens import TokenSet
from storage import accounts, events, flows, grants, mailboxes, outbox
from storage.flows import Flow


def begin_link(
    conn: Connection,
    account_id: UUID,
    flow_id: UUID,
    *,
    mailbox_id: UUID,
    provider: str,
    relink: bool,
    state_hash: bytes,
    lifetime_seconds: float,
    open_max: int,
    sealed: bytes,
) -> None:
    """Write a request. Raises NotFound where the mailbox to link again is being forgotten, LimitReached."""
    if relink:
        # Held, so that no row of the mailbox is written behind those who delete all of them.
        mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    flows.insert_flow(
        conn,
        account_id,
        flow_id,
        mailbox_id=mailbox_id,
        provider=provider,
        relink=relink,
        state_hash=state_hash,
        lifetime_seconds=lifetime_seconds,
        open_max=open_max,
        sealed=sealed,
    )


def store_link(
    conn: Connection,
    account_id: UUID,
    flow: Flow,
    *,
    start_from: str,
    start_days: int,
    newest_first: bool,
    mailbox_sealed: bytes,
    grant_sealed: bytes,
    tokens: TokenSet,
    granted: Sequence[str],
) -> None:
    """Write the mailbox, its grant and the event in one transaction."""
    if flow.relink:
        mailboxes.relink(conn, account_id, flow.mailbox_id, mailbox_sealed)
        outbox.make_due(conn, account_id, flow.mailbox_id)
    else:
        mailboxes.insert_mailbox(
            conn,
            account_id,
            flow.mailbox_id,
            provider=flow.provider,
            start_from=start_from,
            start_days=start_days,
            sealed=mailbox_sealed,
        )
    grants.put_grant(
        conn,
        account_id,
        flow.mailbox_id,
        tokens.expires_at,
        grant_sealed,
        scopes=granted,
        refresh_ends_at=tokens.refresh_ends_at,
    )
    flows.end_flow(conn, account_id, flow.flow_id, status="completed")
    _, sequence = accounts.draw_numbers(conn, account_id, events=1)
    kind = "mailbox.relinked" if flow.relink else "mailbox.linked"
    events.insert_events(conn, account_id, sequence, [events.NewEvent(kind, flow.mailbox_id)])
    if not flow.relink and start_from != "now":
        days = start_days if start_from == "days" else None
        backfill_steps.ask(conn, account_id, flow.mailbox_id, days=days, newest_first=newest_first)
