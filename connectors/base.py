"""What a way to reach a mailbox must be able to do: one Protocol, its values and its errors.

A connector knows one server protocol and nothing of tickets, databases or
keys. It yields raw messages and takes raw messages; its *cursor* (where reading
stopped) and its *locators* (where a message lies) are opaque text to everybody else.

Errors are typed by what the caller does next; nobody outside a connector ever
reads a server's error text.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from connectors.room import Hold, Room


class Trouble(enum.StrEnum):
    """Why a mailbox cannot be worked on: the error taxonomy that operators see."""

    TOKEN_EXPIRED = "token_expired"  # noqa: S105  (no token)
    GRANT_REVOKED = "grant_revoked"
    CONSENT_OR_MFA = "consent_or_mfa"
    ADMIN_BLOCKED = "admin_blocked"
    PROTOCOL_DISABLED = "protocol_disabled"
    WRONG_MAILBOX = "wrong_mailbox"
    THROTTLED = "throttled"
    TRANSIENT = "transient"


class ConnectorError(Exception):
    """A mailbox could not be reached or used; `trouble` says which kind.

    The text is ours, made of host, port, command and response code. It never
    holds the server's free text, an address, a token or content.
    """

    trouble: Trouble = Trouble.TRANSIENT


class AuthError(ConnectorError):
    """The server refused the token. Refresh it once; only the token endpoint may call a grant revoked."""

    trouble = Trouble.TOKEN_EXPIRED


class RateLimited(ConnectorError):
    """The provider asks us to wait. Try again after `retry_after` seconds, not before."""

    trouble = Trouble.THROTTLED

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CursorInvalid(ConnectorError):
    """The cursor means nothing to the server any more. Repair by comparing ids and hashes."""


class TemporaryError(ConnectorError):
    """It may work later. Retry with backoff; the mailbox keeps its place."""


class PlaceMissing(TemporaryError):
    """The folder that was to be looked into is not there: that nothing was found in it says nothing."""


class PermanentError(ConnectorError):
    """It will not work before a person changes something; `trouble` says what."""

    def __init__(self, message: str, *, trouble: Trouble = Trouble.PROTOCOL_DISABLED) -> None:
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as the server holds it."""

    locator: str
    """Where it lies now: opaque, changes when it is moved."""
    folder: str
    """The name of the folder it was read from, as text."""
    size_bytes: int
    received_at: datetime
    """When the server took it (IMAP INTERNALDATE), aware, UTC."""
    content: bytes | None
    """RFC 5322 bytes, or None where `size_bytes` is over the caller's limit."""
    header: bytes
    """The header block alone; always there, also when `content` is None."""
    provider_id: str | None = None
    """The provider's own id that outlives moves (RFC 8474 EMAILID, X-GM-MSGID, Graph immutable id)."""
    withheld: bool = False
    """Whether the server would not give the content, asked again and again, although it is within the limit; then
    `content` is None. It may not have given the header either, which is empty then: `locator` and `size_bytes` are
    all that is known, and tell two such messages apart."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in the order of arrival and the cursor that stands behind the last of them."""

    messages: Sequence[RawMessage]
    cursor: str
    more: bool
    """Whether the server is known to have more right now."""
    recovering: bool = False
    """Whether these are read again, because the server numbered its messages anew or was restored from a
    backup. The caller has most of them already and keeps one message once; what is new to it was recovered."""
    hold: Hold = field(default_factory=Hold, compare=False)
    """The room of the messages, for who asks for the next batch before this one is done with."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How to read a mailbox; the same for every connector."""

    folders: Sequence[str] = ("INBOX",)
    r"""Names, as people write them, or roles: `\Junk` is the folder that plays that role, whatever its name; where
    no folder plays it there is nothing to read. A role whose folder was named by an override is as that name."""
    start_at: datetime | None = None
    """When the mailbox was linked: mail that came from here on is new. None: from the first reading. Mail that
    comes between the two, be it hours because the server was away, would be lost without it."""
    starts: Mapping[str, datetime] = field(default_factory=dict)
    """As `start_at`, for some of the `folders`: those that are watched since another moment than the linking."""
    batch_messages_max: int = 50
    batch_bytes_max: int = 32 * 1024 * 1024
    message_bytes_max: int = 50 * 1024 * 1024
    room: Room = field(default_factory=Room)
    """For the raw mail of a batch, from before it is fetched until the next one is asked for, or as long as its hold is
    taken over."""
    readonly: bool = False
    """The mailbox is only looked at; a server that can be told so is (IMAP: EXAMINE)."""

    def start_of(self, entry: str) -> datetime | None:
        """Return from when on the mail of a folder is new."""
        return self.starts.get(entry, self.start_at)


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """Which old mail to read, and in which order; the folders and the limits are those of the ReadPlan."""

    before: datetime
    """`changes` takes what came from here on (the ReadPlan's `start_at`), `history` what came earlier; of a folder
    that is among the ReadPlan's `starts`, what came before that moment."""
    since: datetime | None = None
    """The oldest that is wanted; None: everything."""
    newest_first: bool = True
    """The newest batch first; within a batch the order is always that of arrival."""


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Old messages, and how far the reading has come."""

    messages: Sequence[RawMessage]
    cursor: str
    seen: int
    """Messages that lie behind the cursor, of all batches so far."""
    total: int
    """Of how many, as the server counted when the reading began."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a message lies that was looked for in the whole mailbox."""

    locator: str
    folder: str
    """The name of the folder, as text."""
    received_at: datetime | None
    entry: int | None
    """Which of the plan's `folders` it lies in, the first of them; None where that folder is not watched."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a message from the others of its mailbox: the provider's id that outlives moves, else its header."""

    provider_id: str | None
    header: bytes = b""
    """As of a RawMessage; empty where there is a `provider_id`."""


FINGERPRINTS_MAX = 100
"""Of so many messages they are asked for together: their headers are in memory at the same time."""
FOUND_MAX = 20
"""Places of one Message-ID that are worth telling."""


class SendStatus(enum.StrEnum):
    """What is known after an attempt to send."""

    ACCEPTED = "accepted"
    """The server took responsibility (250 to the final dot)."""
    REFUSED = "refused"
    """A final no; nothing was sent."""
    DEFERRED = "deferred"
    """A no for now, before the final dot; nothing was sent, retrying is safe."""
    UNKNOWN = "unknown"
    """Lost after the final dot may have been seen (RFC 1047): never repeat it blindly."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server answered where it said no."""

    code: int | None = None
    """Its reply code, e.g. 550."""
    enhanced_code: str | None = None
    """RFC 3463, e.g. "5.1.1"."""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome of one attempt; an expected value, not an exception."""

    status: SendStatus
    stage: str
    """connect, auth, mail, rcpt, data or dot: how far it went."""
    code: int | None = None
    """The server's reply code, e.g. 250."""
    enhanced_code: str | None = None
    """RFC 3463, e.g. "5.1.1"."""
    refused_recipients: Mapping[str, Refusal] = field(default_factory=dict)
    """Recipients that were refused by themselves."""
    retry_after: float | None = None
    """Seconds for which the provider wants no mail of this mailbox."""
    of_message: bool = False
    """Whether `retry_after` is about this message alone (greylisting): others can be sent meanwhile."""
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 envelope: bare addresses."""

    sender: str
    recipients: Sequence[str]
    envelope_id: str = ""
    """What a report on the message is to name it by, where the server does that (RFC 3461 ENVID): letters and
    digits."""


@dataclass(frozen=True, slots=True)
class FiledCopy:
    """A message found in, or put into, the Sent folder."""

    locator: str
    message_id: str | None
    """The Message-ID that the filed copy has, which may differ from the one we sent."""
    provider_id: str | None = None


class EditKind(enum.StrEnum):
    READ = "read"
    KEYWORD = "keyword"
    REMOVE_KEYWORD = "remove_keyword"
    MOVE = "move"
    SPAM = "spam"
    TRASH = "trash"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Edit:
    kind: EditKind
    target: str | None = None
    """The keyword (KEYWORD, REMOVE_KEYWORD) or folder name (MOVE)."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What opens a mailbox for a while."""

    value: str = field(repr=False)
    expires_at: datetime | None = None
    """Aware, UTC; None where the provider does not tell."""


class TokenSource(Protocol):
    """Gives an access token for one mailbox; single-flight and refresh live behind it."""

    async def __call__(self, *, rejected: str | None = None) -> AccessToken:
        """Return a token that should work now.

        `rejected` is the value of a token that the server has just refused: a fresh one is
        fetched unless somebody else already did. Raises AuthError or
        PermanentError when the grant itself is gone, TemporaryError when the
        token endpoint cannot be asked.
        """
        ...


class Reader(Protocol):
    """Reads a mailbox. Used by one task; opens its connection at first use and again after a loss."""

    @property
    def reads_ahead(self) -> bool:
        """Whether `changes` may be asked for a batch while those before it are still being committed: what is not
        committed in the end is read again, as nothing but the cursor tells what was."""
        ...

    def changes(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Yield what has come since `cursor` (None: as the plan says), oldest first, then end.

        A batch holds at most the plan's limits, but at least one message. A
        batch without messages can still move the cursor. After a yield returns
        control, the caller has committed the batch, unless the connector `reads_ahead`.
        A folder that is not there keeps no other from being read and is no error:
        `missing_folders` tells of it. Raises CursorInvalid, AuthError,
        RateLimited, TemporaryError, PermanentError.
        """
        ...

    def missing_folders(self) -> Sequence[int]:
        """Return the positions, from 0, in the plan's `folders` of those that the last `changes` did not find.

        Counted anew by each `changes` that came to its end; empty before. Each of them is looked for again by
        the next one, and is read from where it was left once it is there. A role that no folder plays is not
        among them, unless an override says which folder is to play it. A connector without folders returns ().
        """
        ...

    async def wait(self, timeout_seconds: float) -> bool:
        """Return True as soon as something may have changed, False after the timeout.

        Costs no thread while it waits.
        """
        ...

    def wake(self) -> None:
        """End the `wait` that is under way, or the next one, at once, as if something had changed."""
        ...

    async def fetch(self, locator: str) -> RawMessage | None:
        """Return one message whole, or None if it lies there no more."""
        ...

    async def fingerprints(self, locators: Sequence[str]) -> Mapping[str, Fingerprint]:
        """Return what messages are known by, by locator, in as few requests as the server allows, and mark nothing.

        One that lies there no more is left out, unless its locator alone tells what it is known by; so is one whose
        header the server does not give.
        """
        ...

    async def edit(self, locators: Sequence[str], edit: Edit) -> Mapping[str, str | None]:
        """Do one edit on messages, idempotently, in as few commands as the server allows.

        Returns for each locator the one that the message has afterwards: the same where it did not
        move, the new one where the server tells it, None where it lies there no more (moved to a
        place the server does not tell, deleted, or gone before). A locator that is **not in the answer**
        means no place at present, as its folder is missing or was numbered anew: nothing was done, and the
        message may lie elsewhere. The edit is to be kept until `changes` tells the new place.
        """
        ...

    def history(self, plan: HistoryPlan, cursor: str | None) -> AsyncIterator[HistoryBatch]:
        """Yield the mail that was there before `plan.before`, in the plan's order, then end.

        The other half of `changes`: a message is yielded by at least one of the two, whatever moves
        meanwhile, and by both at most in doubt; the caller keeps one message once. `cursor` is that
        of the last batch that was committed (None: from the begin), and of no meaning to `changes`.

        Needs a reader of its own, beside the one that waits; and `changes` must have yielded its first
        batch before, or a message with an old date that comes between the two is nobody's. The first
        batch is empty and tells the total. A folder that is gone is passed over.
        Raises as `changes`, but never CursorInvalid: what was numbered anew is read anew.
        """
        ...

    def claimed(self, cursor: str) -> AsyncIterator[Sequence[str]]:
        """Yield the locators of the messages that lie in the watched folders now and that a caller at
        `cursor` must have seen. Reads no bodies. For comparing what is stored with what the server holds."""
        ...

    def claimed_history(self, plan: HistoryPlan, cursor: str, changes: str) -> AsyncIterator[Sequence[str]]:
        """As `claimed`, of the old mail that a caller must have seen whose `history` with this plan is at `cursor`,
        and whose `changes` are at `changes`. In doubt, as at the very second of an end, a message is left out."""
        ...

    async def find(self, message_id: str) -> Sequence[Whereabouts]:
        """Look for a Message-ID in all folders, watched or not; return at most FOUND_MAX places, and mark nothing."""
        ...

    async def close(self) -> None: ...


StillOurs: TypeAlias = Callable[[], Awaitable[bool]]


async def always() -> bool:
    """Whoever sends at once may."""
    return True


class Sender(Protocol):
    """Sends through the mailbox's own provider, and keeps its Sent folder."""

    async def send(self, envelope: Envelope, content: bytes, *, still_ours: StillOurs = always) -> SendOutcome:
        """Make one attempt.

        `still_ours` is asked at the last moment at which the message can still be kept from leaving; where it says
        no, the attempt ends as DEFERRED, and what it raises is raised. Raises AuthError, RateLimited, PermanentError,
        TemporaryError only when it is certain that nothing was sent (connect and auth stages).
        """
        ...

    async def find_in_sent(self, message_id: str, token: str) -> Sequence[FiledCopy]:
        """Return the copies in Sent that carry this Message-ID, or our own header (OWN_HEADER) with this token.

        Raises PlaceMissing where there is no Sent, or not the one that was named for it; `file_in_sent` makes it.
        """
        ...

    async def file_in_sent(self, content: bytes, sent_at: datetime) -> FiledCopy:
        """Put a copy into Sent, marked as read, dated `sent_at`. Does not look first."""
        ...

    async def hang_up(self) -> None:
        """Close the connection that mails leave by, if one is kept; the next `send` opens another."""
        ...

    async def close(self) -> None: ...


OWN_HEADER = "X-Ingestd-Id"
"""The header of ours that carries the reply's HMAC, for providers that rewrite Message-IDs."""
