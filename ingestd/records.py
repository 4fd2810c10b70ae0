"""What is inside the sealed records: content and personal data, in a versioned form.

A field is only ever added, with a default; a change of meaning is a new `format` of
the record's Place. Each record names its table once, in `place`.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from ingestd.mail.addresses import normalize
from ingestd.mail.international import same_spelling
from ingestd.mail.reply_address import split_token
from ingestd.mail.types import Address, Attachment, ParsedMail
from storage.sealing import Place

TOKEN_OFF, TOKEN_PLUS = "off", "plus"
"""Whether the reply address of a mailbox's tickets carries a token."""


class AccountRecord(msgspec.Struct, frozen=True):
    """accounts.sealed, under the account's key."""

    name: str

    @staticmethod
    def place(account_id: UUID) -> Place:
        return Place("accounts", account_id)


class MailboxRecord(msgspec.Struct, frozen=True):
    """mailboxes.sealed."""

    address: str
    """The mailbox's own address, as its provider names it."""
    subject: str
    """The provider's stable id for the identity (OIDC `sub`); what a re-link must match."""
    issuer: str
    login: str
    """The user name for IMAP and SMTP."""
    name: str = ""
    """The name that replies come from."""
    addresses: tuple[str, ...] = ()
    """Aliases: other addresses that are written to and replied from."""
    folders: tuple[str, ...] = ()
    """The folders that are watched; empty: those of `mailbox_defaults`."""
    after_import: str = ""
    """What is done in the mailbox to a message that was taken, as the setting `mailbox_defaults.after_import`
    spells it; empty: as that setting says."""
    reply_to: str = ""
    """Where answers to replies go; empty: to the address that a reply comes from."""
    signature: str = ""
    """Plain text, put beneath every reply; empty for none."""
    reply_token: str = TOKEN_OFF
    """TOKEN_PLUS: a reply's Reply-To carries the ticket's token, and such an address is evidence."""
    graph_user: str = ""
    """What Microsoft Graph calls the mailbox, where it is not the own one of who consented: a shared one, or one that
    application permissions open."""
    mirror: dict[str, str] = {}
    """What agents do, mirrored in the mailbox: those of `mailbox_defaults.mirror` that are otherwise here."""

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("mailboxes", mailbox_id)

    def own_addresses(self) -> tuple[str, ...]:
        """Return what replies may come from."""
        return (self.address, *self.addresses)

    def own_address_of(self, address: str) -> str | None:
        """Return the own address that `address` is, itself or with a ticket's token; None where it is another's."""
        bare = _bare(address)
        return next((one for one in self.own_addresses() if normalize(same_spelling(one)) == bare), None)

    def comes_back(self, address: str) -> bool:
        """Whether mail to this address is an answer to this mailbox: an own address, or the one for answers."""
        answers = normalize(same_spelling(self.reply_to)) if self.reply_to else None
        return self.own_address_of(address) is not None or _bare(address) == answers


def _bare(address: str) -> str:
    return normalize(same_spelling(split_token(address)[0]))


class CursorRecord(msgspec.Struct, frozen=True):
    """mailboxes.cursor_sealed: the connector's opaque text (it holds folder names)."""

    cursor: str

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("mailboxes.cursor", mailbox_id)


class FoldersRecord(msgspec.Struct, frozen=True):
    """mailboxes.folders_sealed: the folders that are watched, under the names that people gave them."""

    since: dict[str, datetime] = {}
    """Each of them, in their order, and from when on its mail is new mail."""
    missing: tuple[str, ...] = ()
    """Those that the server did not have at the last reading."""

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("mailboxes.folders", mailbox_id)


class HistoryRecord(msgspec.Struct, frozen=True):
    """backfills.cursor_sealed: as `CursorRecord`, of the mail that was there before the mailbox was linked."""

    cursor: str

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("backfills.cursor", mailbox_id)


class GrantRecord(msgspec.Struct, frozen=True):
    """grants.sealed."""

    access_token: str
    refresh_token: str | None
    scopes: tuple[str, ...]
    device_id: str = ""
    """What a provider with device ids (Yandex) knows this linking by; it stays when the mailbox is linked again."""
    by_device_code: bool = False
    """It came by a device code. Microsoft gives those to public clients, and refreshes them without our secret."""
    application_mailbox: str = ""
    """The mailbox's address, where our application's own permissions open it: then nobody consented, and tokens are got
    with our secret alone. The configuration must name it as long as it is used."""
    application_account: str = ""
    """The id of its account, for which the configuration must name it."""

    def __repr__(self) -> str:
        return "<GrantRecord>"

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("grants", mailbox_id)


class RevocableRecord(GrantRecord, frozen=True):
    """What is kept of a grant until it is revoked (in the key store, under the master key)."""

    read_way: str = ""
    """By which way its mailbox was read: its provider may have been asked to tell of news."""
    subscription_id: str = ""
    """By which the provider tells of news; empty where there is none, or it has no id (Gmail)."""

    def __repr__(self) -> str:
        return "<RevocableRecord>"


class PushRecord(msgspec.Struct, frozen=True):
    """pushes.sealed: a subscription that stands at the provider."""

    subscription_id: str
    secret: str
    """What its notifications show, and nobody else knows."""
    url: str
    """Where they are sent to."""

    def __repr__(self) -> str:
        return "<PushRecord>"

    @staticmethod
    def place(mailbox_id: UUID) -> Place:
        return Place("pushes", mailbox_id)


class FlowRecord(msgspec.Struct, frozen=True):
    """link_flows.sealed, under the account's key: the mailbox has none before it is linked."""

    state: str
    verifier: str
    nonce: str
    redirect_uri: str
    start_from: str
    start_days: int
    name: str
    addresses: tuple[str, ...]
    device_id: str = ""
    address: str = ""
    """Where the owner's browser is sent at the provider; empty before it came to us."""
    memory: str = ""
    """What the provider's client wants to have again at the callback."""
    shared: str = ""
    """The shared mailbox that is to be linked in place of the own one of who consents; empty for none."""
    application: str = ""
    """The mailbox that is to be opened by application permissions; empty where somebody consents."""

    def __repr__(self) -> str:
        return "<FlowRecord>"

    @staticmethod
    def place(flow_id: UUID) -> Place:
        return Place("link_flows", flow_id)


class TicketRecord(msgspec.Struct, frozen=True):
    """tickets.sealed."""

    subject: str
    requester: Address
    offered_requester: Address | None = None
    """Whom the mail is from that an agent forwarded to us: a person decides whether it is the requester."""

    @staticmethod
    def place(ticket_id: UUID) -> Place:
        return Place("tickets", ticket_id)


class MessageRecord(msgspec.Struct, frozen=True):
    """messages.sealed."""

    mail: ParsedMail
    raw_sha256: bytes
    """Of the raw message, before compression."""
    locator: str = ""
    """Where the message lies in the mailbox; opaque outside its connector."""
    folder: str = ""
    evidence: tuple[str, ...] = ()
    """Why the message is in its ticket."""
    author: str = ""
    """For a reply: who wrote it, as the helpdesk names its agent."""
    truncated: bool = False
    """The mail was over the size limit, or the server withheld its body: only its header was taken."""
    home: str = ""
    """The folder that it is to be moved back to once its ticket is open again; empty where we moved it nowhere."""
    lost_by: str = ""
    """The kind of the edit (`EditKind`) that did not find it, or after which the server did not tell where it lies
    now; then `locator` is empty."""

    @staticmethod
    def place(message_id: UUID) -> Place:
        return Place("messages", message_id)


class AttachmentRecord(msgspec.Struct, frozen=True):
    """attachments.sealed."""

    attachment: Attachment

    @staticmethod
    def place(attachment_id: UUID) -> Place:
        return Place("attachments", attachment_id)


class QuarantineRecord(msgspec.Struct, frozen=True):
    """quarantine.sealed."""

    locator: str
    folder: str
    raw_sha256: bytes
    """Empty once the bytes have gone, as are the other fields."""
    truncated: bool = False
    imported: bool = False
    """It was there before the mailbox was linked: a backfill read it."""

    @staticmethod
    def place(quarantine_id: UUID) -> Place:
        return Place("quarantine", quarantine_id)


class EditRecord(msgspec.Struct, frozen=True):
    """edits.sealed."""

    locator: str
    """Where the message lies; opaque outside its connector."""
    folder: str
    target: str | None = None
    """The keyword or the folder, where the kind of the edit needs one."""

    @staticmethod
    def place(edit_id: UUID) -> Place:
        return Place("edits", edit_id)


class ReplyDecision(msgspec.Struct, frozen=True):
    """What a person decided about a reply."""

    at: datetime
    what: str
    """sent, resend, failed, retry or cancel."""
    by: str
    """Who, as the helpdesk names its agent; "" where nobody said."""


class ReplyRecord(msgspec.Struct, frozen=True):
    """outbox.sealed."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    """The Message-ID header, with angle brackets."""
    token: str
    """The value of our own header."""
    refused: dict[str, int] = {}
    """Recipients that the server refused while it took the others, with its reply code."""
    filed_message_id: str = ""
    """The Message-ID that the filed copy was found to have."""
    filed_locator: str = ""
    decisions: tuple[ReplyDecision, ...] = ()
    """Oldest first; bounded, the newest stay."""
    bcc: tuple[str, ...] = ()
    """Of `recipients`, those whom no other sees: they are in the envelope, and never in the message."""

    @staticmethod
    def place(message_id: UUID) -> Place:
        return Place("outbox", message_id)


class UploadRecord(msgspec.Struct, frozen=True):
    """uploads.sealed: a file that waits for its reply."""

    name: str
    content_type: str
    content: bytes

    def __repr__(self) -> str:
        return "<UploadRecord>"

    @staticmethod
    def place(upload_id: UUID) -> Place:
        return Place("uploads", upload_id)


class OldSecret(msgspec.Struct, frozen=True):
    """A webhook's secret that was replaced, and until when it signs beside the new one."""

    secret: str
    until: datetime

    def __repr__(self) -> str:
        return "<OldSecret>"


class WebhookRecord(msgspec.Struct, frozen=True):
    """webhooks.sealed, under the account's key."""

    url: str
    secret: str
    """As Standard Webhooks spells it: whsec_ and base64."""
    previous: tuple[OldSecret, ...] = ()
    """Newest first; bounded."""
    description: str = ""

    def __repr__(self) -> str:
        return "<WebhookRecord>"

    @staticmethod
    def place(webhook_id: UUID) -> Place:
        return Place("webhooks", webhook_id)


class PersonRecord(msgspec.Struct, frozen=True):
    """person_erasures.sealed, under the account's key; gone once the person is erased."""

    addresses: tuple[str, ...] = ()
    """The address as it was asked for, or as it was found; normalized."""
    names: tuple[str, ...] = ()
    """What the person is called beside the address; bounded."""

    def __repr__(self) -> str:
        return "<PersonRecord>"

    @staticmethod
    def place(erasure_id: UUID) -> Place:
        return Place("person_erasures", erasure_id)


class PersonReceipt(msgspec.Struct, frozen=True):
    """What the erasure of a person leaves behind, without personal data. Kept in the ledger."""

    erasure_id: UUID
    requested_at: datetime
    erased_at: datetime
    counts: dict[str, int]
    """What was deleted and rewritten, and what was not searched, by kind."""
    not_searched: str = "attachments that are files, and what is encrypted"


def chunk_place(owner_id: UUID, position: int, count: int) -> Place:
    """Return where chunk `position` of a raw message's `count` belongs; a missing tail shows by the last-flag."""
    return Place("raw_chunks", owner_id, position=position, last=position == count - 1)


class AccountReceipt(msgspec.Struct, frozen=True):
    """What the closing of an account leaves behind, beside the receipts of its mailboxes. Kept in the ledger."""

    account_id: UUID
    requested_at: datetime
    unreadable_at: datetime
    deleted_at: datetime
    key_fingerprint: str
    """Of the account's own key; each mailbox had another one."""
    mailboxes: tuple[UUID, ...]
    """All that were ever forgotten: each has a receipt of its own."""
    deleted: dict[str, int]
    left: dict[str, int]
    """Rows that a scan after the deletion still found; empty when all is well."""
    blob_versions: str = "unknown"
    """As a mailbox's receipt tells."""


class Receipt(msgspec.Struct, frozen=True):
    """What a disconnect leaves behind: a proof without personal data. Kept in the ledger."""

    mailbox_id: UUID
    provider: str
    requested_at: datetime
    unreadable_at: datetime
    deleted_at: datetime
    key_fingerprint: str
    deleted: dict[str, int]
    revocation: str
    """revoked, unsupported, pending (the ledger tells later what came of it), failed or nothing_to_revoke."""
    left: dict[str, int]
    """Rows that a scan after the deletion still found; empty when all is well."""
    refresh_after: str = "not_tried"
    """What came of a refresh after the revocation: refused (the proof), accepted, unknown, not_tried, or
    no_refresh_token: there was none, as the access was our application's own."""
    removal_page: str | None = None
    """Where the owner can take our access away, as we could not; None where it is revoked, pending, or not known."""
    blob_versions: str = "unknown"
    """none: where the blobs lay, nothing keeps versions of them. not_deleted: they lay in a bucket, and versions that
    it may keep stay there, as ciphertext without a key. unknown: the receipt is older than this word."""
