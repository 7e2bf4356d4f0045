# SPDX-License-Identifier: Apache-2.0
"""The fields of requests under /v1/pixel: types, bounds, and words for what is wrong."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inglenook.api.bodies import unknown_field
from inglenook.api.openai.fields import in_words
from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.door.problem import shown
from inglenook.engines.pixels import WriteOrder
from inglenook.images.model import (
    MAX_GUIDANCE,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SIDE_PX,
    MAX_STEPS,
    Engine,
    LoraChoice,
)
from inglenook.pixels.model import MAX_COLORS, Recipe, known_fields
from inglenook.pixels.places import has_place, require_places
from inglenook.sprites.model import (
    DEFAULT_FRAME_MS,
    DEFAULT_FRAME_STRENGTH,
    MAX_FRAME_MS,
    MAX_FRAMES,
    MAX_MOTION_CHARS,
    MIN_FRAME_MS,
    Side,
    SpriteRequest,
)
from inglenook.wire.pixels import FrameTag

Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Picture = Annotated[str, Field(min_length=1)]
BaseSide = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Level = Annotated[int, Field(ge=0, le=255)]
Color = Annotated[list[Level], Field(min_length=3, max_length=3)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class LoraField(_Fields):
    """One LoRA: its name in the catalogue, and how strongly it counts."""

    model: Name
    weight: Annotated[float, Field(ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)] = 1.0


class SpriteFields(_Fields):
    """POST /v1/pixel/sprites. `image`, `mask`: base64, a data address, the id of a picture of the gallery, or
    an address to fetch. `recipe`: the fields of a recipe; its palette may be a name."""

    prompt: Text = ""
    negative_prompt: Text | None = None
    model: Name = "auto"
    engine: Literal["auto", "torch", "mlx", "sdcpp"] = "auto"
    preset: Name | None = None
    style: Name | None = None
    base_width: BaseSide | None = None
    base_height: BaseSide | None = None
    recipe: dict[str, Any] = {}
    n: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 1
    frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)] = 1
    motion: Annotated[str, Field(min_length=1, max_length=MAX_MOTION_CHARS)] | None = None
    frame_strength: Annotated[float, Field(gt=0, le=1)] = DEFAULT_FRAME_STRENGTH
    frame_ms: Annotated[int, Field(ge=MIN_FRAME_MS, le=MAX_FRAME_MS)] = DEFAULT_FRAME_MS
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    loras: Annotated[list[LoraField], Field(max_length=MAX_LORAS)] = []
    image: Picture | None = None
    mask: Picture | None = None
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    continue_tile: Literal["left", "right", "up", "down"] | None = None
    previews: Annotated[int, Field(ge=0, le=100)] = 0
    work_class: Literal["interactive", "batch"] = "interactive"

    def request(self, recipe: Recipe, *, image: BlobId | None, mask: BlobId | None) -> SpriteRequest:
        side = self.continue_tile
        return SpriteRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            model=ModelId(self.model),
            engine=Engine(self.engine),
            preset=self.preset,
            style=self.style,
            base_width=self.base_width,
            base_height=self.base_height,
            recipe=recipe,
            n=self.n,
            frames=self.frames,
            motion=self.motion,
            frame_strength=self.frame_strength,
            frame_ms=self.frame_ms,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            loras=tuple(LoraChoice(ModelId(lora.model), lora.weight) for lora in self.loras),
            image=image,
            mask=mask,
            strength=self.strength,
            continue_tile=None if side is None else Side(side),
            previews=self.previews,
        )


class TagField(_Fields):
    """A named run of frames, from 0, both ends included."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    first: Annotated[int, Field(ge=0, le=255)]
    last: Annotated[int, Field(ge=0, le=255)]
    direction: Literal["forward", "reverse", "ping-pong"] = "forward"


class ExportFields(_Fields):
    """The `spec` of POST /v1/pixel/export; see `wire.pixels.WriteSprites`."""

    format: Literal[
        "png", "gif", "webp", "aseprite", "sheet-aseprite", "sheet-texturepacker", "ico", "icons", "rgba"
    ]
    durations_ms: (
        Annotated[list[Annotated[int, Field(ge=1, le=MAX_FRAME_MS)]], Field(max_length=256)] | None
    ) = None
    tags: Annotated[list[TagField], Field(max_length=256)] = []
    layers: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1, max_length=256)
        ]
        | None
    ) = None
    palette: Annotated[list[Color], Field(min_length=1, max_length=MAX_COLORS)] | None = None
    loop: bool = True
    scale: Annotated[int, Field(ge=1, le=64)] = 1
    columns: Annotated[int, Field(ge=1, le=256)] | None = None
    padding: Annotated[int, Field(ge=0, le=64)] = 0
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^/\\\x00-\x1f]+$")] = "sprite"

    def order(self, kept_durations: tuple[int, ...] | None) -> WriteOrder:
        """Args:
            kept_durations: of an animation of the gallery, for a spec that names none.

        Raises:
            Invalid: the format has no place for what a field asks for.
        """
        usual = {name: one.default for name, one in type(self).model_fields.items()}
        require_places(self.format, [name for name, value in self if value != usual[name]])
        if not has_place(self.format, "durations_ms"):
            kept_durations = None
        durations = kept_durations if self.durations_ms is None else tuple(self.durations_ms)
        palette = self.palette
        return WriteOrder(
            format=self.format,
            durations_ms=None if self.layers is not None else durations,
            tags=tuple(FrameTag(**tag.model_dump()) for tag in self.tags),
            layers=None if self.layers is None else tuple(self.layers),
            palette=None if palette is None else tuple((one[0], one[1], one[2]) for one in palette),
            loop=self.loop,
            scale=self.scale,
            columns=self.columns,
            padding=self.padding,
            name=self.name,
        )


F = TypeVar("F", bound=_Fields)


def read(fields: type[F], sent: Mapping[str, Any]) -> F:
    """`sent` as `fields`; a null counts as not sent.

    Raises:
        Invalid: the first field that is unknown or has a wrong value, by name.
    """
    values = {name: value for name, value in sent.items() if value is not None}
    for name, value in values.items():
        if name not in fields.model_fields:
            inner = "recipe" in fields.model_fields and name in known_fields()
            hint = f'it belongs into recipe: {{"recipe": {{"{name}": …}}}}' if inner else None
            raise unknown_field(name, fields.model_fields, hint=hint)
        if isinstance(value, str) and "\x00" in value:
            raise Invalid(f"{name} holds a NUL character.", field=name)
    try:
        return fields.model_validate(values, strict=True)
    except ValidationError as error:
        raise in_words(error.errors(include_url=False)[0]) from None


def json_text(texts: Mapping[str, str], name: str) -> dict[str, Any]:
    """A text field of a form that holds a JSON object; {} where it is missing. Raises Invalid."""
    text = texts.get(name)
    if text is None or not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(
            f"{name} is not JSON; got {shown(text)}.", field=name, hint='for instance {"width": 32}'
        ) from None
    if not isinstance(value, dict):
        raise Invalid(f"{name} must be a JSON object; got {shown(value)}.", field=name)
    return value


def flag(texts: Mapping[str, str], name: str) -> bool:
    """A text field of a form that is true or false; false where it is missing. Raises Invalid."""
    text = texts.get(name, "false").strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise Invalid(f"{name} must be true or false; got {shown(text)}.", field=name)
    return text in ("true", "1")


def whole(texts: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A text field of a form that is a whole number; `default` where it is missing. Raises Invalid."""
    text = texts.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise Invalid(f"{name} must be a whole number from {low} to {high}; got {shown(text)}.", field=name)
    return int(text)
