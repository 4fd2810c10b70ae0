"""What a message is for the helpdesk: a person's, or which kind of a machine's (RFC 3834 §2)."""

from __future__ import annotations

import re

from ingestd.mail.headers import decode_value
from ingestd.mail.mime import Part
from ingestd.mail.types import BounceInfo, Kind

_AUTO_SUBJECT = re.compile(
    r"^\s*(?:auto(?:matic)?[ -]?(?:reply|response|antwort)|automatische antwort|out of (?:the )?office|abwesenheit|"
    r"réponse automatique|respuesta automática|resposta automática|risposta automatica|automatisch antwoord|"
    r"odpowiedź automatyczna|автоответ|автоматический ответ|автоматична відповідь|otomatik (?:yanıt|cevap)|"
    r"自动回复|自動回覆|自動応答|자동 회신|부재중)",
    re.IGNORECASE,
)
_AUTO_HEADERS = ("x-autoreply", "x-autorespond", "x-auto-reply-from", "x-mail-autoreply", "x-autoresponder")
_NO = (b"", b"no", b"false")
_BULK_HEADERS = ("list-id", "list-unsubscribe", "list-post", "feedback-id", "x-mailgun-tag", "x-campaign-id")


def classify(root: Part, parts: list[Part], bounce: BounceInfo | None, delayed: bool) -> tuple[Kind, tuple[str, ...]]:
    """Return the kind and the evidence for it; evidence names headers and part types, never content.

    A report about our mail comes before everything else, since bounces carry
    auto-reply headers too; then auto-replies, then lists.
    """
    types = {part.content_type for part in parts}
    if "message/feedback-report" in types:
        return Kind.COMPLAINT, ("part message/feedback-report",)
    if "message/disposition-notification" in types and "message/delivery-status" not in types:
        return Kind.RECEIPT, ("part message/disposition-notification",)
    if bounce is not None:
        seen = _bounce_evidence(root, types)
        return (Kind.DELAY_NOTICE if delayed else Kind.BOUNCE), seen
    if "message/delivery-status" in types:
        return Kind.RECEIPT, ("part message/delivery-status", "delivered")
    automatic = _automatic(root)
    if automatic:
        return Kind.AUTO_REPLY, automatic
    bulk = _bulk(root)
    if bulk:
        return Kind.BULK, bulk
    return Kind.CUSTOMER, ()


def _bounce_evidence(root: Part, types: set[str]) -> tuple[str, ...]:
    seen = []
    if "message/delivery-status" in types:
        seen.append("part message/delivery-status")
    if root.get("x-failed-recipients"):
        seen.append("header X-Failed-Recipients")
    if null_return_path(root):
        seen.append("null return path")
    return tuple(seen) or ("text of a bounce",)


def null_return_path(root: Part) -> bool:
    """The envelope had no sender (RFC 5321 §4.5.5): nobody must ever answer it."""
    values = root.get_all("return-path")
    return bool(values) and values[0].replace(b" ", b"") == b"<>"


def _automatic(root: Part) -> tuple[str, ...]:
    seen = []
    submitted = decode_value(root.get("auto-submitted")).split(";")[0].strip().lower()
    if submitted and submitted != "no":
        seen.append("header Auto-Submitted")
    seen += [f"header {name.title()}" for name in _AUTO_HEADERS if root.get(name).strip().lower() not in _NO]
    if root.get("precedence").strip().lower() in (b"auto_reply", b"auto-reply", b"autoreply"):
        seen.append("header Precedence")
    # X-Auto-Response-Suppress only asks not to be answered: no evidence.
    if _AUTO_SUBJECT.match(decode_value(root.get("subject"))):
        seen.append("subject of an auto-reply")
    elif not seen and null_return_path(root):
        seen.append("null return path")
    return tuple(seen)


def _bulk(root: Part) -> tuple[str, ...]:
    seen = [f"header {name.title()}" for name in _BULK_HEADERS if root.get(name)]
    if root.get("precedence").strip().lower() in (b"bulk", b"list", b"junk"):
        seen.append("header Precedence")
    return tuple(seen)
