"""`ingestd ticket show` tells what a ticket has to do with others, and what is known of its mail."""

from __future__ import annotations

from pathlib import Path

from tests.cli.stocked import stock
from tests.office import mail

_RULES = "tickets: {sender_tickets_max: 2}\n"


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
    assert "beyond a limit: kept, but not announced" in desk.run("ticket", "show", 4).output
    assert desk.json("ticket", "show", 4)["messages"][0]["muted"]
