# SPDX-License-Identifier: Apache-2.0
"""What ALICE's clients ask about models and LoRAs: refresh, info, lists, defaults, delete."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from inglenook.api.alice.names import LORA_PREFIX, own_scheduler, picture_loras, short_names
from inglenook.api.alice.spelling import both
from inglenook.api.deleting import Deleting
from inglenook.api.errors import answer, errors, json_response
from inglenook.base.errors import NotFound
from inglenook.base.ids import ModelId
from inglenook.base.units import MIB
from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.administrator import administrator
from inglenook.door.caller import caller
from inglenook.door.problem import shown
from inglenook.door.services import Catalog, Runtime
from inglenook.wire.families import FAMILIES

_TYPES = {"sd1": "sd15", "sd2": "sd21", "qwen-image": "qwen"}
"""Our families in ALICE's words, where those differ."""
_OBJECT: dict[str, Any] = {"type": "object"}


def models_router(*, catalog: Catalog, runtime: Runtime, own_models: Path) -> APIRouter:
    """Add it before the router that knows `/v1/models/{id}`, which would take its paths for ids.

    Args:
        own_models: the folder of which models may be deleted.
    """
    router = APIRouter(tags=["models"], dependencies=[Depends(caller)])
    deleting = Deleting(catalog=catalog, runtime=runtime, own_models=own_models)

    @router.get(
        "/v1/generation/defaults",
        summary="What a request that names no model and no numbers gets",
        responses={200: answer("Of the default picture model.", _OBJECT), **errors(400, 404)},
    )
    def defaults() -> Response:
        return json_response(_defaults(catalog.resolve("auto")))

    @router.post(
        "/v1/models/refresh",
        summary="Look at the model folders again",
        responses={200: answer("How many were found.", _OBJECT), **errors()},
    )
    def refresh() -> Response:
        return json_response(_found(catalog.list()))

    @router.get(
        "/v1/models/loras",
        summary="The LoRAs (also as /v1/loras)",
        responses={200: answer("All that can be used.", _OBJECT), **errors()},
    )
    @router.get(
        "/v1/loras",
        summary="The LoRAs",
        responses={200: answer("All that can be used.", _OBJECT), **errors()},
    )
    def loras() -> Response:
        return json_response({"object": "list", "data": _loras(picture_loras(catalog))})

    @router.get(
        "/v1/models/{model_id:path}/info",
        summary="What kind of model it is, and which sizes suit it",
        responses={200: answer("Both spellings of each name.", _OBJECT), **errors(400, 404)},
    )
    def info(model_id: str) -> Response:
        return json_response(_info(catalog.get(ModelId(model_id))))

    @router.delete(
        "/v1/models/{model_id:path}",
        summary="Delete a model of the data folder for good",
        dependencies=[Depends(administrator)],
        responses={200: answer("It is gone.", _OBJECT), **errors(400, 401, 404, 409)},
    )
    async def delete_model(model_id: str) -> Response:
        record = await run_in_threadpool(catalog.get, ModelId(model_id))
        await deleting.delete(record)
        return json_response({"status": "deleted", "model_id": model_id, "modelId": model_id})

    @router.delete(
        "/v1/loras/{lora_id:path}",
        summary="Delete a LoRA of the data folder for good",
        dependencies=[Depends(administrator)],
        responses={200: answer("It is gone.", _OBJECT), **errors(400, 401, 404, 409)},
    )
    async def delete_lora(lora_id: str) -> Response:
        await deleting.delete(await run_in_threadpool(_lora, catalog, lora_id))
        return json_response({"status": "deleted", "lora_id": lora_id, "loraId": lora_id})

    return router


def _defaults(record: ModelRecord) -> dict[str, Any]:
    assert record.image is not None
    scheduler = own_scheduler(record)
    able = record.image.schedulers
    return {
        "model": record.id,
        "steps": record.image.steps,
        "guidance_scale": record.image.guidance_scale,
        # Only what may be sent back: a model may have one of its own that none of our names stands for.
        "scheduler": scheduler if not able or scheduler in able else None,
        "width": record.image.width,
        "height": record.image.height,
    }


def _found(records: list[ModelRecord]) -> dict[str, Any]:
    usable = [record.kind for record in records if record.problem is None and not record.is_adapter]
    models = usable.count(ModelKind.IMAGE) + usable.count(ModelKind.LANGUAGE)
    return {"status": "ok", **both({"models_found": models, "loras_found": usable.count(ModelKind.LORA)})}


def _loras(records: list[ModelRecord]) -> list[dict[str, Any]]:
    names = short_names(records)
    return [
        {
            "id": f"{LORA_PREFIX}{names[record.id]}",
            "name": names[record.id],
            "created": int(record.created),
            **both({"size_mb": _size_mb(record), "base_model": _type(record)}),
        }
        for record in records
        if record.problem is None
    ]


def _lora(catalog: Catalog, name: str) -> ModelRecord:
    """Exactly this LoRA: what is deleted is not guessed. Raises NotFound."""
    records = picture_loras(catalog)
    names = short_names(records)
    wanted = name.removeprefix(LORA_PREFIX)
    for record in records:
        if wanted in (record.id, names[record.id]):
            return record
    raise ModelNotFound(f"There is no LoRA {shown(name)}.", hint="GET /v1/loras lists them", field="lora_id")


def _info(record: ModelRecord) -> dict[str, Any]:
    if record.image is None:
        raise NotFound(
            f"{record.id} is a model of kind {record.kind}; sizes are known of models that draw.",
            code="model.not_found",
        )
    family = FAMILIES.get(record.family or "")
    sizes = record.image.sizes or record.image.fixed or (() if family is None else family.sizes)
    return {
        "id": record.id,
        "name": record.id.rpartition("/")[2],
        "created": int(record.created),
        **both(
            {
                "model_type": _type(record),
                "native_resolution": record.image.native_px,
                "recommended_resolutions": [_size(*size) for size in sizes],
                "size_mb": _size_mb(record),
            }
        ),
    }


def _size(width: int, height: int) -> dict[str, Any]:
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    return {"width": width, "height": height, "label": f"{width} × {height}, {shape}"}


def _size_mb(record: ModelRecord) -> float:
    return round(record.weights_bytes / MIB, 2)


def _type(record: ModelRecord) -> str | None:
    return None if record.family is None else _TYPES.get(record.family, record.family)
