# SPDX-License-Identifier: Apache-2.0
"""The fields of OpenAI's picture requests and ours beside them: types, bounds, and words for what is wrong.

Nothing is accepted and ignored. A field is honoured, or refused with a message that names it.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from inglenook.api.bodies import unknown_field
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown
from inglenook.images.model import (
    MAX_CLIP_SKIP,
    MAX_GUIDANCE,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
)
from inglenook.images.styles import STYLES
from inglenook.sprites.model import MAX_FRAME_MS, MAX_MOTION_CHARS, MIN_FRAME_MS
from inglenook.wire.schedulers import ALIASES as ALIASED
from inglenook.wire.schedulers import SCHEDULERS, chosen

Quality = Literal["auto", "low", "medium", "standard", "high", "hd", "xhigh", "max"]

Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARS, json_schema_extra={"minLength": 1})]
Size = Annotated[str, Field(max_length=32, json_schema_extra={"pattern": "^(auto|[0-9]{1,5}x[0-9]{1,5})$"})]
SchedulerName = Annotated[str, Field(max_length=64, json_schema_extra={"examples": list(SCHEDULERS)})]
DALL_E_STYLES = ("vivid", "natural")
StyleName = Annotated[str, Field(json_schema_extra={"enum": [*DALL_E_STYLES, *STYLES]})]
# What `json_schema_extra` says is checked below, in better words than pydantic's.
Label = Annotated[str, Field(max_length=512)]

NOT_HERE: Mapping[str, str] = {
    "complexity": "pictures are drawn by diffusion models, which do not plan; use `quality` or `steps`",
    "svg": "no vector pictures are drawn",
}
"""Fields of OpenAI's that cannot be honoured here, and what to do instead."""

ALIASES: Mapping[str, str] = {
    "cfg_scale": "guidance_scale",
    "denoising_strength": "strength",
    "num_inference_steps": "steps",
    "sampler": "scheduler",
    "sampler_name": "scheduler",
}
"""Other programs' names for our fields."""


class LoraField(BaseModel):
    """One LoRA: its name in the catalogue, and how strongly it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    weight: Annotated[float, Field(ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)] = 1.0


class HiresField(BaseModel):
    """A second, larger pass; see `images.model.HiresFix`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale: Annotated[float, Field(gt=1, le=4)] = 2.0
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    upscaler: Literal["pixels", "latent"] = "pixels"


class PictureFields(BaseModel):
    """What every way of making a picture takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Fields that another of the routes takes, and why this one does not."""

    model: Annotated[str, Field(min_length=1, max_length=256)] = "auto"
    n: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 1
    size: Size = "auto"
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp", "gif"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["auto", "opaque", "transparent"] = "auto"
    quality: Quality = "auto"
    moderation: Literal["auto", "low"] = "auto"
    user: Label | None = None
    safety_identifier: Label | None = None

    engine: Literal["auto", "torch", "mlx", "sdcpp"] = "auto"
    negative_prompt: Text = ""
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    scheduler: SchedulerName | None = None
    sigmas: Literal["karras", "exponential", "beta", "sgm_uniform"] | None = None
    loras: Annotated[list[LoraField], Field(max_length=MAX_LORAS)] = []
    vae: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=MAX_CLIP_SKIP)] | None = None
    work_class: Literal["interactive", "batch"] = "interactive"


class StreamFields(PictureFields):
    """What a streamed answer takes."""

    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None


class MovingFields(StreamFields):
    """What a moving picture takes: `output_format` gif. `pixel`: a recipe (see /v1/pixel), for frames of
    pixel art; without it the frames are what the model draws, in 256 colours."""

    frame_count: Annotated[int, Field(ge=2, le=16)] | None = None
    frame_duration_ms: Annotated[int, Field(ge=MIN_FRAME_MS, le=MAX_FRAME_MS)] | None = None
    motion: Annotated[str, Field(min_length=1, max_length=MAX_MOTION_CHARS)] | None = None
    frame_strength: Annotated[float, Field(gt=0, le=1)] | None = None
    pixel: dict[str, Any] | None = None


class GenerationFields(MovingFields):
    """POST /v1/images/generations."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "input_fidelity": "a picture is changed with /v1/images/edits",
        "markup": "a picture is changed with /v1/images/edits",
        "strength": "it says how much of a given picture is redrawn; see /v1/images/edits",
        "image": "a picture is changed with /v1/images/edits",
        "mask": "a picture is changed with /v1/images/edits",
    }

    prompt: Prompt
    style: StyleName | None = None
    hires: HiresField | None = None


class EditFields(MovingFields):
    """POST /v1/images/edits, the text fields."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "style": "describe the style in `prompt`",
        "hires": "a second pass is drawn over pictures made from text only",
    }

    prompt: Prompt
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    input_fidelity: Literal["low", "high"] | None = None


class VariationFields(PictureFields):
    """POST /v1/images/variations, the text fields."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        "stream": "variations are not streamed; use /v1/images/edits",
        "partial_images": "variations are not streamed; use /v1/images/edits",
        "mask": "use /v1/images/edits",
        "markup": "use /v1/images/edits",
        "input_fidelity": "use /v1/images/edits",
        "frame_count": "moving pictures are made with /v1/images/edits",
        "frame_duration_ms": "moving pictures are made with /v1/images/edits",
        "hires": "a second pass is drawn over pictures made from text only",
        "style": "describe the style in `prompt`",
    }

    output_format: Literal["png", "jpeg", "webp"] = "png"
    prompt: Text = ""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None


F = TypeVar("F", bound=PictureFields)


def read(fields: type[F], sent: Mapping[str, Any], *, from_form: bool) -> F:
    """`sent` as `fields`. A null counts as not sent.

    Args:
        from_form: the values are texts, and a number or a truth value is read from its text.

    Raises:
        Invalid: the first field that is unknown or has a wrong value, by name.
    """
    values = _canonical(sent)
    if from_form:
        values = {name: _from_text(name, value) for name, value in values.items()}
    for name in values:
        check_name(name, fields)
    for name, value in values.items():
        if isinstance(value, str) and "\x00" in value:
            raise Invalid(f"{name} holds a NUL character.", field=name)
    try:
        return fields.model_validate(values, strict=not from_form)
    except ValidationError as error:
        raise in_words(error.errors(include_url=False)[0]) from None


_STRUCTURED = ("loras", "pixel")
"""Fields that are no single value; a form sends them as JSON."""


def _from_text(name: str, value: Any) -> Any:
    if name not in _STRUCTURED or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Invalid(
            f"{name} is not JSON; got {_given(value)}.",
            field=name,
            hint='for instance [{"model": "watercolour"}]',
        ) from None


def _canonical(sent: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in sent.items():
        if value is None:
            continue
        canonical = ALIASES.get(name, name)
        if canonical in values:
            names = " and ".join(other for other in sent if ALIASES.get(other, other) == canonical)
            raise Invalid(f"{canonical} is given twice, as {names}.", field=name, code="request.repeated")
        values[canonical] = value
    return values


def check_name(name: str, fields: type[PictureFields]) -> None:
    """Raise Invalid where the route takes nothing of this name."""
    if name in fields.model_fields:
        return
    reason = NOT_HERE.get(name) or fields.elsewhere.get(name)
    if reason is not None:
        raise Invalid(
            f"{name} cannot be honoured here.", field=name, hint=reason, code="request.not_supported"
        )
    raise unknown_field(name, sorted(fields.model_fields), among=[*fields.model_fields, *ALIASES])


_WORDS: Mapping[str, str] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "extra_forbidden": "is not known",
    "too_long": "may have {max_length} entries at most",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "string_too_long": "may have {max_length} characters at most",
    "string_too_short": "must not be empty",
    "string_type": "must be a text",
    "string_unicode": "must be valid Unicode",
}
"""pydantic's kinds of error, in our words."""


def in_words(error: ErrorDetails) -> Invalid:
    """pydantic's error as one of ours."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return Invalid(f"{name} is required.", field=name, code="request.missing_field")
    words = _WORDS.get(error["type"])
    text = words.format(**error.get("ctx", {})) if words is not None else error["msg"]
    return Invalid(f"{name} {text}; got {_given(error['input'])}.", field=name)


def _given(value: object) -> str:
    if isinstance(value, str) and len(value) > 200:
        return f"{len(value)} characters"  # a long text is a prompt, and has no place in a message
    return shown(value)


def scheduler_named(name: str | None) -> str | None:
    """Raises Invalid where no scheduler has this name in any spelling."""
    if name is None or chosen(name) is not None:
        return name
    near = difflib.get_close_matches(name.lower(), [*SCHEDULERS, *ALIASED], n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(SCHEDULERS)}"
    raise Invalid(f"There is no scheduler {shown(name)}.", field="scheduler", hint=hint)


def size_px(text: str) -> tuple[int, int] | None:
    """``"512x768"`` → (512, 768); None for ``"auto"``. Whether a model can draw it is not seen here.

    Raises:
        Invalid: anything else.
    """
    if text == "auto":
        return None
    width, x, height = text.partition("x")
    if x and all(side.isascii() and side.isdigit() and len(side) <= 5 for side in (width, height)):
        return int(width), int(height)
    raise Invalid(
        f"size must be auto or WIDTHxHEIGHT in pixels, for instance 512x512; got {shown(text)}.", field="size"
    )
