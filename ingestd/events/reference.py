"""docs/events.md, made of the catalogue: `python -m ingestd.events.reference`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final
from uuid import UUID

from ingestd.events.catalogue import EVENTS, EventType, EventView, ids_of, plain

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "events.md"

_HEAD = """\
# Events

Made by `python -m ingestd.events.reference` from the code.

What happens in an account is told in one ordered log. An event is written in the transaction of what it tells, so
that it is there if and only if that is. It carries ids, times and fixed words, never content: what it is about is
read by its id, under the access of whoever reads. The OpenAPI document has a schema for each type.

```json
{example}
```

- `sequence` orders the log of an account: it is the order of commits. There are gaps. Who has read up to a sequence
  goes on behind it, and no event will ever appear below.
- `type` and `version`: a type never changes its meaning, and its fields are only ever added to. Ignore types, fields
  and words that you do not know: more will come.
- `ticket_number` is null where there is no ticket, or where it is gone.
- After `mailbox.disconnected` delete your own copies of that mailbox's content. Its other events are deleted here, too.

## How to read them

- `GET /v1/accounts/{{account_id}}/events?after=SEQUENCE` answers with what lies behind a sequence, at once. Go on with
  `next`. With `wait=SECONDS` it waits where there is nothing yet (a long-poll).
- `GET /v1/accounts/{{account_id}}/events/stream` stays open and sends events as they happen (Server-Sent Events).
  After a loss begin again with `Last-Event-ID`, the last `id` that came. Lines that begin with `:` say that it lives;
  with `types`, an event `cursor` says now and then how far the log was looked through.
- `ingestd event list --follow` shows them to an operator.

Begin without `after` to read from the oldest event on. Events are kept for `events.keep_days`; a cursor from before is
answered by 410 `events_gone`, with the `oldest` cursor to begin at: read anew what you have missed. Each reader should
note the cursor together with what it did: what is read twice after a crash has the same `sequence`.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD.format(example=_example()), *_tables()])


def _example() -> str:
    ids = [UUID(f"01983f5e-0000-7000-8000-{number:012}") for number in range(1, 5)]
    at = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    view = EventView(4711, "message.received", 1, at, ids[0], ids[1], ids[2], 42, ids[3], "customer")
    return json.dumps(plain(view), indent=2)


def _tables() -> Iterator[str]:
    for kind, group in groupby(EVENTS.items(), key=lambda item: item[0].partition(".")[0]):
        yield from (f"## {kind}", "", "| type | version | says | `detail` | carries |", "|---|---|---|---|---|")
        for name, one in group:
            carries = " ".join(f"`{field}`" for field in ids_of(name))
            yield f"| `{name}` | {one.version} | {one.meaning} | {_detail(one)} | {carries} |"
        yield ""


def _detail(one: EventType) -> str:
    words = ", ".join(f"`{word}`" for word in one.words)
    return f"{one.detail} Such as {words}." if words else one.detail


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
