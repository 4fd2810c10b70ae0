"""Names of attachments: safe to show and to save under."""

from __future__ import annotations

import re
import unicodedata

# Bidi controls turn "exe.gpj" around (UTS 39); the rest is what file systems and shells stumble over.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff<>:\"|?*]")
_EXTENSIONS = {
    "text/plain": ".txt",
    "text/html": ".html",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/rfc822-headers": ".txt",
    "message/rfc822": ".eml",
    "message/delivery-status": ".txt",
    "message/disposition-notification": ".txt",
    "message/feedback-report": ".txt",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/json": ".json",
    "application/pgp-signature": ".asc",
    "application/ms-tnef": ".dat",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
}


def safe_name(original: str, content_type: str, chars_max: int = 150) -> str:
    """Return a display name without path, control and bidi characters; never empty.

    >>> safe_name("../../etc/pass\\u202ewd", "text/plain")
    'passwd'
    >>> safe_name("", "image/png")
    'attachment.png'
    """
    name = unicodedata.normalize("NFC", original).replace("\\", "/").rpartition("/")[2]
    name = " ".join(_UNSAFE.sub("", name).split()).strip(". ")
    if not name:
        return "attachment" + _EXTENSIONS.get(content_type, ".bin")
    if len(name) > chars_max:
        stem, dot, suffix = name.rpartition(".")
        keep = f".{suffix}" if dot and stem and len(suffix) <= 10 else ""
        name = name[: chars_max - len(keep)] + keep
    return name
