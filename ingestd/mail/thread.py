"""Which ticket a message belongs to. Evidence comes in as values; the subject never does.

Two kinds of evidence name a ticket: a token of ours that verifies, and an id
known in this mailbox: of an ancestor, or, where older mail comes later, one that
messages of that ticket name. Anybody can write an id into a header (CVE-2026-47123),
and any From, so an id joins only together with a sender who is on the ticket and whom
the provider has proved; for an id of a message that we sent it is enough that he is
not disproved. A token is unguessable, and joins by itself. Whatever is weaker makes a
new ticket that names the suspected one.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ingestd.mail.types import AuthResult, Kind

TicketId = TypeVar("TicketId")


def choose_ticket(references: Sequence[str], ticket_of: Mapping[str, TicketId]) -> TicketId | None:
    """Return the ticket of the nearest known ancestor, or None for a new ticket.

    References lists ancestors oldest first (RFC 5322 §3.6.4), so we walk it
    backwards: the nearest ancestor names the conversation that the sender saw.

    The subject is never consulted. Two customers who both write "Invoice"
    must not read each other's mail.

    >>> choose_ticket(["<a@x>", "<b@x>"], {"<a@x>": 1, "<b@x>": 2})
    2
    """
    for reference in reversed(references):
        if reference in ticket_of:
            return ticket_of[reference]
    return None


def ancestors(in_reply_to: Sequence[str], references: Sequence[str]) -> tuple[str, ...]:
    """Return all ids that a message names, oldest first: In-Reply-To names the parent, so it comes last.

    >>> ancestors(["<b@x>"], ["<a@x>", "<b@x>"])
    ('<a@x>', '<b@x>')
    """
    parents = set(in_reply_to)
    return (*(one for one in references if one not in parents), *in_reply_to)


class Standing(enum.StrEnum):
    """What the sender is on the candidate ticket."""

    REQUESTER = "requester"
    PARTICIPANT = "participant"
    STRANGER = "stranger"


class Authentication(enum.StrEnum):
    """The provider's verdict on the sender's domain. Only a pass proves it, and only a fail disproves it."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NONE = "none"
    """The provider looked, and nothing speaks for the sender."""
    ABSENT = "absent"
    """The provider writes verdicts, and this message has none."""
    UNKNOWN = "unknown"
    """No name is known under which the provider would write verdicts."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ticket that evidence points to, and the sender's standing on it."""

    ticket_id: uuid.UUID
    standing: Standing
    ours: bool = False
    """An id of a message that we sent points to it: whoever names it has seen that message."""
    ended: bool = False
    """The ticket was closed so long ago that an answer is a new matter, or it was deleted."""
    spam: bool = False
    """Somebody called the ticket spam: what comes to it is kept there, and nothing comes of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes. `ticket_id` None makes a new ticket, linked to `suspected` or `follows` where there
    is one."""

    ticket_id: uuid.UUID | None
    suspected: uuid.UUID | None
    reopen: bool
    evidence: tuple[str, ...]
    follows: uuid.UUID | None = None
    """The ended ticket that the new one follows up."""
    muted: bool = False
    """It joins a ticket that is spam."""


_REPORTS = frozenset({Kind.BOUNCE, Kind.DELAY_NOTICE, Kind.RECEIPT, Kind.COMPLAINT, Kind.OWN})
"""About a message of ours, or that message itself: nobody who writes these has standing."""


def decide(
    *,
    by_token: Candidate | None,
    by_known_id: Candidate | None,
    by_address: Candidate | None = None,
    by_reference: Candidate | None = None,
    authentication: Authentication,
    kind: Kind,
    imported: bool = False,
) -> Decision:
    """Decide on a message by its evidence.

    `by_token`: the ticket of a token that verified, in In-Reply-To or References. `by_address`:
    that of a reply address whose token verified; it proves as much, but is kept in address books, so a
    message that is named comes first. `by_known_id`: the ticket of the nearest ancestor known in
    this mailbox. `by_reference`: a ticket whose messages name this message, or an ancestor
    that it names too. A person's message reopens; one that a machine wrote never does. What comes to a ticket
    that is spam stays there, muted; to one that has ended, or was deleted, a person's message opens a follow-up,
    and a machine's joins. `imported` mail is old: nothing comes of it, and its headers may have been lost when
    the mailbox moved.

    >>> decide(by_token=None, by_known_id=None, authentication=Authentication.PASS, kind=Kind.CUSTOMER).evidence
    ('no reference',)
    """
    seen = f"auth {authentication.value}"
    proved, word = (by_token, "token verified") if by_token is not None else (by_address, "reply address token")
    if proved is not None:
        evidence: tuple[str, ...] = (word, f"sender {proved.standing.value}", seen)
        if proved.standing is Standing.STRANGER:
            # Forwarded to a colleague who answers: it belongs here, and the agent must see who it is.
            evidence = (*evidence, "stranger")
        # A person may write through a list, or from a helpdesk that calls all its mail bulk (Request Tracker).
        return _join(proved, reopen=kind in (Kind.CUSTOMER, Kind.BULK), imported=imported, evidence=evidence)
    found, word = by_known_id, "id of ours" if by_known_id is not None and by_known_id.ours else "known id"
    if found is None:
        found, word = by_reference, "named by the ticket"
    if found is None:
        return Decision(None, None, False, ("no reference",))
    evidence = (word, f"sender {found.standing.value}", seen)
    if not _may_join(found, authentication, kind, imported=imported):
        return Decision(None, found.ticket_id, False, (*evidence, "suspected only"))
    return _join(found, reopen=kind is Kind.CUSTOMER, imported=imported, evidence=evidence)


def _may_join(found: Candidate, authentication: Authentication, kind: Kind, *, imported: bool) -> bool:
    """Whether an id that anybody could write is good enough, with what is known of its sender."""
    if found.ours and kind in _REPORTS:
        return True
    if found.standing is Standing.STRANGER or authentication is Authentication.FAIL:
        return False
    # Whoever names what we sent has seen it. Others must be proved, where the provider proves anybody.
    return found.ours or imported or authentication in (Authentication.PASS, Authentication.UNKNOWN)


def _join(found: Candidate, *, reopen: bool, imported: bool, evidence: tuple[str, ...]) -> Decision:
    if imported:
        return Decision(found.ticket_id, None, False, evidence)
    if found.spam:
        return Decision(found.ticket_id, None, False, (*evidence, "the ticket is spam"), muted=True)
    if found.ended and reopen:
        return Decision(None, None, False, (*evidence, "the ticket has ended"), follows=found.ticket_id)
    return Decision(found.ticket_id, None, reopen, evidence)


def authentication_of(verdict: AuthResult | None, from_domain: str) -> Authentication:
    """Return what the provider's verdict says of a sender in `from_domain`. Absent is not a pass.

    DMARC's word counts first, for the domain that it is about. Where the domain has no policy, or the provider
    does not tell (Yandex), a signature or an envelope of that domain, or of one above it, proves as much
    (RFC 7489 §3.1). One below it does not: whose it is, only a list of public suffixes could tell.

    >>> authentication_of(AuthResult("", {"dkim": "pass"}, dkim_domains=("example.org",)), "example.org").value
    'pass'
    >>> authentication_of(AuthResult("", {"dkim": "pass"}, dkim_domains=("evil.example",)), "example.org").value
    'none'
    """
    if verdict is None:
        return Authentication.ABSENT
    domain = _ascii_domain(from_domain)
    dmarc = verdict.methods.get("dmarc", "")
    if dmarc in ("fail", "reject", "quarantine"):
        return Authentication.FAIL
    if not domain:
        return Authentication.NONE
    if dmarc == "pass" and verdict.from_domain in ("", domain):
        return Authentication.PASS
    if any(_covers(one, domain) for one in (*verdict.dkim_domains, verdict.spf_domain)):
        return Authentication.PASS
    if verdict.methods.get("dkim") == "fail" and verdict.methods.get("spf") in ("fail", "softfail"):
        return Authentication.FAIL
    return Authentication.NONE


def _covers(proved: str, domain: str) -> bool:
    # At least two labels: nobody signs for a whole "com".
    return "." in proved and (domain == proved or domain.endswith(f".{proved}"))


def _ascii_domain(domain: str) -> str:
    """Providers write domains as the DNS has them."""
    try:
        return domain.lower().encode("idna").decode("ascii") if not domain.isascii() else domain.lower()
    except UnicodeError:
        return domain.lower()
