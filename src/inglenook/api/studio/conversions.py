# SPDX-License-Identifier: Apache-2.0
"""POST /v1/models/{model_id}/convert: a model, written anew for another engine. An id may hold slashes."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.bodies import json_object, known_only
from inglenook.api.errors import answer, errors, json_response
from inglenook.api.openai.headers import idempotency_key
from inglenook.base.errors import Invalid
from inglenook.door.administrator import administrator
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown
from inglenook.door.services import Conversions, Jobs
from inglenook.images.conversion import DEFAULT_DTYPE, TARGETS
from inglenook.wire.mlx import DTYPES

_FIELDS: Final[dict[str, Any]] = {
    "to": {"type": "string", "enum": list(TARGETS)},
    "name": {"type": ["string", "null"], "description": "of the conversion; that of the model without it"},
    "dtype": {"type": "string", "enum": list(DTYPES), "default": DEFAULT_DTYPE},
    "replace": {"type": "boolean", "default": False, "description": "the one of that name goes"},
}
_SCHEMA: Final = {"type": "object", "required": ["to"], "properties": _FIELDS}


def conversions_router(*, conversions: Conversions, jobs: Jobs) -> APIRouter:
    """Add it before the routers that know `/v1/models/{id}`, which would take its paths for ids."""
    router = APIRouter(prefix="/v1/models/{model_id:path}", tags=["models"], dependencies=[Depends(caller)])

    @router.post(
        "/convert",
        summary="Write a model anew for another engine: a job",
        dependencies=[Depends(administrator)],
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}
        },
        responses={
            202: answer("The job, of kind `convert`.", {"type": "object"}),
            **errors(400, 401, 404, 409, 429, 503),
        },
    )
    async def convert(who: FromCaller, model_id: str, request: Request) -> Response:
        body = await json_object(request)
        known_only(body, _FIELDS)
        engine = _text(body, "to")
        if engine is None:
            hint = f"one of {', '.join(TARGETS)}"
            raise Invalid("to is required.", field="to", hint=hint, code="request.missing_field")
        job = await conversions.submit(
            model_id,
            engine,
            owner=who.person,
            name=_text(body, "name"),
            dtype=_text(body, "dtype") or DEFAULT_DTYPE,
            replace=_flag(body, "replace"),
            idempotency_key=idempotency_key(request),
        )
        headers = {"location": f"/v1/jobs/{job.id}"}
        return json_response(jobs.describe(job), status_code=202, headers=headers)

    return router


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{name} must be a text; got {shown(value)}.", field=name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Invalid(f"{name} must be true or false; got {shown(value)}.", field=name)
    return bool(value)
