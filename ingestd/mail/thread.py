"""Which ticket a message belongs to. Evidence comes in as values; the subject never does.

Two kinds of evidence name a ticket: a token of ours that verifies, and an id
known in this mailbox: of an ancestor, or, where older mail comes later, one that
messages of that ticket name. Anybody can write an id into a header (CVE-2026-47123),
so an id joins only together with a sender who is on the ticket and whom the
provider did not disprove. A token is unguessable, and joins by itself. Whatever
is weaker makes a new ticket that names the suspected one.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ingestd.mail.types import Kind

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
    """The provider's verdict on the sender's domain."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ticket that evidence points to, and the sender's standing on it."""

    ticket_id: uuid.UUID
    standing: Standing


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes. `ticket_id` None makes a new ticket, linked to `suspected` where there is one."""

    ticket_id: uuid.UUID | None
    suspected: uuid.UUID | None
    reopen: bool
    evidence: tuple[str, ...]


_SILENT = frozenset(Kind) - {Kind.CUSTOMER}


def decide(
    *,
    by_token: Candidate | None,
    by_known_id: Candidate | None,
    by_reference: Candidate | None = None,
    authentication: Authentication,
    kind: Kind,
) -> Decision:
    """Decide on a message by its evidence.

    `by_token`: the ticket of a token that verified (In-Reply-To, References or
    a plus-address). `by_known_id`: the ticket of the nearest ancestor known in
    this mailbox. `by_reference`: a ticket whose messages name this message, or an ancestor
    that it names too. A person's message reopens; one that a machine wrote never does.

    >>> decide(by_token=None, by_known_id=None, authentication=Authentication.PASS, kind=Kind.CUSTOMER).evidence
    ('no reference',)
    """
    reopen = kind not in _SILENT
    seen = f"auth {authentication.value}"
    if by_token is not None:
        return _by_token(by_token, reopen, seen)
    if by_known_id is not None:
        return _by_id(by_known_id, "known id", authentication, reopen, seen)
    if by_reference is not None:
        return _by_id(by_reference, "named by the ticket", authentication, reopen, seen)
    return Decision(None, None, False, ("no reference",))


def _by_token(found: Candidate, reopen: bool, seen: str) -> Decision:
    evidence: tuple[str, ...] = ("token verified", f"sender {found.standing.value}", seen)
    if found.standing is Standing.STRANGER:
        # Forwarded to a colleague who answers: it belongs here, and the agent must see who it is.
        return Decision(found.ticket_id, None, reopen, (*evidence, "stranger"))
    return Decision(found.ticket_id, None, reopen, evidence)


def _by_id(found: Candidate, word: str, authentication: Authentication, reopen: bool, seen: str) -> Decision:
    evidence: tuple[str, ...] = (word, f"sender {found.standing.value}", seen)
    if found.standing is Standing.STRANGER or authentication is Authentication.FAIL:
        return Decision(None, found.ticket_id, False, (*evidence, "suspected only"))
    return Decision(found.ticket_id, None, reopen, evidence)


def authentication_of(methods: Mapping[str, str]) -> Authentication:
    """Return the verdict of an AuthResult's methods. Absent is not a pass.

    Only DMARC can pass: a DKIM signature alone proves some domain, not the From's.

    >>> authentication_of({"dmarc": "fail", "dkim": "pass"}).value, authentication_of({}).value
    ('fail', 'absent')
    """
    dmarc = methods.get("dmarc")
    if dmarc == "pass":
        return Authentication.PASS
    if dmarc in ("fail", "reject", "quarantine"):
        return Authentication.FAIL
    if methods.get("dkim") == "fail" and methods.get("spf") in ("fail", "softfail"):
        return Authentication.FAIL
    return Authentication.ABSENT
