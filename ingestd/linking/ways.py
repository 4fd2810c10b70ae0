"""By which way a mailbox is read and sent from: what each needs of a grant, and the choice among them. Pure.

A *way* is a protocol or an API with a connector of its own. One mailbox can be read by one
and sent from by another; which can be is decided by the scopes that its owner granted, and
which of these is taken by the operator's order.

| kind | way | needs |
|---|---|---|
| google | imap, smtp | `https://mail.google.com/` |
| google | gmail, to read | `gmail.modify` or `https://mail.google.com/` |
| google | gmail, to send | one of these two, `gmail.send` or `gmail.compose` |
| microsoft | imap | Outlook's `IMAP.AccessAsUser.All` |
| microsoft | smtp | Outlook's `SMTP.Send` |
| microsoft | graph, to read | Graph's `Mail.ReadWrite` or `Mail.ReadWrite.Shared`, or application permissions |
| microsoft | graph, to send | Graph's `Mail.ReadWrite` (the draft) and `Mail.Send`, or both `.Shared`, or those |
| any other | imap, smtp | whatever was granted: the mail server decides |
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from config import OAuth, Provider
from ingestd.linking.tokens import UNCHECKED_SCOPES, TokenSet


class Way(enum.StrEnum):
    IMAP = "imap"
    SMTP = "smtp"
    GMAIL = "gmail"
    GRAPH = "graph"


OFFERED: Final = frozenset({Way.IMAP, Way.SMTP, Way.GMAIL, Way.GRAPH})
"""The ways that have connectors."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The choice for one mailbox."""

    read: Way | None
    """None where the grant opens none of the ways that are offered."""
    send: Way | None
    send_instead: Way | None = None
    """The next one, for a provider that has switched `send` off (Microsoft: 535 5.7.139)."""


_GOOGLE = "https://www.googleapis.com/auth/"
_ALL_OF_GMAIL = frozenset({"https://mail.google.com/"})
_MODIFY = frozenset({f"{_GOOGLE}gmail.modify"})
_Enough = tuple[frozenset[str], ...]
"""Alternatives: all scopes of one of them are enough."""

APPLICATION: Final = "graph/.default"
"""The scope of tokens by application permissions; which those are, an administrator says, and no answer of the token
endpoint's. So it is taken to open all."""
SHARED: Final = frozenset({"graph/mail.readwrite.shared", "graph/mail.send.shared"})
"""What a user must grant for a shared mailbox."""

READING: Final[Mapping[str, Mapping[Way, _Enough]]] = MappingProxyType(
    {
        "google": {Way.GMAIL: (_MODIFY, _ALL_OF_GMAIL), Way.IMAP: (_ALL_OF_GMAIL,)},
        "microsoft": {
            Way.GRAPH: (
                frozenset({"graph/mail.readwrite"}),
                frozenset({"graph/mail.readwrite.shared"}),
                frozenset({APPLICATION}),
            ),
            Way.IMAP: (frozenset({"outlook/imap.accessasuser.all"}),),
        },
    }
)
SENDING: Final[Mapping[str, Mapping[Way, _Enough]]] = MappingProxyType(
    {
        "google": {
            Way.GMAIL: (
                _MODIFY,
                _ALL_OF_GMAIL,
                frozenset({f"{_GOOGLE}gmail.send"}),
                frozenset({f"{_GOOGLE}gmail.compose"}),
            ),
            Way.SMTP: (_ALL_OF_GMAIL,),
        },
        "microsoft": {
            Way.GRAPH: (
                frozenset({"graph/mail.readwrite", "graph/mail.send"}),
                SHARED,
                frozenset({APPLICATION}),
            ),
            Way.SMTP: (frozenset({"outlook/smtp.send"}),),
        },
    }
)
_BY_IMAP: Final[Mapping[Way, _Enough]] = MappingProxyType({Way.IMAP: (frozenset(),)})
_BY_SMTP: Final[Mapping[Way, _Enough]] = MappingProxyType({Way.SMTP: (frozenset(),)})


def choose(
    kind: str,
    granted: Sequence[str] | None,
    *,
    read_by: Sequence[Way],
    send_by: Sequence[Way],
    offered: Collection[Way],
) -> Ways:
    """Return the ways for a mailbox of a provider of this kind.

    `granted` are the scopes of its grant, None where they are not known: then it is of a time when there was
    nothing but IMAP and SMTP. `read_by` and `send_by` are the operator's order, what is not in it is not taken;
    `offered` are those that there are connectors for.

    >>> order = {"read_by": (Way.GRAPH, Way.IMAP), "send_by": (Way.SMTP, Way.GRAPH), "offered": tuple(Way)}
    >>> outlook, graph = "https://outlook.office.com/", "https://graph.microsoft.com/"
    >>> ways = choose("microsoft", [outlook + "SMTP.Send", graph + "Mail.ReadWrite", graph + "Mail.Send"], **order)
    >>> ways.read.value, ways.send.value, ways.send_instead.value
    ('graph', 'smtp', 'graph')
    """
    reading, sending = READING.get(kind, _BY_IMAP), SENDING.get(kind, _BY_SMTP)
    if granted is None:
        reading, sending, granted = _BY_IMAP, _BY_SMTP, ()
    have = {spelled(kind, scope) for scope in granted}
    read = [way for way in read_by if way in offered and _is_open(reading, way, have)]
    send = [way for way in send_by if way in offered and _is_open(sending, way, have)]
    return Ways(read[0] if read else None, send[0] if send else None, send[1] if len(send) > 1 else None)


def ways_of(provider: Provider, granted: Sequence[str] | None, read_way: str | None = None) -> Ways:
    """Return the choice for a mailbox of a provider as it is configured.

    A mailbox that was read goes on to be read by the same way, `read_way`: another one knows the same messages by
    other ids, and would bring them in a second time.
    """
    read_by = tuple(map(Way, provider.read_by)) if read_way is None else (Way(read_way),)
    send_by = tuple(map(Way, provider.send_by))
    return choose(provider.kind, granted, read_by=read_by, send_by=send_by, offered=OFFERED)


def opens_a_way(kind: str, scope: str) -> bool:
    """Tell whether a scope is one of those that ways need."""
    tables = (READING.get(kind, _BY_IMAP), SENDING.get(kind, _BY_SMTP))
    scopes = {one for table in tables for enough in table.values() for some in enough for one in some}
    return spelled(kind, scope) in scopes


def audience(kind: str, way: Way, granted: Sequence[str]) -> tuple[str, ...] | None:
    """Return the scopes to ask for, so that a token opens a way; None where every token opens all of them.

    A token of Microsoft's is good for one resource, Outlook or Graph.

    >>> audience("microsoft", Way.SMTP, ["Mail.Send", "https://outlook.office.com/SMTP.Send", "openid"])
    ('https://outlook.office.com/SMTP.Send',)
    """
    if kind != "microsoft":
        return None
    resource = "graph/" if way is Way.GRAPH else "outlook/"
    return tuple(
        scope for scope in granted if scope not in UNCHECKED_SCOPES and spelled(kind, scope).startswith(resource)
    )


def granted_of(oauth: OAuth, tokens: TokenSet) -> tuple[str, ...]:
    """Return what a consent granted: what the provider says, else what was asked for (RFC 6749 §5.1).

    Microsoft tells of the first token's resource only; consent to the others was asked for and given together.
    """
    if tokens.scopes is None:
        return oauth.scopes
    if oauth.client != "msal":
        return tokens.scopes
    told = {_resource(one) for one in tokens.scopes if one not in UNCHECKED_SCOPES}
    untold = [one for one in oauth.scopes if one not in UNCHECKED_SCOPES and _resource(one) not in told]
    return (*tokens.scopes, *untold)


def still_granted(before: Sequence[str], told: Sequence[str]) -> tuple[str, ...]:
    """Return what is granted after a refresh that told of some scopes: at Microsoft those of other resources, too.

    >>> still_granted(["https://outlook.office.com/SMTP.Send", "https://graph.microsoft.com/Mail.Send"], ["Mail.Send"])
    ('Mail.Send', 'https://outlook.office.com/SMTP.Send')
    >>> still_granted(["https://mail.google.com/", "openid"], ["openid"])
    ('openid',)
    """
    hosts = [urlsplit(one).hostname or "" for one in (*before, *told)]
    if not any("outlook" in host or "graph" in host for host in hosts):
        return tuple(told)
    resources = {_resource(one) for one in told if one not in UNCHECKED_SCOPES}
    return (*told, *(one for one in before if one not in UNCHECKED_SCOPES and _resource(one) not in resources))


def of_one_resource(scopes: Sequence[str]) -> list[str]:
    """Return those of Microsoft's scopes that are of the same resource as the first one.

    >>> of_one_resource(["email", "Mail.Send", "https://outlook.office.com/SMTP.Send"])
    ['email', 'Mail.Send']
    """
    first = next((_resource(one) for one in scopes if one not in UNCHECKED_SCOPES), "")
    return [one for one in scopes if one in UNCHECKED_SCOPES or _resource(one) == first]


def asks_for_shared(oauth: OAuth) -> bool:
    """Tell whether consents are asked for that open shared mailboxes, with their first token."""
    return oauth.flow == "delegated" and {spelled("microsoft", one) for one in of_one_resource(oauth.scopes)} >= SHARED


def of_graph(scopes: Sequence[str]) -> tuple[str, ...]:
    """Return those of Microsoft's scopes that are Graph's.

    >>> of_graph(["openid", "https://outlook.office.com/SMTP.Send", "https://graph.microsoft.com/Mail.Send"])
    ('https://graph.microsoft.com/Mail.Send',)
    """
    return audience("microsoft", Way.GRAPH, scopes) or ()


def is_of(have: Sequence[str], wanted: Sequence[str]) -> bool:
    """Tell whether a token of Microsoft's with some scopes has wanted ones, too.

    >>> is_of(["https://outlook.office.com/SMTP.Send"], ["Mail.Send"])
    False
    """
    return {spelled("microsoft", one) for one in wanted} <= {spelled("microsoft", one) for one in have}


def _resource(scope: str) -> str:
    return spelled("microsoft", scope).partition("/")[0]


def spelled(kind: str, scope: str) -> str:
    """Return a scope as the tables above spell it: Microsoft's answers spell its hosts and names in several ways.

    What has no host is Graph's: it is the resource of scopes that name none.

    >>> spelled("microsoft", "https://outlook.office365.com/smtp.send"), spelled("microsoft", "Mail.Send")
    ('outlook/smtp.send', 'graph/mail.send')
    """
    if kind != "microsoft":
        return scope
    host = urlsplit(scope).hostname or ""
    return f"{'outlook' if 'outlook' in host else 'graph'}/{scope.rpartition('/')[2].lower()}"


def _is_open(table: Mapping[Way, _Enough], way: Way, have: set[str]) -> bool:
    return any(enough <= have for enough in table.get(way, ()))
