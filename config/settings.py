"""The settings' types: one class a section, one line a field, a default right for most.

They are immutable. `config.loader.load` makes them from a file, and names the
line of every mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from config.after_import import AfterImport, check_not_watched
from config.bucket import Bucket
from config.checks import (
    AddressOrDomain,
    Bytes,
    Count,
    DatabaseUrl,
    HostName,
    HostPort,
    MailAddress,
    MasterKey,
    ProviderName,
    Seconds,
    Section,
    Text,
    WebUrl,
    database_identity,
    decode_master_key,
)
from config.locations import Locations
from config.mirror import MirrorDelete, MirrorRead, MirrorSolved, MirrorSpam, check_mirror_fits
from config.presets import AnyProvider
from config.providers import Provider, resolve
from config.secrets import mask_url

KIB = 1024
MIB = 1024 * KIB


def _at_least(value: float, info: ValidationInfo, other: str) -> None:
    """Refuse a value below that of a field before it (absent when that one was refused itself)."""
    if other in info.data and value < info.data[other]:
        raise ValueError(f"must not be less than {other} ({info.data[other]:g})")


class Backoff(Section):
    """How long to wait between attempts: doubled each time, with jitter, up to a limit."""

    initial_seconds: Seconds = 1.0
    """Pause after the first failure."""
    max_seconds: Seconds = 300.0
    """The longest pause."""

    @field_validator("max_seconds")
    @classmethod
    def _ordered(cls, value: float, info: ValidationInfo) -> float:
        _at_least(value, info, "initial_seconds")
        return value


class Storage(Section):
    """Where tickets, mail and keys are kept."""

    database: DatabaseUrl = "sqlite:////var/lib/ingestd/content.db"
    """Address of the content database: sqlite:///path or postgresql://user:password@host/name."""
    keystore: DatabaseUrl = "sqlite:////var/lib/ingestd/keys/keys.db"
    """Address of the key store: another database, never backed up together with the content."""
    blobs_dir: Path = Path("/var/lib/ingestd/blobs")
    """Folder for large raw mails, where there is no `bucket`."""
    bucket: Bucket | None = None
    """Bucket for large raw mails; it takes the place of the folder."""
    blob_bytes_min: Bytes = 256 * KIB
    """Raw mails larger than this after compression go to the folder or bucket, smaller ones to the database."""
    busy_timeout_seconds: Seconds = 10.0
    """How long a SQLite transaction waits for another process's."""
    pool_size: Count = 10
    """Connections to PostgreSQL that one process opens, for each of the two databases."""
    data_version_poll_seconds: Seconds = 0.2
    """How often SQLite is asked whether another process wrote something."""
    transaction_attempts_max: Count = 5
    """Attempts of a transaction that PostgreSQL rolled back (serialization failure, deadlock)."""
    transaction_backoff: Backoff = Backoff(initial_seconds=0.05, max_seconds=2.0)
    """Pauses between those attempts."""
    statement_seconds_max: Seconds = 30.0
    """A PostgreSQL statement that runs longer is cancelled, one of a migration excepted."""

    @field_validator("keystore")
    @classmethod
    def _apart(cls, value: str, info: ValidationInfo) -> str:
        # In one database, one backup would hold both the locks and the keys.
        if "database" in info.data and database_identity(value) == database_identity(info.data["database"]):
            raise ValueError("must be another database than storage.database, so that no backup holds both")
        return value

    @field_serializer("database", "keystore")
    def _mask(self, value: str) -> str:
        return mask_url(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """As pydantic's, with passwords masked."""
        for name, value in super().__repr_args__():
            yield name, mask_url(value) if name in {"database", "keystore"} else value


class Keys(Section):
    """The key that wraps all others."""

    master_key: MasterKey
    """32 random bytes in base64; whoever has it and the key store can read everything."""

    previous_master_key: MasterKey | None = None
    """The master key before this one, until `ingestd keys rotate` has wrapped every key anew."""

    def master_key_bytes(self) -> bytes:
        """Return the 32 bytes."""
        return decode_master_key(self.master_key)

    def previous_master_key_bytes(self) -> bytes | None:
        """Return the 32 bytes, or None."""
        return None if self.previous_master_key is None else decode_master_key(self.previous_master_key)


class Api(Section):
    """The HTTP side."""

    listen_host: HostName = "127.0.0.1"
    """Address to listen on."""
    listen_port: Annotated[int, Field(ge=0, le=65535)] = 8025
    """Port to listen on; 0 takes a free one."""
    public_url: WebUrl = "http://127.0.0.1:8025"
    """Address under which browsers reach the API: the base of the OAuth callback, as registered at the providers."""
    request_bytes_max: Bytes = 48 * MIB
    """The largest request body (a reply's attachments are in base64)."""
    request_seconds_max: Seconds = 60.0
    """A request that takes longer is ended."""
    requests_max: Count = 200
    """Requests that are served at the same time, streams and waiting polls apart; more get 503."""
    token_requests_per_second_max: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    """Requests of one token; faster ones get 429."""
    token_burst_max: Count = 500
    """So many of them may come at once."""
    failures_per_minute_max: Count = 30
    """Requests without a good token from one address; more get 429, those of good tokens go on."""
    notifications_per_second_max: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    """Posts of Microsoft Graph that say that something is new; faster ones get 429, and polling finds it."""
    tokens_max: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Tokens that an account, or the operator, may have at the same time."""
    uploads_max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Files that can wait for their replies at the same time, of one mailbox."""
    uploads_bytes_max: Bytes = 256 * MIB
    """Bytes of all these files together."""
    upload_hours: Annotated[float, Field(gt=0, le=168)] = 24.0
    """How long a file waits for its reply before it is forgotten."""
    provider_lookups_max: Annotated[int, Field(ge=1, le=1000)] = 4
    """Providers that are asked at the same time where a mail lies, for `explain`; more wait."""
    page_chars_max: Annotated[int, Field(ge=10_000, le=1_000_000_000)] = 8_000_000
    """A page of messages ends where their texts have more characters than this together."""
    cors_origins: Annotated[tuple[WebUrl, ...], Field(max_length=100)] = ()
    """Origins (https://desk.example.com) whose pages may call the API from a browser; none by default."""

    @field_validator("public_url")
    @classmethod
    def _base(cls, value: str) -> str:
        if "?" in value:
            raise ValueError("must be an address without a query: https://helpdesk.example.com/mail")
        return value.rstrip("/")


class Mirror(Section):
    """What is done in the mailbox to the mail of a ticket that an agent reads, closes, deletes or calls spam."""

    read: MirrorRead = "nothing"
    """The ticket is read: nothing or seen."""
    spam: MirrorSpam = "nothing"
    """It is spam: nothing, junk (its mail goes to the Junk folder), keyword:NAME or move:FOLDER."""
    delete: MirrorDelete = "nothing"
    """It is deleted: nothing or trash (its mail goes to the Trash folder)."""
    solved: MirrorSolved = "nothing"
    """It is closed: nothing, seen, keyword:NAME or move:FOLDER. Opening it again undoes it, but for seen."""


class MailboxDefaults(Section):
    """What holds for a mailbox unless it says otherwise."""

    start_from: Literal["now", "days", "everything"] = "now"
    """What is read of a mailbox: `now` (only new mail), `days` (also that of the last `start_days`) or `everything`."""
    start_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """How many days back `start_from: days` reads."""
    folders: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)] = ("INBOX",)
    """The folders that are watched. One that is added later is read from then on, what is older by a backfill."""
    contact_forms: Annotated[tuple[MailAddress, ...], Field(max_length=1000)] = ()
    """Senders (contact forms) whose Reply-To is the requester."""
    after_import: AfterImport = "nothing"
    """What is done in the mailbox to a message that was taken: nothing, seen, keyword:NAME, move:FOLDER or delete."""
    mirror: Mirror = Mirror()
    """What agents do with tickets, mirrored in the mailbox."""

    @field_validator("after_import")
    @classmethod
    def _elsewhere(cls, value: str, info: ValidationInfo) -> str:
        check_not_watched(value, info.data.get("folders", ()))
        return value

    @field_validator("mirror")
    @classmethod
    def _mirror_fits(cls, value: Mirror, info: ValidationInfo) -> Mirror:
        check_mirror_fits(value.model_dump(), info.data.get("after_import", ""), info.data.get("folders", ()))
        return value

    @field_validator("start_days")
    @classmethod
    def _days_given(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("start_from") == "days" and value < 1:
            raise ValueError("must be 1 or more with start_from: days")
        return value


class Inbound(Section):
    """How mailboxes are read."""

    batch_messages_max: Annotated[int, Field(ge=1, le=1000)] = 50
    """Messages in one transaction."""
    batch_bytes_max: Bytes = 32 * MIB
    """Bytes of raw mail in one batch; a larger message is a batch by itself."""
    message_bytes_max: Bytes = 50 * MIB
    """Of a message that is larger only the header is taken; its ticket message says so."""
    batches_max: Count = 64
    """Batches that are parsed and written at the same time, over all mailboxes; `bytes_max` limits their bytes."""
    bytes_max: Bytes = 128 * MIB
    """New mail in memory at once, a quarter of it in batches of up to 4 MiB; up to 256 KiB are always let in."""
    poll_seconds: Seconds = 60.0
    """How often a mailbox without IDLE is asked; also beneath push, and beneath IDLE where more folders are watched."""
    idle_poll_seconds: Seconds = 1500.0
    """The slow poll beneath IDLE on the only folder; below what alerts of `ingestd_read_age_seconds`."""
    api_poll_seconds_min: Seconds = 15.0
    """How soon an API is asked again after something has come; from there it slows down to `poll_seconds`."""
    push_renew_seconds: Annotated[float, Field(gt=0, le=86_400 * 6)] = 86_400.0
    """How often providers are asked anew to tell of news (Gmail's watch, Graph's subscriptions), less some jitter."""
    push_calls_max: Annotated[int, Field(ge=1, le=1000)] = 20
    """Subscriptions that are made or renewed at the same time, over all mailboxes."""
    push_backoff: Backoff = Backoff(initial_seconds=60.0, max_seconds=3600.0)
    """Pauses after a provider would not tell of news; polling goes on meanwhile."""
    idle_renew_seconds: Annotated[float, Field(ge=1, le=1740)] = 1500.0
    """IDLE is renewed after this time (RFC 2177: well within 29 minutes)."""
    idle_renew_jitter: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Share of that time by which renewals are spread, so that they do not come all at once."""
    imap_threads: Annotated[int, Field(ge=1, le=1000)] = 64
    """Threads that run IMAP commands; waiting in IDLE takes none."""
    imap_threads_per_host_max: Annotated[int, Field(ge=1, le=1000)] = 32
    """Of these, those that one server may have, and never more than half of what the others leave."""
    logins_per_host_max: Annotated[int, Field(ge=1, le=1000)] = 16
    """Logins that a process has under way at one IMAP server; so they are spread after an outage."""
    gmail_threads: Annotated[int, Field(ge=1, le=1000)] = 50
    """Threads that make calls of the Gmail API: so many can be under way at once."""
    connect_timeout_seconds: Seconds = 20.0
    """How long connecting to an IMAP server may take."""
    read_timeout_seconds: Seconds = 60.0
    """How long an IMAP server may stay silent in an answer."""
    backoff: Backoff = Backoff(initial_seconds=2.0, max_seconds=900.0)
    """Pauses after a failed reading of a mailbox."""
    blocked_retry_seconds: Seconds = 900.0
    """How often a mailbox is tried in which a person must first change something at the provider."""
    suspicions_max: Annotated[int, Field(ge=0, le=100)] = 3
    """How often "authenticated but not connected" (Microsoft) is retried before the provider is asked what it means."""
    edit_messages_max: Annotated[int, Field(ge=1, le=1000)] = 100
    """Messages that are edited (`after_import`, `mirror`) with one command."""
    edit_attempts_max: Annotated[int, Field(ge=1, le=1000)] = 10
    """Attempts at an edit before it is given up; its ticket is not concerned."""
    edit_backoff: Backoff = Backoff(initial_seconds=30.0, max_seconds=3600.0)
    """Pauses between those attempts."""
    mirror_messages_max: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Of a ticket that an agent closes, deletes and so on, so many messages are edited, the newest (`mirror`)."""
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 15.0
    """A worker process that was silent for so long loses its mailboxes."""
    heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = 5.0
    """How often a worker process shows that it lives: at most half of `lease_seconds`."""
    mailboxes_max: Count = 5000
    """Mailboxes that one worker process takes."""
    audit_days: Annotated[float, Field(ge=0, le=365)] = 7.0
    """How often each mailbox is compared with the store, one at a time in a process: is every mail here? 0: never."""
    audit_seconds_max: Seconds = 3600.0
    """A comparison that takes longer is given up, and tried again an hour later."""
    audit_fetches_max: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Messages whose header one comparison may ask for, as where they lie is not known; then it ends unfinished."""

    @field_validator("heartbeat_seconds")
    @classmethod
    def _often_enough(cls, value: float, info: ValidationInfo) -> float:
        if "lease_seconds" in info.data and value * 2 > info.data["lease_seconds"]:
            raise ValueError(f"must be at most half of lease_seconds ({info.data['lease_seconds']:g})")
        return value


class Tickets(Section):
    """What becomes of answers to old tickets, of loops and of mail bombs."""

    follow_up_after_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """An answer to a ticket that was closed so many days before opens a new one, linked to it; 0: the old one again."""
    sender_tickets_max: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Tickets that a sender opens in `flood_window_seconds`; what is more goes, muted, into one. 0: no limit."""
    ticket_messages_max: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Messages that a ticket gets in that time; what is more is muted: kept, but not announced. 0: no limit."""
    flood_window_seconds: Seconds = 3600.0
    """The time that both limits are about."""
    merge_messages_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Messages of a ticket that can be merged into another one: all are moved at once, and new mail waits meanwhile."""
    bounce_days: Annotated[int, Field(ge=0, le=60)] = 5
    """A bounce without proof is linked to the only reply that went to its recipient in so many days; 0: to none."""
    agents: Annotated[tuple[AddressOrDomain, ...], Field(max_length=1000)] = ()
    """Addresses, or domains, of those who forward customers' mail: its first sender is offered as requester."""


class Backfill(Section):
    """How the mail is read that was in a mailbox before it was linked."""

    mailboxes_max: Annotated[int, Field(ge=1, le=1000)] = 2
    """Mailboxes whose old mail one worker process reads at the same time; the others wait their turn."""
    bytes_max: Bytes = 32 * MIB
    """Old mail in memory at once, divided as `inbound.bytes_max` is for new mail."""
    batch_messages_max: Annotated[int, Field(ge=1, le=1000)] = 50
    """Messages in one transaction; new mail waits for one such transaction at most."""
    order: Literal["newest", "oldest"] = "newest"
    """Which mail comes first, unless asked otherwise."""
    ticket_status: Literal["closed", "open"] = "closed"
    """Status of tickets that old mail opens; closed ones are history, and an answer reopens them."""
    attempts_max: Annotated[int, Field(ge=1, le=1000)] = 50
    """Failures in a row (a throttle is none) before it is given up; `ingestd mailbox backfill` resumes it."""
    backoff: Backoff = Backoff(initial_seconds=5.0, max_seconds=900.0)
    """Pauses after such a failure."""


class Outbound(Section):
    """How replies are sent, and what is done when the outcome is unknown."""

    attempts_max: Annotated[int, Field(ge=1, le=1000)] = 12
    """Attempts before a deferred reply counts as failed."""
    backoff: Backoff = Backoff(initial_seconds=30.0, max_seconds=3600.0)
    """Pauses between the attempts."""
    sends_max: Count = 20
    """Replies that are sent at the same time, over all mailboxes."""
    connect_timeout_seconds: Seconds = 20.0
    """How long connecting to an SMTP server may take."""
    command_timeout_seconds: Seconds = 60.0
    """How long an SMTP server may take to answer a command, or to take a piece of the message."""
    dot_timeout_seconds: Seconds = 600.0
    """How long it may take to answer the final dot (RFC 5321 §4.5.3.2.6: 10 minutes)."""
    connection_idle_seconds: Seconds = 60.0
    """An SMTP connection that is unused for so long is closed."""
    sent_wait_seconds: Seconds = 20.0
    """How long to look for the provider's own Sent copy before one is filed."""
    sent_attempts_max: Annotated[int, Field(ge=1, le=100)] = 8
    """Attempts to file the Sent copy; its failure never sends again."""
    resend_when_absent: bool = False
    """Send an unknown reply again when its absence from Sent is proved; false leaves it to a person."""
    absence_seconds: Annotated[float, Field(ge=60, le=86_400)] = 900.0
    """How long a reply must have been absent from Sent to count as not sent."""
    proofs_min: Annotated[int, Field(ge=1, le=1000)] = 3
    """Copies that the provider must have filed by itself before absence proves anything."""
    reply_bytes_max: Bytes = 25 * MIB
    """The largest reply, composed, with its attachments."""
    text_bytes_max: Annotated[int, Field(ge=1024, le=MIB)] = 512 * KIB
    """The text of one reply, as it is written; files and images not counted."""
    quote_bytes_max: Annotated[int, Field(ge=256, le=512 * KIB)] = 64 * KIB
    """How much a reply quotes of the message that it answers, where it quotes it."""
    recipients_max: Annotated[int, Field(ge=1, le=1000)] = 50
    """Recipients of one reply."""
    replies_per_ticket_per_hour_max: Count = 200
    """Replies to one ticket within an hour; more are refused, whoever asks."""
    replies_per_ticket_per_day_max: Count = 1000
    """Replies to one ticket within 24 hours."""
    replies_per_recipient_per_day_max: Count = 1000
    """Replies of a mailbox to one address within 24 hours."""
    automatic_per_ticket_per_hour_max: Count = 3
    """Automatic messages to one ticket within an hour: two machines that answer each other end here."""
    automatic_per_ticket_per_day_max: Count = 10
    """Automatic messages to one ticket within 24 hours."""
    automatic_per_recipient_per_day_max: Count = 10
    """Automatic messages of a mailbox to one address within 24 hours."""
    undo_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """So long a reply can be cancelled before it is sent, unless its request says otherwise."""
    delay_max_days: Annotated[int, Field(ge=1, le=3650)] = 60
    """How far ahead a reply can be put off (`send_at`)."""


class Parser(Section):
    """The processes that parse mail, apart from the daemon."""

    processes: Annotated[int, Field(ge=1, le=256)] = 2
    """Processes; about one a core."""
    seconds_max: Annotated[float, Field(gt=0, le=600)] = 10.0
    """A message that takes longer is quarantined, its process killed."""
    memory_bytes_max: Annotated[int, Field(ge=128 * MIB, le=1 << 40)] = 1024 * MIB
    """Address space of one process; a message that needs more is quarantined."""
    messages_max: Count = 5000
    """A process is replaced after so many messages, so that what a library leaks stays small."""


class Linking(Section):
    """OAuth: linking mailboxes and keeping their tokens."""

    flow_seconds: Annotated[float, Field(ge=30, le=3600)] = 600.0
    """How long a user may take from our page to the callback."""
    flows_max: Count = 1000
    """Linkings that an account may have open at the same time."""
    refresh_ahead_seconds: Annotated[float, Field(ge=0, le=3600)] = 300.0
    """Tokens are refreshed so long before they end."""
    rejection_pause_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """A mail server that refuses fresh tokens, too, gets another one only after this time."""
    http_timeout_seconds: Seconds = 20.0
    """How long one attempt of a request to a provider may take, from connecting to the last byte."""
    attempts_max: Annotated[int, Field(ge=1, le=100)] = 4
    """Attempts of a request that failed for now (429, 5xx, no answer)."""
    backoff: Backoff = Backoff(initial_seconds=0.25, max_seconds=5.0)
    """Pauses between those attempts, on top of a Retry-After. Short ones: a browser may be waiting."""
    response_bytes_max: Bytes = 1 * MIB
    """The largest answer that is read from a provider."""
    discovery_seconds: Seconds = 86_400.0
    """How long a discovery document is believed; while the issuer does not answer, longer."""
    warning_days: Annotated[int, Field(ge=1, le=365)] = 30
    """So many days before a client secret or a grant ends, its mailboxes are warned of; after half its life at most."""
    warning_check_seconds: Seconds = 60.0
    """How often the grants are looked at for what will end them."""
    threads: Annotated[int, Field(ge=1, le=1000)] = 8
    """Threads for Microsoft's library, which blocks: so many of its requests can be under way at once."""


class Webhooks(Section):
    """How events are delivered to webhooks."""

    webhooks_max: Annotated[int, Field(ge=1, le=1000)] = 20
    """Webhooks that an account may have."""
    in_flight_max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Deliveries that one process has under way at the same time."""
    in_flight_per_webhook_max: Annotated[int, Field(ge=1, le=1000)] = 10
    """Of these, those to one webhook; the events of a ticket come one after the other."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 15.0
    """How long a delivery may take, from looking the name up to the answer."""
    response_bytes_max: Bytes = 64 * KIB
    """How much of an answer is read, and thrown away; what is longer costs its connection."""
    retry_seconds: Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=50)] = (
        *(5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0),
    )
    """Pauses between a delivery's attempts, after Standard Webhooks; then it is given up, its webhook switched off."""
    retry_jitter: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of such a pause that is added at random, so that they do not come all at once."""
    retry_after_seconds_max: Seconds = 3600.0
    """A Retry-After of the receiver's counts up to this."""
    probe: Backoff = Backoff(initial_seconds=5.0, max_seconds=300.0)
    """While all deliveries to a webhook fail, one at a time is tried, with these pauses."""
    disable_after_seconds: Annotated[float, Field(gt=0, le=86_400 * 365)] = 5 * 86_400.0
    """A webhook that took nothing for so long is switched off."""
    pending_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Deliveries of a webhook that wait at the same time; further events wait in the log."""
    batch_max: Annotated[int, Field(ge=1, le=1000)] = 200
    """Events that become deliveries in one transaction."""
    content_text_bytes_max: Annotated[int, Field(ge=1024, le=MIB)] = 64 * KIB
    """How much of a message's text is delivered to a webhook that wants content."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long a delivery that is done can be listed."""
    secret_overlap_seconds: Annotated[float, Field(ge=0, le=86_400 * 30)] = 86_400.0
    """How long a secret that was replaced signs beside the new one."""
    hold_seconds: Annotated[float, Field(ge=1, le=600)] = 15.0
    """A process that was silent for so long loses its webhooks to another."""
    tls_ca_file: Path | None = None
    """Authorities (PEM) of receivers in your own network, beside the system's."""


class Events(Section):
    """The log of events, and how helpdesks read it."""

    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """Events that are older are deleted; a cursor from before gets 410."""
    streams_max: Count = 1000
    """Readers (streams, and long-polls that wait) that one process has at the same time; more get 503."""
    account_streams_max: Count = 600
    """Of these, those of one account; more get 429."""
    page_events_max: Annotated[int, Field(ge=1, le=1000)] = 500
    """Events of one answer, and of one query."""
    ring_events_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The newest events of an account that somebody reads, kept in memory; who is behind them reads the database."""
    catching_up_max: Annotated[int, Field(ge=1, le=100)] = 2
    """Readers that do so at the same time, so that they leave the database to others."""
    wait_seconds_max: Seconds = 30.0
    """How long a long-poll may wait; never longer than half of `api.request_seconds_max`."""
    keep_alive_seconds: Seconds = 15.0
    """A stream on which nothing happens says at such intervals that it lives."""
    stall_seconds_max: Seconds = 30.0
    """A stream whose reader takes nothing for so long is cut; it comes again with its cursor."""
    chunk_bytes_max: Annotated[int, Field(ge=1024, le=MIB)] = 64 * KIB
    """What of a stream is written at once: with the server's own 64 KiB, what waits for a slow reader."""
    token_check_seconds: Annotated[float, Field(gt=0, le=60)] = 30.0
    """How often a stream's token is looked at: one that was revoked ends it."""


class SuspendedRule(Section):
    """When accounts are erased that are suspended."""

    tickets_min: Annotated[int, Field(ge=0, le=10**9)] = 0
    """It is about accounts with so many tickets or more."""
    days: Annotated[int, Field(ge=1, le=36_500)] = 92
    """So many days after the suspension."""


class Retention(Section):
    """How long what nobody needs any more is kept."""

    suspended: Annotated[tuple[SuspendedRule, ...], Field(max_length=20)] = (
        SuspendedRule(tickets_min=0, days=92),
        SuspendedRule(tickets_min=100_000, days=31),
    )
    """When a suspended account is erased: the shortest of the rules that fit. `[]`: never."""
    warn_days: Annotated[tuple[Annotated[int, Field(ge=1, le=365)], ...], Field(max_length=20)] = (30, 7, 1)
    """So many days before, it is told, each once; the first warning is never younger than the longest of these."""
    check_seconds: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    """How often it is looked for what is to be warned, erased or deleted."""
    solved_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Tickets are deleted so many days after they were solved and last touched; null: they are kept."""
    spam_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Tickets that are spam, or in the helpdesk's trash, are deleted so many days after they were last touched."""
    quarantine_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Messages in quarantine are dropped so many days after they came; null: they wait for a person."""


class Egress(Section):
    """Where the daemon may connect to."""

    allow: Annotated[tuple[HostPort, ...], Field(max_length=1000)] = ()
    """More hosts, as host or host:port: those that discovery documents name, those of webhooks in your own network."""
    resolve_timeout_seconds: Seconds = 10.0
    """How long the look-up of a name may take."""


class Logging(Section):
    """What is written to standard error."""

    format: Literal["json", "console"] = "json"
    """`json` (one object a line) or `console` (for people)."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""


class Metrics(Section):
    """Figures for Prometheus."""

    enabled: bool = True
    """Whether /metrics is served."""


class Settings(Section):
    """Everything that an operator decides."""

    storage: Storage = Storage()
    """Where tickets, mail and keys are kept."""
    keys: Keys
    """The key that wraps all others."""
    api: Api = Api()
    """The HTTP side."""
    providers: Annotated[dict[ProviderName, AnyProvider], Field(max_length=1000)] = Field(default_factory=dict)
    """The providers whose mailboxes can be linked, by a name of your choice."""
    mailbox_defaults: MailboxDefaults = MailboxDefaults()
    """What holds for a mailbox unless it says otherwise."""
    inbound: Inbound = Inbound()
    """How mailboxes are read."""
    tickets: Tickets = Tickets()
    """What becomes of answers to old tickets, of loops and of mail bombs."""
    backfill: Backfill = Backfill()
    """How the mail is read that was in a mailbox before it was linked."""
    outbound: Outbound = Outbound()
    """How replies are sent."""
    parser: Parser = Parser()
    """The processes that parse mail."""
    linking: Linking = Linking()
    """OAuth: linking mailboxes and keeping their tokens."""
    webhooks: Webhooks = Webhooks()
    """How events are delivered to webhooks."""
    events: Events = Events()
    """The log of events, and how helpdesks read it."""
    retention: Retention = Retention()
    """How long what nobody needs any more is kept."""
    locations: Locations = Locations()
    """Where what is kept lies, and where webhooks lead to."""
    egress: Egress = Egress()
    """Where the daemon may connect to."""
    logging: Logging = Logging()
    """What is written to standard error."""
    metrics: Metrics = Metrics()
    """Figures for Prometheus."""
    shutdown_seconds: Annotated[float, Field(gt=0, le=600)] = 25.0
    """How long a stop waits for work in flight."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Worker processes that `ingestd run` starts; 1: the daemon itself does everything. More need PostgreSQL."""

    @field_validator("workers")
    @classmethod
    def _one_on_sqlite(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and "storage" in info.data and info.data["storage"].database.startswith("sqlite"):
            raise ValueError("storage.database is SQLite, which is for one worker process; more need PostgreSQL")
        return value

    @model_validator(mode="after")
    def _replies_fit(self) -> Self:
        # Base64 needs 4 bytes for 3; a reply that the API can never take would be a silent limit.
        if self.api.request_bytes_max < self.outbound.reply_bytes_max * 4 // 3:
            raise ValueError("api.request_bytes_max must be at least 4/3 of outbound.reply_bytes_max (base64)")
        return self

    def provider(self, name: str) -> Provider:
        """Return a provider with everything filled in. Raises KeyError for an unknown name."""
        return resolve(name, self.providers[name], sent_wait_seconds=self.outbound.sent_wait_seconds)
