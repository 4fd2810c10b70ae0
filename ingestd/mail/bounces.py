"""Reads bounces and delay notices: RFC 3464 reports, and the many servers that ignore it.

What is read here proves nothing: anybody can write a bounce. The caller matches
the original ids and tokens with replies that it sent.

`dsn` reads the fields of a report, `bounce_text` the sentences, `bounce_signs`
says whether there is a bounce at all, and `bounce_status` what the words mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ingestd.mail.bounce_signs import evidence_of_notice, may_be_notice, null_return_path, says_delayed
from ingestd.mail.bounce_status import Verdict, judge
from ingestd.mail.bounce_text import Block, Notice, find_addresses, read_blocks, split_notice
from ingestd.mail.dsn import Report, ReportedRecipient, is_failure, read_notification, read_report, report_in_text
from ingestd.mail.encoding import decode_part
from ingestd.mail.headers import decode_value, message_ids
from ingestd.mail.mime import Part
from ingestd.mail.types import BounceInfo, BounceRecipient

_READ_BYTES = 256 * 1024
_COUNT_MAX = 100
_DIAGNOSTIC_CHARS_MAX = 1000
_JUDGED_CHARS_MAX = 32 * 1024
_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)
_ORIGINAL_ID = re.compile(
    r"^[ \t>]*(?:original-|x-original-)?message-id:[ \t]*(?:\n[ \t]+)?(<[^<>\r\n]{3,500}>)",
    re.IGNORECASE | re.MULTILINE,
)
_TOKEN = re.compile(r"[a-z2-7]{52}")
_OWN_TOKEN = re.compile(r"^[ \t>]*x-ingestd-id:[ \t]*([a-z2-7]{52})[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
_SENTENCE = re.compile(
    r"deliver|reach|fail|reject|zustell|remis|entreg|recapit|bezorg|dostarcz|доставл|teslim|配信|送信|投递|배달",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BounceNotice:
    """A message that says that another one was not delivered, or not yet."""

    info: BounceInfo
    delayed: bool
    """Nothing has failed yet: the server goes on trying."""
    evidence: tuple[str, ...]


def read_bounce(raw: bytes, root: Part, parts: Sequence[Part], text: str) -> BounceNotice | None:
    """Return what a bounce or delay notice says; None for any other mail. Never raises.

    `raw`: the bytes that the parts' offsets count in; `text`: the message's plain text.
    """
    parts = outside_messages(parts)
    status_parts = [part for part in parts if part.content_type in _STATUS_TYPES]
    failed_header = find_addresses(decode_value(value) for value in root.get_all("x-failed-recipients")[:10])
    if not status_parts and not failed_header and not may_be_notice(root) and not _is_report(root):
        return None  # ordinary mail ends here, by its header alone
    notice = split_notice(text)
    report, evidence = _report(raw, status_parts, root, notice)
    actions = {one.action for one in report.recipients if one.action}
    failed = any(is_failure(action) for action in actions)
    if actions and not failed and "delayed" not in actions:
        return None  # delivered, relayed, expanded: a receipt
    if failed_header:
        evidence += ("header X-Failed-Recipients",)
    evidence = evidence or evidence_of_notice(root, notice.text)
    if not evidence:
        return None
    delayed = not failed if actions else says_delayed(root, notice.text)
    failures = _failures(report, failed_header, notice, root, delayed=delayed)
    if not actions and any(one.permanent and not one.derived for one in failures):
        delayed = False
    original = "\n".join([*_returned_headers(raw, parts), notice.returned])
    if null_return_path(root):
        evidence = tuple(dict.fromkeys((*evidence, "null return path")))
    return BounceNotice(_info(failures, notice, original, report), delayed, evidence)


def outside_messages(parts: Sequence[Part]) -> list[Part]:
    """Leave out what is inside an attached message: a forwarded bounce is a person's mail."""
    inner = [part for part in parts[1:] if part.content_type == "message/rfc822" and part.children]
    if not inner:
        return list(parts)
    return [
        one for one in parts if not any(part is not one and part.start <= one.start < part.end for part in inner[:50])
    ]


def _is_report(root: Part) -> bool:
    return root.content_type == "multipart/report" and root.parameters.get("report-type", "").lower() in (
        "delivery-status",
        "",
    )


def _report(raw: bytes, parts: list[Part], root: Part, notice: Notice) -> tuple[Report, tuple[str, ...]]:
    """Return the fields of the report wherever they stand, and where they were found."""
    if parts:
        return read_report("\n\n".join(_part_text(raw, part) for part in parts[:10])), ("part message/delivery-status",)
    notified = read_notification(notice.text)
    if notified is not None and notified[0] == "bounce":
        return notified[1], ("text of Amazon SNS",)
    fields = report_in_text(notice.text)
    if fields and (may_be_notice(root) or _is_report(root)):
        report = read_report(fields)
        if any(one.recipient and one.action for one in report.recipients):
            return report, ("fields of a delivery report in the text",)
    return Report(()), ()


def _failures(
    report: Report, failed_header: list[str], notice: Notice, root: Part, *, delayed: bool
) -> list[BounceRecipient]:
    """Return what is said of each recipient, each once."""
    reported = [one for one in report.recipients if one.recipient and _concerns(one)]
    known = list(dict.fromkeys(one.final_recipient for one in reported)) or failed_header
    blocks = read_blocks(notice.text, known)
    if not blocks:
        blocks = [Block(one, "", "") for one in _guessed(notice, root)]
    by_address = {block.recipient: block for block in blocks}
    alone = len(blocks) == 1
    found: list[BounceRecipient] = []
    room = _JUDGED_CHARS_MAX
    for one in reported or [ReportedRecipient(block.recipient, block.recipient, "", "", "") for block in blocks]:
        block = by_address.get(one.final_recipient) or Block(one.final_recipient, "", "")
        words, verdict = _judged(_general(report, one), block, notice.text if alone else "", delayed=delayed, room=room)
        room = max(0, room - len(words))
        found.append(
            BounceRecipient(
                recipient=one.recipient if one.recipient != one.final_recipient else block.alias_of or one.recipient,
                final_recipient=one.final_recipient,
                action=_action(one, delayed=delayed),
                status=verdict.status,
                derived=verdict.derived,
                reply_code=verdict.reply_code,
                diagnostic=" ".join(words.split())[:_DIAGNOSTIC_CHARS_MAX],
                permanent=verdict.status.startswith("5"),
                hard=verdict.hard,
            )
        )
    return _each_once(found)


def _concerns(one: ReportedRecipient) -> bool:
    return not one.action or is_failure(one.action) or one.action == "delayed"


def _action(one: ReportedRecipient, *, delayed: bool) -> str:
    if one.action:
        return "delayed" if one.action == "delayed" else "failed"
    return "delayed" if delayed else "failed"


def _general(report: Report, one: ReportedRecipient) -> ReportedRecipient:
    """Some servers give action and status once, in a group without a recipient: then they are everybody's."""
    if one.status or one.diagnostic:
        return one
    common = next((other for other in report.recipients if not other.recipient and other.status), None)
    if common is None:
        return one
    return ReportedRecipient(one.recipient, one.final_recipient, one.action, common.status, common.diagnostic)


def _judged(one: ReportedRecipient, block: Block, whole: str, *, delayed: bool, room: int) -> tuple[str, Verdict]:
    """Judge by the server's words in the report; by those in the notice where the report says nothing exact."""
    words = one.diagnostic
    verdict = judge(one.status, words[:room], delayed=delayed)
    for more in (block.words, whole):
        if not more.strip() or not (_is_vague(verdict, one) or not verdict.reply_code):
            continue
        other = judge(one.status, f"{words}\n{more}"[:room], delayed=delayed)
        better = other.meaning and not verdict.meaning
        if not words or (_is_vague(verdict, one) and (better or not _is_vague(other, one))):
            verdict, words = other, words or more
        elif not verdict.reply_code and other.reply_code[:1] == verdict.status[0]:
            verdict = replace(verdict, reply_code=other.reply_code)
    return words or block.words, verdict


def _is_vague(verdict: Verdict, one: ReportedRecipient) -> bool:
    """Whether the notice may know better: no cause, or only that it took too long, or no words to judge by."""
    return verdict.status[2:] in ("0.0", "4.7") or (verdict.derived and not one.diagnostic)


def _guessed(notice: Notice, root: Part) -> list[str]:
    """Whom a notice that marks no recipient may mean: those whom the returned message was sent to, else anybody."""
    mentioned = find_addresses([notice.text])
    line = re.search(r"^[ \t>]*to:[ \t]*(.*(?:\n[ \t].*){0,20})", notice.returned, re.IGNORECASE | re.MULTILINE)
    sent_to = find_addresses([line[1]]) if line is not None else []
    both = [one for one in mentioned if one in set(sent_to)]
    subject = find_addresses([root.text("subject")])
    own = set(find_addresses([root.text("from"), root.text("to")]))
    return both or sent_to[:1] or subject[:1] or [one for one in mentioned if one not in own][:1]


def _each_once(found: list[BounceRecipient]) -> list[BounceRecipient]:
    """The first of those about one address counts; a failure counts more than a delay."""
    first: dict[str, BounceRecipient] = {}
    for one in found:
        before = first.get(one.final_recipient)
        if before is None or (before.action == "delayed" and one.action == "failed"):
            first[one.final_recipient] = one
    return list(first.values())[:_COUNT_MAX]


def _info(failures: list[BounceRecipient], notice: Notice, original: str, report: Report) -> BounceInfo:
    diagnostic = next((one.diagnostic for one in failures if one.diagnostic), "")
    ids = [one for found in _ORIGINAL_ID.findall(original) for one in message_ids(found)]
    ids += message_ids(report.original_message_id) if "@" in report.original_message_id else []
    ids += [one for found in _ORIGINAL_ID.findall(notice.text) for one in message_ids(found)]
    return BounceInfo(
        recipients=_unique(one.recipient for one in failures),
        status=tuple(one.status for one in failures if one.status),
        reply_codes=tuple(one.reply_code for one in failures if one.reply_code),
        permanent=any(one.permanent for one in failures),
        diagnostic=diagnostic or _sentence(notice.text),
        original_message_ids=_unique(ids),
        own_tokens=_unique([*(one.lower() for one in _OWN_TOKEN.findall(original)), *_envelope_token(report)]),
        failures=tuple(failures),
        hard=any(one.hard for one in failures),
    )


def _envelope_token(report: Report) -> list[str]:
    """Return the envelope id if it has the form of a token: those that we give have."""
    envelope_id = report.envelope_id.strip("<>").lower()
    return [envelope_id] if _TOKEN.fullmatch(envelope_id) else []


def _part_text(raw: bytes, part: Part) -> str:
    encoded = raw[part.start : min(part.end, part.start + _READ_BYTES)]
    return decode_part(encoded, part.encoding).decode("utf-8", "replace")


def _returned_headers(raw: bytes, parts: Iterable[Part]) -> list[str]:
    """Return the headers of returned messages, which carry the ids that prove them ours."""
    found: list[str] = []
    for part in parts:
        if part.content_type in _RETURNED_TYPES and len(found) < 5:
            text = _part_text(raw, part).replace("\r\n", "\n")
            found.append(text.lstrip("\n").split("\n\n", 1)[0])
    return found


def _sentence(notice: str) -> str:
    line = next((one for one in notice[:8000].split("\n") if _SENTENCE.search(one)), "")
    return " ".join(line.split())[:_DIAGNOSTIC_CHARS_MAX]


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))[:_COUNT_MAX]
