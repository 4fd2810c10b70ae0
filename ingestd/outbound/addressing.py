"""Whom a reply comes from, whom it goes to, and where its answers go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ingestd.desk import Conversation
from ingestd.inbound.identity import REPLY_ADDRESS_PURPOSE
from ingestd.mail.addresses import normalize
from ingestd.mail.fields import ComposeError, address_words
from ingestd.mail.international import ascii_address
from ingestd.mail.reply_address import ticket_token, with_token
from ingestd.mail.types import Address
from ingestd.outbound.parent import seen_by_requester
from ingestd.records import TOKEN_PLUS, MailboxRecord


@dataclass(frozen=True, slots=True)
class Recipients:
    """Each address once, its domain as the DNS has it."""

    to: Sequence[Address]
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()
    spellings: Sequence[str] = ()
    """Normalized, each as it was given and as the DNS has it: a client chooses in which of them it answers."""

    def everybody(self) -> tuple[Address, ...]:
        """Return the envelope's recipients (RFC 5321 §3.3)."""
        return (*self.to, *self.cc, *self.bcc)


def choose_recipients(
    record: MailboxRecord, to: Iterable[Address], cc: Iterable[Address], bcc: Iterable[Address]
) -> Recipients:
    """Return who gets a reply. Who is named twice counts where everybody sees him: To, then Cc, then Bcc.

    In Cc and Bcc the mailbox's own addresses, and where its answers go, are left out: the reply is on the ticket
    already, and a copy of it would come back as mail. The ticket's requester stays, whoever he is. Raises
    ComposeError for what is no address.
    """
    seen: set[str] = set()
    spellings: dict[str, None] = {}

    def take(field: str, addresses: Iterable[Address], *, ours: bool) -> tuple[Address, ...]:
        taken = []
        for one in addresses:
            address = _checked(field, one)
            key = normalize(address.addr)
            if key not in seen and (ours or not record.comes_back(address.addr)):
                seen.add(key)
                spellings.update(dict.fromkeys((key, normalize(one.addr))))
                taken.append(address)
        return tuple(taken)

    return Recipients(
        to=take("To", to, ours=True),
        cc=take("Cc", cc, ours=False),
        bcc=take("Bcc", bcc, ours=False),
        spellings=tuple(spellings),
    )


def _checked(field: str, address: Address) -> Address:
    address_words(field, [address])
    try:
        return Address(ascii_address(address.addr), address.name)
    except ValueError as error:
        raise ComposeError(field, "names a domain that cannot be") from error


def sender_of_reply(view: Conversation) -> Address:
    """A reply goes out from the address that was written to: the newest inbound message tells."""
    for one in reversed(seen_by_requester(view)):
        if one.row.direction != "in":
            continue
        mail = one.record.mail
        for address in (*(a.addr for a in mail.to), *(a.addr for a in mail.cc), *mail.delivered_to):
            if (own := view.mailbox.own_address_of(address)) is not None:
                return _checked("From", Address(own, view.mailbox.name))
    return _checked("From", Address(view.mailbox.address, view.mailbox.name))


def answers_to(view: Conversation, sender: Address) -> tuple[Address, ...]:
    """Return the Reply-To, empty where answers go to the sender.

    With a token it is made of the mailbox's Reply-To, else of its own address: what an alias does with a plus,
    nobody knows. Where the token does not fit, there is none, and References must do.
    """
    mailbox, ticket = view.mailbox, view.ticket
    address = mailbox.reply_to or sender.addr
    if mailbox.reply_token == TOKEN_PLUS:
        token = ticket_token(view.key.subkey(REPLY_ADDRESS_PURPOSE), ticket.number, ticket.ticket_id.bytes)
        address = with_token(mailbox.reply_to or mailbox.address, token) or address
    if normalize(address) == normalize(sender.addr):
        return ()
    return (_checked("Reply-To", Address(address, mailbox.name)),)
