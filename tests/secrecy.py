"""Nothing personal is logged, by any test: what daemons and the tests' own process log is searched after each test.

Looked for are forms (an address, a token) and words: what the tests' mails say, and the tokens that the fake
authorization server gave out. A test that logs such a thing on purpose configures logging itself, as those of
`tests/telemetry` do, or says so by `planted`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from ingestd.demo.grants import Tokens
from ingestd.telemetry.metrics import Metrics

_FORMS: Final = re.compile(rb"[\w.+-]+@[\w-]+\.\w+|whsec_\w|ingestd_[0-9a-f]{32}_\w|Bearer \S|\beyJ[\w-]{8}")
_WORD_MIN: Final = 6
"""Shorter ones would be found in words that are not theirs."""
_WORDS_MAX: Final = 5000
_BYTES_MAX: Final = 50_000_000


class PersonalLogged(AssertionError):
    """A log or a metric shows what it must not; the text names where, and what."""


@dataclass
class Secrecy:
    """What one test has logged, and what may not be in it."""

    words: set[bytes] = field(default_factory=set)
    texts: dict[str, list[bytes]] = field(default_factory=dict)
    """What this process logged, and its metrics, by where."""
    logs: dict[str, int] = field(default_factory=dict)
    """Logs of other processes: descriptors, as the files may be gone when they are read."""
    searched_bytes: int = 0

    def remember(self, texts: Iterable[str]) -> None:
        for text in texts:
            for line in text.splitlines():
                word = line.strip().encode()
                if len(word) >= _WORD_MIN and len(self.words) < _WORDS_MAX:
                    self.words.add(word)

    def note(self, where: str, text: bytes) -> None:
        self.texts.setdefault(where, []).append(text)

    def watch(self, log: IO[bytes]) -> None:
        """Have the log of another process searched, from its beginning on."""
        if log.name not in self.logs and isinstance(log.name, str):
            self.logs[log.name] = os.open(log.name, os.O_RDONLY)

    def look(self) -> list[str]:
        """Return what was found and where, and forget all of it."""
        texts = {where: b"\n".join(parts) for where, parts in self.texts.items()}
        for name, descriptor in self.logs.items():
            with open(descriptor, "rb") as file:
                texts[name] = file.read(_BYTES_MAX)
        found = [f"{where}: {one!r}" for where, text in texts.items() for one in find(text, self.words)]
        self.searched_bytes += sum(map(len, texts.values()))
        for each in (self.texts, self.logs, self.words):
            each.clear()
        return found


def find(text: bytes, words: Iterable[bytes]) -> list[bytes]:
    """Return what is personal in a text."""
    return sorted({*_FORMS.findall(text), *(word for word in words if word in text)})


SECRECY: Final = Secrecy()
"""Of the test that runs."""


@contextlib.contextmanager
def planted(*allowed: str) -> Iterator[None]:
    """Let these be logged: the test has the product show them. What was logged before is judged as ever."""
    before = SECRECY.look()
    yield
    found = [one for one in SECRECY.look() if not any(word in one for word in allowed)]
    if before or found:
        raise PersonalLogged("; ".join((*before, *found)))


def noted(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: an exception is left out, as in production its text is."""
    kept = {name: value for name, value in entry.items() if name not in {"exc_info", "exception", "stack_info"}}
    SECRECY.note("the test's own log", repr(kept).encode())
    return entry


def check() -> None:
    """Raises PersonalLogged."""
    if found := SECRECY.look():
        raise PersonalLogged("; ".join(found))


def install() -> None:
    """Remember each token that is given out, and look at each page of metrics."""

    @functools.wraps(Tokens.__init__)
    def given(self: Tokens, *args: Any, **kwargs: Any) -> None:
        _init(self, *args, **kwargs)
        SECRECY.remember(one for one in (self.access_token, self.refresh_token, self.id_token) if one)

    @functools.wraps(Metrics.render)
    def rendered(self: Metrics) -> bytes:
        page = _render(self)
        SECRECY.note("metrics", page)
        return page

    _init: Callable[..., None] = Tokens.__init__
    _render = Metrics.render
    Tokens.__init__ = given  # type: ignore[method-assign]
    Metrics.render = rendered  # type: ignore[method-assign]
