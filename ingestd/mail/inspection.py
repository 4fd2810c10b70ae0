"""What is made of a raw message, under the names that parsers of mail have in common.

These keys are an interface: programs that compare parsers, and `ingestd inspect --json`, read them.
"""

from __future__ import annotations

from ingestd.mail.parse import parse
from ingestd.mail.types import BounceInfo, Kind, ParsedMail

_NO_BOUNCE = BounceInfo()


def inspect(raw: bytes) -> dict[str, object]:
    """Parse a message and return `summary` of it. Never raises for any bytes.

    >>> inspect(b"Subject: Hi\\r\\nFrom: Jane <jane@example.com>\\r\\n\\r\\nHello")["from_name"]
    'Jane'
    """
    return summary(parse(raw))


def summary(mail: ParsedMail) -> dict[str, object]:
    """Return the common keys. `from` is a bare address, lists are empty where there is nothing.

    `is_bounce` is true for notices of a delay, too: they are bounces that are not `bounce_hard`, and their
    class is 4. `bounce_hard` says that writing to the address again is pointless.
    """
    sender = mail.from_[0] if mail.from_ else None
    bounce = mail.bounce or _NO_BOUNCE
    return {
        "subject": mail.subject,
        "from": sender.addr if sender else None,
        "from_name": sender.name if sender else None,
        "to": [one.addr for one in mail.to],
        "message_id": mail.message_id,
        "text": mail.text,
        "html": mail.html,
        "stripped_reply": mail.new_text,
        "attachments": [{"name": one.name, "sha256": one.sha256} for one in mail.attachments],
        "is_bounce": mail.kind in (Kind.BOUNCE, Kind.DELAY_NOTICE),
        "is_auto_reply": mail.kind is Kind.AUTO_REPLY,
        "is_complaint": mail.kind is Kind.COMPLAINT,
        "recipients": list(bounce.recipients),
        "bounce_status": list(bounce.status),
        "bounce_reply_code": list(bounce.reply_codes),
        "bounce_hard": bounce.hard,
        "bounce_text": bounce.diagnostic,
        "original_message_id": bounce.original_message_ids[0] if bounce.original_message_ids else None,
    }
