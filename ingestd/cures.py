"""What is wrong with a mailbox, in words, and what a person does about it: the one place for both.

The words are for operators: what it means, what to do, where, and which command to run.
They know nothing of a mailbox but its id and its provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from config import Provider
from connectors.base import Trouble


@dataclass(frozen=True, slots=True)
class Words:
    """Two short texts for people."""

    meaning: str
    cure: str


_AGAIN: Final = "It is tried again by itself, and goes on where it stopped; nothing need be linked again."
_LINK: Final = (
    "Let its owner consent again, with the address that `ingestd mailbox link --again {mailbox}` prints. "
    "Reading then goes on where it stopped, and waiting replies go out."
)

WORDS: Mapping[Trouble, Words] = MappingProxyType(
    {
        Trouble.TOKEN_EXPIRED: Words(
            "{server} refuses the access token, a fresh one too, and the provider does not say why.",
            "Nothing for now: " + _AGAIN[0].lower() + _AGAIN[1:] + " If it lasts for hours, see that {protocol} is "
            "allowed for the mailbox, and that the mail server and the provider's sign-in know each other. " + _LINK,
        ),
        Trouble.GRANT_REVOKED: Words(
            "The provider says that our access was taken back: by the owner, by a new password, by an administrator, "
            "or because it was not used for long.",
            _LINK,
        ),
        Trouble.CONSENT_OR_MFA: Words(
            "The provider wants the owner to sign in again: to consent anew, or with a second factor.",
            _LINK,
        ),
        Trouble.ADMIN_BLOCKED: Words(
            "The provider or its administrator does not let our application in, or a certificate is not accepted; the "
            "reason tells which.",
            "See that `oauth.client_id` and `oauth.client_secret` under `providers.{provider}` are still those of "
            "its registration, and ask the administrator to allow the application and {protocol} for it. For a "
            "certificate, set `tls_ca_file`. " + _AGAIN,
        ),
        Trouble.PROTOCOL_DISABLED: Words(
            "{protocol} is switched off for this mailbox, or lacks something that is needed; the grant is good.",
            "Switch {protocol} on for the mailbox at the provider; where the reason names a folder, set it right under "
            "`providers.{provider}.folders` or `mailbox_defaults.folders`. " + _AGAIN,
        ),
        Trouble.WRONG_MAILBOX: Words(
            "The grant is somebody else's than the mailbox's owner, or does not open this mailbox.",
            "Sign out of the provider in the browser, and sign in as the mailbox itself. " + _LINK,
        ),
        Trouble.THROTTLED: Words(
            "The provider asked us to wait: it limits how much and how often a mailbox is used.",
            "Nothing: it goes on by itself at the time that is named as the next try. If it happens often, look for "
            "other programs that use this mailbox: they share its limits.",
        ),
        Trouble.TRANSIENT: Words(
            "{server} cannot be reached, or answers with an error that passes as a rule.",
            "Nothing for now: " + _AGAIN[0].lower() + _AGAIN[1:] + " If it lasts, look at the provider's status page, "
            "and see that this machine reaches {host}:{port} (`providers.{provider}`).",
        ),
    }
)

_AT_THE_PROVIDER: Mapping[tuple[str, Trouble], str] = MappingProxyType(
    {
        ("google", Trouble.GRANT_REVOKED): "While Google's application is in status Testing, every grant ends after 7 "
        "days: publish it, or make it internal.",
        ("google", Trouble.ADMIN_BLOCKED): "Google Workspace: Admin console, Security, API controls, App access "
        "control: trust the application.",
        ("google", Trouble.PROTOCOL_DISABLED): "Google Workspace: Admin console, Apps, Gmail, End user access: allow "
        "IMAP.",
        ("microsoft", Trouble.CONSENT_OR_MFA): "Where users may not consent by themselves, an administrator of the "
        "directory consents for all (Entra admin center, Enterprise applications, Permissions).",
        (
            "microsoft",
            Trouble.ADMIN_BLOCKED,
        ): "Microsoft 365: SMTP AUTH is off for a tenant as a rule; allow it for "
        "the mailbox: Set-CASMailbox -SmtpClientAuthenticationDisabled $false.",
        ("microsoft", Trouble.PROTOCOL_DISABLED): "Microsoft 365: Exchange admin center, Mailboxes, Manage email apps: "
        "IMAP, and Authenticated SMTP for sending.",
        ("microsoft", Trouble.WRONG_MAILBOX): "A shared mailbox has no sign-in of its own: link it as a user who may "
        "open it (`ingestd mailbox link {provider} --shared ADDRESS`).",
        ("yandex", Trouble.ADMIN_BLOCKED): "Yandex 360: an administrator can forbid external services; changed rights "
        "of the application end all its grants.",
        ("yandex", Trouble.PROTOCOL_DISABLED): "Yandex: in the mailbox's settings, Email clients, allow access by IMAP "
        "with portal passwords or OAuth tokens.",
        (
            "mailru",
            Trouble.PROTOCOL_DISABLED,
        ): "Mail.ru: in the mailbox's settings, All settings, Access from mail clients, allow access by IMAP.",
    }
)


_OF_GRAPH: Final = Words(
    "Microsoft or the organisation's administrator does not let our application, or the user who linked a shared "
    "mailbox, into this mailbox, or a certificate is not accepted; the reason tells which.",
    WORDS[Trouble.ADMIN_BLOCKED].cure + " A shared mailbox: see that the user has Full Access and Send As "
    "(Exchange admin center, Mailboxes, Delegation), and that `Mail.ReadWrite.Shared` is granted.",
)
_APPLICATION_AGAIN: Final = (
    "`ingestd mailbox link {provider} --again {mailbox}` tries it at once. " + _AGAIN[0].lower() + _AGAIN[1:]
)
_OF_APPLICATIONS: Mapping[Trouble, Words] = MappingProxyType(
    {
        trouble: Words(
            "Microsoft does not let our application into this mailbox, or the configuration does not name it any more; "
            "the reason tells which.",
            "See that `providers.{provider}.oauth.mailboxes` names the mailbox, that the client secret or certificate "
            "is good, that an administrator has consented to the application permissions Mail.ReadWrite and Mail.Send, "
            "and that the scope of RBAC for Applications (or the application access policy) holds the mailbox: "
            "Test-ServicePrincipalAuthorization tells. A change takes up to two hours to be known. Then "
            + _APPLICATION_AGAIN,
        )
        for trouble in (Trouble.ADMIN_BLOCKED, Trouble.CONSENT_OR_MFA, Trouble.GRANT_REVOKED)
    }
    | {
        Trouble.TOKEN_EXPIRED: Words(
            "Microsoft Graph refuses the access token, a fresh one too, and does not say why.",
            "Nothing for now: "
            + _AGAIN[0].lower()
            + _AGAIN[1:]
            + " If it lasts for hours, see that the application is "
            "still enabled in the directory (Entra admin center, Enterprise applications).",
        ),
        Trouble.WRONG_MAILBOX: Words(
            "Microsoft Graph knows no mailbox with this address in the organisation.",
            "See that the mailbox is there, and licensed where it must be; where its address has changed, disconnect "
            "it and link it by the new one.",
        ),
        Trouble.PROTOCOL_DISABLED: Words(
            "Microsoft Graph does not reach this mailbox: it is on-premises, inactive or soft-deleted, or lacks "
            "something that is needed.",
            "Have it moved to Exchange Online, or made active again; where the reason names a folder, set it right "
            "under `providers.{provider}.folders` or `mailbox_defaults.folders`. " + _AGAIN,
        ),
    }
)
Api = Literal["gmail", "graph"]

_OF_MAIL_SERVERS: Final = frozenset({Trouble.ADMIN_BLOCKED, Trouble.PROTOCOL_DISABLED})
"""Where what is to be changed at the provider concerns IMAP and SMTP."""


def explain_suspended(account_id: UUID) -> Words:
    """Return what it means that a mailbox's account is suspended."""
    return Words(
        "The account is suspended: its mailboxes are neither read nor sent from. Everything is kept, and replies that "
        "are asked for wait.",
        f"The operator lets it go on with `ingestd account resume {account_id}`: what came meanwhile is read then, and "
        "what waits is sent. `ingestd account show` tells whether and when the account is erased.",
    )


def explain_unconfigured(provider: str) -> Words:
    """Return what it means that a mailbox's provider is not in the configuration."""
    return Words(
        f"The configuration names no provider {provider} any more: nobody works on this mailbox.",
        f"Put providers.{provider} back, and let the daemon read its configuration again.",
    )


def explain_missing(folders: Sequence[str], provider: str, mailbox_id: UUID) -> Words:
    """Return what it means that watched folders are not there. They are named: it is for the mailbox's people only."""
    names = ", ".join(f"“{folder}”" for folder in folders)
    one = len(folders) == 1
    return Words(
        f"{'The folder' if one else 'These folders are watched and are not there:'} {names}"
        f"{' is watched and is not there' if one else ''}. {'Its' if one else 'Their'} mail is not read; that of the "
        "other folders is.",
        f"Rename {'it' if one else 'them'} back, or create {'it' if one else 'them'}, at the provider: reading then "
        "goes on by itself where it stopped. Or say which folders are to be watched: `ingestd mailbox set "
        f"{mailbox_id} --folder NAME`, for each of them (`mailbox_defaults.folders`; for a role, "
        f"`providers.{provider}.folders`).",
    )


def explain(
    trouble: Trouble, provider: Provider, mailbox_id: UUID, *, sending: bool = False, api: Api | None = None
) -> Words:
    """Return what a trouble of a mailbox means, of its reading or its `sending`, and what to do."""
    endpoint = provider.smtp if sending else provider.imap
    names = {
        "mailbox": str(mailbox_id),
        "provider": provider.name,
        "protocol": "SMTP" if sending else "IMAP",
        "server": "The server for sending" if sending else "The mail server",
        "host": endpoint.host,
        "port": str(endpoint.port),
    }
    if api is not None:
        called, url = (
            ("the Gmail API", provider.gmail_url) if api == "gmail" else ("Microsoft Graph", provider.graph_url)
        )
        host = urlsplit(url or "").hostname or ""
        names |= {"protocol": called, "server": called[0].upper() + called[1:], "host": host, "port": "443"}
    words = WORDS[trouble]
    if provider.oauth.flow == "application":
        words = _OF_APPLICATIONS.get(trouble, words)
        return Words(words.meaning.format(**names), words.cure.format(**names))
    if api == "graph" and trouble is Trouble.ADMIN_BLOCKED:
        words = _OF_GRAPH
    cure = words.cure.format(**names)
    if api is not None and trouble in _OF_MAIL_SERVERS:
        return Words(words.meaning.format(**names), cure)
    if (more := _AT_THE_PROVIDER.get((provider.kind, trouble))) is not None:
        cure = f"{cure} {more.format(**names)}"
    return Words(words.meaning.format(**names), cure)
