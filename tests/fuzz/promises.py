"""What holds for every input of the mail core, whatever it is: the fuzzer and the property tests ask it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec

from ingestd.mail.html_safe import sanitize
from ingestd.mail.transform import Transformed
from ingestd.mail.types import Attachment, ParsedMail

_ACTIVE_TAGS = re.compile(
    "script|style|svg|math|iframe|frame|object|embed|applet|form|input|button|link|meta|base|video|audio|source"
)
_LOADS = re.compile("srcset|background|poster|data|action|formaction|ping|longdesc|xlink:href|on.*")


def broken(raw: bytes, done: Transformed) -> list[str]:
    """Return the promises that a transform broke, in words; none when all is well."""
    mail = done.mail
    checks = {
        "the values cross the pipe": _crosses(mail),
        "new text is lines of the text, in order": _is_subsequence(mail.new_text, mail.text),
        "text does not vanish": bool(mail.new_text) == bool(mail.text),
        "sanitizing again changes nothing": not mail.html or sanitize(mail.html).html == mail.html,
        "no HTML is active": not _active(mail.html) and not _active(mail.new_html),
        "attachments lie in the message": all(_lies_within(one, len(raw)) for one in mail.attachments),
        "names are safe": all(_is_safe(one.name) for one in mail.attachments),
        "one line is one line": "\n" not in mail.subject + mail.message_id,
    }
    return [promise for promise, held in checks.items() if not held]


class _Activity(HTMLParser):
    """Collects what could run or load. A second opinion: nothing of it is of the sanitizer's making."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if _ACTIVE_TAGS.fullmatch(tag):
            self.found.append(tag)
        for name, given in attrs:
            value = (given or "").strip().lower()
            loads = name == "src" and not value.startswith(("cid:", "data:image/"))
            runs = name == "href" and not value.startswith(("http:", "https:", "mailto:", "tel:"))
            if loads or runs or _LOADS.fullmatch(name) or (name == "style" and "url" in value):
                self.found.append(name)


def _active(html: str) -> list[str]:
    reader = _Activity()
    reader.feed(html)
    reader.close()
    return reader.found


def _crosses(mail: ParsedMail) -> bool:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(mail), type=ParsedMail) == mail


def _is_subsequence(part: str, whole: str) -> bool:
    rest = iter([line.strip() for line in whole.split("\n")])
    return all(any(line == one for one in rest) for line in (line.strip() for line in part.split("\n")) if line)


def _lies_within(attachment: Attachment, size_bytes: int) -> bool:
    return attachment.offset == -1 or 0 <= attachment.offset <= attachment.offset + attachment.length <= size_bytes


def _is_safe(name: str) -> bool:
    return bool(name) and not set(name) & set("/\\\0\r\n\u202e\u202d\u2066\u2067\u2068") and name not in (".", "..")
