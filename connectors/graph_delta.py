"""Reading one folder: what was there and is wanted, then what delta tells of, resumable behind each batch.

When a folder is read for the first time, a round of delta counts what is there, and gives the link behind which all
that comes later is told of. Only then the mail that is there and wanted is read, by date (the *backlog*): so nothing
comes between the two. Delta repeats itself, and tells of each flag that somebody sets: what this reader has yielded
is not fetched again, and the caller keeps one message once.

Where the server has forgotten the link (410), the folder is read in the same way again, but for what the caller says
that it has (`known`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from connectors.base import Batch, ReadPlan, TemporaryError
from connectors.graph_aside import Witness, ask_again, put_aside
from connectors.graph_client import GraphClient
from connectors.graph_cursor import FolderCursor, Locator, Position, format_cursor
from connectors.graph_errors import DeltaExpired
from connectors.graph_fetch import Fetched, fetch_groups
from connectors.graph_folders import Folder
from connectors.graph_listing import (
    BASELINE_PAGE,
    DeltaPage,
    Listed,
    delta_page,
    first_delta,
    list_from,
    list_ids,
    look_up,
)

Known = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Returns, of these provider ids, those of messages that the caller has, with the locators that it has for them."""

SEEN_MAX: Final = 20_000
"""Messages that are remembered as yielded; one that is forgotten is fetched again when somebody marks it."""
EMPTY_PAGES_MAX: Final = 1000
"""Pages without anything in a row: a server that goes on like that never ends."""
_LATE_MAX: Final = 5000
_CAME_MAX: Final = 1000
"""Of one folder: messages with old dates that came in and that delta has not told of yet."""
_JUST_NOW: Final = timedelta(minutes=10)
_WRITE_AFTER: Final = timedelta(hours=1)
"""A link that is older is written down although nothing came: links do not last for ever."""


class Seen:
    """The messages that were yielded, by folder: the last `SEEN_MAX`."""

    def __init__(self) -> None:
        self._places: OrderedDict[Locator, None] = OrderedDict()

    def add(self, folder: Folder, items: Sequence[Listed]) -> None:
        for item in items:
            place = Locator(folder.id, item.id)
            self._places[place] = None
            self._places.move_to_end(place)
        while len(self._places) > SEEN_MAX:
            self._places.popitem(last=False)

    def discard(self, folder: Folder, message_id: str) -> None:
        self._places.pop(Locator(folder.id, message_id), None)

    def has(self, folder: Folder, message_id: str) -> bool:
        return Locator(folder.id, message_id) in self._places


class FolderReading:
    """Reads the folders of one plan, one at a time; `state` is the cursor of all of them."""

    def __init__(self, client: GraphClient, plan: ReadPlan, known: Known | None) -> None:
        self._client = client
        self._plan = plan
        self._known = known
        self._seen = Seen()
        self._witness = Witness(client)
        self._latest: dict[str, tuple[FolderCursor, FolderCursor]] = {}
        """By folder: what was last written down, and how far delta has come since without news."""

    async def changes(
        self, folder: Folder, state: dict[str, FolderCursor], start_at: datetime | None
    ) -> AsyncIterator[Batch]:
        """Yield what is new in a folder. Raises ItemMissing where it is gone."""
        known = state.get(folder.id)
        if known is None:
            state[folder.id] = known = await self._begin(folder, start_at)
        elif (latest := self._latest.get(folder.id)) is not None and latest[0] == known:
            state[folder.id] = latest[1]
        try:
            async for batch in self._read_on(folder, state, written=known):
                yield batch
        except DeltaExpired:
            async for batch in self._begin_anew(folder, state):
                yield batch
            async for batch in self._read_on(folder, state, written=state[folder.id]):
                yield batch

    async def _read_on(
        self, folder: Folder, state: dict[str, FolderCursor], *, written: FolderCursor
    ) -> AsyncIterator[Batch]:
        async for batch in self._ask_again(folder, state):
            yield batch
        async for batch in self._backlog(folder, state):
            yield batch
        async for batch in self._rounds(folder, state, written):
            yield batch

    # -- the first reading ---------------------------------------------------------------------------

    async def _begin(self, folder: Folder, start_at: datetime | None) -> FolderCursor:
        if start_at is not None:
            # receivedDateTime knows whole seconds.
            wanted_from = start_at.replace(microsecond=0)
            return await self._baseline(folder, wanted_from, Position(wanted_from))
        # From now on. What comes while the folder is counted is told from what was there by its id: it may be of the
        # same second.
        since = self._client.server_now - _JUST_NOW
        there = await list_ids(self._client, folder, since)
        # Behind those that were there: they are passed over, whatever their second.
        self._seen.add(folder, there)
        return await self._baseline(folder, None, Position(since, tuple(item.id for item in there)))

    async def _baseline(self, folder: Folder, wanted_from: datetime | None, backlog: Position) -> FolderCursor:
        """Count what is there, and return the cursor behind it, with `backlog` still to be read."""
        client = self._client
        # The second delta first: what comes between the two was there for the one that counts.
        came_link, _, _ = await self._count(first_delta(client, folder, created=True), None)
        link, begun, oldest = await self._count(first_delta(client, folder), None)
        wanted_from = begun if wanted_from is None else wanted_from
        has_old = oldest is not None and oldest < wanted_from
        return FolderCursor(link, wanted_from, begun, begun, backlog=backlog, came_link=came_link if has_old else None)

    async def _count(
        self, link: str, late: tuple[FolderCursor, list[Listed]] | None
    ) -> tuple[str, datetime, datetime | None]:
        """Go through a first round of delta; return the link behind it, the server's time at its beginning, and the
        oldest date. `late` collects what has an older date than is wanted, and came after its cursor began."""
        begun: datetime | None = None
        oldest: datetime | None = None
        empty = 0
        while True:
            page = await delta_page(self._client, link, size=BASELINE_PAGE)
            empty = self._count_empty(page, empty)
            begun = begun or self._client.server_now
            if page.items:
                oldest = min(oldest or page.items[0].received_at, page.items[0].received_at)
            if late is not None:
                at, found = late
                found += [one for one in page.items if one.received_at < at.wanted_from and one.created_at > at.begun]
                if len(found) > _LATE_MAX:
                    raise TemporaryError(f"GET delta at {self._client.where}: too many messages with old dates")
            link = page.link
            if not page.more:
                return link, begun, oldest

    async def _begin_anew(self, folder: Folder, state: dict[str, FolderCursor]) -> AsyncIterator[Batch]:
        """Count again what is there, and read it again from the first reading's `from` on."""
        before = state[folder.id]
        late: list[Listed] = []
        came_link, _, _ = await self._count(first_delta(self._client, folder, created=True), None)
        link, begun, oldest = await self._count(first_delta(self._client, folder), (before, late))
        # Under the old cursor: a crash in between begins here again.
        async for batch in self._fetch(folder, state, late, _Step(more=True, recovering=True)):
            yield batch
        state[folder.id] = replace(
            before,
            link=link,
            at=begun,
            done=(),
            backlog=Position(before.wanted_from),
            recovering=True,
            aside=state[folder.id].aside,
            came_link=came_link if oldest is not None and oldest < before.wanted_from else None,
            came=(),
        )

    # -- what was there ------------------------------------------------------------------------------

    async def _backlog(self, folder: Folder, state: dict[str, FolderCursor]) -> AsyncIterator[Batch]:
        while (position := state[folder.id].backlog) is not None:
            page = await list_from(self._client, folder, position)
            recovering = state[folder.id].recovering
            following = _behind(page.items, position) if page.more else None
            step = _Step(
                page.more,
                lambda at, items: replace(at, backlog=_behind(items, at.backlog)),
                partial(replace, backlog=following, recovering=recovering and page.more),
                recovering=recovering,
            )
            items = [item for item in page.items if not self._seen.has(folder, item.id)]
            async for batch in self._fetch(folder, state, items, step):
                yield batch
            if state[folder.id].backlog != following:
                state[folder.id] = step.last(state[folder.id])
                yield Batch((), format_cursor(state), more=page.more, recovering=recovering)

    # -- what delta tells of -------------------------------------------------------------------------

    async def _rounds(
        self, folder: Folder, state: dict[str, FolderCursor], written: FolderCursor
    ) -> AsyncIterator[Batch]:
        more, empty = True, 0
        while more:
            at = state[folder.id]
            page = await delta_page(self._client, at.link)
            empty = self._count_empty(page, empty)
            more = page.more
            for message_id in page.gone:
                self._seen.discard(folder, message_id)
            items, came_link, came = await self._new_ones(folder, at, page)
            last = partial(
                replace,
                link=page.link,
                at=self._client.server_now,
                done=(),
                came_link=came_link,
                came=tuple(came),
            )
            async for batch in self._fetch(folder, state, items, _Step(more, _behind_some, last)):
                yield batch
                written = state[folder.id]
            if state[folder.id].link == at.link:
                state[folder.id] = behind = last(state[folder.id])
                if page.items or page.partial or page.gone or behind.at - written.at > _WRITE_AFTER:
                    yield Batch((), format_cursor(state), more=more)
                    written = behind
            self._latest[folder.id] = (written, state[folder.id])

    async def _new_ones(
        self, folder: Folder, at: FolderCursor, page: DeltaPage
    ) -> tuple[list[Listed], str | None, Sequence[str]]:
        """Return those messages of a page that are to be read, not what was yielded, nor old mail that somebody
        marks; and what of the second delta is to be kept behind them.

        Delta tells of what is marked as of what has come in. Mail with an old date may be either: then the second
        delta is asked, which tells only of what has come in.
        """
        partial = [message_id for message_id in page.partial if not self._seen.has(folder, message_id)]
        looked_up = [await look_up(self._client, message_id) for message_id in partial]
        items = [*page.items, *(one for one in looked_up if one is not None)]
        items = [one for one in items if one.id not in at.done and not self._seen.has(folder, one.id)]
        doubtful = {one.id for one in items if at.looks_old(one.received_at, one.created_at)}
        if not doubtful or at.came_link is None:
            return items, at.came_link, at.came
        came_link, came = await self._came_in(at, at.came_link)
        accepted = doubtful & came.keys()
        rest = [message_id for message_id in came if message_id not in accepted]
        return [one for one in items if one.id not in doubtful or one.id in accepted], came_link, rest[-_CAME_MAX:]

    async def _came_in(self, at: FolderCursor, link: str) -> tuple[str, dict[str, None]]:
        """Read the second delta to its end; return its link, and what came in with an old date."""
        came = dict.fromkeys(at.came)
        more, empty = True, 0
        while more:
            page = await delta_page(self._client, link, size=BASELINE_PAGE)
            empty = self._count_empty(page, empty)
            came |= {one.id: None for one in page.items if at.looks_old(one.received_at, one.created_at)}
            link, more = page.link, page.more
        return link, came

    # -- both ----------------------------------------------------------------------------------------

    async def _fetch(
        self, folder: Folder, state: dict[str, FolderCursor], items: Sequence[Listed], step: _Step
    ) -> AsyncIterator[Batch]:
        """Yield the messages in batches; the folder's cursor is behind each of them, and behind all at the last."""
        items = await self._unknown(folder, items)
        left = len(items)
        async with aclosing(fetch_groups(self._client, folder, items, self._plan)) as groups:  # type: ignore[type-var]
            async for fetched in groups:
                left -= len(fetched)
                self._witness.note(fetched)
                await self._witness.require_others(fetched)
                taken = [one.item for one in fetched]
                at = put_aside(state[folder.id], fetched, self._client.server_now, self._client.where)
                state[folder.id] = step.some(at, taken) if left else step.last(at)
                messages = [one.message for one in fetched if one.message is not None]
                yield Batch(messages, format_cursor(state), more=step.more or left > 0, recovering=step.recovering)
                self._seen.add(folder, taken)

    def _count_empty(self, page: DeltaPage, empty: int) -> int:
        """Return how many pages in a row have nothing. Raises TemporaryError where they are too many."""
        empty = 0 if page.items or page.partial or page.gone else empty + 1
        if empty > EMPTY_PAGES_MAX:
            raise TemporaryError(f"GET delta at {self._client.where}: too many pages without anything")
        return empty

    async def _unknown(self, folder: Folder, items: Sequence[Listed]) -> Sequence[Listed]:
        """Return those that the caller does not have, or has elsewhere."""
        if self._known is None or not items:
            return items
        have = await self._known([item.id for item in items])
        there = [item for item in items if have.get(item.id) == str(Locator(folder.id, item.id))]
        self._seen.add(folder, there)
        return [item for item in items if item not in there]

    async def _ask_again(self, folder: Folder, state: dict[str, FolderCursor]) -> AsyncIterator[Batch]:
        now = self._client.server_now
        for one in state[folder.id].aside:
            if one.again_at > now:
                continue
            message, later = await ask_again(self._client, folder, one, now, self._plan.message_bytes_max)
            if later is not None or (message is not None and message.withheld):
                withheld = Fetched(Listed(one.id, one.received_at, one.received_at), None, withheld=True)
                await self._witness.require_others([withheld])
            at = state[folder.id]
            left = tuple(other for other in at.aside if other.id != one.id)
            state[folder.id] = replace(at, aside=(*left, later) if later is not None else left)
            yield Batch([message] if message is not None else (), format_cursor(state), more=True)


@dataclass(frozen=True, slots=True)
class _Step:
    """How a folder's cursor moves behind messages."""

    more: bool
    """Whether others follow."""
    some: Callable[[FolderCursor, Sequence[Listed]], FolderCursor] = lambda at, _: at
    """Behind some of them."""
    last: Callable[[FolderCursor], FolderCursor] = lambda at: at
    """Behind all."""
    recovering: bool = False


def _behind_some(at: FolderCursor, items: Sequence[Listed]) -> FolderCursor:
    return replace(at, done=(*at.done, *(item.id for item in items)))


def _behind(items: Sequence[Listed], position: Position | None) -> Position | None:
    for item in items:
        if position is not None and item.id not in position.ids:
            position = position.behind(item.id, item.received_at)
    return position
