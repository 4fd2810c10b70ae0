"""Lines of plain text that were broken for transport are joined again: format=flowed (RFC 3676), text/enriched."""

from __future__ import annotations

import re

_COMMAND = re.compile(r"<(<)|<(/?)([a-z0-9-]{1,60})>", re.IGNORECASE)
_ENRICHED_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
_ENRICHED_BREAKS = re.compile(r"\n(\n+)")


def unflow(text: str, delete_space: bool = False) -> str:
    """Join soft-broken lines of equal quote depth; `-- ` stays a line of its own (§4.3).

    >>> unflow("one \\ntwo\\n> a \\n> b")
    'one two\\n> a b'
    """
    out: list[str] = []
    open_depth = -1
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        body = line[depth:]
        body = body.removeprefix(" ")  # space-stuffing (§4.4)
        signature = body == "-- "
        soft = body.endswith(" ") and not signature
        if soft and delete_space:
            body = body[:-1]
        if open_depth == depth and not signature:
            out.append(body)
        else:
            if out:
                out.append("\n")
            out.append(f"{'>' * depth} {body}" if depth else body)
        open_depth = depth if soft else -1
    return "".join(out)


def from_enriched(text: str) -> str:
    """Return the words of text/enriched (RFC 1896) and of its predecessor, text/richtext (RFC 1341).

    Commands are dropped, the parameters of commands with them. A line break is a space, of more the first is none.

    >>> from_enriched("<bold>Now</bold> is\\nthe <fontfamily><param>x</param>time</fontfamily>.\\n\\n1 << 2")
    'Now is the time.\\n1 < 2'
    """
    out: list[str] = []
    position = parameter = 0
    for match in _COMMAND.finditer(text):
        if not parameter:
            out.append(text[position : match.start()])
        position = match.end()
        name = (match[3] or "").lower()
        if match[1]:
            out.append("<" if not parameter else "")
        elif name == "param":
            parameter = 0 if match[2] else 1
        elif not parameter and name in ("nl", "lt"):
            out.append("\n\n" if name == "nl" else "<")
    out.append(text[position:])
    return _ENRICHED_BREAKS.sub(r"\1", _ENRICHED_BREAK.sub(" ", "".join(out)))
