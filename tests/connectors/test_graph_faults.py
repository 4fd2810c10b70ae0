"""What Graph does wrong, or otherwise than one would think, while a mailbox is read."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.aside import PAUSES_SECONDS
from connectors.base import (
    AuthError,
    Batch,
    Edit,
    EditKind,
    Envelope,
    HistoryPlan,
    PermanentError,
    RateLimited,
    ReadPlan,
    TemporaryError,
    Trouble,
)
from connectors.egress import EgressGuard, EgressRefused
from connectors.graph_cursor import Locator, format_cursor, parse_cursor
from connectors.graph_fetch import fetch_groups
from connectors.graph_transport import GraphTransport
from ingestd.demo.graph_faults import Fault, dropped, lost_answer, throttled
from tests.connectors.graphbox import GraphBox, box, mail_to
from tests.connectors.mailbox import (
    EVERYTHING,
    LONG_AGO,
    read_all,
    read_history,
    read_messages,
    subjects,
)
from tests.servers.graph import graph

__all__ = ["box", "graph"]

LINKED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def texts(batches: Sequence[Batch]) -> list[str]:
    return [one for batch in batches for one in subjects(list(batch.messages))]


class TestDelta:
    async def test_empty_pages_and_small_ones_end_nothing(self, box: GraphBox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box.graph.calls, "empty_pages", 2)
        monkeypatch.setattr(box.graph.calls, "page_max", 2)
        reader = box.reader(ReadPlan(start_at=LONG_AGO))
        _, cursor = await read_messages(reader, None)
        for number in range(5):
            box.deliver(f"m{number}")
        batches, cursor = await read_all(reader, cursor)
        assert texts(batches) == [f"m{number}" for number in range(5)]
        assert (await read_messages(reader, cursor))[0] == []

    async def test_what_is_repeated_is_not_fetched_again(self, box: GraphBox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box.graph.calls, "replays", 50)
        reader = box.reader(EVERYTHING)
        box.deliver("first")
        messages, cursor = await read_messages(reader, None)
        box.deliver("second")
        more, _ = await read_messages(reader, cursor)
        assert subjects([*messages, *more]) == ["first", "second"]
        assert box.calls("GET", "$value") >= 2

    async def test_a_flag_that_somebody_sets_is_no_message(self, box: GraphBox) -> None:
        reader = box.reader(EVERYTHING)
        item = box.deliver("read by somebody")
        _, cursor = await read_messages(reader, None)
        before = box.calls("GET", "$value")
        item.is_read = True
        box.mailbox.changed(item)
        assert (await read_messages(reader, cursor))[0] == []
        assert box.calls("GET", "$value") == before

    @pytest.mark.parametrize("partial", [True, False])
    async def test_old_mail_that_somebody_marks_is_not_new(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch, partial: bool
    ) -> None:
        """Delta tells of it; after a restart, too."""
        monkeypatch.setattr(box.graph.calls, "partial_updates", partial)
        old = box.graph.deliver(box.user, b"Subject: old\r\n\r\n", received=LINKED - timedelta(days=9))
        plan = ReadPlan(start_at=LINKED)
        reader = box.reader(plan)
        read = box.deliver("new")
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["new"]
        for item in (old, read):
            item.is_read = True
            box.mailbox.changed(item)
        assert (await read_messages(reader, cursor))[0] == []
        # Without the memory of what it has yielded, the reader fetches the new one again, and the caller knows it.
        assert subjects((await read_messages(box.reader(plan), cursor))[0]) == ["new"]
        box.deliver("newer")
        assert "newer" in subjects((await read_messages(reader, cursor))[0])

    @pytest.mark.parametrize("restarts", [True, False])
    async def test_old_mail_that_is_moved_in_is_new_and_old_mail_that_is_marked_is_not(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch, restarts: bool
    ) -> None:
        """Although delta tells of both alike, and their dates are as old."""
        monkeypatch.setattr(box.graph.calls, "page_max", 2)
        there = [
            box.graph.deliver(box.user, b"Subject: there %d\r\n\r\n" % number, received=LINKED - timedelta(days=9))
            for number in range(3)
        ]
        elsewhere = [
            box.graph.deliver(
                box.user, b"Subject: moved %d\r\n\r\n" % number, "archive", received=LINKED - timedelta(days=9)
            )
            for number in range(5)
        ]
        plan = ReadPlan(start_at=LINKED)
        reader = box.reader(plan)
        _, cursor = await read_messages(reader, None)
        read: list[str] = []
        for at, item in enumerate(elsewhere):
            box.mailbox.move(item, "inbox")
            for other in there:
                other.is_read = not other.is_read
                box.mailbox.changed(other)
            if at % 2:
                reader = box.reader(plan) if restarts else reader
                messages, cursor = await read_messages(reader, cursor)
                read += subjects(messages)
        messages, cursor = await read_messages(reader, cursor)
        read += subjects(messages)
        assert sorted(read) == [f"moved {number}" for number in range(5)]

    async def test_after_a_restart_a_known_message_is_not_fetched_again(self, box: GraphBox) -> None:
        item = box.deliver("known")
        messages, cursor = await read_messages(box.reader(EVERYTHING), None)
        box.mailbox.changed(item)
        have = {str(one.provider_id): one.locator for one in messages}

        async def known(ids: Sequence[str]) -> Mapping[str, str]:
            return {one: have[one] for one in ids if one in have}

        before = box.calls("GET", "$value")
        assert (await read_messages(box.reader(EVERYTHING, known=known), cursor))[0] == []
        assert box.calls("GET", "$value") == before
        # Without being told so, the reader fetches it once more: nothing is lost.
        assert subjects((await read_messages(box.reader(EVERYTHING), cursor))[0]) == ["known"]

    async def test_a_message_moved_out_and_back_keeps_its_id(self, box: GraphBox) -> None:
        item = box.deliver("wanderer")
        reader = box.reader(EVERYTHING)
        (before,), cursor = await read_messages(reader, None)
        box.mailbox.move(item, "archive")
        assert (await read_messages(reader, cursor))[0] == []
        _, cursor = await read_messages(reader, cursor)
        box.mailbox.move(item, "inbox")
        (after,), _ = await read_messages(reader, cursor)
        assert (after.provider_id, after.locator) == (before.provider_id, before.locator)

    async def test_a_page_is_gone_on_with_behind_each_batch(self, box: GraphBox) -> None:
        reader = box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=2))
        _, cursor = await read_messages(reader, None)
        for number in range(5):
            box.deliver(f"m{number}")
        batches, _ = await read_all(reader, cursor)
        for at, batch in enumerate(batches[:2]):
            box.deliver(f"later {at}")
            rest = texts((await read_all(box.reader(EVERYTHING), batch.cursor))[0])
            assert rest[:5] == [f"m{number}" for number in range(2 * at + 2, 5)] + [
                f"later {number}" for number in range(at + 1)
            ]

    async def test_every_call_asks_for_immutable_ids(self, box: GraphBox) -> None:
        """Or a message that is moved would be another one."""
        item = box.deliver("kept")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        assert message.provider_id == item.id(immutable=True)
        moved = (await reader.edit([message.locator], Edit(EditKind.TRASH)))[message.locator]
        assert moved is not None
        place = Locator.parse(moved)
        assert place is not None
        assert place.id == message.provider_id

    async def test_a_moved_message_that_was_listed_is_read_all_the_same(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item = box.deliver("quickly filed")

        def move_first(*args: Any) -> Any:
            box.mailbox.move(item, "archive")
            return fetch_groups(*args)

        monkeypatch.setattr("connectors.graph_delta.fetch_groups", move_first)
        assert subjects((await read_messages(box.reader(EVERYTHING), None))[0]) == ["quickly filed"]

    async def test_one_that_was_deleted_before_it_was_read_is_passed_over(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone, _ = box.deliver("gone"), box.deliver("there")

        def remove_first(*args: Any) -> Any:
            if gone.number in box.mailbox.items:
                box.mailbox.remove(gone)
            return fetch_groups(*args)

        monkeypatch.setattr("connectors.graph_delta.fetch_groups", remove_first)
        assert subjects((await read_messages(box.reader(EVERYTHING), None))[0]) == ["there"]

    async def test_a_server_that_never_ends_is_left(self, box: GraphBox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.graph_delta.EMPTY_PAGES_MAX", 5)
        monkeypatch.setattr(box.graph.calls, "empty_pages", 1000)
        with pytest.raises(TemporaryError, match="pages"):
            await read_messages(box.reader(), None)


class TestExpiredDelta:
    async def test_410_is_repaired_without_gap_and_without_the_old(self, box: GraphBox) -> None:
        await box.append("before the linking", LINKED - timedelta(days=9))
        reader = box.reader(ReadPlan(start_at=LINKED))
        box.deliver("first")
        await read_messages(reader, None)
        _, cursor = await read_messages(reader, None)
        box.mailbox.expire_deltas()
        box.deliver("meanwhile")
        await box.append("moved in meanwhile, older", LINKED - timedelta(days=3))
        batches, cursor = await read_all(reader, cursor)
        assert sorted(texts(batches)) == ["meanwhile", "moved in meanwhile, older"]
        assert all(batch.recovering for batch in batches if batch.messages)
        box.deliver("afterwards")
        batches, _ = await read_all(reader, cursor)
        assert texts(batches) == ["afterwards"]
        assert not any(batch.recovering for batch in batches)

    async def test_after_a_restart_all_since_the_linking_comes_again(self, box: GraphBox) -> None:
        """But for what the caller says that it has."""
        await box.append("before the linking", LINKED - timedelta(days=9))
        box.deliver("first")
        messages, cursor = await read_messages(box.reader(ReadPlan(start_at=LINKED)), None)
        box.mailbox.expire_deltas()
        box.deliver("meanwhile")
        batches, _ = await read_all(box.reader(ReadPlan(start_at=LINKED)), cursor)
        assert texts(batches) == ["first", "meanwhile"]
        assert {batch.recovering for batch in batches if batch.messages} == {True}

        async def known(ids: Sequence[str]) -> Mapping[str, str]:
            return {str(one.provider_id): one.locator for one in messages}

        batches, _ = await read_all(box.reader(ReadPlan(start_at=LINKED), known=known), cursor)
        assert texts(batches) == ["meanwhile"]

    async def test_a_repair_goes_on_behind_each_of_its_batches(self, box: GraphBox) -> None:
        for number in range(4):
            box.deliver(f"m{number}")
        plan = ReadPlan(start_at=LINKED, batch_messages_max=1)
        _, cursor = await read_messages(box.reader(plan), None)
        box.mailbox.expire_deltas()
        batches, _ = await read_all(box.reader(plan), cursor)
        with_messages = [batch for batch in batches if batch.messages]
        for at, batch in enumerate(with_messages):
            rest, _ = await read_all(box.reader(plan), batch.cursor)
            assert texts(rest) == [f"m{number}" for number in range(at + 1, 4)]

    async def test_a_link_that_is_garbage_is_repaired_too(self, box: GraphBox) -> None:
        box.deliver("there")
        _, cursor = await read_messages(box.reader(EVERYTHING), None)
        state = parse_cursor(cursor)
        (folder,) = state
        box.fail(Fault(400, "SyncStateInvalid", match="delta"))
        broken = format_cursor({folder: dataclasses.replace(state[folder])})
        assert subjects((await read_messages(box.reader(EVERYTHING), broken))[0]) == ["there"]


class TestThrottling:
    async def test_a_short_pause_is_waited_out_in_place(self, box: GraphBox) -> None:
        for number in range(3):
            box.deliver(f"m{number}")
        box.fail(throttled("1", match=r"\$value"))
        assert len((await read_messages(box.reader(EVERYTHING), None))[0]) == 3

    async def test_a_long_pause_is_the_callers_and_holds_for_all(self, box: GraphBox) -> None:
        box.deliver("later")
        box.fail(throttled("120", match="delta"))
        with pytest.raises(RateLimited) as refused:
            await read_messages(box.reader(EVERYTHING), None)
        assert refused.value.retry_after == 120
        before = len(box.graph.log)
        with pytest.raises(RateLimited) as again:
            await read_history(box.reader(EVERYTHING, name="history"), HistoryPlan(before=LINKED))
        assert 100 < again.value.retry_after <= 120
        assert [one for one in box.graph.log[before:] if one[0] == box.user] == []

    async def test_503_with_retry_after_is_throttling_too(self, box: GraphBox) -> None:
        box.fail(Fault(503, "serviceNotAvailable", "300", match="delta"))
        with pytest.raises(RateLimited):
            await read_messages(box.reader(EVERYTHING), None)

    async def test_throttled_without_a_time_is_not_hammered(self, box: GraphBox) -> None:
        box.fail(throttled(None, match="delta"))
        with pytest.raises(RateLimited) as refused:
            await read_messages(box.reader(EVERYTHING), None)
        assert refused.value.retry_after >= 30

    async def test_reader_backfill_and_sender_make_four_calls_at_once_in_all(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(box.graph, "latency_seconds", 0.02)
        for number in range(20):
            await box.append(f"o{number}", LINKED - timedelta(days=1))
            box.deliver(f"n{number}")
        box.graph.calls_at_once_max[box.user] = 0
        plan = ReadPlan(start_at=LINKED)
        waiting, other, sender = box.reader(plan), box.reader(plan, name="history"), box.sender()
        (new, _), old, _ = await asyncio.gather(
            read_messages(waiting, None),
            read_history(other, HistoryPlan(before=LINKED)),
            asyncio.gather(*(sender.find_in_sent(f"<{number}@help.example.com>", "t") for number in range(6))),
        )
        assert len(new) == 20
        assert sum(len(batch.messages) for batch in old) == 20
        assert box.graph.calls_at_once_max[box.user] == 4


class TestOutages:
    async def test_what_is_lost_once_is_asked_for_again(self, box: GraphBox) -> None:
        box.deliver("there")
        box.fail(dropped(r"\$value"))
        box.fail(lost_answer("delta"))
        assert subjects((await read_messages(box.reader(EVERYTHING), None))[0]) == ["there"]

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_an_outage_is_temporary(self, box: GraphBox, status: int) -> None:
        box.fail(Fault(status, "UnknownError", match="delta", times=3))
        with pytest.raises(TemporaryError):
            await read_messages(box.reader(EVERYTHING), None)

    async def test_a_host_that_the_guard_does_not_know_is_not_asked(self, box: GraphBox) -> None:
        box.change(base_url="http://127.0.0.1:1/v1.0")
        with pytest.raises(EgressRefused):
            await read_messages(box.reader(), None)

    async def test_nobody_there_is_temporary(self, box: GraphBox) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        box.change(base_url=f"http://127.0.0.1:{port}/v1.0")
        await box.transport.aclose()
        box.transport = GraphTransport(EgressGuard([("127.0.0.1", port)]))
        with pytest.raises(TemporaryError, match="cannot connect"):
            await read_messages(box.reader(), None)
        with pytest.raises(TemporaryError):
            await box.sender().send(Envelope(box.user, [box.user]), mail_to([box.user], "not sent"))

    @pytest.mark.parametrize(
        ("status", "code", "trouble"),
        [
            (403, "ErrorAccessDenied", Trouble.ADMIN_BLOCKED),
            (403, "Authorization_RequestDenied", Trouble.CONSENT_OR_MFA),
            (404, "MailboxNotEnabledForRESTAPI", Trouble.PROTOCOL_DISABLED),
            (404, "ErrorInvalidUser", Trouble.WRONG_MAILBOX),
        ],
    )
    async def test_what_a_person_must_change(self, box: GraphBox, status: int, code: str, trouble: Trouble) -> None:
        box.fail(Fault(status, code))
        with pytest.raises(PermanentError) as refused:
            await read_messages(box.reader(), None)
        assert refused.value.trouble is trouble
        assert box.user not in str(refused.value)

    async def test_another_mailbox_is_not_opened_by_this_token(self, box: GraphBox) -> None:
        box.change(user="somebody@example.com")
        with pytest.raises(PermanentError):
            await read_messages(box.reader(), None)

    async def test_a_mailbox_by_its_address(self, box: GraphBox) -> None:
        """Shared, or opened by application permissions."""
        box.change(user=box.user)
        box.deliver("shared")
        reader = box.reader(EVERYTHING)
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["shared"]
        box.deliver("more")
        assert subjects((await read_messages(reader, cursor))[0]) == ["more"]

    async def test_a_link_to_another_host_is_not_followed(self, box: GraphBox, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bearer token would go with it."""
        monkeypatch.setattr(box.graph, "url", "http://127.0.0.1:9/v1.0")
        with pytest.raises(TemporaryError, match="elsewhere"):
            await read_messages(box.reader(), None)

    async def test_a_refused_token_is_no_revoked_grant(self, box: GraphBox) -> None:
        box.fail(Fault(401, "InvalidAuthenticationToken", times=2))
        with pytest.raises(AuthError) as refused:
            await read_messages(box.reader(), None)
        assert refused.value.trouble is Trouble.TOKEN_EXPIRED


class TestContent:
    async def test_a_large_message_is_not_read_to_its_end(self, box: GraphBox) -> None:
        item = box.deliver("large", body=b"y" * 500_000)
        (message,), _ = await read_messages(box.reader(ReadPlan(start_at=LONG_AGO, message_bytes_max=10_000)), None)
        assert message.content is None
        assert not message.withheld
        assert message.size_bytes == len(item.content)
        assert b"Message-ID: " in message.header
        assert message.provider_id == item.id(immutable=True)

    async def test_one_that_is_not_given_stops_nobody(self, box: GraphBox) -> None:
        broken, good = box.deliver("broken"), box.deliver("good")
        name = broken.id(immutable=True).replace("=", "")
        box.fail(Fault(500, "ErrorInternalServerError", match=f"{name}.*value", times=1000))
        reader = box.reader(EVERYTHING)
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["good"]
        assert good.is_read is False
        for pause in PAUSES_SECONDS[:-1]:
            box.mailbox.advance(timedelta(seconds=pause + 1))
            await read_messages(reader, cursor)  # tells the reader the time
            messages, cursor = await read_messages(reader, cursor)
            assert messages == []
        box.mailbox.advance(timedelta(seconds=PAUSES_SECONDS[-1] + 1))
        await read_messages(reader, cursor)
        (message,), cursor = await read_messages(reader, cursor)
        assert message.withheld
        assert message.content is None
        assert subjects([message]) == ["broken"]
        assert (await read_messages(reader, cursor))[0] == []
        fetched = await reader.fetch(message.locator)
        assert fetched is not None
        assert fetched.withheld

    async def test_more_of_one_batch_than_may_stand_aside_stop_nobody(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.aside.ASIDE_MAX", 2)
        broken = [box.deliver(f"broken {number}") for number in range(3)]
        box.deliver("good")
        for item in broken:
            name = item.id(immutable=True).replace("=", "")
            box.fail(Fault(500, "ErrorInternalServerError", match=f"{name}.*value", times=2))
        reader = box.reader(EVERYTHING)
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["good"]
        box.mailbox.advance(timedelta(seconds=PAUSES_SECONDS[0] + 1))
        await read_messages(reader, cursor)
        assert sorted(subjects((await read_messages(reader, cursor))[0])) == ["broken 0", "broken 1", "broken 2"]

    async def test_one_that_is_given_late_is_not_lost(self, box: GraphBox) -> None:
        box.deliver("good")
        late = box.deliver("late")
        name = late.id(immutable=True).replace("=", "")
        box.fail(Fault(500, "ErrorInternalServerError", match=f"{name}.*value", times=2))
        reader = box.reader(EVERYTHING)
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["good"]
        box.mailbox.advance(timedelta(seconds=PAUSES_SECONDS[0] + 1))
        await read_messages(reader, cursor)
        assert subjects((await read_messages(reader, cursor))[0]) == ["late"]

    async def test_where_no_message_is_given_nothing_is_put_aside(self, box: GraphBox) -> None:
        box.deliver("before")
        reader = box.reader(EVERYTHING)
        _, cursor = await read_messages(reader, None)
        box.deliver("in the outage")
        box.fail(Fault(500, "ErrorInternalServerError", match=r"\$value", times=3))
        with pytest.raises(TemporaryError, match="withheld"):
            await read_messages(reader, cursor)
        assert subjects((await read_messages(reader, cursor))[0]) == ["in the outage"]

    async def test_old_mail_that_is_not_given_comes_as_its_header(self, box: GraphBox) -> None:
        await box.append("old", LINKED - timedelta(days=1))
        box.fail(Fault(500, "ErrorInternalServerError", match=r"\$value", times=2))
        batches = await read_history(box.reader(ReadPlan(start_at=LINKED)), HistoryPlan(before=LINKED))
        (message,) = [message for batch in batches for message in batch.messages]
        assert message.withheld

    async def test_many_messages_of_one_second(self, box: GraphBox, monkeypatch: pytest.MonkeyPatch) -> None:
        """As after a migration: the list knows whole seconds."""
        monkeypatch.setattr("connectors.graph_listing.PAGE", 3)
        for number in range(8):
            box.graph.deliver(box.user, b"Subject: m%d\r\n\r\n" % number, received=LINKED - timedelta(days=1))
        for newest_first in (True, False):
            plan = HistoryPlan(before=LINKED, newest_first=newest_first)
            batches = await read_history(box.reader(ReadPlan(start_at=LINKED, batch_messages_max=2)), plan)
            read = [one for batch in batches for one in subjects(list(batch.messages))]
            assert sorted(read) == [f"m{number}" for number in range(8)]
            assert batches[-1].seen == batches[-1].total == 8
        new, _ = await read_all(box.reader(ReadPlan(start_at=LONG_AGO, batch_messages_max=2)), None)
        assert sorted(texts(new)) == [f"m{number}" for number in range(8)]


class TestFolders:
    async def test_roles_are_well_known_names(self, box: GraphBox) -> None:
        box.deliver("spam", folder="Junk")
        box.deliver("sent", folder="Sent")
        plan = ReadPlan(folders=("\\Junk", "\\Sent", "INBOX"), start_at=LONG_AGO)
        messages, _ = await read_messages(box.reader(plan), None)
        assert [message.folder for message in messages] == ["Junk Email", "Sent Items"]

    async def test_a_missing_folder_is_told_and_read_once_it_is_there(self, box: GraphBox) -> None:
        plan = ReadPlan(folders=("Support/New", "INBOX"), start_at=LONG_AGO)
        reader = box.reader(plan)
        box.deliver("in the inbox")
        messages, cursor = await read_messages(reader, None)
        assert subjects(messages) == ["in the inbox"]
        assert reader.missing_folders() == [0]
        box.server.create_folder(box.user, "Support/New")
        box.deliver("in support", folder="Support/New")
        messages, cursor = await read_messages(reader, cursor)
        assert subjects(messages) == ["in support"]
        assert messages[0].folder == "Support/New"
        assert reader.missing_folders() == []
        box.server.delete_folder(box.user, "Support/New")
        assert (await read_messages(reader, cursor))[0] == []
        assert reader.missing_folders() == [0]

    async def test_a_folder_that_is_refused_keeps_no_other_from_being_read(self, box: GraphBox) -> None:
        box.server.create_folder(box.user, "Odd")
        box.deliver("in the inbox")
        odd = box.mailbox.at_path("Odd").id.replace("=", "")
        box.fail(Fault(500, "ErrorInternalServerError", match=f"{odd}.*delta", times=1))
        reader = box.reader(ReadPlan(folders=("Odd", "INBOX"), start_at=LONG_AGO))
        read: list[str] = []

        async def read_on() -> None:
            async for batch in reader.changes(None):
                read.extend(subjects(list(batch.messages)))

        with pytest.raises(TemporaryError):
            await read_on()
        assert read == ["in the inbox"]

    async def test_a_folder_that_is_watched_no_more_is_forgotten(self, box: GraphBox) -> None:
        box.server.create_folder(box.user, "Support")
        _, cursor = await read_messages(box.reader(ReadPlan(folders=("Support", "INBOX"))), None)
        assert len(parse_cursor(cursor)) == 2
        _, cursor = await read_messages(box.reader(ReadPlan(folders=("INBOX",))), cursor)
        assert len(parse_cursor(cursor)) == 1


class TestEdits:
    async def test_categories_that_somebody_sets_meanwhile_are_kept(self, box: GraphBox) -> None:
        item = box.deliver("marked")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        item.categories += ("Blue",)
        box.fail(Fault(412, "ErrorIrresolvableConflict", match="PATCH"))
        await reader.edit([message.locator], Edit(EditKind.KEYWORD, "ingestd"))
        assert list(item.categories) == ["Blue", "ingestd"]
        await reader.edit([message.locator], Edit(EditKind.REMOVE_KEYWORD, "INGESTD"))
        assert list(item.categories) == ["Blue"]

    async def test_what_is_done_already_is_not_written_again(self, box: GraphBox) -> None:
        box.deliver("marked")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        for _ in range(2):
            await reader.edit([message.locator], Edit(EditKind.READ))
        assert box.calls("PATCH", "messages") == 1

    async def test_deleted_is_deleted_where_a_deletion_only_moves(
        self, box: GraphBox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(box.graph.calls, "deletion_moves_to", "deleteditems")
        item = box.deliver("unwanted")
        reader = box.reader(EVERYTHING)
        (message,), _ = await read_messages(reader, None)
        assert await reader.edit([message.locator], Edit(EditKind.DELETE)) == {message.locator: None}
        assert item.number not in box.mailbox.items
