"""Nothing shared, over every command: with another account's objects it finds, tells and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
import pytest
from sqlalchemy import Connection, MetaData, select

from config import load
from ingestd.build.store import open_store
from ingestd.cli import main
from storage import accounts, keystore_tables, tables
from tests.cli.stocked import Stocked, stock, stock_another
from tests.cli.test_commands import add_mailbox
from tests.cli.test_webhooks import add
from tests.office import mail

NOTHING_FOUND: Final[Mapping[str, str]] = {
    "audit": "{mailbox}",
    "explain": "<q3@example.org> --stored",
    "mailbox backfill": "{mailbox} --from everything",
    "mailbox disconnect": "{mailbox}",
    "mailbox link": "local --again {mailbox} --wait 1",
    "mailbox pause": "{mailbox}",
    "mailbox resume": "{mailbox}",
    "mailbox set": "{mailbox} --name x",
    "mailbox show": "{mailbox}",
    "quarantine drop": "{quarantine} --yes",
    "quarantine replay": "{quarantine}",
    "quarantine show": "{quarantine}",
    "receipt show": "{forgotten}",
    "reply cancel": "{reply}",
    "reply resolve": "{reply} sent",
    "reply retry": "{reply}",
    "reply show": "{reply}",
    "ticket attachment": "1 {message} 0",
    "ticket close": "{number}",
    "ticket delete": "{number}",
    "ticket merge": "1 {number}",
    "ticket read": "{number}",
    "ticket reopen": "{number}",
    "ticket reply": "{number} --text x",
    "ticket show": "{number}",
    "ticket spam": "{number}",
    "token revoke": "{token}",
    "webhook disable": "{webhook}",
    "webhook enable": "{webhook}",
    "webhook show": "{webhook}",
    "webhook test": "{webhook}",
}
"""Commands about one thing, and the other account's: `number` is a ticket that only the other one has."""
ITS_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "event list": ("",),
    "export": ("{folder}",),
    "mailbox list": ("",),
    "quarantine list": ("--all", "--all --mailbox {mailbox}"),
    "quarantine replay": ("--all", "--all --mailbox {mailbox}"),
    "receipt list": ("", "--after {forgotten}"),
    "reply list": ("", "--mailbox {mailbox}"),
    "ticket list": ("", "--mailbox {mailbox}"),
    "token create": ("reports",),
    "token list": ("",),
    "webhook list": ("",),
}
"""Commands about all that an account has: they show what is its own, and no more."""
BY_ARGUMENT: Final = ("show", "set", "suspend", "hold", "release", "resume", "close --yes")
"""The operator's commands about one account: they leave all others as they are. The last one closes it."""
OF_PERSONS: Final = {"person erase", "person show"}
"""They name the account first, as those do."""
OF_THE_STORE: Final = {
    *("init", "check-config", "migrate", "run", "verify", "demo", "inspect", "completion", "retention", "keys rotate"),
    *("account create", "account list", "receipt key", "receipt verify"),
    *("backup check", "backup content", "backup keystore", "restore content", "restore keystore"),
}
"""They belong to no account; the operator alone can read the store that they work on."""
WORDS: Final = ("Zeugin", "zeugin@example.org", "zeuge@example.com", "zeuge.example.com")


@dataclass(frozen=True)
class Scene:
    mine: Stocked
    other_id: UUID
    known: Mapping[str, object]
    """What of the other account the commands are asked for."""
    folder: Path

    def ask(self, command: str, form: str) -> tuple[int, str]:
        """Run a command for our account; return its status and all that it said, without what it was given."""
        given = {**self.known, "folder": self.folder / "export"}
        arguments = form.format(**given).split()
        done = self.mine.run(*command.split(), *arguments, "--account", self.mine.account_id)
        said = done.output + (repr(done.exception) if done.exception else "")
        for one in arguments:
            said = said.replace(one, "")
        return done.exit_code, said

    def told(self, said: str) -> list[str]:
        """Return what of the other account is in a text."""
        ids = [str(self.other_id), *(str(one) for name, one in self.known.items() if name != "number")]
        return [one for one in (*WORDS, *ids) if one in said]

    def rows(self) -> dict[str, list[Any]]:
        """Return all that the store has of the other account, key store and blobs included."""
        return asyncio.run(_rows(self.mine.folder, self.other_id))


async def _rows(folder: Path, account_id: UUID) -> dict[str, list[Any]]:
    settings = load(folder / "ingestd.yaml")
    async with open_store(settings) as store:
        found = await store.content.read(None, _rows_in, tables.metadata, account_id)
        found |= await store.keystore.read(None, _rows_in, keystore_tables.metadata, account_id)
    blobs = settings.storage.blobs_dir / str(account_id)
    return found | {"blobs": sorted((str(one), one.stat().st_mtime_ns) for one in blobs.rglob("*"))}


def _rows_in(conn: Connection, metadata: MetaData, account_id: UUID) -> dict[str, list[Any]]:
    # The ledger's newer entries are another's; those of this one stay as they are.
    mine = [table for table in metadata.sorted_tables if "account_id" in table.c]
    return {
        one.name: sorted(map(repr, conn.execute(select(one).where(one.c.account_id == account_id)))) for one in mine
    }


def commands(group: click.Group = main, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its path, as docs/commands.md lists them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        elif not command.hidden:
            yield f"{path}{name}", command


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    part = "Content-Type: text/plain; name=Zeugin.txt\r\nContent-Disposition: attachment\r\n"
    sender = "Zeugin <zeugin@example.org>"
    raws = [
        mail("Zeugin", sender=sender, headers=part),
        mail("poison", sender=sender, message_id="<q2@example.org>"),
        mail("Zeugin again", sender=sender, message_id="<q3@example.org>"),
    ]
    store = tmp_path / "store"
    desk = stock(store, *raws)
    (account,) = desk.json("account", "list")
    forgotten = asyncio.run(add_mailbox(store, address="zeuge@example.com"))
    assert desk.run("mailbox", "disconnect", forgotten).exit_code == 0
    webhook = add(desk, "https://zeuge.example.com/hook")
    (held,) = desk.json("quarantine", "list")
    known = {
        "mailbox": desk.mailbox_id,
        "forgotten": forgotten,
        "webhook": webhook,
        "quarantine": held["quarantine"],
        "message": desk.json("ticket", "show", 1)["messages"][0]["message"],
        "reply": desk.json("ticket", "reply", 2, "--text", "Zeugin", "--undo", 300)["message"],
        "token": desk.json("token", "create", "zeuge")["token_id"],
        "erasure": desk.json("person", "erase", account["account"], "zeugin@example.org", "--dry-run")["erasure"],
        "number": 2,
    }
    mine = stock_another(desk, mail("Mine", headers=part.replace("Zeugin", "mine")))
    return Scene(mine, UUID(account["account"]), known, tmp_path)


def test_every_command_has_its_case() -> None:
    of_one = {f"account {one.split()[0]}" for one in BY_ARGUMENT}
    found = dict(commands())
    assert set(found) == {*NOTHING_FOUND, *ITS_OWN, *OF_THE_STORE, *OF_PERSONS, *of_one}
    takes_account = {path for path, one in found.items() if any(param.name == "account" for param in one.params)}
    assert takes_account == {*NOTHING_FOUND, *ITS_OWN}


def test_another_accounts_things_are_not_there(scene: Scene) -> None:
    before = scene.rows()
    full = {"mailboxes", "tickets", "messages", "quarantine", "outbox", "webhooks", "tokens", "wrapped_keys", "ledger"}
    assert full <= {name for name, rows in before.items() if rows}, "the control: there is something to change"
    for command, form in NOTHING_FOUND.items():
        status, said = scene.ask(command, form)
        assert (status, scene.told(said)) == (1, []), (command, said)
        assert "Traceback" not in said
        assert scene.rows() == before, command
    # The control: the other account's own id opens all that is only shown.
    for command in ("mailbox show", "quarantine show", "receipt show", "reply show", "ticket show", "webhook show"):
        arguments = NOTHING_FOUND[command].format(**scene.known).split()
        done = scene.mine.run(*command.split(), *arguments, "--account", scene.other_id)
        assert done.exit_code == 0, (command, done.output)
        assert scene.told(done.output), command


def test_what_an_account_has_is_only_its_own(scene: Scene) -> None:
    before = scene.rows()
    for command, forms in ITS_OWN.items():
        for form in forms:
            status, said = scene.ask(command, form)
            assert (status, scene.told(said)) == (0, []), (command, form, said)
            assert scene.rows() == before, command
    exported = [one for one in (scene.folder / "export").rglob("*") if one.is_file()]
    assert exported
    text = b"".join(one.read_bytes() for one in exported).decode("utf-8", "replace")
    assert "Mine" in text
    assert scene.told(text) == []
    for command in ("event list", "mailbox list", "ticket list", "token list", "webhook list"):
        done = scene.mine.run(*command.split(), "--account", scene.other_id)
        assert scene.told(done.output), (command, "the control")


def test_a_person_is_erased_from_the_account_that_was_named(scene: Scene) -> None:
    before = scene.rows()
    mine, erasure = scene.mine.account_id, scene.known["erasure"]
    done = scene.mine.run("person", "erase", mine, "zeugin@example.org", "--yes", "--wait", 30)
    assert done.exit_code == 0, done.output
    refused = scene.mine.run("person", "show", mine, erasure)
    assert (refused.exit_code, scene.told(refused.output.replace(str(erasure), ""))) == (1, [])
    assert scene.rows() == before
    assert scene.mine.run("person", "show", scene.other_id, erasure).exit_code == 0, "the control"


def test_the_operator_changes_the_account_that_was_named(scene: Scene) -> None:
    before = scene.rows()
    options = {"set": "--solved-days 30", "close --yes": "--wait 30"}
    for one in BY_ARGUMENT:
        verb, *rest = one.split()
        done = scene.mine.run("account", verb, scene.mine.account_id, *rest, *options.get(one, "").split())
        assert done.exit_code == 0, (one, done.output)
        assert scene.told(done.output) == []
        assert scene.rows() == before, one
    assert [row["account"] for row in scene.mine.json("account", "list") if row["status"] in accounts.OPEN] == [
        str(scene.other_id)
    ]
    assert scene.mine.run("verify").exit_code == 0
