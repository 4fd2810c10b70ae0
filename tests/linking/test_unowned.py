"""Mailboxes that nobody signs in as, through Microsoft's own library: application permissions and shared mailboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from config import OAuth
from connectors.base import AuthError, PermanentError, Trouble
from connectors.graph_access import GraphAccess
from ingestd.cures import explain
from ingestd.demo.certificates import make_certificates
from ingestd.demo.dialects import WORK_TENANT
from ingestd.demo.graph_faults import Fault
from ingestd.demo.graphserver import Bearer, GraphServer
from ingestd.linking.client import as_of_application
from ingestd.linking.diagnosis import Diagnostician
from ingestd.linking.entra import MsalClient
from ingestd.linking.errors import (
    AdminBlocked,
    ClientRejected,
    LinkingError,
    MailboxDenied,
    MailboxUnknown,
    NotLinkable,
    ProviderDown,
    TokenEndpointBusy,
    reason_of,
)
from ingestd.linking.link import LinkRefused, LinkRequest
from ingestd.linking.tokens import verdict
from ingestd.linking.unowned import Unowned, look_into, unowned
from storage import flows
from storage.requests import Claim
from storage.types import new_id
from tests.linking.bench import ADDRESS, GRAPH, GRAPH_SHARED, OTHER, Bench, providers, running_bench
from tests.stores import Stores

pytestmark = pytest.mark.postgresql_is_long
ACCOUNT = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
async def bench(stores: Stores, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(stores, make_certificates(tmp_path)) as made:
        yield made


async def link(bench: Bench, address: str = ADDRESS, again: UUID | None = None) -> UUID:
    request = LinkRequest(provider="organisation", mailbox=address, mailbox_id=again)
    started = await bench.linking.start(bench.account_id, request)
    assert started.address == ""
    flow = await bench.stores.content.read(bench.account_id, flows.get_flow, started.flow_id)
    assert flow.status == "completed"
    return started.mailbox_id


async def test_application_permissions_link_at_once(bench: Bench) -> None:
    mailbox_id = await link(bench)
    record, kept = await bench.record(mailbox_id), await bench.grant(mailbox_id)
    assert (record.address, record.graph_user, record.subject) == (ADDRESS, ADDRESS, f"mailbox:{ADDRESS}")
    assert record.issuer == f"{bench.server.issuer}/{WORK_TENANT}/v2.0"
    assert (kept.refresh_token, kept.application_mailbox) == (None, ADDRESS)
    info = bench.server.check(kept.access_token)
    assert info is not None
    assert info.is_application
    # One that is good is kept; together, one new one is got.
    source = bench.keeper.source(
        bench.account_id, mailbox_id, "organisation", ("https://graph.microsoft.com/.default",)
    )
    assert (await source()).value == kept.access_token
    fresh = {one.value for one in await asyncio.gather(*(source(rejected=kept.access_token) for _ in range(5)))}
    assert fresh == {(await bench.grant(mailbox_id)).access_token} != {kept.access_token}
    assert bench.server.requests["token.client_credentials"] == 2
    assert await link(bench, again=mailbox_id) == mailbox_id


async def test_a_linking_by_application_permissions_that_was_cut_off_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(state: str) -> None:
        states.append(state)
        raise ConnectionError

    states: list[str] = []
    claim = Claim(b"key", b"request", str(new_id()))
    request = LinkRequest(provider="organisation", mailbox=ADDRESS)
    with monkeypatch.context() as patched:
        patched.setattr(bench.linking, "_by_application", killed)
        with pytest.raises(ConnectionError):
            await bench.linking.start(bench.account_id, request, claim=claim)
    # Nobody's browser must answer it: it would store its user's token for the mailbox.
    with pytest.raises(LinkRefused, match="nobody_to_ask"):
        await bench.linking.open(states[0], "b")
    started = await bench.linking.start(bench.account_id, request, claim=claim)
    assert (started.repeated, started.address) == (True, "")
    assert (await bench.record(started.mailbox_id)).address == ADDRESS


async def test_a_certificate_in_place_of_a_secret(bench: Bench) -> None:
    mailbox_id = await link(bench)
    key, certificate = signing_pair()
    other, _ = signing_pair()
    bench.server.clients["c"] = replace(bench.server.clients["c"], client_secret=None, certificate=certificate)
    client = await bench.clients.get("organisation")
    assert isinstance(client, MsalClient)
    for pem, is_good in ((key + certificate, True), (certificate + key, True), (other + certificate, False)):
        client.config = replace(client.config, client_secret=None, client_certificate=pem.decode())
        if is_good:
            assert (await client.refresh(await bench.grant(mailbox_id))).access_token
        else:
            with pytest.raises(ClientRejected, match="7000215"):
                await client.refresh(await bench.grant(mailbox_id))


def signing_pair() -> tuple[bytes, bytes]:
    """Return a private key and its certificate, as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ingestd")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_what_the_configuration_does_not_name_is_not_opened(bench: Bench) -> None:
    for address, reason in (
        (OTHER, "mailbox_not_named"),
        ("a@example.com", "mailbox_not_named"),
        ("", "mailbox_wanted"),
    ):
        with pytest.raises(LinkRefused, match=reason):
            await link(bench, address)
    assert bench.server.requests["token.client_credentials"] == 0
    with pytest.raises(LinkRefused, match="nobody_to_ask"):
        await bench.linking.start_device(bench.account_id, LinkRequest(provider="organisation", mailbox=ADDRESS))


async def test_a_mailbox_that_the_configuration_names_no_more_gets_no_token(bench: Bench) -> None:
    mailbox_id = await link(bench)
    provider = bench.providers["organisation"]
    oauth = provider.oauth.model_copy(update={"mailboxes": {OTHER: "*"}})
    bench.providers["organisation"] = provider.model_copy(update={"oauth": oauth})
    bench.clients.forget()
    before = bench.server.requests["token.client_credentials"]
    source = bench.keeper.source(bench.account_id, mailbox_id, "organisation")
    with pytest.raises(PermanentError, match="does not name the mailbox") as caught:
        await source(rejected=(await bench.grant(mailbox_id)).access_token)
    assert caught.value.trouble is Trouble.ADMIN_BLOCKED
    assert bench.server.requests["token.client_credentials"] == before


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (700016, ClientRejected),
        (7000215, ClientRejected),
        (7000222, ClientRejected),
        (1002012, ClientRejected),
        (7000229, AdminBlocked),
        (7000112, AdminBlocked),
        (53003, AdminBlocked),
        (65001, AdminBlocked),
        (70008, ClientRejected),
    ],
)
def test_microsofts_numbers_where_nobody_consents(number: int, error: type[LinkingError]) -> None:
    said = verdict(400, {"error": "invalid_grant", "error_codes": [number]}, refreshing=False)
    assert type(as_of_application(said)) is error


async def test_what_microsoft_does_not_open_is_not_linked(bench: Bench) -> None:
    bench.server.entra_error = 7000229
    with pytest.raises(LinkRefused, match="admin_blocked"):
        await link(bench)
    bench.server.entra_error = 0
    for refusal in (MailboxDenied("no"), MailboxUnknown("no"), ProviderDown("no")):
        bench.doors[ADDRESS] = refusal
        with pytest.raises(LinkRefused, match=reason_of(refusal)):
            await link(bench)
    del bench.doors[ADDRESS]
    assert await link(bench)
    with pytest.raises(LinkRefused, match="already_linked"):
        await link(bench, ADDRESS.upper())


async def test_what_microsoft_graph_says_of_a_mailbox() -> None:
    """Against our fake of it."""
    bearers = {"app": Bearer(""), "user": Bearer(OTHER, GRAPH_SHARED), "narrow": Bearer(OTHER, GRAPH)}
    graph = GraphServer([ADDRESS, OTHER], bearers.get)

    async def ask(token: str, address: str = ADDRESS) -> type[Exception] | None:
        access = GraphAccess(graph.url, address, throttle_seconds_max=0.1)
        try:
            await look_into(access, transport, token)
        except LinkingError as error:
            return type(error)
        return None

    async with graph.running(), httpx2.AsyncHTTPTransport() as transport:
        assert [await ask(token) for token in ("app", "user", "narrow")] == [MailboxDenied] * 3
        graph.in_scope.add(ADDRESS)
        graph.shared[ADDRESS].add(OTHER)
        assert [await ask(token) for token in ("app", "user", "narrow")] == [None, None, MailboxDenied]
        assert await ask("app", "nobody@example.com") is MailboxUnknown
        assert await ask("app", "me") is ProviderDown, "an application has no mailbox of its own"
        assert await ask("dead") is AdminBlocked
        for status, code, error in (
            (404, "MailboxNotEnabledForRESTAPI", MailboxUnknown),
            (404, "ErrorItemNotFound", MailboxDenied),
            (429, "ApplicationThrottled", TokenEndpointBusy),
            (504, "UnknownError", ProviderDown),
        ):
            graph.fail(ADDRESS, Fault(status, code, times=9))
            assert await ask("app") is error
            graph.faults.clear(ADDRESS)


async def test_a_shared_mailbox_is_known_by_its_address(bench: Bench) -> None:
    shared = "desk@example.com"
    mailbox_id = await bench.consent(ADDRESS, provider="shared", shared=shared)
    record = await bench.record(mailbox_id)
    assert (record.address, record.login, record.graph_user) == (shared, shared, shared)
    assert set((await bench.grant(mailbox_id)).scopes) == set(GRAPH_SHARED)
    assert record.issuer == f"{bench.server.issuer}/{WORK_TENANT}/v2.0"
    # The token is a user's: a look at whose it is must not say that it is the wrong mailbox's.
    diagnostician = Diagnostician(bench.stores.content, bench.keys, bench.clients, bench.keeper)
    assert isinstance(await diagnostician.why_refused(bench.account_id, mailbox_id, "shared"), AuthError)
    with pytest.raises(LinkRefused, match="already_linked"):
        await bench.consent(OTHER, provider="shared", shared=shared)
    assert await bench.consent(OTHER, provider="shared", mailbox_id=mailbox_id) == mailbox_id
    assert (await bench.record(mailbox_id)).address == shared
    # The user's own is another one, and the same as if it were shared.
    own = await bench.consent(ADDRESS, provider="shared")
    assert (await bench.record(own)).graph_user == ""
    for provider, more in (("shared", {"shared": ADDRESS}), ("microsoft", {})):
        with pytest.raises(LinkRefused, match="already_linked"):
            await bench.consent(ADDRESS, provider=provider, **more)


async def test_a_shared_mailbox_that_its_user_may_not_open(bench: Bench) -> None:
    bench.doors["desk@example.com"] = MailboxDenied("no")
    with pytest.raises(LinkRefused, match="mailbox_denied"):
        await bench.consent(ADDRESS, provider="shared", shared="desk@example.com")
    with pytest.raises(LinkRefused, match="mailbox_unknown"):
        await bench.consent(ADDRESS, provider="shared", shared="desk@example.com/../me")
    with pytest.raises(LinkRefused, match="shared_not_configured"):
        await bench.consent(ADDRESS, provider="microsoft", shared="desk@example.com")


async def test_a_consent_without_the_shared_scopes(bench: Bench) -> None:
    bench.server.scopes = tuple(one for one in bench.server.scopes if one != GRAPH_SHARED[1])
    with pytest.raises(LinkRefused, match="partial_consent"):
        await bench.consent(ADDRESS, provider="shared", shared="desk@example.com")


def test_what_a_request_means() -> None:
    app = {"client_id": "c", "client_secret": "s", "client": "msal", "authority": "https://login.example.com"}
    named = {ADDRESS: ACCOUNT}
    oauth = OAuth.model_validate({**app, "tenant": "example.com", "flow": "application", "mailboxes": named})
    wanted = unowned(oauth, ACCOUNT, shared="", mailbox=ADDRESS.upper(), known=None)
    assert wanted == Unowned(application=ADDRESS)
    for account, shared, reason in ((ACCOUNT, ADDRESS, "wanted"), (ACCOUNT.replace("7", "8"), "", "not_named")):
        with pytest.raises(NotLinkable, match=reason):
            unowned(oauth, account, shared=shared, mailbox=ADDRESS, known=None)
    delegated = OAuth.model_validate({**app, "tenant": "example.com", "scopes": GRAPH_SHARED})
    assert unowned(delegated, ACCOUNT, shared="", mailbox="", known=None) == Unowned()
    with pytest.raises(NotLinkable, match="not_taken"):
        unowned(delegated, ACCOUNT, shared="", mailbox=ADDRESS, known=None)


@pytest.mark.parametrize("trouble", Trouble)
def test_a_cure_where_nobody_consents_asks_no_owner(trouble: Trouble) -> None:
    provider = providers("https://login.example.com", None)["organisation"]
    words = explain(trouble, provider, UUID(ACCOUNT), api="graph")
    assert "{" not in words.meaning + words.cure
    assert "owner" not in words.cure


def test_a_cure_of_a_shared_mailbox() -> None:
    told = providers("https://login.example.com", None)
    assert "Full Access" in explain(Trouble.ADMIN_BLOCKED, told["shared"], UUID(ACCOUNT), api="graph").cure
    assert "link shared --shared" in explain(Trouble.WRONG_MAILBOX, told["shared"], UUID(ACCOUNT), api="graph").cure
