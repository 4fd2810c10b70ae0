"""`ingestd ticket show` tells what a ticket has to do with others, and what is known of its mail."""

from __future__ import annotations

from pathlib import Path

from tests.cli.stocked import stock
from tests.office import mail

_RULES = "tickets: {sender_tickets_max: 2}\n"
_MIRROR = "mailbox_defaults: {mirror: {spam: junk}}\n"


def test_show_tells_relations_and_what_is_muted(tmp_path: Path) -> None:
    forged = mail(
        "Re", sender="eve@evil.example", message_id="<e@evil.example>", headers="In-Reply-To: <q1@example.org>\r\n"
    )
    again = [mail(message_id=f"<q{number}@example.org>", text=f"{number}") for number in (2, 3)]
    desk = stock(tmp_path, mail(), forged, *again, settings=_RULES)
    assert "may belong to #1: the evidence was too weak to join it" in desk.run("ticket", "show", 2).output
    found = desk.json("ticket", "show", 2)
    assert found["related"] == [{"relation": "suspected", "number": 1, "mailbox": str(desk.mailbox_id)}]
    assert (found["offered_requester"], found["messages"][0]["muted"]) == (None, False)
    assert "beyond a limit, or spam: kept, but not announced" in desk.run("ticket", "show", 4).output
    assert desk.json("ticket", "show", 4)["messages"][0]["muted"]


PNG = bytes.fromhex("89504e470d0a1a0a0000000d")


def test_a_reply_in_markdown_with_an_image_a_hidden_copy_and_what_it_answers(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    image = tmp_path / "my logo.png"
    image.write_bytes(PNG)
    said = ["--markdown", "Look:\n\n![the logo](cid:my-logo.png) ![](cid:b)", "--quote"]
    images = ["--inline", image, "--inline", f"{image}:b"]
    desk.json("ticket", "reply", 1, *said, *images, "--cc", "bob@example.net", "--bcc", "carol@example.net")
    reply = desk.json("ticket", "show", 1)["messages"][-1]
    assert (reply["to"], reply["cc"], reply["bcc"]) == (
        ["anna@example.org"],
        ["bob@example.net"],
        ["carol@example.net"],
    )
    assert reply["text"].startswith("Look:\n\n[the logo]")
    assert reply["text"].endswith("wrote:\n> It does not print.")
    assert reply["html"].count("<img") == len(reply["attachments"]) == 2
    assert "  bcc: carol@example.net\n" in desk.run("ticket", "show", 1).output
    assert desk.run("verify").exit_code == 0


def test_what_cannot_be_said_is_refused_with_its_reason(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail())
    cases: tuple[tuple[list[str], int, str], ...] = (
        (["--text", "a", "--html", "b"], 2, "one of --text, --markdown and --html"),
        ([], 2, "say something"),
        (["--html", "<img src='https://example.com/a.png'>"], 1, "html: shows an image on the network"),
        (["--text", "a", "--inline", "nothing.png"], 2, "there is no file"),
        (["--text", "a", "--bcc", "nobody"], 1, "Bcc: holds something that is no address"),
    )
    for arguments, status, said in cases:
        result = desk.run("ticket", "reply", 1, *arguments)
        assert (result.exit_code, said in result.output) == (status, True), result.output
    assert len(desk.json("ticket", "show", 1)["messages"]) == 1


def test_what_agents_do_with_a_ticket(tmp_path: Path) -> None:
    desk = stock(tmp_path, mail(), mail(message_id="<q2@example.org>"), settings=_MIRROR)
    assert desk.run("ticket", "spam", 1).output == "#1: spam; edits in the mailbox: 1\n"
    assert desk.run("ticket", "spam", 1).output == "#1: spam (it was so already)\n"
    assert "in the mailbox, spam: spam: due" in desk.run("ticket", "show", 1).output
    shown = desk.json("ticket", "show", 1)["messages"][0]
    assert shown["edits"] == [{"cause": "spam", "edit": "spam", "status": "due", "reason": None}]
    assert (shown["folder"], shown["in_mailbox"]) == ("INBOX", None)
    assert desk.run("ticket", "read", 2).output == "#2: read\n", "nothing is configured for it"
    assert desk.json("ticket", "delete", 2)["status"] == "deleted"
    assert desk.json("ticket", "list") == []
    assert [one["number"] for one in desk.json("ticket", "list", "--status", "spam")] == [1]
    assert [one["number"] for one in desk.json("ticket", "list", "--status", "deleted")] == [2]
    for number in (1, 2):
        assert desk.json("ticket", "reopen", number)["changed"]
    assert [one["status"] for one in desk.json("ticket", "list")] == ["open", "open"]
    assert desk.run("ticket", "spam", 3).exit_code == 1
    assert desk.run("verify").exit_code == 0


def test_merging(tmp_path: Path) -> None:
    desk = stock(tmp_path, *(mail(message_id=f"<q{number}@example.org>") for number in range(1, 4)), settings=_MIRROR)
    assert desk.json("ticket", "merge", 2, 1) == {
        "ticket": 2,
        "merged_into": 1,
        "changed": True,
        "messages_moved": 1,
        "edits_planned": 0,
        "messages_lost": 0,
    }
    assert desk.run("ticket", "merge", 2, 1).output == "#2: merged into #1 (it was so already)\n"
    shown = desk.run("ticket", "show", 2).output
    assert "merged · <anna@example.org>" in shown
    assert "merged into #1, which has its messages" in shown
    assert "#2 was merged into it" in desk.run("ticket", "show", 1).output
    assert (desk.json("ticket", "show", 2)["merged_into"], desk.json("ticket", "show", 1)["merged_into"]) == (1, None)
    assert len(desk.json("ticket", "show", 1)["messages"]) == 2
    assert [one["number"] for one in desk.json("ticket", "list")] == [1, 3]
    assert [one["number"] for one in desk.json("ticket", "list", "--status", "merged")] == [2]
    for refused in (["reopen", 2], ["close", 2], ["read", 2], ["reply", 2, "--text", "x"], ["merge", 3, 2]):
        result = desk.run("ticket", *refused)
        assert (result.exit_code, "ticket 2 was merged into ticket 1" in result.output) == (1, True), result.output
    desk.run("ticket", "spam", 3)
    assert desk.run("ticket", "merge", 3, 1).output == "#3: merged into #1; edits in the mailbox: 1\n"
    assert "It cannot be undone." in desk.run("ticket", "merge", "--help").output
    assert desk.run("verify").exit_code == 0
