# SPDX-License-Identifier: Apache-2.0
"""`output_format` gif: a moving picture → `SpriteRequest`. What OpenAI's words mean here is decided here.

Each frame is drawn over the one before. With `pixel`, a recipe, the frames become pixel art; without it they
are what the model draws.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from inglenook.api.openai import requests
from inglenook.api.openai.fields import EditFields, GenerationFields, MovingFields, size_px
from inglenook.api.paths import inside, told
from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.images.model import Engine, LoraChoice
from inglenook.pixels.model import MAX_COLORS, Alpha, Background, Fit, GridMode, Recipe, Reduction
from inglenook.sprites.model import DEFAULT_FRAME_STRENGTH, SpriteRequest

FRAMES: Final = 9
FRAME_MS: Final = 200
"""OpenAI's defaults."""
_ONLY_MOVING: Final = ("frame_count", "frame_duration_ms", "motion", "frame_strength", "pixel")
_NOT_MOVING: Final = (
    "partial_images", "output_compression", "hires", "scheduler", "sigmas", "vae", "clip_skip",
)  # fmt: skip


def check_still(fields: MovingFields) -> None:
    """Raises Invalid where something of a moving picture is asked of one that stands still."""
    for name in _ONLY_MOVING:
        if getattr(fields, name) is not None:
            raise Invalid(
                f"{name} is for moving pictures; output_format is {fields.output_format}.",
                field=name,
                hint="ask for output_format gif",
            )


def moving(
    fields: GenerationFields | EditFields,
    model: ModelRecord,
    *,
    read_recipe: Callable[[Mapping[str, Any]], Recipe],
    image: BlobId | None = None,
    strength: float | None = None,
) -> SpriteRequest:
    """Args:
        read_recipe: of `pixel`; blocks.
        image: the first frame is drawn over it.

    Raises:
        Invalid: something that a GIF cannot have; its `field` names it.
    """
    _check(fields)
    size = size_px(fields.size)
    recipe = _recipe(fields, model, size, read_recipe, drawn_over=image is not None)
    prompt = requests.styled_prompt(fields) if isinstance(fields, GenerationFields) else fields.prompt
    base = None if image is not None else size
    return SpriteRequest(
        prompt=prompt,
        negative_prompt=fields.negative_prompt or None,
        model=model.id,
        engine=Engine(fields.engine),
        base_width=None if base is None else base[0],
        base_height=None if base is None else base[1],
        recipe=recipe,
        n=fields.n,
        frames=FRAMES if fields.frame_count is None else fields.frame_count,
        motion=fields.motion,
        frame_strength=DEFAULT_FRAME_STRENGTH if fields.frame_strength is None else fields.frame_strength,
        frame_ms=FRAME_MS if fields.frame_duration_ms is None else fields.frame_duration_ms,
        steps=requests.steps(fields, model),
        guidance_scale=fields.guidance_scale,
        seed=fields.seed,
        loras=tuple(LoraChoice(ModelId(lora.model), lora.weight) for lora in fields.loras),
        image=image,
        strength=strength,
        plain=fields.pixel is None,
    )


def _check(fields: MovingFields) -> None:
    if fields.stream:
        raise Invalid("A GIF is not streamed.", field="stream", hint="leave stream out")
    for name in _NOT_MOVING:
        if getattr(fields, name, None) is not None:
            raise Invalid(f"{name} is not taken for a GIF.", field=name, hint=f"leave {name} out")


def _recipe(
    fields: MovingFields,
    model: ModelRecord,
    size: tuple[int, int] | None,
    read_recipe: Callable[[Mapping[str, Any]], Recipe],
    *,
    drawn_over: bool,
) -> Recipe:
    free = fields.background == "transparent"
    if fields.pixel is not None:
        background = {"background": Background.MATTE.value} if free else {}
        with told(inside("pixel")):
            return read_recipe(background | fields.pixel)
    assert model.image is not None
    usual = None if drawn_over else (model.image.width, model.image.height)
    width, height = size or usual or (None, None)
    return Recipe(
        width=width,
        height=height,
        fit=Fit.STRETCH,
        grid=GridMode.OFF,
        reduction=Reduction.NEAREST if model.image.fixed else Reduction.AREA,
        colors=MAX_COLORS,
        alpha=Alpha.BINARY if free else Alpha.OPAQUE,
        background=Background.MATTE if free else Background.KEEP,
    )
