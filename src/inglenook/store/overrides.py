# SPDX-License-Identifier: Apache-2.0
"""Settings that a person changed while the program ran, over those of file and environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from inglenook.base.clock import Clock
from inglenook.base.ids import PersonId
from inglenook.store.columns import Moment, metadata
from inglenook.store.database import Database

_table = sa.Table(
    "setting_overrides",
    metadata,
    sa.Column("section", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.JSON(), nullable=False),
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("changed_at", Moment(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Override:
    """One changed setting. `value` is JSON; `person` is who changed it."""

    section: str
    key: str
    value: Any
    person: PersonId
    changed_at: datetime


class SettingOverrides:
    """The table of overrides. Whether a value is allowed is for `settings` to say, before it comes here."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def mapping(self) -> Mapping[str, Mapping[str, Any]]:
        """section → key → value, as `settings` reads it."""
        found: dict[str, dict[str, Any]] = {}
        for override in self.listing():
            found.setdefault(override.section, {})[override.key] = override.value
        return found

    def listing(self) -> list[Override]:
        """All, by section and key."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_table).order_by(_table.c.section, _table.c.key))
            return [Override(**row._mapping) for row in rows]

    def put(self, section: str, key: str, value: Any, *, person: PersonId) -> None:
        """Set or replace one."""
        this = sa.and_(_table.c.section == section, _table.c.key == key)
        values = {"value": value, "person": person, "changed_at": self._clock.now()}
        with self._database.write() as connection:
            if connection.execute(sa.update(_table).where(this).values(**values)).rowcount == 0:
                connection.execute(sa.insert(_table).values(section=section, key=key, **values))

    def clear(self, section: str, key: str) -> bool:
        """Return whether there was one."""
        this = sa.and_(_table.c.section == section, _table.c.key == key)
        with self._database.write() as connection:
            return connection.execute(sa.delete(_table).where(this)).rowcount == 1
