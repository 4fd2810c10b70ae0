"""Tells a text alternative that says nothing from one that says what the HTML says (RFC 2046 §5.1.4).

Many programs fill the text part with "your client does not support HTML", a
lone link, or the first line. The sender never saw it; the HTML is the message.
"""

from __future__ import annotations

import re

_STUB_CHARS_MAX = 1500
"""Longer texts say something themselves."""
_SHORT_CHARS = 400
_LINK = re.compile(r"<?\bhttps?://\S+", re.IGNORECASE)
_TAGS = re.compile(r"<[^>]*>|&[a-z#0-9]{1,10};")
_SOUP = re.compile(r"\A\s*<(?:!doctype|html|head|body|div|p|table|span|font|center|meta|style|br)\b", re.IGNORECASE)
_DOCUMENT = re.compile(r"\A\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TAG_BEGINS = re.compile(r"<[a-zA-Z!/?]")
_CLOSING = re.compile(r"</[a-zA-Z]{1,10}\s*>")
_SENTENCE_END = re.compile(r"[.!?:;。！？]+\s*|\n")
_WORD = re.compile(r"\w{3,}")
# "HTML" together with what a client cannot, or what the reader should do; in the languages of the senders.
_NO_HTML = re.compile(
    r"(?:\bnot\b|n['’]t\b|unable|cannot|kein|nicht|sans|\bne |\bno |não|non |не |nie |niet|desteklem|"
    r"不支持|不支援|無法|无法|ない|않|"
    r"view|display|read|show|requires?|use |enable|format|version|client|only|compatible|capable|aware|"
    r"ansehen|anzeig|darstell|fähig|afficher|consulte|ver |visualiz|просмотр|формат|верси|поддерж|підтрим|перегля|"
    r"wyświetl|obsług|bekijk|görüntüle|格式|形式|表示|형식|메일|支持|対応)"
    r"[^\n]{0,120}(?<![a-z])x?html(?![a-z])|(?<![a-z])x?html(?![a-z])[^\n]{0,120}"
    r"(?:\bnot\b|n['’]t\b|unable|cannot|kein|nicht|view|display|read|client|program|software|reader|browser|version|"
    r"format|only|compatible|capable|enabled|aware|support|message|mail|"
    r"fähig|ansicht|unterstütz|afficher|supporté|compatible|formato|soporta|suport|supporta|wiadomoś|obsług|bericht|"
    r"сообщени|письм|формат|верси|поддерж|підтрим|лист|destek|biçim|格式|邮件|郵件|形式|メール|対応|형식|메일)",
    re.IGNORECASE,
)
_ONLINE = re.compile(
    r"(?:view|read|see|open|trouble|problems?)\b[^\n]{0,60}\b(?:online|browser|web)|im browser|"
    r"dans (?:votre|le) navigateur|en (?:su|el|tu) navegador|no (?:seu )?navegador|nel browser|в браузере|у браузері|"
    r"w przeglądarce|in (?:uw|je) browser|tarayıcı|在浏览器|在瀏覽器|ブラウザ|브라우저",
    re.IGNORECASE,
)
_ONLINE_KEYS = ("onl", "brow", "web", "nav", "брау", "przegl", "taray", "浏览器", "瀏覽器", "ブラウザ", "브라우저")
"""One of them is in whatever `_ONLINE` finds."""


def is_html(text: str) -> bool:
    """Return whether text that is called plain is an HTML document.

    >>> is_html("<!DOCTYPE html><p>Hi"), is_html("<b>Hi</b>")
    (True, False)
    """
    return _DOCUMENT.match(text) is not None


def is_soup(text: str) -> bool:
    """Return whether text that is called plain is a stretch of HTML.

    >>> is_soup("<div><p>Hi</p><p>there</p></div>"), is_soup("<b>Hi</b>")
    (True, False)
    """
    return _SOUP.match(text) is not None and len(_CLOSING.findall(text[:20_000])) > 2


def has_no_tags(text: str) -> bool:
    """Return whether text that is called HTML is plain text, whose lines mean something.

    >>> has_no_tags("a < b\\nc"), has_no_tags("a<br>b")
    (True, False)
    """
    return _TAG_BEGINS.search(text) is None


def is_stub(plain: str, html: str) -> bool:
    """Return whether *sanitized* HTML says what its plain alternative does not; cheap for texts that say something.

    >>> is_stub("Your client does not support HTML mail.", "<p>Dear Jane, the printer is broken.</p>")
    True
    >>> is_stub("Dear Jane", "<p>Dear Jane</p>")
    False
    """
    plain = plain.strip()
    if not plain or not html:
        return not plain
    if is_soup(plain):
        return True
    if len(plain) > _STUB_CHARS_MAX or _ends_alike(plain, html):
        return False
    unlinked = _LINK.sub(" ", plain) if "://" in plain else plain
    said = "\n".join(" ".join(line.split()) for line in unlinked.split("\n\n")).strip()
    shown = " ".join(_TAGS.sub(" ", html).split())
    if not said:  # links alone
        return len(shown) >= 10
    if len(shown) < 10 or (len(shown) < 3 * len(said) + 200 and _contains(shown, said)):
        return False
    if len(said) < _SHORT_CHARS and (_says_no_html(said) or _is_lone_link(plain, said)):
        return True
    return len(shown) > 4 * len(said) + 300 and _shares(said, shown)


def _ends_alike(plain: str, html: str) -> bool:
    """Return whether a text longer than "no HTML" ends about where the HTML does: most mail, told in no time."""
    end = plain[-24:].rpartition("\n")[2].strip()
    if len(plain) < _SHORT_CHARS or len(end) < 8 or "http" in end:
        return False
    found = html.rfind(end)
    return found >= 0 and len(_TAGS.sub("", html[found:])) < len(plain) + 200


def _says_no_html(said: str) -> bool:
    """Return whether the text is about HTML, and no other sentence of it says something."""
    lowered = said.lower()
    if "html" not in lowered and not any(key in lowered for key in _ONLINE_KEYS):
        return False
    sentences = _SENTENCE_END.split(said)
    about = [_NO_HTML.search(one) is not None or _ONLINE.search(one) is not None for one in sentences]
    return any(about) and sum(len(one) for one, is_about in zip(sentences, about, strict=True) if not is_about) < 25


def _is_lone_link(plain: str, said: str) -> bool:
    return _LINK.search(plain) is not None and (
        len(said) < 40 or (len(said) < 200 and _ONLINE.search(said) is not None)
    )


def _contains(shown: str, said: str) -> bool:
    return "".join(said.split()) in "".join(shown.split())


def _shares(said: str, shown: str) -> bool:
    """Return whether most words of the text are words of the HTML: then it is a beginning, not another message."""
    words = set(_WORD.findall(said.lower()))
    return len(words & set(_WORD.findall(shown.lower()))) * 2 >= len(words)
