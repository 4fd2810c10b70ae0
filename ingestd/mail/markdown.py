"""Markdown of a reply: CommonMark, as HTML and as a text that is readable without it.

Raw HTML in it stands for itself. A line break is one, as in the text part, and as people who write mail mean it.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

# Code comes first: what stands in it is shown as it is.
_INLINE = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`{1,20}+)(?!`)[^`]{1,2000}+(?P=ticks)(?!`))"
    r"|(?P<image>!\[(?P<alt>[^\[\]\n]{0,500}+)\]\((?:<[^<>\n]{0,2000}+>|[^\s()]{0,2000}+)"
    r"(?:[ ]+\"[^\"\n]{0,500}+\")?\))"
    r"|(?P<link>(?<!\\)\[(?P<shown>[^\[\]\n]{1,500}+)\]\((?P<target><[^<>\n]{0,2000}+>|[^\s()]{1,2000}+)"
    r"(?:[ ]+\"[^\"\n]{0,500}+\")?\))"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
)


def to_html(markdown: str) -> str:
    """Return HTML, which is still to be sanitized.

    >>> to_html("*a* <b>")
    '<p><em>a</em> &lt;b&gt;</p>\\n'
    """
    return str(_new_reader().render(markdown))


def readable(markdown: str) -> str:
    """Return Markdown as plain text: as it was written, with links and images as people write them in mail.

    >>> readable("See [the manual](https://example.com/m), 2 \\\\* 3, ![a map](cid:map)")
    'See the manual <https://example.com/m>, 2 * 3, [a map]'
    """
    lines = markdown.split("\n")
    literal: set[int] = set()
    blocks = _new_reader()
    blocks.core.ruler.disable(["inline"])
    for token in blocks.parse(markdown):
        if token.type in ("fence", "code_block") and token.map is not None:
            literal.update(range(*token.map))
    out, block = [], list[str]()
    for number, line in enumerate(lines):
        if number in literal:
            out += [_plain(block), line] if block else [line]
            block = []
        else:
            block.append(line)
    return "\n".join([*out, _plain(block)] if block else out)


def _plain(lines: list[str]) -> str:
    # A backslash at the end of a line is a line break, which is there already.
    return "\n".join(line.removesuffix("\\") for line in _INLINE.sub(_shown, "\n".join(lines)).split("\n"))


def _shown(match: re.Match[str]) -> str:
    if match["image"] is not None:
        return f"[{match['alt']}]" if match["alt"] else ""
    if match["link"] is not None:
        shown, target = match["shown"], match["target"].strip("<>").removeprefix("mailto:")
        return shown if shown == target else f"{shown} <{target}>"
    return match["escaped"] if match["escaped"] is not None else match[0]


def _new_reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True})
    return reader.enable(["table", "strikethrough"])
