"""What people decide about a mailbox after it was linked, as a transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from config import MailboxDefaults, check_after_import, check_mirror_fits, check_mirrored, check_not_watched
from ingestd.inbound.folders import watch_folders
from ingestd.keys import KeyRing
from ingestd.mail.fields import ComposeError, address_words, check
from ingestd.mail.international import ascii_address
from ingestd.mail.types import Address
from ingestd.records import TOKEN_OFF, TOKEN_PLUS, MailboxRecord
from storage import edits, mailboxes, outbox
from storage.database import Database
from storage.edits import EditCause
from storage.errors import Conflict, NotFound
from storage.mailboxes import MailboxState
from storage.requests import Claim, Done, once
from storage.sealing import DataKey

NOTHING = "nothing"
SIGNATURE_CHARS_MAX = 4000
NAME_CHARS_MAX = 200
FOLDERS_MAX = 100
FOLDER_CHARS_MAX = 255
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be changed; None leaves it as it is."""

    after_import: str | None = None
    """As the setting spells it; "" as the setting says."""
    folders: tuple[str, ...] | None = None
    """Empty: those of the settings."""
    name: str | None = None
    """The name that replies come from; "" for none."""
    reply_to: str | None = None
    """Where answers to replies go; "" for the address that a reply comes from."""
    signature: str | None = None
    """Plain text; "" for none."""
    reply_token: str | None = None
    """TOKEN_OFF or TOKEN_PLUS."""
    mirror: Mapping[str, str] | None = None
    """What is mirrored in the mailbox, as the settings `mirror` spell it; "" as the setting says."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What holds for a mailbox now."""

    record: MailboxRecord
    cancelled: int = 0
    """Edits that are not to be done any more."""
    revived: int = 0
    """Edits that had been given up and are tried again."""


class ReplyUnderWay(Conflict):
    """A reply of the mailbox is being sent right now: try again in a moment."""


class OptionRefused(Exception):
    """What was chosen cannot be; the text says what, and repeats nothing of it."""


def effective(record: MailboxRecord, defaults: MailboxDefaults) -> tuple[str, tuple[str, ...]]:
    """Return what is done after import and the folders that are watched: the mailbox's own, else the settings'."""
    return record.after_import or defaults.after_import, record.folders or defaults.folders


def mirrored(record: MailboxRecord, defaults: MailboxDefaults) -> dict[str, str]:
    """Return how what agents do is mirrored in the mailbox: as the mailbox says, else as the settings do."""
    return {**defaults.mirror.model_dump(), **record.mirror}


async def change_options(
    content: Database,
    keys: KeyRing,
    account_id: UUID,
    mailbox_id: UUID,
    options: Options,
    defaults: MailboxDefaults,
    *,
    wait_seconds: float,
    claim: Claim | None = None,
) -> Done[Chosen]:
    """Change the options of a mailbox, once for a claim; a reply that is being sent is waited for.

    Raises OptionRefused, NotFound, ReplyUnderWay, KeyReused.
    """
    mailbox = await content.read(account_id, mailboxes.get_mailbox, mailbox_id)
    if mailbox.state is MailboxState.DISCONNECTING:
        raise NotFound(f"no mailbox {mailbox_id}, or it is being disconnected")
    key = await keys.mailbox(account_id, mailbox_id)
    until = time.monotonic() + wait_seconds
    while True:
        try:
            return await content.transaction(account_id, once, claim, choose, mailbox_id, key, options, defaults)
        except ReplyUnderWay:
            if time.monotonic() > until:
                raise
        except ValueError as error:
            raise OptionRefused(str(error)) from error
        await asyncio.sleep(_POLL_SECONDS)


def choose(
    conn: Connection, account_id: UUID, mailbox_id: UUID, key: DataKey, options: Options, defaults: MailboxDefaults
) -> Chosen:
    """Change the options of a mailbox; its worker begins again with them.

    Where edits are named, those that were given up are tried again, as a person looked at them; where `nothing`
    is, those that it had asked for and that are still due are not done any more. Raises ValueError for what cannot
    be, NotFound, ReplyUnderWay.
    """
    check_reply_options(options)
    check_folders(options.folders or ())
    mailbox = mailboxes.hold_unfenced(conn, account_id, mailbox_id)
    if outbox.list_in_flight(conn, account_id, mailbox_id):
        raise ReplyUnderWay(f"a reply of mailbox {mailbox_id} is being sent right now: try again in a moment")
    place = MailboxRecord.place(mailbox_id)
    was = record = key.open_record(place, mailbox.sealed, MailboxRecord)
    record = msgspec.structs.replace(record, **_named(options))
    named = options.mirror or {}
    for action, spelled in named.items():
        check_mirrored(action, spelled or NOTHING)
    if named:
        own = {action: spelled for action, spelled in {**record.mirror, **named}.items() if spelled}
        record = msgspec.structs.replace(record, mirror=own)
    after_import, folders = effective(record, defaults)
    _, before = effective(was, defaults)
    check_not_watched(check_after_import(after_import), folders)
    mirror = mirrored(record, defaults)
    check_mirror_fits(mirror, after_import, folders)
    mailboxes.replace_record(conn, account_id, mailbox_id, key.seal_record(place, record))
    if options.folders is not None:
        watch_folders(conn, account_id, mailbox_id, key, folders, before=before)
    told = {EditCause(action): mirror[action] for action in named}
    if options.after_import is not None:
        told[EditCause.IMPORT] = after_import
    ended = [cause for cause, spelled in told.items() if spelled == NOTHING]
    cancelled = edits.cancel(conn, account_id, mailbox_id, ended) if ended else 0
    revived = edits.revive(conn, account_id, mailbox_id) if len(ended) < len(told) else 0
    return Chosen(record, cancelled=cancelled, revived=revived)


def check_folders(folders: Sequence[str]) -> None:
    """Raise ValueError where these cannot be the folders that are watched."""
    if any(not 0 < len(one) <= FOLDER_CHARS_MAX for one in folders) or len(folders) > FOLDERS_MAX:
        raise ValueError(f"at most {FOLDERS_MAX} names of at most {FOLDER_CHARS_MAX} characters")


def check_reply_options(options: Options) -> None:
    """Raise ValueError where replies of the mailbox could not be written with these; the text names the option."""
    try:
        if options.name:
            _check_chars("the name", options.name, NAME_CHARS_MAX)
        if options.reply_to:
            address_words("the reply address", [Address(_dns_form(options.reply_to))])
        if options.signature:
            _check_chars("the signature", options.signature.replace("\r", "").replace("\n", ""), SIGNATURE_CHARS_MAX)
    except ComposeError as error:
        raise ValueError(f"{error.field} {error.reason}") from error
    if options.reply_token not in (None, TOKEN_OFF, TOKEN_PLUS):
        raise ValueError(f"the reply token is {TOKEN_OFF} or {TOKEN_PLUS}")


def check_identity(name: str, addresses: Sequence[str]) -> None:
    """Raise OptionRefused where a mailbox cannot be linked with this name and these aliases."""
    try:
        check_reply_options(Options(name=name))
        address_words("the aliases", [Address(_dns_form(one)) for one in addresses])
    except ComposeError as error:
        raise OptionRefused(f"{error.field} {error.reason}") from error
    except ValueError as error:
        raise OptionRefused(str(error)) from error


def _dns_form(address: str) -> str:
    try:
        return ascii_address(address)
    except ValueError:
        raise ComposeError("the reply address", "names a domain that cannot be") from None


def _check_chars(field: str, value: str, chars_max: int) -> None:
    if len(check(field, value)) > chars_max:
        raise ComposeError(field, f"has more than {chars_max} characters")


def _named(options: Options) -> dict[str, object]:
    """Return the fields of the record that are to be changed."""
    return {name: value for name, value in asdict(options).items() if value is not None and name != "mirror"}
