"""The demo's last part: the mailbox is disconnected, and it is looked for wherever something of it could be left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from ingestd.demo.browser import loopback_http
from ingestd.demo.children import stop
from ingestd.demo.conversation import ANSWER_TEXT, REPLY_FILE, REPLY_TEXT, Answer
from ingestd.demo.mails import INVOICE_NAME, SUPPORT, Mail
from ingestd.demo.stage import Opened, Stage, opened
from ingestd.demo.telling import counts
from ingestd.demo.traces import files_under, rows_of, search, spellings
from ingestd.records import GrantRecord, chunk_place
from storage import grants, keystore, messages
from storage.errors import KeyDestroyed, SealBroken
from storage.sealing import DataKey, Place

_SLICE_BYTES: Final = 48
"""Enough to be unique, and short enough to lie on one page of the database."""
_CHARS_MIN: Final = 6
_TOMBSTONES: Final = {"erasures", "events"}
"""The tables that go on knowing the mailbox's id, and nothing else of it."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a thief could have copied before the disconnect."""

    account_id: UUID
    mailbox_id: UUID
    wrapped_key: bytes = field(repr=False)
    place: Place
    sealed: bytes = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @property
    def bytes_wanted(self) -> dict[str, frozenset[bytes]]:
        return {
            "the wrapped key": frozenset({self.wrapped_key}),
            "a slice of ciphertext": frozenset({self.sealed[:_SLICE_BYTES]}),
        }


async def everything_is_forgotten(stage: Stage, mailbox_id: UUID, mails: Sequence[Mail], answer: Answer) -> None:
    """Disconnect the mailbox, and look for what is left of it."""
    wanted = _texts(mails)
    async with opened(stage) as look:
        memory = await _remember(look, mailbox_id, answer)
        wanted |= {"a token": spellings(memory.access_token) | spellings(memory.refresh_token)}
        await _is_sealed(stage, look, memory, wanted)
    await _disconnect(stage, mailbox_id)
    await _rows_are_gone(stage, mailbox_id)
    _bytes_are_gone(stage, memory, wanted)
    await _key_is_gone(stage, memory)
    await _grant_is_gone(stage, memory)
    await _still_sound(stage)


def _texts(mails: Sequence[Mail]) -> dict[str, frozenset[bytes]]:
    """Return every address, subject, line and file name of the story, in all spellings."""
    texts = {SUPPORT, INVOICE_NAME, REPLY_FILE, ANSWER_TEXT}
    for mail in mails:
        texts |= {mail.sender, mail.subject, mail.message_id, *mail.text.splitlines()}
    texts |= set(REPLY_TEXT.splitlines())
    return {text: spellings(text) for text in sorted(texts) if len(text) >= _CHARS_MIN}


async def _remember(look: Opened, mailbox_id: UUID, answer: Answer) -> _Memory:
    store, account_id = look.store, look.account_id
    key = await store.keys.mailbox(account_id, mailbox_id)
    grant = await store.content.read(account_id, grants.get_grant, mailbox_id)
    record = key.open_record(GrantRecord.place(mailbox_id), grant.sealed, GrantRecord)
    message = await store.content.read(account_id, messages.get_message, answer.message_id)
    (sealed, *_) = await store.content.read(account_id, messages.get_chunks, answer.message_id)
    return _Memory(
        account_id=account_id,
        mailbox_id=mailbox_id,
        wrapped_key=(await store.keystore.read(account_id, keystore.get_key, mailbox_id)).wrapped,
        place=chunk_place(answer.message_id, 0, message.chunks),
        sealed=sealed,
        access_token=record.access_token,
        refresh_token=record.refresh_token or "",
    )


async def _is_sealed(stage: Stage, look: Opened, memory: _Memory, wanted: dict[str, frozenset[bytes]]) -> None:
    teller = stage.teller
    teller.step("Before the disconnect: what lies on the disk")
    files = files_under(stage.store_dir)
    teller.note(f"{len(files)} files: {', '.join(file.name for file in files)}")
    found = search(stage.store_dir, wanted)
    teller.same(
        f"already now none holds any of {len(wanted)} addresses, subjects, lines or tokens: all is sealed", found, {}
    )
    teller.same(
        "the search works: it finds the wrapped key and the ciphertext, which we now remember",
        sorted(search(stage.store_dir, memory.bytes_wanted)),
        sorted(memory.bytes_wanted),
    )
    key = await look.store.keys.mailbox(memory.account_id, memory.mailbox_id)
    teller.check(f"with the key that ciphertext opens ({len(memory.sealed)} bytes)", _opens(key, memory))
    teller.same("the access token opens the mailbox", await _userinfo_status(stage, memory), 200)


async def _disconnect(stage: Stage, mailbox_id: UUID) -> None:
    teller = stage.teller
    teller.step("The mailbox is disconnected")
    receipt = await stage.show("mailbox", "disconnect", mailbox_id)
    fields = dict(re.findall(r"^ {2}([a-z ]+?): +(.*)$", receipt, re.MULTILINE))
    teller.same("the receipt says that the provider has revoked the grant", fields.get("revocation"), "revoked")
    teller.same("that a refresh was tried afterwards, and refused", fields.get("refresh after"), "refused")
    teller.same("and that a scan found no rows left", fields.get("left"), "nothing")


async def _rows_are_gone(stage: Stage, mailbox_id: UUID) -> None:
    teller = stage.teller
    teller.step("What is left of it: rows")
    content = rows_of(stage.store_dir / "content.db", mailbox_id)
    keys = rows_of(stage.store_dir / "keys" / "keys.db", mailbox_id)
    teller.check(
        f"content database: no row but the tombstone (ids and times only): {counts(content)}",
        set(content) <= _TOMBSTONES,
        expected=f"rows in {sorted(_TOMBSTONES)} at most",
        found=content,
    )
    teller.same(f"key store: no key, no token, only the ledger's entries: {counts(keys)}", sorted(keys), ["ledger"])
    output = await stage.show("ticket", "list")
    teller.same("`ingestd ticket list` shows none", output.strip(), "no tickets")


def _bytes_are_gone(stage: Stage, memory: _Memory, wanted: dict[str, frozenset[bytes]]) -> None:
    teller = stage.teller
    teller.step("What is left of it: bytes")
    files = files_under(stage.store_dir)
    kinds = ", ".join(f"{file.name} {file.stat().st_size}" for file in files)
    teller.note(f"searched: {kinds} bytes")
    teller.same(
        f"none of the {len(wanted)} texts is in any file, write-ahead logs included",
        search(stage.store_dir, wanted),
        {},
    )
    teller.same(
        "the wrapped key and the ciphertext, found before, are gone from the disk too",
        search(stage.store_dir, memory.bytes_wanted),
        {},
    )
    lines = stage.log.read_text("utf-8").splitlines()
    named = [one for one in lines if str(memory.mailbox_id) in one]
    teller.check(
        f"the daemon's log tells of the mailbox {len(named)} times in {len(lines)} lines, by its id only",
        bool(named) and not search(stage.log.parent, wanted),
        expected="some lines with the id",
        found="none",
    )


async def _key_is_gone(stage: Stage, memory: _Memory) -> None:
    teller = stage.teller
    teller.step("What is left of it: ways to read a stolen copy")
    async with opened(stage) as look:
        keys = look.store.keys
        try:
            await keys.mailbox(memory.account_id, memory.mailbox_id)
            destroyed = False
        except KeyDestroyed:
            destroyed = True
        teller.check("the key store has no key for the mailbox", destroyed, expected="no key", found="a key")
        rest = [keys.unwrap(row, memory.mailbox_id) for row in await look.store.keystore.read(None, keystore.list_keys)]
    opening = [key for key in rest if _opens(key, memory)]
    teller.same(f"the remembered ciphertext opens with none of the {len(rest)} keys left", len(opening), 0)


def _opens(key: DataKey, memory: _Memory) -> bool:
    try:
        key.open(memory.place, memory.sealed)
    except SealBroken:
        return False
    return True


async def _grant_is_gone(stage: Stage, memory: _Memory) -> None:
    teller = stage.teller
    teller.step("What is left of it: access to the mailbox")
    teller.same("the provider refuses the old access token (401)", await _userinfo_status(stage, memory), 401)
    client = stage.client
    form = {"grant_type": "refresh_token", "refresh_token": memory.refresh_token}
    async with loopback_http() as http:
        answer = await http.post(
            f"{stage.provider.auth.issuer}/token", data=form, auth=(client.client_id, client.client_secret or "")
        )
    teller.same(
        "and the old refresh token brings no new one (invalid_grant)",
        answer.json().get("error", "a new token"),
        "invalid_grant",
    )


async def _userinfo_status(stage: Stage, memory: _Memory) -> int:
    async with loopback_http() as http:
        headers = {"Authorization": f"Bearer {memory.access_token}"}
        return (await http.get(f"{stage.provider.auth.issuer}/userinfo", headers=headers)).status_code


async def _still_sound(stage: Stage) -> None:
    teller = stage.teller
    teller.step("The end")
    ran = await stage.ingestd.run("verify")
    teller.check("the checker still finds every promise kept", ran.status == 0, found=f"\n{ran.output}")
    assert stage.daemon is not None
    teller.same("the daemon stops when asked, with exit status 0", await stop(stage.daemon), 0)
