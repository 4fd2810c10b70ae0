"""A parser process that rewrites: it takes a message, and whom to erase from it, and gives back what is left.

It is the process of `ingestd.inbound.parser_main` with other work: what strangers wrote is read nowhere else. What it
is told of the person is a keyed hash, a key that serves for nothing else, and names.
"""

from __future__ import annotations

import sys

import msgspec

from ingestd.inbound.parser_main import main
from ingestd.mail.parse import parse
from ingestd.mail.person import Person, scrub
from ingestd.mail.rewrite import rewrite
from ingestd.mail.rewrite_views import rewrite_html
from ingestd.mail.transform import Transformed, transform
from ingestd.mail.types import ParsedMail


class Asked(msgspec.Struct, frozen=True):
    """A request: the message, what was read of it before, and the person."""

    key: bytes
    wanted: bytes
    names: tuple[str, ...]
    raw: bytes
    mail: ParsedMail | None = None
    """None for a message that was never understood."""


def work(frame: bytes) -> Transformed:
    """Return the rewritten message; without chunks where its bytes stay, and with the mail that was asked about where
    all of it does."""
    try:
        asked = msgspec.msgpack.decode(frame, type=Asked)
    except msgspec.DecodeError:
        return transform(frame)  # the warm-up
    person = Person(asked.key, asked.wanted, asked.names)
    raw = rewrite(asked.raw, person.find, person.field)
    if raw is not None:
        done = transform(raw)
        return msgspec.structs.replace(done, mail=scrub(done.mail, person, rewrite_html))
    mail = asked.mail
    return Transformed(scrub(mail, person, rewrite_html) if mail is not None else parse(b""), [], b"", 0)


def run(arguments: list[str]) -> None:
    main(arguments, work)


if __name__ == "__main__":
    run(sys.argv[1:])
