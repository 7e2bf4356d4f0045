# SPDX-License-Identifier: Apache-2.0
"""Options of language models in the database."""

import logging
from collections.abc import Mapping

import sqlalchemy as sa

from inglenook.base.clock import Clock
from inglenook.base.ids import ModelId, PersonId
from inglenook.chat.model import KeptOptions, ModelOptions
from inglenook.chat.options import as_json, from_json
from inglenook.store.columns import Moment, json_column, metadata
from inglenook.store.database import Database

log = logging.getLogger(__name__)

_table = sa.Table(
    "model_options",
    metadata,
    sa.Column("model", sa.Text(), primary_key=True),
    json_column("options"),
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("changed_at", Moment(), nullable=False),
)


class OptionRecords:
    """One row a model; a model without one has no options. Blocks."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> Mapping[ModelId, KeptOptions]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_table).order_by(_table.c.model)).all()
        found: dict[ModelId, KeptOptions] = {}
        for row in rows:
            options, dropped = from_json(row.options)
            if dropped:
                log.warning("options of %s that are not known here: %s", row.model, ", ".join(dropped))
            found[ModelId(row.model)] = KeptOptions(options, PersonId(row.person), row.changed_at)
        return found

    def put(self, model: ModelId, options: ModelOptions, *, person: PersonId) -> KeptOptions:
        """Keep all options of a model; who changed them and when is kept also when none is left."""
        now = self._clock.now()
        values = {"options": as_json(options), "person": person, "changed_at": now}
        with self._database.write() as connection:
            update = sa.update(_table).where(_table.c.model == model).values(**values)
            if connection.execute(update).rowcount == 0:
                connection.execute(sa.insert(_table).values(model=model, **values))
        return KeptOptions(options, person, now)
