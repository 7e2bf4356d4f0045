# SPDX-License-Identifier: Apache-2.0
"""/api/training: experiments, what becomes of them, and their news as they happen."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.projects.envelope import (
    REFUSALS,
    BodyInvalid,
    EnvelopeRoute,
    answer,
    fields,
    invalid_field,
    ok,
    unknown_field,
)
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import Invalid
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.sse import EventStream, ServerEvent, last_event_id
from inglenook.studio.studio import WorkingStudio
from inglenook.studio.training.comparison import metrics_csv, spec_csv
from inglenook.studio.training.model import Experiment
from inglenook.studio.training.news import News

FIELDS = frozenset(
    {
        *("name", "description", "split_name", "preset"),
        *("model", "hyperparameters", "augmentations", "hardware"),
    }
)
_TEXTS = ("name", "description", "split_name", "preset")


def training_router(studio: WorkingStudio) -> APIRouter:
    router = APIRouter(
        prefix="/api/training/{project_id}/experiments",
        tags=["training"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    _documents(router, studio)
    _queue(router, studio)
    _results(router, studio)
    return router


def _documents(router: APIRouter, studio: WorkingStudio) -> None:
    experiments = studio.experiments

    @router.get("", summary="The project's experiments, in the order in which they were made")
    async def listing(request: Request, who: FromCaller, project_id: str) -> Response:
        found = await asyncio.to_thread(experiments.list, who.person, project_id)
        data = {"experiments": msgspec.to_builtins(found)}
        return await answer(request, who, "training.list", data)

    @router.post("", summary="Make an experiment; what is not said is the task's own, or a preset's")
    async def create(request: Request, who: FromCaller, project_id: str) -> Response:
        asked = await _asked(request)
        try:
            made = await asyncio.to_thread(experiments.create, who.person, project_id, asked)
        except Invalid as error:
            raise invalid_field(error) from None
        return await answer(request, who, "training.create", as_json(made))

    @router.get("/compare", summary="What differs between experiments, and their curves")
    async def compare(
        request: Request,
        who: FromCaller,
        project_id: str,
        ids: Annotated[str, Query(max_length=1000, description="two or more, with commas between them")],
    ) -> Response:
        names = [it.strip() for it in ids.split(",") if it.strip()]
        data = await asyncio.to_thread(experiments.compare, who.person, project_id, names)
        return await answer(request, who, "training.compare", data)

    @router.get("/{experiment_id}", summary="One experiment")
    async def one(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.get, who.person, project_id, experiment_id)
        return await answer(request, who, "training.get", as_json(found))

    @router.patch("/{experiment_id}", summary="Change what is named; the configuration before it is started")
    async def update(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        asked = await _asked(request)
        try:
            changed = await asyncio.to_thread(
                experiments.update, who.person, project_id, experiment_id, asked
            )
        except Invalid as error:
            raise invalid_field(error) from None
        return await answer(request, who, "training.update", as_json(changed))

    @router.delete("/{experiment_id}", summary="Delete it with its checkpoints and evaluations")
    async def delete(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        await asyncio.to_thread(experiments.delete, who.person, project_id, experiment_id)
        data = {"project_id": project_id, "experiment_id": experiment_id, "deleted": True}
        return await answer(request, who, "training.delete", data)

    @router.post("/{experiment_id}/duplicate", summary="A new one with the same configuration")
    async def duplicate(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        name = (await _asked(request, frozenset({"name"}))).get("name")
        try:
            made = await asyncio.to_thread(
                experiments.duplicate, who.person, project_id, experiment_id, name or None
            )
        except Invalid as error:
            raise invalid_field(error) from None
        return await answer(request, who, "training.duplicate", as_json(made))


def _queue(router: APIRouter, studio: WorkingStudio) -> None:
    runs = studio.runs

    @router.post("/{experiment_id}/train", summary="Start it: it gets its place in the queue")
    async def train(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        started = await runs.start(who.person, project_id, experiment_id)
        return await answer(request, who, "training.train", _moved(started))

    @router.post("/{experiment_id}/stop", summary="Stop it; a checkpoint is kept")
    async def stop(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        stopped = await runs.stop(who.person, project_id, experiment_id)
        return await answer(request, who, "training.stop", _moved(stopped))

    @router.post("/{experiment_id}/resume", summary="Go on from the last checkpoint")
    async def resume(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        resumed = await runs.resume(who.person, project_id, experiment_id)
        return await answer(request, who, "training.resume", _moved(resumed))

    @router.post("/{experiment_id}/restart", summary="Forget all results; then it can be changed and started")
    async def restart(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        again = await runs.restart(who.person, project_id, experiment_id)
        return await answer(request, who, "training.restart", as_json(again))

    @router.post("/{experiment_id}/find-batch-size", summary="Which batch fits and is fast; a job")
    async def find_batch_size(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        job = await runs.find(who.person, project_id, experiment_id, "batch_size")
        return ok({"experiment_id": experiment_id, "job_id": job.id})

    @router.post("/{experiment_id}/find-learning-rate", summary="Which learning rate suits; a job")
    async def find_rate(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        job = await runs.find(who.person, project_id, experiment_id, "learning_rate")
        return ok({"experiment_id": experiment_id, "job_id": job.id})

    @router.post("/{experiment_id}/preview", summary="What training will see of some pictures")
    async def preview(
        request: Request,
        who: FromCaller,
        project_id: str,
        experiment_id: str,
        pictures: Annotated[int, Query(ge=1, le=16)] = 4,
        epochs: Annotated[int, Query(ge=1, le=16)] = 4,
    ) -> Response:
        changes = await _asked(request)
        await asyncio.to_thread(studio.experiments.get, who.person, project_id, experiment_id)
        stop = StopToken()

        async def gone() -> None:
            stop.stop(StopReason.CLIENT_GONE)

        look = studio.previews.show(
            who.person,
            project_id,
            experiment_id,
            changes,
            pictures=pictures,
            epochs=epochs,
            stop=stop,
        )
        try:
            shown = await while_connected(request.receive, look, on_gone=gone)
        except Invalid as error:
            raise invalid_field(error) from None
        return ok(shown)

    @router.get("/{experiment_id}/stream", summary="What it does, as it happens (server-sent events)")
    async def stream(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        after = last_event_id(request)
        await asyncio.to_thread(studio.experiments.get, who.person, project_id, experiment_id)
        return EventStream(_as_sent(studio.watching.stream(project_id, experiment_id, after)))


def _results(router: APIRouter, studio: WorkingStudio) -> None:
    experiments = studio.experiments

    @router.get("/{experiment_id}/metrics", summary="The records of all epochs that are done")
    async def metrics(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.epochs, who.person, project_id, experiment_id)
        data = {"epochs": [record.as_json() for record in found]}
        return await answer(request, who, "training.metrics", data)

    @router.get("/{experiment_id}/metrics.csv", summary="The same as a table, a row an epoch")
    async def metrics_table(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.epochs, who.person, project_id, experiment_id)
        return _file(metrics_csv(found), "text/csv", f"{experiment_id}-metrics.csv")

    @router.get("/{experiment_id}/config.csv", summary="The configuration as a table")
    async def config_table(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.get, who.person, project_id, experiment_id)
        return _file(spec_csv(found), "text/csv", f"{experiment_id}-config.csv")

    @router.get("/{experiment_id}/config.json", summary="The configuration, as POST takes it")
    async def config(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.get, who.person, project_id, experiment_id)
        text = msgspec.json.format(msgspec.json.encode(found.spec), indent=2).decode() + "\n"
        return _file(text, "application/json", f"{experiment_id}-config.json")

    @router.get("/{experiment_id}/log", summary="The log, line by line")
    async def log(request: Request, who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.log, who.person, project_id, experiment_id)
        data = {"lines": [{"at": at, "text": text} for at, text in found]}
        return await answer(request, who, "training.log", data)

    @router.get(
        "/{experiment_id}/samples", summary="Pictures of the validation part with the last predictions"
    )
    async def samples(who: FromCaller, project_id: str, experiment_id: str) -> Response:
        found = await asyncio.to_thread(experiments.samples, who.person, project_id, experiment_id)
        return ok(found if found is not None else {"epoch": None, "samples": []})


# -- requests and answers ----------------------------------------------------------------------------------


async def _asked(request: Request, known_fields: frozenset[str] = FIELDS) -> dict[str, Any]:
    """The fields of an experiment. Raises BodyInvalid: one that is none, or a text that is no text."""
    asked, _ = await fields(request)
    unknown = [unknown_field(name, known_fields) for name in asked if name not in known_fields]
    if unknown:
        raise BodyInvalid(unknown)
    for name in _TEXTS:
        if name in asked:
            asked[name] = _text(asked, name)
    return asked


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise _invalid(name, f"{name} must be a text; got {value!r:.60}.")
    return value


def _invalid(field: str, message: str) -> BodyInvalid:
    return BodyInvalid([{"loc": ["body", *field.split(".")], "msg": message, "type": "value_error"}])


def as_json(experiment: Experiment) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(experiment)
    return said


def _moved(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment.id,
        "status": experiment.status.value,
        "job_id": experiment.job,
    }


def _file(text: str, media_type: str, name: str) -> Response:
    disposition = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(text, media_type=media_type, headers=disposition)


async def _as_sent(news: AsyncGenerator[News, None]) -> AsyncGenerator[ServerEvent, None]:
    async with aclosing(news):
        async for one in news:
            data = msgspec.json.encode(one.data).decode()
            yield ServerEvent(data=data, event=one.kind, id=None if one.id is None else str(one.id))
