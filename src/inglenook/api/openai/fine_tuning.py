# SPDX-License-Identifier: Apache-2.0
"""/v1/fine_tuning/jobs: OpenAI's shape over the studio's experiments. A job is one that was started.

`model` is a network (`resnet18` …); `training_file` a project (`proj-…`: its first split), a project and a
split (`proj-…/name`), or a split (`split-…`). `hyperparameters`: `n_epochs`, `batch_size`, and
`learning_rate_multiplier` of the task's own rate. `suffix` is the experiment's name. `spec` (ours, by
`extra_body`) may hold any part of an experiment's configuration, as /api/training takes it.
`fine_tuned_model` is the model of the library that was exported of it last, which /v1/vision/predict serves.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object
from inglenook.api.errors import errors, json_response
from inglenook.base.errors import InglenookError, Invalid, NotFound
from inglenook.base.ids import PersonId
from inglenook.door.caller import FromCaller, caller
from inglenook.studio.errors import SplitNotFound
from inglenook.studio.studio import WorkingStudio
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training.model import EpochRecord, Experiment, Status

_ID: Final = re.compile(r"ftjob-([0-9a-f]{8})-([0-9a-f]{8})")
_FILE: Final = re.compile(r"(proj-[0-9a-f]{8})(?:/(.+))?")
STATUS: Final[Mapping[Status, str]] = {
    Status.CREATED: "validating_files",
    Status.PENDING: "queued",
    Status.TRAINING: "running",
    Status.COMPLETED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
Limit = Annotated[int, Query(ge=1, le=100)]
Json = dict[str, Any]
Auto = Annotated[str, msgspec.Meta(pattern="^auto$")]


class Hyper(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    n_epochs: Annotated[int, msgspec.Meta(ge=1, le=1000)] | Auto = "auto"
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, msgspec.Meta(gt=0.0)] | Auto = "auto"


class Supervised(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hyperparameters: Hyper = Hyper()


class MethodField(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str
    supervised: Supervised | None = None


class NewJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    training_file: str
    hyperparameters: Hyper | None = None
    method: MethodField | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    suffix: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    metadata: dict[str, str] | None = None
    validation_file: None = None
    integrations: tuple[()] | None = None
    spec: Json | None = None
    preset: str | None = None


def fine_tuning_router(studio: WorkingStudio) -> APIRouter:
    router = APIRouter(
        prefix="/v1/fine_tuning/jobs",
        tags=["fine-tuning"],
        dependencies=[Depends(caller)],
        responses=errors(400, 404, 409),
    )
    desk = _Desk(studio)

    @router.post("", summary="Make an experiment and start it")
    async def create(request: Request, who: FromCaller) -> Response:
        return json_response(await desk.create(who.person, _new_job(await json_object(request))))

    @router.get("", summary="Experiments of all projects that were started, the newest first")
    async def listing(
        request: Request, who: FromCaller, limit: Limit = 20, after: str | None = None
    ) -> Response:
        wanted = {
            key[len("metadata[") : -1]: value
            for key, value in request.query_params.items()
            if key.startswith("metadata[") and key.endswith("]")
        }
        found = await asyncio.to_thread(desk.listing, who.person, wanted)
        return json_response(_page(found, limit, after))

    @router.get("/{job}", summary="One of them")
    async def one(who: FromCaller, job: str) -> Response:
        return json_response(await asyncio.to_thread(desk.one, who.person, job))

    @router.post("/{job}/cancel", summary="Stop it; a checkpoint is kept")
    async def cancel(who: FromCaller, job: str) -> Response:
        project, experiment = _ids(job)
        return await desk.told(project, await studio.runs.stop(who.person, project, experiment))

    @router.post("/{job}/pause", summary="The same: what was stopped can go on")
    async def pause(who: FromCaller, job: str) -> Response:
        return await cancel(who, job)

    @router.post("/{job}/resume", summary="Go on from the last checkpoint")
    async def resume(who: FromCaller, job: str) -> Response:
        project, experiment = _ids(job)
        return await desk.told(project, await studio.runs.resume(who.person, project, experiment))

    @router.get("/{job}/events", summary="What happened, the newest first")
    async def events(who: FromCaller, job: str, limit: Limit = 20, after: str | None = None) -> Response:
        found = await asyncio.to_thread(desk.events, who.person, job)
        return json_response(_page(found, limit, after))

    @router.get("/{job}/checkpoints", summary="The checkpoints that are kept, the newest first")
    async def checkpoints(who: FromCaller, job: str, limit: Limit = 10, after: str | None = None) -> Response:
        found = await asyncio.to_thread(desk.checkpoints, who.person, job)
        return json_response(_page(found, limit, after))

    return router


def _new_job(body: Json) -> NewJob:
    """Raises Invalid, with the field."""
    try:
        return msgspec.convert(body, NewJob)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or None
        raise Invalid(f"{field or 'The body'}: {what}.", field=field, code="fine_tuning.invalid") from None


class _Desk:
    def __init__(self, studio: WorkingStudio) -> None:
        self._studio = studio

    async def create(self, person: PersonId, asked: NewJob) -> Json:
        project, split = await asyncio.to_thread(self._data, person, asked.training_file)
        fields = _fields(asked) | {"split_name": split}
        made = await asyncio.to_thread(self._studio.experiments.create, person, project, fields)
        try:
            started = await self._studio.runs.start(person, project, made.id)
        except InglenookError:
            await asyncio.to_thread(self._studio.experiments.delete, person, project, made.id)
            raise
        return as_job(project, started, None)

    def _data(self, person: PersonId, name: str) -> tuple[str, str | None]:
        """The project and the split that are meant."""
        told = _FILE.fullmatch(name)
        if told is not None:
            return told[1], told[2]
        if name.startswith("split-"):
            for project in self._studio.projects.list(person).projects:
                try:
                    return project.id, self._studio.splits.find(project.id, name)
                except SplitNotFound:
                    continue
        raise NotFound(
            f"There is no training file {name[:80]!r}.",
            code="fine_tuning.no_file",
            field="training_file",
            hint="name a project (proj-…), a project and its split (proj-…/name), or a split (split-…)",
        )

    def listing(self, person: PersonId, metadata: Mapping[str, str]) -> Sequence[Json]:
        experiments = self._studio.experiments
        found = [
            (project.id, experiments.get(person, project.id, line.id))
            for project in self._studio.projects.list(person).projects
            for line in experiments.list(person, project.id)
            if line.status is not Status.CREATED
        ]
        found.sort(key=lambda it: it[1].created_at, reverse=True)
        models = self._studio.exports.models_of(found)
        return [
            as_job(project, one, models.get((project, one.id)))
            for project, one in found
            if all(one.metadata.get(key) == value for key, value in metadata.items())
        ]

    def one(self, person: PersonId, job: str) -> Json:
        project, experiment = _ids(job)
        return self._job(project, self._studio.experiments.get(person, project, experiment))

    def _job(self, project: str, experiment: Experiment) -> Json:
        models = self._studio.exports.models_of([(project, experiment)])
        return as_job(project, experiment, models.get((project, experiment.id)))

    async def told(self, project: str, experiment: Experiment) -> Response:
        return json_response(await asyncio.to_thread(self._job, project, experiment))

    def events(self, person: PersonId, job: str) -> Sequence[Json]:
        project, experiment = _ids(job)
        lines = self._studio.experiments.log(person, project, experiment)
        records = {one.epoch: one for one in self._studio.experiments.epochs(person, project, experiment)}
        told = [_event(job, number, at, text, records) for number, (at, text) in enumerate(lines)]
        return told[::-1]

    def checkpoints(self, person: PersonId, job: str) -> Sequence[Json]:
        project, experiment = _ids(job)
        found = self._studio.experiments.get(person, project, experiment)
        records = {one.epoch: one for one in self._studio.experiments.epochs(person, project, experiment)}
        told = [
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt-{experiment[4:]}-{name}",
                "created_at": _seconds(kept.written_at),
                "fine_tuned_model_checkpoint": f"{project}/{experiment}/{name}",
                "fine_tuning_job_id": job,
                "metrics": {"step": kept.epoch, **_metrics(records.get(kept.epoch))},
                "step_number": kept.epoch,
            }
            for name, kept in found.checkpoints.items()
        ]
        return sorted(told, key=lambda one: (one["created_at"], one["id"]), reverse=True)


def _fields(asked: NewJob) -> Json:
    """OpenAI's fields as an experiment's. Raises Invalid."""
    hyper = asked.hyperparameters or Hyper()
    if asked.method is not None:
        if asked.method.type != "supervised":
            raise Invalid("Only the method supervised is offered.", field="method", code="fine_tuning.method")
        hyper = (asked.method.supervised or Supervised()).hyperparameters
    spec = dict(asked.spec or {})
    model = {"backbone": asked.model, **spec.get("model", {})}
    told: Json = dict(spec.get("hyperparameters", {}))
    if hyper.n_epochs != "auto":
        told["max_epochs"] = hyper.n_epochs
    if hyper.batch_size != "auto":
        told["batch_size"] = hyper.batch_size
    if not isinstance(hyper.learning_rate_multiplier, str):
        usual = require_available("classification").defaults().hyperparameters.learning_rate
        told["learning_rate"] = usual * hyper.learning_rate_multiplier
    if asked.seed is not None:
        told["seed"] = asked.seed
    unknown = set(spec) - {"model", "hyperparameters", "augmentations", "hardware"}
    if unknown:
        raise Invalid(f"spec has no part {min(unknown)[:60]!r}.", field="spec")
    return {
        **spec,
        "name": asked.suffix,
        "preset": asked.preset,
        "model": model,
        "hyperparameters": told,
        "metadata": asked.metadata,
    }


def as_job(project: str, experiment: Experiment, model: str | None) -> Json:
    """Args:
    model: of the library, that was exported of it.
    """
    spec = experiment.spec
    usual = require_available(experiment.task).defaults().hyperparameters.learning_rate
    hyper = {
        "n_epochs": spec.hyperparameters.max_epochs,
        "batch_size": spec.hyperparameters.batch_size,
        "learning_rate_multiplier": spec.hyperparameters.learning_rate / usual,
    }
    why = experiment.error
    return {
        "object": "fine_tuning.job",
        "id": f"ftjob-{project[5:]}-{experiment.id[4:]}",
        "created_at": _seconds(experiment.created_at),
        "finished_at": None if experiment.completed_at is None else _seconds(experiment.completed_at),
        "status": STATUS[experiment.status],
        "model": experiment.model.backbone,
        "training_file": f"{project}/{experiment.split_name}",
        "validation_file": None,
        "fine_tuned_model": model,
        "organization_id": experiment.owner,
        "result_files": [],
        "trained_tokens": None,
        "estimated_finish": None,
        "integrations": [],
        "seed": spec.hyperparameters.seed,
        "hyperparameters": hyper,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyper}},
        "user_provided_suffix": experiment.name,
        "metadata": experiment.metadata,
        "error": None if why is None else {"code": why.type, "message": why.message, "param": None},
        "experiment": {"project_id": project, "id": experiment.id},
    }


def _event(job: str, number: int, at: str, text: str, records: Mapping[int, EpochRecord]) -> Json:
    epoch = re.match(r"epoch (\d+): ", text)
    record = None if epoch is None else records.get(int(epoch[1]))
    level = {"failed": "error", "cancelled": "warn"}.get(text.partition(":")[0], "info")
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{job[6:]}-{number}",
        "created_at": _seconds(at),
        "level": level,
        "message": text,
        "type": "message" if record is None else "metrics",
        "data": {} if record is None else {"step": record.epoch, **record.values},
    }


def _metrics(record: EpochRecord | None) -> Json:
    """By OpenAI's names where it has one."""
    if record is None:
        return {}
    names = {"train_loss": "train_loss", "val_loss": "valid_loss"}
    return {ours: record.values[name] for name, ours in names.items() if name in record.values}


def _page(found: Sequence[Json], limit: int, after: str | None) -> Json:
    """Raises NotFound: `after` is none of them."""
    start = 0
    if after is not None:
        places = [place for place, one in enumerate(found) if one["id"] == after]
        if not places:
            raise NotFound(f"There is nothing with the id {after[:80]!r} to go on after.", field="after")
        start = places[0] + 1
    data = list(found[start : start + limit])
    return {"object": "list", "data": data, "has_more": start + limit < len(found)}


def _ids(job: str) -> tuple[str, str]:
    """Raises NotFound."""
    told = _ID.fullmatch(job)
    if told is None:
        raise NotFound(f"There is no fine-tuning job {job[:80]!r}.", code="fine_tuning.not_found")
    return f"proj-{told[1]}", f"exp-{told[2]}"


def _seconds(at: str) -> int:
    """A time of a document as seconds since 1970."""
    return int(datetime.fromisoformat(at).timestamp())
