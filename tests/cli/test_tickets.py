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
