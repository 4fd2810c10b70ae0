"""Every statement of an account's transaction names the account: looked at wherever tests run the product's code.

`Database.transaction(account_id, …)` hands the account to a storage function; only the statement's own conditions keep
that from reading or writing another's rows. So each statement is taken apart: every table with an `account_id` must be
held to the account by a condition that always applies (not one within an OR), directly or by being joined to a table
that is. The work is done once for each compiled statement; then only its values are compared.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import (
    Alias,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    FromClause,
    Insert,
    Join,
    Select,
    Table,
    Update,
    event,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ClauseElement, ClauseList, Grouping
from sqlalchemy.sql.selectable import CompoundSelect

from storage.database import Database

_ACCOUNT: Final = "scope of the account"
_COLUMN: Final = "account_id"
_PLACES: Final = frozenset({"rowid", "ctid"})
_SHARED: Final = frozenset({"ledger"})
"""One chain of hashes over all accounts: its last entry is read to hang the next one on it."""


_Bind: TypeAlias = tuple[str, int | None]


class AccountNotNamed(AssertionError):
    """A statement that an account's transaction ran could have touched another account's rows."""


@dataclass(frozen=True)
class Findings:
    """What one compiled statement says about the account."""

    binds: frozenset[_Bind]
    """Parameters that must be the account: each by its name, and where in its rows, if it is a list of these."""
    free: frozenset[str]
    """Tables that nothing holds to it."""


@dataclass
class _Scope:
    """The tables of one SELECT, UPDATE or DELETE, within those around it."""

    tables: list[FromClause]
    outer: _Scope | None

    def find(self, table: FromClause) -> tuple[int, FromClause] | None:
        scope: _Scope | None = self
        while scope is not None:
            if any(one is table for one in scope.tables):
                return id(scope), table
            scope = scope.outer
        return None


@dataclass
class _Statement:
    compiled: Any
    needed: dict[tuple[int, int], str] = field(default_factory=dict)
    """Tables with an account_id, by scope and table, with their names."""
    joined: list[tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=list)
    held: dict[tuple[int, int], _Bind | None] = field(default_factory=dict)
    """Which are compared with a parameter, or with what another statement finds."""
    scopes: list[_Scope] = field(default_factory=list)

    def findings(self) -> Findings:
        self.visit(self.compiled.statement, None)
        reached = set(self.held)
        while True:
            more = {a for a, b in self.joined if b in reached} | {b for a, b in self.joined if a in reached}
            if more <= reached:
                break
            reached |= more
        free = frozenset(name for place, name in self.needed.items() if place not in reached)
        return Findings(frozenset(one for one in self.held.values() if one is not None), free)

    def visit(self, statement: ClauseElement, outer: _Scope | None) -> None:
        """Look at a statement, and at all that are within it."""
        scope = _Scope([], outer)
        self.scopes.append(scope)  # keeps its id its own
        conditions: list[Any] = []
        if isinstance(statement, Select | Update | Delete):
            conditions += statement._where_criteria
        for leaf, on in _tables_of(statement):
            conditions += on
            if leaf is not None:
                scope.tables.append(leaf)
        if isinstance(statement, Select):
            scope.tables = _not_correlated(statement, scope.tables, outer)
        for table in scope.tables:
            name = _name(table)
            if name is not None:
                self.needed[id(scope), id(table)] = name
        for one in conditions:
            self.condition(one, scope)
        for inner in _statements_in(statement):
            self.visit(inner, scope)

    def condition(self, one: Any, scope: _Scope) -> None:
        if isinstance(one, Grouping):
            self.condition(one.element, scope)
        elif isinstance(one, BinaryExpression) and getattr(one.left, "name", None) in _PLACES:
            self.lying(one, scope)
        elif isinstance(one, BooleanClauseList) and one.operator is operators.and_:
            for part in one.clauses:
                self.condition(part, scope)
        elif isinstance(one, BinaryExpression) and one.operator is operators.in_op:
            self.among(one, scope)
        elif isinstance(one, BinaryExpression) and one.operator in {operators.eq, operators.is_not_distinct_from}:
            self.equal(one.left, one.right, scope)

    def equal(self, left: ClauseElement, right: ClauseElement, scope: _Scope) -> None:
        places = [self.place(one, scope) for one in (left, right)]
        if places[0] and places[1]:
            self.joined.append((places[0], places[1]))
        for place, other in ((places[0], right), (places[1], left)):
            if place and isinstance(other, BindParameter):
                self.held[place] = self.compiled.bind_names[other], None

    def among(self, one: BinaryExpression[Any], scope: _Scope) -> None:
        """Rows of the values, or of a statement that is looked at itself, where the account is one of the columns."""
        left = one.left.element if isinstance(one.left, Grouping) else one.left
        columns = list(left.clauses) if isinstance(left, ClauseList) else [left]
        for number, column in enumerate(columns):
            place = self.place(column, scope)
            if place is None:
                continue
            if isinstance(one.right, BindParameter):
                bind = self.compiled.bind_names[one.right]
                self.held[place] = (bind, number if isinstance(left, ClauseList) else None)
            else:
                self.held[place] = None

    def lying(self, one: BinaryExpression[Any], scope: _Scope) -> None:
        """Rows by where they lie: where another statement finds those of this one table, that is looked at itself."""
        (table,) = scope.tables
        found = list(_statements_in(one.right))
        if found and all([leaf for leaf, _ in _tables_of(inner)] == [table] for inner in found):
            self.held[id(scope), id(table)] = None

    def place(self, one: Any, scope: _Scope) -> tuple[int, int] | None:
        if isinstance(one, ColumnElement) and getattr(one, "key", None) == _COLUMN:
            table = getattr(one, "table", None)
            found = scope.find(table) if table is not None else None
            return (found[0], id(found[1])) if found else None
        return None


def _tables_of(statement: ClauseElement) -> Iterator[tuple[FromClause | None, list[Any]]]:
    """Yield each table of a statement, and the conditions of its joins."""
    if isinstance(statement, Select):
        for one in statement.get_final_froms():
            yield from _leaves(one)
    elif isinstance(statement, Update | Delete):
        yield statement.table, []


def _leaves(one: FromClause) -> Iterator[tuple[FromClause | None, list[Any]]]:
    if isinstance(one, Join):
        yield from _leaves(one.left)
        yield from _leaves(one.right)
        yield None, [one.onclause] if one.onclause is not None else []
    else:
        yield one, []


def _not_correlated(statement: Select[Any], tables: list[FromClause], outer: _Scope | None) -> list[FromClause]:
    """Leave out what a subquery has from the statement around it, as SQLAlchemy does when it compiles it."""
    around: list[FromClause] = []
    while outer is not None:
        around += outer.tables
        outer = outer.outer
    if statement._correlate:
        around = [one for one in around if any(one is named for named in statement._correlate)]
    elif not statement._auto_correlate:
        around = []
    own = [one for one in tables if not any(one is other for other in around)]
    return own or tables


def _name(leaf: FromClause) -> str | None:
    """Return the name of the table that this is, if it has an account's rows; what is selected from is looked at."""
    table = leaf.element if isinstance(leaf, Alias) else leaf
    return table.name if isinstance(table, Table) and _COLUMN in table.c else None


def _statements_in(statement: ClauseElement) -> Iterator[ClauseElement]:
    """Yield the statements directly within one."""
    todo = list(statement.get_children())
    if isinstance(statement, Insert) and statement.select is not None:
        todo.append(statement.select)
    if isinstance(statement, Insert | Update):
        todo += [one for one in (statement._values or {}).values() if isinstance(one, ClauseElement)]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Select | CompoundSelect | Update | Delete | Insert):
            yield one
        elif not isinstance(one, Table):
            todo += one.get_children()


def check(compiled: Any, parameters: Sequence[Mapping[str, Any]], account_id: UUID) -> None:
    """Raises AccountNotNamed."""
    findings = getattr(compiled, "_findings", None)
    if findings is None:
        findings = compiled._findings = _Statement(compiled).findings()
    if findings.free - _SHARED:
        raise AccountNotNamed(f"no condition holds {sorted(findings.free - _SHARED)} to the account: {compiled}")
    inserted: set[_Bind] = {(_COLUMN, None)} if isinstance(compiled.statement, Insert) else set()
    for row in parameters:
        others = [one for one in findings.binds | inserted if not _are_all(row, one, account_id)]
        if others:
            raise AccountNotNamed(f"{others} is another account: {compiled}")


def _are_all(row: Mapping[str, Any], bind: _Bind, account_id: UUID) -> bool:
    """Whether a parameter is the account, in each row of it if it is a list: a list is a parameter for each value."""
    name, at = bind
    if name in row:
        return bool(row[name] == account_id)
    ending = "" if at is None else f"_{at + 1}"
    listed = re.compile(rf"{re.escape(name)}_\d+{ending}")
    return all(value == account_id for key, value in row.items() if listed.fullmatch(key))


def _look(conn: Connection, _c: object, _s: str, _p: object, context: Any, _many: bool) -> None:
    account_id = conn.info.get(_ACCOUNT)
    if account_id is not None and context.compiled is not None:
        check(context.compiled, context.compiled_parameters, account_id)


def _scoped(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    async def scoped(
        self: Database, read_only: bool, account_id: UUID | None, function: Callable[..., Any], *rest: Any
    ) -> Any:
        if account_id is None or getattr(function, "__module__", "").startswith(("tests.", "bench.")):
            return await run(self, read_only, account_id, function, *rest)

        @functools.wraps(function)
        def marked(conn: Connection, *args: Any, **kwargs: Any) -> Any:
            info = conn.info  # of a connection that is lost meanwhile, none can be had
            info[_ACCOUNT] = account_id
            try:
                return function(conn, *args, **kwargs)
            finally:
                info.pop(_ACCOUNT, None)

        return await run(self, read_only, account_id, marked, *rest)

    return scoped


def install() -> None:
    """Look at all statements of this process from now on."""
    if not hasattr(Database._run, "__wrapped__"):
        Database._run = _scoped(Database._run)  # type: ignore[method-assign]
        event.listen(Engine, "before_cursor_execute", _look)
