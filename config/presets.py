"""Providers that we know: a preset is the generic provider with its values filled in.

Each value can be overridden in the configuration. A new preset is a subclass
here and a member of `AnyProvider`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.checks import HostName, Port, Text, WebUrl
from config.providers import GenericProvider, Mechanism, OAuth, Server, TokenAuthMethod


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


class GoogleProvider(GenericProvider):
    """Gmail and Google Workspace by IMAP and SMTP."""

    kind: Literal["google"]  # type: ignore[assignment]  # the union is discriminated by it
    """`google`: Gmail and Google Workspace."""
    imap: GoogleImap = GoogleImap()
    """The server that mail is read from."""
    smtp: GoogleSmtp = GoogleSmtp()
    """The server that replies are sent through."""
    oauth: GoogleOAuth
    """How the mailboxes' owners give access: `client_id` and `client_secret`."""
    mechanisms: Annotated[tuple[Mechanism, ...], Field(min_length=1)] = ("XOAUTH2", "OAUTHBEARER")
    """SASL mechanisms that we may use, the preferred one first."""
    authserv_ids: tuple[HostName, ...] = ("mx.google.com",)
    """Names under which the provider writes Authentication-Results."""


AnyProvider = Annotated[GenericProvider | GoogleProvider, Field(discriminator="kind")]
