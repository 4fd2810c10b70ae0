"""Migrations make exactly the tables that the code uses, and another schema is refused."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from storage import schema
from storage.errors import SchemaMismatch
from tests.stores import Stores


def _differences(conn: Connection, metadata: MetaData) -> list[Any]:
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


@pytest.mark.parametrize("which", [schema.CONTENT, schema.KEYSTORE])
async def test_migrations_equal_the_tables(stores: Stores, which: str) -> None:
    database = stores.content if which == schema.CONTENT else stores.keystore
    assert await database.read(None, _differences, schema.METADATA[which]) == []
    await database.read(None, schema.check, which)


async def test_another_schema_is_refused(stores: Stores) -> None:
    def age(conn: Connection) -> None:
        conn.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))

    await stores.content.transaction(None, age)
    with pytest.raises(SchemaMismatch, match="newer version"):
        await stores.content.read(None, schema.check, schema.CONTENT)


async def test_an_empty_database_is_refused(stores: Stores) -> None:
    def empty(conn: Connection) -> None:
        conn.execute(text("DELETE FROM alembic_version"))

    await stores.content.transaction(None, empty)
    with pytest.raises(SchemaMismatch, match="ingestd init"):
        await stores.content.read(None, schema.check, schema.CONTENT)
