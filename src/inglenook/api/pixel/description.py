# SPDX-License-Identifier: Apache-2.0
"""What /openapi.json says of /v1/pixel. Bodies are read by `fields` and `pixels.checking`, not by the
framework, so that every refusal is in our words; this keeps the description true to them."""

from typing import Any, Final

from inglenook.api.errors import answer, errors
from inglenook.api.pixel.fields import ExportFields, SpriteFields
from inglenook.pixels.model import (
    MAX_COLORS,
    MAX_SIDE_PX,
    Alpha,
    Background,
    Dither,
    Fit,
    GridMode,
    Outline,
    Quantiser,
    Reduction,
    Symmetry,
    Tile,
)
from inglenook.sprites.model import DEFAULT_FRAME_MS, MAX_FRAME_MS, MIN_FRAME_MS

_WHOLE: Final = {"type": "integer"}
_TEXT: Final = {"type": "string"}
_COLOR: Final = {"type": "string", "pattern": "^#[0-9a-f]{6}$"}
_COLORS: Final = {"type": ["array", "null"], "items": _COLOR}


def _choice(kind: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [one.value for one in kind]}


def _side() -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SIDE_PX}


RECIPE: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "description": "How a picture becomes a sprite; every field has a default.",
    "properties": {
        "width": _side(),
        "height": _side(),
        "fit": _choice(Fit),
        "grid": _choice(GridMode),
        "reduction": _choice(Reduction),
        "colors": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": MAX_COLORS,
            "description": "0 keeps every colour; null with a palette takes all of it",
        },
        "palette": {
            "oneOf": [
                {"type": "string", "description": "a name of GET /v1/pixel/palettes"},
                {"type": "array", "items": _COLOR, "minItems": 1, "maxItems": MAX_COLORS},
                {"type": "null"},
            ]
        },
        "quantiser": _choice(Quantiser),
        "dither": _choice(Dither),
        "dither_strength": {"type": "number", "minimum": 0, "maximum": 1},
        "merge_rare": {"type": "number", "minimum": 0, "maximum": 0.5},
        "alpha": _choice(Alpha),
        "alpha_threshold": {"type": "integer", "minimum": 1, "maximum": 255},
        "background": _choice(Background),
        "background_color": _COLOR,
        "despeckle": {"type": "integer", "minimum": 0},
        "fill_holes": {"type": "integer", "minimum": 0},
        "clean_edges": {"type": "boolean"},
        "outline": _choice(Outline),
        "outline_color": {"oneOf": [_COLOR, {"type": "null"}]},
        "keep_outline": {"type": "boolean"},
        "symmetry": _choice(Symmetry),
        "tile": _choice(Tile),
        "trim": {"type": "boolean"},
        "seed": {"type": "integer", "minimum": 0},
    },
}

_PROOF: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["width", "height", "colors", "within_palette", "off_palette", "alphas", "seam_x", "seam_y"],
    "description": "What was counted on the finished sprite.",
    "properties": {
        "width": _WHOLE,
        "height": _WHOLE,
        "colors": _WHOLE,
        "within_palette": {"type": ["boolean", "null"]},
        "off_palette": _WHOLE,
        "alphas": {"type": "array", "items": _WHOLE},
        "seam_x": {"type": ["number", "null"]},
        "seam_y": {"type": ["number", "null"]},
        "counts": {"type": ["array", "null"], "items": _WHOLE},
    },
}
_SPRITE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["width", "height", "png", "palette", "proof", "grid", "offset", "pivot", "notes"],
    "properties": {
        "width": _WHOLE,
        "height": _WHOLE,
        "png": {"type": "string", "format": "byte", "description": "indexed where there is a palette"},
        "palette": _COLORS,
        "proof": _PROOF,
        "grid": {"type": ["object", "null"]},
        "offset": {"type": "array", "items": _WHOLE},
        "pivot": {"type": "array", "items": _WHOLE},
        "notes": {"type": "array", "items": _TEXT},
        "picture_id": {"type": "string", "description": "in the gallery, with `keep`"},
    },
}
_RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "job_id", "engine", "model", "device", "seconds", "notes", "seeds", "sprites"],
    "properties": {
        "object": _TEXT,
        "job_id": _TEXT,
        "engine": _TEXT,
        "model": _TEXT,
        "device": _TEXT,
        "seconds": {"type": "number"},
        "palette": _COLORS,
        "proof": _PROOF,
        "notes": {"type": "array", "items": _TEXT},
        "durations_ms": {"type": "array", "items": _WHOLE},
        "tags": {"type": "array", "items": {"type": "object"}},
        "seeds": {"type": "array", "items": _WHOLE},
        "sprites": {"type": "array", "items": {"type": "object"}},
    },
}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return _body("multipart/form-data", schema)


def _sprite_fields() -> dict[str, Any]:
    schema = SpriteFields.model_json_schema()
    schema["properties"]["recipe"] = RECIPE
    return schema


_FILES: Final = {"type": "array", "items": {"type": "string", "format": "binary"}}
_PICTURE_ID: Final = {"type": "string", "description": "of the gallery, instead of files"}

SPRITES: Final[dict[str, Any]] = {
    "summary": "Draw sprites: from words, over a canvas, inside a selection, beside a tile; stills or frames",
    "openapi_extra": _body("application/json", _sprite_fields()),
    "responses": {
        200: answer("With `wait`: the sprites.", _RESULT),
        202: answer("The job that makes them.", {"type": "object"}),
        **errors(400, 404, 409, 413, 429, 499, 503),
    },
}
CONVERT: Final[dict[str, Any]] = {
    "summary": "A sprite of a picture",
    "description": "Several files with `animation` are frames: one size, crop and palette for all.",
    "openapi_extra": _form(
        {
            "image": _FILES,
            "picture_id": _PICTURE_ID,
            "source": {"type": "string", "enum": ["drawing", "file"], "default": "drawing"},
            "recipe": {"type": "string", "contentMediaType": "application/json", "contentSchema": RECIPE},
            "animation": {"type": "boolean", "default": False},
            "keep": {
                "type": "boolean",
                "default": False,
                "description": "put it into the gallery; the answer has its `picture_id`",
            },
            "frame_ms": {
                "type": "integer",
                "minimum": MIN_FRAME_MS,
                "maximum": MAX_FRAME_MS,
                "default": DEFAULT_FRAME_MS,
                "description": "how long a frame of a kept animation is shown",
            },
        },
        [],
    ),
    "responses": {
        200: answer("The sprite; several as `frames` too.", _SPRITE),
        **errors(400, 404, 413, 499, 503),
    },
}
EXPORT: Final[dict[str, Any]] = {
    "summary": "Frames, or layers of one frame, as one file",
    "openapi_extra": _form(
        {
            "frames": _FILES,
            "picture_id": _PICTURE_ID,
            "spec": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": ExportFields.model_json_schema(),
            },
        },
        ["spec"],
    ),
    "responses": {
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        **errors(400, 404, 413, 499, 503),
    },
}
_PALETTE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "title", "colors", "source", "licence"],
    "properties": {
        "name": _TEXT,
        "title": _TEXT,
        "colors": {"type": "array", "items": _COLOR},
        "source": _TEXT,
        "licence": _TEXT,
    },
}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": item}}}


PALETTES: Final[dict[str, Any]] = {
    "summary": "The palettes that have a name",
    "responses": {200: answer("All of them.", _list(_PALETTE)), **errors()},
}
READ_PALETTE: Final[dict[str, Any]] = {
    "summary": "The colours in a palette file: .gpl .pal .hex .act .aseprite .png",
    "openapi_extra": _form({"file": {"type": "string", "format": "binary"}, "name": _TEXT}, ["file"]),
    "responses": {200: answer("The palette.", _PALETTE), **errors(400, 413)},
}
PRESETS: Final[dict[str, Any]] = {
    "summary": "Words to begin with: presets, styles, motions; sizes to offer",
    "responses": {200: answer("All of them.", {"type": "object"}), **errors()},
}
ENGINES: Final[dict[str, Any]] = {
    "summary": "Which programs can draw here, and what each can do",
    "responses": {200: answer("The matrix.", _list({"type": "object"})), **errors()},
}
