"""Messages over HTTP: what each says of itself, attachments and raw mails as they may be saved."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Connection, event

from connectors.base import RawMessage
from ingestd import desk as desk_module
from ingestd.api.downloads import disposition
from ingestd.mail.types import Address
from storage import mailboxes
from storage.errors import NotFound
from storage.types import new_id
from tests.api.desk import ApiDesk, api_desk, assert_problem, settings
from tests.office import Office, mail
from tests.plans import plans
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what the database has to do with it is shown in tests/storage


@pytest.fixture
async def desk(stores: Stores) -> AsyncIterator[ApiDesk]:
    async with api_desk(await Office.open(stores)) as opened:
        yield opened


def letter(name: str, headers: str = "In-Reply-To: <q1@example.org>\r\n", text: str = "") -> bytes:
    return mail(name, message_id=f"<{name}@example.org>", headers=headers, text=text or f"This is {name}.")


def with_parts(*parts: tuple[str, bytes]) -> bytes:
    """Return a mail with attachments: the header fields of each but its encoding, and its bytes."""
    head = (
        "From: Anna <anna@example.org>\r\nTo: support@example.com\r\nSubject: Files\r\nMessage-ID: <f1@example.org>\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        "Content-Type: text/html; charset=utf-8\r\n\r\n<p>See <script>alert(1)</script><b>these</b></p>\r\n"
    )
    lines = [head]
    for fields, content in parts:
        encoded = base64.encodebytes(content).decode().replace("\n", "\r\n")
        lines.append(f"--b\r\n{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}")
    return ("".join(lines) + "--b--\r\n").encode()


async def names(desk: ApiDesk, query: str = "") -> tuple[list[str], Any]:
    page = await desk.get(f"/tickets/1/messages{query}")
    return [one["subject"] for one in page["items"]], page["next"]


async def test_a_message_tells_all_about_itself(desk: ApiDesk) -> None:
    await desk.office.take(with_parts(('Content-Type: text/plain; name="a.txt"', b"one")))
    (listed,) = (await desk.get("/tickets/1/messages"))["items"]
    assert await desk.get(f"/messages/{listed['message_id']}") == listed
    assert (listed["direction"], listed["kind"], listed["ticket_number"], listed["folder"]) == (
        "in",
        "customer",
        1,
        "INBOX",
    )
    assert listed["from"] == [{"address": "anna@example.org", "name": "Anna"}]
    assert listed["to"] == [{"address": "support@example.com", "name": ""}]
    assert (listed["message_id_header"], listed["subject"]) == ("<f1@example.org>", "Files")
    assert listed["evidence"]
    assert "script" not in listed["html"]
    assert "these" in listed["html"]
    assert (listed["reply"], listed["bcc"], listed["truncated"], listed["muted"]) == (None, [], False, False)
    assert listed["altered"] is False
    (part,) = listed["attachments"]
    assert (part["position"], part["name"], part["size_bytes"]) == (0, "a.txt", 3)
    fetched = await desk.ask("GET", urlsplit(part["url"]).path)
    assert (fetched.content, fetched.headers["content-type"]) == (b"one", "text/plain")


async def test_a_reply_shows_where_it_stands(desk: ApiDesk) -> None:
    await desk.office.take(mail())
    await desk.office.reply(1, bcc=[Address("boss@example.com")], author="Eva")
    reply = (await desk.get("/tickets/1/messages"))["items"][1]
    assert (reply["direction"], reply["author"], reply["bcc"]) == ("out", "Eva", ["boss@example.com"])
    assert reply["reply"]["status"] == "queued"
    stands = {one["address"]: one["status"] for one in reply["reply"]["recipients"]}
    assert stands == {"anna@example.org": "pending", "boss@example.com": "pending"}


async def test_pages_of_messages(desk: ApiDesk) -> None:
    await desk.office.take(mail("q1"), *[letter(f"q{n}") for n in range(2, 8)])
    assert (await names(desk)) == ([f"q{n}" for n in range(1, 8)], None)
    first, after = await names(desk, "?limit=3")
    await desk.office.take(letter("q8"))
    second, further = await names(desk, f"?limit=3&after={after}")
    third, end = await names(desk, f"?limit=3&after={further}")
    assert (first + second + third, end) == ([f"q{n}" for n in range(1, 9)], None)
    await desk.office.take(mail("other", message_id="<o@example.org>"))
    (other,) = (await desk.get("/tickets/2/messages"))["items"]
    assert_problem(await desk.ask("GET", f"/tickets/1/messages?after={other['message_id']}"), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/tickets/1/messages?after={new_id()}"), 404, "not_found")


async def test_old_mail_is_paged_by_its_own_time(desk: ApiDesk) -> None:
    """What is older than the link was read in whatever order."""
    office = desk.office
    for year, name in ((2020, "q3"), (2018, "q1"), (2019, "q2")):
        raw = mail(name, message_id=f"<{name}@example.org>", headers="References: <root@example.org>\r\n")
        if name == "q3":
            raw = mail(name, message_id="<root@example.org>")
        await office.take(raw, at=datetime(year, 1, 1, tzinfo=UTC))
    await office.take(mail("q4", message_id="<q4@example.org>", headers="In-Reply-To: <root@example.org>\r\n"))
    found, after = [], ""
    for _ in range(4):
        (one,), further = await names(desk, f"?limit=1{after}")
        found.append(one)
        after = f"&after={further}"
    assert (found, further) == (["q1", "q2", "q3", "q4"], None)


async def test_a_page_ends_where_its_texts_are_long(stores: Stores) -> None:
    given = settings(api={"page_chars_max": 10_000})
    async with api_desk(await Office.open(stores), given) as desk:
        await desk.office.take(mail("q1", text="x" * 20_000), *[letter(f"q{n}", text="y " * 2_000) for n in (2, 3, 4)])
        found, after = [], ""
        while True:
            page, further = await names(desk, f"?limit=50{after}")
            found.append(page)
            if further is None:
                break
            after = f"&after={further}"
        assert found == [["q1"], ["q2"], ["q3"], ["q4"]]


async def test_a_page_asks_the_database_as_often_for_many_as_for_one(desk: ApiDesk) -> None:
    parts = [(f'Content-Type: text/plain; name="{n}.txt"', b"x") for n in range(3)]
    await desk.office.take(
        with_parts(*parts), *[letter(f"q{n}", "In-Reply-To: <f1@example.org>\r\n") for n in range(5)]
    )
    await desk.office.reply(1)
    await desk.office.reply(1, "Once more.")
    account_id = desk.account_id
    asked: list[int] = []

    def note(*_args: object) -> None:
        asked.append(1)

    content = desk.office.stores.content
    engine: Any = content._sqlite._read_engine if content._sqlite else content._postgres.sync_engine  # type: ignore[union-attr]
    event.listen(engine, "before_cursor_execute", note)
    few, _ = await desk.office.desk.messages(account_id, 1, limit=1, chars_max=10**6)
    of_few, asked[:] = len(asked), []
    many, _ = await desk.office.desk.messages(account_id, 1, limit=50, chars_max=10**6)
    event.remove(engine, "before_cursor_execute", note)
    assert (len(few), len(many)) == (1, 8)
    assert len(asked) <= of_few + 3, "but for what belongs to replies: one query for all of them each"


async def _download(desk: ApiDesk, fields: str, content: bytes = b"content") -> Any:
    await desk.office.take(with_parts((fields, content)))
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    return await desk.ask("GET", f"/messages/{message['message_id']}/attachments/0")


@pytest.mark.parametrize(
    ("fields", "content_type", "saved_as"),
    [
        ('Content-Type: image/png; name="a.png"', "image/png", "a.png"),
        ('Content-Type: text/html; name="a.html"', "application/octet-stream", "a.html"),
        ('Content-Type: image/svg+xml; name="a.svg"', "application/octet-stream", "a.svg"),
        ('Content-Type: text/plain; charset="x"; name="../../etc/passwd"', "text/plain", "passwd"),
        ("Content-Type: application/pdf;\r\n name*=UTF-8''%0D%0ASet-Cookie%3A%20a=b.pdf", "application/pdf", None),
        ("Content-Type: application/pdf;\r\n name*=UTF-8''inv%E2%80%AEfdp.exe", "application/pdf", "invfdp.exe"),
        ('Content-Type: application/pdf; name="a\\"; x=\\"b.pdf"', "application/pdf", None),
        ("Content-Type: application/pdf;\r\n name*=UTF-8''%C3%A4%20%25 1.pdf", "application/pdf", None),
    ],
)
async def test_an_attachment_is_saved_and_never_shown(
    desk: ApiDesk, fields: str, content_type: str, saved_as: str | None
) -> None:
    answer = await _download(desk, fields)
    assert answer.content == b"content"
    headers = answer.headers
    assert (headers["content-type"], headers["content-length"]) == (content_type, "7")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers
    kind, fallback, extended = headers["content-disposition"].split(";", 2)
    assert (kind, fallback.count('"'), extended[:18]) == ("attachment", 2, " filename*=UTF-8''")
    name = unquote(extended[18:])
    assert not set(name) & set('\r\n\x00\u202e/\\"')
    if saved_as is not None:
        assert name == saved_as


def test_what_a_name_can_do_to_a_header() -> None:
    for name in ('a"; filename=b', "a\r\nX: y", "..\\..\\a", "\u202efdp.exe", "%0d%0a", "\udcff", "'*;=", "é" * 300):
        made = disposition(name)
        assert made.isascii()
        assert not set(made) & set("\r\n\\")
        assert made.count('"') == 2


async def test_a_raw_mail_is_sent_as_it_came(desk: ApiDesk) -> None:
    noise = base64.encodebytes(random.Random(1).randbytes(2_500_000)).decode().replace("\n", "\r\n")
    await desk.office.take(mail(), mail(message_id="<q2@example.org>", text=noise))
    for number in (1, 2):
        (message,) = (await desk.get(f"/tickets/{number}/messages"))["items"]
        answer = await desk.ask("GET", urlsplit(message["raw_url"]).path)
        assert answer.content == await desk.office.desk.raw(desk.account_id, UUID(message["message_id"]))
        assert answer.headers["content-length"] == str(message["size_bytes"]) == str(len(answer.content))
        assert answer.headers["content-type"] == "message/rfc822"
        assert answer.headers["content-disposition"].startswith(f'attachment; filename="{message["message_id"]}.eml"')
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_who_reads_slowly_gets_no_more_once_the_mailbox_is_forgotten(desk: ApiDesk) -> None:
    noise = base64.encodebytes(random.Random(1).randbytes(2_500_000)).decode().replace("\n", "\r\n")
    await desk.office.take(mail(text=noise))
    view = await desk.office.ticket(1)
    stream = await desk.office.desk.raw_stream(desk.account_id, view.messages[0].row.message_id)
    assert len(await anext(stream.portions)) == 1024 * 1024
    content = desk.office.stores.content
    await content.transaction(desk.account_id, mailboxes.start_disconnect, desk.office.held.mailbox_id)
    with pytest.raises(NotFound):
        await anext(stream.portions)


async def test_of_a_mailbox_that_is_being_forgotten_nothing_is_there(desk: ApiDesk) -> None:
    await desk.office.take(with_parts(("Content-Type: text/plain", b"one")))
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    paths = _paths(message)
    content = desk.office.stores.content
    await content.transaction(desk.account_id, mailboxes.start_disconnect, desk.office.held.mailbox_id)
    for path in (*paths, "/tickets/1/messages"):
        assert_problem(await desk.ask("GET", path), 404, "not_found")


async def test_another_accounts_messages_are_not_there(desk: ApiDesk) -> None:
    await desk.office.take(with_parts(("Content-Type: text/plain", b"one")))
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    other = await Office.open(desk.office.stores)
    foreign = await desk.new_token(account_id=other.held.account_id)
    for path in _paths(message):
        assert_problem(await desk.ask("GET", path, token=foreign), 404, "not_found")
        theirs = f"/v1/accounts/{other.held.account_id}{path}"
        assert_problem(await desk.ask("GET", theirs, token=foreign), 404, "not_found")
    assert_problem(await desk.ask("GET", f"/messages/{message['message_id']}/attachments/1"), 404, "not_found")
    wrong = await desk.ask("GET", f"/messages/{message['message_id']}/attachments/99999999999999999999")
    assert_problem(wrong, 422, "invalid")


def _paths(message: Any) -> Sequence[str]:
    base = f"/messages/{message['message_id']}"
    return base, f"{base}/raw", f"{base}/attachments/0"


async def test_what_was_only_a_header_says_so(desk: ApiDesk) -> None:
    header = mail("Huge").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    one = RawMessage("1:1:INBOX", "INBOX", 10**9, datetime.now(UTC), None, header)
    await desk.office.take_fetched([one])
    (message,) = (await desk.get("/tickets/1/messages"))["items"]
    assert (message["truncated"], message["subject"]) == (True, "Huge")
    raw = await desk.ask("GET", urlsplit(message["raw_url"]).path)
    assert raw.content == header


async def test_what_belongs_to_messages_is_found_by_indexes(desk: ApiDesk) -> None:
    await desk.office.take(mail())
    await desk.office.reply(1)
    rows = [one.row for one in (await desk.office.ticket(1)).messages]

    def look(conn: Connection) -> list[str]:
        return plans(conn, "", lambda: desk_module._belongings(conn, desk.account_id, rows))

    found = await desk.office.stores.content.transaction(None, look)
    assert found
    assert [one for one in found if "Seq Scan" in one or one.startswith("SCAN")] == []
