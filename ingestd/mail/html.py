"""What clients write around quotations in HTML, and plain text as HTML.

`html_safe` makes HTML safe to show, `html_text` reads it as text.
"""

from __future__ import annotations

import re
from html import escape

from ingestd.mail.html_text import to_text

# Containers by which clients mark what they quote; the only classes and ids that survive.
_QUOTE_CLASSES = frozenset(
    {"gmail_quote", "gmail_attr", "gmail_signature", "yahoo_quoted", "moz-cite-prefix", "moz-signature"}
    | {"protonmail_quote", "tutanota_quote", "zmail_extra", "OutlookMessageHeader", "gmail_quote_container"}
    | {"protonmail_signature_block", "mail_android_quote", "cf_quote", "front-blockquote", "quote"}
)
_QUOTE_IDS = frozenset(
    {"divRplyFwdMsg", "appendonsend", "OLK_SRC_BODY_SECTION", "replySplit", "mailcontent", "Signature", "zmail_extra"}
    | {
        "reply-intro",
        "isForwardContent",
        "isReplyContent",
        "stopSpelling",
        "x_divRplyFwdMsg",
        "mail-editor-reference-message-container",
    }
)


def text_to_html(text: str) -> str:
    """Return plain text as HTML, for a message that mixes both.

    >>> text_to_html("a < b")
    '<div style="white-space:pre-wrap">a &lt; b</div>'
    """
    return f'<div style="white-space:pre-wrap">{escape(text, quote=False)}</div>'


_CUT = re.compile(
    r"<(?:div|blockquote|table|span|p|hr)\b[^>]*?(?:"
    r"class=\"(?:[^\"]* )?(?:gmail_quote|gmail_quote_container|yahoo_quoted|moz-cite-prefix|OutlookMessageHeader"
    r"|protonmail_quote|tutanota_quote|zmail_extra|mail_android_quote|cf_quote)(?: [^\"]*)?\""
    r"|id=\"(?:divRplyFwdMsg|x_divRplyFwdMsg|OLK_SRC_BODY_SECTION|replySplit|zmail_extra|isReplyContent|appendonsend"
    r"|mail-editor-reference-message-container)\""
    r"|type=\"cite\")"
)


def before_quote(html: str) -> str | None:
    """Return the text that stands before the first container in which a client quotes history, or None.

    The container is known by the client's own class or id, in *sanitized* HTML.

    >>> before_quote('<div>new</div><div class="gmail_quote">On … wrote: old</div>')
    'new'
    """
    match = _CUT.search(html)
    if match is None:
        return None
    return to_text(html[: match.start()])
