"""Feeds the mail core with what no mail looks like, guided by coverage (atheris, libFuzzer).

    make fuzz                       for five minutes
    make fuzz SECONDS=3600          for an hour
    .venv/bin/python -m tests.fuzz.mail --seconds 60 --found FOLDER

It begins with the tests' own fixtures and the benchmark's small mails, and keeps what reaches new code in `--corpus`.
An exception, a broken promise, more than five seconds or a gigabyte ends it: the input lies in `--found`
then. Make it small, and a fixture of tests/mail, before mending what it shows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ingestd.mail"]):
    from ingestd.mail.cards import mask_cards
    from ingestd.mail.transform import transform

from bench.corpus import Shape, corpus
from tests.fuzz.promises import broken

_INPUT_BYTES_MAX = 64 * 1024
_SECONDS_MAX = 5
_MEMORY_MIB_MAX = 1024
_FIXTURES = Path(__file__).parents[1] / "mail" / "fixtures"


class BrokenPromiseError(Exception):
    """The core returned something that it promises never to return."""


def try_one(raw: bytes) -> None:
    """Transform one input and look at what comes out."""
    if found := broken(raw, transform(raw)):
        raise BrokenPromiseError(", ".join(found))
    mask_cards(raw)


def seed(folder: Path) -> None:
    """Put what real mail looks like into the corpus."""
    raws = [path.read_bytes() for path in sorted(_FIXTURES.rglob("*.eml"))]
    raws += [mail.raw for mail in corpus(100) if mail.shape is Shape.SMALL]
    for number, raw in enumerate(raws):
        if len(raw) <= _INPUT_BYTES_MAX:
            (folder / f"seed-{number}").write_bytes(raw)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the mail core.")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--corpus", type=Path, help="Kept from one run to the next; default: a temporary folder.")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="Where inputs that broke something go.")
    wanted = parser.parse_args()
    kept = wanted.corpus or Path(tempfile.mkdtemp(prefix="ingestd-fuzz-"))
    for folder in (kept, wanted.found):
        folder.mkdir(parents=True, exist_ok=True)
    seed(kept)
    options = [
        f"-max_total_time={wanted.seconds}",
        f"-timeout={_SECONDS_MAX}",
        f"-rss_limit_mb={_MEMORY_MIB_MAX}",
        f"-max_len={_INPUT_BYTES_MAX}",
        f"-artifact_prefix={wanted.found}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
