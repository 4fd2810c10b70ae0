"""The address that somebody pastes, and linking by it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ingestd.linking.errors import CallbackRejected
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.linking.paste import ADDRESS_CHARS_MAX, read_pasted
from tests.linking.bench import ADDRESS, LOCALHOST, PUBLIC, Bench, running_bench
from tests.stores import Stores

GOOD = f"{LOCALHOST}?state=s-1&code=c-1&iss=https%3A%2F%2Fid.example.com"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}#_=_ \n",
        GOOD.replace("&code", "&\n  code"),
        GOOD.replace("localhost", "LOCALHOST"),
        f"{GOOD}&session_state=x",
        GOOD.replace("/done", "/done/"),
    ],
)
def test_good_addresses(text: str) -> None:
    answer = read_pasted(text, redirect_uri=LOCALHOST, state="s-1")
    assert (answer.code, answer.error, answer.iss) == ("c-1", None, "https://id.example.com")


def test_a_refusal_is_an_answer() -> None:
    answer = read_pasted(f"{LOCALHOST}?error=access_denied&state=s-1", redirect_uri=LOCALHOST, state="s-1")
    assert (answer.code, answer.error) == (None, "access_denied")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c-1",
        "http://[broken?state=s-1&code=c-1",
        f"{LOCALHOST}?code=c-1",
        f"{LOCALHOST}?state=s-1",
        f"{LOCALHOST}?state=s-2&code=c-1",
        f"{LOCALHOST}?state=s-1&state=s-1&code=c-1",
        f"{LOCALHOST}?state=s-1&code=c-1&code=c-2",
        f"{LOCALHOST}?state=s-1&code=c-1&error=access_denied",
        GOOD.replace("http:", "https:"),
        GOOD.replace("localhost", "localhost.example.net"),
        GOOD.replace("localhost", "localhost@evil.example.net"),
        GOOD.replace("localhost/", "localhost:8080/"),
        GOOD.replace("/done", "/other"),
        GOOD + "&x" * 200,
        GOOD + "&x=" + "y" * ADDRESS_CHARS_MAX,
    ],
)
def test_what_is_no_answer_of_this_linking(text: str) -> None:
    with pytest.raises(CallbackRejected) as caught:
        read_pasted(text, redirect_uri=LOCALHOST, state="s-1")
    assert "c-1" not in str(caught.value)


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    async with running_bench(stores) as made:
        made.server.consent_as = ADDRESS
        yield made


async def test_a_mailbox_is_linked_by_a_page_that_nobody_serves(bench: Bench) -> None:
    started = await bench.linking.start_pasting(bench.account_id, LinkRequest(provider="paste"))
    assert started.redirect_uri == LOCALHOST
    came = await bench.visit(started.address)
    assert came.startswith(LOCALHOST)
    with pytest.raises(CallbackRejected):
        await bench.linking.finish_pasting(started, came.replace("state=", "state=x"))
    # What was mistyped costs nothing; what was used is used up.
    assert await bench.linking.finish_pasting(started, came) == started.mailbox_id
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.finish_pasting(started, came)
    assert (await bench.record(started.mailbox_id)).address == ADDRESS


async def test_the_usual_callback_can_be_pasted_too(bench: Bench) -> None:
    started = await bench.linking.start_pasting(bench.account_id, LinkRequest(provider="local"))
    assert started.redirect_uri == f"{PUBLIC}/oauth/callback"
    mailbox_id = await bench.linking.finish_pasting(started, await bench.visit(started.address))
    again = LinkRequest(provider="other", mailbox_id=mailbox_id)
    relinked = await bench.linking.start_pasting(bench.account_id, again)
    assert await bench.linking.finish_pasting(relinked, await bench.visit(relinked.address)) == mailbox_id


async def test_an_answer_counts_in_the_process_that_asked_only(bench: Bench) -> None:
    started = await bench.linking.start_pasting(bench.account_id, LinkRequest(provider="local"))
    came = await bench.visit(started.address)
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.finish_pasting(replace(started, secret="another process"), came)
    # Nor in a browser that comes to the callback with it.
    with pytest.raises(LinkRefused, match="unknown_or_used"):
        await bench.linking.complete(state=started.state, browser="b", code="c", error=None, iss=None)


async def test_the_issuer_of_a_pasted_address_is_checked(bench: Bench) -> None:
    started = await bench.linking.start_pasting(bench.account_id, LinkRequest(provider="local"))
    came = await bench.visit(started.address)
    with pytest.raises(LinkRefused, match="callback_rejected"):
        await bench.linking.finish_pasting(started, re.sub("iss=[^&]*", "iss=https://evil.example.net", came))
