from __future__ import annotations

import asyncio

import pytest

from ingestd.telemetry.health import CHECKS_MAX, Health


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_loop_is_stalled_when_its_tick_is_old() -> None:
    clock = Clock()
    health = Health(stalled_seconds=10, clock=clock)
    assert health.livez() == (True, {"loop": "ok"})
    clock.now += 10.1
    assert health.livez() == (False, {"loop": "stalled"})
    health.tick()
    assert health.livez() == (True, {"loop": "ok"})


def test_ready_only_when_every_check_is_good_and_fresh() -> None:
    clock = Clock()
    health = Health(["database", "lease"], stale_seconds=60, clock=clock)
    assert health.readyz() == (False, {"database": "missing", "lease": "missing"})
    health.set("database", good=True)
    health.set("lease", good=False, word="lost")
    assert health.readyz() == (False, {"database": "ok", "lease": "lost"})
    health.set("lease", good=True)
    assert health.readyz() == (True, {"database": "ok", "lease": "ok"})
    clock.now += 61
    health.set("lease", good=False)
    assert health.readyz() == (False, {"database": "stale", "lease": "failing"})


def test_a_stopping_daemon_is_alive_and_not_ready() -> None:
    health = Health(["database"])
    health.set("database", good=True)
    health.stopping()
    assert health.livez()[0]
    assert health.readyz() == (False, {"database": "ok", "daemon": "stopping"})


def test_words_only_and_few() -> None:
    health = Health()
    with pytest.raises(ValueError, match="fixed word") as caught:
        health.set("database", good=False, word="could not connect to anna@example.com")
    assert "anna" not in str(caught.value)
    with pytest.raises(ValueError, match="fixed word"):
        health.set("anna@example.com", good=True)
    for number in range(CHECKS_MAX):
        health.set(f"check{number}", good=True)
    with pytest.raises(ValueError, match="more than"):
        health.set("another", good=True)
    assert len(health.readyz()[1]) == CHECKS_MAX


async def test_the_daemons_task_ticks() -> None:
    clock = Clock()
    health = Health(tick_seconds=0.001, clock=clock)
    clock.now += 100
    assert not health.livez()[0]
    task = asyncio.create_task(health.run())
    async with asyncio.timeout(5):
        while not health.livez()[0]:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
