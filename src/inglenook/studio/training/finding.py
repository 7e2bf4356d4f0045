# SPDX-License-Identifier: Apache-2.0
"""Before a run: which batch fits, which learning rate suits, and what augmentations make of the pictures."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Failed
from inglenook.base.ids import JobId, ModelId, PersonId, RequestId, new_id
from inglenook.base.units import MIB
from inglenook.base.work import WorkClass
from inglenook.engines import studio
from inglenook.engines.studio import FINDING_STOPPED, FindWork, StudioChild
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import Lease, LoadPlan
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training.checking import check, merged
from inglenook.studio.training.devices import allowed
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.material import Material
from inglenook.studio.training.model import Experiment
from inglenook.studio.training.weights import Weights
from inglenook.studio.training.work import load_plan
from inglenook.wire.message import Message
from inglenook.wire.studio.finding import (
    AugmentationsPreviewed,
    BatchSizeFound,
    BatchSizeTried,
    FindBatchSize,
    FindingFailed,
    FindLearningRate,
    LearningRateFound,
    LearningRateTried,
    PreviewAugmentations,
)
from inglenook.wire.studio.messages import FindingLastWord
from inglenook.wire.studio.spec import TrainSpec

KIND: Final = "studio.find"
What = Literal["batch_size", "learning_rate"]
CEILINGS: Final = (256, 128, 64, 32, 16, 8, 4, 2, 1)
PREVIEW_BYTES: Final = 800 * MIB
"""A process with PyTorch that looks at a few pictures."""
PREVIEW_KEEP_S: Final = 120.0
"""So long a process for previews is kept: whoever turns a knob turns it again."""


class FindingError(Failed):
    default_code = "finding.failed"


class FindingWork:
    """Carries out jobs of kind `studio.find`. See `jobs.work.Work`."""

    kind = KIND
    restarts = False  # its answer is wanted now or not at all

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        documents: ExperimentDocuments,
        material: Material,
        weights: Weights,
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._documents = documents
        self._material = material
        self._weights = weights
        self._clock = clock
        self._requests: dict[JobId, RequestId] = {}

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self._requests.get(job)
        explanation = None if request is None else self._scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        project, what = str(job.payload["project"]), job.payload["what"]
        experiment = await asyncio.to_thread(self._documents.read, project, str(job.payload["experiment"]))
        await self._weights.bring(experiment.spec.model, say=_unheard, stop=report.stop)
        try:
            async with self._leased(job, report, experiment, what) as lease:
                await report.running()
                last = await self._find(job, report, experiment, project, lease)
        except LeaseStopped as stopped:
            raise Stopped(Receipt("left the queue before it began", self._clock.now(), 0.0)) from stopped
        match last:
            case BatchSizeFound() | LearningRateFound():
                said: dict[str, Any] = msgspec.to_builtins(last)
                return {"what": what} | {name: said[name] for name in said if name not in ("kind", "job")}
            case FindingFailed(code=code) if code == FINDING_STOPPED or report.stop.is_set:
                raise Stopped(Receipt("stopped between two steps", self._clock.now(), 0.0))
            case FindingFailed():
                raise FindingError(last.message, code=last.code, hint=last.hint)
            case _:
                raise FindingError(f"The studio worker answered with {type(last).__name__}.")

    @asynccontextmanager
    async def _leased(
        self, job: Job, report: Report, experiment: Experiment, what: What
    ) -> AsyncIterator[Lease]:
        devices = allowed(experiment.hardware.selected_devices, self._scheduler.devices)
        budgets: dict[str, int] = {
            one.kind: one.budget_bytes for one in self._scheduler.devices if one.id in devices
        }
        spec = experiment.spec if what == "learning_rate" else _largest(experiment, budgets)
        request = self._scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=replace(load_plan(experiment.task, spec, apart=str(job.id)), variant="find", parkable=False),
            label=f"search of a {what.replace('_', ' ')} for {job.owner}",
            devices=devices,
            keep_s=0.0,
        )
        self._requests[job.id] = request.id
        try:
            await report.waiting()
            lease = await self._scheduler.acquire(request, report.stop)
        finally:
            del self._requests[job.id]
        began_s = self._clock.monotonic()
        try:
            yield lease
        finally:
            lease.release()
            held_s = self._clock.monotonic() - began_s
            await report.cost(seconds=held_s, byte_seconds=held_s * lease.reserved_bytes)

    async def _find(
        self, job: Job, report: Report, experiment: Experiment, project: str, lease: Lease
    ) -> FindingLastWord:
        child = lease.child
        assert isinstance(child, StudioChild)
        manifest = child.spool / "manifest.jsonl"
        data, _ = await asyncio.to_thread(self._material.write, project, experiment, manifest)
        common: dict[str, Any] = {
            "job": str(job.id),
            "task": experiment.task,
            "spec": experiment.spec,
            "classes": data.classes,
            "manifest": str(manifest),
        }
        asked: FindWork
        if job.payload["what"] == "batch_size":
            # On a CPU its whole process is counted, and what is free there others may take any moment.
            device = lease.device
            limit = device.budget_bytes if device.kind == "cpu" else lease.reserved_bytes
            asked = FindBatchSize(**common, limit_bytes=limit)
        else:
            asked = FindLearningRate(**common)

        async def hear(message: Message) -> None:
            said = msgspec.to_builtins(message)
            match message:
                case BatchSizeTried():
                    done = message.tried.size / 256
                    await report.progress(done, stage="trying", detail={"tried": said["tried"]})
                case LearningRateTried():
                    detail = {"step": message.step, "steps": message.steps, "point": said["point"]}
                    await report.progress(message.step / message.steps, stage="rising", detail=detail)
                case _:
                    await report.notice(str(said.get("text", type(message).__name__)))

        return await child.find(asked, stop=report.stop, tell=hear)


def _largest(experiment: Experiment, budgets: Mapping[str, int]) -> TrainSpec:
    """The configuration with the largest batch that is expected to fit a device."""
    for size in CEILINGS:
        hyper = msgspec.structs.replace(experiment.hyperparameters, batch_size=size)
        spec = msgspec.structs.replace(experiment.spec, hyperparameters=hyper)
        needs = load_plan(experiment.task, spec, apart="").footprint_bytes
        if any(needs.get(kind, budget + 1) <= budget for kind, budget in budgets.items()):
            return spec
    return experiment.spec


class Previews:
    """Shows what training will see of pictures, on the CPU, in a process that is kept for a while."""

    def __init__(
        self, *, scheduler: Scheduler, documents: ExperimentDocuments, material: Material, clock: Clock
    ) -> None:
        self._scheduler = scheduler
        self._documents = documents
        self._material = material
        self._clock = clock

    async def show(
        self,
        person: PersonId,
        project: str,
        experiment_id: str,
        changes: Mapping[str, Any],
        *,
        pictures: int,
        epochs: int,
        stop: StopToken,
    ) -> dict[str, Any]:
        """Some pictures of the training part, as they are looked at and as each epoch gets them, as data
        addresses; `notes` for people.

        Args:
            changes: of the experiment's configuration, not kept: what a form shows just now.
            pictures: 1 to 16. epochs: 1 to 16.

        Raises:
            BadSpec: a field of `changes`. FindingError: a transform cannot be made.
            NotTrainable: no picture, or no CPU among the runtime's devices.
        """
        experiment = await asyncio.to_thread(self._documents.read, project, experiment_id)
        spec = merged(experiment.spec, changes)
        check(spec, require_available(experiment.task))
        request = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=LoadPlan(
                model=ModelId("augmentations"),
                engine=studio.NAME,
                footprint_bytes={"cpu": PREVIEW_BYTES},
                variant="preview",
                keep_s=PREVIEW_KEEP_S,
            ),
            label=f"preview of augmentations for {person}",
            devices=allowed(("cpu",), self._scheduler.devices),
        )
        lease = await self._scheduler.acquire(request, stop)
        try:
            return await self._shown(
                lease, project, experiment.with_spec(spec), pictures=pictures, epochs=epochs, stop=stop
            )
        finally:
            lease.release()

    async def _shown(
        self,
        lease: Lease,
        project: str,
        experiment: Experiment,
        *,
        pictures: int,
        epochs: int,
        stop: StopToken,
    ) -> dict[str, Any]:
        child = lease.child
        assert isinstance(child, StudioChild)
        job = new_id("look", self._clock.now())
        manifest = child.spool / f"{job}.jsonl"
        data, _ = await asyncio.to_thread(
            lambda: self._material.write(project, experiment, manifest, most=pictures)
        )
        asked = PreviewAugmentations(
            job=job,
            task=experiment.task,
            spec=experiment.spec,
            classes=data.classes,
            manifest=str(manifest),
            pictures=pictures,
            epochs=epochs,
        )
        last = await child.find(asked, stop=stop, tell=_ignore)
        if isinstance(last, FindingFailed):
            raise FindingError(last.message, code=last.code, hint=last.hint)
        assert isinstance(last, AugmentationsPreviewed)
        return await asyncio.to_thread(_as_addresses, last, child.spool)


async def _unheard(_: str) -> None:
    """Where weights came from stands in the ledger."""


async def _ignore(_: Message) -> None:
    """Notices of a preview are in its last word."""


def _as_addresses(shown: AugmentationsPreviewed, spool: Path) -> dict[str, Any]:
    return {
        "pictures": [
            {
                "id": picture.id,
                "val": _taken(spool / picture.val),
                "epochs": [_taken(spool / name) for name in picture.epochs],
            }
            for picture in shown.pictures
        ],
        "notes": list(shown.notes),
    }


def _taken(path: Path) -> str:
    """The picture as a data address; its file is removed."""
    data = path.read_bytes()
    path.unlink(missing_ok=True)
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
