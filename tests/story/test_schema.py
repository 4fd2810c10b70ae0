"""Every route of the API against what its OpenAPI document says, by schemathesis: whatever comes in, no answer is a
defect of ours, and none is another than the document promises."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.stores import StoreUrls
from tests.story.house import House, Servers, open_house
from tests.story.mails import mail

_CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
_LEFT_OUT: Final = (
    "close_v1_accounts__account_id__delete",
    "disconnect_v1_accounts__account_id__mailboxes__mailbox_id__delete",
)
"""They forget what the others are asked about."""
SECONDS_MAX: Final = 1800
_SUCCESS_MIN: Final = 0.6
"""Share of the routes that must have answered 2xx at least once: of some, nothing is there to be found."""


@pytest.mark.postgresql_is_long
async def test_answers_are_as_the_document_says(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    """Few requests of each; `make test-long` has many."""
    await _check(servers, new_user, store_urls, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "3")


@pytest.mark.long
async def test_every_answer_is_as_the_document_says(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, tmp_path: Path
) -> None:
    await _check(servers, new_user, store_urls, tmp_path, "--max-examples", "30")


async def _check(
    servers: Servers, new_user: Callable[[], str], store_urls: StoreUrls, folder: Path, *options: str
) -> None:
    user, customer = new_user(), new_user()
    fast = {"token_requests_per_second_max": 100_000, "token_burst_max": 100_000, "failures_per_minute_max": 100_000}
    async with open_house(folder, store_urls, servers, api=fast) as house:
        await house.daemon.start()
        mailbox_id = await house.linked(user)
        house.deliver(user, mail(customer, user, "Schema", "Does it hold?"))
        (ticket,) = await house.tickets(mailbox_id)
        reply = await house.reply(ticket.ticket.number, "It does.")
        known = {
            "account_id": str(house.account_id),
            "mailbox_id": str(mailbox_id),
            "number": ticket.ticket.number,
            "message_id": str(reply),
        }
        token = (await house.daemon.run_cli("token", "create", "schema", "--operator", *_every_scope())).out.strip()
        house.words.add(token)
        routes = await _run(house, folder, token, known, options)
        answered = Counter(
            (entry["method"], entry["route"])
            for entry in await house.daemon.wait_log("http.request")
            if 200 <= entry["status_code"] < 300
        )
        missed = [route for route in routes if not answered[route]]
        assert len(missed) <= len(routes) * (1 - _SUCCESS_MIN), missed


def _every_scope() -> list[str]:
    return [part for scope in ("read", "reply", "manage", "admin") for part in ("--scope", scope)]


async def _run(
    house: House, folder: Path, token: str, known: Mapping[str, Any], options: Sequence[str]
) -> list[tuple[str, str]]:
    """Run schemathesis; return the routes of the document, as the log spells them."""
    url = f"http://127.0.0.1:{house.port}"
    lines = [f'headers = {{ Authorization = "Bearer {token}" }}', "[parameters]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in known.items()]
    config = folder / "schemathesis.toml"
    config.write_text("\n".join(lines) + "\n")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "st"),
        *("--config-file", str(config), "run", f"{url}/v1/openapi.json", "--url", url, "--no-color"),
        *("--checks", ",".join(_CHECKS), "--seed", "1", "--generation-database", "none", "--request-timeout", "20"),
        *(part for one in _LEFT_OUT for part in ("--exclude-operation-id", one)),
        *options,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LANG": "C.UTF-8"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS_MAX):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-20_000:]
    async with httpx2.AsyncClient(trust_env=False) as client:
        document = (await client.get(f"{url}/v1/openapi.json")).json()
    return [(method, path) for path, methods in document["paths"].items() for method in methods]
