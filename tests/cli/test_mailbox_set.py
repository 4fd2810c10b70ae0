"""`ingestd mailbox set`: what is done after import, and which folders are watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.stocked import stock
from tests.office import mail


def test_set_is_shown_and_makes_the_worker_begin_again(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    before = desk.fence()
    assert desk.json("mailbox", "show", desk.mailbox_id)["after_import"] == "nothing"
    done = desk.json("mailbox", "set", desk.mailbox_id, "--after-import", "move:Done", "--folder", "A", "--folder", "B")
    assert (done["after_import"], done["folders"]) == ("move:Done", ["A", "B"])
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert (shown["after_import"], shown["folders"]) == ("move:Done", "A, B")
    assert desk.fence() > before
    desk.run("mailbox", "set", desk.mailbox_id, "--after-import", "default", "--default-folders")
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert (shown["after_import"], shown["folders"]) == ("nothing", "INBOX")
    assert desk.run("verify").exit_code == 0


def test_how_replies_look_is_shown_and_can_be_taken_back(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    file = tmp_path / "signature.txt"
    file.write_text("Jane Doe\n  Example Ltd\n")
    given = ["--name", "Example Support", "--reply-to", "help@example.com", "--reply-token", "plus"]
    done = desk.json("mailbox", "set", desk.mailbox_id, *given, "--signature", file)
    assert (done["name"], done["reply_to"], done["reply_token"]) == ("Example Support", "help@example.com", "plus")
    assert done["signature"] == desk.json("mailbox", "show", desk.mailbox_id)["signature"] == "Jane Doe\n  Example Ltd"
    assert "Jane Doe |   Example Ltd" in desk.run("mailbox", "show", desk.mailbox_id).output
    desk.json("mailbox", "set", desk.mailbox_id, "--after-import", "seen")  # leaves the rest as it is
    assert desk.json("mailbox", "show", desk.mailbox_id)["reply_to"] == "help@example.com"
    taken_back = ["--name", "", "--reply-to", "", "--no-signature", "--reply-token", "off"]
    done = desk.json("mailbox", "set", desk.mailbox_id, *taken_back)
    assert [done[field] for field in ("name", "reply_to", "reply_token", "signature")] == ["", "", "off", ""]


def test_a_signature_is_bounded_and_is_text(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    file = tmp_path / "signature.txt"
    for content, said in ((b"a" * 4001, "the signature has more than 4000"), (b"\xff\xfe", "UTF-8")):
        file.write_bytes(content)
        result = desk.run("mailbox", "set", desk.mailbox_id, "--signature", file)
        assert result.exit_code in (1, 2)
        assert said in result.output


def test_a_missing_folder_is_named_where_the_mailbox_is_shown_and_nowhere_else(tmp_path: Path) -> None:
    desk = stock(tmp_path)
    desk.lose("Kunden", "Support")
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert (shown["state"], shown["folders_missing"]) == ("active", "Kunden, Support")
    assert shown["folders_missing_since"]
    for_people = " ".join(desk.run("mailbox", "show", desk.mailbox_id).output.split())
    assert "What is wrong with its folders: These folders are watched and are not there: “Kunden”, “Support”." in (
        for_people
    )
    assert f"ingestd mailbox set {desk.mailbox_id} --folder NAME" in for_people
    (row,) = desk.json("mailbox", "list")
    assert row["trouble"] == "folders_missing"
    assert "Kunden" not in desk.run("mailbox", "list").output
    desk.lose()
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert (shown["folders_missing"], shown["folders_missing_since"], shown["folders_cure"]) == ("", None, None)


def test_nothing_cancels_what_is_due(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail(), settings="mailbox_defaults: {after_import: delete}\n")
    assert desk.json("mailbox", "show", desk.mailbox_id)["edits_due"] == 1
    assert desk.json("mailbox", "set", desk.mailbox_id, "--after-import", "nothing")["edits_cancelled"] == 1
    assert desk.json("mailbox", "show", desk.mailbox_id)["edits_due"] == 0
    desk.take(mail(message_id="<q2@example.org>"))
    assert desk.json("mailbox", "show", desk.mailbox_id)["edits_due"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "--after-import"),
        (["--after-import", "burn"], 2, "nothing, seen, keyword:NAME"),
        (["--after-import", "keyword:two words"], 2, "IMAP keyword"),
        (["--after-import", "move:"], 2, "folder"),
        (["--after-import", "move:inbox"], 1, "watched itself"),
        (["--after-import", "move:A", "--folder", "A"], 1, "watched itself"),
        (["--mirror", "solved"], 2, "keyword:NAME or move:FOLDER, as in solved=seen"),
        (["--mirror", "lost=seen"], 2, "read, spam, delete or solved"),
        (["--mirror", "delete=junk"], 2, "nothing or trash"),
        (["--mirror", "solved=keyword:two words"], 2, "IMAP keyword"),
        (["--mirror", "solved=move:inbox"], 1, "solved: must not move mail to a folder"),
        (["--mirror", "solved=move:A", "--folder", "A"], 1, "watched itself"),
        (["--mirror", "solved=keyword:A", "--mirror", "spam=keyword:a"], 1, "another keyword"),
        (["--folder", ""], 2, "--folder"),
        (["--folder", "A", "--default-folders"], 2, "not both"),
        (["--signature", "-", "--no-signature"], 2, "not both"),
        (["--reply-to", "nobody"], 1, "the reply address holds something that is no address"),
        (["--reply-to", "jane@пример..example"], 1, "the reply address names a domain"),
        (["--name", "a\nb"], 1, "the name holds a line break"),
        (["--name", "a" * 201], 1, "the name has more than 200"),
        (["--reply-token", "minus"], 2, "plus"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    desk = stock(tmp_path)
    result = desk.run("mailbox", "set", desk.mailbox_id, *arguments)
    assert result.exit_code == status, result.output
    assert said in result.output
    assert desk.json("mailbox", "show", desk.mailbox_id)["after_import"] == "nothing"


def test_what_is_mirrored_is_set_shown_and_taken_back(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail(), settings="mailbox_defaults: {mirror: {read: seen}}\n")
    nothing = {"read": "seen", "spam": "nothing", "delete": "nothing", "solved": "nothing"}
    assert desk.json("mailbox", "show", desk.mailbox_id)["mirror"] == nothing
    done = desk.json("mailbox", "set", desk.mailbox_id, "--mirror", "solved=keyword:Solved", "--mirror", "spam=junk")
    assert done["mirror"] == {**nothing, "solved": "keyword:Solved", "spam": "junk"}
    assert "solved=keyword:Solved" in desk.run("mailbox", "show", desk.mailbox_id).output
    assert desk.json("ticket", "close", 1)["edits_planned"] == 1
    assert desk.json("ticket", "read", 1)["edits_planned"] == 1
    shown = desk.json("mailbox", "show", desk.mailbox_id)
    assert shown["edits"] == [
        {"cause": "read", "kind": "read", "status": "due", "reason": None, "messages": 1},
        {"cause": "solved", "kind": "keyword", "status": "due", "reason": None, "messages": 1},
    ]
    assert "solved: keyword of 1 (due)" in " ".join(desk.run("mailbox", "show", desk.mailbox_id).output.split())
    cancelled = desk.json("mailbox", "set", desk.mailbox_id, "--mirror", "solved=nothing")["edits_cancelled"]
    assert (cancelled, desk.json("mailbox", "show", desk.mailbox_id)["edits_due"]) == (1, 1)
    back = desk.json("mailbox", "set", desk.mailbox_id, "--mirror", "solved=default", "--mirror", "spam=default")
    assert back["mirror"] == nothing
    assert desk.run("verify").exit_code == 0


def test_check_config_tells_what_delete_means(tmp_path: Path) -> None:
    desk = stock(tmp_path, settings="mailbox_defaults: {after_import: delete}\n")
    checked = desk.run("check-config")
    assert checked.exit_code == 0
    assert "the only place that has it" in checked.output
