"""The events that may be logged: every name, and what it means to an operator.

A name is `<thing>.<what happened>`, past tense, and never changes its meaning:
alerts are built on it. A new event gets its line here first; `logs.configure`
refuses names that are not in EVENTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DAEMON_STARTED: Final = "daemon.started"
DAEMON_STOPPING: Final = "daemon.stopping"
DAEMON_STOPPED: Final = "daemon.stopped"
DAEMON_FAILED: Final = "daemon.failed"
DAEMON_KILLED: Final = "daemon.killed"
PROCESS_STARTED: Final = "process.started"
PROCESS_ENDED: Final = "process.ended"
PROCESS_SILENT: Final = "process.silent"
TASK_FAILED: Final = "task.failed"
CONFIG_RELOADED: Final = "config.reloaded"
CONFIG_KEPT: Final = "config.kept"
CONFIG_REFUSED: Final = "config.refused"
MAILBOX_CLAIMED: Final = "mailbox.claimed"
MAILBOX_LOST: Final = "mailbox.lost"
MAILBOX_RELEASED: Final = "mailbox.released"
MAILBOX_HANDED_OVER: Final = "mailbox.handed_over"
MAILBOX_BATCH_COMMITTED: Final = "mailbox.batch_committed"
MAILBOX_STATE_CHANGED: Final = "mailbox.state_changed"
MAILBOX_READ_FAILED: Final = "mailbox.read_failed"
MAILBOX_THROTTLED: Final = "mailbox.throttled"
MAILBOX_ALERTED: Final = "mailbox.alerted"
MAILBOX_SEND_FAILED: Final = "mailbox.send_failed"
MAILBOX_BUDGET_SPENT: Final = "mailbox.budget_spent"
MAILBOX_CURSOR_REPAIRED: Final = "mailbox.cursor_repaired"
MAILBOX_FOLDERS_MISSING: Final = "mailbox.folders_missing"
MAILBOX_FOLDERS_FOUND: Final = "mailbox.folders_found"
MAILBOX_SEND_FELL_BACK: Final = "mailbox.send_fell_back"
MAILBOX_EDIT_FAILED: Final = "mailbox.edit_failed"
MAILBOX_ACCESS_WARNING: Final = "mailbox.access_warning"
MAILBOX_ACCESS_WARNING_ENDED: Final = "mailbox.access_warning_ended"
MAILBOX_AUDITED: Final = "mailbox.audited"
MAILBOX_AUDIT_FAILED: Final = "mailbox.audit_failed"
PUSH_FAILED: Final = "push.failed"
MESSAGE_QUARANTINED: Final = "message.quarantined"
MESSAGE_MUTED: Final = "message.muted"
PARSER_REPLACED: Final = "parser.replaced"
TOKEN_REFRESHED: Final = "token.refreshed"  # noqa: S105  # an event, no token
TOKEN_REFRESH_FAILED: Final = "token.refresh_failed"  # noqa: S105
REPLY_QUEUED: Final = "reply.queued"
REPLY_ATTEMPTED: Final = "reply.attempted"
REPLY_SETTLED: Final = "reply.settled"
REPLY_BOUNCED: Final = "reply.bounced"
SENT_COPY_FILED: Final = "sent_copy.filed"
SENT_COPY_FAILED: Final = "sent_copy.failed"
BACKFILL_STARTED: Final = "backfill.started"
BACKFILL_FAILED: Final = "backfill.failed"
BACKFILL_ENDED: Final = "backfill.ended"
LINK_STARTED: Final = "link.started"
LINK_COMPLETED: Final = "link.completed"
LINK_FAILED: Final = "link.failed"
ERASURE_STEP: Final = "erasure.step"
ERASURE_FAILED: Final = "erasure.failed"
ERASURE_DONE: Final = "erasure.done"
TICKETS_DELETED: Final = "retention.tickets_deleted"
QUARANTINE_DROPPED: Final = "retention.quarantine_dropped"
ACCOUNT_WARNED: Final = "account.erasure_warning"
ACCOUNT_ERASED: Final = "account.erased"
ACCOUNT_CLOSED: Final = "account.closed"
ERASURE_WAL_KEPT: Final = "erasure.wal_kept"
REVOCATION_SETTLED: Final = "revocation.settled"
RESTORE_DETECTED: Final = "restore.detected"
STORAGE_UNAVAILABLE: Final = "storage.unavailable"
WEBHOOK_FAILING: Final = "webhook.failing"
WEBHOOK_RECOVERED: Final = "webhook.recovered"
WEBHOOK_DISABLED: Final = "webhook.disabled"
WEBHOOK_WITHHELD: Final = "webhook.withheld"
WEBHOOK_RELEASED: Final = "webhook.released"
LEASE_TAKEN: Final = "lease.taken"
LEASE_LOST: Final = "lease.lost"
EGRESS_REFUSED: Final = "egress.refused"
HTTP_LISTENING: Final = "http.listening"
HTTP_REQUEST: Final = "http.request"
LIBRARY_MESSAGE: Final = "library.message"
LOG_DROPPED: Final = "log.dropped"

EVENTS: Final[Mapping[str, str]] = {
    DAEMON_STARTED: "The daemon is up and takes work.",
    DAEMON_STOPPING: "The daemon was asked to stop and finishes what it holds.",
    DAEMON_STOPPED: "The daemon has stopped; nothing of it runs any more.",
    DAEMON_FAILED: "The daemon stops because of an error that it cannot live with.",
    DAEMON_KILLED: "The daemon was asked to stop a second time, and ends at once, as in a crash.",
    PROCESS_STARTED: "The parent of several processes has started one of them.",
    PROCESS_ENDED: "One of them has ended, and is started again after the delay; without one, all end.",
    PROCESS_SILENT: "One of them gave no sign of life, or took too long to stop: it is killed.",
    TASK_FAILED: "A background task ended with an error and is started again.",
    CONFIG_RELOADED: "The configuration was read again; these sections are in force now.",
    CONFIG_KEPT: "These settings changed in the file, and wait for a restart.",
    CONFIG_REFUSED: "The configuration was read again and is wrong: the old one stays; check-config tells why.",
    MAILBOX_CLAIMED: "This process now works on the mailbox.",
    MAILBOX_LOST: "The mailbox is not ours any more: taken over, paused, linked again or being disconnected.",
    MAILBOX_RELEASED: "This process gave the mailbox back.",
    MAILBOX_HANDED_OVER: "Another process has joined: mailboxes above our share are given to it.",
    MAILBOX_BATCH_COMMITTED: "A batch of messages and its cursor were committed.",
    MAILBOX_STATE_CHANGED: "The mailbox changed between active, failing, reauth_required and the rest.",
    MAILBOX_READ_FAILED: "A reading failed; it is repeated from the same cursor after a pause.",
    MAILBOX_THROTTLED: "The provider asked for a pause.",
    MAILBOX_ALERTED: "The mail server sent an alert for a person: sign in to the mailbox at its provider to read it.",
    MAILBOX_BUDGET_SPENT: "The mailbox has sent as much as its provider's limits allow; its replies wait for room.",
    MAILBOX_SEND_FAILED: "No reply could be sent, and nothing left; they wait, and are tried again after a pause.",
    MAILBOX_CURSOR_REPAIRED: "The cursor had become invalid; it was repaired by comparing.",
    MAILBOX_FOLDERS_MISSING: "So many watched folders are not there; `mailbox show` names them. The others are read.",
    MAILBOX_FOLDERS_FOUND: "All watched folders are there again.",
    MAILBOX_EDIT_FAILED: "An edit in the mailbox failed; the ticket is not concerned.",
    MAILBOX_SEND_FELL_BACK: "The provider has switched the mailbox's way of sending off: mail leaves by its other one.",
    MAILBOX_ACCESS_WARNING: "This will end the access to the mailbox; `mailbox show` tells when, and what to do.",
    MAILBOX_ACCESS_WARNING_ENDED: "A warning of the mailbox's access is over: cured, or come true.",
    MAILBOX_AUDITED: "The mailbox was compared with the store; of so many messages, `count` are not accounted for.",
    MAILBOX_AUDIT_FAILED: "The mailbox could not be compared with the store now; it is tried again later.",
    PUSH_FAILED: "A provider does not tell of news for now (kind: by which way); polling finds it, only later.",
    MESSAGE_QUARANTINED: "A message could not be taken; its bytes are kept for a replay.",
    MESSAGE_MUTED: "Messages of a batch came beyond a limit (tickets.…), or to spam: kept, but not announced.",
    PARSER_REPLACED: "A parser process died, hung, grew too large or had done its messages, and was replaced.",
    TOKEN_REFRESHED: "A fresh access token was fetched and stored.",
    TOKEN_REFRESH_FAILED: "The token endpoint refused or could not be asked.",
    REPLY_QUEUED: "A reply was accepted into the outbox.",
    REPLY_ATTEMPTED: "One attempt to send a reply has ended.",
    REPLY_SETTLED: "A reply reached a status that it keeps: sent, failed or cancelled.",
    REPLY_BOUNCED: "A bounce was matched to a reply.",
    SENT_COPY_FILED: "The Sent folder holds the copy of a reply.",
    SENT_COPY_FAILED: "The Sent copy could not be filed; the reply itself is not concerned.",
    BACKFILL_STARTED: "The old mail of a mailbox is being read, from where it stopped.",
    BACKFILL_FAILED: "The reading of old mail failed; it goes on after a pause. New mail is not concerned.",
    BACKFILL_ENDED: "The reading of old mail has come to its end, or was given up.",
    LINK_STARTED: "A browser was sent to the provider to link a mailbox.",
    LINK_COMPLETED: "A mailbox was linked.",
    LINK_FAILED: "A linking came back without success.",
    ERASURE_STEP: "One step of an erasure is done.",
    ERASURE_FAILED: "A step of an erasure failed; it is repeated.",
    TICKETS_DELETED: "Tickets of an account were deleted, as they were older than it keeps them.",
    QUARANTINE_DROPPED: "Messages in the quarantine of an account were dropped, as they were older than they are kept.",
    ACCOUNT_WARNED: "A suspended account was told that it will be erased.",
    ACCOUNT_ERASED: "An account was suspended for so long that it is being closed.",
    ACCOUNT_CLOSED: "An account is forgotten, with all of its mailboxes, and its receipt is written.",
    ERASURE_DONE: "An erasure is complete and its receipt is written.",
    ERASURE_WAL_KEPT: "An open reader keeps unreadable old pages in SQLite's WAL; they are wiped once it ends.",
    REVOCATION_SETTLED: "The provider revoked the grant, or the attempts have ended.",
    RESTORE_DETECTED: "A database was found to be a restored copy.",
    STORAGE_UNAVAILABLE: "A database cannot be reached or written.",
    WEBHOOK_FAILING: "Several deliveries to a webhook failed in a row; one at a time is tried from now on.",
    WEBHOOK_RECOVERED: "A webhook that failed takes deliveries again.",
    WEBHOOK_DISABLED: "A webhook was switched off, as its receiver does not take events; they wait in the log.",
    WEBHOOK_WITHHELD: "Nothing is delivered to a webhook, as its host is not known to be where its account is pinned.",
    WEBHOOK_RELEASED: "A webhook that was withheld is delivered to again.",
    LEASE_TAKEN: "This process holds its heartbeat row, and may take mailboxes.",
    LEASE_LOST: "The heartbeat came too late: the work of this process belongs to others now.",
    EGRESS_REFUSED: "A connection to a host that is not configured was stopped.",
    HTTP_LISTENING: "The HTTP side accepts connections.",
    HTTP_REQUEST: "A request was answered.",
    LIBRARY_MESSAGE: "A library wrote a warning or an error; its text is withheld, it may hold personal data.",
    LOG_DROPPED: "Something tried to log an event that is not in this list.",
}
