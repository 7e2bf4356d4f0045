# SPDX-License-Identifier: Apache-2.0
"""The studio's services around real children, without a door."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inglenook.base.clock import SystemClock
from inglenook.base.ids import OWNER, JobId
from inglenook.base.work import WorkClass
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import Job
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.settings import Settings
from inglenook.store.database import Database
from inglenook.store.lock import this_process
from inglenook.studio.imports.model import KIND
from inglenook.studio.imports.service import How, payload
from inglenook.studio.opening import open_studio
from inglenook.studio.studio import Studio


@dataclass(frozen=True)
class Workbench:
    """`project`: an empty one for classification. `incoming`: a folder from which may be imported."""

    studio: Studio
    jobs: JobsService
    project: str
    incoming: Path

    async def submit(self, source: str | Path, **how: Any) -> Job:
        order = await asyncio.to_thread(
            self.studio.imports.from_folder, OWNER, self.project, str(source), How(**how)
        )
        return await self.hand_in(order)

    async def hand_in(self, order: Any) -> Job:
        return await self.jobs.submit(
            kind=KIND, owner=OWNER, work_class=WorkClass.INTERACTIVE, title="import", payload=payload(order)
        )

    async def bring(self, source: str | Path, **how: Any) -> Job:
        """The job when it is final."""
        job = await self.submit(source, **how)
        return await self.jobs.wait(job.id)

    def labels(self) -> dict[str, str]:
        """Primary classes by the original's path."""
        return {
            record.original: record.annotations[0].class_name  # type: ignore[union-attr]  # labels
            for record in self.studio.datasets.iterate(self.project)
        }

    def staged(self) -> list[Path]:
        """Folders of imports that are not over."""
        return list(self.studio.datasets.book.folder(self.project).glob(".new-*"))

    async def until(self, job: JobId, kind: str, **wanted: Any) -> Mapping[str, Any]:
        """The data of the first event of that type that has these values."""
        async for event in self.jobs.subscribe(job, 0):
            if event.type == kind and all(event.data.get(key) == value for key, value in wanted.items()):
                return event.data
        raise AssertionError(f"{kind} never came")


@asynccontextmanager
async def workbench(database: Database, root: Path, **studio: Any) -> AsyncIterator[Workbench]:
    """Args:
    studio: settings of that section.
    """
    clock = SystemClock()
    settings = Settings.model_validate({"server": {"data": root}, "studio": studio})
    spool = root / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    with open_studio(settings, clock=clock, holder=this_process("", clock.now())) as opened:
        records = JobRecords(database=database)
        opened.imports.open(records.mentions)  # type: ignore[arg-type]  # a name, as any
        jobs = JobsService(records=records, works=opened.works, clock=clock, limits=JobLimits())
        there = opened.projects.list(OWNER).projects
        project = there[0] if there else opened.projects.create(OWNER, "Pets", "classification")
        await jobs.start()
        try:
            yield Workbench(opened, jobs, project.id, settings.import_roots[0])
        finally:
            await jobs.stop(20)
