"""A provider: the servers of a kind of mailbox, and how its owners give us access (OAuth)."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, field_validator, model_validator

from config.checks import AuthservId, HostName, Port, Seconds, Section, Tenant, Text, WebUrl
from config.secrets import Secret

Tls = Literal["implicit", "starttls"]
Mechanism = Literal["OAUTHBEARER", "XOAUTH2"]
SentCopy = Literal["auto", "append", "never"]
TokenAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]
OAuthLibrary = Literal["standard", "msal"]
UserinfoAuth = Literal["Bearer", "OAuth", "query"]
Limit = Annotated[int, Field(ge=1, le=10_000_000)]
ReadBy = Literal["imap", "gmail", "graph"]
SendBy = Literal["smtp", "gmail", "graph"]
GraphPush = Literal["auto", "always", "never"]
RevokeForm = Literal["rfc7009", "access_token"]
OAuthFlow = Literal["delegated", "application"]
PreferredWays = Literal["imap", "api"]
ANY_ACCOUNT: Final = "*"
Days = Annotated[int, Field(ge=1, le=3660)]

_RESERVED_PARAMS: Final = frozenset(
    {"client_id", "client_secret", "code_challenge", "code_challenge_method", "device_id", "device_name", "nonce"}
    | {"redirect_uri", "response_mode", "response_type", "scope", "state"}
)


def _check_address(address: str) -> str:
    name, at, domain = address.rpartition("@")
    if not (name and at and domain) or any(char.isspace() for char in address):
        raise ValueError("must be a mailbox's address")
    return address


def _check_account(account: str) -> str:
    if account != ANY_ACCOUNT:
        try:
            return str(UUID(account))
        except ValueError:
            raise ValueError(f"must be an account's id, or {ANY_ACCOUNT} for any") from None
    return account


MailboxName = Annotated[Text, AfterValidator(_check_address)]
AccountOrAny = Annotated[Text, AfterValidator(_check_account)]


def _check_service_account(key: Secret) -> Secret:
    """Refuse what is no key file of Google's. Raises ValueError, whose text never repeats it."""
    try:
        document = json.loads(key.get_secret_value())
    except ValueError:
        document = None
    if not isinstance(document, dict) or not {"client_email", "private_key"} <= document.keys():
        raise ValueError("must be the JSON of a service account's key, as Google's console made it")
    return key


class Server(Section):
    """Where a mail server listens. TLS is always on; there is no plaintext (RFC 8314)."""

    host: HostName
    """Name or IP address of the server."""
    port: Port | None = None
    """Port; when left out, the usual one of the protocol and of `tls`."""
    tls: Tls = "implicit"
    """`implicit` (TLS from the first byte) or `starttls` (required, never optional)."""


class OAuth(Section):
    """How access is asked for (RFC 6749 with PKCE). Give `issuer`, or the addresses themselves."""

    client: OAuthLibrary = "standard"
    """Who asks for tokens: `standard` (the RFCs) or `msal` (Microsoft's library, with `authority` and `tenant`)."""
    authority: WebUrl | None = None
    """With `client: msal`: Microsoft's sign-in service, without the tenant."""
    tenant: Tenant | None = None
    """With `client: msal`: `common`, `organizations`, `consumers`, or one directory by its GUID or domain."""
    flow: OAuthFlow = "delegated"
    """`delegated` (each mailbox's owner consents) or `application` (Microsoft: an administrator does, for all)."""
    mailboxes: Annotated[dict[MailboxName, AccountOrAny], Field(max_length=10_000)] = Field(default_factory=dict)
    """With `flow: application`: the mailboxes that may be linked, each with the id of its account, or `*` for any."""
    issuer: WebUrl | None = None
    """Issuer whose discovery document names the addresses (OpenID Connect, RFC 8414), and that callbacks must name."""
    authorize_url: WebUrl | None = None
    """Address where the user consents; goes before what discovery says."""
    token_url: WebUrl | None = None
    """Address that gives tokens; goes before what discovery says."""
    userinfo_url: WebUrl | None = None
    """Address that tells whose token it is; goes before what discovery says."""
    revoke_url: WebUrl | None = None
    """Address that revokes a grant (RFC 7009); goes before what discovery says."""
    introspect_url: WebUrl | None = None
    """Address that tells whether a token lives and whose it is (RFC 7662); used where there is no userinfo."""
    device_authorization_url: WebUrl | None = None
    """Address that gives device codes (RFC 8628); goes before what discovery says. For `mailbox link --device`."""
    redirect_uri: WebUrl | None = None
    """Where browsers come back to; when left out, /oauth/callback below `api.public_url`."""
    client_id: Text
    """Our application's id at the provider."""
    client_secret: Secret | None = None
    """Our application's secret; leave it out for a public client."""
    client_certificate: Secret | None = None
    """With `client: msal`: in place of a secret, our certificate with its private key, both as PEM (RSA)."""
    client_secret_expires_at: date | None = None
    """The day on which the secret or certificate ends, as the provider's console tells it: you are warned before."""
    token_auth_method: TokenAuthMethod | None = None
    """How the secret is shown to the token address; when left out, client_secret_basic with a secret, else none."""
    scopes: tuple[Text, ...] = ("openid", "email", "offline_access")
    """What is asked for."""
    scopes_needed: tuple[Text, ...] = ()
    """The scopes without which a grant is not accepted, as the provider's answer spells them."""
    address_claim: Text = "email"
    """The claim of userinfo (or introspection) that holds the mailbox's address."""
    subject_claim: Text | None = None
    """The claim that names the owner for good; when left out, the first of sub, id and user_id."""
    userinfo_auth: UserinfoAuth = "Bearer"
    """How userinfo is shown the token: as `Bearer` or `OAuth` in the header, or as access_token in the `query`."""
    revoke_form: RevokeForm = "rfc7009"
    """What `revoke_url` takes: `rfc7009` (the refresh token, as token) or `access_token` (that one, by this name)."""
    revoke_ends_all: bool = False
    """Whether a revocation ends all that the owner gave us (Google): then no refused grant is given back."""
    refresh_idle_days: Days | None = None
    """After so many days without a refresh the provider ends a grant; left out where it does not, or does not say."""
    testing: bool = False
    """Whether the application is in a trial state in which the provider ends grants early (Google: Testing, 7 days)."""
    publisher_verified: bool = True
    """Set it to false while the provider has not verified who publishes the application: owners may be refused."""
    device_id: bool = False
    """Whether each linking gets a device id of its own, without which the provider (Yandex) revokes nothing."""
    extra_authorize_params: dict[Text, str] = Field(default_factory=dict)
    """More parameters for the authorize address, e.g. prompt: consent."""

    @field_validator("mailboxes")
    @classmethod
    def _each_once(cls, mailboxes: dict[str, str]) -> dict[str, str]:
        if len({address.casefold() for address in mailboxes}) != len(mailboxes):
            raise ValueError("an address is named twice")
        return mailboxes

    @field_validator("client_certificate")
    @classmethod
    def _with_its_key(cls, certificate: Secret | None) -> Secret | None:
        text = certificate.get_secret_value() if certificate is not None else ""
        if certificate is not None and not ("BEGIN CERTIFICATE-" in text and "PRIVATE KEY-" in text):
            raise ValueError("must hold a certificate and its private key, both as PEM")
        return certificate

    @field_validator("extra_authorize_params")
    @classmethod
    def _no_reserved_param(cls, params: dict[str, str]) -> dict[str, str]:
        if taken := sorted(_RESERVED_PARAMS & params.keys()):
            raise ValueError(f"{', '.join(taken)}: ingestd sets this by itself; remove it")
        return params

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.flow == "application") != bool(self.mailboxes):
            raise ValueError("flow application and mailboxes go together: name the mailboxes that it may open")
        if self.flow == "application" and self.client_secret is None and self.client_certificate is None:
            raise ValueError("flow application needs client_secret or client_certificate (or one of them as _file)")
        if self.client == "msal":
            if self.authority is None or self.tenant is None:
                raise ValueError("client msal needs authority and tenant")
            if self.flow == "application" and self.tenant.lower() in {"common", "organizations", "consumers"}:
                raise ValueError("flow application is of one directory: set tenant to its GUID or domain")
            if others := sorted(self.extra_authorize_params.keys() - {"prompt", "domain_hint"}):
                raise ValueError(f"{', '.join(others)}: client msal takes prompt and domain_hint only; remove it")
            return self._with_secret()
        if self.issuer is None and (self.authorize_url is None or self.token_url is None):
            raise ValueError("needs either issuer, or authorize_url and token_url")
        if self.issuer is None and self.userinfo_url is None and self.introspect_url is None:
            raise ValueError("needs issuer, userinfo_url or introspect_url: who linked the mailbox must be checked")
        return self._with_secret()

    def opens(self, address: str, account_id: str) -> bool:
        """Whether application permissions may be used for a mailbox, by an account."""
        named = {one.casefold(): account for one, account in self.mailboxes.items()}
        return named.get(address.casefold()) in {ANY_ACCOUNT, account_id.lower()}

    def _with_secret(self) -> Self:
        if self.client_certificate is not None and (self.client != "msal" or self.client_secret is not None):
            raise ValueError("client_certificate is for client msal, in place of client_secret")
        if self.token_auth_method not in {None, "none"} and self.client_secret is None:
            raise ValueError(f"token_auth_method {self.token_auth_method} needs client_secret (or client_secret_file)")
        return self


class FolderNames(Section):
    """Names of folders, for servers that do not tell their roles (no SPECIAL-USE, no known name)."""

    sent: Text | None = None
    """Folder of sent mail."""
    spam: Text | None = None
    """Folder of unwanted mail."""
    trash: Text | None = None
    """Folder of deleted mail."""


class SendingLimits(Section):
    """What one mailbox may send through this provider. What is beyond waits until there is room again."""

    messages_per_minute_max: Limit = 600
    """Messages that a mailbox sends within a minute."""
    messages_per_day_max: Limit = 20_000
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 50_000
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Connections that one process holds to the submission server at a time, for all mailboxes; idle ones count."""


class GmailPush(Section):
    """How Gmail tells of news: it publishes to a Pub/Sub topic of your project, whose subscription we pull."""

    topic: Annotated[Text, Field(pattern=r"^projects/[^/\s]+/topics/[^/\s]+$")]
    """The topic's full name, `projects/PROJECT/topics/TOPIC`."""
    subscription: Annotated[Text, Field(pattern=r"^projects/[^/\s]+/subscriptions/[^/\s:]+$")]
    """The full name of its subscription of the type Pull, `projects/PROJECT/subscriptions/SUBSCRIPTION`."""
    service_account: Annotated[Secret, AfterValidator(_check_service_account)]
    """The key, in JSON, of a service account that may pull the subscription (`roles/pubsub.subscriber`)."""
    pubsub_url: WebUrl = "https://pubsub.googleapis.com/"
    """The address of the Pub/Sub API."""
    token_url: WebUrl = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
    """Address that gives tokens to the service account."""


class GenericProvider(Section):
    """Any server with IMAP, SMTP and OAuth: everything is told."""

    kind: Literal["generic"]
    """`generic`, or the name of a preset: `google`, `microsoft`, `yandex`, `mailru`, `fastmail`, `yahoo`."""
    imap: Server
    """The server that mail is read from."""
    smtp: Server
    """The server that replies are sent through."""
    read_by: Annotated[tuple[ReadBy, ...], Field(min_length=1)] = ("imap",)
    """By which ways mailboxes may be read, the preferred one first: the first that a mailbox's grant opens is taken."""
    send_by: Annotated[tuple[SendBy, ...], Field(min_length=1)] = ("smtp",)
    """By which ways replies may be sent, likewise."""
    gmail_url: WebUrl | None = None
    """The address of the Gmail API; needed for the way `gmail`."""
    gmail_units_per_user_max: Annotated[int, Field(ge=200, le=10_000_000)] = 6000
    """Quota units of the Gmail API that a mailbox uses within a minute: 15,000 for projects from before May 2026."""
    gmail_units_per_project_max: Annotated[int, Field(ge=200, le=1_000_000_000)] = 1_200_000
    """Quota units that one process uses within a minute for all mailboxes: of several processes, each its share."""
    gmail_push: GmailPush | None = None
    """How Gmail tells of news in mailboxes that are read by its API; when left out, they are polled."""
    graph_url: WebUrl | None = None
    """The address of Microsoft Graph's API, with its version; needed for the way `graph`."""
    graph_push: GraphPush = "auto"
    """Whether Microsoft Graph tells us of news at `api.public_url`: `auto` (where that is https), `always`, `never`."""
    upload_urls: Annotated[tuple[WebUrl, ...], Field(max_length=20)] = ()
    """Further hosts that Microsoft Graph may name for the upload of large attachments."""
    oauth: OAuth
    """How the mailboxes' owners give access."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("OAUTHBEARER", "XOAUTH2")
    """SASL mechanisms that we may use, the preferred one first; only those that the server offers are."""
    sent_copy: SentCopy = "auto"
    """`auto` (look in Sent, file a copy if there is none), `append` (always file one) or `never`."""
    sent_wait_seconds: Seconds | None = None
    """How long `auto` waits for the provider's own copy; when left out, that of `outbound`."""
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ()
    """Names under which it writes Authentication-Results (`mx.example.com`, `*.example.com`, `""`); then they count."""
    authserv_several: bool = False
    """Whether it writes one header for each method; only for a provider that removes foreign ones under its names."""
    folders: FolderNames = FolderNames()
    """Folder names that the server does not tell."""
    limits: SendingLimits = SendingLimits()
    """How much is sent at a time and in a day."""
    tls_ca_file: Path | None = None
    """PEM file of the authorities to trust for this provider, in place of the system's: IMAP, SMTP and OAuth."""
    session_ends_with_token: bool = False
    """Whether the provider ends an IMAP session when its token runs out, so that we leave before."""
    removal_page: WebUrl | None = None
    """The provider's page where the owner takes our access away; told where we cannot revoke it ourselves."""

    @model_validator(mode="after")
    def _has_the_ways_servers(self) -> Self:
        kind: str = self.kind  # of a preset it is another one
        if self.oauth.flow == "application" and kind != "microsoft":
            raise ValueError("oauth.flow application is for kind microsoft")
        if "graph" in {*self.read_by, *self.send_by} and (self.graph_url is None or kind != "microsoft"):
            raise ValueError("the way graph is for kind microsoft, and needs graph_url")
        if "gmail" in {*self.read_by, *self.send_by} and (self.gmail_url is None or kind != "google"):
            raise ValueError("the way gmail is for kind google, and needs gmail_url")
        if self.gmail_push is not None and "gmail" not in self.read_by:
            raise ValueError("gmail_push needs gmail among read_by: only who is read by the API can be told of news")
        return self


class Endpoint(Section):
    """Where to connect, with nothing left open."""

    host: str
    """Name or IP address of the server."""
    port: int
    """TCP port."""
    tls: Tls
    """How TLS begins."""


class Provider(Section):
    """A provider with everything filled in, as the rest of the program takes it."""

    name: str
    """The provider's key in the configuration."""
    kind: str
    """`generic`, or the preset's name."""
    imap: Endpoint
    """The server that mail is read from."""
    smtp: Endpoint
    """The server that replies are sent through."""
    read_by: tuple[ReadBy, ...]
    """The ways by which mailboxes may be read, the preferred one first."""
    send_by: tuple[SendBy, ...]
    """The ways by which replies may be sent, the preferred one first."""
    gmail_url: str | None
    """The address of the Gmail API; None where it is not used."""
    gmail_units_per_user_max: int
    """Quota units that a mailbox uses within a minute."""
    gmail_units_per_project_max: int
    """Quota units that one process uses within a minute for all mailboxes."""
    gmail_push: GmailPush | None
    """How Gmail tells of news; None where mailboxes are polled."""
    graph_url: str | None
    """The address of Microsoft Graph's API; None where it is not used."""
    graph_push: GraphPush
    """Whether Microsoft Graph tells us of news."""
    upload_urls: tuple[str, ...]
    """Further hosts for the upload of large attachments."""
    oauth: OAuth
    """How access is asked for; `token_auth_method` is never None."""
    mechanisms: tuple[Mechanism, ...]
    """SASL mechanisms, the preferred one first."""
    sent_copy: SentCopy
    """Who files the Sent copy."""
    sent_wait_seconds: float
    """How long to wait for the provider's own copy."""
    authserv_ids: tuple[str, ...]
    """Names whose Authentication-Results are believed."""
    authserv_several: bool
    """Whether they are spread over several headers."""
    folders: FolderNames
    """Folder names that the server does not tell."""
    limits: SendingLimits
    """How much is sent at a time and in a day."""
    tls_ca_file: Path | None
    """PEM file of trusted authorities, None for the system's."""
    session_ends_with_token: bool
    """Whether an IMAP session ends with its token."""
    removal_page: str | None
    """The page where the owner takes our access away, None where we know none."""


def resolve(name: str, configured: GenericProvider, *, sent_wait_seconds: float) -> Provider:
    """Fill in what the configuration leaves to us. `sent_wait_seconds` is the default of `outbound`."""
    oauth = configured.oauth
    method: TokenAuthMethod = "client_secret_basic" if oauth.client_secret else "none"
    return Provider(
        name=name,
        kind=configured.kind,
        imap=_endpoint(configured.imap, implicit_port=993, starttls_port=143),
        smtp=_endpoint(configured.smtp, implicit_port=465, starttls_port=587),
        read_by=configured.read_by,
        send_by=configured.send_by,
        gmail_url=configured.gmail_url,
        gmail_units_per_user_max=configured.gmail_units_per_user_max,
        gmail_units_per_project_max=configured.gmail_units_per_project_max,
        gmail_push=configured.gmail_push,
        graph_url=configured.graph_url,
        graph_push=configured.graph_push,
        upload_urls=configured.upload_urls,
        oauth=oauth.model_copy(update={"token_auth_method": oauth.token_auth_method or method}),
        mechanisms=configured.mechanisms,
        sent_copy=configured.sent_copy,
        sent_wait_seconds=configured.sent_wait_seconds or sent_wait_seconds,
        authserv_ids=configured.authserv_ids,
        authserv_several=configured.authserv_several,
        folders=configured.folders,
        limits=configured.limits,
        tls_ca_file=configured.tls_ca_file,
        session_ends_with_token=configured.session_ends_with_token,
        removal_page=configured.removal_page,
    )


def _endpoint(server: Server, *, implicit_port: int, starttls_port: int) -> Endpoint:
    usual = implicit_port if server.tls == "implicit" else starttls_port
    return Endpoint(host=server.host, port=server.port or usual, tls=server.tls)
