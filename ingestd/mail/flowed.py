"""format=flowed (RFC 3676): lines that were broken for transport are joined again."""

from __future__ import annotations


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
