"""The processes that rewrite messages: `ingestd.privacy.rewriter_main`, run as the parser's are."""

from __future__ import annotations

from ingestd.inbound.parser import ParserPool, parser_command

_MORE_BYTES = 64 * 1024 * 1024
"""What a request holds beside the message: what was read of it before."""


def rewriter_command() -> list[str]:
    """Return the command line of such a process, without its limits."""
    *python, _, root = parser_command()
    return [*python, _BOOTSTRAP, root]


def new_rewriter(message_bytes_max: int, seconds_max: float, memory_bytes_max: int) -> ParserPool:
    """Return a pool of one process, not started; limits as those of the parser."""
    return ParserPool(
        command=rewriter_command(),
        seconds_max=2 * seconds_max,
        memory_bytes_max=2 * memory_bytes_max,
        message_bytes_max=message_bytes_max + _MORE_BYTES,
    )


_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1)); from ingestd.privacy.rewriter_main import run; run(sys.argv[1:])"
)
