# SPDX-License-Identifier: Apache-2.0
"""Run by Alembic: migrate over the connection that `store.schema` hands in, in its transaction."""

from typing import Any

from alembic import context

WORDS = ("picture_words", "conversation_words")
"""The indexes of words, which are made by hand in a way of their own for each database."""


def _declared(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether it is compared with what the records declare."""
    return not (kind in ("table", "index") and name is not None and name.startswith(WORDS))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    include_name=_declared,
    render_as_batch=True,
)

with context.begin_transaction():
    context.run_migrations()
