"""What is the same for all servers about messages that one has and does not give; imap_aside tells the whole course."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PAUSES_SECONDS: Final = (60.0, 300.0, 900.0)
"""Before the second try and each after it. A server that reads a bad disk, or a message that a virus scanner still
holds, is well again within minutes; a customer's mail should not wait for longer than that."""
ASIDE_MAX: Final = 100
"""Of one folder at a time, and those of one batch beyond: the cursor names each."""


def has_place(aside: Sequence[object], more: int) -> bool:
    """Whether more may be put beside those that are aside already. One batch always may: else it would come again."""
    return not aside or len(aside) + more <= ASIDE_MAX
