"""The pool of parser processes, with real processes."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingestd.inbound.parser import ParserPool, ParserRejected, ParserUnavailable, parser_command
from ingestd.mail.blobs import CHUNK_BYTES, read_range
from ingestd.mail.encoding import decode_part
from ingestd.mail.transform import transform

CHILD = [sys.executable, "-I", "-B", str(Path(__file__).with_name("parser_child.py"))]
MESSAGE = b"Subject: Hello\r\nFrom: Jane <jane@example.com>\r\n\r\nA question.\r\n"


@pytest.fixture
async def hostile() -> AsyncIterator[ParserPool]:
    """A pool whose processes obey commands in the message."""
    async with ParserPool(processes=1, seconds_max=20.0, command=CHILD) as pool:
        yield pool


async def test_transforms_as_the_function_does() -> None:
    async with ParserPool(processes=2) as pool:
        results = await asyncio.gather(*(pool.transform(MESSAGE) for _ in range(6)))
    assert results == [transform(MESSAGE)] * 6


async def test_a_process_is_replaced_after_so_many_messages() -> None:
    replaced: list[None] = []
    async with ParserPool(processes=1, messages_max=2, replaced=lambda: replaced.append(None)) as pool:
        results = [await pool.transform(MESSAGE) for _ in range(5)]
        assert len(replaced) == 2
    assert results == [transform(MESSAGE)] * 5


async def test_a_header_alone_is_a_message() -> None:
    async with ParserPool() as pool:
        done = await pool.transform(b"Subject: Large\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n")
    assert done.mail.subject == "Large"


async def test_a_large_message_does_not_hold_the_event_loop() -> None:
    encoded = os.urandom(1024).hex().encode() + b"\r\n"
    raw = b"Subject: Large\r\nContent-Type: application/octet-stream; name=a.bin\r\n\r\n" + encoded * 12_000
    late: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - before)

    async with ParserPool(seconds_max=60.0) as pool:
        ticker = asyncio.create_task(tick())
        done = await pool.transform(raw)
        ticker.cancel()
    assert max(late) < 0.5
    attachment = done.mail.attachments[0]
    cut = read_range(done.chunks.__getitem__, attachment.offset, attachment.length)
    assert decode_part(cut, attachment.encoding) == encoded * 12_000
    assert len(done.chunks) == -(-len(raw) // CHUNK_BYTES)


async def test_the_late_message_alone_is_rejected() -> None:
    replaced: list[None] = []
    async with ParserPool(processes=1, seconds_max=1.0, command=CHILD, replaced=lambda: replaced.append(None)) as pool:
        late = asyncio.create_task(pool.transform(b"sleep\r\n\r\n"))
        await asyncio.sleep(0)  # the late one takes the only process first
        others = [asyncio.create_task(pool.transform(MESSAGE)) for _ in range(3)]
        with pytest.raises(ParserRejected) as rejected:
            await late
        assert rejected.value.reason == "timeout"
        assert [(await other).mail.subject for other in others] == ["Hello"] * 3
        assert len(replaced) == 1


@pytest.mark.parametrize(("command", "reason"), [("memory", "memory"), ("crash", "crash"), ("abort", "crash")])
async def test_the_guilty_message_alone_is_rejected(hostile: ParserPool, command: str, reason: str) -> None:
    assert (await hostile.transform(MESSAGE)).mail.subject == "Hello"
    with pytest.raises(ParserRejected) as rejected:
        await hostile.transform(command.encode() + b"\r\n\r\n")
    assert rejected.value.reason == reason
    assert (await hostile.transform(MESSAGE)).mail.subject == "Hello"


async def test_the_production_process_has_a_memory_limit() -> None:
    async with ParserPool(memory_bytes_max=256 * 1024 * 1024, message_bytes_max=1024**3, seconds_max=60.0) as pool:
        with pytest.raises(ParserRejected) as rejected:
            await pool.transform(b"Subject: x\r\n\r\n" + bytes(200 * 1024 * 1024))
        assert rejected.value.reason in ("memory", "crash")
        assert (await pool.transform(MESSAGE)).mail.subject == "Hello"


async def test_a_process_killed_while_idle_costs_no_message(hostile: ParserPool) -> None:
    worker = next(iter(hostile._running))
    worker.process.kill()
    assert (await hostile.transform(MESSAGE)).mail.subject == "Hello"


async def test_the_environment_tells_nothing(hostile: ParserPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTD_MASTER_KEY", "secret")
    assert hostile._running
    async with ParserPool(command=CHILD) as pool:
        subject = (await pool.transform(b"environment\r\n\r\n")).mail.subject
    # Python itself sets LC_CTYPE when it coerces the C locale (PEP 538).
    assert subject.replace("'LC_CTYPE', ", "") == "['MALLOC_MMAP_THRESHOLD_', 'MALLOC_TRIM_THRESHOLD_'] /"


async def test_core_dumps_and_files_are_limited(hostile: ParserPool) -> None:
    assert (await hostile.transform(b"limits\r\n\r\n")).mail.subject == "[0, 32]"


@pytest.mark.parametrize("action", ["socket", "connect", "write", "subprocess", "exec", "fork"])
async def test_the_process_can_do_nothing_else(hostile: ParserPool, action: str) -> None:
    assert (await hostile.transform(f"try {action}\r\n\r\n".encode())).mail.subject == "forbidden"


async def test_cancelling_leaves_a_pool_that_works(hostile: ParserPool) -> None:
    task = asyncio.create_task(hostile.transform(b"sleep\r\n\r\n"))
    while not any(worker.messages for worker in hostile._running):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await hostile.transform(MESSAGE)).mail.subject == "Hello"


async def test_the_process_ends_when_its_input_does() -> None:
    process = await asyncio.create_subprocess_exec(
        *parser_command(),
        str(512 * 1024 * 1024),
        "10",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={},
        cwd="/",
    )
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def test_a_closed_pool_leaves_no_process() -> None:
    pool = ParserPool(processes=2)
    await pool.start()
    processes = [worker.process for worker in pool._running]
    await pool.aclose()
    assert [process.returncode for process in processes] == [0, 0]
    with pytest.raises(ParserUnavailable):
        await pool.transform(MESSAGE)


async def test_a_parser_that_cannot_start_is_not_the_messages_fault() -> None:
    with pytest.raises(ParserUnavailable):
        await ParserPool(command=["/nonexistent/python"]).start()
    with pytest.raises(ParserUnavailable):
        await ParserPool(command=["/bin/false"]).start()


async def test_a_message_over_the_limit_is_refused_before_it_is_sent() -> None:
    async with ParserPool(message_bytes_max=10) as pool:
        with pytest.raises(ValueError, match="message_bytes_max"):
            await pool.transform(MESSAGE)


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_messages_of_a_batch_come_back_in_their_order(processes: int) -> None:
    raws = [b"Subject: %d\r\n\r\n%s" % (number, bytes(300_000 * (number == 5))) for number in range(20)]
    async with ParserPool(processes=processes) as pool:
        assert await pool.transform_all(raws) == [transform(raw) for raw in raws]
        assert await pool.transform_all([]) == []


async def test_a_batch_is_masked_where_it_is_to_be() -> None:
    paid = [b"Subject: %d\r\n\r\nMy card is 4111 1111 1111 1111.\r\n" % number for number in range(3)]
    async with ParserPool(processes=1) as pool:
        masked = await pool.transform_all(paid, masked=True)
        assert masked == [transform(raw, masked=True) for raw in paid]
        assert await pool.transform_all(paid) == [transform(raw) for raw in paid]


@pytest.mark.parametrize(("command", "reason"), [("crash", "crash"), ("abort", "crash"), ("memory", "memory")])
async def test_the_guilty_message_of_a_batch_alone_is_rejected(hostile: ParserPool, command: str, reason: str) -> None:
    raws = [MESSAGE, MESSAGE, command.encode() + b"\r\n\r\n", MESSAGE]
    done = await hostile.transform_all(raws)
    assert [one.reason if isinstance(one, ParserRejected) else one.mail.subject for one in done] == [
        "Hello",
        "Hello",
        reason,
        "Hello",
    ]


async def test_a_message_of_a_batch_that_takes_too_long_is_asked_for_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.inbound.parser._TOGETHER_SECONDS_MAX", 1.0)
    gate = tmp_path / "gate"
    async with ParserPool(processes=1, seconds_max=60.0, command=CHILD, replaced=gate.touch) as pool:
        raws = [MESSAGE, b"Subject: slow\r\nX-Wait-For: %s\r\n\r\n" % str(gate).encode(), MESSAGE]
        done = await pool.transform_all(raws, owner="hostile")
        assert [one if isinstance(one, ParserRejected) else one.mail.subject for one in done] == [
            "Hello",
            "slow",
            "Hello",
        ]
        assert pool._places.is_slow("hostile")


async def test_a_mailbox_in_the_slow_lane_has_its_messages_asked_for_one_by_one(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with ParserPool(processes=1, command=CHILD) as pool:
        busy = asyncio.create_task(pool.transform(b"X-Wait-For: %s\r\n\r\n" % str(gate).encode()))
        while pool._places._free:
            await asyncio.sleep(0)
        pool._places._slow_until["slow"] = time.monotonic() + 60
        batches = [asyncio.create_task(pool.transform_all([MESSAGE] * 8, owner=owner)) for owner in ("slow", "quick")]
        while pool.waiting(live=True) < 16:
            await asyncio.sleep(0)
        queues = pool._places._waiting[True]
        waiting = {owner: [place.messages for place in queues[owner]] for owner in ("slow", "quick")}
        gate.touch()
        await asyncio.gather(busy, *batches)
    assert waiting == {"slow": [1] * 8, "quick": [8]}


async def test_a_batch_finds_a_pool_that_cannot_start_unavailable(tmp_path: Path) -> None:
    command = tmp_path / "parser"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(CHILD)} "$@"\n')
    command.chmod(0o755)
    async with ParserPool(processes=1, command=[str(command)]) as pool:
        command.unlink()
        with pytest.raises(ParserUnavailable):
            await pool.transform_all([b"abort\r\n\r\n"])
    with pytest.raises(ParserUnavailable):
        await pool.transform_all([MESSAGE])


async def test_a_batch_with_a_message_over_the_limit_is_refused_before_any_is_sent() -> None:
    async with ParserPool(message_bytes_max=100) as pool:
        with pytest.raises(ValueError, match="message_bytes_max"):
            await pool.transform_all([MESSAGE, MESSAGE + bytes(100)])
