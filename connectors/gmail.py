"""Reading a mailbox by the Gmail API.

The history tells what came into the watched labels, from a record of it that is the cursor (`gmail_cursor`), and never
a flag. Where the history is not kept any more, the labels are listed and compared with what the caller has; that is
no invalid cursor for the caller, who gets nothing lost and keeps one message only once.

Waiting is asking the history now and then, quickly after something came and ever more slowly afterwards; Pub/Sub tells
of news at once where it is set up. No thread waits.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from connectors.base import (
    FOUND_MAX,
    Batch,
    ConnectorError,
    Edit,
    Fingerprint,
    HistoryBatch,
    HistoryPlan,
    RawMessage,
    ReadPlan,
    TemporaryError,
    TokenSource,
    Whereabouts,
)
from connectors.gmail_access import GmailAccess
from connectors.gmail_backfill import claimed_of_labels, read_backfill
from connectors.gmail_changes import Happened, HistoryLost, current_history, read_history
from connectors.gmail_cursor import (
    ALL_MAIL,
    GmailCursor,
    LabelCursor,
    Locator,
    format_cursor,
    order_of,
    parse_cursor,
    provider_id_of,
)
from connectors.gmail_edit import edit_messages
from connectors.gmail_fetch import (
    Fetched,
    fetch_one,
    fetch_parts,
    group,
    list_ids,
    minimal,
    received_at,
    sorted_ids,
)
from connectors.gmail_labels import HIDDEN, Labels, lies_in
from connectors.gmail_mail import is_searchable
from connectors.gmail_push import PushListener
from connectors.gmail_quota import Urgency
from connectors.gmail_session import GmailSession, GmailTools, chunks
from connectors.gmail_wait import Waiting
from connectors.imap_folders import role_of

Known = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Returns, of these provider ids, those of messages that the caller has, with the locators that it has for them."""
WatchFailed = Callable[[ConnectorError, float], None]
"""Told that Gmail will not publish what happens in the mailbox, and in how many seconds it is asked again."""
_NEWEST_LOOKED_AT = 50
"""Of a label that is new to us so many are looked at without a search: its index can be behind what has come."""
_MOVED_ON_AFTER = timedelta(hours=6)
"""The cursor of a mailbox in which nothing comes is moved on so often, well before its record is forgotten."""
_MOVED_ON_RECORDS = 200
"""So many records that concern no mail of ours are not read again and again."""
_KNOWN_ASKED = 500
_NEW = Urgency.NEW_MAIL
_CLAIMS = Urgency.HISTORY
"""Nobody waits for a comparison: new mail and replies have the quota first."""


class GmailReader:
    """A `Reader` over the Gmail API. Raises ValueError for a plan that names a role we do not know."""

    reads_ahead: Final = False

    def __init__(
        self,
        access: GmailAccess,
        token_source: TokenSource,
        tools: GmailTools,
        plan: ReadPlan,
        *,
        known: Known | None = None,
        push: PushListener | None = None,
        watch_failed: WatchFailed = lambda _error, _seconds: None,
    ) -> None:
        for entry in plan.folders:
            role_of(entry)
        self._plan = plan
        self._known = known
        self._session = GmailSession(access, token_source, tools)
        self._labels = Labels(self._session)
        self._missing: Sequence[int] = ()
        self._waiting = Waiting(self._session, push, watch_failed)
        self._read_upto = "0"
        """The record up to which the last reading came; the cursor may stand before it, with nothing between."""

    async def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Yield what is new; see `Reader.changes`."""
        state = parse_cursor(cursor)
        self._read_upto = "0"
        watched, missing = await self._watched()
        if state is None:
            # Before anything is listed: what comes meanwhile is told by the history.
            state = GmailCursor(await current_history(self._session, _NEW), datetime.now(UTC))
        async for batch, behind in self._read(state, watched, forget=not missing):
            state = behind
            yield batch
        self._missing = sorted(missing)
        self._waiting.read_up_to(max(state.history, self._read_upto, key=int), tuple(watched))

    async def _read(
        self, state: GmailCursor, watched: Mapping[str, datetime | None], *, forget: bool
    ) -> AsyncIterator[tuple[Batch, GmailCursor]]:
        """Yield what is left of listings, then the news of labels that are known, then the listings of new labels.

        `forget`: what the cursor says of other labels is dropped; once they are watched again, they begin anew. (A
        label that is missing may be one that the cursor knows.)
        """
        known = [label for label in watched if label in state.labels]
        for label in known:
            async for batch, behind in self._listing(state, label):
                state = behind
                yield batch, state
        if known:
            async for batch, behind in self._news(state, known):
                state = behind
                yield batch, state
        for label, start_at in watched.items():
            if label not in state.labels:
                state = await self._begin(state, label, start_at)
                if start_at is None:
                    yield Batch((), format_cursor(state), more=False), state
                async for batch, behind in self._listing(state, label):
                    state = behind
                    yield batch, state
        left = state.labels.keys() - watched.keys() if forget else set()
        if left:
            state = replace(state, labels={label: one for label, one in state.labels.items() if label not in left})
            yield Batch((), format_cursor(state), more=False), state

    def missing_folders(self) -> Sequence[int]:
        return self._missing

    async def _watched(self) -> tuple[dict[str, datetime | None], set[int]]:
        """Return the labels of the plan, in its order, with the moment from which on their mail is new; and the
        positions of entries that have none."""
        self._labels.forget()
        watched: dict[str, datetime | None] = {}
        missing: set[int] = set()
        for position, entry in enumerate(self._plan.folders):
            label = await self._labels.find(entry, _NEW)
            if label is None:
                missing.add(position)
            elif label != ALL_MAIL:
                start_at = self._plan.start_of(entry)
                known = watched.get(label, start_at)
                starts = [one for one in (start_at, known) if one is not None]
                watched[label] = min(starts, default=None)
        return watched, missing

    # -- a label's listing -------------------------------------------------------------------------

    async def _begin(self, state: GmailCursor, label: str, start_at: datetime | None) -> GmailCursor:
        newest = await list_ids(self._session, label, _NEW, pages_max=1)
        top = max(newest, key=order_of, default="")
        # `changes` and `history` meet at a whole second.
        start_at = start_at.replace(microsecond=0) if start_at is not None else None
        listed = None if start_at is None else ""
        # An id that is lower than any other, where the label was empty: whatever comes is later.
        return state.with_label(label, LabelCursor(datetime.now(UTC), start_at, top or "0", listed))

    async def _listing(self, state: GmailCursor, label: str) -> AsyncIterator[tuple[Batch, GmailCursor]]:
        """Yield what lies in a label and is wanted, in the order of ids, and the cursor that stands behind it."""
        at = state.labels[label]
        if at.listed is None:
            return
        ids = [one for one in await self._wanted_ids(label, at) if order_of(one) > order_of(at.listed)]
        name = await self._labels.name_of(label, _NEW)
        async with aclosing(fetch_parts(self._session, ids, self._plan, _NEW)) as parts:  # type: ignore[type-var]
            async for some, fetched in parts:
                wanted = [
                    one
                    for key in some
                    if (one := fetched.get(key)) is not None
                    and lies_in(label, one.labels)
                    and at.is_wanted(key, one.received_at)
                ]
                for messages in group(wanted, self._plan):
                    is_last = some[-1] == ids[-1] and messages[-1] is wanted[-1]
                    listed = None if is_last else messages[-1].message_id
                    behind = replace(at, listed=listed, recovering=at.recovering and not is_last)
                    state = state.with_label(label, behind)
                    raw = [one.as_raw(label, name) for one in messages]
                    yield Batch(raw, format_cursor(state), more=not is_last, recovering=at.recovering), state
        if state.labels[label].listed is not None:
            state = state.with_label(label, replace(at, listed=None, recovering=False))
            yield Batch((), format_cursor(state), more=False, recovering=at.recovering), state

    async def _wanted_ids(self, label: str, at: LabelCursor) -> list[str]:
        """Return the ids that a listing is to read, in their order."""
        wanted = set(await list_ids(self._session, label, _NEW, since=at.dated_from))
        if at.recovering:
            # What was moved in with an old date while nobody looked.
            wanted |= {one for one in await list_ids(self._session, label, _NEW) if at.came_later(one)}
            return sorted_ids(wanted - await self._known_of(label, sorted_ids(wanted)))
        newest = (await list_ids(self._session, label, _NEW, pages_max=1))[:_NEWEST_LOOKED_AT]
        suspects = [one for one in newest if one not in wanted and not at.came_later(one)]
        dates = await minimal(self._session, suspects, _NEW) if suspects else {}
        wanted |= {key for key, one in dates.items() if received_at(one) >= at.dated_from}
        return sorted_ids(wanted)

    async def _known_of(self, label: str, ids: Sequence[str]) -> set[str]:
        """Return which of these the caller has in this label; what it has elsewhere was moved, and is read again."""
        found: set[str] = set()
        if self._known is not None:
            for some in chunks(ids, _KNOWN_ASKED):
                have = await self._known([provider_id_of(one) for one in some])
                found |= {one for one in some if have.get(provider_id_of(one)) == str(Locator(label, one))}
        return found

    # -- the history -------------------------------------------------------------------------------

    async def _news(self, state: GmailCursor, labels: Sequence[str]) -> AsyncIterator[tuple[Batch, GmailCursor]]:
        while True:
            try:
                happened = await read_history(self._session, state.history, labels, _NEW)
            except HistoryLost:
                break
            async for batch, behind in self._arrived(state, happened, labels):
                state = behind
                yield batch, state
            now = datetime.now(UTC)
            self._read_upto = happened.upto
            moved = int(happened.upto) > int(state.history)
            # That somebody set a star is not worth a commit by itself.
            if moved and (
                happened.arrivals or happened.records >= _MOVED_ON_RECORDS or now - state.at > _MOVED_ON_AFTER
            ):
                state = state.up_to(happened.upto, now)
                yield Batch((), format_cursor(state), more=happened.more), state
            if not happened.more:
                return
        now = datetime.now(UTC)
        state = state.anew(await current_history(self._session, _NEW), now)
        yield Batch((), format_cursor(state), more=True, recovering=True), state
        for label in labels:
            async for batch, behind in self._listing(state, label):
                state = behind
                yield batch, state

    async def _arrived(
        self, state: GmailCursor, happened: Happened, labels: Sequence[str]
    ) -> AsyncIterator[tuple[Batch, GmailCursor]]:
        """Yield the messages that came, in the order of their arrival."""
        records = {one.message_id: one.record for one in happened.arrivals}
        ids = list(records)
        next_of = dict(itertools.pairwise(ids))
        async with aclosing(fetch_parts(self._session, ids, self._plan, _NEW)) as parts:  # type: ignore[type-var]
            async for some, fetched in parts:
                found = [
                    one for key in some if (one := fetched.get(key)) is not None and _place(one, labels) is not None
                ]
                for messages in group(found, self._plan):
                    last = messages[-1].message_id
                    following = next_of.get(last)
                    # A record can tell of several messages: it is behind us once all of them are.
                    record = records[last] - (1 if following and records[following] == records[last] else 0)
                    record = record if following else int(happened.upto)
                    if record > int(state.history):
                        state = state.up_to(str(record), datetime.now(UTC))
                    raw = [one.as_raw(*(await self._where(one, labels))) for one in messages]
                    yield Batch(raw, format_cursor(state), more=happened.more or following is not None), state

    async def _where(self, one: Fetched, labels: Sequence[str]) -> tuple[str, str]:
        label = _place(one, labels) or ALL_MAIL
        return label, await self._labels.name_of(label, _NEW)

    # -- the other half of the Protocol --------------------------------------------------------------

    def history(self, plan: HistoryPlan, cursor: str | None) -> AsyncIterator[HistoryBatch]:
        """Yield old mail, label by label in the plan's order; see `Reader.history`."""
        return read_backfill(self._session, self._labels, self._plan, plan, cursor)

    async def claimed(self, cursor: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the cursor; see `Reader.claimed`."""
        state = parse_cursor(cursor)
        if state is None or not state.labels:
            return
        watched, _ = await self._watched()
        for label in [one for one in watched if one in state.labels]:
            at = state.labels[label]
            there = await list_ids(self._session, label, _CLAIMS)
            dated = set() if at.wanted_from is None else set(await self._dated(label, at.wanted_from))
            try:
                newer = await self._since(state.history, label)
            except HistoryLost:
                raise TemporaryError("history.list: what happened since the cursor is not kept any more") from None
            claimed = [
                one
                for one in sorted_ids(there)
                if (one in dated or at.came_later(one))
                and one not in newer
                and (at.listed is None or order_of(one) <= order_of(at.listed))
            ]
            for some in chunks(claimed, _KNOWN_ASKED):
                yield [str(Locator(label, one)) for one in some]

    async def claimed_history(self, plan: HistoryPlan, cursor: str, changes: str) -> AsyncIterator[Sequence[str]]:
        """Yield what lies behind the history's cursor; see `Reader.claimed_history`."""
        state = parse_cursor(changes)
        for label, ids in (await claimed_of_labels(self._session, self._labels, self._plan, plan, cursor)).items():
            if state is None or label not in state.labels:
                continue
            # What was moved in since is `changes`' business, whatever its date.
            try:
                newer = await self._since(state.history, label)
            except HistoryLost:
                raise TemporaryError("history.list: what happened since the cursor is not kept any more") from None
            for some in chunks([one for one in ids if one not in newer], _KNOWN_ASKED):
                yield [str(Locator(label, one)) for one in some]

    async def find(self, message_id: str) -> Sequence[Whereabouts]:
        """Search all mail, spam and the bin; see `Reader.find`."""
        if not is_searchable(message_id):
            return []
        request = self._session.api.messages.list(
            userId="me",
            q=f"rfc822msgid:{message_id.strip('<>')}",
            includeSpamTrash=True,
            maxResults=FOUND_MAX,
            fields="messages/id",
        )
        page = await self._session.call("messages.list", request, _CLAIMS)
        ids = [str(one["id"]) for one in page.get("messages", ())]
        entries: dict[str, int] = {}
        for position, entry in enumerate(self._plan.folders):
            label = await self._labels.find(entry, _CLAIMS)
            if label is not None and label != ALL_MAIL:
                entries.setdefault(label, position)
        found = []
        for key, one in (await minimal(self._session, ids, _CLAIMS)).items() if ids else ():
            labels = [str(label) for label in one.get("labelIds", ())]
            at = next((label for label in entries if lies_in(label, labels)), None)
            shown = at or next((label for label in labels if lies_in(label, labels)), ALL_MAIL)
            name = await self._labels.name_of(shown, _CLAIMS)
            place = str(Locator(shown, key))
            found.append(Whereabouts(place, name, received_at(one), entries[at] if at is not None else None))
        return found

    async def _dated(self, label: str, since: datetime) -> list[str]:
        # Widened by a second at the asking: a message of that very second is rather not claimed.
        return await list_ids(self._session, label, _CLAIMS, since=since + timedelta(seconds=2))

    async def _since(self, history: str, label: str) -> set[str]:
        newer: set[str] = set()
        while True:
            happened = await read_history(self._session, history, (label,), _CLAIMS)
            newer |= {one.message_id for one in happened.arrivals}
            if not happened.more or happened.upto == history:
                return newer
            history = happened.upto

    async def wait(self, timeout_seconds: float) -> bool:
        """Ask now and then, or be told; see `Reader.wait`."""
        return await self._waiting.wait(timeout_seconds)

    def wake(self) -> None:
        self._waiting.wake()

    async def fetch(self, locator: str) -> RawMessage | None:
        """Return one message whole; see `Reader.fetch`."""
        place = Locator.parse(locator)
        if place is None:
            return None
        urgency = _CLAIMS if self._plan.readonly else _NEW
        found = await fetch_one(self._session, place.message_id, self._plan, urgency)
        if found is None or not lies_in(place.label, found.labels):
            return None
        return found.as_raw(place.label, await self._labels.name_of(place.label, urgency))

    async def fingerprints(self, locators: Sequence[str]) -> Mapping[str, Fingerprint]:
        """Tell the ids that the locators hold; see `Reader.fingerprints`."""
        places = [(locator, Locator.parse(locator)) for locator in locators]
        return {one: Fingerprint(provider_id_of(place.message_id)) for one, place in places if place is not None}

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        """Do one edit; see `Reader.edit`. Raises ValueError for a keyword that is none."""
        return await edit_messages(self._session, self._labels, locators, edit)

    async def close(self) -> None:
        self._waiting.close()
        await self._session.close()


def _place(one: Fetched, labels: Sequence[str]) -> str | None:
    """Return where a message that came into a watched label lies; None where somebody took it out of sight.

    What was archived since is still mail that came in: somebody, or a filter, was quicker than we.
    """
    found = next((label for label in labels if lies_in(label, one.labels)), None)
    if found is not None or HIDDEN & one.labels or "DRAFT" in one.labels:
        return found
    return ALL_MAIL
