# SPDX-License-Identifier: Apache-2.0
"""From what was asked to what is drawn: every value checked, every gap filled. Pure.

The result is a `Drawing`: all that is needed to make the same pictures again, which is what a job keeps
as its payload, what stands in the file, and what "use again" fills the form with.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ModelRecord
from inglenook.images.errors import BadRequest
from inglenook.images.model import (
    MAX_GUIDANCE,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    ImageRequest,
    Mode,
    OutputFormat,
)
from inglenook.images.sizes import SizePlan, plan_size
from inglenook.wire.schedulers import SCHEDULERS

DEFAULT_STRENGTH = {Mode.IMAGE: 0.75, Mode.INPAINT: 1.0}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for (settings `images.*`)."""

    max_side_px: int
    max_pixels: int
    max_pictures: int
    max_steps: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A request with nothing left open.

    Attributes:
        width, height: pixels as drawn by the model.
        out_width, out_height: pixels as delivered: `factor` times those.
        seeds: one a picture.
        notes: what was changed in the request, in words.
    """

    model: ModelId
    prompt: str
    negative_prompt: str
    mode: Mode
    width: int
    height: int
    out_width: int
    out_height: int
    factor: int
    steps: int
    guidance_scale: float
    seeds: tuple[int, ...]
    scheduler: str | None
    strength: float | None
    image: BlobId | None
    mask: BlobId | None
    output_format: OutputFormat
    output_compression: int | None
    previews: int
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"seeds": list(self.seeds), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> "Drawing":
        known = {name: payload[name] for name in cls.__slots__}
        return cls(
            **known
            | {
                "mode": Mode(payload["mode"]),
                "output_format": OutputFormat(payload["output_format"]),
                "seeds": tuple(payload["seeds"]),
                "notes": tuple(payload["notes"]),
            }
        )


def plan(
    request: ImageRequest,
    record: ModelRecord,
    *,
    limits: Limits,
    seed: int,
    image_size: tuple[int, int] | None,
) -> Drawing:
    """Check the request against the model and the limits, and fill what it leaves open.

    Args:
        seed: for a request that names none.
        image_size: width and height of the input picture, where there is one.

    Raises:
        BadRequest: a value that cannot be drawn; its `field` names the field.
        ModelUnusable: the model's files have a problem.
    """
    if record.image is None or record.problem is not None:
        problem = record.problem or f"it is a {record.kind} model, not one that draws"
        raise ModelUnusable(
            f"{record.id} cannot draw: {problem}.", field="model", hint="choose another: `inglenook models`"
        )
    defaults = record.image
    _check_words(request)
    _check_scheduler(request, record)
    _check_numbers(request, limits)
    _check_inputs(request)
    size = _size(request, record, limits, image_size)
    steps = min(defaults.steps, limits.max_steps) if request.steps is None else request.steps
    guidance = defaults.guidance_scale if request.guidance_scale is None else request.guidance_scale
    first = seed if request.seed is None else request.seed
    strength = DEFAULT_STRENGTH.get(request.mode) if request.strength is None else request.strength
    return Drawing(
        model=record.id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        mode=request.mode,
        width=size.draw_w,
        height=size.draw_h,
        out_width=size.out_w,
        out_height=size.out_h,
        factor=size.factor,
        steps=steps,
        guidance_scale=float(guidance),
        seeds=tuple((first + i) % (MAX_SEED + 1) for i in range(request.n)),
        scheduler=request.scheduler,
        strength=None if request.mode is Mode.TEXT else strength,
        image=request.image,
        mask=request.mask,
        output_format=request.output_format,
        output_compression=request.output_compression,
        previews=request.previews,
        notes=() if size.note is None else (size.note,),
    )


def _check_words(request: ImageRequest) -> None:
    if not request.prompt.strip() and request.mode is not Mode.IMAGE:  # a variation needs no words
        raise BadRequest("The prompt is empty.", field="prompt", hint="say what to draw, e.g. a red fox")
    for field in ("prompt", "negative_prompt"):
        length = len(getattr(request, field))
        if length > MAX_PROMPT_CHARS:
            raise BadRequest(
                f"{field} has {length} characters; at most {MAX_PROMPT_CHARS} are accepted.", field=field
            )
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise BadRequest(
            f"There is no scheduler {request.scheduler!r}.",
            field="scheduler",
            hint=f"choose one of {', '.join(SCHEDULERS)}",
        )


def _check_scheduler(request: ImageRequest, record: ModelRecord) -> None:
    assert record.image is not None
    able = record.image.schedulers
    if request.scheduler is not None and able and request.scheduler not in able:
        raise BadRequest(
            f"{record.id} cannot be drawn with the scheduler {request.scheduler!r}.",
            field="scheduler",
            hint=f"name none for the model's own, or choose one of {', '.join(able)}",
        )


def _check_numbers(request: ImageRequest, limits: Limits) -> None:
    _within("n", request.n, 1, limits.max_pictures)
    _within("steps", request.steps, 1, limits.max_steps)
    _within("guidance_scale", request.guidance_scale, 0.0, MAX_GUIDANCE)
    _within("seed", request.seed, 0, MAX_SEED)
    _within("output_compression", request.output_compression, 0, 100)
    _within("previews", request.previews, 0, 100)
    if request.strength is not None and not 0 < request.strength <= 1:
        raise BadRequest(
            f"strength is {request.strength}; it must be above 0 and at most 1.",
            field="strength",
            hint="1 redraws everything, 0.3 changes little",
        )
    if request.output_compression is not None and request.output_format is OutputFormat.PNG:
        raise BadRequest(
            "output_compression is for jpeg and webp; png is always lossless.", field="output_compression"
        )


def _within(field: str, value: float | None, low: float, high: float) -> None:
    # Not-a-number fails every comparison, which is why the question is put this way round.
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise BadRequest(f"{field} is {value}; it must be between {low:g} and {_plain(high)}.", field=field)


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _check_inputs(request: ImageRequest) -> None:
    if request.mode is Mode.TEXT:
        for field in ("image", "mask", "strength"):
            if getattr(request, field) is not None:
                raise BadRequest(f"{field} is given, but the picture is made from text alone.", field=field)
        return
    if request.image is None:
        raise BadRequest("An input picture is needed.", field="image")
    if request.mode is Mode.INPAINT and request.mask is None:
        raise BadRequest("A mask is needed to say where the picture is redrawn.", field="mask")
    if request.mode is Mode.IMAGE and request.mask is not None:
        raise BadRequest("A mask is given, but the whole picture is to be redrawn.", field="mask")


def _size(
    request: ImageRequest, record: ModelRecord, limits: Limits, image_size: tuple[int, int] | None
) -> SizePlan:
    if (request.width is None) != (request.height is None):
        raise BadRequest("Give both width and height, or neither.", field="size")
    defaults = record.image
    assert defaults is not None
    wanted: tuple[int, int] | None = None
    if request.width is not None and request.height is not None:
        wanted = (request.width, request.height)
    elif image_size is not None and not defaults.fixed:
        wanted = _like(image_size, max(defaults.width, defaults.height), max(defaults.min_px, 1))
    return plan_size(wanted, defaults, max_side_px=limits.max_side_px, max_pixels=limits.max_pixels)


def _like(size: tuple[int, int], longest: int, shortest: int) -> tuple[int, int]:
    """The shape of an input picture, no longer than what the model likes, no shorter than it can."""
    factor = min(1.0, longest / max(size))
    return cast("tuple[int, int]", tuple(max(shortest, round(side * factor)) for side in size))
