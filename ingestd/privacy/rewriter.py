"""The processes that rewrite messages: `ingestd.privacy.rewriter_main`, run as the parser's are."""

from __future__ import annotations

from ingestd.inbound.parser import parser_command

_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1)); from ingestd.privacy.rewriter_main import run; run(sys.argv[1:])"
)


def rewriter_command() -> list[str]:
    """Return the command line of such a process, without its limits."""
    *python, _, root = parser_command()
    return [*python, _BOOTSTRAP, root]
