"""The parts of delivering that do nothing by themselves: addresses, lanes, health."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Backoff
from ingestd.events.health import DOWN_AFTER, Health
from ingestd.events.lanes import Entry, Lanes, lane_of
from ingestd.events.urls import UrlRefused, read_url
from storage.deliveries import Pending
from storage.events import Event
from storage.types import new_id

AT = datetime(2026, 11, 1, tzinfo=UTC)
PROBE = Backoff(initial_seconds=5, max_seconds=300)
TICKETS = [new_id() for _ in range(4)]


def closed(_host: str, _port: int) -> bool:
    return False


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://desk.example.com/", "https"),
        ("ftp://desk.example.com/", "https"),
        ("desk.example.com", "https"),
        ("https://user:pass@desk.example.com/", "user"),
        ("https://desk.example.com/#x", "fragment"),
        ("https://desk.example.com:22/", "port"),
        ("https://desk.example.com:99999/", "port"),
        ("https://büro.example.com/", "DNS"),
        ("https://desk.example.com/büro", "ASCII"),
        ("https://desk.example.com\\@127.0.0.1/", "backslash"),
        ("https://desk.example.com/ x", "space"),
        ("https://localhost/", "full name"),
        ("https://127.0.0.1/", "public"),
        ("https://127.1/", "name"),
        ("https://2130706433/", "name"),
        ("https://0x7f.0x1/", "name"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://[::ffff:169.254.169.254]/", "public"),
        ("https://[64:ff9b::7f00:1]/", "public"),
        ("https://[fe80::1%25eth0]/", "public"),
        ("https://[::1]/", "public"),
        ("https://10.0.0.1:8443/", "public"),
        ("https:///x", "host"),
        ("https://-x.example.com/", "name"),
    ],
)
def test_addresses_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        read_url(url, closed)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://desk.example.com", 443),
        ("https://desk.example.com/hooks?key=1", 443),
        ("HTTPS://Desk.Example.com:8443/", 8443),
        ("https://xn--bro-hoa.example.com/", 443),
        ("https://1.1.1.1/", 443),
        ("https://[2606:4700::1111]:1024/", 1024),
    ],
)
def test_addresses_that_are_taken(url: str, port: int) -> None:
    assert read_url(url, closed).port == port


def test_what_the_operator_opened_may_be_private_and_have_http() -> None:
    def opened(host: str, port: int) -> bool:
        return (host, port) in {("desk", 80), ("10.0.0.1", 25), ("::1", 8025)}

    assert read_url("http://desk/hooks", opened).port == 80
    assert read_url("http://10.0.0.1:25/", opened).host == "10.0.0.1"
    assert read_url("http://[::1]:8025/", opened).port == 8025
    for url in ("http://desk:81/", "http://user@desk/", "http://desk/#x"):
        with pytest.raises(UrlRefused):
            read_url(url, opened)


@given(st.text(max_size=60))
def test_an_address_is_taken_or_refused_and_nothing_else(text: str) -> None:
    for url in (text, f"https://{text}", f"https://desk.example.com/{text}"):
        try:
            target = read_url(url, closed)
        except UrlRefused:
            continue
        assert target.port == 443 or target.port >= 1024
        assert target.host.isascii()


def entry(sequence: int, ticket: int, due: float = 0.0) -> Entry:
    event = Event(sequence, "reply.sent", AT, None, TICKETS[ticket], None, None)
    return Entry(Pending(event, 0, AT, AT), due)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_lanes_give_each_once_and_those_of_a_ticket_in_order(tickets: list[int], rng: object) -> None:
    """Whatever fails, ends early or late, or is forgotten and read anew in between."""
    lanes, now = Lanes(), 0.0
    done: list[int] = []
    waiting = [entry(number, ticket) for number, ticket in enumerate(tickets)]
    lanes.add(waiting)
    under_way: list[Entry] = []
    for _ in range(2000):
        if len(done) == len(tickets):
            break
        choice = rng.random()  # type: ignore[attr-defined]
        if choice < 0.45 and (one := lanes.take(now)) is not None:
            assert lane_of(one.event) not in {lane_of(other.event) for other in under_way}
            under_way.append(one)
        elif under_way and choice < 0.75:
            one = under_way.pop(int(choice * 1000) % len(under_way))
            if one.event.sequence in done:  # it was read anew meanwhile, and told before it was known
                lanes.free(one)
                continue
            done.append(one.event.sequence)
            lanes.done(one)
        elif under_way and choice < 0.85:
            one = under_way.pop()
            one.due = now + 5
            lanes.free(one)
        elif choice < 0.9:
            lanes.hurry(now)
        now += 1
    assert len(done) == len(set(done)) == len(tickets)
    assert len(lanes) == 0
    for ticket in range(4):
        mine = [number for number in done if tickets[number] == ticket]
        assert mine == sorted(mine)


def test_a_lane_that_was_read_anew_waits_for_what_is_under_way() -> None:
    lanes = Lanes()
    lanes.add([entry(1, 0), entry(2, 0), entry(3, 1)])
    first = lanes.take(0)
    assert first is not None
    lanes.clear()
    lanes.add([entry(1, 0), entry(2, 0), entry(3, 1)])
    other = lanes.take(0)
    assert other is not None
    assert other.event.sequence == 3
    assert lanes.take(0) is None
    lanes.done(first)  # of before: what is there now is told in any case
    again = lanes.take(0)
    assert again is not None
    assert again.event.sequence == 1


def test_a_receiver_is_down_after_some_failures_and_is_probed_ever_slower() -> None:
    health = Health()
    failed = {"probe_backoff": PROBE, "retry_after": None, "random": 0.0}
    turns = [health.failed(n, 0.0, probe=False, **failed) for n in range(DOWN_AFTER + 2)]  # type: ignore[arg-type]
    assert turns == [False, False, True, False, False]
    assert health.not_before == 5.0
    pauses = []
    for _ in range(8):
        health.failed(9, 100.0, probe=True, **failed)  # type: ignore[arg-type]
        pauses.append(health.not_before - 100.0)
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert health.succeeded()
    assert (health.recovered, health.down, health.not_before) == (True, False, float("-inf"))


def test_one_event_that_a_receiver_cannot_digest_hurries_nothing() -> None:
    health = Health()
    for _ in range(5):
        health.failed(1, 0.0, PROBE, probe=False, retry_after=None, random=0.0)
    assert health.succeeded()
    assert not health.recovered
