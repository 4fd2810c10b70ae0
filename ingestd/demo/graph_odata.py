"""The part of OData that Graph's mail API takes: $filter and $orderby over messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<any>singleValueExtendedProperties/[Aa]ny)|(?P<mark>[(),:])"
    r"|(?P<word>[A-Za-z_/][\w/]*)|(?P<value>[\w:.+-]+))"
)
Row = Mapping[str, Any]
"""What a filter sees: properties by name, `properties` for the extended ones."""
Predicate = Callable[[Row], bool]


class BadQuery(Exception):
    """400; `code` is Graph's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self.fields: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise BadQuery("RequestBroker--ParseUri")
            kind = str(found.lastgroup)
            self._tokens.append((kind, found.group(kind)))
            at = found.end()

    def parse(self) -> Predicate:
        found = self._or()
        if self._tokens:
            raise BadQuery("RequestBroker--ParseUri")
        return found

    def _next(self, *expected: str) -> str:
        if not self._tokens or (expected and self._tokens[0][1].lower() not in expected):
            raise BadQuery("RequestBroker--ParseUri")
        return self._tokens.pop(0)[1]

    def _is(self, word: str) -> bool:
        return bool(self._tokens) and self._tokens[0][1].lower() == word

    def _or(self) -> Predicate:
        found = self._and()
        while self._is("or"):
            self._next()
            found = _either(found, self._and())
        return found

    def _and(self) -> Predicate:
        found = self._one()
        while self._is("and"):
            self._next()
            found = _both(found, self._one())
        return found

    def _one(self) -> Predicate:
        if self._is("("):
            self._next()
            found = self._or()
            self._next(")")
            return found
        if self._tokens and self._tokens[0][0] == "any":
            return self._any()
        return self._comparison()

    def _any(self) -> Predicate:
        """`singleValueExtendedProperties/any(ep: ep/id eq '…' and ep/value eq '…')`."""
        self._next()
        self._next("(")
        name = self._next().lower()
        self._next(":")
        wanted: dict[str, str] = {}
        for field in ("id", "value"):
            self._next(f"{name}/{field}")
            self._next("eq")
            wanted[field] = _text(self._next())
            self._next("and" if field == "id" else ")")
        self.fields.append("singleValueExtendedProperties")
        return lambda row: row["properties"].get(wanted["id"]) == wanted["value"]

    def _comparison(self) -> Predicate:
        field, operator, value = self._next(), self._next("eq", "ne", "ge", "gt", "le", "lt").lower(), self._next()
        self.fields.append(field)
        wanted = _value(value)

        def compare(row: Row) -> bool:
            if field not in row:
                raise BadQuery("ErrorInvalidProperty")
            return _OPERATORS[operator](row[field], wanted)

        return compare


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "le": lambda a, b: a <= b,
    "lt": lambda a, b: a < b,
}


def _both(one: Predicate, other: Predicate) -> Predicate:
    return lambda row: one(row) and other(row)


def _either(one: Predicate, other: Predicate) -> Predicate:
    return lambda row: one(row) or other(row)


def _text(token: str) -> str:
    if not token.startswith("'"):
        raise BadQuery("RequestBroker--ParseUri")
    return token[1:-1].replace("''", "'")


def _value(token: str) -> Any:
    if token.startswith("'"):
        return _text(token)
    if token in ("true", "false"):
        return token == "true"
    try:
        return datetime.fromisoformat(token).astimezone(UTC)
    except ValueError:
        raise BadQuery("RequestBroker--ParseUri") from None


def select_rows(rows: Sequence[Row], *, filter_: str | None, orderby: str | None) -> list[Row]:
    """Filter and sort. Raises BadQuery.

    Who sorts and filters must name the sorted property first in the filter (graph/api/user-list-messages).
    """
    parser = _Parser(filter_) if filter_ else None
    if parser is not None:
        wanted = parser.parse()
        rows = [row for row in rows if wanted(row)]
    field, _, direction = (orderby or "receivedDateTime desc").strip().partition(" ")
    if orderby and parser is not None and parser.fields[0] != field:
        raise BadQuery("InefficientFilter")
    return sorted(rows, key=lambda row: row[field], reverse=direction.strip() == "desc")
