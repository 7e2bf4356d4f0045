# SPDX-License-Identifier: Apache-2.0
"""Deleting a model's files for good, the same for every dialect: unused, unloaded, and only what is ours."""

import asyncio
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from inglenook.base.errors import Conflict
from inglenook.base.ids import ResidentId
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.removal import require_removable, set_aside
from inglenook.door.services import Catalog, Runtime

_HOLDING = ("starting", "ready", "parking", "parked", "resuming")
"""States of a process that has the model, or will."""
_WAIT = "wait until it is done, or cancel it; GET /v1/runtime tells who has it"


class Deleting:
    """Args:
    own_models: the folder of which models may be deleted.
    """

    def __init__(self, *, catalog: Catalog, runtime: Runtime, own_models: Path) -> None:
        self._catalog = catalog
        self._runtime = runtime
        self._own = own_models

    async def delete(self, record: ModelRecord) -> None:
        """Raises Denied and Conflict where it may not be deleted, or not now."""
        others = await run_in_threadpool(self._catalog.list)
        await asyncio.to_thread(require_removable, record, own=self._own, others=others)
        self._require_unused(record)
        aside = await asyncio.to_thread(set_aside, record)
        try:
            await run_in_threadpool(self._catalog.refresh)
            await self._unload(record)
        except BaseException:
            await asyncio.to_thread(aside.put_back)
            await run_in_threadpool(self._catalog.refresh)
            raise
        await asyncio.to_thread(aside.destroy)

    async def _unload(self, record: ModelRecord) -> None:
        for resident in self._runtime.snapshot()["residents"]:
            if resident["model"] == record.id:
                await self._runtime.unload(ResidentId(resident["id"]))
        still = [one for one in self._runtime.snapshot()["residents"] if one["model"] == record.id]
        if any(one["state"] in _HOLDING for one in still):
            raise Conflict(f"{record.id} is being loaded or used.", code="model.in_use", hint=_WAIT)

    def _require_unused(self, record: ModelRecord) -> None:
        if any(one["model"] == record.id for one in self._runtime.snapshot()["leases"]):
            raise Conflict(
                f"{record.id} is at work.",
                code="model.in_use",
                hint=_WAIT,
            )
