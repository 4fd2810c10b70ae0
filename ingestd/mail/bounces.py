"""Reads bounces: RFC 3464 reports, and the many servers that ignore it.

What is read here proves nothing: anybody can write a bounce. The caller matches
the original ids and tokens with replies that it sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from ingestd.mail.addresses import normalize
from ingestd.mail.encoding import decode_part
from ingestd.mail.headers import decode_value, message_ids
from ingestd.mail.mime import Part
from ingestd.mail.types import BounceInfo

_READ_BYTES = 256 * 1024
_COUNT_MAX = 100
_ADDRESS = r"[A-Za-z0-9._%+/=&!#$'*^~{}|?-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z0-9-]{2,63}"
_ADDRESS_ANY = re.compile(rf"(?<![A-Za-z0-9._%+/=-]){_ADDRESS}")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_REPLY_CODE = re.compile(r"(?<![\d.\-:/@#\w])([45][0-5]\d)(?=[ \-:,](?![\d:]{2}:))")
_DAEMON = re.compile(
    r"mailer[-_. ]?daemon|mail[-_ ]?delivery|postmaster|mail delivery (?:sub)?system|mdaemon|delivery subsystem|"
    r"no-?reply-bounce|bounces?@|mail administrator|maildaemon|mailadmin|mailserver|smtpgw|^\s*root@|"
    r"microsoft outlook|^exchange|system administrator",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|non[- ]?deliver|not? (?:be )?deliver|delivery (?:status|failure|fail|problem|error|report|"
    r"notification|has failed|"
    r"notice|incomplete|delayed)|returned mail|mail (?:delivery|system|could not)|failure noti|failed delivery|"
    r"deliver[iy]* (?:failed|has)|"
    r"mail failure|message (?:delay|undeliver|not deliver|could)|returned to sender|user unknown|unzustellbar|"
    r"nicht zugestellt|"
    r"unable to deliver|échec|non remis|no (?:se )?(?:pudo|entregado)|não (?:foi )?entreg|mancato recapito|"
    r"onbestelbaar|niet bezorgd|"
    r"nie dostarczono|не ?доставлен|недоставлен|не удалось доставить|teslim edilemedi|退信|无法投递|投递失败|"
    r"配信不能|配信エラー|"
    r"반송|bounce|"
    r"warning: (?:could not|message)|rejected|ndn:|deferred|delivery delay",
    re.IGNORECASE,
)
_BODY = re.compile(
    r"could not be delivered|couldn't be delivered|wasn't delivered|was not delivered|undeliverable|"
    r"delivery (?:to the following|has failed|failed|"
    r"temporarily suspended|attempt)|this is the qmail|permanent(?:ly)? (?:fatal )?error|"
    r"following addresses had|did not reach the following|"
    r"unable to deliver|user unknown|unknown user|no such user|mailbox (?:is )?(?:full|unavailable|not found|"
    r"disabled)|"
    r"recipient(?:'s)? (?:address )?(?:rejected|unknown|not found)|does not exist|doesn't exist|"
    r"message delivery|returned to (?:the )?sender|"
    r"mail delivery software|diagnostic information for administrators|this is the (?:mail system|postfix)|"
    r"host or domain name not found|"
    r"over quota|quota exceeded|invalid recipient|not listed in|wird nicht|nicht zugestellt|"
    r"не (?:было )?доставлен|配信できません|"
    r"has been rejected|was rejected|was undeliverable|failed recipient|failed to deliver|cannot be delivered|"
    r"not delivered|delivery error|delivery failure",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"will (?:be retried|continue to|keep trying|retry)|delivery (?:is )?delayed|has been delayed|"
    r"warning message only|still being retried|"
    r"not yet been delivered|delayed mail|no action is required|temporarily suspended",
    re.IGNORECASE,
)
_RETURNED = re.compile(
    r"^.{0,40}(?:-{2,}|={2,}|_{5,}).{0,80}$|^.{0,30}(?:original message|copy of (?:the|your) message|"
    r"message headers?|header of|"
    r"unsent message|returned message|text of (?:the )?message|below this line|message follows|"
    r"included below)\b.{0,80}$",
    re.IGNORECASE | re.MULTILINE,
)
_ORIGINAL_ID = re.compile(r"^[ \t>]*(?:original-)?message-id:\s*(<[^<>\r\n]{3,500}>)", re.IGNORECASE | re.MULTILINE)
_OWN_TOKEN = re.compile(r"^[ \t>]*x-ingestd-id:[ \t]*([a-z2-7]{52})[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
_ORIGINAL_HEADER = re.compile(
    r"^[ \t>]*(?:received|return-path|message-id|from|subject): ", re.IGNORECASE | re.MULTILINE
)


class Reports:
    """The report's fields, group after group (RFC 3464 §2.1)."""

    def __init__(self, text: str) -> None:
        self.groups = [
            _fields(group) for group in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))[: _COUNT_MAX + 1]
        ]
        self.groups = [group for group in self.groups if group]

    def actions(self) -> list[str]:
        return [group["action"].split()[0].lower() for group in self.groups if group.get("action", "").strip()]


def _fields(group: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in group.split("\n")[:200]:
        if line[:1] in " \t" and name:
            found[name] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found.setdefault(name, value.strip()[:2000])
    return found


def read_bounce(raw: bytes, root: Part, parts: list[Part], text: str) -> tuple[BounceInfo | None, bool]:
    """Return what a bounce or delay notice says and whether it is only a delay; None for other mail.

    `text` is the message's plain text. Never raises.
    """
    report = next((part for part in parts if part.content_type in _STATUS_TYPES), None)
    failed_header = _addresses(decode_value(value) for value in root.get_all("x-failed-recipients"))
    reports = Reports(_part_text(raw, report)) if report is not None else None
    actions = reports.actions() if reports is not None else []
    if actions and not {"failed", "delayed", "failure"} & set(actions):
        return None, False  # delivered, relayed, expanded: a receipt
    notice, returned = _split_returned(text)
    if report is None and not failed_header and not _looks_like_bounce(root, notice):
        return None, False
    original = _returned_header(raw, parts) + "\n" + returned
    info = _merge(reports, failed_header, notice, original)
    delayed = ("delayed" in actions and "failed" not in actions) if actions else _is_delay(root, notice, info)
    return info, delayed


_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})


def _is_delay(root: Part, notice: str, info: BounceInfo) -> bool:
    if info.status and all(status.startswith("5") for status in info.status):
        return False
    return _DELAY.search(decode_value(root.get("subject"))) is not None or _DELAY.search(notice[:4000]) is not None


def _looks_like_bounce(root: Part, notice: str) -> bool:
    """Need two of: a mailer daemon's name, a bounce's subject, a bounce's sentence; a null path counts as a name.

    A customer who writes "my mail was rejected" has one or two of these, so a
    daemon's name or null path must be among them.
    """
    sender = decode_value(root.get("from")) or decode_value(root.get("sender"))
    daemon = _DAEMON.search(sender) is not None or _null_path(root)
    if not daemon or (root.get("in-reply-to") and not _null_path(root) and _DAEMON.search(sender) is None):
        return False
    subject = _SUBJECT.search(decode_value(root.get("subject"))) is not None
    body = _BODY.search(notice[:8000]) is not None
    if _null_path(root) and _DAEMON.search(sender) is None:
        return subject and (body or _STATUS.search(notice[:8000]) is not None)
    return subject or body


def _null_path(root: Part) -> bool:
    return root.get("return-path").replace(b" ", b"").lower() in (b"<>", b"<mailer-daemon>")


def _split_returned(text: str) -> tuple[str, str]:
    """Split a notice from the returned message that is pasted below it."""
    for match in islice(_RETURNED.finditer(text[:_READ_BYTES]), _COUNT_MAX):
        after = text[match.end() : match.end() + 3000]
        if len(_ORIGINAL_HEADER.findall(after)) >= 2:
            return text[: match.start()], text[match.end() : match.end() + _READ_BYTES]
    found = _ORIGINAL_HEADER.search(text)
    if found is not None and len(_ORIGINAL_HEADER.findall(text[found.start() : found.start() + 3000])) >= 3:
        return text[: found.start()], text[found.start() : found.start() + _READ_BYTES]
    return text, ""


def _part_text(raw: bytes, part: Part) -> str:
    encoded = raw[part.start : min(part.end, part.start + _READ_BYTES)]
    return decode_part(encoded, part.encoding).decode("utf-8", "replace")


def _returned_header(raw: bytes, parts: Iterable[Part]) -> str:
    """Return the header of the returned message, which carries the ids that prove it ours."""
    found = []
    for part in parts:
        if part.content_type in (
            "message/rfc822",
            "text/rfc822-headers",
            "message/rfc822-headers",
            "message/global-headers",
        ):
            text = _part_text(raw, part).replace("\r\n", "\n")
            found.append(text.lstrip("\n").split("\n\n", 1)[0])
    return "\n".join(found[:5])


def _merge(reports: Reports | None, failed_header: list[str], notice: str, original: str) -> BounceInfo:
    recipients: list[str] = []
    status: list[str] = []
    codes: list[str] = []
    diagnostics: list[str] = []
    actions: list[str] = []
    for group in reports.groups if reports is not None else ():
        who = group.get("final-recipient") or group.get("original-recipient") or group.get("x-actual-recipient") or ""
        recipients += _addresses([who.partition(";")[2] or who])
        diagnostic = group.get("diagnostic-code", "")
        diagnostics += [diagnostic.partition(";")[2].strip() or diagnostic] if diagnostic else []
        actions += [group["action"].lower()] if group.get("action") else []
        # The server's own words are more exact than the general 5.0.0 in the field.
        given = _STATUS.findall(group.get("status", ""))
        told = _STATUS.findall(diagnostic)
        general = not given or given[0].endswith(".0.0")
        status += told[:1] if told and general else given[:1]
        codes += _REPLY_CODE.findall(diagnostic.partition(";")[2] + " " if diagnostic else "")[:1]
    recipients = recipients or failed_header
    limited = notice[:16000]
    if not recipients:
        recipients = _recipients_in(limited, original)
    if not status:
        status = _STATUS.findall(limited)[:1]
    if not codes:
        codes = _REPLY_CODE.findall(limited)[:1]
    failed = any(action.startswith("fail") for action in actions)
    if not status and codes:
        status = [f"{codes[0][0]}.0.0"]  # RFC 3463 §3.1: "other undefined status" of the reply code's class
    permanent = any(one[0] == "5" for one in status) if status else any(one[0] == "5" for one in codes) or failed
    return BounceInfo(
        recipients=_unique(recipients),
        status=_unique(status),
        reply_codes=_unique(codes),
        permanent=permanent,
        diagnostic=(diagnostics[0] if diagnostics else _sentence(limited))[:1000],
        original_message_ids=_unique(one for found in _ORIGINAL_ID.findall(original) for one in message_ids(found)),
        own_tokens=_unique(found.lower() for found in _OWN_TOKEN.findall(original)),
    )


def _recipients_in(notice: str, original: str) -> list[str]:
    """Addresses in the notice that the returned message was sent to; else those on lines of their own."""
    mentioned = _addresses([notice])
    line = re.search(r"^to:[ \t]*(.*(?:\n[ \t].*)*)", original, re.IGNORECASE | re.MULTILINE)
    sent_to = set(_addresses([line[1]])) if line else set()
    both = [one for one in mentioned if one in sent_to]
    if both:
        return both
    alone = re.findall(rf"^[ \t]*[<\"']?({_ADDRESS})[>\"']?[ \t]*(?:[:;,(\-]|\.\.\.|$)", notice, re.MULTILINE)
    found = [normalize(one) for one in alone] or [one for one in mentioned if not _DAEMON.search(one)][:1]
    return found or list(sent_to)[:1]


def _sentence(notice: str) -> str:
    match = _BODY.search(notice)
    if match is None:
        return ""
    start = notice.rfind("\n", 0, match.start()) + 1
    end = notice.find("\n", match.end())
    return notice[start : end if end >= 0 else len(notice)].strip()


def _addresses(values: Iterable[str]) -> list[str]:
    return [normalize(match[0]) for value in values for match in _ADDRESS_ANY.finditer(value)][:_COUNT_MAX]


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))[:_COUNT_MAX]
