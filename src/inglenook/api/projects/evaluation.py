# SPDX-License-Identifier: Apache-2.0
"""/api/evaluation: what a checkpoint is worth, picture by picture."""

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.api.errors import json_response
from inglenook.api.projects.envelope import (
    REFUSALS,
    EnvelopeRoute,
    answer,
    converted,
    fields,
    has_fragment,
)
from inglenook.api.projects.imports import require_succeeded
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Invalid
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.service import JobsService
from inglenook.studio.errors import ImageNotFound
from inglenook.studio.evaluation.documents import Key
from inglenook.studio.evaluation.errors import EvaluationNotFound, EvaluationRefused
from inglenook.studio.evaluation.model import EvaluationRequest, ResultQuery
from inglenook.studio.studio import WorkingStudio
from inglenook.vision.annotations import primary_class

Text = Annotated[str, Query(max_length=200)]
Which = Annotated[
    str | None, Query(max_length=40, description="the id of an evaluation; by default the newest")
]


def evaluation_router(studio: WorkingStudio, *, jobs: JobsService) -> APIRouter:
    router = APIRouter(
        prefix="/api/evaluation/{project_id}/{experiment_id}",
        tags=["evaluation"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    _orders(router, studio, jobs)
    _results(router, studio)
    _files(router, studio)
    return router


def _orders(router: APIRouter, studio: WorkingStudio, jobs: JobsService) -> None:
    evaluations, runs = studio.evaluations, studio.evaluation_runs

    @router.post("", summary="Evaluate a checkpoint; answers when it is done, or at once with wait=false")
    async def create(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        again: bool = False,
        wait: bool = True,
    ) -> Response:
        asked = await _asked(request)
        record, job = await runs.order(who.person, project_id, experiment_id, asked, again=again)
        if not wait:
            described = {**jobs.describe(job), "evaluation": msgspec.to_builtins(record)}
            return json_response({"status": "ok", "data": described}, status_code=202)
        final = await jobs.wait(job.id)
        await runs.settle((project_id, record.experiment_id, record.id), final)
        _require_done(final)
        data = await _record(studio, who, project_id, experiment_id, record.id)
        return await answer(
            request, who, "evaluation.create", {"status": data["evaluation"]["status"], **data}
        )

    @router.get("", summary="The newest evaluation with its figures")
    async def one(
        request: Request, who: FromCaller, project_id: str, experiment_id: str, evaluation: Which = None
    ) -> Response:
        try:
            data = await _record(studio, who, project_id, experiment_id, evaluation or None)
        except EvaluationNotFound:
            if not has_fragment(request, "evaluation.get"):
                raise
            data = {"evaluation": None, "aggregate": None}
        return await answer(request, who, "evaluation.get", data)

    @router.delete("", summary="Reset: delete all evaluations of the experiment, or the one that is named")
    async def delete(
        request: Request, who: FromCaller, project_id: str, experiment_id: str, evaluation: Which = None
    ) -> Response:
        await runs.reset(who.person, project_id, experiment_id, evaluation or None)
        data = {"project_id": project_id, "experiment_id": experiment_id, "deleted": True}
        return await answer(request, who, "evaluation.delete", data)

    @router.get("/evaluations", summary="All evaluations of the experiment, the oldest first")
    async def listing(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(evaluations.all, who.person, project_id, experiment_id)
        return await answer(request, who, "evaluation.list", {"evaluations": msgspec.to_builtins(found)})

    @router.get("/checkpoints", summary="Names of the checkpoints that exist")
    async def checkpoints(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(evaluations.checkpoints, who.person, project_id, experiment_id)
        return await answer(request, who, "evaluation.checkpoints", {"checkpoints": list(found)})


def _query(
    sort_by: Literal["filename", "confidence", "error", "loss", ""] = "",
    sort_order: Literal["asc", "desc", ""] = "",
    filter_correct: Literal["true", "false", "1", "0", "correct", "incorrect", ""] = "",
    filter_class: Text = "",
    filter_predicted: Text = "",
    filter_subset: Literal["train", "val", "test", ""] = "",
    search: Text = "",
) -> ResultQuery:
    """What is empty counts as not given."""
    right = None if not filter_correct else filter_correct in ("true", "1", "correct")
    return ResultQuery(
        sort_by=sort_by or "filename",
        sort_order=sort_order or "asc",
        filter_correct=right,
        filter_class=filter_class or None,
        filter_predicted=filter_predicted or None,
        filter_subset=filter_subset or None,
        search=search,
    )


Asked = Annotated[ResultQuery, Depends(_query)]
PageNumber = Annotated[int, Query(ge=1, le=10_000_000)]
PageSize = Annotated[int, Query(ge=1, le=500)]


def _results(router: APIRouter, studio: WorkingStudio) -> None:
    views = studio.evaluation_views

    @router.get("/results", summary="A page of the pictures that fit")
    async def results(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        query: Asked,
        page: PageNumber = 1,
        page_size: PageSize = 50,
        evaluation: Which = None,
    ) -> Response:
        def read() -> dict[str, Any]:
            key = _key(studio, who, project_id, experiment_id, evaluation)
            found = views.page(key, query, page=page, page_size=page_size)
            return {
                "page": page,
                "page_size": page_size,
                "total_items": found.total,
                "total_pages": -(-found.total // page_size),
                "items": msgspec.to_builtins(found.results),
                "evaluation_id": key[2],
            }

        return await answer(request, who, "evaluation.results", await asyncio.to_thread(read))

    @router.get("/results/{filename}/info", summary="One picture, and what stands beside it in the list")
    async def info(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        filename: str,
        query: Asked,
        page_size: PageSize = 50,
        evaluation: Which = None,
    ) -> Response:
        def read() -> dict[str, Any]:
            key = _key(studio, who, project_id, experiment_id, evaluation)
            result = views.one(key, filename)
            place = views.place(key, query, filename, page_size=page_size)
            return {
                "result": msgspec.to_builtins(result),
                **_of_dataset(studio, project_id, result.id),
                "navigation": {
                    "page": place.page,
                    "previous_filename": place.previous,
                    "next_filename": place.next,
                },
            }

        return await answer(request, who, "evaluation.info", await asyncio.to_thread(read))

    @router.get("/compare", summary="Against another evaluation, on the pictures that both looked at")
    async def compare(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        other: Annotated[str, Query(max_length=80, description="EXPERIMENT or EXPERIMENT/EVALUATION")],
        evaluation: Which = None,
    ) -> Response:
        def read() -> dict[str, Any]:
            first = _key(studio, who, project_id, experiment_id, evaluation)
            name, _, number = other.partition("/")
            second = _key(studio, who, project_id, name, number)
            if first == second:
                raise Invalid(
                    "An evaluation is compared with another one.", code="evaluation.same", field="other"
                )
            return views.compare(first, second)

        return await answer(request, who, "evaluation.compare", await asyncio.to_thread(read))


def _files(router: APIRouter, studio: WorkingStudio) -> None:
    @router.get("/saliency/{filename}", summary="Where on the picture a class was found (Grad-CAM), as PNG")
    async def saliency(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        filename: str,
        class_name: Annotated[
            str, Query(alias="class", max_length=200, description="by default the predicted one")
        ] = "",
        evaluation: Which = None,
    ) -> Response:
        key = await asyncio.to_thread(_key, studio, who, project_id, experiment_id, evaluation)
        stop = StopToken()

        async def gone() -> None:
            stop.stop(StopReason.CLIENT_GONE)

        work = studio.saliency.show(who.person, key, filename, class_name or None, stop)
        path = await while_connected(request.receive, work, on_gone=gone)
        headers = {"cache-control": "private, max-age=3600"}
        return FileResponse(path, media_type="image/png", headers=headers)

    @router.get("/files/{name}", summary="Results, figures, curves and plots as files")
    async def file(
        who: FromCaller, project_id: str, experiment_id: str, name: str, evaluation: Which = None
    ) -> Response:
        def read() -> tuple[bytes, str, str]:
            key = _key(studio, who, project_id, experiment_id, evaluation)
            data, media_type = studio.evaluation_views.file(key, name)
            return data, media_type, f"{key[1]}-{key[2]}-{name}"

        data, media_type, filename = await asyncio.to_thread(read)
        kind = "inline" if media_type == "image/png" else "attachment"
        headers = {"content-disposition": f"{kind}; filename*=utf-8''{quote(filename)}"}
        return Response(data, media_type=media_type, headers=headers)


# -- in a thread -----------------------------------------------------------------------------------------


def _key(studio: WorkingStudio, who: Caller, project: str, experiment: str, evaluation: str | None) -> Key:
    return studio.evaluations.key(who.person, project, experiment, evaluation or None)


async def _record(
    studio: WorkingStudio, who: Caller, project: str, experiment: str, evaluation: str | None
) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        record, figures = studio.evaluations.get(who.person, project, experiment, evaluation)
        return {
            "evaluation": msgspec.to_builtins(record),
            "aggregate": None if figures is None else msgspec.to_builtins(figures),
        }

    return await asyncio.to_thread(read)


def _of_dataset(studio: WorkingStudio, project: str, image: str) -> dict[str, Any]:
    """What the data set says of the picture now; nulls where it is gone."""
    try:
        record = studio.datasets.get(project, image)
    except ImageNotFound:
        return {"image": None, "dataset": None}
    splits = studio.splits.summaries(project)
    parts = studio.datasets.subsets(project, [record.id], [one.id for one in splits])[record.id]
    return {
        "image": {
            "id": record.id,
            "filename": record.filename,
            "width": record.width,
            "height": record.height,
            "tags": list(record.tags),
            "annotations": msgspec.to_builtins(record.annotations),
        },
        "dataset": {
            "class_name": primary_class(record.annotations),
            "annotation_count": len(record.annotations),
            "split_assignments": [{"name": one.name, "value": parts.get(one.id, "none")} for one in splits],
        },
    }


async def _asked(request: Request) -> EvaluationRequest:
    """As AI Studio's form sends it: an ending `.ckpt` is taken off, one subset may stand alone."""
    given, is_form = await fields(request)
    asked = {name: value for name, value in given.items() if value not in ("", None)}
    checkpoint = asked.get("checkpoint")
    if isinstance(checkpoint, str):
        asked["checkpoint"] = checkpoint.strip().removesuffix(".ckpt")
    if isinstance(asked.get("split_subsets"), str):
        asked["split_subsets"] = [asked["split_subsets"]]
    return converted(asked, EvaluationRequest, is_form=is_form)


def _require_done(job: Job) -> None:
    """Raises the error that the job ended with. What a worker could not evaluate is the order's fault for AI
    Studio's clients, who read 422."""
    error = job.error
    if job.state is not JobState.SUCCEEDED and error is not None and error.kind == "failed":
        raise EvaluationRefused(error.message, code=error.code, hint=error.hint)
    require_succeeded(job)
