"""What a message is for the helpdesk: a person's, or which kind of a machine's (RFC 3834 §2).

A person who writes through a mailing list or a group's address is a customer:
many a support address is a group. So a list that can be written to makes no
bulk mail by itself; what can only be unsubscribed from does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingestd.mail.addresses import domain_of, parse_addresses
from ingestd.mail.auto_reply import Automatic, automatic_signs
from ingestd.mail.bounce_signs import null_return_path
from ingestd.mail.bounces import BounceNotice, outside_messages
from ingestd.mail.feedback import complaint_signs, receipt_signs
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.mime import Part, read_tree
from ingestd.mail.types import Kind

_CAMPAIGN = (
    "x-campaign",
    "x-campaign-id",
    "x-campaignid",
    "x-mailchimp-id",
    "x-mc-user",
    "x-csa-complaints",
    "x-mailer-recptid",
)
_LIST = (
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
    "x-google-group-id",
    "mailing-list",
    "x-beenthere",
)
_MACHINE = re.compile(
    r"no[-_.]?reply|do[-_.]?not[-_.]?reply|notifications?@|notify@|newsletter|^news@|mailer@|^updates?@|^marketing@"
    r"|^alerts?@|bounces?[+@-]|^robot@|^info-?mail",
    re.IGNORECASE,
)


_DAEMON = re.compile(r"(?:mailer[-_]daemon|postmaster)@", re.IGNORECASE)


def classify(root: Part, parts: Sequence[Part], notice: BounceNotice | None, text: str) -> tuple[Kind, tuple[str, ...]]:
    """Return the kind and the evidence for it; evidence names headers, part types and sentences, never content.

    A report about our mail comes before everything else, since bounces carry
    auto-reply headers too; then auto-replies, then lists. A customer's mail may
    have evidence as well: why it is one in spite of a list's or machine's signs.
    """
    types = {part.content_type for part in outside_messages(parts)}
    seen = complaint_signs(root, types, text)
    if seen:
        return Kind.COMPLAINT, seen
    if "message/delivery-status" not in types:
        seen = receipt_signs(root, types, text)
        if seen:
            return Kind.RECEIPT, seen
    if notice is not None:
        return (Kind.DELAY_NOTICE if notice.delayed else Kind.BOUNCE), notice.evidence
    if "message/delivery-status" in types or "message/global-delivery-status" in types:
        return Kind.RECEIPT, ("part message/delivery-status", "delivered")
    automatic, seen = automatic_signs(root, text)
    if automatic is Automatic.REPLY:
        return Kind.AUTO_REPLY, seen
    bulk, told = _bulk(root)
    if bulk:
        return Kind.BULK, told
    if automatic is Automatic.GENERATED:
        if _answers_go_elsewhere(root):
            return Kind.CUSTOMER, (*seen, "Reply-To of another domain: a form's mail")
        return Kind.BULK, seen
    return Kind.CUSTOMER, told


def _bulk(root: Part) -> tuple[bool, tuple[str, ...]]:
    """Tell whether one text was sent to many by a machine, with the evidence for that or against it."""
    names = {name for name, _ in root.fields}
    precedence = root.text("precedence").lower() if "precedence" in names else ""
    headers = [f"header {name.title()}" for name in (*_LIST, *_CAMPAIGN) if name in names]
    headers += ["header Precedence"] if precedence in ("bulk", "junk", "list") else []
    if not headers:
        return False, ()
    campaign = not names.isdisjoint(_CAMPAIGN)
    if not campaign and not _is_machine(root):
        if _can_be_written_to(root, precedence):
            return False, (*headers, "a mailing list that people write to")
        if headers == ["header Precedence"] and (root.get("in-reply-to") or root.get("references")):
            return False, (*headers, "an answer on an old mailing list")  # Majordomo calls everything bulk
    return True, tuple(headers)


def _can_be_written_to(root: Part, precedence: str) -> bool:
    """Mailman, Google Groups and their like name the address to write to (RFC 2369 §3.4); newsletters have none."""
    if root.get("x-google-group-id"):
        return True
    if root.get("list-unsubscribe-post") or precedence in ("bulk", "junk"):
        return b"mailto:" in root.get("list-post").lower() and not root.get("list-unsubscribe-post")
    return b"mailto:" in root.get("list-post").lower() or precedence == "list" or bool(root.get("mailing-list"))


def is_machine_address(address: str) -> bool:
    """Whether nobody reads what is written to this address, by its name.

    >>> is_machine_address("no-reply@example.com"), is_machine_address("MAILER-DAEMON@example.com")
    (True, True)
    >>> is_machine_address("nora@example.com")
    False
    """
    return _MACHINE.search(address) is not None or _DAEMON.match(address) is not None


def has_no_return_path(raw: bytes) -> bool:
    """Whether the envelope had no sender (RFC 5321 §4.5.5): nobody must answer it, whatever kind it is of.

    `raw`: the message, or its begin.

    >>> has_no_return_path(b"Return-Path: <>\\r\\nFrom: a@example.com\\r\\n\\r\\n")
    True
    """
    return null_return_path(read_tree(raw, DEFAULT_LIMITS)[0])


def _is_machine(root: Part) -> bool:
    sender = next(iter(parse_addresses(root.get("from"), 1)), None)
    if sender is None or _MACHINE.search(sender.addr) is None:
        return False
    answer_to = next(iter(parse_addresses(root.get("reply-to"), 1)), None)
    return answer_to is None or _MACHINE.search(answer_to.addr) is not None or answer_to.addr == sender.addr


def _answers_go_elsewhere(root: Part) -> bool:
    """A web form writes in its own name, and the visitor's address is in Reply-To."""
    sender = next(iter(parse_addresses(root.get("from"), 1)), None)
    answer_to = next(iter(parse_addresses(root.get("reply-to"), 1)), None)
    if sender is None or answer_to is None or _MACHINE.search(answer_to.addr):
        return False
    return domain_of(sender.addr) != domain_of(answer_to.addr)
