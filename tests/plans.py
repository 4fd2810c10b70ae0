"""How a database means to answer: by which indexes."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, event, text


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
