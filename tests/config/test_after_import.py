"""What is done in a mailbox after import: what may be written, and what is said of the rest."""

from __future__ import annotations

import pytest

from config import ConfigError, after_import_note, check_after_import, check_not_watched, split_after_import

from .conftest import Load


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nothing", ("nothing", None)),
        ("seen", ("seen", None)),
        ("delete", ("delete", None)),
        ("keyword:$Ticketed", ("keyword", "$Ticketed")),
        ("move:Done", ("move", "Done")),
        ("move:Архив/2026: alt", ("move", "Архив/2026: alt")),
    ],
)
def test_what_may_be_written(load_text: Load, text: str, parts: tuple[str, str | None]) -> None:
    assert check_after_import(text) == text
    assert split_after_import(text) == parts
    assert load_text(f'mailbox_defaults: {{after_import: "{text}"}}\n').mailbox_defaults.after_import == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be nothing, seen"),
        ("archive", "must be nothing, seen"),
        ("Seen", "must be nothing, seen"),
        ("seen:", "must be nothing, seen"),
        ("delete:now", "must be nothing, seen"),
        ("keyword:", "IMAP keyword"),
        ("keyword:two words", "IMAP keyword"),
        ("keyword:\\Seen", "IMAP keyword"),
        ("keyword:größe", "IMAP keyword"),
        ("keyword:" + "x" * 51, "IMAP keyword"),
        ("keyword:a\r\nb", "IMAP keyword"),
        ("move:", "must name a folder"),
        ("move: Done", "must name a folder"),
        ("move:a\r\nb", "must name a folder"),
        ("move:" + "x" * 256, "must name a folder"),
        ("move:\\Archive", "not a role"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_after_import(text)


@pytest.mark.parametrize("move", ["move:INBOX", "move:inbox", "move:Team"])
def test_mail_is_not_moved_where_it_is_read_again(load_text: Load, move: str) -> None:
    with pytest.raises(ConfigError, match="watched itself"):
        load_text(f"mailbox_defaults: {{folders: [Inbox, Team], after_import: {move}}}\n")
    with pytest.raises(ValueError, match="watched itself"):
        check_not_watched(move, ["INBOX", "Team"])


def test_other_folders_are_told_apart_by_case() -> None:
    check_not_watched("move:team", ["INBOX", "Team"])
    check_not_watched("delete", ["INBOX"])


def test_only_delete_needs_a_word() -> None:
    assert after_import_note("seen") is None
    assert "only place" in (after_import_note("delete") or "")
