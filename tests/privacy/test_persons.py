"""A person is erased within one account: nothing that was theirs or names them is left, and others' mail stays."""

from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, select, update

from ingestd import account_states
from ingestd.desk import Desk
from ingestd.inbound.parser import ParserPool
from ingestd.mail.blobs import decompress_chunk
from ingestd.mail.transform import Transformed
from ingestd.mail.types import Address
from ingestd.privacy.person_receipts import find_person_receipt
from ingestd.privacy.person_requests import AddressWrong, request_person
from ingestd.privacy.persons import PersonEraser, PersonTools
from ingestd.privacy.positions import mark_restored, reconcile
from ingestd.privacy.rewriter import rewriter_command
from ingestd.privacy.rewriter_main import work
from ingestd.privacy.statement import read_statement, signer_of
from ingestd.records import chunk_place
from ingestd.verify.records import _SEALED
from storage import keystore, persons
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.tables import forgotten_messages, messages, outbox, person_erasures, quarantine, raw_chunks
from storage.types import new_id
from tests.inbound.test_merging import merge
from tests.office import Office, mail
from tests.stores import Stores

ANNA = "anna@example.org"
NAME = "Anna Kowalczyk"
_QUOTE = f"\r\n\r\nOn Mon, 2 Mar 2026 at 10:00, {NAME} <{ANNA}> wrote:\r\n> It does not print.\r\n"


_TRANSACTIONS_MAX = 5
"""So many a step may make until a crash behind it does not repeat them."""


class _KilledError(Exception):
    """The process ends here."""


class HereRewriter:
    """Rewrites in the test's own process."""

    async def __aenter__(self) -> HereRewriter:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def transform(self, frame: bytes, *, live: bool) -> Transformed:
        return work(frame)


def eraser(office: Office, *, here: bool = False) -> PersonEraser:
    """With `here`, no process is started for the rewriting."""
    stores = office.stores
    new: Any = HereRewriter if here else lambda: ParserPool(command=rewriter_command())
    tools = PersonTools(stores.content, stores.keystore, stores.blobs, office.keys, new)
    return PersonEraser(tools)


async def erase(office: Office, address: str = ANNA, *, dry_run: bool = False, here: bool = True) -> dict[str, int]:
    account_id, content = office.held.account_id, office.stores.content
    erasure_id, _ = await request_person(content, office.keys, account_id, address, dry_run=dry_run)
    erasure = await content.read(account_id, persons.get_erasure, erasure_id)
    assert await eraser(office, here=here).run(erasure)
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
    done = await erase(office, ANNA.upper(), here=False)
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


async def test_a_crash_at_any_transaction_goes_on(stores: Stores) -> None:
    """Whoever is at it ends behind each of its transactions; another one goes on."""
    office = await Office.open(stores)
    await scene(office)
    account_id, content = office.held.account_id, stores.content
    erasure_id, _ = await request_person(content, office.keys, account_id, ANNA)
    transaction, left = Database.transaction, 0

    async def until_killed(self: Database, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        done = await transaction(self, *args, **kwargs)
        left -= 1
        if left == 0:
            raise _KilledError
        return done

    runs = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "transaction", until_killed)
        patch.setattr("ingestd.privacy.persons._PAGE", 3)
        while (erasure := await content.read(account_id, persons.get_erasure, erasure_id)).step != "done":
            left, runs = runs % _TRANSACTIONS_MAX + 1, runs + 1
            assert runs < 100
            with contextlib.suppress(_KilledError):
                await eraser(office, here=True).run(erasure)
    assert runs >= 10
    after = (await everything(office)).lower()
    assert not [word for word in (ANNA, NAME, "geheimwort") if word.lower().encode() in after]
    await office.check()


async def test_a_restored_copy_is_searched_again_without_the_address(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail(sender=f"{NAME} <{ANNA}>"))
    await reconcile(stores.content, stores.keystore)
    account_id, content = office.held.account_id, stores.content
    await erase(office)
    # As a backup from before the request has it: mail, and no word of the erasure.
    await content.transaction(account_id, _as_before)
    office.context.key._subkeys.clear()
    await office.take(mail(sender=f"{NAME} <{ANNA}>", message_id="<r1@example.org>"))
    await content.transaction(None, mark_restored, new_id())
    assert await reconcile(content, stores.keystore) == 1
    (erasure,) = await content.read(None, persons.list_unfinished)
    assert erasure.sealed is None
    assert await eraser(office, here=True).run(erasure)
    assert ANNA.encode() not in await everything(office)
    receipt, _ = await find_person_receipt(stores.keystore, account_id, erasure.erasure_id)
    assert receipt is not None
    assert receipt.counts["tickets_deleted"] == 1
    assert await reconcile(content, stores.keystore) == 0
    await office.check()


async def test_another_account_keeps_what_it_has_of_the_person(stores: Stores) -> None:
    office, other = await Office.open(stores), await Office.open(stores)
    for one in (office, other):
        await one.take(mail(sender=f"{NAME} <{ANNA}>"))
    before = await everything(other)
    await erase(office)
    assert await everything(other) == before
    with pytest.raises(NotFound):
        await office.ticket(1)


async def test_who_cannot_be_erased(stores: Stores) -> None:
    office = await Office.open(stores)
    content, account_id = stores.content, office.held.account_id
    with pytest.raises(Conflict, match="address of a mailbox"):
        await request_person(content, office.keys, account_id, "Support@example.com")
    for wrong in ("", "anna", "anna@", "an na@example.org"):
        with pytest.raises(AddressWrong):
            await request_person(content, office.keys, account_id, wrong)
    await content.transaction(account_id, account_states.hold)
    with pytest.raises(Conflict, match="held"):
        await request_person(content, office.keys, account_id, ANNA)
    await content.transaction(account_id, account_states.release)
    await content.transaction(account_id, account_states.suspend)
    first, _ = await request_person(content, office.keys, account_id, ANNA)
    # Asked for again while it is under way, it is the same one.
    assert (await request_person(content, office.keys, account_id, ANNA.upper()))[0] == first


async def test_a_reply_that_is_being_sent_is_waited_for(stores: Stores) -> None:
    office = await Office.open(stores)
    content, account_id = stores.content, office.held.account_id
    await office.take(mail(sender=ANNA))
    reply = await office.reply(1)
    await content.transaction(account_id, _call_it, reply.message_id, "sending")
    erasure_id, _ = await request_person(content, office.keys, account_id, ANNA)
    erasure = await content.read(account_id, persons.get_erasure, erasure_id)
    assert not await eraser(office, here=True).run(erasure)
    await content.transaction(account_id, _call_it, reply.message_id, "unknown")
    erasure = await content.read(account_id, persons.get_erasure, erasure_id)
    assert await eraser(office, here=True).run(erasure)
    await office.check()


async def test_the_receipt_is_signed_and_names_nobody(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail(sender=f"{NAME} <{ANNA}>"))
    await erase(office)
    (entry,) = [one for one in await stores.keystore.read(None, keystore.list_ledger) if one.entry == "receipt"]
    receipt, position = await find_person_receipt(stores.keystore, office.held.account_id, entry.owner_id)
    assert receipt is not None
    assert position is not None
    signer = signer_of(office.keys)
    signed = signer.sign_person(office.held.account_id, receipt, position, datetime(2026, 3, 1, tzinfo=UTC))
    said = read_statement(signed, signer.public_key)
    assert (said["sub"], said["receipt"]["counts"]["messages_deleted"]) == (str(entry.owner_id), 1)
    assert "attachments" in said["receipt"]["not_searched"]
    assert "example" not in str(said)


def _as_before(conn: Connection, account_id: UUID) -> None:
    for table in (person_erasures, forgotten_messages):
        conn.execute(delete(table).where(table.c.account_id == account_id))


def _call_it(conn: Connection, account_id: UUID, message_id: UUID, status: str) -> None:
    reply = outbox.c.account_id == account_id, outbox.c.message_id == message_id
    conn.execute(update(outbox).where(*reply).values(status=status, due_at=None))


async def test_what_was_merged_goes_by_who_requested_it(stores: Stores) -> None:
    office = await Office.open(stores)
    bob = [mail("Bob", sender="bob@example.org", message_id=f"<b{number}@example.org>") for number in range(2)]
    await office.take(bob[0], mail("Anna", sender=ANNA), bob[1])
    for number in (2, 3):
        await merge(office, number, 1)
    await erase(office)
    kept = await office.ticket(1)
    assert [one.record.mail.from_[0].addr for one in kept.messages] == ["bob@example.org"] * 2
    with pytest.raises(NotFound):
        await office.desk.ticket_alone(office.held.account_id, 2)
    await office.check()


async def test_a_large_mail_leaves_its_blob_and_keeps_its_files(stores: Stores) -> None:
    office = await Office.open(stores)
    office.desk = Desk(stores.content, stores.blobs, office.keys, blob_bytes_min=4096)
    file = random.Random(0).randbytes(60_000)
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Cc"] = "bob@example.org", "support@example.com", f"{NAME} <{ANNA}>"
    letter["Subject"], letter["Message-ID"] = "Scan", "<s1@example.org>"
    letter.set_content(f"To whom it may concern: {ANNA}")
    letter.add_attachment(file, maintype="application", subtype="pdf", filename="scan.pdf")
    raw = letter.as_bytes()
    await office.take(raw)
    mine = office.held.account_id, office.held.mailbox_id
    assert stores.blobs.count(*mine) == 1
    done = await erase(office)
    assert done == {"attachments_not_searched": 1, "messages_rewritten": 1}
    assert stores.blobs.count(*mine) == 0
    kept = (await office.ticket(1)).messages[0]
    assert await office.desk.attachment(mine[0], kept.row.message_id, 0) == (kept.attachments[0].attachment, file)
    assert ANNA.encode() not in await everything(office)
    assert (await office.take(raw)).known == 1
    await office.check()
