"""What sending by the API needs to know of a mail's header: pure.

The API takes no envelope: a mail goes to whom its To, Cc and Bcc name. So who is in the envelope alone is named in a
Bcc, which Gmail takes out again before the mail leaves.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses

from connectors.base import OWN_HEADER

_ID = re.compile(r"<[^<>\s]{1,900}>")
_SEARCHABLE = re.compile(r"<?[!-~]{1,900}>?")


def _header(content: bytes) -> Message:
    head, separator, _ = content.partition(b"\r\n\r\n")
    return BytesHeaderParser(policy=compat32).parsebytes(head + separator)


def message_id_of(content: bytes) -> str | None:
    """Return the Message-ID of a mail.

    >>> message_id_of(b"Message-Id: <a@example.com>\\r\\n\\r\\n")
    '<a@example.com>'
    """
    value = str(_header(content)["Message-ID"] or "").strip()
    return value or None


def own_token_of(content: bytes) -> str:
    """Return the token in our own header, "" where there is none."""
    return str(_header(content)[OWN_HEADER] or "").strip()


def ancestors_of(content: bytes) -> list[str]:
    """Return the ids of what a mail answers, the nearest first, at most two.

    >>> ancestors_of(b"References: <a@x>\\r\\n <b@x>\\r\\nIn-Reply-To: <b@x>\\r\\n\\r\\n")
    ['<b@x>', '<a@x>']
    """
    header = _header(content)
    answered = _ID.findall(str(header["In-Reply-To"] or ""))
    references = _ID.findall(str(header["References"] or ""))
    return list(dict.fromkeys([*answered[:1], *reversed(references)]))[:2]


def is_searchable(message_id: str) -> bool:
    """Whether `rfc822msgid:` can be asked for an id: it ends at a space, and quotes are the search's own."""
    return bool(_SEARCHABLE.fullmatch(message_id)) and not set('"(){}') & set(message_id)


def with_recipients(content: bytes, recipients: Sequence[str]) -> bytes:
    """Return the mail with a Bcc for those of the recipients that it does not name.

    >>> with_recipients(b"To: <a@example.com>\\r\\n\\r\\n", ["a@example.com"])
    b'To: <a@example.com>\\r\\n\\r\\n'
    >>> with_recipients(b"To: <a@example.com>\\r\\n\\r\\n", ["a@example.com", "b@example.com"])
    b'Bcc: b@example.com\\r\\nTo: <a@example.com>\\r\\n\\r\\n'
    """
    header = _header(content)
    fields = [str(value) for name in ("To", "Cc", "Bcc") for value in header.get_all(name, [])]
    named = {_normal(address) for _, address in getaddresses(fields)}
    hidden = [one for one in recipients if _normal(one) not in named]
    if not hidden:
        return content
    return f"Bcc: {', '.join(hidden)}\r\n".replace(", ", ",\r\n ").encode() + content


def _normal(address: str) -> str:
    """Return what two spellings of an address have in common: the domain as the DNS has it."""
    local, _, domain = address.strip().rpartition("@")
    with contextlib.suppress(UnicodeError):
        domain = domain.encode("idna").decode("ascii")
    return f"{local}@{domain.lower()}"
