"""Checking: every promise over the store, and against the mailboxes themselves."""

from __future__ import annotations

from uuid import UUID

import click

from connectors.base import ConnectorError
from ingestd.build.looking import audit_tools, open_looking
from ingestd.build.store import Store
from ingestd.cli.common import Trouble, json_option, print_json, progress, showing, with_store
from ingestd.inbound.audit import Audit, audit
from ingestd.verify.check import INVARIANTS
from ingestd.verify.check import verify as verify_store
from ingestd.verify.report import Report
from storage import mailboxes
from storage.mailboxes import Mailbox, MailboxState

Compared = dict[UUID, Audit | str]
"""What came of each mailbox: a comparison, or why there is none."""


@click.command()
@click.option("--against-mailbox", is_flag=True, help="Ask the mail servers, too: is all that they hold stored here?")
@click.option("--mailbox", "mailbox_id", type=click.UUID, help="With --against-mailbox: only this mailbox.")
@json_option
@with_store
async def verify(store: Store, against_mailbox: bool, mailbox_id: UUID | None, as_json: bool) -> None:
    """Check every promise over the store.

    Nothing lost, nothing twice, nothing left, nothing shared: exit status 0 if all of it holds.
    It reads only, and a daemon may be at work.
    """
    if mailbox_id is not None and not against_mailbox:
        raise click.UsageError("--mailbox goes with --against-mailbox")
    with progress("checking", len(INVARIANTS)) as bar:
        report = await verify_store(
            store.content, store.keystore, store.blobs, store.keys, passed=lambda: bar.update(1)
        )
    compared = await _compare(store, mailbox_id) if against_mailbox else {}
    if as_json:
        print_json(_document(report, compared))
    else:
        _print(report, compared)
    lost = sum(len(one.unaccounted) for one in compared.values() if isinstance(one, Audit))
    unasked = sum(isinstance(one, str) for one in compared.values())
    broken = [
        *([f"{len(report.violations)} violations"] if report.violations else []),
        *([f"{lost} messages are on a server and not here"] if lost else []),
        *([f"{unasked} mailboxes could not be asked"] if unasked else []),
    ]
    if broken:
        raise Trouble(", ".join(broken))


async def _compare(store: Store, mailbox_id: UUID | None) -> Compared:
    wanted = [one for one in await store.content.read(None, mailboxes.list_all_mailboxes) if _is_there(one)]
    if mailbox_id is not None:
        wanted = [one for one in wanted if one.mailbox_id == mailbox_id]
        if not wanted:
            raise Trouble(f"there is no mailbox {mailbox_id}; `ingestd mailbox list` shows them")
    found: Compared = {}
    async with open_looking(store) as (builder, parser):
        for one in wanted:
            try:
                context, readers = await builder.audited(one.account_id, one.mailbox_id)
            except KeyError:
                found[one.mailbox_id] = "its provider is not in the configuration any more"
                continue
            try:
                with progress(f"mailbox {one.mailbox_id}", None) as bar:
                    found[one.mailbox_id] = await audit(
                        audit_tools(store, parser), context, readers, passed=showing(bar)
                    )
            except ConnectorError as error:
                found[one.mailbox_id] = str(error)
            finally:
                await readers.close()
    return found


def _is_there(mailbox: Mailbox) -> bool:
    return mailbox.state is not MailboxState.DISCONNECTING


def _print(report: Report, compared: Compared) -> None:
    for name, count in report.checked.items():
        broken = [one for one in report.violations if one.invariant == name]
        click.echo(f"{'FAIL' if broken else 'ok':5}{name.replace('_', ' ')} ({count} checked)")
        for violation in broken:
            click.echo(f"       {violation.subject_id}: {violation.text}")
    for mailbox_id, one in compared.items():
        if isinstance(one, str):
            click.echo(f"FAIL mailbox {mailbox_id}: not compared: {one}")
            continue
        click.echo(
            f"{'FAIL' if one.unaccounted else 'ok':5}mailbox {mailbox_id}: all that the server holds is here", nl=False
        )
        click.echo(f" ({one.listed} compared, {one.fetched} of them fetched)")
        for locator in one.unaccounted:
            click.echo(f"       not here: {locator}")


def _document(report: Report, compared: Compared) -> dict[str, object]:
    return {
        "checked": report.checked,
        "violations": [
            {"invariant": one.invariant, "account": one.account_id, "subject": one.subject_id, "text": one.text}
            for one in report.violations
        ],
        "mailboxes": [
            {"mailbox": mailbox_id, "error": one}
            if isinstance(one, str)
            else {"mailbox": mailbox_id, "compared": one.listed, "fetched": one.fetched, "lost": list(one.unaccounted)}
            for mailbox_id, one in compared.items()
        ],
    }
