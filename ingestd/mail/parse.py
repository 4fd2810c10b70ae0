"""A raw message as values. Total: every input has a result, and what is wrong with it is data.

Also bounded: see `Limits`. The stages are files of their own: `mime` finds the
parts, `content` reads them, `quotes` cuts the history, `bounces` and `classify`
say what kind of message it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ingestd.mail import OWN_HEADER
from ingestd.mail.addresses import normalize, parse_addresses
from ingestd.mail.auth import parse_auth
from ingestd.mail.bounces import read_bounce
from ingestd.mail.classify import classify
from ingestd.mail.content import Content, join_html, join_text
from ingestd.mail.forwarded import forwarded_from
from ingestd.mail.headers import clean, decode_value, message_ids, parse_date, word_charsets
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.mime import Part, read_tree
from ingestd.mail.new_text import read_new_text
from ingestd.mail.thread_index import read_thread_index
from ingestd.mail.types import Address, AuthResult, Kind, ParsedMail

_ONCE = ("from", "subject", "message-id", "date", "to", "cc", "reply-to", "sender", "in-reply-to", "references")
_DELIVERED = ("delivered-to", "x-original-to", "envelope-to", "x-delivered-to")
_SUBJECT_CHARS_MAX = 1000
_AUTH_RESULTS_MAX = 20
_BLANK_LINES = (b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\r")


def parse(raw: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ParsedMail:
    """Return the message as values. Never raises; `defects` says what was wrong and how it was read.

    Of repeated header fields the first counts (RFC 7103 §7.3 leaves the choice; the first is the newest).

    >>> parse(b"Subject: Hi\\r\\nFrom: jane@example.com\\r\\n\\r\\nHello").text
    'Hello'
    """
    root, defects, text_bytes = read_tree(raw, limits)
    head = root
    if root.content_type == "message/rfc822" and root.children and not root.get("from"):
        head = root.children[0]
    _note_repeated(head, defects)
    content = Content(text_bytes, limits, defects)
    for name in ("subject", "from"):
        content.hints |= dict.fromkeys(word_charsets(head.get(name)))
    pieces = content.read_all(root)
    text, html = join_text(pieces), join_html(pieces)
    hints = tuple(content.hints)  # a client that sends raw 8-bit headers writes them in the charset of its text
    subject = head.text("subject", hints)[:_SUBJECT_CHARS_MAX]
    parts = root.walk()
    notice = read_bounce(text_bytes, head, parts, text)
    kind, evidence = classify(head, parts, notice, text)
    answered, references = _ids(head, "in-reply-to", limits), _ids(head, "references", limits)
    authors, senders = _addresses(head, "from", limits, hints), _addresses(head, "sender", limits, hints)
    author = authors[0].name if authors else ""
    new = read_new_text(pieces, text, html, subject, answers=bool(answered or references), sender=author)
    auth_results = _auth_results(head)
    return ParsedMail(
        subject=subject,
        from_=authors,
        reply_to=_addresses(head, "reply-to", limits, hints),
        sender=senders[0] if senders else None,
        to=_addresses(head, "to", limits, hints),
        cc=_addresses(head, "cc", limits, hints),
        delivered_to=_delivered_to(head, limits),
        message_id=next(iter(_ids(head, "message-id", limits)), ""),
        in_reply_to=answered,
        references=references,
        date=parse_date(head.text("date")),
        text=text,
        new_text=new.text,
        html=html,
        attachments=tuple(content.files.found),
        kind=kind,
        evidence=evidence,
        bounce=notice.info if notice is not None and kind in (Kind.BOUNCE, Kind.DELAY_NOTICE) else None,
        auth=auth_results[0] if auth_results else None,
        auth_results=auth_results,
        own_tokens=_own_tokens(head),
        defects=tuple(defects),
        charset=content.charset or "us-ascii",
        new_html=new.html,
        quote_cut=new.why,
        charsets=tuple(content.charsets),
        body_sha256=body_sha256(raw),
        forwarded_from=(
            forwarded_from(text_bytes, parts, subject, text, limits) if kind in (Kind.CUSTOMER, Kind.BULK) else None
        ),
        calendar=tuple(content.files.events),
        protection=tuple(content.files.protection),
        remote_images=content.remote_images,
        mismatched_links=content.mismatched_links,
        thread_index=read_thread_index(head.text("thread-index")),
    )


def body_sha256(raw: bytes) -> bytes:
    """Return the SHA-256 over all that follows the first empty line."""
    return hashlib.sha256(_body(raw)).digest()


def _note_repeated(head: Part, defects: dict[str, None]) -> None:
    names = [name for name, _ in head.fields]
    for name in _ONCE:
        if names.count(name) > 1:
            defects[f"repeated-{name}"] = None
    if not head.get("from"):
        defects["from-missing"] = None
    if not head.get("message-id"):
        defects["message-id-missing"] = None


def _addresses(head: Part, name: str, limits: Limits, hints: Sequence[str]) -> tuple[Address, ...]:
    """Return a field's addresses; To and Cc may be repeated (each is then a part of the list).

    A From that has a name and no address gives that name, unless Sender has an address.
    """
    values = head.get_all(name) if name in ("to", "cc") else [head.get(name)]
    names = name == "from" and not head.get("sender")
    found = [
        one for value in values if value for one in parse_addresses(value, limits.addresses_max, hints, names=names)
    ]
    known = [one for one in found if one.addr] or found[:1]
    return tuple(known[: limits.addresses_max])


def _ids(head: Part, name: str, limits: Limits) -> tuple[str, ...]:
    return message_ids(clean(head.text(name)), limits.references_max)


def _delivered_to(head: Part, limits: Limits) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _DELIVERED:
        for value in head.get_all(name)[:20]:
            for one in parse_addresses(value, 20):
                found[normalize(one.addr)] = None
    return tuple(found)[: limits.addresses_max]


def _auth_results(head: Part) -> tuple[AuthResult, ...]:
    """Return the topmost headers. Latin-1 takes every byte as it is: encoded words must not be decoded here."""
    values = (clean(value.decode("latin-1")) for value in head.get_all("authentication-results")[:_AUTH_RESULTS_MAX])
    return tuple(found for value in values if (found := parse_auth(value)) is not None)


def _own_tokens(head: Part) -> tuple[str, ...]:
    values = (decode_value(value).lower() for value in head.get_all(OWN_HEADER.lower())[:10])
    return tuple(dict.fromkeys(value for value in values if re.fullmatch(r"[a-z2-7]{52}", value)))


def _body(raw: bytes) -> memoryview:
    """Return what follows the first empty line, without a copy."""
    begins = len(raw)
    for blank in _BLANK_LINES:  # a pattern that knows all of them takes ten times as long
        found = raw.find(blank, 0, begins)
        if found >= 0:
            begins = found + len(blank)
    return memoryview(raw)[begins:]
