# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic: migrate over the connection that `store.schema` hands in, in its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    render_as_batch=True,
)

with context.begin_transaction():
    context.run_migrations()
