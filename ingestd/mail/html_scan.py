"""Caps on HTML of strangers, before any library sees it; linear in the input.

Nested tags are quadratic in html5ever, and a tag with 100,000 attributes takes it 20 s.
"""

from __future__ import annotations

import re

from ingestd.mail.html_tags import VOID, words
from ingestd.mail.limits import DEFAULT_LIMITS, Limits

_IMPLIED_END = words("p li td tr th dt dd option thead tbody tfoot colgroup")
# Possessive, so that no input makes it try twice: a ">" inside a quoted value does not end the tag.
_TAG_END = re.compile(r"""(?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+|["'])*+>""")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:_-]{0,40})")


def prescan(html: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, tuple[str, ...]]:
    """Return HTML that is safe to give to a tree builder, and defect words; linear in the input.

    Tags below the depth limit and attributes of tags that have too many are dropped; all text is kept.

    >>> prescan("<b>hi</b>")
    ('<b>hi</b>', ())
    """
    defects: list[str] = []
    if len(html) > limits.text_bytes_max:
        html = html[: limits.text_bytes_max]
        defects.append("html-too-long")
    depth = deepest = position = kept = 0
    out: list[str] = []
    while (match := _TAG.search(html, position)) is not None:
        end = _TAG_END.match(html, match.end())
        position = end.end() if end is not None else len(html)
        name = match[2].lower()
        drop = False
        if name not in VOID and name not in _IMPLIED_END:
            drop = depth > limits.html_depth_max if match[1] else depth >= limits.html_depth_max
            depth = max(0, depth - 1) if match[1] else depth + 1
            deepest = max(deepest, depth)
        crowded = _attribute_count(html, match.end(), position) > limits.html_attributes_max
        if drop or crowded:
            out.append(html[kept : match.start()])
            kept = position
            if not drop:
                out.append(match[0] + ">")
                defects.append("html-too-many-attributes")
    if deepest > limits.html_depth_max:
        defects.append("html-too-deep")
    out.append(html[kept:])
    return "".join(out), tuple(dict.fromkeys(defects))


def _attribute_count(html: str, start: int, end: int) -> int:
    """Bound the number of attributes from above; 0 for tags that are too short to have many.

    Attributes are set off by white space, slashes or the quote that ends the one before. The words of a
    quoted value count too, so where there are values, no more are believed than "=" and slashes allow.
    """
    if end - start < 128:
        return 0
    text = html[start:end]
    slashes = text.count("/")
    most = len(text.split()) + slashes + (text.count('"') + text.count("'")) // 2
    return min(most, text.count("=") + slashes + 1) if "=" in text else most
