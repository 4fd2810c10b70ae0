"""Threading: evidence joins, a subject never does, a forged header never does."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.message_id import own_message_id, own_token, token_of, verify_token
from ingestd.mail.thread import Authentication, Candidate, Decision, Standing, choose_ticket, decide
from ingestd.mail.types import Kind

TICKET, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
PASS, FAIL, ABSENT = Authentication.PASS, Authentication.FAIL, Authentication.ABSENT
NONE, UNKNOWN = Authentication.NONE, Authentication.UNKNOWN
REQUESTER, PARTICIPANT, STRANGER = Standing.REQUESTER, Standing.PARTICIPANT, Standing.STRANGER


def decision(
    token: Standing | None, known: Standing | None, auth: Authentication, kind: Kind = Kind.CUSTOMER
) -> Decision:
    return decide(
        by_token=Candidate(TICKET, token) if token else None,
        by_known_id=Candidate(OTHER, known) if known else None,
        authentication=auth,
        kind=kind,
    )


@pytest.mark.parametrize(
    ("token", "known", "auth", "joined", "suspected"),
    [
        (REQUESTER, None, FAIL, TICKET, None),
        (PARTICIPANT, None, ABSENT, TICKET, None),
        (STRANGER, None, PASS, TICKET, None),
        (REQUESTER, REQUESTER, PASS, TICKET, None),
        (None, REQUESTER, PASS, OTHER, None),
        (None, PARTICIPANT, UNKNOWN, OTHER, None),
        (None, REQUESTER, ABSENT, None, OTHER),
        (None, PARTICIPANT, NONE, None, OTHER),
        (REQUESTER, None, NONE, TICKET, None),
        (None, REQUESTER, FAIL, None, OTHER),
        (None, STRANGER, PASS, None, OTHER),
        (None, STRANGER, ABSENT, None, OTHER),
        (None, None, PASS, None, None),
    ],
)
def test_decisions(
    token: Standing | None,
    known: Standing | None,
    auth: Authentication,
    joined: uuid.UUID | None,
    suspected: uuid.UUID | None,
) -> None:
    result = decision(token, known, auth)
    assert (result.ticket_id, result.suspected) == (joined, suspected)
    assert result.reopen == (joined is not None)


@pytest.mark.parametrize("standing", list(Standing))
@pytest.mark.parametrize("auth", list(Authentication))
def test_a_reply_address_proves_as_much_as_a_token(standing: Standing, auth: Authentication) -> None:
    address, known = Candidate(TICKET, standing), Candidate(OTHER, REQUESTER)
    found = decide(by_token=None, by_address=address, by_known_id=known, authentication=auth, kind=Kind.CUSTOMER)
    assert found == dataclasses.replace(
        decision(standing, REQUESTER, auth), evidence=("reply address token", *found.evidence[1:])
    )
    assert ("stranger" in found.evidence) == (standing is STRANGER)


def test_a_message_that_is_named_comes_before_the_address() -> None:
    token, address = Candidate(TICKET, REQUESTER), Candidate(OTHER, REQUESTER)
    found = decide(by_token=token, by_address=address, by_known_id=None, authentication=PASS, kind=Kind.CUSTOMER)
    assert (found.ticket_id, found.evidence[0]) == (TICKET, "token verified")


@pytest.mark.parametrize(
    ("standing", "auth", "joined"),
    [
        (REQUESTER, UNKNOWN, True),
        (PARTICIPANT, PASS, True),
        (REQUESTER, ABSENT, False),
        (STRANGER, PASS, False),
        (REQUESTER, FAIL, False),
    ],
)
def test_a_ticket_that_names_the_message_is_evidence_like_a_known_id(
    standing: Standing, auth: Authentication, joined: bool
) -> None:
    found = Candidate(TICKET, standing)
    result = decide(by_token=None, by_known_id=None, by_reference=found, authentication=auth, kind=Kind.CUSTOMER)
    assert (result.ticket_id, result.suspected) == ((TICKET, None) if joined else (None, TICKET))
    assert result.evidence[0] == "named by the ticket"


def test_a_known_ancestor_counts_before_who_names_the_message() -> None:
    known, naming = Candidate(OTHER, REQUESTER), Candidate(TICKET, REQUESTER)
    result = decide(by_token=None, by_known_id=known, by_reference=naming, authentication=PASS, kind=Kind.CUSTOMER)
    assert result.ticket_id == OTHER


@pytest.mark.parametrize(
    ("standing", "auth", "kind", "joined"),
    [
        (REQUESTER, ABSENT, Kind.CUSTOMER, True),
        (PARTICIPANT, NONE, Kind.CUSTOMER, True),
        (REQUESTER, FAIL, Kind.CUSTOMER, False),
        (STRANGER, PASS, Kind.CUSTOMER, False),
        (STRANGER, PASS, Kind.AUTO_REPLY, False),
        (STRANGER, ABSENT, Kind.BOUNCE, True),
        (STRANGER, FAIL, Kind.OWN, True),
    ],
)
def test_an_id_of_a_message_that_we_sent_needs_no_proof_but_standing(
    standing: Standing, auth: Authentication, kind: Kind, joined: bool
) -> None:
    """Whoever names it has seen that message; a mail server that returns it has no standing."""
    found = Candidate(OTHER, standing, ours=True)
    result = decide(by_token=None, by_known_id=found, authentication=auth, kind=kind)
    assert (result.ticket_id, result.suspected) == ((OTHER, None) if joined else (None, OTHER))


@pytest.mark.parametrize(("auth", "joined"), [(ABSENT, True), (NONE, True), (FAIL, False)])
def test_old_mail_may_have_lost_its_verdict(auth: Authentication, joined: bool) -> None:
    found = Candidate(OTHER, REQUESTER, ended=True)
    result = decide(by_token=None, by_known_id=found, authentication=auth, kind=Kind.CUSTOMER, imported=True)
    assert (result.ticket_id, result.reopen, result.follows) == (OTHER if joined else None, False, None)


@pytest.mark.parametrize("kind", list(Kind))
def test_an_answer_to_an_ended_ticket_follows_it_up(kind: Kind) -> None:
    """What a machine writes about an old matter belongs to that matter."""
    found = Candidate(TICKET, REQUESTER, ended=True)
    result = decide(by_token=found, by_known_id=None, authentication=PASS, kind=kind)
    person = kind in (Kind.CUSTOMER, Kind.BULK)
    assert (result.ticket_id, result.follows) == ((None, TICKET) if person else (TICKET, None))
    assert (result.reopen, result.suspected) == (False, None)


def test_a_person_who_answers_through_a_list_reopens() -> None:
    """Request Tracker calls its people's answers bulk, and a group adds the headers of a list."""
    assert decision(REQUESTER, None, PASS, Kind.BULK).reopen
    assert not decision(None, REQUESTER, PASS, Kind.BULK).reopen


def test_a_stranger_with_a_token_is_flagged() -> None:
    assert "stranger" in decision(STRANGER, None, PASS).evidence
    assert "stranger" not in decision(REQUESTER, None, PASS).evidence


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.CUSTOMER, Kind.BULK)])
def test_machines_never_reopen(kind: Kind) -> None:
    result = decision(REQUESTER, None, PASS, kind)
    assert (result.ticket_id, result.reopen) == (TICKET, False)


def test_unknown_references_choose_nothing() -> None:
    assert choose_ticket(["<a@example.com>", ""], {"<b@example.com>": 1}) is None


@given(st.binary(min_size=16, max_size=16), st.integers(0, 51), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_verifies_only_as_it_was_made(message_id: bytes, at: int, char: str) -> None:
    key = b"k" * 32
    token = own_token(key, message_id)
    assert token_of(own_message_id(token, "example.com")) == token
    assert verify_token(key, token) == message_id
    assert verify_token(b"l" * 32, token) is None
    changed = token[:at] + char + token[at + 1 :]
    assert changed == token or verify_token(key, changed) is None


@pytest.mark.parametrize("token", ["", "a" * 51, "a" * 53, "1" * 52, "ä" * 52, "a" * 52, "=" * 52])
def test_what_is_no_token_verifies_to_none(token: str) -> None:
    assert verify_token(b"k" * 32, token) is None
