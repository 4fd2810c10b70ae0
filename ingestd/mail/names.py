"""Names of attachments: safe to show and to save under, and what a name says of its content."""

from __future__ import annotations

import re
import unicodedata

# Bidi controls turn "exe.gpj" around (UTS 39), and invisible characters hide what a name is.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    r"\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORBIDDEN = re.compile(r"[<>:\"|?*]")
"""What Windows takes in no name; shown as browsers do, since "1:2" is not "12"."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
"""Devices of Windows, with any extension behind them."""
_BYTES_MAX = 240
"""Of UTF-8: file systems take 255 bytes, and whoever saves may add a number."""
_EXTENSIONS = {
    "text/plain": ".txt",
    "text/html": ".html",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/rfc822-headers": ".txt",
    "text/x-vcard": ".vcf",
    "text/vcard": ".vcf",
    "message/rfc822": ".eml",
    "message/global": ".eml",
    "message/news": ".eml",
    "message/delivery-status": ".txt",
    "message/disposition-notification": ".txt",
    "message/feedback-report": ".txt",
    "application/ics": ".ics",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/json": ".json",
    "application/xml": ".xml",
    "application/pgp-keys": ".asc",
    "application/pgp-encrypted": ".asc",
    "application/pgp-signature": ".asc",
    "application/pkcs7-mime": ".p7m",
    "application/x-pkcs7-mime": ".p7m",
    "application/pkcs7-signature": ".p7s",
    "application/x-pkcs7-signature": ".p7s",
    "application/ms-tnef": ".dat",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/svg+xml": ".svg",
    "image/tiff": ".tiff",
    "video/mp4": ".mp4",
}
_NAMELESS = {
    # What everybody calls them (RFC 8551 §3.2.1).
    "application/pkcs7-mime": "smime.p7m",
    "application/x-pkcs7-mime": "smime.p7m",
    "application/pkcs7-signature": "smime.p7s",
    "application/x-pkcs7-signature": "smime.p7s",
    "application/ms-tnef": "winmail.dat",
    "application/pgp-signature": "signature.asc",
    "text/calendar": "invite.ics",
}
_TYPES = {
    ".jpeg": "image/jpeg",
    ".htm": "text/html",
    # The first type of an extension is the usual one.
    **{extension: kind for kind, extension in reversed(_EXTENSIONS.items())},
}


def safe_name(original: str, content_type: str, chars_max: int = 200) -> str:
    """Return a display name without path, control, bidi and invisible characters, no device's name; never empty.

    >>> safe_name("../../etc/pass\\u202ewd", "text/plain"), safe_name("nul.txt", "text/plain")
    ('passwd', '_nul.txt')
    >>> safe_name("", "image/png")
    'attachment.png'
    """
    path = unicodedata.normalize("NFC", original).replace("\\", "/").rstrip("/ ")
    visible = _FORBIDDEN.sub("_", _HIDDEN.sub("", path.rpartition("/")[2]))
    name = " ".join(visible.split()).strip(". ")
    if not name:
        return _NAMELESS.get(content_type) or "attachment" + _EXTENSIONS.get(content_type, ".bin")
    if _RESERVED.fullmatch(name.partition(".")[0].rstrip()):
        name = f"_{name}"
    return _shortened(name, chars_max)


def _shortened(name: str, chars_max: int) -> str:
    """Cut a long name before its extension."""
    if len(name) <= chars_max and len(name.encode()) <= _BYTES_MAX:
        return name
    stem, dot, suffix = name.rpartition(".")
    keep = f".{suffix}" if dot and stem and len(suffix) <= 10 else ""
    stem = (stem if keep else name)[: chars_max - len(keep)]
    room = _BYTES_MAX - len(keep.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip() + keep


def type_of(name: str) -> str:
    """Return the content type that an extension says, for files that come without one.

    >>> type_of("Invoice.PDF"), type_of("x")
    ('application/pdf', 'application/octet-stream')
    """
    _, dot, suffix = name.lower().rpartition(".")
    return _TYPES.get(f".{suffix}", "application/octet-stream") if dot else "application/octet-stream"
