# SPDX-License-Identifier: Apache-2.0
"""An import while it runs: source → child → staging → version. The old data set stays until then."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, Conflict, Failed, InglenookError, Invalid, NotFound
from inglenook.base.ids import JobId
from inglenook.engines.dataset import DatasetReaders
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.work import Report, Stopped
from inglenook.studio.datasets.model import NewImage
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.datasets.staging import Staging
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.imports.account import Account
from inglenook.studio.imports.model import (
    KIND,
    ImportOrder,
    LocalFolder,
    UploadedFile,
    UploadedFiles,
    error_of,
    order_of,
)
from inglenook.studio.imports.places import MANIFEST, SENT, TABLES, Roots, Uploads
from inglenook.studio.projects.service import ProjectsService
from inglenook.vision.annotations import Annotation, Anomaly, Box, Label
from inglenook.wire.message import Message
from inglenook.wire.studio.dataset import (
    ArchiveSource,
    Bounds,
    DatasetFailed,
    DatasetFound,
    DatasetRead,
    FolderSource,
    Issues,
    LastWord,
    ListedSource,
    Picture,
    Pictures,
    Progress,
    ReadDataset,
    Source,
    TableSource,
)

AT_ONCE: Final = 2
"""Imports that run at the same time; each of them keeps one core busy."""
THUMBNAIL_PX: Final = 256
UNPACKED_PER_UPLOAD: Final = 64
"""An archive may unpack to so many times the largest upload, far above what pictures do."""
REPORTS: Final = "imports"


@dataclass(slots=True)
class _Course:
    """What is known of an import while it runs."""

    staging: Staging
    account: Account
    found: DatasetFound | None = None
    taken: int = 0


@dataclass(slots=True)
class ImportWork:
    """Carries out jobs of kind `studio.import`. See `jobs.work.Work`."""

    projects: ProjectsService
    datasets: DatasetsService
    readers: DatasetReaders
    roots: Roots
    uploads: Uploads
    clock: Clock
    max_pixels: int
    max_images: int
    max_upload_bytes: int
    kind: str = KIND
    restarts: bool = False  # what was half read is gone with the folder that it lay in
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _waiting: dict[JobId, str] = field(default_factory=dict)

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        why = self._waiting.get(job)
        return None if why is None else {"reason": {"kind": "turn", "text": why}}

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Raises InglenookError, Stopped."""
        order = order_of(job.payload)
        try:
            async with self._turn(job.id, order.project, report):
                await report.running()
                return await self._import(job, order, report)
        finally:
            if not isinstance(order.origin, LocalFolder) and not _interrupted(report):
                await asyncio.to_thread(self.uploads.remove, order.origin.upload)

    @asynccontextmanager
    async def _turn(self, job: JobId, project: str, report: Report) -> AsyncIterator[None]:
        """One import of a project at a time, and a few in all."""
        lock = self._turns[project]
        if lock.locked() or self._room.locked():
            self._waiting[job] = (
                "another import into this project goes first"
                if lock.locked()
                else f"{AT_ONCE} imports are running, as many as may be"
            )
            await report.waiting()
        try:
            async with contextlib.AsyncExitStack() as stack:
                await _unless_stopped(report, stack.enter_async_context(lock))
                await _unless_stopped(report, stack.enter_async_context(self._room))
                self._waiting.pop(job, None)
                yield
        finally:
            self._waiting.pop(job, None)

    async def _import(self, job: Job, order: ImportOrder, report: Report) -> Mapping[str, Any]:
        project = await asyncio.to_thread(self.projects.require, order.person, order.project, write=True)
        course = await asyncio.to_thread(self._begin, job, order)
        try:
            asked = await asyncio.to_thread(self._asked, job, order, project.task, course)
            last = await self._read(asked, course, report)
            self._require_whole(last, course)
            assert isinstance(last, DatasetRead)
            return await self._keep(order, course, last, report)
        except InglenookError:
            await asyncio.to_thread(self._require_project, order.project)
            raise
        finally:
            await asyncio.to_thread(self._end, course)

    def _require_project(self, project: str) -> None:
        """Raises Conflict: it is gone, and that is why the import failed, whatever met it first."""
        try:
            self.datasets.book.folder(project)
        except NotFound as error:
            raise Conflict(
                "The project was deleted while pictures were imported into it.", code="project.deleted"
            ) from error

    def _begin(self, job: Job, order: ImportOrder) -> _Course:
        staging = self.datasets.begin(
            order.project,
            order.mode,
            by=order.person,
            source_format=order.format or "",
            source_path=source_name(order),
        )
        return _Course(staging, Account(report_path(self.datasets, order.project, str(job.id))))

    def _end(self, course: _Course) -> None:
        course.staging.abandon()  # without effect after a commit
        course.account.close()

    def _asked(self, job: Job, order: ImportOrder, task: str, course: _Course) -> ReadDataset:
        """Raises NotFound, Denied, Failed, Unavailable."""
        return ReadDataset(
            job=str(job.id),
            task=task,
            source=self._source(order),
            format=order.format,
            folder=str(course.staging.folder),
            known=self._known(order, course.staging.folder),
            thumbnail_px=THUMBNAIL_PX,
            bounds=Bounds(
                images=self._room_for(order),
                files=2 * self.max_images + 10_000,
                pixels=self.max_pixels,
                file_bytes=self.max_upload_bytes,
                unpacked_bytes=UNPACKED_PER_UPLOAD * self.max_upload_bytes,
            ),
        )

    def _source(self, order: ImportOrder) -> Source:
        origin = order.origin
        if isinstance(origin, UploadedFiles):
            manifest = self.uploads.folder(origin.upload) / MANIFEST
            return ListedSource(manifest=str(manifest), labelled=origin.labelled)
        if isinstance(origin, UploadedFile):
            path = self.uploads.folder(origin.upload) / SENT
            if origin.name.lower().endswith(TABLES):
                path = path.with_suffix(Path(origin.name.lower()).suffix)
        else:
            path = self.roots.allowed(origin.path)
        if path.is_dir():
            return FolderSource(path=str(path), roots=tuple(map(str, self.roots.real())))
        if path.suffix.lower() in TABLES:
            return TableSource(path=str(path))
        return ArchiveSource(path=str(path))

    def _known(self, order: ImportOrder, folder: Path) -> str | None:
        """A list of the hashes of what is there already, where that is to be left out."""
        if order.mode != "add" or order.keep_duplicates:
            return None
        path = folder / ".known"
        try:
            records = self.datasets.iterate(order.project)
            with path.open("w") as file:
                file.writelines(f"{record.sha256}\n" for record in records if record.sha256)
        except DatasetNotImported:
            return None
        return str(path)

    def _room_for(self, order: ImportOrder) -> int:
        there = self.datasets.size(order.project) if order.mode == "add" else 0
        return max(0, self.max_images - there)

    async def _read(self, asked: ReadDataset, course: _Course, report: Report) -> LastWord:
        async def tell(message: Message) -> None:
            if isinstance(message, Pictures):
                await asyncio.to_thread(_add_all, course, message.pictures)
            elif isinstance(message, Issues):
                await asyncio.to_thread(course.account.add, message.issues)
            elif isinstance(message, DatasetFound):
                course.found = message
                course.staging.source_format = message.format
                await report.notice(f"This is {message.title}.")
                for text in message.about:
                    await report.notice(text)
            elif isinstance(message, Progress):
                await _tell_progress(report, message, course)

        await report.progress(0.0, stage="start", detail={})
        async with self.readers.started("an import") as child:
            last = await child.do(asked, stop=report.stop, tell=tell)
        if report.stop.is_set and not isinstance(last, DatasetRead):
            raise Stopped(
                Receipt(how="stopped before the next picture", stopped_at=self.clock.now(), seconds=0.0)
            )
        return last

    def _require_whole(self, last: LastWord, course: _Course) -> None:
        if isinstance(last, DatasetFailed):
            raise error_of(last.error, last.code, last.message, last.hint)
        if not isinstance(last, DatasetRead):
            raise Failed(f"The reader ended with {type(last).__name__}.", code="dataset.failed")
        course.taken = last.pictures

    async def _keep(
        self, order: ImportOrder, course: _Course, last: DatasetRead, report: Report
    ) -> Mapping[str, Any]:
        assert course.found is not None
        account = course.account
        told = {
            "project_id": order.project,
            "format": course.found.format,
            "title": course.found.title,
            "about": list(course.found.about),
            "mode": order.mode,
            "imported": course.staging.added,
            "classes": list(last.classes),
            **account.as_json(),
        }
        if course.staging.added == 0:
            if order.mode == "add" and account.count("duplicate") and self.datasets.size(order.project):
                await report.notice("Every picture was there already; nothing has changed.")
                return {**told, "version": None}
            raise Invalid(
                f"No picture could be taken.{account.in_words()}",
                code="dataset.empty",
                hint="look at the report of the import; the old data set is untouched",
            )
        await report.progress(0.97, stage="keep", detail={"taken": course.staging.added})
        count = course.staging.added
        summary = f"{count} picture{'' if count == 1 else 's'} imported from {source_name(order)}"
        note = await asyncio.to_thread(course.staging.commit, summary, last.classes)
        return {**told, "version": note.number, "added": note.added, "removed": note.removed}


def source_name(order: ImportOrder) -> str:
    """Where the pictures are from, for people."""
    origin = order.origin
    if isinstance(origin, LocalFolder):
        return origin.path
    return origin.name if isinstance(origin, UploadedFile) else origin.what


def report_path(datasets: DatasetsService, project_id: str, job: str) -> Path:
    """Where the report of an import lies."""
    return datasets.book.folder(project_id) / REPORTS / f"{job}.jsonl"


def _interrupted(report: Report) -> bool:
    """The server stops: a person may want to begin again, so what was sent stays."""
    return report.stop.reason is StopReason.SHUTDOWN


async def _unless_stopped(report: Report, entering: Any) -> None:
    """Raises Cancelled: the job was stopped while it waited for its turn."""
    wanted = asyncio.ensure_future(entering)
    stopped = asyncio.ensure_future(report.stop.wait())
    try:
        await asyncio.wait({wanted, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            await wanted
            return
        raise Cancelled("The import was stopped before its turn came.", code="job.cancelled")
    finally:
        for task in (wanted, stopped):
            task.cancel()


async def _tell_progress(report: Report, message: Progress, course: _Course) -> None:
    fraction = 0.95 * message.done / message.total if message.total else 0.0
    await report.progress(
        min(0.95, fraction),
        stage=message.stage,
        detail={
            "done": message.done,
            "total": message.total,
            "taken": course.staging.added,
            "skipped": course.account.skipped,
        },
    )


def _add_all(course: _Course, pictures: tuple[Picture, ...]) -> None:
    for picture in pictures:
        course.staging.add(
            NewImage(
                file=picture.file,
                original=picture.original,
                width=picture.width,
                height=picture.height,
                size_bytes=picture.size_bytes,
                sha256=picture.sha256,
                dhash=picture.dhash,
                annotations=_annotations(picture),
                group=picture.group,
                taken_at=picture.taken_at,
                tags=picture.tags,
                thumbnail=picture.thumbnail,
            )
        )


def _annotations(picture: Picture) -> tuple[Annotation, ...]:
    """The numbers of classes are given when the import is kept."""
    if picture.anomalous is not None:
        return (Anomaly(is_anomalous=picture.anomalous),)
    if picture.label is not None:
        return (Label(class_id=0, class_name=picture.label),)
    return tuple(Box(class_id=0, class_name=box.class_name, bbox=box.box) for box in picture.boxes)
