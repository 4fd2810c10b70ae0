"""receipt: what the forgetting of a mailbox, an account or a person leaves, to be shown to others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import click
import msgspec

from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_fields,
    print_json,
    print_rows,
    with_store,
)
from ingestd.cli.forgetting import told
from ingestd.privacy.closing import find_closed
from ingestd.privacy.person_receipts import find_person_receipt
from ingestd.privacy.receipts import find_forgetting, list_forgetting
from ingestd.privacy.statement import StatementWrong, key_id, pem, read_pem, read_statement, signer_of

_STATEMENT_BYTES_MAX = 1024 * 1024


@click.group()
def receipt() -> None:
    """Receipts of mailboxes that were disconnected, and of persons that were erased: list, show, verify."""


@receipt.command("list")
@account_option
@click.option("--after", type=click.UUID, help="Only those behind this mailbox.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
@json_option
@with_store
async def list_(store: Store, account: UUID | None, after: UUID | None, limit: int, as_json: bool) -> None:
    """List the mailboxes that were disconnected, and how far each has come."""
    account_id = await choose_account(store, account)
    found = await list_forgetting(store.content, store.keystore, account_id, after=after, limit=limit)
    rows = [
        {
            "mailbox": one.erasure.mailbox_id,
            "step": one.erasure.step,
            "requested": one.erasure.requested_at,
            "revocation": one.revocation,
        }
        for one in found
    ]
    print_rows(rows, as_json, none="no mailbox was disconnected")


@receipt.command()
@click.argument("forgotten_id", metavar="MAILBOX_ID|ACCOUNT_ID|ERASURE_ID", type=click.UUID)
@account_option
@click.option("--signed", is_flag=True, help="Print it signed, as a JWS: for `receipt verify`, or any JOSE tool.")
@json_option
@with_store
async def show(store: Store, forgotten_id: UUID, account: UUID | None, signed: bool, as_json: bool) -> None:
    """Show the receipt of a mailbox, of an account that is closed, or of a person's erasure."""
    known, statement = await _find(store, forgotten_id, account)
    if signed and not as_json:
        click.echo(statement)
    elif as_json:
        print_json({**known, **({"signed": statement} if signed else {})})
    else:
        print_fields({name: told(value) for name, value in known.items()})


async def _find(store: Store, forgotten_id: UUID, account: UUID | None) -> tuple[dict[str, Any], str | None]:
    """Return what a receipt says, and that signed."""
    signer, at = signer_of(store.keys), datetime.now(UTC)
    if (closed := await find_closed(store.keystore, forgotten_id)) is not None:
        return msgspec.structs.asdict(closed.receipt), signer.sign_account(closed, at)
    account_id = await choose_account(store, account)
    person, position = await find_person_receipt(store.keystore, account_id, forgotten_id)
    if person is not None and position is not None:
        return msgspec.structs.asdict(person), signer.sign_person(account_id, person, position, at)
    found = await find_forgetting(store.content, store.keystore, account_id, forgotten_id)
    if found.receipt is None:
        raise Trouble(f"the mailbox is being forgotten (step {found.erasure.step}); its receipt is not written yet")
    known = {
        **msgspec.structs.asdict(found.receipt),
        "revocation": found.revocation,
        "refresh_after": found.refresh_after,
        "removal_page": found.removal_page,
    }
    return known, signer.sign(account_id, found, at)


@receipt.command()
@with_store
async def key(store: Store) -> None:
    """Print the public key by which others check signed receipts, as PEM.

    It changes with the master key: keep what was handed out.
    """
    click.echo(pem(signer_of(store.keys).public_key), nl=False)


@receipt.command()
@click.argument("statement", metavar="FILE", type=click.File("rb"))
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key, as PEM.  [default: that of this store]",
)
@json_option
@click.pass_context
def verify(context: click.Context, statement: BinaryIO, key_file: Path | None, as_json: bool) -> None:
    """Check a signed receipt, and print what it says; - reads standard input. With --key, no store is needed."""
    token = statement.read(_STATEMENT_BYTES_MAX).decode("ascii", "replace")
    try:
        public = read_pem(key_file.read_bytes()) if key_file is not None else context.invoke(_own_key)
        said = dict(read_statement(token, public))
    except StatementWrong as error:
        raise Trouble(str(error)) from error
    fields = {
        "signed_by": key_id(public),
        "signed_at": datetime.fromtimestamp(said["iat"], UTC),
        "account": said["account_id"],
        **said["receipt"],
        "readable_with": said["readable_with"],
        "ledger": said["ledger"],
    }
    print_json(fields) if as_json else print_fields({name: told(value) for name, value in fields.items()})


@with_store
async def _own_key(store: Store) -> Any:
    return signer_of(store.keys).public_key
