"""Reading by the Gmail API where Google does what it does: forgets, repeats, shuffles, refuses and hangs up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Edit, EditKind, HistoryPlan, PermanentError, RateLimited, ReadPlan, TemporaryError
from connectors.egress import EgressGuard, EgressRefused
from connectors.gmail_http import OneTryHttp
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer
from ingestd.demo.gmailfaults import Fault, Loss
from ingestd.demo.gmailserver import GmailServer
from tests.connectors.gmail_box import GmailMailbox
from tests.connectors.mailbox import EVERYTHING, LONG_AGO, read_all, read_history, read_messages, subjects
from tests.servers.fixtures import USERS

LINKED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


# -- the history ---------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
async def test_a_lost_history_is_repaired_by_comparing_ids(gmail_mailbox: GmailMailbox, asked: bool) -> None:
    box = gmail_mailbox
    await box.append("before the link", LINKED - timedelta(days=1))
    await box.append("read", LINKED + timedelta(days=1))
    have: dict[str, str] = {}

    async def known(ids: Sequence[str]) -> Mapping[str, str]:
        return {one: have[one] for one in ids if one in have}

    reader = box.reader(ReadPlan(start_at=LINKED, batch_messages_max=2), known=known if asked else None)
    messages, cursor = await read_messages(reader, None)
    assert subjects(messages) == ["read"]
    have |= {str(one.provider_id): one.locator for one in messages}
    for name, days in (("missed 1", 2), ("missed, of old date", -9), ("missed 2", 3)):
        await box.append(name, LINKED + timedelta(days=days))
    box.box.forget_history()
    batches, cursor = await read_all(reader, cursor)
    assert all(batch.recovering for batch in batches)
    missed = ["missed 1", "missed, of old date", "missed 2"]
    assert subjects([one for batch in batches for one in batch.messages]) == (missed if asked else ["read", *missed])
    box.deliver("after the repair")
    batches, _ = await read_all(reader, cursor)
    assert [batch.recovering for batch in batches] == [False]
    assert subjects([one for batch in batches for one in batch.messages]) == ["after the repair"]


async def test_what_is_known_elsewhere_is_read_again_by_a_repair(gmail_mailbox: GmailMailbox) -> None:
    """Its place has changed while nobody looked, and what is to be done to it goes there."""
    box = gmail_mailbox
    box.deliver("moved back")

    async def known(ids: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(ids, "Archive:18f0")

    reader = box.reader(ReadPlan(start_at=LONG_AGO), known=known)
    _, cursor = await read_messages(reader, None)
    box.box.forget_history()
    assert subjects((await read_messages(reader, cursor))[0]) == ["moved back"]


async def test_a_repair_is_taken_up_where_it_was_left(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    plan = ReadPlan(start_at=LINKED, batch_messages_max=1)
    _, cursor = await read_messages(box.reader(plan), None)
    for number in range(3):
        await box.append(f"m{number}", LINKED + timedelta(days=number))
    box.box.forget_history()
    batches, _ = await read_all(box.reader(plan), cursor)
    for at, batch in enumerate(batches):
        left, _ = await read_all(box.reader(plan), batch.cursor)
        later = [one for other in batches[at + 1 :] for one in other.messages]
        assert subjects([one for other in left for one in other.messages]) == subjects(later)
        assert all(other.recovering for other in left)


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_history_that_repeats_and_shuffles_loses_nothing(
    gmail_mailbox: GmailMailbox, twice: bool, size: int
) -> None:
    """Each cursor is one that a crash may leave us with: from there on, all that was not yielded before comes."""
    box = gmail_mailbox
    reader = box.reader(ReadPlan(batch_messages_max=size))
    _, cursor = await read_messages(reader, None)
    for number in range(7):
        box.deliver(f"m{number}")
    box.gmail.faults.history_twice, box.gmail.faults.history_shuffled = twice, True
    batches, after = await read_all(reader, cursor)
    assert subjects([one for batch in batches for one in batch.messages]) == [f"m{number}" for number in range(7)]
    assert (await read_messages(reader, after))[0] == []
    for at, batch in enumerate(batches):
        left, _ = await read_messages(box.reader(ReadPlan(batch_messages_max=size)), batch.cursor)
        assert subjects(left) == subjects([one for other in batches[at + 1 :] for one in other.messages])


async def test_a_quiet_mailbox_is_not_written_about(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.deliver("one")
    reader = box.reader(ReadPlan())
    _, cursor = await read_messages(reader, None)
    stored = box.box.find(labels=["INBOX"])[0]
    box.box.modify(stored.id, ("STARRED",), ("UNREAD",))
    assert await read_all(reader, cursor) == ([], cursor)


async def test_what_was_archived_before_it_was_read_is_read(gmail_mailbox: GmailMailbox) -> None:
    """A filter, or a person, was quicker than we. What was put into the bin is not mail that somebody waits for."""
    box = gmail_mailbox
    reader = box.reader(ReadPlan())
    _, cursor = await read_messages(reader, None)
    for name in ("archived", "trashed", "spam", "left alone"):
        box.deliver(name)
    newest = box.box.find(labels=["INBOX"])[::-1]
    box.box.modify(newest[0].id, (), ("INBOX",))
    box.box.trash(newest[1].id)
    box.box.modify(newest[2].id, ("SPAM",), ("INBOX",))
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["archived", "left alone"]
    assert [one.folder for one in messages] == ["[Gmail]/All Mail", "INBOX"]
    archived = messages[0].locator
    assert await reader.fetch(archived) is not None
    moved = await reader.edit([archived], Edit(EditKind.MOVE, "INBOX"))
    assert moved == {archived: f"INBOX:{newest[0].id}"}
    # Moved in by ourselves, it comes again, and is known.
    assert subjects((await read_messages(reader, cursor))[0]) == ["archived"]


async def test_a_message_has_the_same_id_by_imap(gmail_mailbox: GmailMailbox) -> None:
    gmail_mailbox.deliver("one")
    (message,), _ = await read_messages(gmail_mailbox.reader(), None)
    assert message.provider_id == str(int(message.locator.removeprefix("INBOX:"), 16))  # X-GM-MSGID


# -- labels ----------------------------------------------------------------------------------------


async def test_labels_and_roles_are_folders(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    for folder in ("INBOX", "Junk", "Support/Neu", "Trash", "Other"):
        box.deliver(f"in {folder}", folder)
    plan = ReadPlan(folders=("INBOX", "\\Junk", "Support/Neu", "Not there"), start_at=LONG_AGO)
    reader = box.reader(plan)
    messages, cursor = await read_messages(reader, None)
    assert {(one.folder, *subjects([one])) for one in messages} == {
        ("INBOX", "in INBOX"),
        ("SPAM", "in Junk"),
        ("Support/Neu", "in Support/Neu"),
    }
    assert reader.missing_folders() == [3]
    for folder in ("INBOX", "Junk", "Support/Neu", "Trash", "Other"):
        box.deliver(f"later in {folder}", folder)
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["later in INBOX", "later in Junk", "later in Support/Neu"]
    box.deliver("in time", "Not there")
    messages, cursor = await read_messages(reader, cursor)
    assert subjects(messages) == ["in time"]
    assert reader.missing_folders() == []


async def test_a_label_that_is_watched_no_more_begins_anew(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.deliver("first", "Support")
    both = ReadPlan(folders=("INBOX", "Support"), start_at=LONG_AGO)
    _, cursor = await read_messages(box.reader(both), None)
    _, cursor = await read_messages(box.reader(ReadPlan(start_at=LONG_AGO)), cursor)
    box.deliver("meanwhile", "Support")
    since = datetime.now(UTC) - timedelta(minutes=1)
    again = ReadPlan(folders=("INBOX", "Support"), start_at=LONG_AGO, starts={"Support": since})
    assert subjects((await read_messages(box.reader(again), cursor))[0]) == ["first", "meanwhile"]


async def test_delete_needs_a_wider_grant_than_ours(gmail_mailbox: GmailMailbox, auth_server: AuthServer) -> None:
    box = gmail_mailbox
    box.deliver("stays")
    scopes = ("https://www.googleapis.com/auth/gmail.modify",)
    box.tokens.set(auth_server.issue(box.user, scopes).access_token)
    reader = box.reader()
    (message,), _ = await read_messages(reader, None)
    with pytest.raises(PermanentError, match=r"messages\.delete") as error:
        await reader.edit([message.locator], Edit(EditKind.DELETE))
    assert error.value.trouble == "protocol_disabled"  # this edit's own trouble, not the mailbox's
    assert len(box.server.mails(box.user)) == 1
    moved = await reader.edit([message.locator], Edit(EditKind.TRASH))
    assert moved == {message.locator: message.locator.replace("INBOX", "TRASH")}


# -- refusals ----------------------------------------------------------------------------------------


async def test_parts_of_a_batch_that_fail_are_asked_for_again(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    for number in range(9):
        box.deliver(f"m{number}")
    for fault in (Fault(503), Fault(429, "rateLimitExceeded", 1), Fault(404, "notFound"), Fault(500)):
        box.gmail.faults.next("messages.get", fault)
    messages, _ = await read_messages(box.reader(), None)
    # The one that is said to be gone is not there for us.
    assert subjects(messages) == ["m0", "m1", *(f"m{number}" for number in range(3, 9))]


async def test_a_batch_that_is_throttled_for_long_is_given_back(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    for number in range(3):
        box.deliver(f"m{number}")
    box.gmail.faults.next("messages.get", Fault(403, "userRateLimitExceeded", 77))
    reader = box.reader()
    with pytest.raises(RateLimited) as error:
        await read_messages(reader, None)
    assert error.value.retry_after == 77
    calls = box.gmail.calls.total()
    asked = asyncio.create_task(read_messages(reader, None))
    await asyncio.sleep(0.2)
    # Nothing is asked of Google before that time is over, by whoever works on the mailbox.
    assert not asked.done()
    assert box.gmail.calls.total() == calls
    asked.cancel()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(429, "rateLimitExceeded", 5), RateLimited),
        (Fault(403, "rateLimitExceeded"), RateLimited),
        (Fault(403, "dailyLimitExceeded"), RateLimited),
        (Fault(503, "backendError"), TemporaryError),
        (Fault(500, "backendError"), TemporaryError),
        (Fault(400, "failedPrecondition"), PermanentError),
        (Fault(403, "accessNotConfigured"), PermanentError),
        (Fault(403, "domainPolicy"), PermanentError),
        (Loss.BEFORE, TemporaryError),
    ],
)
async def test_a_refusal_has_the_type_that_the_caller_needs(
    gmail_mailbox: GmailMailbox, fault: Fault | Loss, expected: type[Exception]
) -> None:
    box = gmail_mailbox
    box.gmail.faults.next("getProfile", fault)
    with pytest.raises(expected) as error:
        await read_messages(box.reader(), None)
    assert "said the server" not in str(error.value)
    assert box.user not in str(error.value)


async def test_a_connection_that_was_closed_behind_us_is_no_failure(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    reader = box.reader(ReadPlan())
    _, cursor = await read_messages(reader, None)
    box.deliver("after the loss")
    box.gmail.faults.next("history.list", Loss.AFTER)
    assert subjects((await read_messages(reader, cursor))[0]) == ["after the loss"]


async def test_a_server_that_does_not_answer_is_left(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.change(read_seconds=0.3)
    box.gmail.faults.next("getProfile", Loss.HANG)
    reader = box.reader()
    with pytest.raises(TemporaryError):
        await read_messages(reader, None)
    assert (await read_messages(reader, None))[0] == []


async def test_a_call_that_is_cancelled_gives_its_answer_to_nobody(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.deliver("one")
    reader = box.reader(ReadPlan(start_at=LONG_AGO))
    box.gmail.faults.next("getProfile", Loss.HANG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await read_messages(reader, None)
    assert subjects((await read_messages(reader, None))[0]) == ["one"]


# -- sizes -------------------------------------------------------------------------------------------


async def test_batches_too_large_for_memory_are_read_by_size(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.change(batch_response_bytes_max=40_000)
    for number, size in enumerate((100, 9_000, 500, 9_000, 60_000, 9_000)):
        box.deliver(f"m{number}", body=b"z" * 70 + b"\r\n" * (size // 2))
    messages, _ = await read_messages(box.reader(ReadPlan(start_at=LONG_AGO, message_bytes_max=50_000)), None)
    assert subjects(messages) == [f"m{number}" for number in range(6)]
    assert [one.content is None for one in messages] == [False, False, False, False, True, False]
    assert messages[4].size_bytes > 60_000


async def test_of_a_message_over_the_limit_only_the_header_is_transferred(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    box.deliver("huge", body=b"y" * 300_000)
    (message,), _ = await read_messages(box.reader(ReadPlan(start_at=LONG_AGO, message_bytes_max=2000)), None)
    assert message.content is None
    assert message.size_bytes > 300_000
    assert b"From: <customer@example.net>\r\n" in message.header
    assert message.header.endswith(b"\r\n\r\n")


async def test_history_is_cut_by_bytes_from_its_newest_end(gmail_mailbox: GmailMailbox) -> None:
    box = gmail_mailbox
    for number in range(4):
        await box.append(f"m{number}", LINKED - timedelta(days=9 - number), body=b"x" * 100)
    plan = ReadPlan(start_at=LINKED, batch_bytes_max=10)
    batches = await read_history(box.reader(plan), HistoryPlan(before=LINKED))
    assert [subjects(list(one.messages)) for one in batches if one.messages] == [["m3"], ["m2"], ["m1"], ["m0"]]


# -- one mailbox and the others ----------------------------------------------------------------------


async def test_answers_are_never_mixed_up_between_mailboxes(
    gmail_mailbox: GmailMailbox, gmail: GmailServer, auth_server: AuthServer
) -> None:
    """Thirty mailboxes on eight threads, some of whose calls are cancelled, hang or break off."""
    boxes = [GmailMailbox(user, gmail_mailbox.tools, gmail, auth_server) for user in USERS[-30:]]
    for box in boxes:
        for number in range(12):
            box.deliver(f"{box.user} {number}")
    chance = random.Random(5)
    for _ in range(20):
        gmail.faults.next("batch", chance.choice([Loss.AFTER, Loss.BEFORE]))

    async def read(box: GmailMailbox) -> list[str]:
        reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=5))
        found: list[str] = []
        cursor: str | None = None
        async with asyncio.timeout(60):
            while len(found) < 12:
                try:
                    async with asyncio.timeout(chance.choice([0.02, 5])):
                        async for batch in reader.changes(cursor):
                            found += subjects(list(batch.messages))
                            cursor = batch.cursor
                except (TemporaryError, TimeoutError):
                    continue
        await reader.close()
        return found

    try:
        for box, found in zip(boxes, await asyncio.gather(*map(read, boxes)), strict=True):
            assert found == [f"{box.user} {number}" for number in range(12)]
    finally:
        gmail.faults.clear()
        for box in boxes:
            box.box.messages.clear()


# -- where it connects -------------------------------------------------------------------------------


async def test_it_connects_where_the_guard_lets_it(gmail_mailbox: GmailMailbox) -> None:
    gmail_mailbox.tools.guard.replace([])
    with pytest.raises(EgressRefused):
        await read_messages(gmail_mailbox.reader(), None)


def test_no_address_elsewhere_gets_our_token() -> None:
    http = OneTryHttp("https://gmail.example.com/", EgressGuard([]), client_context(), connect_seconds=1, seconds=1)
    for uri in ("https://other.example.com/x", "http://gmail.example.com/x", "https://gmail.example.com:444/x"):
        with pytest.raises(PermanentError):
            http.request(uri)


async def test_proxies_of_the_environment_are_not_used(
    gmail_mailbox: GmailMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    gmail_mailbox.deliver("direct")
    assert subjects((await read_messages(gmail_mailbox.reader(EVERYTHING), None))[0]) == ["direct"]
