"""Complaints (ARF, RFC 5965, and feedback loops that ignore it) and read receipts (RFC 8098, and Outlook's own)."""

from __future__ import annotations

import re
from collections.abc import Collection

from ingestd.mail.mime import Part
from ingestd.mail.phrases import Phrases, prepare

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
_LOOP_SENDER = Phrases("""
    feedback@arf. | @arf.mail. | scomp@aol | feedbackloop | feedback-loop | feedback loop | _fbl@ | _fbl- | _fbl. |
    @fbl. | -fbl. | .fbl. | senderscore | returnpath | staff@hotmail | jmrp | _complaints@ | _complaint@ |
    abuse-report@ | abuse-reports@ | spamreport
""")
_LOOP_SUBJECT = Phrases("""
    complaint about message | complaint about your | complaint about email | complaint about e-mail |
    email feedback report | e-mail feedback report | feedback loop | abuse report | spam report | spam complaint |
    client tos notification | fbl_ | jmrp
""")
# The client's word before the original subject; the colon belongs to it.
_READ_PREFIX = Phrases("""
    read | not read | gelesen | ungelesen | nicht gelesen | lu | non lu | leído | leido | no leído | lida | lido |
    não lida | letto | non letto | gelezen | niet gelezen | przeczytano | odczytano | nie przeczytano | прочитано |
    прочтено | не прочитано | не прочтено | okundu | okunmadı | 已读 | 已讀 | 未读 | 開封済み | 開封済 | 未開封 |
    開封確認 | 읽음 | 읽지 않음 | read receipt | return receipt | return receipt displayed | empfangsbestätigung |
    lesebestätigung | confirmation de lecture | confirmación de lectura | confirmação de leitura |
    conferma di lettura | leesbevestiging | отчет о прочтении | отчёт о прочтении
""")
_READ_TEXT = Phrases("""
    was read | were read | was displayed | deleted without being read | has been read | has been displayed |
    return receipt for the mail | return receipt for the message | message was displayed | wurde … gelesen |
    wurde … angezeigt | ungelesen gelöscht | a été lu | a été affiché | a été supprimé sans | se leyó | fue leído |
    ha sido leído | se eliminó sin | foi lida | foi lido | foi excluída sem | è stato letto | è stato visualizzato |
    eliminato senza | is gelezen | werd gelezen | is weergegeven | zonder te zijn gelezen | została przeczytana |
    została odczytana | usunięta bez | было прочитано | был прочитан | прочитано … 20 | прочтено … 20 |
    удалено без | удалено непрочитан | було прочитано | прочитаний | видалено без | tarihinde okundu |
    okunmadan silindi | 阅读 | 已读 | 讀取 | 読まれました | 開封されました | 表示されました | 읽었습니다 | 읽음
""")


def complaint_signs(root: Part, types: Collection[str], text: str) -> tuple[str, ...]:
    """Return why a message is a complaint about a mail of ours; () where it is none."""
    if "message/feedback-report" in types:
        return ("part message/feedback-report",)
    if root.content_type == "multipart/report" and root.parameters.get("report-type", "").lower() == "feedback-report":
        return ("header Content-Type: report-type=feedback-report",)
    if root.get("x-apple-unsubscribe").lower() == b"true":
        return ("header X-Apple-Unsubscribe",)  # "stop this", sent by the client: the opt-out of a feedback report
    start = text[:_TEXT_CHARS]
    if "eedback-" in start and not root.get("in-reply-to") and _FIELDS.search(start) and _MORE_FIELDS.search(start):
        return ("fields of a feedback report in the text",)
    if not _LOOP_SENDER.search(prepare(root.text("from"), 500)):
        return ()
    seen = ["sender is a feedback loop"]
    if _LOOP_SUBJECT.search(prepare(root.text("subject"), 500)):
        seen.append("subject of a feedback loop")
    if {"message/rfc822", "text/rfc822-headers"} & set(types) or root.get("x-hmxmroriginalrecipient"):
        seen.append("part message/rfc822")
    return tuple(seen) if len(seen) >= 2 else ()


def receipt_signs(root: Part, types: Collection[str], text: str) -> tuple[str, ...]:
    """Return why a message is a read receipt; () where it is none. A text alone needs subject and sentence."""
    if "message/disposition-notification" in types or "message/global-disposition-notification" in types:
        return ("part message/disposition-notification",)
    if (
        root.content_type == "multipart/report"
        and root.parameters.get("report-type", "").lower() == "disposition-notification"
    ):
        return ("header Content-Type: report-type=disposition-notification",)
    subject = root.text("subject")
    before, colon, _ = subject[:100].replace("：", ":").partition(":")
    if colon and _READ_PREFIX.equals(prepare(before, 100)) and _READ_TEXT.search(prepare(text, _TEXT_CHARS)):
        return ("subject of a read receipt", "text of a read receipt")
    return ()
