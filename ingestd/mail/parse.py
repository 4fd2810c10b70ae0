"""A raw message as values. Total: every input has a result, and what is wrong with it is data.

Also bounded: see `Limits`. The stages are files of their own: `mime` finds the
parts, `content` reads them, `quotes` cuts the history, `bounces` and `classify`
say what kind of message it is.
"""

from __future__ import annotations

import hashlib
import re

from ingestd.mail import OWN_HEADER
from ingestd.mail.addresses import normalize, parse_addresses
from ingestd.mail.auth import parse_auth
from ingestd.mail.bounces import read_bounce
from ingestd.mail.classify import classify
from ingestd.mail.content import Content, Piece, join_html, join_text
from ingestd.mail.headers import clean, decode_value, message_ids, parse_date
from ingestd.mail.html import before_quote
from ingestd.mail.limits import DEFAULT_LIMITS, Limits
from ingestd.mail.mime import Part, read_tree
from ingestd.mail.quotes import is_forward_subject, strip_quotes
from ingestd.mail.types import Address, ParsedMail

_ONCE = ("from", "subject", "message-id", "date", "to", "cc", "reply-to", "sender", "in-reply-to", "references")
_DELIVERED = ("delivered-to", "x-original-to", "envelope-to", "x-delivered-to")
_SUBJECT_CHARS_MAX = 1000
_BODY_BEGINS = re.compile(rb"\r?\n\r?\n|\r\r")


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
    pieces = content.read(root)
    text = join_text(pieces)
    subject = decode_value(head.get("subject"))[:_SUBJECT_CHARS_MAX]
    parts = root.walk()
    bounce, delayed = read_bounce(text_bytes, head, parts, text)
    kind, evidence = classify(head, parts, bounce, delayed)
    senders = _addresses(head, "sender", limits)
    return ParsedMail(
        subject=subject,
        from_=_addresses(head, "from", limits),
        reply_to=_addresses(head, "reply-to", limits),
        sender=senders[0] if senders else None,
        to=_addresses(head, "to", limits),
        cc=_addresses(head, "cc", limits),
        delivered_to=_delivered_to(head, limits),
        message_id=next(iter(_ids(head, "message-id", limits)), ""),
        in_reply_to=_ids(head, "in-reply-to", limits),
        references=_ids(head, "references", limits),
        date=parse_date(decode_value(head.get("date"))),
        text=text,
        new_text=_new_text(pieces, text, subject),
        html=join_html(pieces),
        attachments=tuple(content.attachments),
        kind=kind,
        evidence=evidence,
        bounce=bounce,
        auth=parse_auth(decode_value(head.get("authentication-results"))),
        own_tokens=_own_tokens(head),
        defects=tuple(defects),
        charset=content.charset or "us-ascii",
        body_sha256=hashlib.sha256(_body(raw)).digest(),
        remote_images=content.remote_images,
        mismatched_links=content.mismatched_links,
    )


def _note_repeated(head: Part, defects: dict[str, None]) -> None:
    names = [name for name, _ in head.fields]
    for name in _ONCE:
        if names.count(name) > 1:
            defects[f"repeated-{name}"] = None
    if not head.get("from"):
        defects["from-missing"] = None
    if not head.get("message-id"):
        defects["message-id-missing"] = None


def _addresses(head: Part, name: str, limits: Limits) -> tuple[Address, ...]:
    """Return a field's addresses; To and Cc may be repeated (each is then a part of the list)."""
    values = head.get_all(name) if name in ("to", "cc") else [head.get(name)]
    found = [one for value in values if value for one in parse_addresses(value, limits.addresses_max)]
    return tuple(found[: limits.addresses_max])


def _ids(head: Part, name: str, limits: Limits) -> tuple[str, ...]:
    return message_ids(clean(decode_value(head.get(name))), limits.references_max)


def _delivered_to(head: Part, limits: Limits) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _DELIVERED:
        for value in head.get_all(name)[:20]:
            for one in parse_addresses(value, 20):
                found[normalize(one.addr)] = None
    return tuple(found)[: limits.addresses_max]


def _own_tokens(head: Part) -> tuple[str, ...]:
    values = (decode_value(value).lower() for value in head.get_all(OWN_HEADER.lower())[:10])
    return tuple(dict.fromkeys(value for value in values if re.fullmatch(r"[a-z2-7]{52}", value)))


def _new_text(pieces: list[Piece], text: str, subject: str) -> str:
    """Return what is new. The client's own containers in the HTML are better evidence than lines of text."""
    if not text:
        return ""
    forwarded = is_forward_subject(subject)
    stripped = strip_quotes(text, forwarded=forwarded)
    if forwarded or len(pieces) != 1 or not pieces[0].html or pieces[0].plain.strip():
        return stripped
    before = before_quote(pieces[0].html)
    if before is None or not before.strip():
        return stripped
    # What stands below the container is the sender's too (an answer beneath a quote): then lines decide.
    shorter = strip_quotes(before)
    return shorter if len(shorter) <= len(stripped) and text.startswith(before[:50]) else stripped


def _body(raw: bytes) -> bytes:
    match = _BODY_BEGINS.search(raw)
    return raw[match.end() :] if match else b""
