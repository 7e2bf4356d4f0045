# SPDX-License-Identifier: Apache-2.0
"""A map job while it runs: manifest → lease → worker → places."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.ids import JobId, RequestId
from inglenook.engines.studio import StudioChild
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import ChildFailed, Lease
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.studio.evaluation.errors import EvaluationFailure
from inglenook.studio.evaluation.planning import load_plan
from inglenook.studio.maps.model import MapDocument, MapOrder
from inglenook.studio.maps.service import MANIFEST, MapsService
from inglenook.studio.tasks.registry import require_available
from inglenook.wire.message import Message
from inglenook.wire.studio.backbones import find_backbone
from inglenook.wire.studio.evaluation import Embed, Embedded, EmbedLastWord, Predicted, WorkFailed
from inglenook.wire.studio.spec import ModelSpec, TrainSpec

KIND: Final = "studio.map"


@dataclass(slots=True)
class MapWork:
    """Carries out jobs of kind `studio.map`. See `jobs.work.Work`.

    Attributes:
        running: the job that makes a project's map now, by the project's id.
    """

    scheduler: Scheduler
    maps: MapsService
    clock: Clock
    kind: str = KIND
    restarts: bool = True
    requests: dict[JobId, RequestId] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self.requests.get(job)
        explanation = None if request is None else self.scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Raises InglenookError, Stopped."""
        order = msgspec.convert(job.payload, MapOrder)
        self.running[order.project] = str(job.id)
        folder = None
        try:
            folder, version, whole = await asyncio.to_thread(self.maps.begin, order)
            last = await self._embed(order, folder, job, report)
            if isinstance(last, WorkFailed):
                raise EvaluationFailure(last.message, code=last.code, hint=last.hint)
            if not isinstance(last, Embedded):
                raise Stopped(self._receipt(f"stopped after {last.done} pictures"))
            document = await asyncio.to_thread(self._finished, order, folder, version, whole, last)
            return {"project_id": order.project, "pictures": document.shown, "weights": document.weights}
        except LeaseStopped as stopped:
            raise Stopped(self._receipt("left the queue before it began")) from stopped
        except ChildFailed as failed:
            if report.stop.is_set:
                raise Stopped(self._receipt("its process ended")) from failed
            raise
        finally:
            self.running.pop(order.project, None)
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _embed(self, order: MapOrder, folder: Path, job: Job, report: Report) -> EmbedLastWord:
        task, spec = await asyncio.to_thread(self._spec, order)
        checkpoint = await asyncio.to_thread(self.maps.checkpoint_path, order)
        asked = Embed(
            job=str(job.id),
            task=task,
            checkpoint=None if checkpoint is None else str(checkpoint),
            backbone=order.request.backbone,
            manifest=str(folder / MANIFEST),
            folder=str(folder),
            batch_size=order.request.batch_size,
            method=order.request.method,
            seed=order.request.seed,
        )

        async def tell(message: Message) -> None:
            if isinstance(message, Predicted):
                detail = {"done": message.done, "total": message.whole}
                await report.progress(0.8 * message.done / message.whole, stage="look", detail=detail)
                if message.done == message.whole:
                    await report.progress(0.8, stage="lay out", detail=detail)

        async with self._leased(job, order, task, spec, report) as lease:
            child = lease.child
            assert isinstance(child, StudioChild)
            await report.running()
            return await child.embed(asked, stop=report.stop, tell=tell)

    def _spec(self, order: MapOrder) -> tuple[str, TrainSpec]:
        """Whose network, for the plan. Raises ExperimentNotFound: it was deleted meanwhile."""
        if order.request.experiment_id is not None:
            found = self.maps.experiments.read(order.project, order.request.experiment_id)
            return found.task, found.spec
        facts = find_backbone(order.request.backbone)
        assert facts is not None, "it was looked up when it was ordered"
        task = self.maps.projects.get(order.person, order.project).task
        usual = require_available(task).defaults()
        return task, msgspec.structs.replace(usual, model=ModelSpec(backbone=facts.name))

    @asynccontextmanager
    async def _leased(
        self, job: Job, order: MapOrder, task: str, spec: TrainSpec, report: Report
    ) -> AsyncIterator[Lease]:
        request = self.scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=load_plan(task, spec, use="evaluate", batch_size=order.request.batch_size),
            label=f"map of a data set for {job.owner}",
        )
        await report.waiting()
        self.requests[job.id] = request.id
        try:
            lease = await self.scheduler.acquire(request, report.stop)
        finally:
            del self.requests[job.id]
        began_s = self.clock.monotonic()
        try:
            yield lease
        finally:
            lease.release()
            held_s = self.clock.monotonic() - began_s
            await report.cost(seconds=held_s, byte_seconds=held_s * lease.reserved_bytes)

    def _finished(
        self, order: MapOrder, folder: Path, version: int, whole: int, last: Embedded
    ) -> MapDocument:
        with (folder / MANIFEST).open("rb") as lines:
            listed = sum(1 for _ in lines)
        document = MapDocument(
            dataset_version=version,
            created_at=self.maps.experiments.now(),
            request=order.request,
            experiment=self.maps.experiment_name(order),
            weights=last.weights,
            dimensions=last.dimensions,
            pictures=whole,
            shown=listed - len(last.unreadable),
            unreadable=len(last.unreadable),
            seconds=last.seconds,
        )
        self.maps.finish(order.project, folder, document)
        return document

    def _receipt(self, how: str) -> Receipt:
        return Receipt(how=how, stopped_at=self.clock.now(), seconds=0.0)
