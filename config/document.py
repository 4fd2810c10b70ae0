"""From a file to YAML nodes, with every mistake of the text found at its line.

The YAML is a plain one: maps, lists, text, numbers, true/false and null as in
YAML 1.2 (so that `no` and `8:25` are text). Anchors, aliases, merges and tags
are refused: nobody needs them here, and they make a small file huge.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from config.files import read_regular, reason
from config.problems import ConfigError, Position, Problem

FILE_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 12

_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")
)


class _Refused(yaml.MarkedYAMLError):
    """YAML that we do not take; the problem is for people as it stands."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without anchors and aliases, with YAML 1.2's reading of plain text and a limit on depth."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own way: a class without it shares its base's

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark: yaml.Mark = event.start_mark
        # Neither message names the anchor or alias: it may be a secret that begins with & or *.
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(
                problem="a value that begins with * must be in quotes (aliases are not supported)",
                problem_mark=mark,
            )
        if getattr(event, "anchor", None) is not None:
            raise _Refused(
                problem="a value that begins with & must be in quotes (anchors are not supported)",
                problem_mark=mark,
            )
        if self._depth >= DEPTH_MAX:
            raise _Refused(problem="nested too deeply", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _resolve(name: str, pattern: str, first: str) -> None:
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(pattern), list(first))


_resolve("null", r"(?:~|null|Null|NULL|)\Z", "~nN")
_PlainLoader.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile(r"\Z")))
_resolve("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF")
_resolve("int", r"[-+]?[0-9]{1,18}\Z", "-+0123456789")
_resolve("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", "-+.0123456789")


def read(path: Path) -> str:
    """Return the file's text. Raises ConfigError if it is missing, unreadable, too big or not UTF-8."""
    try:
        content, _ = read_regular(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise _error(path, None, "there is no such file; check the path, or begin with config/example.yaml") from None
    except OSError as error:
        text = f"cannot be read: {reason(error)}; check the path and its permissions"
        raise _error(path, None, text) from None
    if len(content) > FILE_BYTES_MAX:
        raise _error(path, None, f"is larger than {FILE_BYTES_MAX} bytes; it cannot be a configuration of ingestd")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        position = Position(before.count(b"\n") + 1, column)
        raise _error(path, position, "not UTF-8 text; save the file as UTF-8") from None


def compose(path: Path, text: str) -> yaml.Node | None:
    """Return the root node, None for an empty file. Raises ConfigError where the text is not YAML."""
    try:
        return yaml.compose(text, Loader=_PlainLoader)
    except yaml.reader.ReaderError as error:
        # Without its own text: it shows what stands around.
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _error(path, position, "a control character; remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        raise _error(path, position, _explain(error, text, position)) from None


def is_plain(node: yaml.Node) -> bool:
    """Whether a node is one of the kinds of value that we take.

    A tag on a number-like text (`!!str 12`) is plain; an application's tag,
    a set, a date or binary data is not.
    """
    return node.tag in _PLAIN_TAGS


def position_of(node: yaml.Node) -> Position:
    """Where a node begins."""
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _explain(error: yaml.MarkedYAMLError, text: str, position: Position) -> str:
    """PyYAML's message, without what it quotes from the file, and what to do where we know it."""
    problem = error.problem or "unknown syntax"
    if isinstance(error, _Refused):
        return problem
    line = (text.splitlines() or [""])[position.line - 1 : position.line]
    indent = line[0][: len(line[0]) - len(line[0].lstrip())] if line else ""
    if "\\t" in problem or "\t" in indent:
        return "a tab; indent with spaces"
    if "expected a single document" in (error.context or "") or "single document" in problem:
        return "a second document begins here; keep one, without ---"
    if "that cannot start any token" in problem:
        return "a value that begins with a special character (such as % @ `) must be in quotes"
    if "mapping values are not allowed here" in problem:
        return "a colon where none can be; check the indentation, or put the value in quotes"
    if "could not find expected ':'" in problem:
        return "a key without its colon, or a line that is indented wrongly"
    problem = re.sub(r"(['\"])(?!<)[^'\"]{3,}\1", "…", problem)
    return f"not YAML: {problem}; check the indentation, quotes and brackets"


def _error(path: Path, position: Position | None, text: str) -> ConfigError:
    return ConfigError([Problem(path, position, "", text)])
