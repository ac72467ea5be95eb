"""Runs migrations on the connection that `liaison.storage.migrate` opened."""

from __future__ import annotations

from alembic import context

from liaison.storage import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.complete(),
    # SQLite can't alter a table in place: changes are made on a copy that takes its name.
    render_as_batch=connection.dialect.name == "sqlite",
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
