"""What sanitized HTML may consist of, read by a parser that has nothing to do with the one that made it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ingestd.mail.html_images import is_inline
from ingestd.mail.html_tags import SHOWN, words

_ATTRIBUTES = words(
    "align alt bgcolor border cellpadding cellspacing class color colspan dir face height hidden href id lang rel "
    "rowspan size src start style title type valign value width"
)
_STYLE = re.compile(r"[a-z-]+:[\w #.,%()'\" /-]+(?:;[a-z-]+:[\w #.,%()'\" /-]+)*")
_NEVER_IN_STYLE = re.compile(
    r"url|expression|import|position|z-index|transform|opacity|filter|pointer|content|behavior|binding|[\\@{}<]"
    r"|(?:^|;)(?:width|height|top|left|right|bottom|inset|float|animation|cursor)|[: ]-\d",
    re.IGNORECASE,
)
_LINK = re.compile(r"(?:https?|ftp|mailto|tel|sms):", re.IGNORECASE)


class _Judge(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in SHOWN:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if not self._allowed(name, value or ""):
                self.found.append(f'{tag} {name}="{value}"')

    def _allowed(self, name: str, value: str) -> bool:
        if name == "style":
            return _STYLE.fullmatch(value) is not None and _NEVER_IN_STYLE.search(value) is None
        if name == "src":
            return is_inline(value)
        if name == "href":
            return _LINK.match(value) is not None
        return name in _ATTRIBUTES

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("processing instruction")


def active(html: str) -> list[str]:
    """Return what runs, loads or covers, or is not known to do neither; [] for HTML that may be shown."""
    judge = _Judge()
    judge.feed(html)
    judge.close()
    return judge.found
