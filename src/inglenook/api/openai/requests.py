# SPDX-License-Identifier: Apache-2.0
"""OpenAI's fields → `ImageRequest`. What the dialect's words mean here is decided in this file."""

from collections.abc import Mapping, Sequence
from typing import Any

from inglenook.api.openai.fields import (
    DALL_E_STYLES,
    EditFields,
    GenerationFields,
    PictureFields,
    Quality,
    StreamFields,
    VariationFields,
    scheduler_named,
    size_px,
)
from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.images.model import MAX_STEPS, Engine, HiresFix, ImageRequest, LoraChoice, Mode, OutputFormat
from inglenook.images.styles import styled

STEPS_FACTOR: Mapping[str, float] = {
    "low": 0.5,
    "medium": 1.0,
    "standard": 1.0,
    "high": 1.5,
    "hd": 1.5,
    "xhigh": 2.0,
    "max": 3.0,
}
"""Quality → how many of the model's own number of steps are taken. More steps are the one thing that a
diffusion model can do for quality."""

_ANSWERED: Mapping[str, str] = {"auto": "medium", "standard": "medium", "hd": "high"}

VARIATION_STRENGTH = 0.6
"""How much of a picture a variation redraws unless it is told: the layout stays, the rest changes."""


def answered_quality(quality: Quality) -> str:
    """The word of the current SDK's answers for what was done."""
    return _ANSWERED.get(quality, quality)


FIDELITY: Mapping[str, float | None] = {"low": None, "high": 0.45}
"""OpenAI's `input_fidelity` → strength: high keeps faces and layout, low is the model's own default. Models
that follow instructions have no strength, and say so in a note."""


def generation(fields: GenerationFields, model: ModelRecord) -> ImageRequest:
    hires = fields.hires
    return ImageRequest(
        prompt=_worded(fields),
        style=None if fields.style in DALL_E_STYLES else fields.style,
        mode=Mode.TEXT,
        hires=None if hires is None else HiresFix(hires.scale, hires.strength, hires.steps, hires.upscaler),
        **_common(fields, model),
    )


def edit(
    fields: EditFields, model: ModelRecord, *, images: Sequence[BlobId], mask: BlobId | None
) -> ImageRequest:
    """`images`: at least one; a mask belongs to the first."""
    return ImageRequest(
        prompt=fields.prompt,
        mode=Mode.IMAGE if mask is None else Mode.INPAINT,
        image=images[0],
        more_images=tuple(images[1:]),
        mask=mask,
        strength=_strength(fields, masked=mask is not None),
        **_common(fields, model),
    )


def _strength(fields: EditFields, *, masked: bool) -> float | None:
    if fields.input_fidelity is None:
        return fields.strength
    if fields.strength is not None:
        raise Invalid(
            f"input_fidelity ({fields.input_fidelity}) and strength ({fields.strength}) both say how much "
            "is redrawn.",
            field="input_fidelity",
            hint="give one of the two",
        )
    return None if masked else FIDELITY[fields.input_fidelity]


def variation(fields: VariationFields, model: ModelRecord, *, image: BlobId) -> ImageRequest:
    return ImageRequest(
        prompt=fields.prompt,
        mode=Mode.IMAGE,
        image=image,
        strength=VARIATION_STRENGTH if fields.strength is None else fields.strength,
        **_common(fields, model),
    )


def styled_prompt(fields: GenerationFields) -> str:
    """What is drawn in that style, for the answer's `revised_prompt`.

    Raises:
        Invalid: there is no such style.
    """
    own = None if fields.style in DALL_E_STYLES else fields.style
    return styled(own, _worded(fields), "")[0]


def _worded(fields: GenerationFields) -> str:
    """DALL·E's two styles are a word to the model here; ours have words of their own around the prompt."""
    return f"{fields.prompt}, {fields.style} style" if fields.style in DALL_E_STYLES else fields.prompt


def check(fields: GenerationFields | EditFields | VariationFields) -> None:
    """What no single field can tell. Raises Invalid."""
    if not isinstance(fields, VariationFields) and not fields.prompt.strip():
        raise Invalid("The prompt is empty.", field="prompt", hint="say what to draw, for instance a red fox")
    if fields.background == "transparent" and fields.output_format == "jpeg":
        raise Invalid(
            "background is transparent, but a JPEG cannot be.",
            field="background",
            hint="ask for output_format png or webp",
        )
    if fields.quality != "auto" and fields.steps is not None:
        raise Invalid(
            f"quality ({fields.quality}) and steps ({fields.steps}) both say how many steps to take.",
            field="quality",
            hint="give one of the two",
        )
    if fields.output_format == "png" and fields.output_compression not in (None, 100):
        raise Invalid(
            f"output_compression is {fields.output_compression}, but a PNG is never compressed with loss.",
            field="output_compression",
            hint="ask for output_format jpeg or webp",
        )
    if isinstance(fields, StreamFields):
        _check_stream(fields)


def _check_stream(fields: StreamFields) -> None:
    if fields.partial_images and not fields.stream:
        raise Invalid(
            f"partial_images is {fields.partial_images}, but the answer is not streamed.",
            field="partial_images",
            hint="send stream=true",
        )
    if fields.stream and fields.response_format == "url":
        raise Invalid("A streamed picture always comes as b64_json.", field="response_format")


def _common(fields: GenerationFields | EditFields | VariationFields, model: ModelRecord) -> dict[str, Any]:
    check(fields)
    size = size_px(fields.size)
    lossless = fields.output_format == "png"
    return {
        "model": model.id,
        "engine": Engine(fields.engine),
        "negative_prompt": fields.negative_prompt,
        "width": None if size is None else size[0],
        "height": None if size is None else size[1],
        "steps": steps(fields, model),
        "guidance_scale": fields.guidance_scale,
        "seed": fields.seed,
        "n": fields.n,
        "scheduler": scheduler_named(fields.scheduler),
        "sigmas": fields.sigmas,
        "loras": tuple(LoraChoice(ModelId(lora.model), lora.weight) for lora in fields.loras),
        "vae": None if fields.vae is None else ModelId(fields.vae),
        "clip_skip": fields.clip_skip,
        "transparent": fields.background == "transparent",
        "output_format": OutputFormat(fields.output_format),
        "output_compression": None if lossless else fields.output_compression,
        "previews": (fields.partial_images or 0) if isinstance(fields, StreamFields) else 0,
    }


def steps(fields: PictureFields, model: ModelRecord) -> int | None:
    """As many as are asked for, or as the quality means; None leaves it to the model."""
    if fields.quality == "auto" or model.image is None:
        return fields.steps
    return min(MAX_STEPS, max(1, round(model.image.steps * STEPS_FACTOR[fields.quality])))
