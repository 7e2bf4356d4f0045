# SPDX-License-Identifier: Apache-2.0
"""/api/datasets/…/import: bring pictures in. An import is a job; AI Studio's two routes wait for it.

`?wait=false` answers 202 with the job at once, `?wait=true` waits; the routes that AI Studio does not have
answer at once where nothing is said.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.api.errors import json_response
from inglenook.api.projects.datasets import whole_dataset
from inglenook.api.projects.envelope import REFUSALS, EnvelopeRoute, converted, parsed
from inglenook.api.projects.receiving import receive_files
from inglenook.base.errors import Invalid
from inglenook.base.ids import PictureId
from inglenook.base.work import WorkClass
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.gallery.model import Filter
from inglenook.gallery.service import GalleryService
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.service import JobsService
from inglenook.studio.imports.model import KIND, ImportOrder, error_of
from inglenook.studio.imports.places import SENT
from inglenook.studio.imports.service import MAX_CHOSEN, How, SentFile, payload
from inglenook.studio.imports.work import source_name
from inglenook.studio.studio import Studio

Text = Annotated[str, msgspec.Meta(max_length=4096)]
_PAGE: Final = 1000


class Common(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of every import. `source_format`: empty finds it out."""

    source_format: Text | None = None
    mode: Literal["add", "replace"] | None = None
    keep_duplicates: bool = False

    def how(self, mode: Literal["add", "replace"]) -> How:
        """`mode`: where nothing is said."""
        return How(
            format=self.source_format or None,
            mode=self.mode or mode,
            keep_duplicates=self.keep_duplicates,
        )


class LocalImport(Common, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source_path: Text


class FilesImport(Common, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The texts beside files. `class_name`: of all of them; empty leaves it to names and folders."""

    class_name: Text | None = None


class GalleryFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pictures of the gallery: all conditions together."""

    search: Text = ""
    tags: tuple[Text, ...] = ()
    favourite: bool | None = None


class GalleryImport(Common, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args:
    pictures: ids; or `filter`, for all that fit.
    class_name: of all; else `class_tags`: the first of these tags that a picture has is its class.
    """

    pictures: tuple[Text, ...] = ()
    filter: GalleryFilter | None = None
    class_name: Text | None = None
    class_tags: tuple[Text, ...] = ()


C = TypeVar("C", bound=Common)


def imports_router(studio: Studio, *, jobs: JobsService, gallery: GalleryService) -> APIRouter:
    router = APIRouter(
        prefix="/api/datasets/{project_id}",
        tags=["data sets"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    imports = studio.imports
    desk = _Desk(studio, jobs)

    @router.post("/import/local", summary="Import a folder, zip or parquet file of the server's machine")
    async def local(request: Request, who: FromCaller, project_id: str, wait: bool = True) -> Response:
        body = await parsed(request, LocalImport)
        how = body.how("replace")
        order = await asyncio.to_thread(imports.from_folder, who.person, project_id, body.source_path, how)
        return await desk.take(request, who, order, wait=wait)

    @router.post("/import/upload", summary="Import a zip or parquet file that is sent")
    async def upload(request: Request, who: FromCaller, project_id: str, wait: bool = True) -> Response:
        await asyncio.to_thread(studio.projects.require, who.person, project_id, write=True)
        folder = await asyncio.to_thread(imports.uploads.new)

        async def ordered() -> ImportOrder:
            names = ("uploaded_file", "file")
            sent = await receive_files(
                request, folder, fields=names, most=1, max_bytes=imports.max_upload_bytes, name=SENT
            )
            how = _texts(sent.texts, Common).how("replace")
            name = sent.files[0].original
            return await asyncio.to_thread(imports.from_upload, who.person, project_id, folder, name, how)

        return await desk.take(request, who, await _or_removed(folder, ordered()), wait=wait)

    @router.post(
        "/import/files", summary="Import files that are sent one by one, as a page does that drops them"
    )
    async def files(request: Request, who: FromCaller, project_id: str, wait: bool = False) -> Response:
        await asyncio.to_thread(studio.projects.require, who.person, project_id, write=True)
        folder = await asyncio.to_thread(imports.uploads.new)

        async def ordered() -> ImportOrder:
            sent = await receive_files(
                request,
                folder,
                fields=("files", "file"),
                most=MAX_CHOSEN,
                max_bytes=imports.max_upload_bytes,
            )
            paths = sent.texts.pop("paths", None)
            texts = _texts(sent.texts, FilesImport)
            some = _with_paths(sent.files, paths)
            return await asyncio.to_thread(
                imports.from_files,
                who.person,
                project_id,
                folder,
                some,
                texts.class_name,
                texts.how("add"),
            )

        return await desk.take(request, who, await _or_removed(folder, ordered()), wait=wait)

    @router.post("/import/gallery", summary="Import pictures of the gallery")
    async def of_gallery(request: Request, who: FromCaller, project_id: str, wait: bool = False) -> Response:
        body = await parsed(request, GalleryImport)

        def ordered() -> ImportOrder:
            pictures = body.pictures
            if body.filter is not None:
                pictures = tuple(_filtered(gallery, who, body.filter))
            return imports.from_gallery(
                who.person,
                project_id,
                gallery,
                pictures,
                class_=body.class_name,
                class_tags=body.class_tags,
                how=body.how("add"),
            )

        return await desk.take(request, who, await asyncio.to_thread(ordered), wait=wait)

    @router.get("/imports/{job_id}/report", summary="All files that an import left out, as JSON lines")
    async def report(who: FromCaller, project_id: str, job_id: str) -> Response:
        path = await asyncio.to_thread(imports.report, who.person, project_id, job_id)
        return FileResponse(
            path,
            media_type="application/jsonl",
            filename=f"import-{job_id}.jsonl",
            headers={"cache-control": "no-store"},
        )

    return router


class _Desk:
    """Hands orders in, and waits for them where that is wanted."""

    def __init__(self, studio: Studio, jobs: JobsService) -> None:
        self._studio = studio
        self._jobs = jobs

    async def take(self, request: Request, who: Caller, order: ImportOrder, *, wait: bool) -> Response:
        job = await self._jobs.submit(
            kind=KIND,
            owner=who.person,
            work_class=WorkClass.INTERACTIVE,
            title=f"Import {source_name(order)}",
            payload=payload(order),
        )
        if not wait:
            return json_response({"status": "ok", "data": self._jobs.describe(job)}, status_code=202)
        require_succeeded(await self._jobs.wait(job.id))
        return await whole_dataset(request, who, self._studio, order.project)


def require_succeeded(job: Job) -> None:
    """Raises the error that the job ended with."""
    if job.state is JobState.SUCCEEDED:
        return
    error = job.error
    if error is None:
        raise error_of("conflict", "job.cancelled", f"The job was {job.state}.", None)
    raise error_of(error.kind, error.code, error.message, error.hint)


async def _or_removed(folder: Path, ordered: Awaitable[ImportOrder]) -> ImportOrder:
    """What was received is removed when no order comes of it, also when the client goes away."""
    try:
        return await ordered
    except BaseException:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        raise


def _texts(texts: Mapping[str, Sequence[str]], kind: type[C]) -> C:
    """Raises BodyInvalid."""
    given = {name: values[-1] for name, values in texts.items() if values[-1] != ""}
    return converted(given, kind, is_form=True)


def _with_paths(files: Sequence[SentFile], paths: Sequence[str] | None) -> Sequence[SentFile]:
    """Browsers send a file's bare name: `paths` gives its folders too, one for each file, in their order."""
    if paths is None:
        return files
    if len(paths) != len(files):
        raise Invalid(
            f"paths has {len(paths)} values for {len(files)} files.",
            field="paths",
            hint="give one for each file, in the same order, or none",
        )
    return [SentFile(path=file.path, original=path) for file, path in zip(files, paths, strict=True)]


def _filtered(gallery: GalleryService, who: Caller, wanted: GalleryFilter) -> list[PictureId]:
    """Raises Invalid: more than may be chosen at once."""
    conditions = Filter(search=wanted.search, tags=wanted.tags, favourite=wanted.favourite)
    found: list[PictureId] = []
    while len(found) <= MAX_CHOSEN:
        page = gallery.list(who.person, limit=_PAGE, before=found[-1] if found else None, filter=conditions)
        found += [picture.id for picture in page]
        if len(page) < _PAGE:
            break
    return found
