"""`audit`: is every message that lies in a mailbox accounted for here?"""

from __future__ import annotations

from uuid import UUID

import click

from connectors.base import ConnectorError
from ingestd.build.looking import audit_tools, open_looking
from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_json,
    progress,
    showing,
    with_store,
)
from ingestd.inbound import audit as comparing
from ingestd.inbound.audit import Audit
from ingestd.inbound.parser import ParserUnavailable
from storage import audits
from storage.audits import Fate

_WORDS = {
    Fate.TAKEN: "in tickets",
    Fate.SENT: "replies of ours",
    Fate.QUARANTINED: "in quarantine",
    Fate.DROPPED: "dropped from quarantine",
    Fate.FORGOTTEN: "deleted here, as their tickets were too old",
}


@click.command()
@click.argument("mailbox_id", type=click.UUID)
@click.option("--repair", is_flag=True, help="Take in what is not accounted for, once, as reading would have.")
@account_option
@json_option
@with_store
async def audit(store: Store, mailbox_id: UUID, repair: bool, account: UUID | None, as_json: bool) -> None:
    """Compare a mailbox with the store: is every message that lies there accounted for here.

    Of mail that reading has passed, that is: in the folders that are followed, since the mailbox was linked, and
    what a backfill has read. It marks nothing. Exit status 0 if nothing is missing, or all that was is here now. A
    daemon does the same by itself now and then (inbound.audit_days).
    """
    account_id = await choose_account(store, account)
    await store.desk.mailbox(account_id, mailbox_id)  # says so where there is none
    async with open_looking(store) as (builder, parser):
        try:
            context, readers = await builder.audited(account_id, mailbox_id)
        except KeyError as error:
            raise Trouble("the configuration does not have the mailbox's provider any more") from error
        try:
            with progress("comparing", None) as bar:
                tools = audit_tools(store, parser)
                found = await comparing.audit(tools, context, readers, repair=repair, passed=showing(bar))
        except ConnectorError as error:
            raise Trouble(f"the mailbox could not be asked: {error}") from error
        except ParserUnavailable as error:
            raise Trouble("no parser process could be started") from error
        finally:
            await readers.close()
    left = len(found.unaccounted) - found.repaired
    if repair and found.complete:
        await store.content.transaction(account_id, audits.note_audit, mailbox_id, fence=None, unaccounted=left)
    if as_json:
        print_json({"mailbox": mailbox_id, **audit_fields(found)})
    else:
        _print(found)
    if left:
        raise Trouble(f"{left} messages are not accounted for" + ("" if repair else "; --repair takes them in"))
    if not found.complete:
        raise Trouble("there is more to ask for than the limit (inbound.audit_fetches_max)")


def audit_fields(found: Audit) -> dict[str, object]:
    """Return what programs read of a comparison."""
    return {
        "compared": found.listed,
        "fetched": found.fetched,
        **{fate.value: found.fates[fate] for fate in Fate},
        "unaccounted": found.unaccounted,
        "repaired": found.repaired,
        "complete": found.complete,
    }


def _print(found: Audit) -> None:
    click.echo(f"{found.listed} messages compared, {found.fetched} of them fetched")
    for fate, words in _WORDS.items():
        if found.fates[fate]:
            click.echo(f"{found.fates[fate]:8}  {words}")
    for locator in found.unaccounted:
        click.echo(f"not here: {locator}")
    if found.repaired:
        click.echo(f"{found.repaired} of them were taken in now")
