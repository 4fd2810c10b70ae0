"""Reading attachments back from the store, also those that lie in something that must be opened."""

from __future__ import annotations

import base64

import pytest

from ingestd.mail.types import Attachment
from storage.errors import NotFound
from tests.mail import tnef_writer as w
from tests.mail.test_protected import der, signed, smime
from tests.office import Office
from tests.stores import Stores

PDF = b"Content-Type: application/pdf; name=contract.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n"
STREAM = w.tnef(w.file(b"a.txt", b"first"), w.file(b"b.txt", b"second"))
TNEF = b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(STREAM)
UU = b"Content-Transfer-Encoding: quoted-printable\r\n\r\nbegin 644 hi.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n"
FROM = b"From: anna@example.org\r\nSubject: x\r\nMessage-ID: <q1@example.org>\r\n"


async def read_back(office: Office) -> list[tuple[Attachment, bytes]]:
    view = await office.ticket(1)
    (message,) = view.messages
    return [
        await office.desk.attachment(office.held.account_id, message.row.message_id, one.row.position)
        for one in message.attachments
    ]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (FROM + TNEF, [("a.txt", b"first"), ("b.txt", b"second")]),
        (FROM + UU, [("hi.txt", b"hello")]),
        (smime(signed(der(4, PDF))), [("contract.pdf", b"%PDF")]),
        (smime(signed(der(4, TNEF))), [("a.txt", b"first"), ("b.txt", b"second")]),
    ],
)
async def test_what_lies_in_something_is_opened(stores: Stores, raw: bytes, found: list[tuple[str, bytes]]) -> None:
    office = await Office.open(stores)
    await office.take(raw)
    assert [(one.name, content) for one, content in await read_back(office)] == found


async def test_a_number_that_no_attachment_has(stores: Stores) -> None:
    office = await Office.open(stores)
    await office.take(FROM + TNEF)
    (message,) = (await office.ticket(1)).messages
    with pytest.raises(NotFound):
        await office.desk.attachment(office.held.account_id, message.row.message_id, 2)
