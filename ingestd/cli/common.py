"""What the commands share: reading the configuration, running a coroutine, saying what went wrong."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import click

from config import ConfigError, Settings, load
from ingestd.api.edge import ListenFailed
from ingestd.build.store import Store, open_store
from ingestd.linking.errors import LinkingError
from ingestd.mail.compose import ComposeError
from ingestd.outbound.refused import ReplyRefused
from ingestd.outbound.statuses import IllegalStepError
from ingestd.privacy.residency import Misplaced
from ingestd.telemetry import logs
from storage import accounts
from storage.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

P = ParamSpec("P")
T = TypeVar("T")

EXIT_UNAVAILABLE = 75
EXIT_CONFIG = 78

_SAID = (StorageError, ListenFailed, LinkingError, ComposeError, ReplyRefused, IllegalStepError)


class Trouble(click.ClickException):
    """Something that the user can understand and act on."""


class ConfigTrouble(Trouble):
    """The configuration is wrong."""

    exit_code = EXIT_CONFIG


class StoreAway(Trouble):
    """The store cannot be reached now."""

    exit_code = EXIT_UNAVAILABLE


def read_settings(path: Path) -> Settings:
    if not path.exists():
        raise ConfigTrouble(
            f"there is no configuration file {path}: name yours with --config or INGESTD_CONFIG, "
            "or make one with `ingestd init --dir FOLDER`"
        )
    try:
        return load(path)
    except ConfigError as error:
        raise ConfigTrouble(str(error)) from error


def running(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, and turn our own errors into one line and an exit status."""
    # A command says on its own what it did; of the log it shows what went wrong only.
    logs.configure("console", "warning")
    try:
        return asyncio.run(coroutine)
    except StorageUnavailable as error:
        raise StoreAway(str(error)) from error
    except Misplaced as error:
        raise ConfigTrouble(str(error)) from error
    except _SAID as error:
        raise Trouble(str(error)) from error
    except ExceptionGroup as group:
        known, rest = group.split(_SAID)
        if rest is not None or known is None:
            raise
        raise Trouble(str(_first(known))) from group


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def with_store(function: Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async command with the store of the configuration; its first argument is the Store."""

    @functools.wraps(function)
    @click.pass_obj
    def command(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        settings = read_settings(path)

        async def inside() -> T:
            async with open_store(settings) as store:
                return await function(store, *args, **kwargs)

        return running(inside())

    return command


account_option = click.option(
    "--account", type=click.UUID, help="The account; may be left out where there is only one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


async def choose_account(store: Store, account_id: UUID | None) -> UUID:
    """Return the account that was named, or the only one there is."""
    found = await store.content.read(None, accounts.list_accounts)
    known = [one.account_id for one in found if one.status in accounts.OPEN]
    if account_id is not None:
        if account_id not in {one.account_id for one in found}:
            raise Trouble(f"there is no account {account_id}; `ingestd account list` shows them")
        return account_id
    if not known:
        raise Trouble("there is no account yet: `ingestd account create NAME` makes one")
    if len(known) != 1:
        raise Trouble(
            f"there are {len(known)} accounts: say which one with --account; `ingestd account list` shows them"
        )
    return known[0]


def progress(label: str, length: int | None) -> ProgressBar[int]:
    """Return a progress bar on standard error, where that is a terminal; of unknown length where that is None."""
    items: Iterable[int] | None = itertools.repeat(0) if length is None else None
    hidden = not sys.stderr.isatty()
    return click.progressbar(items, length, label, file=sys.stderr, hidden=hidden, show_pos=length is None)


def showing(bar: ProgressBar[int]) -> Callable[[int], Awaitable[None]]:
    """Return what moves a bar on, for work that awaits whoever it tells."""

    async def passed(count: int) -> None:
        bar.update(count)

    return passed


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_done(fields: Mapping[str, object], as_json: bool, *, words: str) -> None:
    """Say what a command did: `fields` to programs, `words` to people."""
    print_json(fields) if as_json else click.echo(words)


def print_rows(rows: Sequence[Mapping[str, object]], as_json: bool, *, none: str) -> None:
    """Print rows as JSON or as a table; `none` is what people read where there are no rows."""
    if as_json:
        print_json(rows)
    elif rows:
        _print_table(rows)
    else:
        click.echo(none)


def _print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows under their keys, each column as wide as it needs to be."""
    cells = [[_label(name) for name in rows[0]], *([shown(value) for value in row.values()] for row in rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(cells[0]))]
    for row in cells:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_fields(fields: Mapping[str, object], *, indent: str = "") -> None:
    """Print one thing, a field a line."""
    width = max(len(name) for name in fields) + 2
    for name, value in fields.items():
        click.echo(f"{indent}{_label(name) + ':':{width}}{shown(value)}")


def shown(value: object) -> str:
    """Return a value for a terminal; times in UTC to the second, as the Z says."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return clean(str(value))


def clean(text: str) -> str:
    """Return a stranger's text without anything that could steer the terminal."""
    return "".join(one if one.isprintable() else " " for one in text)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _width(text: str) -> int:
    """Return the columns that a terminal takes for it: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
