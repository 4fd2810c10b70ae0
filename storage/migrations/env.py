"""Alembic's environment: migrations run on the connection of the transaction that `storage.schema` is called in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
