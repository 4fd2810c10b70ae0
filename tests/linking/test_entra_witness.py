"""Microsoft's sign-in through msal, against an Entra that others wrote: the npm package `emulate`, behind TLS.

It holds the metadata, the consent, the exchange with PKCE and nonce, ID tokens, and refresh tokens that are replaced
at every use. What it lacks, and the demo's server stands in for: numbered errors (AADSTS…), device codes, tokens that
are good for one resource, directories in its addresses below the metadata, and ID tokens of several directories.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from config.presets import MicrosoftProvider
from config.providers import resolve
from connectors.base import PermanentError
from connectors.tls import client_context
from ingestd.demo.authserver import AuthServer
from ingestd.demo.certificates import make_certificates
from ingestd.linking.http import new_http
from ingestd.linking.keeper import TokenKeeper
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.telemetry.metrics import Metrics
from tests.linking.bench import ADDRESS, OTHER, OUTLOOK, PUBLIC, Bench, Played, bench_of, clients_of
from tests.servers.emulate import Emulator
from tests.servers.fixtures import missing
from tests.servers.process import ServerMissingError
from tests.servers.proxy import Proxy
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long  # what is stored is stored as in test_entra
APP = {"client_id": "c", "client_secret": "s"}


@pytest.fixture
async def bench(stores: Stores, tmp_path: Path) -> AsyncIterator[Bench]:
    application = {**APP, "name": "Helpdesk", "redirect_uris": [f"{PUBLIC}/oauth/callback"]}
    seed = {"users": [{"email": one} for one in (ADDRESS, OTHER)], "oauth_clients": [application]}
    try:
        emulator = Emulator("microsoft", seed)
    except ServerMissingError as error:
        missing(error)
        raise
    certificates = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert_file, certificates.key_file)
    async with Proxy(emulator.port, server_context=context).running() as front:
        authority = emulator.base_url = f"https://127.0.0.1:{front.port}"
        values = {"kind": "microsoft", "oauth": {"authority": authority, **APP}, "tls_ca_file": certificates.ca_file}
        provider = resolve("microsoft", MicrosoftProvider.model_validate(values), sent_wait_seconds=1)
        clients = clients_of({"microsoft": provider})
        await asyncio.to_thread(emulator.start)
        try:
            nobody = AuthServer((), ())  # of the demo; the emulator is in its place
            yield await bench_of(stores, Played(nobody, clients, {"microsoft": provider}, certificates.ca_file))
        finally:
            await clients.close()
            emulator.destroy()


class _Choices(HTMLParser):
    """The forms of the emulator's page, one for each user."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((values["action"], {}))
        elif tag == "input" and "name" in values:
            self.forms[-1][1][values["name"]] = values.get("value", "")


async def consented(bench: Bench, address: str, **request: object) -> tuple[str, str]:
    """Begin a linking, and sign in as the owner of `address`; return the state and the code that come back."""
    started = await bench.linking.start(bench.account_id, LinkRequest(provider="microsoft", **request))  # type: ignore[arg-type]
    state = parse_qs(urlsplit(started.address).query)["state"][0]
    url = await bench.linking.open(state, "b")
    async with new_http(ssl_context=client_context(bench.ca_file)) as owner:
        page = _Choices()
        page.feed((await owner.get(url)).text)
        action, fields = next(one for one in page.forms if one[1].get("email") == address)
        answer = await owner.post(urljoin(url, action), data=fields)
    assert answer.status_code == 302, answer.text
    back = parse_qs(urlsplit(answer.headers["location"]).query)
    assert back["state"] == [state]
    return state, back["code"][0]


def restarted(bench: Bench) -> TokenKeeper:
    """Return a keeper that knows nothing but what is stored."""
    metrics = Metrics(version="0", python_version="3")
    return TokenKeeper(bench.stores.content, bench.keys, bench.clients, metrics, refresh_ahead_seconds=60)


async def test_a_rotated_token_is_stored_at_every_use(bench: Bench) -> None:
    state, code = await consented(bench, ADDRESS)
    mailbox_id = await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=None)
    record, kept = await bench.record(mailbox_id), await bench.grant(mailbox_id)
    assert (record.address, record.login) == (ADDRESS, ADDRESS)
    assert set(OUTLOOK) <= set(kept.scopes)

    seen = {kept.refresh_token}
    for _ in range(3):
        source = restarted(bench).source(bench.account_id, mailbox_id, "microsoft")
        before = await bench.grant(mailbox_id)
        # Ten that want a token share one refresh: the emulator ends a refresh token at its use.
        fresh = {one.value for one in await asyncio.gather(*(source(rejected=before.access_token) for _ in range(10)))}
        after = await bench.grant(mailbox_id)
        assert fresh == {after.access_token} != {before.access_token}
        assert after.refresh_token not in seen
        seen.add(after.refresh_token)

    await bench.put_grant(mailbox_id, refresh_token=kept.refresh_token)  # as if the first had never been replaced
    source = restarted(bench).source(bench.account_id, mailbox_id, "microsoft")
    with pytest.raises(PermanentError, match="the grant is gone"):
        await source(rejected=(await bench.grant(mailbox_id)).access_token)


async def test_a_code_is_good_once_and_for_its_linking(bench: Bench) -> None:
    state, code = await consented(bench, ADDRESS)
    other_state, _ = await consented(bench, OTHER)
    with pytest.raises(LinkRefused, match="code_refused"):  # the challenge was another one
        await bench.linking.complete(state=other_state, browser="b", code=code, error=None, iss=None)
    await bench.linking.complete(state=state, browser="b", code=code, error=None, iss=None)
    last_state, _ = await consented(bench, OTHER)
    with pytest.raises(LinkRefused, match="code_refused"):
        await bench.linking.complete(state=last_state, browser="b", code=code, error=None, iss=None)
