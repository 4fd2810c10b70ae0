"""Python before 3.11.5 loses matches of a possessive group that had to go back within itself; Debian 12 has 3.11.2.

An atomic group around a greedy one matches the same, and does so there, too. A single character is safe.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from typing import Any, Final

import config
import connectors
import ingestd

_ONE_CHARACTER: Final = {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY}


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for package in (ingestd, connectors, config):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                for name, value in vars(importlib.import_module(module.name)).items():
                    if isinstance(value, re.Pattern):
                        yield f"{module.name}.{name}", value


def possessive_groups(tree: Any) -> Iterator[Any]:
    if isinstance(tree, parser.SubPattern | list | tuple):
        for one in tree:
            if isinstance(one, tuple) and one and one[0] is codes.POSSESSIVE_REPEAT:
                repeated = one[1][2]
                if len(repeated) != 1 or repeated[0][0] not in _ONE_CHARACTER:
                    yield one
            yield from possessive_groups(one)


def test_a_possessive_group_is_seen() -> None:
    assert list(possessive_groups(parser.parse("a(?:b++|c)*+")))
    assert not list(possessive_groups(parser.parse("a(?>(?:b++|[cd]*+)*)")))


def test_no_group_is_possessive() -> None:
    found = dict(patterns())
    assert "ingestd.mail.headers._WORD" in found
    assert [name for name, one in found.items() if any(possessive_groups(parser.parse(one.pattern, one.flags)))] == []
