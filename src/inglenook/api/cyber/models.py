# SPDX-License-Identifier: Apache-2.0
"""/admin/models: what there is, load, unload, options, delete. What needs a hub is refused in words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.cyber.machine import KINDS, Machine, moment, number, session
from inglenook.api.cyber.shapes import OBJECT, errors, optional_object, required_object, whole
from inglenook.api.deleting import Deleting
from inglenook.api.errors import answer, json_response
from inglenook.api.studio.models import Load
from inglenook.base.cancel import StopToken
from inglenook.base.errors import Conflict, Failed, Invalid, NotFound, NotOffered
from inglenook.base.ids import PersonId
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.chat.errors import NotLoaded
from inglenook.chat.model import ModelOptions
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown
from inglenook.door.routes import add_routes

OPTIONS: Final[Mapping[str, str]] = {
    "default_context_size": "context",
    "default_temperature": "temperature",
    "default_top_p": "top_p",
    "default_top_k": "top_k",
    "default_max_tokens": "max_tokens",
    "default_repeat_penalty": "repeat_penalty",
}
"""Its names of a model's options, and ours."""
_ALL_LAYERS: Final = -1
_TYPES: Final[Mapping[LanguageTask, str]] = {
    LanguageTask.CHAT: "chat",
    LanguageTask.EMBEDDING: "embedding",
    LanguageTask.RERANK: "rerank",
}
_LIST: Final[dict[str, Any]] = {"type": "array", "items": OBJECT}
_BRING: Final = "put the file into a model folder (`inglenook config show` names them): it is found there"
_NO_HUB: Final = "No model hub is asked from here yet."


def _router() -> APIRouter:
    return APIRouter(
        prefix="/admin/models",
        tags=["cyber-inference"],
        dependencies=[Depends(caller), Depends(administrator)],
    )


def model_routes(machine: Machine, *, own_models: Path, loads: Mapping[ModelKind, Load]) -> APIRouter:
    router = _router()
    deleting = Deleting(catalog=machine.catalog, runtime=machine.runtime, own_models=own_models)

    @router.get(
        "",
        summary="Language and speech models (Cyber-Inference)",
        responses={
            200: answer("Also those that cannot be used: then is_enabled is false.", _LIST),
            **errors(),
        },
    )
    def listing() -> Response:
        records = [record for kind in KINDS for record in machine.catalog.list(kind)]
        return json_response([_as_json(machine, record) for record in records])

    add_routes(router, _hub_routes(machine))
    add_routes(router, _loading_routes(machine, loads))

    @router.get(
        "/{name:path}/config",
        summary="A model's own options (Cyber-Inference)",
        responses={200: answer("null where nothing is set.", OBJECT), **errors(404)},
    )
    def config(name: str) -> Response:
        record = _language(machine, name)
        said = _options(record, machine.language.options(record.id).options)
        context = record.language.context if record.language is not None else None
        return json_response({**said, "context_length": context})

    @router.put(
        "/{name:path}/config",
        summary="Set a model's own options; null clears one (Cyber-Inference)",
        responses={200: answer("As they are now.", OBJECT), **errors(400, 404)},
    )
    async def configure(request: Request, name: str, who: FromCaller) -> Response:
        body = await required_object(request)
        record = await run_in_threadpool(_language, machine, name)
        # What that system's own form sends beside the options is passed over, as it does.
        changes = {ours: body[theirs] for theirs, ours in OPTIONS.items() if theirs in body}
        kept = await machine.language.set_options(record, changes, person=who.person)
        return json_response(_options(record, kept.options))

    @router.delete(
        "/{name:path}",
        summary="Delete a model of the data folder for good (Cyber-Inference)",
        responses={200: answer("It is gone.", OBJECT), **errors(404, 409)},
    )
    async def delete(name: str) -> Response:
        await deleting.delete(await run_in_threadpool(_exactly, machine, name))
        return json_response({"status": "deleted", "model": name})

    return router


def _loading_routes(machine: Machine, loads: Mapping[ModelKind, Load]) -> APIRouter:
    router = _router()

    @router.post(
        "/{name:path}/load",
        summary="Load a model and wait for it; context_size and gpu_layers are honoured (Cyber-Inference)",
        responses={200: answer("Its process as a session.", OBJECT), **errors(400, 404, 409, 499, 503)},
    )
    async def load(request: Request, name: str, who: FromCaller) -> Response:
        body = await optional_object(request)
        record = await run_in_threadpool(_usable, machine, name)
        context, gpu_layers = whole(body, "context_size"), whole(body, "gpu_layers")
        if record.kind is ModelKind.LANGUAGE:
            work = _Loading(machine, record, who.person, context, gpu_layers).run()
        else:
            _require_nothing(record, context_size=context, gpu_layers=gpu_layers)
            work = loads[record.kind](record, who.person)
        await while_connected(request.receive, work, on_gone=_nothing)
        snapshot = machine.runtime.snapshot()
        for resident in snapshot["residents"]:
            if resident["model"] == record.id and resident["state"] == "ready":
                return json_response(session(machine, record, resident, snapshot, request.url.port or 0))
        raise Failed(f"{record.id} was loaded, and is gone again.", code="model.gone", hint="try again")

    @router.post(
        "/{name:path}/unload",
        summary="Unload a model: now, or when its work is done (Cyber-Inference)",
        responses={200: answer("`status` is unloaded, or unloading while it works.", OBJECT), **errors(404)},
    )
    async def unload(name: str) -> Response:
        record = await run_in_threadpool(_usable, machine, name)
        try:
            state = await machine.language.unload(record)
        except NotLoaded:
            return json_response({"status": "unloaded", "model": name})
        status = "unloading" if state.leases else "unloaded"
        return json_response({"status": status, "model": name})

    return router


class _Loading:
    """A load with what was asked for it. `gpu_layers`: -1 for as many as fit."""

    def __init__(
        self,
        machine: Machine,
        record: ModelRecord,
        person: PersonId,
        context: int | None,
        gpu_layers: int | None,
    ) -> None:
        self._machine = machine
        self._record = record
        self._person = person
        self._context = context
        if context is not None and context < 1:
            raise Invalid(f"context_size must be at least 1; got {context}.", field="context_size")
        if gpu_layers is not None and gpu_layers < _ALL_LAYERS:
            raise Invalid(f"gpu_layers must be at least {_ALL_LAYERS}; got {gpu_layers}.", field="gpu_layers")
        self._gpu_layers = gpu_layers

    async def run(self) -> None:
        language, record = self._machine.language, self._record
        if self._gpu_layers is not None:
            # Kept with the model: every load, also a later one by itself, does what was asked here.
            wanted = None if self._gpu_layers == _ALL_LAYERS else self._gpu_layers
            await language.set_options(record, {"gpu_layers": wanted}, person=self._person)
            await self._reload_if_stale()
        async with language.exchange(record, person=self._person, stop=StopToken(), context=self._context):
            pass

    async def _reload_if_stale(self) -> None:
        if "gpu_layers" in self._machine.language.state(self._record).stale:
            await self._machine.language.unload(self._record)


async def _nothing() -> None:
    """The wait is cancelled, which is all there is to do."""


# -- what needs a hub ------------------------------------------------------------------------------------


def _hub_routes(machine: Machine) -> APIRouter:
    router = _router()

    @router.get(
        "/repo-files",
        summary="Refused: what a repository of a hub holds (Cyber-Inference)",
        responses=errors(400, 501),
    )
    def repo_files(repo_id: str = "") -> Response:
        raise NotOffered(
            f"{_NO_HUB} What {shown(repo_id)} holds is not known.", code="model.no_download", hint=_BRING
        )

    @router.get(
        "/suggest-mmproj",
        summary="Which of these projectors fits a model by its name (Cyber-Inference)",
        responses={200: answer("null where none does.", OBJECT), **errors()},
    )
    def suggest_mmproj(model_filename: str = "", mmproj_files: str = "") -> Response:
        files = [name.strip() for name in mmproj_files[:10_000].split(",") if name.strip()]
        return json_response({"suggested_mmproj": suggested_projector(model_filename[:1000], files)})

    for path in ("/download", "/download-transformers"):
        _refuse_download(router, machine, path)
    return router


def _refuse_download(router: APIRouter, machine: Machine, path: str) -> None:
    @router.post(
        path,
        summary="A model that is here already; nothing is downloaded (Cyber-Inference)",
        responses={200: answer("The model.", OBJECT), **errors(400, 501)},
    )
    async def download(request: Request) -> Response:
        body = await required_object(request)
        names = [body.get(key) for key in ("name", "hf_filename", "hf_repo_id")]
        wanted = [name for name in names if isinstance(name, str) and name]
        if not wanted:
            raise Invalid("hf_repo_id is required.", field="hf_repo_id", code="request.missing_field")
        for name in wanted:
            try:
                record = await run_in_threadpool(_usable, machine, name.removesuffix(".gguf"))
            except (NotFound, Invalid, Conflict):
                continue
            return json_response(_as_json(machine, record))
        text = f"{_NO_HUB} {shown(wanted[0])} is not here."
        raise NotOffered(text, code="model.no_download", hint=_BRING)


def suggested_projector(model: str, files: list[str]) -> str | None:
    """The projector whose name shares most with the model's; the only one there is; None where none fits."""
    if len(files) == 1:
        return files[0]
    words = _words(model)
    scored = [(len(words & (_words(name) - {"mmproj"})), -len(name), name) for name in files]
    best = max(scored, default=None)
    return best[2] if best is not None and best[0] > 0 else None


def _words(name: str) -> frozenset[str]:
    stem = name.rpartition("/")[2].lower().removesuffix(".gguf")
    return frozenset(stem.replace("_", "-").replace(".", "-").split("-")) - {""}


# -- models ----------------------------------------------------------------------------------------------


def _usable(machine: Machine, name: str, *kinds: ModelKind) -> ModelRecord:
    """The model of this name, as clients of /v1 call it. Blocks.

    Args:
        kinds: of which it may be; without any, each that this dialect lists.

    Raises:
        NotFound: there is none.
        Conflict: it cannot be used. Invalid: it is of another kind.
    """
    record = machine.language.find(name)
    if record.problem is not None:  # a file that cannot be read is of no kind
        fact, _, hint = record.problem.partition("\nhint: ")
        raise Conflict(f"{record.id} cannot be used: {fact}", code="model.unusable", hint=hint or None)
    if record.kind not in (kinds or KINDS):
        raise Invalid(f"{record.id} is a model of kind {record.kind}.", code="model.wrong_kind", field="name")
    return record


def _language(machine: Machine, name: str) -> ModelRecord:
    """The same, of a language model. Blocks. Raises as `_usable`."""
    return _usable(machine, name, ModelKind.LANGUAGE)


def _require_nothing(record: ModelRecord, **options: int | None) -> None:
    """Raises Invalid: what only a language model has is asked of another one."""
    for name, value in options.items():
        if value is not None:
            message = f"{record.id} is a model of kind {record.kind}, which has no {name}."
            raise Invalid(message, field=name, code="model.wrong_kind")


def _exactly(machine: Machine, name: str) -> ModelRecord:
    """What is deleted is not guessed: by its whole id. Blocks. Raises NotFound."""
    for kind in KINDS:
        for record in machine.catalog.list(kind):
            if record.id == name:
                return record
    raise ModelNotFound(
        f"There is no model {shown(name)}.", hint="GET /admin/models lists them", field="name"
    )


def _options(record: ModelRecord, options: ModelOptions) -> dict[str, Any]:
    return {"model": record.id, **{theirs: getattr(options, ours) for theirs, ours in OPTIONS.items()}}


def _as_json(machine: Machine, record: ModelRecord) -> dict[str, Any]:
    facts = record.language
    counted = machine.language.counters().get(record.id)
    projector = machine.language.projector(record)
    return {
        "id": number(record.id),
        "name": record.id,
        "filename": record.path.name,
        "file_path": str(record.path),
        "hf_repo_id": None,
        "size_bytes": record.weights_bytes,
        "quantization": facts.quantisation or None if facts is not None else None,
        "context_length": facts.context if facts is not None else None,
        "model_type": _type(machine, record, sees=machine.language.sees(record)),
        "engine_type": "llama" if facts is not None else "whisper",
        "mmproj_path": None if projector is None else str(projector.path),
        "is_downloaded": True,
        "is_enabled": record.problem is None,
        "problem": record.problem,
        "download_progress": 100.0,
        "created_at": moment(datetime.fromtimestamp(record.created, UTC)),
        "last_used_at": None if counted is None or counted.last_used is None else moment(counted.last_used),
    }


def _type(machine: Machine, record: ModelRecord, *, sees: bool) -> str:
    if record.kind is ModelKind.SPEECH:
        return "transcription"
    task = machine.language.task_of(record) or LanguageTask.CHAT
    return "vlm" if sees and task is LanguageTask.CHAT else _TYPES[task]
