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
from inglenook.catalog.model import ImageDefaults, LanguageTask, ModelKind, ModelRecord, VisionFacts
from inglenook.door.caller import caller
from inglenook.door.services import Catalog, Language, Runtime

_LISTED = frozenset({ModelKind.IMAGE, ModelKind.LANGUAGE, ModelKind.SPEECH, ModelKind.VISION})
"""What can stand as `model` in a request; a LoRA or a VAE cannot."""
SHOWN_LABELS = 100


def models_router(*, catalog: Catalog, runtime: Runtime, language: Language) -> APIRouter:
    router = APIRouter(tags=["models"], dependencies=[Depends(caller)])

    @router.get("/v1/models", **MODELS)
    async def listing() -> Response:
        records = await run_in_threadpool(catalog.list)
        states = _loaded(runtime.snapshot())
        usable = [record for record in records if record.kind in _LISTED and record.problem is None]
        names = _names(language)
        data = [as_json(record, states) | spoken(record, language, names) for record in usable]
        return json_response({"object": "list", "data": data})

    @router.get("/v1/models/{model_id:path}", **MODEL)
    async def one(model_id: str) -> Response:
        record = await run_in_threadpool(_called, catalog, language, model_id)
        told = as_json(record, _loaded(runtime.snapshot())) | spoken(record, language, _names(language))
        return json_response(told)

    return router


def _called(catalog: Catalog, language: Language, name: str) -> ModelRecord:
    """By id, or by an alias. Blocks. Raises NotFound."""
    meant = language.aliases().get(name)
    return catalog.get(ModelId(name) if meant is None else meant)


def _names(language: Language) -> dict[ModelId, list[str]]:
    """Model → its aliases."""
    found: dict[ModelId, list[str]] = {}
    for alias, model in language.aliases().items():
        found.setdefault(model, []).append(alias)
    return found


def spoken(record: ModelRecord, language: Language, names: Mapping[ModelId, list[str]]) -> dict[str, Any]:
    """What there is to know of a language model. `task`: what it is for. `tools`: how it makes calls:
    `template` by its own, `schema` held to one by us. `away_s`: seconds until it could answer."""
    facts = record.language
    if record.kind is not ModelKind.LANGUAGE or facts is None:
        return {"language": None}
    now = language.state(record)
    task = language.task_of(record)
    return {
        "language": {
            "task": task,
            "architecture": facts.architecture,
            "context": facts.context,
            "loaded_context": now.context,
            "quantisation": facts.quantisation,
            "size_label": facts.size_label,
            "vision": language.sees(record),
            "tools": _tools(facts.template) if task is LanguageTask.CHAT else None,
            "aliases": names.get(record.id, []),
            "pinned": now.pinned,
            "away_s": now.away_s,
        },
        "state": "available" if now.state == "unloaded" else now.state,
        "context_length": now.context or facts.context,
    }


def _tools(template: str) -> str:
    return "template" if "tools" in template else "schema"


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
        "vision": None if record.vision is None else _vision(record.vision),
    }


def _vision(facts: VisionFacts) -> dict[str, Any]:
    """What a model tells of pictures. `labelled`: its classes have names; `lineage`: where it comes from."""
    return {
        "task": facts.task,
        "classes": len(facts.labels),
        "labels": list(facts.labels[:SHOWN_LABELS]),
        "labelled": facts.labelled,
        "width": facts.width or None,
        "height": facts.height or None,
        "batch": facts.batch or None,
        "quantised": facts.quantised,
        "preprocessing_told": facts.told,
        "lineage": dict(facts.lineage),
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
