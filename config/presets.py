"""Providers that we know: a preset is the generic provider with its values filled in.

Each value can be overridden in the configuration. A new preset is a subclass here, an
entry of `PRESETS` and a member of `AnyProvider`; docs/providers/ has a guide for each.
What a provider's servers can do (IDLE, MOVE, SPECIAL-USE …) is no setting: they are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from config.checks import AuthservId, HostName, Port, Tenant, Text, WebUrl
from config.providers import (
    Days,
    GenericProvider,
    Limit,
    Mechanism,
    OAuth,
    OAuthLibrary,
    PreferredWays,
    ReadBy,
    RevokeForm,
    SendBy,
    SendingLimits,
    Server,
    Tls,
    TokenAuthMethod,
    UserinfoAuth,
)

GMAIL_MODIFY: Final = "https://www.googleapis.com/auth/gmail.modify"


def _over(scopes: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Return a provider's `oauth` with scopes that hold where it names none itself."""
    oauth = values.get("oauth")
    if not isinstance(oauth, Mapping) or "scopes" in oauth:
        return oauth
    return {**scopes, **oauth}


class GoogleImap(Server):
    """Gmail's IMAP server."""

    host: HostName = "imap.gmail.com"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class GoogleSmtp(Server):
    """Gmail's submission server."""

    host: HostName = "smtp.gmail.com"
    """Name or IP address of the server."""
    port: Port | None = 465
    """Port of the server."""


class GoogleLimits(SendingLimits):
    """Google Workspace's limits; personal Gmail has 500 messages a day, and refuses what is beyond for a while."""

    # support.google.com/a/answer/166852: 2,000 messages, 3,000 external recipients a day. What is beyond is refused,
    # for up to a day.
    messages_per_minute_max: Limit = 60
    """Messages that a mailbox sends within a minute; Google publishes none."""
    messages_per_day_max: Limit = 2000
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 3000
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Connections that one process holds to the submission server; Google publishes none."""


class GoogleOAuth(OAuth):
    """Google's addresses and scopes; only `client_id` and `client_secret` are needed."""

    # Google's callbacks carry no `iss` (RFC 9207) that we could rely on, and the
    # addresses are known: no discovery, so that no document decides where we connect.
    authorize_url: WebUrl | None = "https://accounts.google.com/o/oauth2/v2/auth"
    """Address where the user consents."""
    token_url: WebUrl | None = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
    """Address that gives tokens."""
    userinfo_url: WebUrl | None = "https://openidconnect.googleapis.com/v1/userinfo"
    """Address that tells whose token it is."""
    revoke_url: WebUrl | None = "https://oauth2.googleapis.com/revoke"
    """Address that revokes a grant."""
    token_auth_method: TokenAuthMethod | None = "client_secret_post"  # noqa: S105  # a name
    """How the secret is shown to the token address."""
    # https://mail.google.com/ is the one scope that opens IMAP and SMTP.
    scopes: tuple[Text, ...] = ("openid", "email", "https://mail.google.com/")
    """What is asked for."""
    # Google names the others differently in its answer (email is .../auth/userinfo.email).
    scopes_needed: tuple[Text, ...] = ("https://mail.google.com/",)
    """The scopes without which a grant is not accepted: Google's users can consent to a part."""
    # Without both of these there is no refresh token.
    extra_authorize_params: dict[Text, str] = Field(
        default_factory=lambda: {"access_type": "offline", "prompt": "consent"}
    )
    """More parameters for the authorize address."""
    revoke_ends_all: bool = True
    """A revocation ends every grant of the owner to this client."""
    refresh_idle_days: Days | None = 180
    """Google ends a grant that was not used for six months."""
    # No device_authorization_url: Google's flow for devices does not give the mail scope.


class GoogleProvider(GenericProvider):
    """Gmail and Google Workspace by IMAP and SMTP, or by the Gmail API where a grant is for that alone."""

    kind: Literal["google"]  # type: ignore[assignment]  # the union is discriminated by it
    """`google`: Gmail and Google Workspace."""
    ways: PreferredWays = "imap"
    """`imap` (and SMTP) or `api` (Gmail's): what is preferred, and asked for, where nothing else is said below."""
    imap: GoogleImap = GoogleImap()
    """The server that mail is read from."""
    smtp: GoogleSmtp = GoogleSmtp()
    """The server that replies are sent through."""
    read_by: Annotated[tuple[ReadBy, ...], Field(min_length=1)] = ("imap", "gmail")
    """By which ways mailboxes may be read: by the Gmail API where a grant does not open IMAP."""
    send_by: Annotated[tuple[SendBy, ...], Field(min_length=1)] = ("smtp", "gmail")
    """By which ways replies may be sent: by the Gmail API where a grant does not open SMTP, or SMTP is switched off."""
    gmail_url: WebUrl | None = "https://gmail.googleapis.com/"
    """The address of the Gmail API."""
    oauth: GoogleOAuth
    """How the mailboxes' owners give access: `client_id` and `client_secret`."""
    limits: GoogleLimits = GoogleLimits()
    """How much is sent at a time and in a day."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2", "OAUTHBEARER")
    """SASL mechanisms that we may use, the preferred one first."""
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("mx.google.com",)
    """Names under which the provider writes Authentication-Results."""
    session_ends_with_token: bool = True
    """An IMAP session lasts about as long as its token: an hour."""
    removal_page: WebUrl | None = "https://myaccount.google.com/connections"
    """The page where the owner takes our access away."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_api(cls, values: Any) -> Any:
        """By the API first; by mail servers still, where a grant from before opens those alone."""
        if not isinstance(values, Mapping) or values.get("ways") != "api":
            return values
        asked = {"scopes": ("openid", "email", GMAIL_MODIFY), "scopes_needed": (GMAIL_MODIFY,)}
        return {"read_by": ("gmail", "imap"), "send_by": ("gmail", "smtp"), **values, "oauth": _over(asked, values)}


class MicrosoftImap(Server):
    """Exchange Online's IMAP server, of Outlook.com too."""

    host: HostName = "outlook.office365.com"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class MicrosoftSmtp(Server):
    """Exchange Online's submission server; for `tenant: consumers` it is smtp-mail.outlook.com."""

    host: HostName = "smtp.office365.com"
    """Name or IP address of the server; with `tenant: consumers` smtp-mail.outlook.com."""
    port: Port | None = 587
    """Port of the server."""
    tls: Tls = "starttls"
    """There is no implicit TLS at Microsoft's."""


class MicrosoftLimits(SendingLimits):
    """Exchange Online's limits; those of Outlook.com with `tenant: consumers`."""

    # Exchange Online limits: 30 messages a minute, 10,000 recipients a day, 3 submissions of a mailbox at a time, of
    # which we make one.
    messages_per_minute_max: Limit = 30
    """Messages that a mailbox sends within a minute."""
    messages_per_day_max: Limit = 10_000
    """Messages that a mailbox sends within 24 hours; with `tenant: consumers` 300."""
    recipients_per_day_max: Limit = 10_000
    """Recipients of those messages, together; with `tenant: consumers` 300."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Connections that one process holds to the submission server; Microsoft publishes none."""


class MicrosoftOAuth(OAuth):
    """Microsoft's sign-in, by its own library; `client_id`, and `client_secret` for a web application, are needed."""

    client: OAuthLibrary = "msal"
    """Who asks for tokens: Microsoft's library."""
    authority: WebUrl | None = "https://login.microsoftonline.com"
    """The sign-in service; national clouds have others."""
    tenant: Tenant | None = "common"
    """`common` (all), `organizations`, `consumers` (Outlook.com, Hotmail), or one directory by its GUID or domain."""
    # Outlook's own names: with Graph's (graph.microsoft.com) the token does not open IMAP. msal adds openid,
    # profile and offline_access by itself.
    scopes: tuple[Text, ...] = (
        "https://outlook.office.com/IMAP.AccessAsUser.All",
        "https://outlook.office.com/SMTP.Send",
    )
    """What is asked for. Scopes of Microsoft Graph can be beside Outlook's: each gets tokens of its own."""
    address_claim: Text = "preferred_username"
    """The claim that holds the mailbox's address: the sign-in name; `email` is not confirmed by Microsoft."""
    # The browser is often signed in already, as an agent and not as the support mailbox.
    extra_authorize_params: dict[Text, str] = Field(default_factory=lambda: {"prompt": "select_account"})
    """More parameters for the authorize address: prompt and domain_hint can be given."""
    refresh_idle_days: Days | None = 90
    """Microsoft ends a refresh token that was not used for 90 days."""


def _is_application(values: Mapping[str, Any]) -> bool:
    oauth = values.get("oauth")
    return isinstance(oauth, Mapping) and oauth.get("flow") == "application"


def _graph_scopes(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scopes of Graph that are to be asked for, none where it is not chosen."""
    url = values.get("graph_url", "https://graph.microsoft.com/v1.0")
    graph = "/".join(url.split("/")[:3]) if isinstance(url, str) else ""
    if _is_application(values):
        return (f"{graph}/.default",)
    if values.get("shared_mailboxes") is True:
        # Of the user's own mailbox, too.
        return (f"{graph}/Mail.ReadWrite.Shared", f"{graph}/Mail.Send.Shared")
    return (f"{graph}/Mail.ReadWrite", f"{graph}/Mail.Send") if values.get("ways") == "api" else ()


class MicrosoftProvider(GenericProvider):
    """Microsoft 365 and Outlook.com by IMAP and SMTP, or by Microsoft Graph where its scopes are asked for."""

    kind: Literal["microsoft"]  # type: ignore[assignment]  # the union is discriminated by it
    """`microsoft`: Microsoft 365 and Outlook.com."""
    ways: PreferredWays | None = None
    """`imap` (and SMTP) or `api` (Graph): what is preferred and asked for; left out: asks for `imap`, prefers Graph."""
    shared_mailboxes: bool = False
    """Whether shared mailboxes can be linked, by a user who may open them: then Graph's scopes for those are asked."""
    imap: MicrosoftImap = MicrosoftImap()
    """The server that mail is read from."""
    smtp: MicrosoftSmtp = MicrosoftSmtp()
    """The server that replies are sent through."""
    read_by: Annotated[tuple[ReadBy, ...], Field(min_length=1)] = ("graph", "imap")
    """By which ways mailboxes may be read: by Graph where its scopes were granted, else by IMAP."""
    send_by: Annotated[tuple[SendBy, ...], Field(min_length=1)] = ("graph", "smtp")
    """By which ways replies may be sent: by Graph where its scopes were granted, else by SMTP."""
    graph_url: WebUrl | None = "https://graph.microsoft.com/v1.0"
    """The address of Microsoft Graph's API; national clouds have others."""
    upload_urls: Annotated[tuple[WebUrl, ...], Field(max_length=20)] = (
        "https://outlook.office.com",
        "https://outlook.office365.com",
    )
    """Where Microsoft Graph lets large attachments be put."""
    oauth: MicrosoftOAuth
    """How the mailboxes' owners give access: `client_id`, `client_secret`, `tenant`."""
    limits: MicrosoftLimits = MicrosoftLimits()
    """How much is sent at a time and in a day."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2",)
    """SASL mechanisms that we may use: there is one."""
    # Exchange Online removes foreign ones; its own begin with the first result, against RFC 8601 §2.2.
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("",)
    """Names under which the provider writes Authentication-Results: Exchange Online gives none."""
    session_ends_with_token: bool = True
    """An IMAP session ends when its token runs out."""
    removal_page: WebUrl | None = "https://myapps.microsoft.com"
    """The page where the owner takes our access away; with `tenant: consumers` another."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_api(cls, values: Any) -> Any:
        """By Graph first; by mail servers still, where a grant from before opens those alone."""
        if not isinstance(values, Mapping):
            return values
        if values.get("ways") == "imap":
            if _is_application(values) or values.get("shared_mailboxes") is True:
                raise ValueError("ways imap: application permissions and shared mailboxes are by Graph")
            return {"read_by": ("imap", "graph"), "send_by": ("smtp", "graph"), **values}
        scopes = _graph_scopes(values)
        if not scopes:
            return values
        filled = {"read_by": ("graph", "imap"), "send_by": ("graph", "smtp"), **values}
        if _is_application(values):
            # There is no owner: an administrator does it.
            filled = {"removal_page": "https://entra.microsoft.com", **filled}
        return {**filled, "oauth": _over({"scopes": scopes}, values)}

    @model_validator(mode="before")
    @classmethod
    def _of_consumers(cls, values: Any) -> Any:
        """Personal mailboxes have another submission server, another page and lower limits."""
        oauth = values.get("oauth") if isinstance(values, Mapping) else None
        if not isinstance(oauth, Mapping) or str(oauth.get("tenant", "")).lower() != "consumers":
            return values
        smtp = values.get("smtp", {})
        if isinstance(smtp, Mapping):
            smtp = {"host": "smtp-mail.outlook.com", **smtp}
        limits = values.get("limits", {})
        if isinstance(limits, Mapping):
            # Personal mailboxes: how much is not published, and grows with how long they have been used.
            limits = {"messages_per_day_max": 300, "recipients_per_day_max": 300, **limits}
        return {"removal_page": "https://microsoft.com/consent", **values, "smtp": smtp, "limits": limits}


class YandexImap(Server):
    """Yandex's IMAP server."""

    host: HostName = "imap.yandex.ru"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class YandexSmtp(Server):
    """Yandex's submission server."""

    host: HostName = "smtp.yandex.ru"
    """Name or IP address of the server."""
    port: Port | None = 465
    """Port of the server."""


class YandexLimits(SendingLimits):
    """Yandex's limits."""

    # 500 mails in 24 hours; whether one to several recipients counts as several is not said, so it does here.
    messages_per_minute_max: Limit = 30
    """Messages that a mailbox sends within a minute; Yandex publishes none."""
    messages_per_day_max: Limit = 500
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 500
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Connections that one process holds to the submission server; Yandex publishes none."""


class YandexOAuth(OAuth):
    """Yandex's addresses and rights; only `client_id` and `client_secret` are needed."""

    authorize_url: WebUrl | None = "https://oauth.yandex.ru/authorize"
    """Address where the user consents."""
    token_url: WebUrl | None = "https://oauth.yandex.ru/token"  # noqa: S105  # an address
    """Address that gives tokens."""
    userinfo_url: WebUrl | None = "https://login.yandex.ru/info?format=json"
    """Address that tells whose token it is."""
    revoke_url: WebUrl | None = "https://oauth.yandex.ru/revoke_token"
    """Address that revokes a grant."""
    scopes: tuple[Text, ...] = ("mail:imap_full", "mail:smtp", "login:email")
    """What is asked for; the application must have these rights."""
    address_claim: Text = "default_email"
    """The claim that holds the mailbox's address."""
    subject_claim: Text | None = "id"
    """The claim that names the owner for good."""
    userinfo_auth: UserinfoAuth = "OAuth"
    """How userinfo is shown the token."""
    revoke_form: RevokeForm = "access_token"
    """What `revoke_url` takes."""
    device_id: bool = True
    """Whether each linking gets a device id: without one, Yandex revokes nothing."""
    refresh_idle_days: Days | None = 365
    """Yandex's tokens live for a year, and each refresh begins it anew."""


class YandexProvider(GenericProvider):
    """Yandex Mail and Yandex 360 by IMAP and SMTP."""

    kind: Literal["yandex"]  # type: ignore[assignment]  # the union is discriminated by it
    """`yandex`: Yandex Mail and Yandex 360."""
    imap: YandexImap = YandexImap()
    """The server that mail is read from."""
    smtp: YandexSmtp = YandexSmtp()
    """The server that replies are sent through."""
    oauth: YandexOAuth
    """How the mailboxes' owners give access: `client_id` and `client_secret`."""
    limits: YandexLimits = YandexLimits()
    """How much is sent at a time and in a day."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2",)
    """SASL mechanisms that we may use: there is one."""
    # Each front server under its own name: mxfront3q.mail, vla1-….qloud-c, mail-nwsmtp-mxfront-….yp-c. It tells of
    # SPF and DKIM only.
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("*.yandex.net",)
    """Names under which the provider writes Authentication-Results."""
    removal_page: WebUrl | None = "https://id.yandex.ru/personal/data-access"
    """The page where the owner takes our access away."""


class MailruImap(Server):
    """Mail.ru's IMAP server."""

    host: HostName = "imap.mail.ru"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class MailruSmtp(Server):
    """Mail.ru's submission server."""

    host: HostName = "smtp.mail.ru"
    """Name or IP address of the server."""
    port: Port | None = 465
    """Port of the server."""


class MailruLimits(SendingLimits):
    """Mail.ru publishes no figures: these are careful ones."""

    messages_per_minute_max: Limit = 30
    """Messages that a mailbox sends within a minute."""
    messages_per_day_max: Limit = 500
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 500
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Connections that one process holds to the submission server."""


class MailruOAuth(OAuth):
    """Mail.ru's addresses and scopes; only `client_id` and `client_secret` are needed."""

    authorize_url: WebUrl | None = "https://oauth.mail.ru/login"
    """Address where the user consents."""
    token_url: WebUrl | None = "https://oauth.mail.ru/token"  # noqa: S105  # an address
    """Address that gives tokens."""
    userinfo_url: WebUrl | None = "https://oauth.mail.ru/userinfo"
    """Address that tells whose token it is."""
    # mail.imap opens SMTP, too. Without openid the answer is 401, without offline_access there is no refresh token.
    scopes: tuple[Text, ...] = ("openid", "email", "mail.imap", "offline_access")
    """What is asked for."""
    extra_authorize_params: dict[Text, str] = Field(default_factory=lambda: {"prompt": "consent"})
    """More parameters for the authorize address; without this one there is no refresh token."""
    # The clients that are known to work send the token so; whether the header is read is not known.
    userinfo_auth: UserinfoAuth = "query"
    """How userinfo is shown the token."""


class MailruProvider(GenericProvider):
    """Mail.ru by IMAP and SMTP."""

    kind: Literal["mailru"]  # type: ignore[assignment]  # the union is discriminated by it
    """`mailru`: Mail.ru, and its domains bk.ru, inbox.ru, list.ru."""
    imap: MailruImap = MailruImap()
    """The server that mail is read from."""
    smtp: MailruSmtp = MailruSmtp()
    """The server that replies are sent through."""
    oauth: MailruOAuth
    """How the mailboxes' owners give access: `client_id` and `client_secret`."""
    limits: MailruLimits = MailruLimits()
    """How much is sent at a time and in a day."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2",)
    """SASL mechanisms that we may use: there is one."""
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("mxs.mail.ru",)
    """Names under which the provider writes Authentication-Results."""
    removal_page: WebUrl | None = "https://id.mail.ru/security"
    """The page where the owner takes our access away."""


class FastmailImap(Server):
    """Fastmail's IMAP server."""

    host: HostName = "imap.fastmail.com"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class FastmailSmtp(Server):
    """Fastmail's submission server."""

    host: HostName = "smtp.fastmail.com"
    """Name or IP address of the server."""
    port: Port | None = 465
    """Port of the server."""


class FastmailLimits(SendingLimits):
    """Careful limits: Fastmail's depend on the plan and on how old the account is."""

    messages_per_minute_max: Limit = 60
    """Messages that a mailbox sends within a minute."""
    messages_per_day_max: Limit = 2000
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 2000
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Connections that one process holds to the submission server."""


class FastmailOAuth(OAuth):
    """Fastmail's addresses and scopes; only `client_id` is needed: the client is a public one."""

    authorize_url: WebUrl | None = "https://api.fastmail.com/oauth/authorize"
    """Address where the user consents."""
    token_url: WebUrl | None = "https://api.fastmail.com/oauth/refresh"  # noqa: S105  # an address
    """Address that gives tokens, the first ones too."""
    # There is no userinfo; the JMAP session (RFC 8620 §2) says whose token it is, for a token with jmap:core.
    userinfo_url: WebUrl | None = "https://api.fastmail.com/jmap/session"
    """Address that tells whose token it is: the JMAP session."""
    revoke_url: WebUrl | None = "https://api.fastmail.com/oauth/revoke"
    """Address that revokes a grant."""
    scopes: tuple[Text, ...] = (
        "https://www.fastmail.com/dev/protocol-imap",
        "https://www.fastmail.com/dev/protocol-smtp",
        "urn:ietf:params:jmap:core",
        "offline_access",
    )
    """What is asked for."""
    scopes_needed: tuple[Text, ...] = (
        "https://www.fastmail.com/dev/protocol-imap",
        "https://www.fastmail.com/dev/protocol-smtp",
    )
    """The scopes without which a grant is not accepted."""
    address_claim: Text = "username"
    """The claim that holds the mailbox's address."""
    subject_claim: Text | None = "username"
    """The claim that names the owner: there is none but the login name."""


class FastmailProvider(GenericProvider):
    """Fastmail by IMAP and SMTP."""

    kind: Literal["fastmail"]  # type: ignore[assignment]  # the union is discriminated by it
    """`fastmail`: Fastmail."""
    imap: FastmailImap = FastmailImap()
    """The server that mail is read from."""
    smtp: FastmailSmtp = FastmailSmtp()
    """The server that replies are sent through."""
    oauth: FastmailOAuth
    """How the mailboxes' owners give access: `client_id`."""
    limits: FastmailLimits = FastmailLimits()
    """How much is sent at a time and in a day."""
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("*.messagingengine.com",)
    """Names under which the provider writes Authentication-Results."""
    authserv_several: bool = True
    """Fastmail writes a header for each method, and removes foreign ones under its names."""
    removal_page: WebUrl | None = "https://app.fastmail.com/settings/security"
    """The page where the owner takes our access away."""


class YahooImap(Server):
    """Yahoo's IMAP server; AOL's is imap.aol.com."""

    host: HostName = "imap.mail.yahoo.com"
    """Name or IP address of the server."""
    port: Port | None = 993
    """Port of the server."""


class YahooSmtp(Server):
    """Yahoo's submission server; AOL's is smtp.aol.com."""

    host: HostName = "smtp.mail.yahoo.com"
    """Name or IP address of the server."""
    port: Port | None = 465
    """Port of the server."""


class YahooLimits(SendingLimits):
    """Yahoo's limits."""

    # help.yahoo.com: 500 a day, and each recipient of a message counts as one of them.
    messages_per_minute_max: Limit = 30
    """Messages that a mailbox sends within a minute; Yahoo publishes none."""
    messages_per_day_max: Limit = 500
    """Messages that a mailbox sends within 24 hours."""
    recipients_per_day_max: Limit = 500
    """Recipients of those messages, together."""
    connections_max: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Connections that one process holds to the submission server; Yahoo publishes none."""


class YahooOAuth(OAuth):
    """Yahoo's addresses and scopes; only `client_id` and `client_secret` are needed."""

    authorize_url: WebUrl | None = "https://api.login.yahoo.com/oauth2/request_auth"
    """Address where the user consents."""
    token_url: WebUrl | None = "https://api.login.yahoo.com/oauth2/get_token"  # noqa: S105  # an address
    """Address that gives tokens."""
    userinfo_url: WebUrl | None = "https://api.login.yahoo.com/openid/v1/userinfo"
    """Address that tells whose token it is."""
    revoke_url: WebUrl | None = "https://api.login.yahoo.com/oauth2/revoke"
    """Address that revokes a grant."""
    # mail-w opens IMAP and SMTP; Yahoo gives it to applications that it approved.
    scopes: tuple[Text, ...] = ("openid", "email", "mail-w")
    """What is asked for."""


class YahooProvider(GenericProvider):
    """Yahoo Mail by IMAP and SMTP."""

    kind: Literal["yahoo"]  # type: ignore[assignment]  # the union is discriminated by it
    """`yahoo`: Yahoo Mail; AOL with its own hosts."""
    imap: YahooImap = YahooImap()
    """The server that mail is read from."""
    smtp: YahooSmtp = YahooSmtp()
    """The server that replies are sent through."""
    oauth: YahooOAuth
    """How the mailboxes' owners give access: `client_id` and `client_secret`."""
    limits: YahooLimits = YahooLimits()
    """How much is sent at a time and in a day."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2", "OAUTHBEARER")
    """SASL mechanisms that we may use, the preferred one first."""
    authserv_ids: Annotated[tuple[AuthservId, ...], Field(max_length=100)] = ("*.yahoo.com",)
    """Names under which the provider writes Authentication-Results: AOL too."""
    removal_page: WebUrl | None = "https://login.yahoo.com/account/security"
    """The page where the owner takes our access away."""


PRESETS: Final[Mapping[str, type[GenericProvider]]] = {
    "google": GoogleProvider,
    "microsoft": MicrosoftProvider,
    "yandex": YandexProvider,
    "mailru": MailruProvider,
    "fastmail": FastmailProvider,
    "yahoo": YahooProvider,
}
PRESET_NAMES: Final = tuple(PRESETS)

AnyProvider = Annotated[
    GenericProvider
    | GoogleProvider
    | MicrosoftProvider
    | YandexProvider
    | MailruProvider
    | FastmailProvider
    | YahooProvider,
    Field(discriminator="kind"),
]
"""A provider: the servers of a kind of mailbox, and how its owners give us access (OAuth)."""
