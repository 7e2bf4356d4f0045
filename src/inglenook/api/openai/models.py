# SPDX-License-Identifier: Apache-2.0
"""GET /v1/models and /v1/models/{id}; an id may hold slashes."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from inglenook.api.errors import json_response
from inglenook.api.openai.description import MODEL, MODELS
from inglenook.base.ids import ModelId
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.door.caller import caller
from inglenook.door.services import Catalog, Runtime

_LISTED = frozenset({ModelKind.IMAGE, ModelKind.LANGUAGE})
"""What can stand as `model` in a request; a LoRA or a VAE cannot."""


def models_router(*, catalog: Catalog, runtime: Runtime) -> APIRouter:
    router = APIRouter(tags=["models"], dependencies=[Depends(caller)])

    @router.get("/v1/models", **MODELS)
    async def listing() -> Response:
        records = await run_in_threadpool(catalog.list)
        states = _loaded(runtime.snapshot())
        usable = [record for record in records if record.kind in _LISTED and record.problem is None]
        return json_response({"object": "list", "data": [as_json(record, states) for record in usable]})

    @router.get("/v1/models/{model_id:path}", **MODEL)
    async def one(model_id: str) -> Response:
        record = await run_in_threadpool(catalog.get, ModelId(model_id))
        return json_response(as_json(record, _loaded(runtime.snapshot())))

    return router


def _loaded(snapshot: Mapping[str, Any]) -> dict[str, str]:
    """Model → state of its resident."""
    return {str(resident["model"]): str(resident["state"]) for resident in snapshot["residents"]}


def as_json(record: ModelRecord, states: Mapping[str, str]) -> dict[str, Any]:
    """OpenAI's four fields (`owned_by` also as ALICE spells it), and ours: `state` is `available`, `unusable`
    (then `problem` says why), or the state of the process that holds the model."""
    owner = "inglenook" if record.builtin else "local"
    idle = "available" if record.problem is None else "unusable"
    return {
        "id": record.id,
        "object": "model",
        "created": int(record.created),
        "owned_by": owner,
        "ownedBy": owner,
        "title": record.title or record.id,
        "kind": record.kind,
        "family": record.family,
        "state": states.get(record.id, idle),
        "problem": record.problem,
        "licence": record.licence,
        "description": record.description,
        "parameters": record.parameters,
        "weights_bytes": record.weights_bytes,
        "picture": None if record.image is None else _picture(record.image),
    }


def _picture(defaults: ImageDefaults) -> dict[str, Any]:
    return {
        "default_size": f"{defaults.width}x{defaults.height}",
        "fixed_sizes": [f"{width}x{height}" for width, height in defaults.fixed],
        "multiple_px": defaults.multiple,
        "min_px": defaults.min_px,
        "native_px": defaults.native_px,
        "steps": defaults.steps,
        "guidance_scale": defaults.guidance_scale,
    }
