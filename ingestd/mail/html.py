"""What clients write around quotations in HTML, and plain text as HTML.

`html_safe` makes HTML safe to show, `html_text` reads it as text.
"""

from __future__ import annotations

from html import escape

# Containers by which clients mark what they quote; the only classes and ids that survive.
QUOTE_CLASSES = frozenset(
    {"gmail_quote", "gmail_attr", "gmail_signature", "yahoo_quoted", "moz-cite-prefix", "moz-signature"}
    | {"protonmail_quote", "tutanota_quote", "zmail_extra", "OutlookMessageHeader", "gmail_quote_container"}
    | {"protonmail_signature_block", "mail_android_quote", "cf_quote", "front-blockquote", "quote", "airmail_on"}
    | {"spark_quote", "clean_bq", "ntes-mailmaster-quote", "ms-outlook-mobile-reference-message"}
)
QUOTE_IDS = frozenset(
    {"divRplyFwdMsg", "appendonsend", "OLK_SRC_BODY_SECTION", "replySplit", "mailcontent", "Signature", "zmail_extra"}
    | {
        "reply-intro",
        "isForwardContent",
        "isReplyContent",
        "stopSpelling",
        "x_divRplyFwdMsg",
        "mail-editor-reference-message-container",
        "zwchr",
    }
)


def text_to_html(text: str) -> str:
    """Return plain text as HTML, for a message that mixes both; written as the sanitizer writes it.

    >>> text_to_html("a < b")
    '<div style="white-space:pre-wrap">a &lt; b</div>'
    """
    written = escape(text, quote=False).replace("\xa0", "&nbsp;")
    return f'<div style="white-space:pre-wrap">{written}</div>'
