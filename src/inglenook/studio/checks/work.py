# SPDX-License-Identifier: Apache-2.0
"""A check while it runs: what is known of the pictures → child → document."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.base.ids import JobId
from inglenook.engines.dataset import DatasetReaders
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.store.files import write_error
from inglenook.studio.checks.model import KIND, CheckDocument, CheckOrder
from inglenook.studio.checks.service import ChecksService, version_path
from inglenook.studio.datasets.model import DatasetHead
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.documents import stamp, write_document
from inglenook.studio.imports.model import error_of
from inglenook.studio.projects.service import ProjectsService
from inglenook.vision.annotations import primary_class
from inglenook.vision.checks.model import Findings
from inglenook.wire.message import Message
from inglenook.wire.studio.dataset import CheckDataset, Checked, DatasetChecked, DatasetFailed, Progress

MANIFEST: Final = "manifest.jsonl"
FOUND: Final = "found.json"


@dataclass(slots=True)
class CheckWork:
    """Carries out jobs of kind `studio.check`. See `jobs.work.Work`."""

    projects: ProjectsService
    datasets: DatasetsService
    checks: ChecksService
    readers: DatasetReaders
    clock: Clock
    max_pixels: int
    kind: str = KIND
    restarts: bool = True  # it changes nothing, and the same is found again

    def explain(self, job: JobId) -> Mapping[str, Any] | None:  # noqa: ARG002 - it waits for nothing
        return None

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Raises InglenookError, Stopped."""
        order = msgspec.convert(job.payload, CheckOrder)
        await report.running()
        await asyncio.to_thread(self.projects.require, order.person, order.project, write=False)
        head = await asyncio.to_thread(self.datasets.head, order.project)
        total = head.image_stats.num_images

        async def tell(message: Message) -> None:
            if isinstance(message, Progress):
                done = 0.9 if message.stage == "compare" else 0.9 * message.done / max(1, total)
                detail = {"done": message.done, "total": total}
                await report.progress(done, stage=message.stage, detail=detail)

        async with self.readers.started("a check") as child:
            spool = child.spool
            await asyncio.to_thread(self._list, order.project, head, spool / MANIFEST)
            last = await child.do(self._asked(job, order, head, spool), stop=report.stop, tell=tell)
            if isinstance(last, DatasetFailed):
                raise error_of(last.error, last.code, last.message, last.hint)
            if report.stop.is_set and not isinstance(last, DatasetChecked):
                how = "stopped between two pictures"
                raise Stopped(Receipt(how=how, stopped_at=self.clock.now(), seconds=0.0))
            if not isinstance(last, DatasetChecked):
                raise Failed(f"The reader ended with {type(last).__name__}.", code="dataset.failed")
            await asyncio.to_thread(self._keep, order, head.current, spool / FOUND)
        return {"project_id": order.project, "version": head.current, "findings": last.findings}

    def _asked(self, job: Job, order: CheckOrder, head: DatasetHead, spool: Path) -> CheckDataset:
        rules = order.rules
        return CheckDataset(
            job=str(job.id),
            manifest=str(spool / MANIFEST),
            images=str(self.datasets.book.folder(order.project) / "images"),
            thumbnails=str(self.datasets.book.folder(order.project) / ".thumbs" / "256"),
            into=str(spool / FOUND),
            classes=head.classes,
            distance=rules.distance,
            tiny_px=rules.tiny_px,
            aspect=rules.aspect,
            imbalance=rules.imbalance,
            read_files=rules.read_files,
            pixels=self.max_pixels,
        )

    def _list(self, project_id: str, head: DatasetHead, path: Path) -> None:
        encode = msgspec.json.Encoder().encode
        try:
            with path.open("wb") as file:
                for record in self.datasets.iterate(project_id, head.current):
                    line = Checked(
                        id=record.id,
                        file=record.filename,
                        sha256=record.sha256,
                        dhash=record.dhash,
                        width=record.width,
                        height=record.height,
                        size_bytes=record.size_bytes,
                        label=primary_class(record.annotations),
                    )
                    file.write(encode(line) + b"\n")
        except OSError as error:
            raise write_error(error, path) from error

    def _keep(self, order: CheckOrder, version: int, found: Path) -> None:
        document = CheckDocument(
            dataset_version=version,
            created_at=stamp(self.clock.now()),
            rules=order.rules,
            found=msgspec.json.decode(found.read_bytes(), type=Findings),
        )
        path = version_path(self.datasets, order.project, version)
        with self.datasets.book.workspace.locked(order.project):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_document(path, document)
        self.checks.tidy(order.project)
