"""The values that the mail core returns. They cross a process boundary, so they are plain data."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec


class Address(msgspec.Struct, frozen=True, array_like=True):
    """A mailbox address of a header: `addr` is the bare address as written, `name` the display name."""

    addr: str
    name: str = ""


class Kind(enum.StrEnum):
    """What a message is, for the helpdesk."""

    CUSTOMER = "customer"
    AUTO_REPLY = "auto_reply"
    BOUNCE = "bounce"
    DELAY_NOTICE = "delay_notice"
    COMPLAINT = "complaint"
    RECEIPT = "receipt"
    BULK = "bulk"
    OWN = "own"
    """A message of ours that came back to the mailbox; only our HMAC proves it."""


class Attachment(msgspec.Struct, frozen=True):
    """One attachment or inline part; its bytes stay in the raw message."""

    name: str
    """Safe to display and to save under: no path, no control or bidi characters, bounded length."""
    original_name: str
    content_type: str
    size_bytes: int
    """Decoded size."""
    sha256: str
    """Hex, of the decoded bytes."""
    content_id: str | None
    inline: bool
    offset: int
    """Where the encoded body starts in the raw message, in bytes; -1 where it cannot be told."""
    length: int
    """Length of the encoded body in the raw message, in bytes."""
    encoding: str
    """Content-Transfer-Encoding in lower case: base64, quoted-printable, 7bit, 8bit, binary, uuencode."""
    container: str = ""
    """What must be opened at `offset` to reach it, outermost first: "smime", "tnef", "smime/tnef", "uuencode";
    "" where it lies there itself. `containers.content_of` opens it."""
    index: int = 0
    """Its number in the last container, from 0: for "tnef" and "uuencode"."""
    inner: tuple[tuple[int, int, str], ...] = ()
    """Offset, length and encoding inside the content of each "smime", outermost first."""


class BounceRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """What a bounce or delay notice says about one recipient."""

    recipient: str
    """The address that the message was sent to, in normal form: RFC 3464's Original-Recipient, where it is told."""
    final_recipient: str = ""
    """The address that failed, where an alias or a forwarding led there; else the same as `recipient`."""
    action: str = "failed"
    """failed: the server gave the message up; delayed: it goes on trying (RFC 3464 §2.3.3)."""
    status: str = ""
    """Enhanced status (RFC 3463), e.g. "5.1.1"."""
    derived: bool = False
    """No server gave `status`: it was made of the reply code and the words, by the table in `bounce_status`."""
    reply_code: str = ""
    """SMTP reply code, e.g. "550"; "" where none is told."""
    diagnostic: str = ""
    """The server's words, on one line, bounded."""
    permanent: bool = False
    """Class 5: the same message will not be accepted later either."""
    hard: bool = False
    """The address itself is no good (no such user, host or mailbox any more): writing to it again is pointless."""


class BounceInfo(msgspec.Struct, frozen=True):
    """What a bounce or delay notice says (RFC 3464, and the common ones that ignore it)."""

    recipients: tuple[str, ...] = ()
    """Of `failures`, each once."""
    status: tuple[str, ...] = ()
    """Of `failures`, in their order, given or derived."""
    reply_codes: tuple[str, ...] = ()
    """Of those `failures` that have one, in their order."""
    permanent: bool = False
    """Of any of `failures`."""
    diagnostic: str = ""
    """The first of `failures` that has one; else the sentence that says that it failed."""
    original_message_ids: tuple[str, ...] = ()
    """Message-IDs found in the returned header, unproved."""
    own_tokens: tuple[str, ...] = ()
    """OWN_HEADER tokens found in the returned header, and the envelope id that has the form of one; unproved."""
    failures: tuple[BounceRecipient, ...] = ()
    hard: bool = False
    """Of any of `failures`."""


class AuthResult(msgspec.Struct, frozen=True):
    """One Authentication-Results header (RFC 8601), as far as it can be read. Domains are in lower case."""

    authserv_id: str
    """In lower case; "" where the header names nobody, as Microsoft's."""
    methods: dict[str, str]
    """dkim, spf, dmarc → pass, fail, none …"""
    dkim_domains: tuple[str, ...] = ()
    """The signers of the DKIM signatures that pass."""
    spf_domain: str = ""
    """The domain of the envelope sender, where SPF passes."""
    from_domain: str = ""
    """The domain that the DMARC verdict is about."""


class CalendarEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What an invitation says (text/calendar, RFC 5545 and 5546)."""

    method: str
    """REQUEST, CANCEL, REPLY …; "" where the calendar has none."""
    summary: str
    begins: str
    """As ISO 8601: a date, or a date and time with its offset where the zone is known."""
    ends: str
    location: str = ""
    organizer: str = ""
    """The bare address."""


class Came(msgspec.Struct, frozen=True):
    """The bytes of a message as they came. Not to be stored: a few unknown digits are soon guessed from a hash."""

    body_sha256: bytes
    raw_sha256: bytes


class ParsedMail(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the helpdesk needs it. Every field has a value for every input."""

    subject: str
    from_: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    sender: Address | None
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    delivered_to: tuple[str, ...]
    """Delivered-To, X-Original-To, Envelope-To: which of our addresses it was sent to."""
    message_id: str
    """With angle brackets; "" where there is none."""
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    """Oldest first, with angle brackets, bounded."""
    date: datetime | None
    text: str
    """What a reader sees, as plain text."""
    new_text: str
    """`text` without quoted history and signature; never empty where `text` is not, when in doubt the whole."""
    html: str
    """Sanitized HTML; "" where there is none."""
    attachments: tuple[Attachment, ...]
    kind: Kind
    evidence: tuple[str, ...]
    """Why `kind` is what it is, e.g. "header Auto-Submitted"."""
    bounce: BounceInfo | None
    auth: AuthResult | None
    """The topmost Authentication-Results header."""
    own_tokens: tuple[str, ...]
    """Values of OWN_HEADER in the top header, unproved."""
    defects: tuple[str, ...]
    """What was wrong with the message and how it was read all the same; short fixed words, no content."""
    charset: str
    """The charset in which the text was read."""
    body_sha256: bytes
    """32 bytes: SHA-256 over the body of the raw message (all that follows the first empty line)."""
    new_html: str = ""
    """`html` without quoted history; "" where there is no HTML or nothing could be cut with certainty."""
    quote_cut: tuple[str, ...] = ()
    """Where `new_text` was cut and why, in short fixed words, e.g. "attribution line", "container gmail_quote"."""
    charsets: tuple[str, ...] = ()
    """How each text was read, e.g. "text/plain: labelled gb2312, read as gb18030"."""
    remote_images: int = 0
    """Images that would have been loaded from the network."""
    mismatched_links: int = 0
    """Links whose text names another host than their target."""
    calendar: tuple[CalendarEvent, ...] = ()
    protection: tuple[str, ...] = ()
    """smime-signed, smime-encrypted, pgp-signed, pgp-encrypted: what the message claims; nothing is verified."""
    auth_results: tuple[AuthResult, ...] = ()
    """All Authentication-Results headers, topmost first, bounded; whose they are is for the caller to check."""
    forwarded_from: Address | None = None
    """The original sender of a message that was forwarded, offered as requester where an agent forwarded it."""
    thread_index: str = ""
    """Outlook's Thread-Index in base64, "" where there is none that is well-formed."""
