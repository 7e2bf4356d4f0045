# SPDX-License-Identifier: Apache-2.0
"""What /openapi.json says of OpenAI's routes. Bodies are read by `fields`, not by the framework, so that
every refusal is in our words; this keeps the description true to them."""

from typing import Any

from inglenook.api.errors import SSE_SCHEMA, answer, errors
from inglenook.api.openai.fields import EditFields, GenerationFields, PictureFields, VariationFields

_IMAGES: dict[str, Any] = {
    "type": "object",
    "required": ["created", "data", "output_format", "quality", "size", "usage", "job_id"],
    "properties": {
        "created": {"type": "integer"},
        "background": {"type": "string", "enum": ["opaque", "transparent"]},
        "output_format": {"type": "string", "enum": ["png", "jpeg", "webp", "gif"]},
        "quality": {"type": "string"},
        "size": {"type": "string"},
        "usage": {"type": "object"},
        "job_id": {"type": "string"},
        "engine": {"type": ["string", "null"], "enum": ["torch", "mlx", "sdcpp", None]},
        "model": {"type": ["string", "null"]},
        "safety_identifier": {"type": "string"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "b64_json": {"type": ["string", "null"]},
                    "url": {"type": ["string", "null"]},
                    "revised_prompt": {"type": ["string", "null"]},
                    "picture_id": {"type": "string"},
                    "index": {"type": "integer"},
                    "seed": {"type": "integer"},
                    "width": {"type": "integer"},
                    "height": {"type": "integer"},
                    "matted_by": {"type": ["string", "null"]},
                    "notes": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}

_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "kind", "state"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["model"]},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "kind": {"type": "string"},
        "family": {"type": ["string", "null"]},
        "state": {"type": "string"},
        "picture": {"type": ["object", "null"]},
    },
}

_FILE = {"type": "string", "format": "binary"}


def _json_schema(fields: type[PictureFields]) -> dict[str, Any]:
    return fields.model_json_schema()


def _form_schema(fields: type[PictureFields], *files: str) -> dict[str, Any]:
    """A form has no null, and its pictures are files."""
    schema = fields.model_json_schema()
    texts = {name: _without_null(value) for name, value in schema["properties"].items()}
    schema["properties"] = {**dict.fromkeys(files, _FILE), **texts}
    schema["required"] = sorted({*schema.get("required", []), "image"})
    return schema


def _without_null(value: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in value.get("anyOf", []) if option != {"type": "null"}]
    if len(options) != 1:
        return value
    kept = {key: known for key, known in value.items() if key not in ("anyOf", "default")}
    return {**kept, **options[0]}


def _headers() -> list[dict[str, Any]]:
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "The same request with the same key is the same job; it outlives its connection.",
        },
        {
            "name": "Prefer",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "`respond-async` answers 202 with the job at once.",
        },
    ]


def _drawing(summary: str, media_type: str, schema: dict[str, Any], *, streams: bool) -> dict[str, Any]:
    pictures = answer("The pictures; a stream of events where `stream` is true.", _IMAGES)
    if streams:
        pictures["content"]["text/event-stream"] = {"schema": SSE_SCHEMA}
    return {
        "summary": summary,
        "openapi_extra": {
            "parameters": _headers(),
            "requestBody": {"required": True, "content": {media_type: {"schema": schema}}},
        },
        "responses": {
            200: pictures,
            202: answer("The job, where `Prefer: respond-async` asked for it.", {"type": "object"}),
            **errors(400, 404, 409, 413, 429, 499, 503),
        },
    }


GENERATIONS = _drawing(
    "Pictures from a prompt", "application/json", _json_schema(GenerationFields), streams=True
)
EDITS = _drawing(
    "A picture changed by a prompt, everywhere or where the mask is transparent",
    "multipart/form-data",
    _form_schema(EditFields, "image", "mask", "markup"),
    streams=True,
)
VARIATIONS = _drawing(
    "Variations of a picture",
    "multipart/form-data",
    _form_schema(VariationFields, "image"),
    streams=False,
)
MODELS: dict[str, Any] = {
    "summary": "The models that can be used",
    "responses": {
        200: answer(
            "All of them.", {"type": "object", "properties": {"data": {"type": "array", "items": _MODEL}}}
        ),
        **errors(400),
    },
}
MODEL: dict[str, Any] = {
    "summary": "One model",
    "responses": {200: answer("The model, also one that cannot be used.", _MODEL), **errors(400, 404)},
}
