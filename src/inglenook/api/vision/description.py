# SPDX-License-Identifier: Apache-2.0
"""What /openapi.json says of /v1/vision/predict. Bodies are read by `fields`, not by the framework, so that
every refusal is in our words; this keeps the description true to them."""

from typing import Any

from inglenook.api.errors import answer, errors
from inglenook.api.vision.fields import PredictFields

_LABEL: dict[str, Any] = {
    "type": "object",
    "required": ["label", "class_id", "score"],
    "properties": {
        "label": {"type": "string"},
        "class_id": {"type": "integer"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
_PREDICTION: dict[str, Any] = {
    "type": "object",
    "required": ["object", "model", "task", "seconds", "data"],
    "properties": {
        "object": {"type": "string"},
        "model": {"type": "string"},
        "task": {"type": "string"},
        "labelled": {"type": "boolean", "description": "Whether the model names its classes."},
        "seconds": {"type": "number"},
        "computing_s": {"type": "number"},
        "waited_s": {"type": "number"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "width", "height", "predictions"],
                "properties": {
                    "index": {"type": "integer"},
                    "width": {"type": "integer"},
                    "height": {"type": "integer"},
                    "predictions": {"type": "array", "items": _LABEL},
                },
            },
        },
    },
}


def _form() -> dict[str, Any]:
    schema = PredictFields.model_json_schema()
    del schema["properties"]["images"]
    schema["properties"]["image"] = {"type": "array", "items": {"type": "string", "format": "binary"}}
    schema["required"] = ["image"]
    return schema


PREDICT: dict[str, Any] = {
    "summary": "What pictures show, by a vision model of the library",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _form()},
                "application/json": {"schema": PredictFields.model_json_schema()},
            },
        }
    },
    "responses": {
        200: answer("Labels of each picture, the likeliest first.", _PREDICTION),
        **errors(400, 404, 413, 499, 503),
    },
}
