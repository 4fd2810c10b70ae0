"""Run the invariants over a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Table

from ingestd.keys import KeyRing
from ingestd.verify import (
    access,
    accounts,
    audits,
    backfills,
    borders,
    edits,
    floods,
    forgetting,
    keys,
    ledger,
    log,
    merges,
    pushes,
    quarantine,
    raw,
    recipients,
    records,
    replies,
    tickets,
    webhooks,
)
from ingestd.verify.look import Look
from ingestd.verify.report import Findings, Invariant, Report, name_of
from ingestd.verify.stated import empty_among
from storage import database as databases
from storage.blobs import Blobs
from storage.database import Database

INVARIANTS: tuple[Invariant, ...] = (
    ledger.schemas_are_current,
    ledger.ledger_is_unbroken,
    ledger.key_store_is_not_stale,
    # nothing lost
    raw.raw_messages_are_whole,
    raw.quarantined_messages_are_whole,
    quarantine.what_left_the_quarantine_left_its_bytes,
    edits.edits_are_due_or_given_up,
    records.records_open,
    records.uploads_open,
    records.attachments_lie_in_their_message,
    records.attachments_are_numbered,
    tickets.messages_belong_to_a_ticket,
    tickets.tickets_have_a_message,
    tickets.closed_tickets_know_since_when,
    tickets.spam_deletions_and_merges_were_told,
    merges.merged_tickets_lead_to_another,
    merges.merged_tickets_are_empty,
    merges.merged_messages_are_in_the_target,
    backfills.backfills_move_with_their_cursor,
    backfills.backfills_agree_with_their_status,
    audits.audits_say_when,
    pushes.subscriptions_are_looked_after,
    webhooks.webhooks_follow_the_log,
    webhooks.deliveries_are_due_or_done,
    # nothing twice
    tickets.messages_are_stored_once,
    tickets.ticket_numbers_are_unique,
    tickets.ticket_numbers_were_drawn,
    log.event_sequences_were_drawn,
    log.events_lie_behind_what_is_gone,
    tickets.messages_were_announced_once,
    tickets.quarantine_was_announced_once,
    tickets.tickets_were_announced_once,
    tickets.replies_were_announced_once,
    tickets.deleted_messages_stay_away,
    floods.muted_messages_are_told_as_such,
    floods.floods_are_announced,
    access.access_warnings_were_told,
    access.read_ways_are_known,
    accounts.suspended_accounts_rest,
    edits.received_messages_are_edited_once,
    replies.outgoing_messages_are_replies,
    replies.attempts_are_numbered,
    replies.replies_are_accepted_once,
    replies.sent_replies_were_accepted,
    replies.sending_replies_have_one_open_attempt,
    replies.sent_copies_follow_the_send,
    replies.final_replies_wait_for_nothing,
    replies.waiting_replies_have_a_next_step,
    recipients.recipients_are_numbered,
    recipients.recipients_have_a_known_status,
    recipients.sent_replies_were_answered_for_everybody,
    recipients.delayed_replies_wait_for_their_time,
    # nothing left
    keys.keys_open,
    keys.keys_have_an_owner,
    keys.mailboxes_have_a_key,
    forgetting.destroyed_mailboxes_are_gone,
    forgetting.erasures_go_step_by_step,
    forgetting.persons_are_erased_step_by_step,
    forgetting.disconnecting_mailboxes_are_being_erased,
    accounts.warned_accounts_are_suspended,
    accounts.pins_are_labels,
    accounts.closed_accounts_are_gone,
    accounts.accounts_are_closed_by_an_erasure,
    forgetting.blobs_have_a_row,
    forgetting.revocations_end,
    forgetting.revocations_are_of_destroyed_mailboxes,
    raw.raw_chunks_have_an_owner,
    raw.altered_messages_have_a_cause,
    backfills.references_wait_for_older_mail,
    # nothing shared
    borders.rows_have_a_mailbox,
    borders.rows_stay_in_their_account,
    webhooks.deliveries_lie_behind_their_cursor,
    borders.suspected_tickets_are_of_the_same_account,
    tickets.follow_ups_continue_an_older_ticket,
    borders.children_lie_in_their_parents_mailbox,
)
"""Every promise, in the order in which it is checked. A test insists that each has a damage that breaks it."""


async def verify(
    content: Database,
    keystore: Database,
    blobs: Blobs,
    keys: KeyRing,
    *,
    now: datetime | None = None,
    page_rows: int = 200,
    violations_max: int = 100,
    passed: Callable[[], None] = lambda: None,
) -> Report:
    """Check every invariant and report what is broken. Reads only.

    `now` is the content database's clock where it is None. At most `page_rows` rows are
    in memory at a time, and at most `violations_max` violations of an invariant are listed.
    `passed` is called after each invariant.
    Raises StorageUnavailable. `keys` should be fresh: a cached key may be destroyed already.
    """
    if page_rows < 1 or violations_max < 1:
        raise ValueError("verify reads at least one row and lists at least one violation")
    if now is None:
        now = await content.read(None, databases.now)
    look = Look(content, keystore, blobs, keys, now, page_rows, await _empty(content) | await _empty(keystore))
    report = Report({}, [])
    incomplete = set()
    for invariant in INVARIANTS:
        found = await _run(look, invariant, violations_max)
        report.checked[found.invariant] = found.checked
        report.violations.extend(found.violations)
        if found.more:
            incomplete.add(found.invariant)
        passed()
    return Report(report.checked, report.violations, frozenset(incomplete))


async def _empty(database: Database) -> frozenset[Table]:
    """Return the tables without a row: most, in a young installation."""
    return await database.read(None, empty_among, tuple(database.metadata.sorted_tables))


async def _run(look: Look, invariant: Invariant, violations_max: int) -> Findings:
    """Run one invariant; where something looks wrong, run it again and keep what looks wrong twice.

    A daemon may be at work: between two pages a message can be deleted whose
    chunks are looked for next. What is broken stays broken.
    """
    first = await _once(look, invariant, violations_max)
    if not first.violations:
        return first
    second = await _once(look, invariant, violations_max)
    seen = set(first.violations)
    second.violations = [one for one in second.violations if one in seen]
    return second


async def _once(look: Look, invariant: Invariant, violations_max: int) -> Findings:
    found = Findings(name_of(invariant), violations_max)
    await invariant(look, found)
    return found
