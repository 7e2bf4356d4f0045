# SPDX-License-Identifier: Apache-2.0
"""The tools by name: what each does and takes. Pictures have the fields of OpenAI's door."""

from dataclasses import dataclass, field
from typing import Any, Final

from inglenook.api.openai.fields import EditFields, GenerationFields, PictureFields

Schema = dict[str, Any]

MAX_WAIT_S: Final = 600
DEFAULT_WAIT_S: Final = 120

_NOT_FOR_TOOLS: Final = frozenset(
    {
        "stream",
        "partial_images",
        "response_format",
        "moderation",
        "user",
        "safety_identifier",
        "work_class",
        "style",
    }
)
"""Fields that speak of the HTTP answer, or that belong to one client of OpenAI's."""

_SAID: Final = {
    "prompt": "What to draw, or what to change. <lora:name:0.8> applies a LoRA.",
    "negative_prompt": "What not to draw; for models that read one.",
    "model": "An id from list_models, or auto.",
    "n": "How many pictures.",
    "size": "auto, or WIDTHxHEIGHT in pixels.",
    "steps": "Denoising steps; leave out for the model's own number.",
    "guidance_scale": "How strictly the prompt is followed; leave out for the model's own.",
    "seed": "The same seed gives the same picture.",
    "strength": "Above 0, up to 1: how much of the picture is redrawn.",
    "background": "transparent cuts the subject out of a plain background.",
}


@dataclass(frozen=True, slots=True)
class ToolText:
    """One tool as a client lists it. `reads`: it changes nothing. `destroys`: it undoes something."""

    name: str
    title: str
    description: str
    input_schema: Schema
    reads: bool = False
    destroys: bool = False
    extra: tuple[str, ...] = field(default=())
    """Arguments that are not fields of OpenAI's door."""


def _drawn(fields: type[PictureFields], own: Schema, required: list[str]) -> Schema:
    """The schema of a drawing tool: the door's fields, with a word on each, and what only tools have."""
    schema = fields.model_json_schema()
    known = {name: dict(value) for name, value in schema["properties"].items() if name not in _NOT_FOR_TOOLS}
    for name, text in _SAID.items():
        if name in known:
            known[name]["description"] = text
    return {
        "type": "object",
        "properties": known | own,
        "required": required,
        "additionalProperties": False,
        "$defs": schema.get("$defs", {}),
    }


_WAIT: Final[Schema] = {
    "wait_s": {
        "type": "number",
        "minimum": 0,
        "maximum": MAX_WAIT_S,
        "default": DEFAULT_WAIT_S,
        "description": "Seconds to wait for the result; then the job goes on, and watch_job asks again.",
    }
}
_PICTURE: Final[Schema] = {
    "type": "object",
    "properties": {
        "picture_id": {"type": "string", "description": "One that was made here."},
        "data": {"type": "string", "description": "A file in base64, or a data: URI."},
    },
    "oneOf": [{"required": ["picture_id"]}, {"required": ["data"]}],
    "additionalProperties": False,
}
_JOB: Final[Schema] = {"job_id": {"type": "string"}}


def _object(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TOOLS: Final[tuple[ToolText, ...]] = (
    ToolText(
        "list_models",
        "List models",
        "The picture models, LoRAs and VAEs that can be used here; each model's sizes, steps and abilities.",
        _object({}),
        reads=True,
    ),
    ToolText(
        "generate_image",
        "Draw pictures",
        "Draws pictures from a prompt and returns them. Progress is reported while it runs.",
        _drawn(GenerationFields, _WAIT, ["prompt"]),
        extra=("wait_s",),
    ),
    ToolText(
        "edit_image",
        "Change a picture",
        "Changes one picture, or makes one of several, as the prompt says; inside the mask if one is given.",
        _drawn(
            EditFields,
            _WAIT
            | {
                "pictures": {"type": "array", "items": _PICTURE, "minItems": 1, "maxItems": 16},
                "mask": _PICTURE
                | {"description": "White, or transparent, is redrawn. Of the first picture's size."},
            },
            ["prompt", "pictures"],
        ),
        extra=("wait_s", "pictures", "mask"),
    ),
    ToolText(
        "watch_job",
        "Watch a job",
        "How far a job is, what it waits for, and its pictures once they are there. Can wait for its end.",
        _object(_JOB | {"wait_s": _WAIT["wait_s"] | {"default": 0}}, "job_id"),
        reads=True,
        extra=("job_id", "wait_s"),
    ),
    ToolText(
        "cancel_job",
        "Cancel a job",
        "Stops a job within one step and says when it stopped.",
        _object(_JOB, "job_id"),
        destroys=True,
        extra=("job_id",),
    ),
    ToolText(
        "get_picture",
        "Show a picture",
        "One picture that was made here, with everything it was made with.",
        _object({"picture_id": {"type": "string"}}, "picture_id"),
        reads=True,
        extra=("picture_id",),
    ),
)
