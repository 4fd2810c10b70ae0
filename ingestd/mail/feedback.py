"""Complaints (ARF, RFC 5965, and feedback loops that ignore it) and read receipts (RFC 8098, and Outlook's own)."""

from __future__ import annotations

import re
from collections.abc import Collection

from ingestd.mail.headers import decode_value
from ingestd.mail.mime import Part

_TEXT_CHARS = 8000
_FIELDS = re.compile(
    r"^[ \t>]{0,8}feedback-type:[ \t]*(?:abuse|fraud|virus|opt-out|other|auth-failure|miscategorized|dkim|not-spam)\b",
    re.IGNORECASE | re.MULTILINE,
)
_MORE_FIELDS = re.compile(
    r"^[ \t>]{0,8}(?:user-agent|version|original-mail-from|original-rcpt-to|source-ip|arrival-date|received-date"
    r"|reported-domain):",
    re.IGNORECASE | re.MULTILINE,
)
# Yahoo, AOL, Hotmail (JMRP), Validity's loops, Comcast, Cox, Rackspace, Terra … whose reports are not always ARF.
_LOOP_SENDER = re.compile(
    r"feedback@arf\.|@arf\.mail\.|scomp@aol|feedback-?loop|\bfbl[-_.@]|@fbl\.|[-.]fbl\.|senderscore|returnpath"
    r"|staff@hotmail|jmrp|complaints?[-_.a-z]*@|abuse-?reports?@",
    re.IGNORECASE,
)
_LOOP_SUBJECT = re.compile(
    r"complaint about (?:your )?(?:message|e-?mail)|e-?mail feedback report|feedback loop|abuse report"
    r"|spam (?:report|complaint)|client tos notification|\[fbl\]|jmrp",
    re.IGNORECASE,
)
_READ_SUBJECT = re.compile(
    r"^\s*(?:read|not read|gelesen|ungelesen|nicht gelesen|lu|non lu|leído|leido|no leído|lida|lido|não lida|letto"
    r"|non letto|gelezen|niet gelezen|przeczytano|odczytano|nie przeczytano"
    r"|прочитано|не прочитано|прочтено|okundu|okunmadı|已读|已讀|未读"
    r"|開封済み|開封済|未開封|읽음|읽지 않음|read receipt"
    r"|return receipt(?: \(displayed\))?|empfangsbestätigung|lesebestätigung)\s*[:：-]",
    re.IGNORECASE,
)
_READ_TEXT = re.compile(
    r"(?:was|were) (?:read|displayed|deleted without being read)|has been (?:read|displayed)"
    r"|return receipt for the (?:mail|message)|only acknowledges that the message was displayed"
    r"|wurde (?:am |ungelesen )?[^\n]{0,60}(?:gelesen|angezeigt|gelöscht)|a été (?:lu|affiché|supprimé)|(?:se leyó"
    r"|fue leído|se eliminó|ha sido leído)|foi (?:lida|lido|excluída)|è stato (?:letto|visualizzato|eliminato)"
    r"|(?:is|werd) (?:gelezen|weergegeven|verwijderd)|(?:została|została) (?:przeczytana|odczytana|usunięta)|(?:было"
    r"|был) (?:прочитано|прочтено|удалено)|прочитано [^\n]{0,20}\d|(?:було|був) (?:прочитано|видалено)"
    r"|tarihinde (?:okundu|silindi)|已于[^\n]{0,40}阅读|已读|被讀取"
    r"|読まれました|開封されました|表示されました|읽었습니다|읽음",
    re.IGNORECASE,
)


def complaint_signs(root: Part, types: Collection[str], text: str) -> tuple[str, ...]:
    """Return why a message is a complaint about a mail of ours; () where it is none."""
    if "message/feedback-report" in types:
        return ("part message/feedback-report",)
    if root.content_type == "multipart/report" and root.parameters.get("report-type", "").lower() == "feedback-report":
        return ("header Content-Type: report-type=feedback-report",)
    if decode_value(root.get("x-apple-unsubscribe")).lower() == "true":
        return ("header X-Apple-Unsubscribe",)  # "stop this", sent by the client: the opt-out of a feedback report
    sender = decode_value(root.get("from"))
    loop = _LOOP_SENDER.search(sender) is not None
    start = text[:_TEXT_CHARS] if "feedback-" in text[:_TEXT_CHARS].lower() else ""
    if start and not root.get("in-reply-to") and _FIELDS.search(start) and _MORE_FIELDS.search(start):
        return ("fields of a feedback report in the text",)
    returned = bool({"message/rfc822", "text/rfc822-headers"} & set(types)) or bool(
        root.get("x-hmxmroriginalrecipient")
    )
    seen = ["sender is a feedback loop"] if loop else []
    seen += ["subject of a feedback loop"] if _LOOP_SUBJECT.search(decode_value(root.get("subject"))) else []
    seen += ["part message/rfc822"] if returned and loop else []
    return tuple(seen) if loop and len(seen) >= 2 else ()


def receipt_signs(root: Part, types: Collection[str], text: str) -> tuple[str, ...]:
    """Return why a message is a read receipt; () where it is none. A text alone needs subject and sentence."""
    if "message/disposition-notification" in types or "message/global-disposition-notification" in types:
        return ("part message/disposition-notification",)
    if (
        root.content_type == "multipart/report"
        and root.parameters.get("report-type", "").lower() == "disposition-notification"
    ):
        return ("header Content-Type: report-type=disposition-notification",)
    subject = decode_value(root.get("subject"))
    if _READ_SUBJECT.match(subject) is not None and _READ_TEXT.search(text[:_TEXT_CHARS]) is not None:
        return ("subject of a read receipt", "text of a read receipt")
    return ()
