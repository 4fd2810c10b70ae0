"""`mailbox backfill`: have the mail read that was there before a mailbox was linked, and watch it."""

from __future__ import annotations

import asyncio
import math
import time
from uuid import UUID

import click

from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_json,
    progress,
    shown,
    with_store,
)
from ingestd.desk import BackfillView
from ingestd.inbound import backfill_steps
from ingestd.inbound.backfill_steps import NotSaid, Wish
from storage import leases
from storage.backfills import BackfillStatus

_POLL_SECONDS = 0.5
_ALONE_SECONDS = 60.0
"""So long a watch waits for a daemon: one that is started again takes less."""


@click.command()
@click.argument("mailbox_id", type=click.UUID)
@click.option("--from", "start", help="How far back: everything, or a number of days before the mailbox was linked.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    help="Which mail comes first.  [default: as configured, or as before]",
)
@click.option("--stop", is_flag=True, help="Stop it; what is in stays. Asked again, it goes on where it was.")
@click.option("--watch", is_flag=True, help="Show the progress until it ends. Interrupting this does not stop it.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    help="How long to watch, in seconds.  [default: until it ends, while a daemon runs]",
)
@account_option
@json_option
@with_store
async def backfill(
    store: Store,
    mailbox_id: UUID,
    start: str | None,
    order: str | None,
    stop: bool,
    watch: bool,
    wait_seconds: float | None,
    account: UUID | None,
    as_json: bool,
) -> None:
    """Read the mail that was there before the mailbox was linked; nobody is answered.

    It becomes tickets that are closed (backfill.ticket_status), beside new mail and never before it. Without
    --from, one that was stopped or given up goes on; --watch alone only watches.
    """
    if stop and (start or order or watch):
        raise click.UsageError("--stop stands alone")
    if wait_seconds is not None and not watch:
        raise click.UsageError("--wait goes with --watch")
    account_id = await choose_account(store, account)
    await store.desk.mailbox(account_id, mailbox_id)  # says so where there is none
    if stop:
        await store.content.transaction(account_id, backfill_steps.stop, mailbox_id)
    elif start or order or not watch:
        await _ask(store, account_id, mailbox_id, start, order)
    if not stop and not await _daemon_runs(store):
        click.echo("note: no daemon runs on this store; `ingestd run` reads the mail", err=True)
    if watch:
        view = await _watch(_Looks(store, account_id, mailbox_id, wait_seconds))
    else:
        view = await _view(store, account_id, mailbox_id)
    if as_json:
        print_json({"mailbox": mailbox_id, **backfill_fields(view)})
    else:
        click.echo(backfill_line(view))
    if watch and view.backfill.status is not BackfillStatus.DONE:
        raise Trouble(f"the backfill is {view.backfill.status} and not done")


async def _ask(store: Store, account_id: UUID, mailbox_id: UUID, start: str | None, order: str | None) -> None:
    days = None if start is None else _days(start)
    wish = Wish(
        days=days,
        everything=start is not None and days is None,
        newest_first=None if order is None else order == "newest",
    )
    try:
        await store.content.transaction(
            account_id,
            backfill_steps.ask_for,
            mailbox_id,
            wish,
            newest_first=store.settings.backfill.order == "newest",
        )
    except NotSaid as error:
        raise click.UsageError("say how far back: --from everything, or --from and a number of days") from error


def _days(start: str) -> int | None:
    if start == "everything":
        return None
    if start.isascii() and start.isdigit() and 0 < int(start) <= 36_500:
        return int(start)
    raise click.BadParameter("must be everything, or a number of days", param_hint="--from")


async def _view(store: Store, account_id: UUID, mailbox_id: UUID) -> BackfillView:
    view = await store.desk.backfill(account_id, mailbox_id)
    if view is None:
        raise Trouble("nobody asked for this mailbox's old mail: --from says how far back")
    return view


async def _daemon_runs(store: Store) -> bool:
    lease_seconds = store.settings.inbound.lease_seconds
    return bool(await store.content.read(None, leases.others_alive, None, lease_seconds))


class _Looks:
    """Looks at a backfill again and again, not for ever."""

    def __init__(self, store: Store, account_id: UUID, mailbox_id: UUID, wait_seconds: float | None) -> None:
        self._store, self._where = store, (account_id, mailbox_id)
        self._until = time.monotonic() + (math.inf if wait_seconds is None else wait_seconds)
        self._alive_at = time.monotonic()

    async def first(self) -> BackfillView:
        return await _view(self._store, *self._where)

    async def next(self) -> BackfillView:
        """Look in a moment. Raises Trouble where nobody reads the mail, and where the time is over."""
        await asyncio.sleep(_POLL_SECONDS)
        view, now = await _view(self._store, *self._where), time.monotonic()
        if view.backfill.status is not BackfillStatus.RUNNING:
            return view
        if await _daemon_runs(self._store):
            self._alive_at = now
        elif now - self._alive_at > _ALONE_SECONDS:
            raise Trouble("no daemon runs on this store: nobody reads the mail; `ingestd run` goes on with it")
        if now > self._until:
            raise Trouble(f"not done yet: {backfill_line(view)}; the daemon goes on with it")
        return view


async def _watch(looks: _Looks) -> BackfillView:
    """Wait for its end, with a progress bar where somebody sees it."""
    view = await looks.first()
    while view.backfill.status is BackfillStatus.RUNNING and view.progress.total is None:
        view = await looks.next()
    with progress("old mail", view.progress.total or 0) as bar:
        bar.show_eta = False  # its own estimate counts what was seen before as seen now
        while True:
            bar.label = backfill_line(view)
            bar.update(max(0, view.progress.seen - bar.pos))
            if view.backfill.status is not BackfillStatus.RUNNING:
                return view
            view = await looks.next()


def backfill_fields(view: BackfillView) -> dict[str, object]:
    """Return what programs read of a backfill."""
    one, progress_now = view.backfill, view.progress
    return {
        "status": one.status.value,
        "order": "newest" if one.newest_first else "oldest",
        "since": one.since,
        "before": one.before,
        "seen": progress_now.seen,
        "total": progress_now.total,
        "seconds_left": None if progress_now.seconds_left is None else round(progress_now.seconds_left),
        "trouble": one.trouble,
        "next_try": one.retry_at,
        "began": one.began_at,
        "ended": one.ended_at,
    }


def backfill_line(view: BackfillView) -> str:
    """Return what people read of a backfill, in a line."""
    one, now = view.backfill, view.progress
    parts = [one.status.value]
    if now.total is not None:
        parts.append(f"{now.seen:,} of {now.total:,} messages")
    if now.seconds_left is not None:
        parts.append(f"{duration(now.seconds_left)} left")
    if one.trouble is not None:
        parts.append(one.trouble.replace("_", " ") + (f", next try {shown(one.retry_at)}" if one.retry_at else ""))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as people say it who only estimate.

    >>> duration(40), duration(200), duration(9000), duration(400_000)
    ('less than a minute', 'about 3 minutes', 'about 2.5 hours', 'about 4.6 days')
    """
    if seconds < 60:
        return "less than a minute"
    if seconds < 3600:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 2 * 86_400:
        return f"about {seconds / 3600:.1f} hours"
    return f"about {seconds / 86_400:.1f} days"
