"""The pure parts of the IMAP connector: folder roles, refusals, cursors, grouping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import PermanentError, ReadPlan, StartFrom, TemporaryError, Trouble
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_cursor import FolderCursor, Locator, format_cursor, parse_cursor, start
from connectors.imap_errors import command_refusal
from connectors.imap_fetch import Listed, group
from connectors.imap_folders import ListedFolder, Role, find_role, name_to_create

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def folder(name: str, *flags: str, delimiter: str = "/") -> ListedFolder:
    return ListedFolder(frozenset(flags), delimiter, name)


@pytest.mark.parametrize(
    ("role", "folders", "expected"),
    [
        ("sent", [folder("INBOX"), folder("Sent Items")], "Sent Items"),
        ("sent", [folder("Gesendet")], "Gesendet"),
        ("sent", [folder("INBOX.Sent", delimiter=".")], "INBOX.Sent"),
        ("sent", [folder("[Gmail]/Отправленные", "\\sent"), folder("Sent")], "[Gmail]/Отправленные"),
        ("sent", [folder("Projects/Sent")], None),
        ("sent", [folder("Sent", "\\noselect")], None),
        ("junk", [folder("Спам", "\\spam")], "Спам"),
        ("trash", [folder("Deleted Items"), folder("Корзина")], "Deleted Items"),
        ("trash", [], None),
    ],
)
def test_roles(role: Role, folders: list[ListedFolder], expected: str | None) -> None:
    assert find_role(role, folders) == expected
    assert find_role(role, folders, "Override") == "Override"


def test_a_new_folder_goes_where_the_server_keeps_folders() -> None:
    assert name_to_create("sent", [folder("INBOX")]) == "Sent"
    assert name_to_create("sent", [folder("INBOX"), folder("Old")]) == "Sent"
    assert name_to_create("trash", [folder("INBOX"), folder("INBOX.Old", delimiter=".")]) == "INBOX.Trash"


def test_microsofts_late_refusal_is_no_revoked_grant() -> None:
    error = command_refusal("SELECT", "select failed: User is authenticated but not connected.", "h:993")
    assert isinstance(error, TemporaryError)
    assert error.trouble is Trouble.WRONG_MAILBOX


def test_a_refusal_tells_nothing_of_the_servers_words() -> None:
    for text in ("[NONEXISTENT] secret words", "secret words", "[LIMIT] secret words", "Too many simultaneous secret"):
        assert "secret" not in str(command_refusal("SELECT", text, "h:993"))
    assert isinstance(command_refusal("SELECT", "[NONEXISTENT] x", "h:993"), PermanentError)


def test_cursors_are_read_as_they_were_written() -> None:
    folders = {"INBOX": FolderCursor(7, 120, NOW, 50), "Ключ:1": FolderCursor(1, 0)}
    assert parse_cursor(format_cursor(folders)) == folders
    assert parse_cursor(None) == {}


def test_where_reading_starts() -> None:
    def begin(known: FolderCursor | None, plan: ReadPlan, uidvalidity: int = 7) -> FolderCursor:
        return start(known, uidvalidity=uidvalidity, uidnext=100, plan=plan, now=NOW)

    fresh = begin(None, ReadPlan())
    assert fresh.uid == 99
    assert fresh.wanted_from is not None
    assert begin(None, ReadPlan(start_from=StartFrom.EVERYTHING)) == FolderCursor(7, 0)
    days = begin(None, ReadPlan(start_from=StartFrom.DAYS, start_days=3))
    assert days == FolderCursor(7, 0, NOW - timedelta(days=3), 100)
    assert days.filter_from(1) == NOW - timedelta(days=3)
    assert days.filter_from(100) is None
    assert begin(fresh, ReadPlan()) is fresh
    assert begin(fresh, ReadPlan(), uidvalidity=8) == FolderCursor(8, 0, fresh.wanted_from, 100)


def test_a_locator_survives_colons() -> None:
    locator = Locator(7, 8, "a:b:c")
    assert Locator.parse(str(locator)) == locator


def test_groups_keep_every_message_in_order_and_within_the_limits() -> None:
    sizes = [10, 200, 5, 5, 5, 90, 10]
    listed = [Listed(uid, size, NOW, None) for uid, size in enumerate(sizes, 1)]
    groups = group(listed, ReadPlan(batch_messages_max=3, batch_bytes_max=100))
    assert [item for items in groups for item in items] == listed
    assert [[item.size_bytes for item in items] for items in groups] == [[10], [200], [5, 5, 5], [90, 10]]
    assert group([], ReadPlan()) == []


@pytest.mark.parametrize("seconds", [0.0, 29 * 60.0])
def test_idle_is_renewed_in_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="2177"):
        ImapAccess("a@example.com", ImapEndpoint("h"), SmtpEndpoint("h"), idle_renew_seconds=seconds)
