"""Microsoft's sign-in (Entra ID) through msal, Microsoft's own library.

msal makes the flows, their PKCE and nonce, the requests and their retelling. What it
does not do is done here:

- it blocks: it runs in a small thread pool, and its HTTP comes back into our event loop,
  where the egress guard, the limits and the certificates are (`_LoopHttp`);
- it remembers a 429, a 5xx or an invalid_grant, and tells it again after the server has
  recovered: each use has an application of its own, and answers that say nothing about
  the grant never reach it;
- it does not check ID tokens (since 1.38), which name the mailbox's owner for us.

The metadata is read, and its addresses are checked, by us; msal is given what was checked.
Rotated refresh tokens are kept by `keeper`, as for every provider: msal's own cache is not used.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx2
import msal

from ingestd.linking.client import ClientConfig, DeviceCode, Pending, Revocation, as_of_application, require_named
from ingestd.linking.discovery import check_address, metadata
from ingestd.linking.errors import (
    CallbackRejected,
    EndpointsInvalid,
    IdentityUnproved,
    LinkingError,
    NoDeviceCode,
    PartialConsent,
    ProviderDown,
    TokenEndpointDown,
)
from ingestd.linking.flow import Flow
from ingestd.linking.http import (
    DEFAULT_LIMITS,
    HttpLimits,
    WholeResponse,
    as_answer,
    fetch,
    is_safe_to_repeat,
    refuse_trouble,
)
from ingestd.linking.identity import Identity, id_token_claims, identity_of
from ingestd.linking.oauth import read_device_code, utc_now
from ingestd.linking.retry import Waits, repeating
from ingestd.linking.tokens import UNCHECKED_SCOPES, TokenSet, permission_of, read_tokens, verdict
from ingestd.linking.ways import of_one_resource
from ingestd.records import GrantRecord

PERSONAL_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory that all personal accounts are in (Outlook.com, Hotmail)."""

_RESERVED_SCOPES: Final = frozenset({"openid", "profile", "offline_access"})
"""msal adds these by itself and refuses to be told."""
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PENDING: Final = {"authorization_pending": Pending.WAIT, "slow_down": Pending.SLOW_DOWN}
_SENSELESS: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, TimeoutError)
"""What msal raises where an answer makes no sense to it, or none comes."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Microsoft's sign-in for one tenant, with the addresses that its metadata named."""

    url: str
    """With the tenant at its end."""
    tenant: str
    issuer: str
    """With `{tenantid}` in it where accounts of several directories may sign in."""
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str | None = None

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/v2.0/.well-known/openid-configuration"


async def find_authority(
    http: httpx2.AsyncClient,
    base: str,
    tenant: str,
    *,
    allowed_hosts: Collection[str],
    waits: Waits | None = None,
    limits: HttpLimits = DEFAULT_LIMITS,
) -> Authority:
    """Read the metadata of a tenant. Raises EndpointsInvalid (the operator must look), ProviderDown (try later)."""
    bare = Authority(f"{base.rstrip('/')}/{tenant}", tenant, "", "", "")
    check_address(bare.url, "authority", allowed_hosts)
    answer = await metadata(http, bare.metadata_url, waits, limits)
    document = answer.document
    if answer.status != 200 or document is None:
        raise EndpointsInvalid("the authority does not know the tenant")
    issuer = document.get("issuer")
    if not isinstance(issuer, str):
        raise EndpointsInvalid("the metadata names no issuer")
    device = document.get("device_authorization_endpoint")
    return replace(
        bare,
        issuer=issuer,
        authorization_endpoint=check_address(
            document.get("authorization_endpoint"), "authorization_endpoint", allowed_hosts
        ),
        token_endpoint=check_address(document.get("token_endpoint"), "token_endpoint", allowed_hosts),
        device_authorization_endpoint=None
        if device is None
        else check_address(device, "device_authorization_endpoint", allowed_hosts),
    )


class MsalClient:
    """The ProviderClient that lets msal speak."""

    def __init__(
        self,
        config: ClientConfig,
        authority: Authority,
        http: httpx2.AsyncClient,
        executor: Executor,
        *,
        waits: Waits | None = None,
        limits: HttpLimits = DEFAULT_LIMITS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.config = config
        self.authority = authority
        self._http = http
        self._executor = executor
        self._waits = waits
        self._limits = limits
        self._now = now
        self._scopes = [scope for scope in config.scopes if scope not in _RESERVED_SCOPES]
        # A token is good for one resource. Consent is asked for all of them at once, the first token for the first.
        self._primary = of_one_resource(self._scopes)

    async def authorize(self, flow: Flow, *, login_hint: str | None = None) -> tuple[str, Flow]:
        """As ProviderClient.authorize. PKCE verifier and nonce are msal's; they are in the flow's `memory`."""
        extra = self.config.extra_authorize_params
        made = await self._with_msal(
            lambda app: app.initiate_auth_code_flow(
                self._scopes,
                redirect_uri=flow.redirect_uri,
                state=flow.state,
                prompt=extra.get("prompt"),
                domain_hint=extra.get("domain_hint"),
                login_hint=login_hint,
                response_mode="form_post",
            )
        )
        # A form that is posted from Microsoft's page comes without our cookie (SameSite=Lax), which binds the
        # callback to the browser. msal warns of every other mode, so the address is changed afterwards.
        return _in_query(made.pop("auth_uri")), replace(flow, memory=json.dumps(made))

    async def exchange(self, flow: Flow, code: str, iss: str | None) -> TokenSet:
        """As ProviderClient.exchange. Microsoft's callbacks name no issuer; the ID token does."""
        if iss is not None and iss != self._issuer_of(_tenant_in(iss)):
            raise CallbackRejected("the callback names another issuer")
        answer = {"code": code, "state": flow.state}

        def redeem(app: Any) -> dict[str, Any]:
            try:
                made: dict[str, Any] = app.acquire_token_by_auth_code_flow(
                    json.loads(flow.memory), answer, scopes=self._primary
                )
            except RuntimeError as error:
                raise IdentityUnproved("the ID token is not of this linking") from error
            return made

        return self._tokens(await self._with_msal(redeem), refreshing=False)

    async def start_device(self) -> DeviceCode:
        """As ProviderClient.start_device."""
        if self.authority.device_authorization_endpoint is None:
            raise NoDeviceCode("the provider gives no device codes")
        made = await self._with_msal(lambda app: app.initiate_device_flow(self._primary), public=True)
        if "device_code" not in made:
            raise verdict(400, made, refreshing=False)
        return read_device_code(made)

    async def ask_device(self, code: DeviceCode) -> TokenSet | Pending:
        """As ProviderClient.ask_device."""
        # msal writes into it, and would warn of a second question that comes before its own reckoning of the
        # interval: the waiting is the caller's.
        flow = {name: value for name, value in code.memory.items() if name != "latest_attempt_at"}
        made = await self._with_msal(
            lambda app: app.acquire_token_by_device_flow(flow, exit_condition=lambda _: True), public=True
        )
        error = made.get("error")
        if isinstance(error, str) and error in _PENDING:
            return _PENDING[error]
        return self._tokens(made, refreshing=False)

    async def refresh(self, grant: GrantRecord, scopes: Sequence[str] | None = None) -> TokenSet:
        """As ProviderClient.refresh. Microsoft gives a new refresh token each time.

        Asked for is what was granted: more would want a new consent, after every change of the configuration.
        """
        if grant.application_mailbox:
            return await self._as_application(grant)
        granted = grant.scopes if scopes is None else scopes
        asked = [one for one in granted if one not in UNCHECKED_SCOPES] or self._primary
        made = await self._with_msal(
            lambda app: app.acquire_token_by_refresh_token(grant.refresh_token or "", asked),
            public=grant.by_device_code,
        )
        return self._tokens(made, refreshing=True)

    async def _as_application(self, grant: GrantRecord) -> TokenSet:
        """Get a token for what an administrator allows our application. msal's own cache ends with its application."""
        require_named(self.config, grant)
        try:
            made = await self._with_msal(lambda app: app.acquire_token_for_client(self._primary))
            return self._tokens(made, refreshing=False)
        except LinkingError as error:
            raise as_of_application(error) from error

    def home(self) -> str:
        """As ProviderClient.home. The directory is one: the configuration sees to it."""
        return self.authority.issuer

    def require_all(self, tokens: TokenSet) -> None:
        """As ProviderClient.require_all. Permissions are compared by their own names, without the resource's.

        Those of other resources than the first token's are not told: the first refresh for them shows them.
        """
        granted = {permission_of(scope) for scope in tokens.scopes or self._primary}
        wanted = self.config.scopes_needed or self._primary
        missing = [scope for scope in wanted if permission_of(scope) not in granted and scope not in _RESERVED_SCOPES]
        if tokens.refresh_token is None:
            missing.append("offline_access")
        if missing:
            raise PartialConsent(missing)

    async def identity(self, tokens: TokenSet, flow: Flow | None) -> Identity:
        """Return who consented, by the ID token; msal has compared its nonce. Raises IdentityUnproved.

        The subject is the account's object id in its directory (`oid`) with the directory's
        (`tid`): together they name an account for good. `sub` would do too, but differs for each
        application: after a new registration nobody could link a known mailbox again. Addresses
        change hands, and `email` is not even confirmed.
        """
        if tokens.id_token is None:
            raise IdentityUnproved("there is no ID token")
        claims = id_token_claims(
            tokens.id_token, client_id=self.config.client_id, issuer=None, nonce=None, now=self._now()
        )
        directory, account = claims.get("tid"), claims.get("oid")
        if not isinstance(directory, str) or not isinstance(account, str) or not _GUID.fullmatch(directory):
            raise IdentityUnproved("the ID token does not name the account and its directory")
        issuer = self._issuer_of(directory)
        if claims.get("iss") != issuer:
            raise IdentityUnproved("the ID token is from another issuer")
        self._check_kind(directory)
        named = {**claims, "sub": f"{directory}.{account}"}
        return identity_of(named, None, address_claim=self.config.address_claim, issuer=issuer)

    async def holder(self, access_token: str) -> str | None:
        """Return None: a token for Outlook tells nobody but Outlook whose it is."""
        return None

    async def revoke(self, grant: GrantRecord) -> Revocation:
        """Microsoft ends no single grant; the owner removes us (`removal_page`)."""
        return Revocation.NOTHING if grant.application_mailbox else Revocation.UNSUPPORTED

    def _issuer_of(self, directory: str) -> str:
        return self.authority.issuer.replace("{tenantid}", directory)

    def _check_kind(self, directory: str) -> None:
        """`organizations` is for work accounts only, `consumers` for personal ones; `common` is for both."""
        wanted = {"organizations": False, "consumers": True}.get(self.authority.tenant)
        if wanted is not None and wanted != (directory == PERSONAL_TENANT):
            raise IdentityUnproved("the account is of another kind than the tenant is for")

    def _tokens(self, made: Mapping[str, Any], *, refreshing: bool) -> TokenSet:
        if "error" in made:
            raise verdict(400, made, refreshing=refreshing)
        return read_tokens(made, self._now())

    async def _with_msal(self, work: Callable[[Any], dict[str, Any]], *, public: bool = False) -> dict[str, Any]:
        """Let msal do one thing, and again where it certainly did not reach Microsoft or was turned away."""
        loop = asyncio.get_running_loop()

        def blocking() -> dict[str, Any]:
            try:
                made = work(self._application(_LoopHttp(loop, self._http, self._limits, self.authority), public=public))
            except _SENSELESS as error:
                raise TokenEndpointDown(f"token: msal cannot use the answer ({type(error).__name__})") from None
            return made

        async def once() -> dict[str, Any]:
            return await loop.run_in_executor(self._executor, blocking)

        return await repeating(once, is_safe_to_repeat, self._waits)

    def _application(self, http: _LoopHttp, *, public: bool) -> Any:
        """Return an application for one use. Device codes are for public clients: those show no secret."""
        certificate = self.config.client_certificate
        # msal looks for what it needs in either text.
        signing = {"private_key": certificate, "public_certificate": certificate} if certificate else None
        secret = None if public else signing or self.config.client_secret
        kind = msal.PublicClientApplication if secret is None else msal.ConfidentialClientApplication
        return kind(
            self.config.client_id,
            client_credential=secret,
            authority=self.authority.url,
            http_client=http,
            # The operator named the authority; nobody else is asked whether it is one.
            instance_discovery=False,
            # Without this, an environment variable could send the secret to another host.
            azure_region=msal.ClientApplication.DISABLE_MSAL_FORCE_REGION,
        )


class _LoopHttp:
    """The HTTP client that msal is given: its requests are made in our event loop, behind the egress guard.

    What says nothing about a grant (429, 5xx, no JSON) is raised, so that msal neither
    remembers it nor logs it. Called from a thread of the executor.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, http: httpx2.AsyncClient, limits: HttpLimits, authority: Authority
    ) -> None:
        self._loop = loop
        self._http = http
        self._limits = limits
        self._authority = authority

    def get(self, url: str, **_: object) -> _Response:
        """Answer with the metadata that was checked: msal gets nothing else."""
        if url != self._authority.metadata_url:
            raise ProviderDown("msal asks for an address that is not ours to ask")
        document = {name: value for name, value in asdict(self._authority).items() if value is not None}
        return _Response(WholeResponse(200, json.dumps(document).encode(), {}))

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _Response:
        if url not in {self._authority.token_endpoint, self._authority.device_authorization_endpoint}:
            raise ProviderDown("msal asks for an address that is not ours to ask")
        endpoint = "token" if url == self._authority.token_endpoint else "device"
        form = {name: _text(value) for name, value in {**(params or {}), **(data or {})}.items() if value is not None}
        # The request's own limit ends it; the second one is for a loop that is gone.
        asked = fetch(self._http, "POST", url, endpoint=endpoint, form=form, headers=headers or {}, limits=self._limits)
        response = asyncio.run_coroutine_threadsafe(asked, self._loop).result(self._limits.seconds_max + 10.0)
        answer = as_answer(response)
        refuse_trouble(answer, endpoint)
        if answer.document is None:
            raise TokenEndpointDown(f"{endpoint}: status {answer.status} without JSON")
        return _Response(response)

    def close(self) -> None:
        """Nothing is ours to close."""


class _Response:
    """An answer as msal wants it (its `oauth2cli.http.Response`)."""

    def __init__(self, response: WholeResponse) -> None:
        self.status_code = response.status
        self.text = response.body.decode("utf-8", "replace")
        self.headers = dict(response.headers)

    def raise_for_status(self) -> None:
        """Raise for a refusal; only the metadata is asked so, and that was checked."""
        if self.status_code >= 400:
            raise TokenEndpointDown(f"token: status {self.status_code}")


def _text(value: object) -> str:
    # A signed assertion comes as bytes.
    return value.decode() if isinstance(value, bytes) else str(value)


def _in_query(address: str) -> str:
    """Return an authorization address whose answer comes in the query.

    >>> _in_query("https://login.example.com/a?response_mode=form_post&state=s")
    'https://login.example.com/a?response_mode=query&state=s'
    """
    parts = urlsplit(address)
    params = [(name, "query" if name == "response_mode" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(params)))


def _tenant_in(issuer: str) -> str:
    """Return the directory that an issuer's address names, an impossible one where it names none."""
    found = _GUID.search(issuer)
    return found[0] if found else "none"
