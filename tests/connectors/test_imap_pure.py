"""The pure parts of the IMAP connector: folder roles, refusals, cursors, grouping."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import AccessToken, PermanentError, ReadPlan, TemporaryError, Trouble
from connectors.imap_access import ImapAccess, ImapEndpoint, SmtpEndpoint
from connectors.imap_cursor import FolderCursor, Locator, format_cursor, parse_cursor, start
from connectors.imap_edit import copied_to
from connectors.imap_errors import command_refusal, farewell, login_refusal
from connectors.imap_fetch import Listed, Window, group
from connectors.imap_folders import ListedFolder, Role, find_folder, find_role, name_to_create, personal_prefix

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
        ("sent", [folder("Надіслані")], "Надіслані"),
        ("sent", [folder("INBOX.Gönderilmiş Öğeler", delimiter=".")], "INBOX.Gönderilmiş Öğeler"),
        ("trash", [folder("지운 편지함")], "지운 편지함"),
        ("junk", [folder("Lixo Eletrônico")], "Lixo Eletrônico"),
        ("trash", [folder("[Google Mail]/Papierkorb")], "[Google Mail]/Papierkorb"),
        # As a Mac writes it, decomposed.
        (
            "sent",
            [folder(unicodedata.normalize("NFD", "Éléments envoyés"))],
            unicodedata.normalize("NFD", "Éléments envoyés"),
        ),
    ],
)
def test_roles(role: Role, folders: list[ListedFolder], expected: str | None) -> None:
    assert find_role(role, folders) == expected


COURIER = [folder(name, delimiter=".") for name in ("INBOX", "INBOX.Support.Inbox", "INBOX.Спам")]
RICH = [folder(name) for name in ("INBOX", "Support/Inbox", "a.b", "Archive/2026")]


@pytest.mark.parametrize(
    ("wanted", "folders", "prefix", "expected"),
    [
        ("Support/Inbox", COURIER, "INBOX.", "INBOX.Support.Inbox"),
        ("Support.Inbox", COURIER, "INBOX.", "INBOX.Support.Inbox"),
        ("INBOX/Support/Inbox", COURIER, "INBOX.", "INBOX.Support.Inbox"),
        ("inbox.Support.Inbox", COURIER, "INBOX.", "INBOX.Support.Inbox"),
        ("Support/Inbox", COURIER, "", "INBOX.Support.Inbox"),
        ("Support", COURIER, "INBOX.", None),
        ("\\Junk", COURIER, "INBOX.", "INBOX.Спам"),
        ("\\junk", RICH, "", None),
        ("Support/Inbox", RICH, "", "Support/Inbox"),
        ("a.b", RICH, "", "a.b"),
        ("Inbox", RICH, "", None),
        ("Old", [folder("Old", "\\noselect")], "", None),
        ("", RICH, "", None),
    ],
)
def test_a_folder_is_found_as_people_write_it(
    wanted: str, folders: list[ListedFolder], prefix: str, expected: str | None
) -> None:
    assert find_folder(wanted, folders, prefix=prefix) == expected


def test_the_operators_override_is_a_path_too() -> None:
    assert find_folder("\\Junk", COURIER, prefix="INBOX.", overrides={"junk": "Support/Inbox"}) == "INBOX.Support.Inbox"
    assert find_folder("\\Junk", COURIER, prefix="INBOX.", overrides={"junk": "Nowhere"}) is None
    with pytest.raises(ValueError, match="role"):
        find_folder("\\Junkk", COURIER)


def test_a_new_folder_goes_where_the_server_keeps_folders() -> None:
    rich = [folder("INBOX"), folder("Old")]
    poor = [folder("INBOX", delimiter="."), folder("INBOX.Old", delimiter=".")]
    assert personal_prefix([folder("INBOX")]) == personal_prefix(rich) == ""
    prefix = personal_prefix(poor)
    assert name_to_create("\\Sent", rich) == "Sent"
    assert name_to_create("\\Trash", poor, prefix=prefix) == "INBOX.Trash"
    assert name_to_create("\\Trash", poor, prefix=prefix, overrides={"trash": "Bin/Old"}) == "INBOX.Bin.Old"
    assert name_to_create("Done/2026", rich) == "Done/2026"
    for spelled in ("Done/2026", "INBOX/Done/2026", "INBOX.Done.2026", "Done.2026"):
        assert name_to_create(spelled, poor, prefix=prefix) == "INBOX.Done.2026"


def test_microsofts_late_refusal_is_no_revoked_grant() -> None:
    error = command_refusal("SELECT", "select failed: User is authenticated but not connected.", "h:993")
    assert isinstance(error, TemporaryError)
    assert error.trouble is Trouble.WRONG_MAILBOX


def test_a_refusal_tells_nothing_of_the_servers_words() -> None:
    for text in ("[NONEXISTENT] secret words", "secret words", "[LIMIT] secret words", "Too many simultaneous secret"):
        assert "secret" not in str(command_refusal("SELECT", text, "h:993"))
    assert isinstance(command_refusal("SELECT", "[NONEXISTENT] x", "h:993"), PermanentError)


@pytest.mark.parametrize("code", ["OVERQUOTA", "TRYCREATE", "EXPUNGEISSUED", "INUSE", "CORRUPTION", "ALREADYEXISTS"])
def test_what_a_person_or_a_moment_can_change_is_temporary(code: str) -> None:
    for command in ("COPY", "MOVE", "APPEND", "STORE", "CREATE"):
        assert isinstance(command_refusal(command, f"[{code}] no", "h:993"), TemporaryError)


def test_cursors_are_read_as_they_were_written() -> None:
    folders = {"INBOX": FolderCursor(7, 120, NOW, 50), "Ключ:1": FolderCursor(1, 0, last=(9, NOW), recovering=True)}
    assert parse_cursor(format_cursor(folders)) == folders
    assert parse_cursor(None) == {}


def test_where_reading_starts() -> None:
    def begin(known: FolderCursor | None, start_at: datetime | None, uidvalidity: int = 7) -> FolderCursor:
        return start(known, uidvalidity=uidvalidity, uidnext=100, start_at=start_at, now=NOW)

    fresh = begin(None, None)
    assert fresh.uid == 99
    assert fresh.wanted_from is not None
    linked = begin(None, NOW - timedelta(days=3))
    assert linked == FolderCursor(7, 0, NOW - timedelta(days=3), 100)
    assert linked.filter_from(1) == NOW - timedelta(days=3)
    assert linked.filter_from(100) is None
    assert begin(fresh, None) is fresh
    assert begin(fresh, None, uidvalidity=8) == FolderCursor(8, 0, fresh.wanted_from, 100, recovering=True)


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("NO [LIMIT] Rate limit hit.", None),
        ("BYE [ALERT] Too many simultaneous connections. (Failure)", None),
        ("NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", None),
        ("Request is throttled. Suggested Backoff Time: 92415 milliseconds", 92.415),
        ("Request is throttled. Suggested Backoff Time: 999999999 milliseconds", 3600.0),
    ],
)
def test_what_throttles_is_told(text: str, seconds: float | None) -> None:
    for error in (command_refusal("SELECT", text, "h:993"), login_refusal(text, "h:993"), farewell(text, "h:993")):
        assert error is not None
        assert error.trouble is Trouble.THROTTLED
        assert getattr(error, "retry_after", None) == seconds


def test_a_goodbye_without_a_reason_is_a_loss_like_any() -> None:
    assert farewell("BYE Autologout; idle for too long", "h:993") is None
    assert farewell("BYE [ALERT] maintenance at noon", "h:993") is None


@pytest.mark.parametrize(("left", "lasts"), [(3600, 3480.0), (121, 60.0), (10, 60.0), (-5, 60.0), (None, math.inf)])
def test_how_long_a_connection_is_used(left: float | None, lasts: float) -> None:
    token = AccessToken("t", None if left is None else NOW + timedelta(seconds=left))
    access = ImapAccess("a@example.com", ImapEndpoint("h"), SmtpEndpoint("h"), session_ends_with_token=True)
    assert access.lasts_seconds(token, NOW) == lasts
    assert dataclasses.replace(access, session_ends_with_token=False).lasts_seconds(token, NOW) == math.inf


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ([5, 6, 7], ([5, 6, 7], 1, 9)),
        (list(range(1, 9)), ([1, 2, 3], 1, 3)),
        ([], ([], 1, 9)),
    ],
)
def test_a_window_is_cut_to_the_usual_size(
    monkeypatch: pytest.MonkeyPatch, left: list[int], expected: tuple[list[int], int, int]
) -> None:
    monkeypatch.setattr("connectors.imap_fetch.WINDOW_UIDS", 3)
    window = Window()
    assert window.cut(left, 1, 9) == expected
    assert window.size == (12 if not left else 3)
    if len(left) > 3:
        assert window.cut(left, 1, 9, from_end=True) == ([6, 7, 8], 6, 9)


def test_uids_that_went_back_are_read_anew() -> None:
    """A server that was restored from a backup gives the UIDs again that we have read."""
    known = FolderCursor(7, 120, NOW, 50)
    at = start(known, uidvalidity=7, uidnext=100, start_at=None, now=NOW)
    assert at == FolderCursor(7, 0, NOW, 50, recovering=True)
    assert start(replace_uid(known, 99), uidvalidity=7, uidnext=100, start_at=None, now=NOW) == replace_uid(known, 99)
    assert parse_cursor(format_cursor({"INBOX": at})) == {"INBOX": at}
    assert at.advanced(60, 99).recovering
    assert not at.advanced(99, 99).recovering


def replace_uid(cursor: FolderCursor, uid: int) -> FolderCursor:
    return dataclasses.replace(cursor, uid=uid)


def test_cursors_of_the_first_version_go_on() -> None:
    """As they were written when the plan still said how far back to read."""
    text = (
        '{"v":1,"folders":{"INBOX":{"uidvalidity":7,"uid":20,"from":null,"below":null},'
        '"Days":{"uidvalidity":7,"uid":20,"from":"2026-05-25T00:00:00+00:00","below":100}}}'
    )
    folders = parse_cursor(text)
    for name in ("INBOX", "Days"):
        at = start(folders[name], uidvalidity=7, uidnext=200, start_at=NOW, now=NOW)
        assert at is folders[name]
    assert folders["INBOX"].filter_from(21) is None
    assert folders["Days"].filter_from(21) == datetime(2026, 5, 25, tzinfo=UTC)
    assert folders["Days"].filter_from(100) is None


@pytest.mark.parametrize(
    "code", [b"7 1 2 3", b"x 1 2", b"7 1:2 5", b"7 1:4294967295 1:4294967295", b"7 a b", b"7 1:b 2:3", b""]
)
def test_a_strange_copyuid_tells_nothing(code: bytes) -> None:
    assert copied_to([code], "Done") == {}


def test_several_copyuids_are_put_together() -> None:
    copied = copied_to([b"7 3,1 10,11", b"7 8:6 22:20"], "Done")
    assert {uid: place.uid for uid, place in copied.items()} == {3: 10, 1: 11, 6: 20, 7: 21, 8: 22}
