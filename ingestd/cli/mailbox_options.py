"""`mailbox set`: what is done in a mailbox after import and by agents, which folders are watched, how replies look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TextIO
from uuid import UUID

import click

from config import after_import_note, check_after_import, check_mirrored
from ingestd.build.store import Store
from ingestd.cli.common import (
    Trouble,
    account_option,
    choose_account,
    json_option,
    print_fields,
    print_json,
    with_store,
)
from ingestd.options import (
    SIGNATURE_CHARS_MAX,
    Chosen,
    OptionRefused,
    Options,
    change_options,
    check_folders,
    effective,
    mirrored,
)
from ingestd.records import TOKEN_OFF, TOKEN_PLUS, MailboxRecord

_DEFAULT = "default"
_WAIT_SECONDS = 30.0
"""How long a reply that is being sent is waited for."""


@click.command("set")
@click.argument("mailbox_id", type=click.UUID)
@click.option(
    "--after-import",
    help="What is done in the mailbox to a message that was taken: nothing, seen, keyword:NAME, move:FOLDER, delete; "
    "or default, as the configuration says.",
)
@click.option(
    "--folder",
    "--folders",
    "folders",
    multiple=True,
    help="A folder that is watched, instead of those that are now; may be given several times.",
)
@click.option(
    "--mirror",
    "mirror",
    multiple=True,
    metavar="ACTION=EDIT",
    help="What is done in the mailbox to the mail of a ticket that an agent reads, closes and so on: read=seen, "
    "spam=junk, delete=trash, solved=keyword:NAME, …; nothing, or default, as the configuration says; may be given "
    "several times.",
)
@click.option("--default-folders", is_flag=True, help="Watch the folders that the configuration says.")
@click.option("--name", help='The name that replies come from; "" for none.')
@click.option("--reply-to", help='Where answers to replies go; "" for the address that a reply comes from.')
@click.option(
    "--signature",
    "signature_file",
    type=click.File("r", encoding="utf-8"),
    help="A file with the text that is put beneath every reply; - reads it from standard input.",
)
@click.option("--no-signature", is_flag=True, help="Put nothing beneath replies.")
@click.option(
    "--reply-token",
    type=click.Choice([TOKEN_OFF, TOKEN_PLUS]),
    help="plus: answers to replies go to an address that names the ticket, local+TOKEN@domain, "
    "for customers whose programs drop the references. The provider must deliver such addresses to this mailbox.",
)
@account_option
@json_option
@with_store
async def set_(
    store: Store,
    *,
    mailbox_id: UUID,
    after_import: str | None,
    folders: tuple[str, ...],
    mirror: tuple[str, ...],
    default_folders: bool,
    name: str | None,
    reply_to: str | None,
    signature_file: TextIO | None,
    no_signature: bool,
    reply_token: str | None,
    account: UUID | None,
    as_json: bool,
) -> None:
    """Change what is done in a mailbox after import and by agents' actions, what is watched, and how replies look.

    Naming --after-import or --mirror also tries again what had been given up; with nothing, the edits that it had
    asked for and that are still due are not done any more. Of a folder that is watched from now on, what comes from
    now on is read; one that takes the place of a missing folder is read from where that was. What is older comes by
    `mailbox backfill`.
    """
    options = replace(
        _options(after_import, folders, mirror, default_folders),
        name=name,
        reply_to=reply_to,
        signature=_signature(signature_file, no_signature),
        reply_token=reply_token,
    )
    if options == Options():
        raise click.UsageError("say what is to be changed, as by --after-import, --folder or --name; --help lists it")
    account_id = await choose_account(store, account)
    chosen = await _choose(store, account_id, mailbox_id, options)
    now, watched = effective(chosen.record, store.settings.mailbox_defaults)
    mirroring = mirrored(chosen.record, store.settings.mailbox_defaults)
    if as_json:
        edits = {"edits_cancelled": chosen.cancelled, "edits_tried_again": chosen.revived}
        fields = {"mailbox": mailbox_id, "after_import": now, "mirror": mirroring, "folders": watched}
        print_json({**fields, **reply_options(chosen.record, as_json), **edits})
        return
    told: dict[str, object] = {"after_import": now, "mirror": mirror_line(mirroring), "folders": ", ".join(watched)}
    told |= reply_options(chosen.record, as_json)
    print_fields({key: value for key, value in told.items() if value})
    for count, what in ((chosen.cancelled, "are not done any more"), (chosen.revived, "are tried again")):
        if count:
            click.echo(f"{count} edits {what}")
    if note := after_import_note(now):
        click.echo(f"note: {note}", err=True)


def mirror_line(mirror: Mapping[str, str]) -> str:
    return ", ".join(f"{action}={edit}" for action, edit in mirror.items())


def _options(
    after_import: str | None, folders: tuple[str, ...], mirror: tuple[str, ...], default_folders: bool
) -> Options:
    if folders and default_folders:
        raise click.UsageError("give --folder or --default-folders, not both")
    try:
        check_folders(folders)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--folder") from error
    if after_import is not None and after_import != _DEFAULT:
        try:
            check_after_import(after_import)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--after-import") from error
    return Options(
        after_import="" if after_import == _DEFAULT else after_import,
        folders=tuple(dict.fromkeys(folders)) if folders or default_folders else None,
        mirror=dict(map(_mirrored, mirror)) or None,
    )


def _signature(file: TextIO | None, none: bool) -> str | None:
    if none and file is not None:
        raise click.UsageError("give --signature or --no-signature, not both")
    if none:
        return ""
    if file is None:
        return None
    try:
        # One more than is allowed, so that what is too long is refused and not cut.
        return file.read(SIGNATURE_CHARS_MAX + 1).strip("\n")
    except UnicodeDecodeError as error:
        raise click.BadParameter("is no text in UTF-8", param_hint="--signature") from error


def reply_options(record: MailboxRecord, as_json: bool) -> dict[str, object]:
    """Return how replies of a mailbox look; a signature for people is on one line."""
    return {
        "name": record.name,
        "reply_to": record.reply_to,
        "reply_token": record.reply_token,
        "signature": record.signature if as_json else " | ".join(record.signature.splitlines()),
    }


def _mirrored(text: str) -> tuple[str, str]:
    """Return action and edit of ACTION=EDIT; "" for `default`."""
    action, _, spelled = text.partition("=")
    try:
        check_mirrored(action, "nothing" if spelled == _DEFAULT else spelled)
    except ValueError as error:
        raise click.BadParameter(f"{error}, as in solved=seen", param_hint="--mirror") from error
    return action, "" if spelled == _DEFAULT else spelled


async def _choose(store: Store, account_id: UUID, mailbox_id: UUID, options: Options) -> Chosen:
    defaults = store.settings.mailbox_defaults
    try:
        done = await change_options(
            store.content, store.keys, account_id, mailbox_id, options, defaults, wait_seconds=_WAIT_SECONDS
        )
    except OptionRefused as refused:
        raise Trouble(str(refused)) from refused
    assert done.value is not None
    return done.value
