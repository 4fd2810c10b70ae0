"""The fields of a delivery status report (RFC 3464, 6533), and of those that only look like one.

A group of fields is a recipient's. Some servers lose the empty line between
two groups, or the boundaries of the parts, so that the fields stand in the
text: a second Final-Recipient begins a group, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingestd.mail.addresses import normalize

_LINES_MAX = 4000
_GROUPS_MAX = 101
_VALUE_CHARS_MAX = 2000
_FIELD = re.compile(r"[ \t>]{0,8}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_IN_TEXT = re.compile(
    r"^[ \t>]{0,8}(?:final-recipient|original-recipient|reporting-mta)[ \t]*:[ \t]*"
    r"(?:rfc822|dns|dsn|utf-8|smtp)?[ \t]*;",
    re.IGNORECASE | re.MULTILINE,
)
_UNICODE = re.compile(r"\\x\{(1?[0-9A-Fa-f]{1,5})\}")
_RECIPIENT = ("original-recipient", "final-recipient", "x-actual-recipient")
_FAILED = frozenset({"failed", "failure", "fail", "failed.", "error", "undeliverable"})
_JSON_CHARS_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One group of a report, as it was written; the words are not judged yet."""

    recipient: str
    final_recipient: str
    action: str
    """In lower case; "" where there is none."""
    status: str
    diagnostic: str
    """Without its type; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Report:
    recipients: tuple[ReportedRecipient, ...]
    original_message_id: str = ""
    """X-Original-Message-ID, Original-Envelope-Id (§2.2.1: what the sender gave), or what Amazon's JSON says."""
    envelope_id: str = ""
    """Original-Envelope-Id: what we gave, where a server made use of it (RFC 3461 §4.4)."""


def read_report(text: str) -> Report:
    """Read the fields of a message/delivery-status part.

    >>> report = read_report("Reporting-MTA: dns; mx\\n\\nFinal-Recipient: rfc822; a@example.com\\nAction: failed")
    >>> report.recipients[0].recipient, report.recipients[0].action
    ('a@example.com', 'failed')
    """
    recipients = []
    original = envelope_id = ""
    for group in _groups(text):
        envelope_id = envelope_id or group.get("original-envelope-id", "")
        original = original or group.get("x-original-message-id", "") or group.get("original-envelope-id", "")
        if any(name in group for name in ("action", "status", "diagnostic-code", *_RECIPIENT)):
            recipients.append(_recipient(group))
    return Report(tuple(recipients[:_GROUPS_MAX]), original, envelope_id)


def report_in_text(text: str) -> str:
    """Return the fields of a report that stand in a notice (broken boundaries; WorkMail); "" where there are none."""
    match = _IN_TEXT.search(text)
    return text[match.start() :] if match is not None else ""


def is_failure(action: str) -> bool:
    return action in _FAILED


def _groups(text: str) -> list[dict[str, str]]:
    groups: list[dict[str, str]] = [{}]
    name = ""
    for line in text.replace("\r\n", "\n").split("\n")[:_LINES_MAX]:
        if not line.strip(" \t>"):
            if groups[-1] and len(groups) < _GROUPS_MAX:
                groups.append({})
            name = ""
            continue
        match = _FIELD.match(line)
        if name and line[:1] in " \t" and (match is None or name == "diagnostic-code"):
            groups[-1][name] = (groups[-1][name] + " " + line.strip())[:_VALUE_CHARS_MAX]
        elif match is not None:
            name = match[1].lower()
            if name == "final-recipient" and name in groups[-1] and len(groups) < _GROUPS_MAX:
                groups.append({})  # AOL
            groups[-1].setdefault(name, match[2].strip()[:_VALUE_CHARS_MAX])
    return [group for group in groups if group]


def _recipient(group: Mapping[str, str]) -> ReportedRecipient:
    found = [address_of(group.get(name, "")) for name in _RECIPIENT]
    told = [one for one in found if one]
    final = found[1] or (told[0] if told else "")
    words = group.get("action", "").split(None, 1)
    kind, semicolon, words_after = group.get("diagnostic-code", "").partition(";")
    diagnostic = words_after.strip() if semicolon and len(kind) < 40 else group.get("diagnostic-code", "")
    return ReportedRecipient(
        recipient=told[0] if told else "",
        final_recipient=final,
        action=words[0].rstrip(";,").lower() if words else "",
        status=group.get("status", ""),
        diagnostic=diagnostic,
    )


def address_of(value: str) -> str:
    """Return the address of a `type; address` value; "" where there is none. Quoted local parts stay quoted.

    >>> address_of("rfc822; <Jane@Example.com> (alias)"), address_of("utf-8; j\\\\x{FC}rg@example.com")
    ('jane@example.com', 'jürg@example.com')
    """
    kind, semicolon, address = value.partition(";")
    if not semicolon:
        kind, address = "", value
    if kind.strip().lower() in ("x-unix", "x400", "x.400", "unknown", "local"):
        return ""
    address = _UNICODE.sub(lambda match: _character(int(match[1], 16)), address.strip())
    if address.startswith(('"', '<"')):
        match = re.match(r'<?("[^"]{1,64}"@[^\s<>()]{1,255})', address)
        return normalize(match[1]) if match is not None else ""
    words = address.replace("<", " ").replace(">", " ").split(None, 4)
    return next((normalize(word)[:320] for word in words if "@" in word[1:-1]), "")


def _character(number: int) -> str:
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def read_notification(text: str) -> tuple[str, Report] | None:
    """Read what Amazon SES sends through SNS by mail: JSON; its kind is "bounce", "complaint" or "delivery"."""
    text = text.lstrip()
    if not text.startswith("{") or '"notificationType"' not in text[:_JSON_CHARS_MAX]:
        return None
    try:
        # The mail that carries it breaks the lines within strings, so it is not strict JSON.
        found, _ = json.JSONDecoder(strict=False).raw_decode(text[:_JSON_CHARS_MAX])
        kind = str(found["notificationType"]).lower()
        details = found.get(kind, {})
        listed = details.get("bouncedRecipients") or details.get("complainedRecipients") or []
        recipients = tuple(_notified(one) for one in listed[:_GROUPS_MAX])
        original = _plain(found.get("mail", {}).get("commonHeaders", {}).get("messageId", ""), _VALUE_CHARS_MAX)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return kind, Report(recipients, original)


def _notified(one: Mapping[str, object]) -> ReportedRecipient:
    address = normalize(_plain(one.get("emailAddress", ""), 320))
    words = _plain(one.get("diagnosticCode", ""), _VALUE_CHARS_MAX)
    return ReportedRecipient(
        recipient=address,
        final_recipient=address,
        action=_plain(one.get("action", "failed"), 20).lower(),
        status=_plain(one.get("status", ""), 20),
        diagnostic=words.partition(";")[2].strip() or words,
    )


def _plain(value: object, chars_max: int) -> str:
    """Return text that can be encoded: JSON may hold halves of surrogate pairs."""
    return str(value)[:chars_max].encode("utf-8", "replace").decode("utf-8")
