"""`inspect`: what ingestd understands of a raw message, without any store or configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import click
import msgspec

from config import Inbound, Parser
from ingestd.cli.common import Trouble, clean, json_option, print_fields, print_json, running
from ingestd.inbound.parser import ParserPool, ParserRejected, ParserUnavailable
from ingestd.mail.headers import decode_value
from ingestd.mail.inspection import summary
from ingestd.mail.limits import DEFAULT_LIMITS
from ingestd.mail.mime import read_fields
from ingestd.mail.types import Address, ParsedMail

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Inspected:
    """A message, and what was understood of it."""

    size_bytes: int
    sha256: str
    only_header: bool
    """It is over the size limit: its body was not read."""
    headers: Sequence[tuple[str, str]]
    """Names in lower case, and decoded values, in their order."""
    mail: ParsedMail | None
    rejected: str | None
    """Why the parser gave up, where it did."""


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--seconds", type=click.FloatRange(0, 86_400, min_open=True), help="How long parsing may take.")
@click.option("--memory-mib", type=click.IntRange(128, 1024 * 1024), help="How much memory parsing may take.")
@json_option
def inspect(file: BinaryIO, seconds: float | None, memory_mib: int | None, as_json: bool) -> None:
    """Show what would be understood of a raw message; - reads it from standard input.

    Needs neither store nor configuration, and keeps nothing. Exit status 1 where the message would be
    quarantined.
    """
    limits, bytes_max = Parser(), Inbound().message_bytes_max
    raw = file.read(bytes_max + 1)
    pool = ParserPool(
        seconds_max=seconds or limits.seconds_max,
        memory_bytes_max=memory_mib * _MIB if memory_mib else limits.memory_bytes_max,
        message_bytes_max=bytes_max,
    )
    found = running(_inspect(pool, raw, only_header=len(raw) > bytes_max))
    if as_json:
        print_json(_document(found))
    else:
        _print(found)
    if found.rejected is not None:
        raise Trouble(f"the parser gave up ({found.rejected}): this message would be quarantined")


async def _inspect(pool: ParserPool, raw: bytes, *, only_header: bool) -> _Inspected:
    """Parse as the daemon does, in a process that a message may kill."""
    fields, body = read_fields(raw, 0, len(raw), DEFAULT_LIMITS, {}, top=True)
    mail, rejected = None, None
    try:
        async with pool:
            mail = (await pool.transform(raw[:body] if only_header else raw)).mail
    except ParserRejected as rejection:
        rejected = rejection.reason
    except ParserUnavailable as error:
        raise Trouble("no parser process could be started") from error
    headers = [(name, decode_value(value)) for name, value in fields]
    return _Inspected(len(raw), hashlib.sha256(raw).hexdigest(), only_header, headers, mail, rejected)


def _document(found: _Inspected) -> dict[str, object]:
    mail = None if found.mail is None else msgspec.to_builtins(found.mail, builtin_types=(bytes,))
    return {
        **({} if found.mail is None else summary(found.mail)),
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
        "only_header": found.only_header,
        "rejected": found.rejected,
        "headers": found.headers,
        "mail": mail,
    }


def _print(found: _Inspected) -> None:
    read = "  (over the limit: only its header is read)" if found.only_header else ""
    click.echo(f"{found.size_bytes} bytes, SHA-256 {found.sha256}{read}")
    _section("Header fields", (f"{name}: {value}" for name, value in found.headers))
    mail = found.mail
    if mail is None:
        return
    click.echo("\nUnderstood")
    print_fields(_fields(mail), indent="  ")
    if mail.bounce is not None:
        for failure in mail.bounce.failures:
            click.echo("\nBounce")
            print_fields(msgspec.structs.asdict(failure), indent="  ")
        original = {
            "original_message_ids": " ".join(mail.bounce.original_message_ids),
            "own_tokens": " ".join(mail.bounce.own_tokens),
        }
        print_fields(original, indent="  ")
    for event in mail.calendar:
        click.echo("\nInvitation")
        print_fields(msgspec.structs.asdict(event), indent="  ")
    if mail.auth is not None:
        click.echo("\nAuthentication-Results (believed only from a name that the configuration lists)")
        print_fields({"by": mail.auth.authserv_id, **mail.auth.methods}, indent="  ")
    _section(
        "Attachments",
        (
            f"[{position}] {one.name} ({one.content_type}, {one.size_bytes} bytes{', inline' if one.inline else ''})"
            for position, one in enumerate(mail.attachments)
        ),
    )
    _section("Reply text", mail.new_text.splitlines())
    if mail.new_text != mail.text:
        _section("Whole text", mail.text.splitlines())


def _fields(mail: ParsedMail) -> dict[str, object]:
    return {
        "kind": mail.kind.value,
        "because": "; ".join(mail.evidence),
        "subject": mail.subject,
        "from": _addresses(mail.from_),
        "sender": _addresses([mail.sender] if mail.sender else []),
        "reply_to": _addresses(mail.reply_to),
        "to": _addresses(mail.to),
        "cc": _addresses(mail.cc),
        "delivered_to": ", ".join(mail.delivered_to),
        "date": mail.date,
        "message_id": mail.message_id,
        "in_reply_to": " ".join(mail.in_reply_to),
        "references": " ".join(mail.references),
        "charsets": "; ".join(mail.charsets) or mail.charset,
        "cut": "; ".join(mail.quote_cut),
        "forwarded_from": _addresses([mail.forwarded_from] if mail.forwarded_from else []),
        "protection": ", ".join(mail.protection),
        "html_characters": len(mail.html),
        "remote_images": mail.remote_images,
        "mismatched_links": mail.mismatched_links,
        "defects": ", ".join(mail.defects),
    }


def _addresses(addresses: Sequence[Address]) -> str:
    return ", ".join(f"{one.name} <{one.addr}>" if one.name else one.addr for one in addresses)


def _section(title: str, lines: Sequence[str] | Iterator[str]) -> None:
    shown = [f"  {clean(line)}".rstrip() for line in lines]
    click.echo("\n".join([f"\n{title}", *(shown or ["  (none)"])]))
