# SPDX-License-Identifier: Apache-2.0
"""What is here: /pixel/health, /models, /loras, /engines, /mlx_models; and what is chosen: /load_model,
/set_engine. A choice is the caller's own; the accelerator is shared through the scheduler all the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object
from inglenook.api.errors import answer, json_response
from inglenook.api.pixelai.asked import NO_LORA
from inglenook.api.pixelai.chosen import AUTO, Choice
from inglenook.api.pixelai.desk import Desk
from inglenook.api.pixelai.keys import shown_key
from inglenook.api.pixelai.reading import Fields
from inglenook.api.pixelai.shapes import OBJECT, errors, failed_with
from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import ModelId
from inglenook.base.units import KIB
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.door.disconnect import while_connected
from inglenook.door.problem import shown
from inglenook.door.services import Catalog, Runtime, SpriteMaking
from inglenook.images.engines import EngineStatus
from inglenook.images.model import Engine

MAX_BODY_BYTES: Final = 64 * KIB
READY: Final = "ready"


def machine_routes(
    desk: Desk, *, sprites: SpriteMaking, catalog: Catalog, runtime: Runtime, version: str
) -> APIRouter:
    router = APIRouter(tags=["pixelai"], dependencies=[Depends(caller), Depends(shown_key)])

    @router.get(
        "/pixel/health",
        summary="Whether it is here, and what the caller's next sprite is drawn with (PixelAI)",
        responses={200: answer("The model and the engine are the caller's choice.", OBJECT), **errors()},
    )
    async def health(who: FromCaller) -> Response:
        choice = await run_in_threadpool(desk.choices.of, who.person)
        return json_response(await run_in_threadpool(_health, desk, runtime.snapshot(), choice, version))

    @router.get(
        "/pixel/models",
        summary="The models that draw (PixelAI)",
        responses={200: answer("Their ids, and what each is.", OBJECT), **errors()},
    )
    async def models() -> Response:
        records = await run_in_threadpool(drawing_models, catalog)
        details = models_json(records, runtime.snapshot(), await sprites.engines())
        return json_response({"models": [record.id for record in records], "details": details})

    @router.get(
        "/pixel/loras",
        summary="The LoRAs, and which of them fit the caller's model (PixelAI)",
        responses={200: answer("By family, never by name.", OBJECT), **errors()},
    )
    def loras(who: FromCaller) -> Response:
        return json_response(_loras(desk, catalog, desk.choices.of(who.person)))

    @router.get(
        "/pixel/engines",
        summary="Which programs can draw, and what each can do",
        responses={200: answer("The capability matrix.", OBJECT), **errors()},
    )
    async def engines(who: FromCaller) -> Response:
        choice = await run_in_threadpool(desk.choices.of, who.person)
        return json_response(
            {"engines": [engine_json(one) for one in await sprites.engines()], "chosen": choice.engine}
        )

    @router.get(
        "/pixel/mlx_models",
        summary="The models that were converted for MLX",
        responses={200: answer("Ids of the converted models.", OBJECT), **errors()},
    )
    async def mlx_models() -> Response:
        """The conversions alone: a model that has one is drawn with it, and is not one itself."""
        found = next((one for one in await sprites.engines() if one.name is Engine.MLX), None)
        records = await run_in_threadpool(drawing_models, catalog)
        return json_response(
            {
                "models": [record.id for record in records if record.engine == Engine.MLX],
                "available": found is not None and found.available,
                "why_not": "this program has no MLX engine" if found is None else found.why_not,
            }
        )

    _choosing_routes(router, desk, sprites=sprites, runtime=runtime)
    return router


def _choosing_routes(router: APIRouter, desk: Desk, *, sprites: SpriteMaking, runtime: Runtime) -> None:
    @router.post(
        "/pixel/load_model",
        summary="Choose a model for what names none, and load it (PixelAI)",
        dependencies=[Depends(administrator)],
        openapi_extra=_body("model_name"),
        responses={200: answer("It is ready.", OBJECT), **errors(400, 404, 499, 503)},
    )
    async def load_model(request: Request, who: FromCaller) -> Response:
        name = await _only(request, "model_name", "No model name provided")
        choice = await run_in_threadpool(desk.choices.of, who.person)
        try:
            record = await run_in_threadpool(desk.model, name)
            stop = StopToken()

            async def gone() -> None:
                stop.stop(StopReason.CLIENT_GONE)

            loading = sprites.preload(record.id, Engine(choice.engine), person=who.person, stop=stop)
            drawn_with = await while_connected(request.receive, loading, on_gone=gone)
        except InglenookError as error:
            return failed_with(error, engine=choice.engine)
        chosen = ModelId(AUTO) if name == AUTO else record.id
        await run_in_threadpool(desk.choices.choose, who.person, model=chosen)
        device = _device_of(runtime.snapshot(), drawn_with)
        return json_response({"success": True, "model": record.id, "device": device})

    @router.post(
        "/pixel/set_engine",
        summary="Choose an engine for what names none (PixelAI)",
        openapi_extra=_body("engine"),
        responses={200: answer("Whether that was a change.", OBJECT), **errors(400)},
    )
    async def set_engine(request: Request, who: FromCaller) -> Response:
        name = await _only(request, "engine", "No engine provided")
        if name not in tuple(Engine):
            raise Invalid(
                f"There is no engine {shown(name)}.", field="engine", hint=f"there are {', '.join(Engine)}"
            )
        before = await run_in_threadpool(desk.choices.of, who.person)
        after = await run_in_threadpool(desk.choices.choose, who.person, engine=name)
        said = {"success": True, "engine": after.engine, "changed": before.engine != after.engine}
        status = next((one for one in await sprites.engines() if one.name == name), None)
        if status is not None and not status.available:
            said |= {"available": False, "why_not": status.why_not, "hint": status.hint}
        return json_response(said)


def _body(name: str) -> dict[str, Any]:
    schema = {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _only(request: Request, name: str, missing: str) -> str:
    """The one field of a body. Raises Invalid."""
    fields = Fields(await json_object(request, limit_bytes=MAX_BODY_BYTES))
    fields.require_known((name,))
    found = fields.words(name)
    if found is None:
        raise Invalid(missing, field=name, code="request.missing_field")
    return found


# -- what is said ----------------------------------------------------------------------------------------


def _health(desk: Desk, snapshot: Mapping[str, Any], choice: Choice, version: str) -> dict[str, Any]:
    """Blocks. `problem` says why the next request that names no model would fail."""
    said: dict[str, Any] = {
        "status": "healthy",
        "model_loaded": False,
        "current_model": choice.model,
        "device": _default_device(snapshot),
        "engine": choice.engine,
        "version": version,
    }
    try:
        record = desk.model(choice.model)
    except InglenookError as error:
        return said | {"problem": error.message}
    loaded = _is_loaded(snapshot, record.id)
    device = _device_of(snapshot, record.id) if loaded else said["device"]
    return said | {"current_model": record.id, "model_loaded": loaded, "device": device}


def _is_loaded(snapshot: Mapping[str, Any], model: str) -> bool:
    return any(one["model"] == model and one["state"] == READY for one in snapshot["residents"])


def _default_device(snapshot: Mapping[str, Any]) -> str:
    """The kind of the best device: the list begins with it."""
    devices = snapshot["devices"]
    return _kind(devices[0]) if devices else "cpu"


def _device_of(snapshot: Mapping[str, Any], model: str) -> str:
    for resident in snapshot["residents"]:
        if resident["model"] == model and resident["state"] == READY:
            return str(resident.get("device", "cpu")).partition(":")[0]
    return _default_device(snapshot)


def _kind(device: Mapping[str, Any]) -> str:
    return str(device["id"]).partition(":")[0]


def drawing_models(catalog: Catalog) -> list[ModelRecord]:
    """Blocks."""
    return [record for record in catalog.list(ModelKind.IMAGE) if record.problem is None]


def drawing_loras(catalog: Catalog) -> list[ModelRecord]:
    """Blocks. Those that can be used, and not those of language models."""
    return [one for one in catalog.list(ModelKind.LORA) if one.problem is None and not one.is_adapter]


def models_json(
    records: Sequence[ModelRecord], snapshot: Mapping[str, Any], engines: Sequence[EngineStatus]
) -> list[dict[str, Any]]:
    """`can`: text, image, inpaint, edit, as the model is asked; lora where an engine takes them."""
    return [
        {
            "name": record.id,
            "title": record.title or record.id,
            "family": record.family,
            "loaded": _is_loaded(snapshot, record.id),
            "engines": [one.name.value for one in engines if record.id in one.models],
            "can": _can(record, engines),
            "base_size": None if record.image is None else [record.image.width, record.image.height],
        }
        for record in records
    ]


def _can(record: ModelRecord, engines: Sequence[EngineStatus]) -> list[str]:
    with_it = [one for one in engines if one.available and record.id in one.models]
    modes = [] if record.image is None else sorted(record.image.modes)
    return modes + (["lora"] if any(one.loras for one in with_it) else [])


def engine_json(one: EngineStatus) -> dict[str, Any]:
    """`why` and `can` are what the Aseprite extension reads."""
    can = [*one.modes]
    more = {"lora": one.loras, "preview": one.previews, "negative_prompt": one.negative_prompt}
    can += [name for name, has in more.items() if has]
    if "inpaint" in one.modes:
        can.append("mask")
    return one.as_json() | {"name": one.name.value, "why": one.why_not, "can": can}


def fits(lora: ModelRecord, model: ModelRecord) -> bool:
    """Whether the family is one that the LoRA is known for; one of unknown family may fit any."""
    known = lora.fits or (() if lora.family is None else (lora.family,))
    return not known or model.family in known


def _loras(desk: Desk, catalog: Catalog, choice: Choice) -> dict[str, Any]:
    """Blocks. With no model at all everything is compatible, as in the original."""
    records = drawing_loras(catalog)
    try:
        model = desk.model(choice.model)
    except InglenookError:
        fitting = {one.id for one in records}
    else:
        fitting = {one.id for one in records if fits(one, model)}
    return {
        "loras": [NO_LORA, *(one.id for one in records)],
        "compatible_loras": [NO_LORA, *(one.id for one in records if one.id in fitting)],
        "incompatible_loras": [one.id for one in records if one.id not in fitting],
    }


def loras_json(loras: Sequence[ModelRecord], models: Sequence[ModelRecord]) -> list[dict[str, Any]]:
    return [
        {
            "name": lora.id,
            "families": list(lora.fits or (() if lora.family is None else (lora.family,))),
            "models": [model.id for model in models if fits(lora, model)],
        }
        for lora in loras
    ]


def chosen_of(choice: Choice) -> dict[str, Any]:
    return {"model": choice.model or ModelId(AUTO), "engine": choice.engine}
