"""What an agent's reply becomes, from the ticket, the mailbox and the draft: addresses, headers, words."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingestd.inbound.identity import address_key
from ingestd.mail.body import BodyFormat, InlineImage
from ingestd.mail.compose import AttachmentContent, ComposeError
from ingestd.mail.parse import parse
from ingestd.mail.types import Address
from ingestd.outbound.reply import ReplyRefused
from ingestd.records import ReplyRecord
from storage import outbox, tickets
from storage.errors import Conflict
from tests.office import Office, mail
from tests.stores import Stores, sqlite_urls

PNG = bytes.fromhex("89504e470d0a1a0a0000000d")


@pytest.fixture
async def light(tmp_path: Path) -> AsyncIterator[Stores]:
    """SQLite alone, where what is tested is not the database's."""
    stores = await Stores.open(sqlite_urls(tmp_path))
    yield stores
    await stores.close()


async def sent(office: Office, number: int = 1, text: str = "We look into it.", **draft: Any) -> EmailMessage:
    """Return a new reply as another reader sees it."""
    created = await office.reply(number, text, **draft)
    found = message_from_bytes(await office.desk.raw(office.held.account_id, created.message_id), policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def text_of(reply: EmailMessage) -> str:
    return str(reply.get_content()).replace("\r\n", "\n")


async def record_of(office: Office, message_id: UUID) -> ReplyRecord:
    found = await office.stores.content.read(office.held.account_id, outbox.get_reply, message_id)
    return office.context.key.open_record(ReplyRecord.place(message_id), found.sealed, ReplyRecord)


# -- recipients ------------------------------------------------------------------------------------


async def test_bcc_is_in_the_envelope_and_on_the_ticket_and_never_in_the_bytes(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(mail())
    created = await office.reply(1, cc=[Address("bob@example.net", "Bob")], bcc=[Address("carol@example.net", "Carol")])
    raw = await office.desk.raw(office.held.account_id, created.message_id)
    assert b"carol" not in raw.lower()
    assert b"bcc" not in raw.lower()
    record = await record_of(office, created.message_id)
    assert record.recipients == ("anna@example.org", "bob@example.net", "carol@example.net")
    assert record.bcc == ("carol@example.net",)
    view = await office.ticket(1)
    assert view.messages[-1].reply is not None
    assert view.messages[-1].reply.record.bcc == ("carol@example.net",)
    # Whoever got it may answer.
    answer = mail(sender="carol@example.net", message_id="<c@x>", headers=f"In-Reply-To: {record.message_id}\r\n")
    await office.take(answer)
    assert (await office.ticket(1)).messages[-1].record.evidence[:2] == ("token verified", "sender participant")
    await office.check()


async def test_each_recipient_gets_it_once_and_our_own_mailbox_never(light: Stores) -> None:
    mailbox = {"reply_token": "plus", "reply_to": "help@example.com"}
    office = await Office.open(light, aliases=["sales@example.com"], mailbox=mailbox)
    await office.take(mail())
    with_token = (await sent(office))["reply-to"].addresses[0].addr_spec
    ours = ["Support@Example.com", "sales@example.com", "help@example.com", with_token, f"sales+{'a' * 26}@example.com"]
    created = await office.reply(
        1,
        cc=[Address(one) for one in ["ANNA@example.org", "bob@example.net", "Bob@example.net", *ours]],
        bcc=[Address(one) for one in ["bob@example.net", "carol@example.net", "carol@example.net", *ours]],
    )
    record = await record_of(office, created.message_id)
    assert record.recipients == ("anna@example.org", "bob@example.net", "carol@example.net")
    assert record.bcc == ("carol@example.net",)


async def test_our_own_international_address_is_known_in_both_spellings(light: Stores) -> None:
    office = await Office.open(light, mailbox={"address": "support@пример.example"})
    await office.take(mail().replace(b"To: support@example.com", b"To: support@xn--e1afmkfd.example"))
    created = await office.reply(1, cc=[Address("support@пример.example"), Address("support@xn--e1afmkfd.example")])
    record = await record_of(office, created.message_id)
    assert (record.sender, record.recipients) == ("support@xn--e1afmkfd.example", ("anna@example.org",))


async def test_an_international_domain_needs_no_smtputf8_and_is_known_in_both_spellings(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(mail(sender="anna@пример.example"))
    created = await office.reply(1, cc=[Address("bob@bücher.example"), Address("bob@xn--bcher-kva.example")])
    record = await record_of(office, created.message_id)
    assert record.recipients == ("anna@xn--e1afmkfd.example", "bob@xn--bcher-kva.example")
    assert (await office.desk.raw(office.held.account_id, created.message_id)).isascii()
    ticket_id = (await office.ticket(1)).ticket.ticket_id
    for one in ("anna@пример.example", "anna@xn--e1afmkfd.example", "bob@bücher.example", "bob@xn--bcher-kva.example"):
        key = address_key(office.context.key, one)
        assert await light.content.read(office.held.account_id, tickets.is_participant, ticket_id, key)


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({"cc": [Address("bob@пример..example")]}, "Cc"),
        ({"bcc": [Address("bob")]}, "Bcc"),
        ({"bcc": [Address("b@example.net\r\nX: y")]}, "Bcc"),
        ({"cc": [Address("b@example.net", "a\nb")]}, "Cc"),
        ({"attachments": [AttachmentContent("a\nb", "a/b", b"")]}, "attachment name"),
        ({"text": "a\ud800"}, "text"),
    ],
)
async def test_what_cannot_be_written_is_refused_by_its_name(light: Stores, draft: dict[str, Any], field: str) -> None:
    office = await Office.open(light)
    await office.take(mail())
    with pytest.raises(ComposeError) as error:
        await office.reply(1, **draft)
    assert error.value.field == field
    assert len((await office.ticket(1)).messages) == 1


async def test_limits_count_hidden_recipients_and_images(light: Stores) -> None:
    office = await Office.open(light)
    await office.take(mail())
    with pytest.raises(ReplyRefused, match="has 51 recipients"):
        await office.reply(1, bcc=[Address(f"b{number}@example.net") for number in range(50)])
    with pytest.raises(ReplyRefused, match="the limit is"):
        await office.reply(1, images=[InlineImage("a", "a.png", "image/png", bytes(25 * 1024 * 1024))])
    with pytest.raises(ComposeError, match="text: has 600000 bytes"):
        await office.reply(1, "a" * 600_000)


# -- headers ---------------------------------------------------------------------------------------


async def test_ids_that_no_header_can_hold_do_not_keep_a_customer_from_being_answered(light: Stores) -> None:
    office = await Office.open(light)
    strange = f"References: <{'x' * 600}@x> <ä@x> <good@x>\r\n"
    await office.take(mail(message_id="<q 1ä@example.org>", headers=strange), mail(message_id="<other@x>"))
    reply = await sent(office, 1)
    assert (reply["in-reply-to"], reply["references"]) == (None, None)
    await office.take(mail(message_id="<q3@example.org>", headers="In-Reply-To: <other@x>\r\n" + strange))
    reply = await sent(office, 2)
    assert reply["in-reply-to"] == "<q3@example.org>"
    assert reply["references"].split() == ["<good@x>", "<other@x>", "<q3@example.org>"]


async def test_a_subject_stays_as_the_customers_client_wrote_it(light: Stores) -> None:
    office = await Office.open(light)
    # Persian needs the joiner between its letters, and a family is one sign made of three.
    subjects = ["می\u200cخواهم", "👨\u200d👩\u200d👧", "見積\u3000依頼", "SV: Faktura", "a\u00a0b"]
    mails = [mail(message_id=f"<s{number}@x>") for number in range(len(subjects))]
    encoded = [f"=?utf-8?B?{base64.b64encode(one.encode()).decode()}?=".encode() for one in subjects]
    await office.take(*(one.replace(b"Printer", word) for one, word in zip(mails, encoded, strict=True)))
    for number, subject in enumerate(subjects, 1):
        expected = subject if subject.startswith("SV:") else f"Re: {subject}"
        assert (await sent(office, number))["subject"] == expected


async def test_outlooks_thread_index_grows_with_each_answer(light: Stores) -> None:
    office = await Office.open(light)
    index = base64.b64encode(b"\x01\xdc\xaa\x22\xf3\x31" + bytes(16)).decode()
    await office.take(mail(headers=f"Thread-Index: {index}\r\n"), mail("Scanner", message_id="<o@x>"))
    first = await sent(office)
    second = await sent(office)
    for reply, levels in ((first, 1), (second, 2)):
        found = base64.b64decode(reply["thread-index"])
        assert found.startswith(base64.b64decode(index))
        assert len(found) == 22 + 5 * levels
        assert reply["thread-topic"] == "Printer"
    assert second["thread-index"].startswith(first["thread-index"][:32])
    other = await sent(office, 2)
    assert (other["thread-index"], other["thread-topic"]) == (None, None)


async def test_answers_go_where_the_mailbox_says(light: Stores) -> None:
    office = await Office.open(light, mailbox={"reply_to": "help@example.com", "name": "Example Support"})
    await office.take(mail())
    reply = await sent(office)
    assert str(reply["reply-to"]) == "Example Support <help@example.com>"
    assert str(reply["from"]) == "Example Support <support@example.com>"
    assert "reply-to" not in await sent(await _another(light))


async def _another(stores: Stores) -> Office:
    office = await Office.open(stores)
    await office.take(mail())
    return office


# -- words -----------------------------------------------------------------------------------------


async def test_signature_and_quotation_are_put_beneath_and_can_be_left_out(light: Stores) -> None:
    office = await Office.open(light, mailbox={"signature": "Example Support\nhttps://example.com"})
    await office.take(mail())
    plain = text_of(await sent(office))
    assert plain == "We look into it.\n\n-- \nExample Support\nhttps://example.com\n"
    assert text_of(await sent(office, signature=False)) == "We look into it.\n"
    # What is quoted is the customer's, also where we wrote last.
    bare = text_of(await sent(office, quote=True, signature=False))
    assert bare.startswith("We look into it.\n\nOn ")
    assert bare.endswith("<anna@example.org> wrote:\n> It does not print.\n")


async def test_a_bounce_is_not_quoted(light: Stores) -> None:
    office = await Office.open(light)
    auto = "Auto-Submitted: auto-replied\r\nIn-Reply-To: <q1@example.org>\r\n"
    await office.take(mail(), mail(message_id="<a@x>", text="I am away.", headers=auto))
    assert "I am away." not in text_of(await sent(office, quote=True))


async def test_a_reply_in_every_form_is_taken_back_as_our_own(stores: Stores) -> None:
    office = await Office.open(stores, mailbox={"signature": "Example"})
    await office.take(mail())
    image = InlineImage("logo", "logo.png", "image/png", PNG)
    file = AttachmentContent("a.pdf", "application/pdf", b"%PDF")
    said = {BodyFormat.MARKDOWN: "*Hi* ![logo](cid:logo)", BodyFormat.HTML: "<i>Hi</i> <img src=cid:logo>"}
    for form, text in said.items():
        created = await office.reply(1, text, format=form, images=[image], attachments=[file], quote=True)
        view = (await office.ticket(1)).messages[-1]
        assert [one.attachment.name for one in view.attachments] == ["logo.png", "a.pdf"]
        position = view.attachments[0].row.position
        _, content = await office.desk.attachment(office.held.account_id, created.message_id, position)
        assert content == PNG
        raw = await office.desk.raw(office.held.account_id, created.message_id)
        committed = await office.take(raw)  # it came back, and is known
        assert committed.tickets == 0
        assert parse(raw).new_text in ("*Hi* [logo]", "Hi")
    assert len((await office.ticket(1)).messages) == 3
    await office.check()


# -- repeated requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"bcc": [Address("carol@example.net")]},
        {"format": BodyFormat.MARKDOWN},
        {"quote": True},
        {"signature": False},
        {"images": [InlineImage("a", "a.png", "image/png", PNG)], "text": "![](cid:a)", "format": BodyFormat.MARKDOWN},
    ],
)
async def test_a_key_is_for_one_request_in_all_its_parts(light: Stores, other: dict[str, Any]) -> None:
    office = await Office.open(light)
    await office.take(mail())
    first = await office.reply(1, idempotency_key="k")
    assert (await office.reply(1, idempotency_key="k")).message_id == first.message_id
    with pytest.raises(Conflict):
        await office.reply(1, idempotency_key="k", **other)
    again = await office.reply(1, idempotency_key="k2", **other)
    assert (await office.reply(1, idempotency_key="k2", **other)).message_id == again.message_id
