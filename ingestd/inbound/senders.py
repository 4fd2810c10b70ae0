"""Who wrote a message, for whom, and what is known of him. Pure, but for what the mailbox's record says."""

from __future__ import annotations

from ingestd.inbound.intake import MailboxContext
from ingestd.mail.addresses import domain_of, normalize
from ingestd.mail.auth import provider_verdict
from ingestd.mail.thread import Authentication, authentication_of
from ingestd.mail.types import Address, ParsedMail


def sender_of(mail: ParsedMail) -> Address:
    return mail.from_[0] if mail.from_ else (mail.sender or Address(""))


def is_own_address(context: MailboxContext, address: str) -> bool:
    """Whether mail from this address is ours; with a ticket's token it is as much ours as without."""
    return context.record.own_address_of(address) is not None


def requester_of(context: MailboxContext, mail: ParsedMail) -> Address:
    """Return who asks: the From; Reply-To where one of our own addresses or a contact form wrote for somebody."""
    sender = sender_of(mail)
    if mail.reply_to and _writes_for_another(context, sender):
        return next((one for one in mail.reply_to if not _writes_for_another(context, one)), sender)
    return sender


def _writes_for_another(context: MailboxContext, sender: Address) -> bool:
    return normalize(sender.addr) in context.contact_forms or is_own_address(context, sender.addr)


def authentication(context: MailboxContext, mail: ParsedMail) -> Authentication:
    """Return what the provider found out about the From. Anybody can write the header under another name.

    Of several authors (RFC 5322 §3.6.2), or of several From fields, nobody can tell whom the verdict is about: such
    a sender may be disproved, but not proved.
    """
    if not context.authserv_ids:
        return Authentication.UNKNOWN
    verdict = provider_verdict(mail.auth_results, context.authserv_ids, several=context.authserv_several)
    found = authentication_of(verdict, domain_of(sender_of(mail).addr))
    ambiguous = len(mail.from_) > 1 or "repeated-from" in mail.defects
    return Authentication.NONE if ambiguous and found is Authentication.PASS else found


def offered_requester(context: MailboxContext, mail: ParsedMail) -> Address | None:
    """Return the first sender of a mail that an agent forwarded to us; None for all other mail.

    It is only offered: a stranger who writes under an agent's name could name anybody, and answers to what he asks
    would go there. One whom the provider disproves offers nobody.
    """
    sender, forwarded = normalize(sender_of(mail).addr), mail.forwarded_from
    if forwarded is None or not forwarded.addr:
        return None
    if not is_own_address(context, sender) and not context.rules.is_agent(sender):
        return None
    if is_own_address(context, forwarded.addr) or authentication(context, mail) is Authentication.FAIL:
        return None
    return forwarded
