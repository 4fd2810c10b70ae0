"""How a database means to answer: by which indexes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    insert,
    text,
)

from storage.types import Id, Instant


def plans(conn: Connection, table: str, *look_ups: Callable[[], object]) -> list[str]:
    """Run look-ups; return the lines of the plan of each statement that names the table."""
    asked: list[tuple[str, object]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
        asked.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    for one in look_ups:
        one()
    event.remove(conn, "before_cursor_execute", note)
    found = []
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL enable_seqscan = off"))  # with so few rows it would read the whole table
    for statement, parameters in asked:
        if table in statement:
            explain = "EXPLAIN " if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
            rows = conn.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
            found += [str(row[-1]) for row in rows]
    return found


# -- what a statement reads of a table that grows ---------------------------------------------------

_SMALL: Final = frozenset({"store_meta", "workers"})
"""Tables that do not grow with what the daemon keeps: a row a process, a row a fact."""
_WIDE: Final = frozenset(
    {
        *("account_id", "mailbox_id", "webhook_id", "status", "state", "step", "provider", "direction", "kind"),
        *("cause", "raw_place", "reason", "trouble", "send_trouble", "dry_run"),
    }
)
"""Columns with few values: an index entered by these alone leads to as much as an account has, or all accounts have."""
_DUE: Final = frozenset({"due_at", "renew_at", "expires_at"})
"""Times up to which is read what waits, and nothing else has one."""
_GATHERS: Final = frozenset({"Sort", "Aggregate", "Hash", "Unique", "SetOp", "WindowAgg", "Group", "ModifyTable"})
"""Steps of PostgreSQL that read all that is below them, whatever the limit above them is."""
_LARGE: Final = """
    UPDATE pg_class SET relpages = 1, reltuples = CASE
        WHEN EXISTS (SELECT FROM pg_index WHERE indexrelid = pg_class.oid AND indpred IS NOT NULL) THEN 1000
        ELSE 1e9 END
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')
"""
_DISTINCT: Final = """
    INSERT INTO pg_statistic (starelid, staattnum, stainherit, stanullfrac, stawidth, stadistinct,
        stakind1, stakind2, stakind3, stakind4, stakind5, staop1, staop2, staop3, staop4, staop5,
        stacoll1, stacoll2, stacoll3, stacoll4, stacoll5)
    SELECT attrelid, attnum, false, CASE WHEN attname = ANY (:seldom) THEN 0.9999 ELSE 0 END, 16,
        CASE WHEN attname IN ('account_id', 'mailbox_id') THEN 50 WHEN attname = ANY (:few) THEN 10000 ELSE -1 END,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
"""
_NOTHING: Final = "1!=1"
"""In what SQLAlchemy makes of a list without elements: nothing is looked for."""
_SCANS: Final = frozenset({"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"})
_VALUES: Final[Mapping[str, object]] = {
    "uuid": UUID(int=1),
    "text": "ticket.created",  # some of it must be the name of an event
    "character varying": "x",
    "bytea": b"x",
    "integer": 50,
    "bigint": 50,
    "boolean": True,
    "double precision": 1.0,
    "timestamp with time zone": datetime(2026, 1, 2, tzinfo=UTC),
}
_KINDS: Final[Mapping[type, str]] = {
    Id: "uuid",
    Instant: "timestamp with time zone",
    Text: "text",
    LargeBinary: "bytea",
    Integer: "integer",
    BigInteger: "bigint",
    Boolean: "boolean",
    Double: "double precision",
}


def pretend_large(conn: Connection, metadata: MetaData) -> None:
    """Have PostgreSQL believe that each table holds a thousand million rows, until the end of the transaction; SQLite
    always plans as if it did not know."""
    if conn.dialect.name != "postgresql":
        return
    conn.exec_driver_sql("SET LOCAL session_replication_role = replica")  # the rows refer to nothing
    with conn.begin_nested() as nested:  # what is rolled back has a page all the same; of none it would believe nothing
        for table in metadata.sorted_tables:
            conn.execute(insert(table).values({one.name: _VALUES[_KINDS[type(one.type)]] for one in table.columns}))
        nested.rollback()
    conn.exec_driver_sql(_LARGE)
    conn.exec_driver_sql(
        "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace)"
    )
    conn.execute(text(_DISTINCT), {"few": sorted(_WIDE), "seldom": sorted(_DUE)})
    conn.exec_driver_sql("SET LOCAL enable_seqscan = off")


def wide_reads(conn: Connection, metadata: MetaData, statement: str) -> list[str]:
    """Return what a statement reads that grows with the number of messages, tickets, events or mailboxes.

    That is a table that is read from its beginning, or an index that is entered by nothing but columns of few values;
    unless it is walked in its order up to a LIMIT, with no sort between the two.
    """
    if _NOTHING in statement:
        return []
    tables = {name: metadata.tables[table] for name, table in _names(metadata, statement).items()}
    if conn.dialect.name != "postgresql":
        rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (None,) * statement.count("?"))
        limited = " LIMIT " in " ".join(statement.split())
        return sorted(set(_wide_of_sqlite([tuple(row) for row in rows], tables, limited=limited)))
    conn.exec_driver_sql(f"PREPARE asked AS {statement}")
    kinds = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'asked'"
    types = conn.exec_driver_sql(kinds).scalar_one()
    conn.exec_driver_sql("DEALLOCATE asked")
    values = [[_VALUES[one[:-2]]] if one.endswith("[]") else _VALUES[one] for one in types]
    answer = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", tuple(values)).scalar_one()
    plan = json.loads(answer) if isinstance(answer, str) else answer
    return sorted(set(_wide_of_postgres(plan[0]["Plan"], tables, limited=False)))


def _names(metadata: MetaData, statement: str) -> dict[str, str]:
    """Return the tables that may be large, by each name that the statement has for them."""
    large = set(metadata.tables) - _SMALL
    aliases = re.findall(r"\b(\w+) AS (\w+)", statement)
    return {name: name for name in large} | {alias: name for name, alias in aliases if name in large}


@dataclass(frozen=True, slots=True)
class _Read:
    """How a plan reads a table: by which index, and which of its columns are given."""

    table: Table
    index: str
    equal: frozenset[str]
    ranges: frozenset[str]

    def __str__(self) -> str:
        return f"{self.table.name} by {', '.join(sorted(self.equal | self.ranges)) or 'nothing'}"

    @property
    def is_wide(self) -> bool:
        if self.equal - _WIDE or self.ranges & _DUE:
            return False
        if any(
            one.name == self.index and one.dialect_options["sqlite"]["where"] is not None for one in self.table.indexes
        ):
            return False  # an index of those rows alone that are wanted
        unique = [one for one in self.table.constraints if isinstance(one, PrimaryKeyConstraint | UniqueConstraint)]
        return not any({column.name for column in one.columns} <= self.equal for one in unique)


def _read(table: Table, index: str, conditions: Iterable[tuple[str, str]]) -> _Read:
    equal = {name for name, sign in conditions if sign == "="}
    return _Read(table, index, frozenset(equal), frozenset(name for name, sign in conditions if sign != "="))


def _wide_of_sqlite(rows: list[tuple[Any, ...]], tables: Mapping[str, Table], *, limited: bool) -> Iterator[str]:
    sorted_below = {parent for _, parent, _, said in rows if said.startswith("USE TEMP B-TREE") and "LAST" not in said}
    for _, parent, _, said in rows:
        found = re.match(r"(?:SCAN|SEARCH) (\w+)(.*)", said)
        if found is None or found[1] not in tables or (limited and parent not in sorted_below):
            continue
        conditions = re.findall(r"(\w+)(=|<|>)\?", found[2]) + re.findall(r"(rowid)(=)", found[2])
        index = re.search(r"INDEX (\w+)", found[2])
        read = _read(tables[found[1]], index[1] if index else "", conditions)
        if read.is_wide:
            yield str(read)


def _wide_of_postgres(
    node: Mapping[str, Any], tables: Mapping[str, Table], *, limited: bool, heap: str = ""
) -> Iterator[str]:
    kind: str = node["Node Type"]
    table = node.get("Relation Name", heap)
    if kind in _SCANS and table in tables and not (limited and kind != "Bitmap Index Scan"):
        read = _read(tables[table], node.get("Index Name", ""), _conditions(node.get("Index Cond", "")))
        if read.is_wide:
            yield str(read)
    for place, child in enumerate(node.get("Plans", ())):
        first = kind == "Append" or (place == 0 and child["Parent Relationship"] in {"Outer", "Subquery"})
        below = kind == "Limit" or (limited and kind not in _GATHERS and first)
        yield from _wide_of_postgres(child, tables, limited=below, heap=table if kind == "Bitmap Heap Scan" else heap)


def _conditions(said: str) -> list[tuple[str, str]]:
    """Return the columns of an index condition, each with its sign."""
    said = re.sub(r"'[^']*'", "", said)
    found = re.findall(r"\(?(?:\w+\.)?(\w+) (=|<|>|<=|>=) ", said)
    found += [(name, "=") for name in re.findall(r"(\w+) IS NULL", said)]
    found += [(name, "<>") for name in re.findall(r"(\w+) IS NOT NULL", said)]
    for row, sign in re.findall(r"ROW\(([^)]*)\) (<|>|<=|>=)", said):
        found += [(name.strip(), sign) for name in row.split(",")]
    return found
