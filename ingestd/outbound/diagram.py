"""The diagram of a reply's statuses, made of their table: `python -m ingestd.outbound.diagram` writes it into
docs/outbox.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingestd.outbound.statuses import FINAL, TABLE
from storage.outbox import ReplyStatus

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "outbox.md"

_BEGIN: Final = "<!-- made by python -m ingestd.outbound.diagram: begin -->"
_END: Final = "<!-- end -->"


def diagram() -> str:
    """Return the statuses as Mermaid draws them; events that lead the same way share an arrow.

    What leaves a reply where it is has no arrow: the table of the code has those, too.
    """
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in _lines()), "```"])


def _lines() -> Iterator[str]:
    yield f"[*] --> {ReplyStatus.QUEUED.value}"
    arrows: dict[tuple[ReplyStatus, ReplyStatus], list[str]] = {}
    for (status, event), to in TABLE.items():
        if to is not status:
            arrows.setdefault((status, to), []).append(event.value.replace("_", " "))
    for (status, to), events in arrows.items():
        yield f"{status.value} --> {to.value}: {', '.join(events)}"
    for status in ReplyStatus:
        if status in FINAL:
            yield f"{status.value} --> [*]"


def page(text: str) -> str:
    """Return the page `text` with the diagram as it is now. Raises ValueError where its markers are missing."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no place for the diagram")
    return f"{before}{begin}\n\n{diagram()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
