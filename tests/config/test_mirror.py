"""What is mirrored in the mailbox: what may be written, and what is said of the rest."""

from __future__ import annotations

import pytest

from config import ConfigError, check_mirrored

from .conftest import Load


@pytest.mark.parametrize(
    ("action", "text"),
    [
        *(("read", one) for one in ("nothing", "seen")),
        *(("spam", one) for one in ("nothing", "junk", "keyword:$Spam", "move:Spam/2026")),
        *(("delete", one) for one in ("nothing", "trash")),
        *(("solved", one) for one in ("nothing", "seen", "keyword:Solved", "move:Done: alt")),
    ],
)
def test_what_may_be_written(load_text: Load, action: str, text: str) -> None:
    assert check_mirrored(action, text) == text
    mirror = load_text(f'mailbox_defaults: {{mirror: {{{action}: "{text}"}}}}\n').mailbox_defaults.mirror
    assert getattr(mirror, action) == text


@pytest.mark.parametrize(
    ("action", "text", "said"),
    [
        ("read", "keyword:Read", "must be nothing or seen"),
        ("spam", "seen", "must be nothing, junk, keyword:NAME or move:FOLDER"),
        ("spam", "junk:Spam", "must be nothing, junk"),
        ("delete", "delete", "must be nothing or trash"),
        ("solved", "", "must be nothing, seen"),
        ("solved", "Seen", "must be nothing, seen"),
        ("solved", "keyword:", "IMAP keyword"),
        ("solved", "keyword:two words", "IMAP keyword"),
        ("solved", "move:", "must name a folder"),
        ("solved", "move:\\Archive", "not a role"),
        ("lost", "seen", "read, spam, delete or solved"),
    ],
)
def test_what_is_refused(action: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_mirrored(action, text)


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("mirror: {solved: move:inbox}", "solved: must not move mail to a folder that is watched"),
        ("folders: [INBOX, Team], mirror: {spam: move:Team}", "spam: must not move mail to a folder"),
        ("mirror: {solved: keyword:Done, spam: keyword:done}", "another keyword"),
        ("after_import: keyword:Done, mirror: {solved: keyword:Done}", "another keyword"),
        ("mirror: {lost: seen}", "mirror"),
        ("mirror: {solved: yes}", "mirror"),
    ],
)
def test_what_cannot_hold_together(load_text: Load, defaults: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_text(f"mailbox_defaults: {{{defaults}}}\n")


def test_junk_may_be_watched(load_text: Load) -> None:
    load_text("mailbox_defaults: {folders: [INBOX, Junk], mirror: {spam: junk}}\n")
