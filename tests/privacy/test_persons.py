"""A person is erased within one account: nothing that was theirs or names them is left, and others' mail stays."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select

from ingestd.inbound.parser import ParserPool
from ingestd.mail.blobs import decompress_chunk
from ingestd.mail.types import Address
from ingestd.privacy.person_requests import request_person
from ingestd.privacy.persons import PersonEraser, PersonTools
from ingestd.privacy.rewriter import rewriter_command
from ingestd.records import chunk_place
from ingestd.verify.records import _SEALED
from storage import persons
from storage.errors import NotFound
from storage.tables import messages, quarantine, raw_chunks
from tests.office import Office, mail
from tests.stores import Stores

ANNA = "anna@example.org"
NAME = "Anna Kowalczyk"
_QUOTE = f"\r\n\r\nOn Mon, 2 Mar 2026 at 10:00, {NAME} <{ANNA}> wrote:\r\n> It does not print.\r\n"


def eraser(office: Office) -> PersonEraser:
    stores = office.stores
    tools = PersonTools(
        stores.content, stores.keystore, stores.blobs, office.keys, lambda: ParserPool(command=rewriter_command())
    )
    return PersonEraser(tools)


async def erase(office: Office, address: str = ANNA, *, dry_run: bool = False) -> dict[str, int]:
    account_id, content = office.held.account_id, office.stores.content
    erasure_id, _ = await request_person(content, office.keys, account_id, address, dry_run=dry_run)
    erasure = await content.read(account_id, persons.get_erasure, erasure_id)
    assert await eraser(office).run(erasure)
    return (await content.read(account_id, persons.get_erasure, erasure_id)).done


async def everything(office: Office) -> bytes:
    """Return all that is sealed of the office's account, opened, one behind the other."""
    keys, account_id = office.keys, office.held.account_id
    opened: list[bytes] = []
    account_key, key = await keys.account(account_id), await keys.mailbox(account_id, office.held.mailbox_id)

    def look(conn: Connection) -> None:
        for one in _SEALED:
            for row in conn.execute(select(one.table).where(one.table.c.account_id == account_id)):
                sealed = getattr(row, one.column)
                if sealed is not None:
                    used = account_key if one.of_account else key
                    opened.append(used.open(one.place(getattr(row, one.id_column)), bytes(sealed)))
        counts: dict[Any, int] = {}
        for table in (messages, quarantine):
            counts |= {row[1]: row.chunks for row in conn.execute(select(table))}
        query = select(raw_chunks).where(raw_chunks.c.account_id == account_id)
        for row in conn.execute(query.order_by(raw_chunks.c.owner_id, raw_chunks.c.position)):
            place = chunk_place(row.owner_id, row.position, counts[row.owner_id])
            opened.append(decompress_chunk(key.open(place, bytes(row.sealed))))

    await office.stores.content.read(None, look)
    return b"\n".join(opened)


async def scene(office: Office) -> list[bytes]:
    """Anna asks; Bob asks, an agent answers him with a copy to Anna, and she writes into his ticket."""
    anna = mail(sender=f'"{NAME}" <{ANNA}>', text="It does not print. Geheimwort-eins")
    bob = mail("Scanner", sender="bob@example.org", message_id="<b1@example.org>", text="It scans nothing.")
    await office.take(anna, bob)
    await office.reply(1, "We look into it, dear customer.")
    await office.reply(2, f"I ask Anna, {ANNA}.", cc=[Address(ANNA, NAME)])
    other = mail("Re: Scanner", sender=f"{NAME} <{ANNA}>", message_id="<a2@example.org>", text="Geheimwort-zwei")
    answers = "In-Reply-To: <b1@example.org>\r\n"
    other = other.replace(b"Content-Type", answers.encode() + b"Content-Type", 1)
    later = mail(
        "Re: Scanner",
        sender="bob@example.org",
        message_id="<b2@example.org>",
        text=f"Thank you, all of you.{_QUOTE}",
        headers=f"{answers}Cc: =?utf-8?q?Anna_Kowalczyk?= <{ANNA.upper()}>\r\n",
    )
    alone = mail(
        "Re: Scanner",
        sender="bob@example.org",
        message_id="<b3@example.org>",
        text=f"Again.\r\n\r\nAm 2. März 2026 um 10:00 schrieb {NAME}:\r\n> It does not print.\r\n",
        headers=answers,
    )
    poison = mail("poison one", sender=ANNA, message_id="<p1@example.org>", text="Geheimwort-drei")
    await office.take(other, later, alone, poison)
    return [anna, bob, other, later, alone, poison]


async def test_nothing_is_left_of_a_person_and_others_keep_their_mail(stores: Stores) -> None:
    office = await Office.open(stores)
    mails = await scene(office)
    before = await everything(office)
    for word in (ANNA, NAME, "Geheimwort-eins", "Geheimwort-zwei", "Geheimwort-drei"):
        assert word.encode() in before, word
    preview = await erase(office, dry_run=True)
    assert await everything(office) == before
    done = await erase(office, ANNA.upper())
    after = (await everything(office)).lower()
    for word in (ANNA, NAME, "Geheimwort-eins", "Geheimwort-zwei", "Geheimwort-drei"):
        assert word.lower().encode() not in after, word
    await office.check()
    assert done == preview | {"replies_cancelled": 1, "participants_deleted": 1}
    assert (done["tickets_deleted"], done["quarantine_deleted"]) == (1, 1)
    with pytest.raises(NotFound):
        await office.ticket(1)
    kept = await office.ticket(2)
    texts = [one.record.mail.text for one in kept.messages]
    assert texts[0].split("\n")[0].strip() == "It scans nothing."
    assert any("Thank you, all of you." in text and "[erased] <erased@erased.invalid> wrote" in text for text in texts)
    # Old mail does not come again, by whichever way; new mail of the person does.
    assert (await office.take(*mails)).known == len(mails)
    taken = await office.take(mail("New", sender=f"{NAME} <{ANNA}>", message_id="<n1@example.org>"))
    assert (len(taken.kinds), taken.tickets) == (1, 1)
    await office.check()
