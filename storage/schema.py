"""The schema's versions: Alembic migrations of both databases, and the check at start.

Migrations run like every other storage function, inside `Database.transaction`.
"""

from __future__ import annotations

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from storage import keystore_tables, tables
from storage.errors import SchemaMismatch

CONTENT = "content"
KEYSTORE = "keystore"
METADATA: dict[str, MetaData] = {
    CONTENT: tables.metadata,
    KEYSTORE: keystore_tables.metadata,
}
_MIGRATIONS = Path(__file__).parent / "migrations"


def _config(which: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / which))
    config.set_main_option("path_separator", "newline")
    return config


@functools.cache
def head(which: str) -> str:
    """Return the version that this code needs."""
    return ScriptDirectory.from_config(_config(which)).get_current_head() or ""


def current(conn: Connection) -> str | None:
    """Return the version of the database, None where it is empty."""
    return MigrationContext.configure(conn).get_current_revision()


def known(which: str) -> frozenset[str]:
    """Return every version that this code can upgrade from, its own included."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config(which)).walk_revisions())


def is_outdated(conn: Connection, which: str) -> bool:
    """Whether the database holds an older version's schema; an empty one is not outdated.

    Raises SchemaMismatch for a version that this code does not know.
    """
    found = current(conn)
    if found is not None and found not in known(which):
        check(conn, which)
    return found is not None and found != head(which)


def upgrade(conn: Connection, which: str, revision: str = "head") -> None:
    """Bring a database to this version's schema, or to that of an older one."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL statement_timeout = 0"))  # rewriting a large table takes its time
    config = _config(which)
    config.attributes["connection"] = conn
    command.upgrade(config, revision)


def check(conn: Connection, which: str) -> None:
    """Raise SchemaMismatch unless the database has exactly this version's schema."""
    found, wanted = current(conn), head(which)
    if found == wanted:
        return
    if found is None:
        raise SchemaMismatch(f"the {which} database is empty: run `ingestd init` or `ingestd migrate`")
    if found in known(which):
        raise SchemaMismatch(
            f"the {which} database has schema {found}, this version needs {wanted}: run `ingestd migrate`"
        )
    raise SchemaMismatch(
        f"the {which} database has schema {found}, which this version does not know: "
        "it was migrated by a newer version of ingestd; install that one"
    )
