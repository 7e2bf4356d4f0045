# SPDX-License-Identifier: Apache-2.0
"""An export job while it runs: lease → worker → the model, its card and its script → document."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, InglenookError
from inglenook.base.ids import JobId, ModelId, RequestId
from inglenook.base.units import MIB
from inglenook.engines import studio
from inglenook.engines.studio import StudioChild
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.runtime.contracts import ChildFailed, Lease, LoadPlan
from inglenook.runtime.scheduler.loop import LeaseStopped, Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json
from inglenook.studio.export import card, script
from inglenook.studio.export.documents import ExportDocuments
from inglenook.studio.export.errors import ExportFailure, ExportRefused
from inglenook.studio.export.model import MAX_ERROR, ExportRecord, Status, size_mb
from inglenook.studio.export.service import Experiments, lineage_of, weights_licence
from inglenook.studio.training.documents import CHECKPOINTS, MANIFEST
from inglenook.studio.training.model import Experiment
from inglenook.wire.message import Message
from inglenook.wire.studio.export import (
    Export,
    Exported,
    ExportFailed,
    Exporting,
    ExportLastWord,
    ExportStopped,
)

KIND: Final = "studio.export"
LOAD_S: Final = 8.0
BASE_BYTES: Final = 1200 * MIB
"""PyTorch with its exporter and onnxruntime imported, before anybody has measured it."""
COPIES: Final = 8
"""Of the checkpoint: read, in the network, traced, written, checked by two programs."""
REFUSED: Final = frozenset({"export.preprocessing", "export.shape", "train.bad_checkpoint"})
"""Failures that are the order's own: the same order would fail again."""


class ExportWork:
    """Carries out jobs of kind `studio.export`. See `jobs.work.Work`."""

    kind = KIND
    restarts = True  # what was half made is cleared away, and made again

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        documents: ExportDocuments,
        experiments: Experiments,
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._documents = documents
        self._experiments = experiments
        self._clock = clock
        self._requests: dict[JobId, RequestId] = {}

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        request = self._requests.get(job)
        explanation = None if request is None else self._scheduler.explain(request)
        return None if explanation is None else explanation_json(explanation)

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Raises InglenookError, Stopped."""
        project, export = str(job.payload["project"]), str(job.payload["export"])
        record = await asyncio.to_thread(self._begin, project, export, job)
        if record.status is Status.COMPLETED:  # the server died before the job could be told
            return outcome(project, record)
        try:
            last = await self._make(project, record, job, report)
            return await self._end(project, record, last, report)
        except LeaseStopped as stopped:
            await self._stopped(project, record, report, "it left the queue before it began")
            raise Stopped(self._receipt("left the queue before it began")) from stopped
        except ChildFailed as failed:
            if report.stop.is_set:
                await self._stopped(project, record, report, "its worker ended when it was to stop")
                raise Stopped(self._receipt("its process ended")) from failed
            await self._failed(project, record, failed)
            raise
        except Stopped:
            raise
        except InglenookError as error:
            await self._failed(project, record, error)
            raise

    # -- making --------------------------------------------------------------------------------------------

    def _begin(self, project: str, export: str, job: Job) -> ExportRecord:
        """Raises Conflict: it is not this job's to carry out."""

        def ours(old: ExportRecord) -> ExportRecord:
            if old.status is Status.COMPLETED and old.job == job.id:
                return old
            if old.status is Status.FAILED:  # somebody wants the job done again
                old = old.moved(
                    Status.PENDING, error=None, error_code=None, error_hint=None, completed_at=None
                )
            if not old.is_running or old.registered is not None:
                raise Conflict(f"{old.id} is {old.status}: this job has nothing to do.", code="export.status")
            started = self._documents.now()
            return msgspec.structs.replace(old, status=Status.RUNNING, job=str(job.id), started_at=started)

        record = self._documents.change(project, export, ours)
        if record.status is Status.RUNNING:
            self._documents.clear(project, export)
        return record

    async def _make(self, project: str, record: ExportRecord, job: Job, report: Report) -> ExportLastWord:
        asked = await asyncio.to_thread(self._asked, project, record, job)

        async def tell(message: Message) -> None:
            if isinstance(message, Exporting):
                await report.progress(message.fraction, stage=message.stage, detail={})

        async with self._leased(job, record, report) as lease:
            child = lease.child
            assert isinstance(child, StudioChild)
            await report.running()
            return await child.export(asked, stop=report.stop, tell=tell)

    def _asked(self, project: str, record: ExportRecord, job: Job) -> Export:
        folder = self._experiments.folder(project, record.experiment_id)
        experiment = self._experiments.read(project, record.experiment_id)
        options = record.options
        return Export(
            job=str(job.id),
            checkpoint=str(folder / CHECKPOINTS / f"{record.checkpoint}.ckpt"),
            manifest=str(folder / MANIFEST),
            folder=str(self._documents.folder(project, record.id)),
            format=record.format,
            options=options,
            metadata={
                "title": options.title or experiment.name,
                "description": options.description,
                "licence": options.licence or _of_weights(experiment),
            },
            lineage=lineage_of(project, self._documents.project_name(project), record, experiment),
        )

    @asynccontextmanager
    async def _leased(self, job: Job, record: ExportRecord, report: Report) -> AsyncIterator[Lease]:
        size = await asyncio.to_thread(self._checkpoint_bytes, str(job.payload["project"]), record)
        request = self._scheduler.request(
            person=job.owner,
            work_class=job.work_class,
            plan=load_plan(size),
            label=f"export of {record.experiment_name} for {job.owner}",
        )
        await report.waiting()
        self._requests[job.id] = request.id
        try:
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

    def _checkpoint_bytes(self, project: str, record: ExportRecord) -> int:
        folder = self._experiments.folder(project, record.experiment_id)
        try:
            return (folder / CHECKPOINTS / f"{record.checkpoint}.ckpt").stat().st_size
        except FileNotFoundError:
            return 0  # the worker says it better

    # -- ends ----------------------------------------------------------------------------------------------

    async def _end(
        self, project: str, record: ExportRecord, last: ExportLastWord, report: Report
    ) -> Mapping[str, Any]:
        match last:
            case Exported():
                done = await asyncio.to_thread(self._completed, project, record, last)
                return outcome(project, done)
            case ExportFailed():
                kind = ExportRefused if last.code in REFUSED else ExportFailure
                figures = {"validation": last.validation, "quantized": last.quantized}
                await self._failed(
                    project, record, kind(last.message, code=last.code, hint=last.hint), figures
                )
                raise kind(last.message, code=last.code, hint=last.hint)
            case ExportStopped():
                await self._stopped(project, record, report, "it was stopped")
                raise Stopped(self._receipt("stopped between two steps"))

    def _completed(self, project: str, record: ExportRecord, last: Exported) -> ExportRecord:
        experiment = self._experiments.read(project, record.experiment_id)
        name = self._documents.project_name(project)
        done = _with(record, last, lineage_of(project, name, record, experiment))
        texts = {card.NAME: card.card(done, project=name, examples=_examples(experiment))}
        if done.format == "onnx":
            texts[script.NAME] = script.script(done)
        for file, text in texts.items():
            self._documents.write_text(project, record.id, file, text)
        files = (last.file, *texts)

        def complete(old: ExportRecord) -> ExportRecord:
            return msgspec.structs.replace(
                done, job=old.job, started_at=old.started_at, completed_at=self._documents.now(), files=files
            )

        return self._documents.change(project, record.id, complete)

    async def _failed(
        self,
        project: str,
        record: ExportRecord,
        error: InglenookError,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        def fail(old: ExportRecord) -> ExportRecord:
            if not old.is_running:
                return old
            return old.moved(
                Status.FAILED,
                error=error.message[:MAX_ERROR],
                error_code=error.code,
                error_hint=error.hint,
                completed_at=self._documents.now(),
                **(figures or {}),
            )

        await asyncio.to_thread(self._documents.change, project, record.id, fail)

    async def _stopped(self, project: str, record: ExportRecord, report: Report, how: str) -> None:
        """By a person: failed, with the reason. By a server that stops: it is made by the next one."""
        if report.stop.reason is not StopReason.SHUTDOWN:
            stopped = ExportFailure(f"The export was cancelled: {how}.", code="export.cancelled")
            await self._failed(project, record, stopped)
            return

        def wait(old: ExportRecord) -> ExportRecord:
            return old.moved(Status.PENDING) if old.status is Status.RUNNING else old

        await asyncio.to_thread(self._documents.change, project, record.id, wait)

    def _receipt(self, how: str) -> Receipt:
        return Receipt(how=how, stopped_at=self._clock.now(), seconds=0.0)


def _with(record: ExportRecord, last: Exported, lineage: Mapping[str, Any]) -> ExportRecord:
    shape = last.input_shape
    taken = (max(shape[0], 1), *shape[1:])
    return msgspec.structs.replace(
        record,
        status=Status.COMPLETED,
        output_file=last.file,
        output_size_mb=size_mb(last.size_bytes),
        options=msgspec.structs.replace(
            record.options, input_shape=_as_channels_first(taken, last.input_dtype)
        ),
        validation=last.validation,
        quantized=last.quantized,
        classes=last.classes,
        opset=last.opset,
        epoch=last.epoch,
        input_dtype=last.input_dtype,
        input_shape=shape,
        preprocessing=last.preprocessing,
        parameters=last.parameters,
        weights=last.weights,
        pretrained=last.pretrained,
        values=last.values,
        notes=last.notes,
        environment=last.environment,
        seconds=last.seconds,
        lineage={**lineage, "epoch": last.epoch},
    )


def _as_channels_first(shape: tuple[int, ...], dtype: str) -> tuple[int, int, int, int]:
    """AI Studio's order, also for a file that takes pixels as they are."""
    batch, first, second, third = shape
    return (batch, third, first, second) if dtype == "uint8" else (batch, first, second, third)


def _of_weights(experiment: Experiment) -> str:
    """Where nobody has said under which licence the file is given, that of what it began with is known."""
    licence = weights_licence(experiment)
    return "" if licence is None else f"first weights: {licence}"


def _examples(experiment: Experiment) -> dict[str, int]:
    return {} if experiment.data is None else dict(experiment.data.examples)


def outcome(project: str, record: ExportRecord) -> Mapping[str, Any]:
    """What is kept in the job."""
    return {
        "project": project,
        "export": record.id,
        "status": record.status,
        "output_size_mb": record.output_size_mb,
    }


def load_plan(checkpoint_bytes: int) -> LoadPlan:
    """A worker that makes exports; on the CPU, where files are checked in the precision of most uses."""
    return LoadPlan(
        model=ModelId("exports"),
        engine=studio.NAME,
        footprint_bytes={"cpu": BASE_BYTES + COPIES * checkpoint_bytes},
        load_s=LOAD_S,
        scale=max(checkpoint_bytes // (64 * MIB), 0).bit_length(),
        variant="export",
        keep_s=60.0,
    )
