"""Events reach a receiver, each at least once, in order per ticket, whatever it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from ingestd.events.desk import Change
from storage.deliveries import DeliveryStatus
from storage.events import NewEvent
from storage.types import new_id
from tests.events.post import Post, post_office, quick
from tests.events.receiver import NO_CONTENT, Received, Receiver, answer
from tests.office import Office, mail
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # on both, tests/events/test_crash and tests/storage show what differs


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as serving:
        yield serving


@pytest.fixture
async def post(stores: Stores, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_office(await Office.open(stores), receiver) as opened:
        yield opened


def of_ticket(ticket_id: UUID, count: int = 1) -> list[NewEvent]:
    return [NewEvent("message.received", None, ticket_id, detail="customer")] * count


async def test_mail_that_comes_in_is_told_with_ids_alone(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    async with post.delivering():
        await post.office.take(mail("Printer on fire"))
        await post.until_written(webhook_id, 2)
    assert receiver.wrong == []
    assert receiver.types() == ["ticket.created", "message.received"]
    first = receiver.got[1]
    assert first.event["data"]["ticket_number"] == 1
    assert first.event["timestamp"] == first.event["data"]["at"]
    assert first.event["data"]["account_id"] == str(post.account_id)
    assert b"Printer" not in first.body
    assert first.headers["content-type"] == "application/json"
    assert [one.attempts for one in await post.deliveries(webhook_id)] == [1, 1]
    await post.office.check()


@pytest.mark.postgresql_is_long
async def test_only_what_was_asked_for_is_told(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver, types=["reply.sent", "reply.bounced"])
    async with post.delivering():
        last = await post.tell(NewEvent("message.received"), NewEvent("reply.sent"), NewEvent("ticket.closed"))
        await receiver.until(lambda: len(receiver.got) == 1)
        await post.until_written(webhook_id, 1)
        async with asyncio.timeout(5):
            while (await post.show(webhook_id)).webhook.cursor_sequence < last:
                await asyncio.sleep(0.01)
    assert receiver.types() == ["reply.sent"]
    assert (await post.show(webhook_id)).lag.events == 0


async def test_a_webhook_begins_at_the_newest_event_or_where_it_is_told(post: Post, receiver: Receiver) -> None:
    first = await post.tell(NewEvent("reply.sent"))
    await post.tell(NewEvent("reply.failed"))
    async with Receiver().serving() as other, post_office(post.office, receiver, other) as both:
        await both.add(receiver)
        await both.add(other, after=first)
        async with both.delivering():
            await both.tell(NewEvent("reply.bounced"))
            await other.until(lambda: len(other.got) == 2)
            await receiver.until(lambda: len(receiver.got) == 1)
    assert receiver.types() == ["reply.bounced"]
    assert other.types() == ["reply.failed", "reply.bounced"]


async def test_a_ticket_waits_for_its_first_event_and_others_do_not(post: Post, receiver: Receiver) -> None:
    stuck, other = new_id(), new_id()
    fail = {"left": 2}

    async def respond(one: Received) -> bytes:
        if one.event["data"]["ticket_id"] == str(stuck) and fail["left"]:
            fail["left"] -= 1
            return answer(500)
        return NO_CONTENT

    receiver.respond = respond
    webhook_id = await post.add(receiver)
    async with post.delivering():
        first = await post.tell(*of_ticket(stuck, 3), *of_ticket(other, 3))
        await post.until_written(webhook_id, 6)
    sequences = [one.sequence for one in receiver.got]
    begin = first - 5
    assert [n for n in sequences if n < begin + 3] == [begin, begin, begin, begin + 1, begin + 2]
    assert [n for n in sequences if n >= begin + 3] == [begin + 3, begin + 4, begin + 5]
    assert {one.id for one in receiver.got if one.sequence == begin} == {
        one for one, count in receiver.ids().items() if count == 3
    }
    rows = await post.deliveries(webhook_id)
    assert [one.attempts for one in rows] == [3, 1, 1, 1, 1, 1]


@pytest.mark.postgresql_is_long
async def test_events_without_a_ticket_come_in_the_order_of_their_mailbox(post: Post, receiver: Receiver) -> None:
    async def slow(one: Received) -> bytes:
        await asyncio.sleep(0.01 if one.sequence % 2 else 0)
        return NO_CONTENT

    receiver.respond = slow
    webhook_id = await post.add(receiver)
    mailboxes = [new_id(), new_id(), None]
    async with post.delivering():
        await post.tell(*(NewEvent("mailbox.warning", mailboxes[n % 3]) for n in range(30)))
        await post.until_written(webhook_id, 30)
    for mailbox in mailboxes:
        told = [one.sequence for one in receiver.got if one.event["data"]["mailbox_id"] == (mailbox and str(mailbox))]
        assert len(told) == 10
        assert told == sorted(told)


@pytest.mark.postgresql_is_long
async def test_parallel_within_the_limits(post: Post, receiver: Receiver, stores: Stores) -> None:
    async def slow(_one: Received) -> bytes:
        await asyncio.sleep(0.05)
        return NO_CONTENT

    receiver.respond = slow
    async with post_office(post.office, receiver, settings=quick(in_flight_per_webhook_max=3)) as limited:
        webhook_id = await limited.add(receiver)
        async with limited.delivering():
            await limited.tell(*(one for _ in range(12) for one in of_ticket(new_id())))
            await limited.until_written(webhook_id, 12)
    assert receiver.most_at_once == 3


@pytest.mark.postgresql_is_long
@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        (answer(500), 500, "refused"),
        (answer(404, body=b"x" * 200_000), 404, "refused"),
        (answer(302, "Location: http://127.0.0.1:1/"), 302, "redirect"),
        (b"", None, "disconnected"),
        (b"nonsense\r\n\r\n", None, "disconnected"),
    ],
)
async def test_what_is_no_success(post: Post, receiver: Receiver, said: bytes, code: int | None, reason: str) -> None:
    async def respond(_one: Received) -> bytes:
        if not said:
            raise ConnectionResetError
        return said

    receiver.respond = respond
    async with post_office(post.office, receiver, settings=quick(retry_seconds=(60,))) as patient:
        webhook_id = await patient.add(receiver)
        async with patient.delivering():
            await patient.tell(NewEvent("reply.sent"))
            async with asyncio.timeout(10):
                while not (rows := await patient.deliveries(webhook_id)) or not rows[0].attempts:
                    await asyncio.sleep(0.02)
        assert (rows[0].status, rows[0].code, rows[0].reason) == (DeliveryStatus.PENDING, code, reason)
        assert (await patient.show(webhook_id)).webhook.failing_since is not None
        await patient.office.check()


@pytest.mark.postgresql_is_long
async def test_a_slow_receiver_is_not_waited_for(post: Post, receiver: Receiver) -> None:
    slow = {"left": 1}

    async def respond(_one: Received) -> bytes:
        if slow["left"]:
            slow["left"] -= 1
            await asyncio.sleep(1)
        return NO_CONTENT

    receiver.respond = respond
    async with post_office(post.office, receiver, settings=quick(timeout_seconds=0.2)) as hasty:
        webhook_id = await hasty.add(receiver)
        async with hasty.delivering():
            await hasty.tell(NewEvent("reply.sent"))
            await hasty.until_written(webhook_id, 1)
    assert [one.attempts for one in await post.deliveries(webhook_id)] == [2]


async def test_a_receiver_that_disappears_is_probed_one_at_a_time_and_comes_back(post: Post) -> None:
    async with Receiver().serving() as first:
        port = first.port
    receiver = Receiver(port=port)
    settings = quick(retry_seconds=(0.05, *(30.0,) * 9))
    async with post_office(post.office, receiver, settings=settings) as away:
        webhook_id = await away.add(receiver)
        async with away.delivering():
            await away.tell(*(one for _ in range(20) for one in of_ticket(new_id())))
            async with asyncio.timeout(10):
                while sum(one.attempts for one in await away.deliveries(webhook_id)) < 14:
                    await asyncio.sleep(0.02)
            assert (await away.show(webhook_id)).webhook.failing_since is not None
            async with receiver.serving(port):
                # All come now, also those that wait for half a minute.
                await away.until_written(webhook_id, 20, seconds=10)
        assert (await away.show(webhook_id)).webhook.failing_since is None
    assert len(receiver.ids()) == 20


@pytest.mark.postgresql_is_long
async def test_retry_after_is_obeyed_within_bounds(post: Post, receiver: Receiver) -> None:
    times: list[float] = []

    async def respond(_one: Received) -> bytes:
        times.append(asyncio.get_running_loop().time())
        return answer(429, "Retry-After: 100000") if len(times) == 1 else NO_CONTENT

    receiver.respond = respond
    async with post_office(post.office, receiver, settings=quick(retry_after_seconds_max=0.4)) as asked:
        webhook_id = await asked.add(receiver)
        async with asked.delivering():
            await asked.tell(*of_ticket(new_id()))
            await receiver.until(lambda: len(times) == 1)
            await asked.tell(*of_ticket(new_id()))
            await asked.until_written(webhook_id, 2)
    assert times[1] - times[0] >= 0.4


async def test_gone_disables_at_once_and_enabling_goes_on(post: Post, receiver: Receiver) -> None:
    gone = {"gone": True}

    async def respond(_one: Received) -> bytes:
        return answer(410) if gone["gone"] else NO_CONTENT

    receiver.respond = respond
    webhook_id = await post.add(receiver)
    async with post.delivering():
        await post.tell(NewEvent("reply.sent"))
        assert await post.until_disabled(webhook_id) == "gone"
        await post.tell(NewEvent("reply.failed"))
        assert "webhook.disabled" in await post.office.event_types()
        gone["gone"] = False
        await post.desk.change(post.account_id, webhook_id, Change(enabled=True))
        await post.until_written(webhook_id, 3)
    assert receiver.types() == ["reply.sent", "reply.sent", "webhook.disabled", "reply.failed"]
    assert receiver.got[2].event["data"]["detail"] == str(webhook_id)
    await post.office.check()


async def test_a_delivery_that_is_given_up_disables(post: Post, receiver: Receiver) -> None:
    async def respond(_one: Received) -> bytes:
        return answer(500)

    receiver.respond = respond
    async with post_office(post.office, receiver, settings=quick(retry_seconds=(0.02, 0.02))) as short:
        webhook_id = await short.add(receiver)
        async with short.delivering():
            await short.tell(NewEvent("reply.sent"))
            assert await short.until_disabled(webhook_id) == "given_up"
        (row,) = await short.deliveries(webhook_id)
        assert (row.status, row.attempts, row.due_at) == (DeliveryStatus.GIVEN_UP, 3, None)
        await short.office.check()


@pytest.mark.postgresql_is_long
async def test_a_receiver_that_takes_nothing_for_long_is_switched_off(post: Post, receiver: Receiver) -> None:
    async def respond(_one: Received) -> bytes:
        return answer(503)

    receiver.respond = respond
    settings = quick(retry_seconds=(0.05,) * 50, disable_after_seconds=0.3)
    async with post_office(post.office, receiver, settings=settings) as short:
        webhook_id = await short.add(receiver)
        async with short.delivering():
            await short.tell(NewEvent("reply.sent"))
            assert await short.until_disabled(webhook_id) == "failing"


async def test_a_secret_that_is_rotated_signs_on_for_a_while(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    old = receiver.secret
    _, new = await post.desk.rotate(post.account_id, webhook_id)
    async with post.delivering():
        await post.tell(NewEvent("reply.sent"))
        await receiver.until(lambda: len(receiver.got) == 1)
        assert len(receiver.got[0].headers["webhook-signature"].split(" ")) == 2
        receiver.secret = new
        await post.tell(NewEvent("reply.failed"))
        await receiver.until(lambda: len(receiver.got) == 2)
    assert receiver.wrong == []
    assert (await post.show(webhook_id)).record.previous[0].secret == old


async def test_without_an_overlap_the_old_secret_signs_nothing(post: Post, receiver: Receiver) -> None:
    async with post_office(post.office, receiver, settings=quick(secret_overlap_seconds=0)) as strict:
        webhook_id = await strict.add(receiver)
        old = receiver.secret
        _, receiver.secret = await strict.desk.rotate(strict.account_id, webhook_id)
        async with strict.delivering():
            await strict.tell(NewEvent("reply.bounced"))
            await strict.until_written(webhook_id, 1)
            receiver.secret = old
            await strict.tell(NewEvent("reply.bounced"))
            async with asyncio.timeout(10):
                while not receiver.wrong:
                    await asyncio.sleep(0.02)
    assert receiver.types() == ["reply.bounced"]


async def test_a_replay_tells_everything_again_in_order_under_the_same_ids(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    ticket = new_id()
    async with post.delivering():
        last = await post.tell(*of_ticket(ticket, 5))
        await post.until_written(webhook_id, 5)
        first_time = [one.id for one in receiver.got]
        await post.desk.replay(post.account_id, webhook_id, last - 3)
        await receiver.until(lambda: len(receiver.got) == 8)
        await post.until_written(webhook_id, 5)
    assert [one.id for one in receiver.got[5:]] == first_time[2:]
    await post.office.check()


async def test_a_replay_while_something_waits_keeps_the_order(post: Post, receiver: Receiver) -> None:
    fail = {"on": False}

    async def respond(_one: Received) -> bytes:
        return answer(500) if fail["on"] else NO_CONTENT

    receiver.respond = respond
    webhook_id = await post.add(receiver)
    ticket = new_id()
    async with post.delivering():
        first = await post.tell(*of_ticket(ticket))
        await post.until_written(webhook_id, 1)
        fail["on"] = True
        await post.tell(*of_ticket(ticket, 3))
        await receiver.until(lambda: len(receiver.got) >= 2)
        await post.desk.replay(post.account_id, webhook_id, first - 1)
        fail["on"] = False
        await post.until_written(webhook_id, 4)
    in_order = list(dict.fromkeys(one.sequence for one in receiver.got if one is not receiver.got[0]))
    assert sorted(in_order) == [first, first + 1, first + 2, first + 3]
    after_first = [one.sequence for one in receiver.got]
    assert after_first[after_first.index(first, 1) :] == [first, first + 1, first + 2, first + 3]


async def test_the_backlog_of_a_disabled_webhook_waits_in_the_log(post: Post, receiver: Receiver) -> None:
    async with post_office(post.office, receiver, settings=quick(pending_max=5, batch_max=3)) as small:
        webhook_id = await small.add(receiver)
        async with small.delivering():
            await small.desk.change(small.account_id, webhook_id, Change(enabled=False))
            await small.tell(*(one for _ in range(40) for one in of_ticket(new_id())))
            assert (await small.show(webhook_id)).lag.events == 40
            assert receiver.got == []
            await small.desk.change(small.account_id, webhook_id, Change(enabled=True))
            await small.until_written(webhook_id, 40)
    assert len(receiver.ids()) == 40


async def test_two_processes_share_the_webhooks(post: Post, receiver: Receiver) -> None:
    webhook_id = await post.add(receiver)
    async with post.delivering(), post.delivering():
        for _ in range(5):
            await post.tell(*of_ticket(new_id(), 4))
        await post.until_written(webhook_id, 20)
    assert set(receiver.ids().values()) == {1}
