"""The reply address of a ticket: what proves it, and what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.reply_address import is_token_of, number_in, split_token, ticket_token, tokens_in, with_token

KEY, TICKET = b"k" * 32, bytes(range(16))


@given(st.integers(1, (1 << 40) - 1), st.binary(min_size=16, max_size=16))
def test_a_token_names_its_ticket_and_proves_it(number: int, ticket_id: bytes) -> None:
    token = ticket_token(KEY, number, ticket_id)
    address = with_token("support+eu@example.com", token)
    assert address is not None
    assert len(token) == 26
    assert split_token(address.upper()) == ("SUPPORT+EU@EXAMPLE.COM", token)
    assert number_in(token) == number
    assert is_token_of(KEY, token, number, ticket_id)


@given(st.integers(0, 25), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_that_is_changed_proves_nothing(at: int, char: str) -> None:
    token = ticket_token(KEY, 7, TICKET)
    forged = token[:at] + char + token[at + 1 :]
    assert is_token_of(KEY, forged, 7, TICKET) == (forged == token)
    assert number_in(forged) >= 0


def test_a_token_is_of_one_key_one_number_and_one_id() -> None:
    token = ticket_token(KEY, 7, TICKET)
    assert not is_token_of(b"x" * 32, token, 7, TICKET)
    assert not is_token_of(KEY, token, 8, TICKET)
    assert not is_token_of(KEY, token, 7, bytes(16))  # a number that was given a second time


def test_where_it_does_not_fit_there_is_none() -> None:
    token = ticket_token(KEY, 7, TICKET)
    assert with_token(f"{'a' * 37}@example.com", token) == f"{'a' * 37}+{token}@example.com"
    assert with_token(f"{'a' * 38}@example.com", token) is None
    assert with_token(f"{'ж' * 19}@example.com", token) is None
    assert with_token("example.com", token) is None


def test_only_the_form_makes_a_token() -> None:
    token = ticket_token(KEY, 7, TICKET)
    addresses = ["jane@example.org", "", f"+{token}@example.com", f"a+{token}1@example.com", f"a+{token}", "a+b@c"]
    assert [split_token(one) for one in addresses] == [(one, "") for one in addresses]
    assert tokens_in([*addresses, f"a+{token}@x", f"b+{token.upper()}@y"], 5) == [token]
    assert tokens_in([f"a+{c * 26}@x" for c in "abcdef"], 2) == ["a" * 26, "b" * 26]
