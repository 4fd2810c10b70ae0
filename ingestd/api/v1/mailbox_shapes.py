"""What is told of mailboxes, and what can be changed in them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from config import Settings
from ingestd.api.shapes import Shown, Taken
from ingestd.desk import BackfillView, MailboxView
from ingestd.options import FOLDER_CHARS_MAX, FOLDERS_MAX, NAME_CHARS_MAX, SIGNATURE_CHARS_MAX, Options, effective
from ingestd.options import mirrored as mirrored_of
from ingestd.records import TOKEN_OFF
from ingestd.standing import Counts, Pushed, Spending, Standing, Warned, lag_of
from storage.backfills import BackfillStatus
from storage.mailboxes import MailboxState

Spelled = Annotated[str, Field(min_length=1, max_length=300)]


class WarningShown(Shown):
    """Something that a person should know of, while the mailbox is read all the same."""

    kind: Literal["folders_missing", "sending", "access", "budget"]
    trouble: str = Field(examples=["folders_missing"], description="A fixed word.")
    since: datetime | None
    until: datetime | None = Field(description="When it is tried again, there is room again, or the access ends.")
    meaning: str = Field(description="For people: what is wrong.")
    cure: str = Field(description="For people: what to do about it.")


class MailboxSummary(Shown):
    mailbox_id: UUID
    address: str = Field(examples=["support@example.com"])
    provider: str = Field(examples=["google"], description="Its name in the configuration.")
    state: MailboxState = Field(examples=["active"])
    since: datetime = Field(description="Since when it has this state.")
    trouble: str | None = Field(examples=["grant_revoked"], description="Why it is not read; a fixed word.")
    reason: str | None = Field(description="What the server said, as fixed words.")
    meaning: str | None = Field(description="For people: what is wrong.")
    cure: str | None = Field(description="For people: what to do about it.")
    next_try: datetime | None
    read_at: datetime | None = Field(description="When it was last read to its end.")
    lag_seconds: float | None = Field(
        examples=[12.5], description="Seconds since then; null where it is not active, or was not read yet."
    )
    read_by: Literal["imap", "gmail", "graph"] | None = Field(
        examples=["imap"], description="The way by which it is read; null where its grant opens none."
    )
    send_by: Literal["smtp", "gmail", "graph"] | None = Field(
        examples=["smtp"], description="The way by which its replies are sent; null where its grant opens none."
    )
    send_by_instead: Literal["smtp", "gmail", "graph"] | None = Field(
        examples=[None], description="The way by which they are sent where the provider has switched that one off."
    )
    warnings: list[WarningShown]


class MailboxPage(Shown):
    items: list[MailboxSummary]
    next: UUID | None = Field(description="`after` of the next page; null on the last one.")


class SendingShown(Shown):
    """How much was sent of what may be sent within 24 hours."""

    replies_waiting: int
    sent_day: int = Field(description="Messages within 24 hours.")
    sent_day_max: int | None
    recipients_day: int
    recipients_day_max: int | None


class BackfillShown(Shown):
    """The reading of the mail that was there before the mailbox was linked."""

    status: BackfillStatus
    order: Literal["newest", "oldest"] = Field(description="Which mail comes first.")
    since: datetime | None = Field(description="The oldest mail that is wanted; null: all of it.")
    before: datetime = Field(description="When the mailbox was linked.")
    seen: int
    total: int | None = Field(description="Null before the server was asked.")
    seconds_left: float | None
    trouble: str | None
    next_try: datetime | None
    began_at: datetime | None
    ended_at: datetime | None


class OptionsShown(Shown):
    after_import: str = Field(examples=["nothing"], description="What is done in the mailbox to mail that was taken.")
    folders: list[str] = Field(examples=[["INBOX"]], description="Those that are watched.")
    mirror: dict[str, str] = Field(
        examples=[{"read": "nothing", "spam": "junk"}], description="What agents do, mirrored in the mailbox."
    )
    name: str = Field(examples=["Example Support"], description="The name that replies come from.")
    reply_to: str = Field(description='Where answers go; "": to the address that a reply comes from.')
    reply_token: Literal["off", "plus"]
    signature: str = Field(description="Plain text, put beneath every reply.")


class PushShown(Shown):
    """The subscription by which Microsoft Graph tells of news in the mailbox. Polling goes on beneath."""

    active_until: datetime | None = Field(description="Null where there is none just now: the mailbox is polled.")
    failures: int = Field(ge=0, description="Attempts to make or renew it that failed, in a row.")
    next_try: datetime = Field(description="When it is made or renewed.")


class MailboxShown(MailboxSummary):
    aliases: list[str] = Field(examples=[["help@example.com"]])
    start_from: str = Field(examples=["now"])
    created_at: datetime = Field(description="When it was linked.")
    sending: SendingShown
    backfill: BackfillShown | None
    options: OptionsShown
    quarantined: int = Field(description="Messages that could not be understood, and wait for a decision.")
    edits_due: int = Field(description="What is still to be done in the mailbox itself.")
    edits_failed: int
    push: PushShown | None = Field(
        description="Null where it has no subscription of its own: it is polled, or read by IMAP or Gmail's API."
    )


class MirrorChanged(Taken):
    """An action that is left out stays as it is; null: as the configuration says."""

    read: Spelled | None = Field(default=None, examples=["seen"])
    spam: Spelled | None = Field(default=None, examples=["junk"])
    delete: Spelled | None = Field(default=None, examples=["trash"])
    solved: Spelled | None = Field(default=None, examples=["keyword:Solved"])


class OptionsChanged(Taken):
    """What is left out stays as it is; null takes back what was chosen: then the configuration says, or there is
    none."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1})

    after_import: Spelled | None = Field(
        default=None, examples=["seen"], description="nothing, seen, keyword:NAME, move:FOLDER or delete."
    )
    folders: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=FOLDER_CHARS_MAX)]],
            Field(min_length=1, max_length=FOLDERS_MAX, examples=[["INBOX", "Support"]]),
        ]
        | None
    ) = None
    mirror: MirrorChanged | None = None
    name: Annotated[str, Field(max_length=NAME_CHARS_MAX)] | None = Field(default=None, examples=["Example Support"])
    reply_to: Annotated[str, Field(max_length=320)] | None = Field(default=None, examples=["help@example.com"])
    reply_token: Literal["off", "plus"] | None = None
    signature: Annotated[str, Field(max_length=SIGNATURE_CHARS_MAX + 500)] | None = Field(
        default=None, examples=["Jane Doe\nExample Ltd"]
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name what is to be changed")
        return self

    def options(self) -> Options:
        """Return it as the daemon has it: "" takes back, None leaves."""
        given: dict[str, Any] = {name: getattr(self, name) or "" for name in self.model_fields_set - {"mirror"}}
        if "folders" in given:
            given["folders"] = tuple(dict.fromkeys(self.folders or ()))
        if "reply_token" in given:
            given["reply_token"] = self.reply_token or TOKEN_OFF
        if "mirror" in self.model_fields_set:
            chosen = self.mirror or MirrorChanged(read=None, spam=None, delete=None, solved=None)
            given["mirror"] = {name: getattr(chosen, name) or "" for name in chosen.model_fields_set}
        return Options(**given)


def summary_of(view: MailboxView, standing: Standing, warned: list[Warned]) -> MailboxSummary:
    return MailboxSummary(**_summary(view, standing, warned))


def shown_of(
    settings: Settings,
    view: MailboxView,
    standing: Standing,
    warned: list[Warned],
    spending: Spending,
    counts: Counts,
    backfill: BackfillView | None,
    pushed: Pushed | None,
) -> MailboxShown:
    assert view.record is not None
    return MailboxShown(
        **_summary(view, standing, warned),
        aliases=list(view.record.addresses),
        start_from=view.mailbox.start_from,
        created_at=view.mailbox.created_at,
        sending=SendingShown(
            replies_waiting=spending.replies_waiting,
            sent_day=spending.sent_day,
            sent_day_max=spending.sent_day_max,
            recipients_day=spending.recipients_day,
            recipients_day_max=spending.recipients_day_max,
        ),
        backfill=None if backfill is None else backfill_of(backfill),
        options=_options(settings, view),
        **asdict(counts),
        push=None if pushed is None else PushShown(**asdict(pushed)),
    )


def backfill_of(view: BackfillView) -> BackfillShown:
    one, now = view.backfill, view.progress
    return BackfillShown(
        status=one.status,
        order="newest" if one.newest_first else "oldest",
        since=one.since,
        before=one.before,
        seen=now.seen,
        total=now.total,
        seconds_left=now.seconds_left,
        trouble=one.trouble,
        next_try=one.retry_at,
        began_at=one.began_at,
        ended_at=one.ended_at,
    )


def _summary(view: MailboxView, standing: Standing, warned: list[Warned]) -> dict[str, Any]:
    assert view.record is not None
    mailbox = view.mailbox
    return {
        "mailbox_id": mailbox.mailbox_id,
        "address": view.record.address,
        "provider": mailbox.provider,
        "state": mailbox.state,
        "since": mailbox.state_since,
        "trouble": standing.trouble,
        "reason": standing.reason,
        "meaning": standing.meaning,
        "cure": standing.cure,
        "next_try": standing.next_try,
        "read_at": mailbox.read_at,
        "lag_seconds": lag_of(mailbox, datetime.now(UTC)),
        "read_by": standing.read_by,
        "send_by": standing.send_by,
        "send_by_instead": standing.send_by_instead,
        "warnings": [WarningShown(**asdict(one)) for one in warned],
    }


def _options(settings: Settings, view: MailboxView) -> OptionsShown:
    record, defaults = view.record, settings.mailbox_defaults
    assert record is not None
    after_import, folders = effective(record, defaults)
    return OptionsShown(
        after_import=after_import,
        folders=list(folders),
        mirror=mirrored_of(record, defaults),
        name=record.name,
        reply_to=record.reply_to,
        reply_token="plus" if record.reply_token != TOKEN_OFF else "off",
        signature=record.signature,
    )
