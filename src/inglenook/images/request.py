# SPDX-License-Identifier: Apache-2.0
"""From what was asked to what is drawn: every value checked, every gap filled. Pure.

The result is a `Drawing`: all that is needed to make the same pictures again, which is what a job keeps
as its payload, what stands in the file, and what "use again" fills the form with.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from inglenook.base.ids import BlobId, ModelId
from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ImageDefaults, ModelRecord
from inglenook.images.errors import BadRequest
from inglenook.images.model import (
    MAX_CLIP_SKIP,
    MAX_GUIDANCE,
    MAX_INPUT_PICTURES,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    HiresFix,
    ImageRequest,
    LoraChoice,
    Mode,
    OutputFormat,
)
from inglenook.images.sizes import SizePlan, plan_size
from inglenook.images.styles import styled
from inglenook.wire.families import EDIT, FAMILIES, IMAGE, INPAINT, TEXT
from inglenook.wire.schedulers import (
    MOST_STEPS,
    SCHEDULERS,
    SIGMAS,
    chosen,
    chosen_sigmas,
    fitting,
    is_flow,
    sigmas_of,
)

DEFAULT_STRENGTH = {Mode.IMAGE: 0.75, Mode.INPAINT: 1.0}
MAX_HIRES_SCALE = 4.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for (settings `images.*`)."""

    max_side_px: int
    max_pixels: int
    max_pictures: int
    max_steps: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a request names besides its model, found in the catalogue.

    Attributes:
        prompt, negative_prompt: in their style, without tags; an embedding stands there as `embedding:name`.
        loras: of the fields and of the prompt, with their weights.
        embeddings: the word as it stands in the prompt, and what it means.
        plain_prompt, plain_negative_prompt: the same without the style.
    """

    prompt: str
    negative_prompt: str
    loras: tuple[tuple[ModelRecord, float], ...] = ()
    embeddings: tuple[tuple[str, ModelRecord], ...] = ()
    vae: ModelRecord | None = None
    plain_prompt: str = ""
    plain_negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class HiresPass:
    """The second pass of a drawing; see `images.model.HiresFix`. `width`, `height`: pixels it ends with."""

    width: int
    height: int
    steps: int | None
    strength: float
    upscaler: Literal["pixels", "latent"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A request with nothing left open.

    Attributes:
        width, height: pixels as drawn by the model, in the first pass where there are two.
        out_width, out_height: pixels as delivered: `factor` times those of the last pass.
        seeds: one a picture.
        notes: what was changed in the request, in words.
        loras: catalogue ids and weights. embeddings: the word in the prompt, and the catalogue id.
        style: whose words are in the prompts. plain_prompt, plain_negative_prompt: then, those without.
        engine: that draws it, by its runtime name; "" for the model's own (`ModelRecord.engine`).
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
    more_images: tuple[BlobId, ...] = ()
    sigmas: str | None = None
    loras: tuple[LoraChoice, ...] = ()
    embeddings: tuple[tuple[str, ModelId], ...] = ()
    vae: ModelId | None = None
    clip_skip: int | None = None
    hires: HiresPass | None = None
    transparent: bool = False
    style: str | None = None
    plain_prompt: str = ""
    plain_negative_prompt: str = ""
    engine: str = ""

    @property
    def largest(self) -> tuple[int, int]:
        """Width and height of the largest pass."""
        return (self.width, self.height) if self.hires is None else (self.hires.width, self.hires.height)

    def as_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> "Drawing":
        """A field that the payload lacks has its default: it was written by an older program."""
        known = {name: payload[name] for name in cls.__slots__ if name in payload}
        hires = known.get("hires")
        return cls(
            **known
            | {
                "mode": Mode(payload["mode"]),
                "output_format": OutputFormat(payload["output_format"]),
                "seeds": tuple(payload["seeds"]),
                "notes": tuple(payload["notes"]),
                "more_images": tuple(payload.get("more_images", ())),
                "loras": tuple(LoraChoice(**lora) for lora in payload.get("loras", ())),
                "embeddings": tuple((word, ModelId(model)) for word, model in payload.get("embeddings", ())),
                "hires": None if hires is None else HiresPass(**hires),
            }
        )


def plan(
    request: ImageRequest,
    record: ModelRecord,
    *,
    limits: Limits,
    seed: int,
    image_size: tuple[int, int] | None,
    found: Found | None = None,
) -> Drawing:
    """Check the request against the model and the limits, and fill what it leaves open.

    Args:
        seed: for a request that names none.
        image_size: width and height of the first input picture, where there is one.
        found: what the request names besides the model; None where it names nothing.

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
    if found is None:
        words = styled(request.style, request.prompt, request.negative_prompt)
        found = Found(*words, plain_prompt=request.prompt, plain_negative_prompt=request.negative_prompt)
    mode = _mode(request, record)
    _check_words(request, mode)
    scheduler, sigmas = _scheduler(request, record)
    _check_numbers(request, limits)
    _check_inputs(request, mode, defaults)
    _check_extras(request, record, found)
    size = _size(request, record, limits, image_size)
    hires = _hires(request, record, limits, mode, size)
    steps = min(defaults.steps, limits.max_steps) if request.steps is None else request.steps
    guidance = defaults.guidance_scale if request.guidance_scale is None else request.guidance_scale
    first = seed if request.seed is None else request.seed
    strength = DEFAULT_STRENGTH.get(mode) if request.strength is None else request.strength
    out = (size.out_w, size.out_h) if hires is None else (hires.width, hires.height)
    return Drawing(
        model=record.id,
        prompt=found.prompt,
        negative_prompt=found.negative_prompt if defaults.negative_prompt else "",
        mode=mode,
        width=size.draw_w,
        height=size.draw_h,
        out_width=out[0],
        out_height=out[1],
        factor=size.factor,
        steps=steps,
        guidance_scale=float(guidance),
        seeds=tuple((first + i) % (MAX_SEED + 1) for i in range(request.n)),
        scheduler=scheduler,
        sigmas=sigmas,
        strength=strength if mode in DEFAULT_STRENGTH else None,
        image=request.image,
        more_images=request.more_images,
        mask=request.mask,
        loras=tuple(LoraChoice(lora.id, weight) for lora, weight in found.loras),
        embeddings=tuple((word, embedding.id) for word, embedding in found.embeddings),
        vae=None if found.vae is None else found.vae.id,
        clip_skip=request.clip_skip,
        hires=hires,
        transparent=request.transparent,
        style=request.style,
        plain_prompt="" if request.style is None else found.plain_prompt,
        plain_negative_prompt="" if request.style is None else found.plain_negative_prompt,
        output_format=request.output_format,
        output_compression=request.output_compression,
        previews=request.previews,
        notes=tuple(_notes(request, record, mode, size, found)),
    )


def _mode(request: ImageRequest, record: ModelRecord) -> Mode:
    """What the model makes of the request: a picture given to one that follows instructions is what the
    instruction is about."""
    assert record.image is not None
    able = record.image.modes
    if request.mode.value in able:
        return request.mode
    if request.mode is Mode.IMAGE and EDIT in able:
        return Mode.EDIT
    if request.mode is Mode.EDIT and IMAGE in able:
        return Mode.IMAGE
    wants = {
        TEXT: "text alone",
        IMAGE: "a picture",
        INPAINT: "a picture and a mask",
        EDIT: "a picture and what to do with it",
    }
    what = {Mode.TEXT: "text alone", Mode.INPAINT: "a mask"}.get(request.mode, "a picture without a mask")
    raise BadRequest(
        f"{record.id} cannot draw from {what}.",
        field="mask" if request.mode is Mode.INPAINT else "image",
        hint=f"it draws from {' or from '.join(wants[mode] for mode in wants if mode in able)}",
    )


def _check_words(request: ImageRequest, mode: Mode) -> None:
    if not request.prompt.strip() and mode is not Mode.IMAGE:  # a variation needs no words
        raise BadRequest("The prompt is empty.", field="prompt", hint="say what to draw, e.g. a red fox")
    for field in ("prompt", "negative_prompt"):
        length = len(getattr(request, field))
        if length > MAX_PROMPT_CHARS:
            raise BadRequest(
                f"{field} has {length} characters; at most {MAX_PROMPT_CHARS} are accepted.", field=field
            )


def _scheduler(request: ImageRequest, record: ModelRecord) -> tuple[str | None, str | None]:
    """Our own names of the scheduler and of the sigma schedule."""
    assert record.image is not None
    wanted = _sigmas(request)
    if request.scheduler is None:
        return None, wanted
    found = chosen(request.scheduler)
    if found is None:
        raise BadRequest(
            f"There is no scheduler {request.scheduler!r}.",
            field="scheduler",
            hint=f"choose one of {', '.join(SCHEDULERS)}",
        )
    able = record.image.schedulers or fitting(flow=False)
    if found.scheduler not in able:
        raise BadRequest(
            f"{record.id} cannot be drawn with the scheduler {request.scheduler!r}.",
            field="scheduler",
            hint=f"name none for the model's own, or choose one of {', '.join(able)}",
        )
    sigmas = found.sigmas if wanted is None else wanted
    takes = sigmas_of(found.scheduler, flow=is_flow(able))
    if sigmas is not None and sigmas not in takes:
        raise BadRequest(
            f"The scheduler {found.scheduler!r} has no sigma schedule {sigmas!r} for {record.id}.",
            field="sigmas" if found.sigmas is None else "scheduler",
            hint=f"name none for its own, or choose one of {', '.join(takes)}" if takes else "name none",
        )
    _check_steps(request, found.scheduler, able)
    return found.scheduler, sigmas


def _sigmas(request: ImageRequest) -> str | None:
    if request.sigmas is None:
        return None
    named = chosen_sigmas(request.sigmas)
    if named is None:
        raise BadRequest(
            f"There is no sigma schedule {request.sigmas!r}.",
            field="sigmas",
            hint=f"choose one of {', '.join(SIGMAS)}",
        )
    return named


def _check_steps(request: ImageRequest, scheduler: str, able: tuple[str, ...]) -> None:
    most = MOST_STEPS.get(scheduler)
    if most is None or is_flow(able):
        return
    if request.steps is not None and request.steps > most:
        raise BadRequest(
            f"steps is {request.steps}; the scheduler {scheduler!r} takes at most {most}.",
            field="steps",
            hint="two to eight are usual for it",
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
    _within("clip_skip", request.clip_skip, 1, MAX_CLIP_SKIP)
    for lora in request.loras:
        _within("loras", lora.weight, -MAX_LORA_WEIGHT, MAX_LORA_WEIGHT)
    if request.transparent and request.output_format is OutputFormat.JPEG:
        raise BadRequest(
            "A JPEG cannot be transparent.", field="transparent", hint="ask for output_format png or webp"
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


def _check_inputs(request: ImageRequest, mode: Mode, defaults: ImageDefaults) -> None:
    if mode is Mode.TEXT:
        for field in ("image", "mask", "strength", "more_images"):
            if getattr(request, field):
                raise BadRequest(f"{field} is given, but the picture is made from text alone.", field=field)
        return
    if request.image is None:
        raise BadRequest("An input picture is needed.", field="image")
    if mode is Mode.INPAINT and request.mask is None:
        raise BadRequest("A mask is needed to say where the picture is redrawn.", field="mask")
    if mode is not Mode.INPAINT and request.mask is not None:
        raise BadRequest("A mask is given, but the whole picture is to be redrawn.", field="mask")
    pictures = 1 + len(request.more_images)
    most = min(defaults.max_pictures if EDIT in defaults.modes else 1, MAX_INPUT_PICTURES)
    if pictures > most:
        raise BadRequest(
            f"{pictures} input pictures are given; this model takes {most}.",
            field="image",
            hint="choose a model that edits by instruction, such as Qwen-Image-Edit, or give fewer",
        )


def _check_extras(request: ImageRequest, record: ModelRecord, found: Found) -> None:
    if len(found.loras) > MAX_LORAS:
        raise BadRequest(
            f"{len(found.loras)} LoRAs are named; at most {MAX_LORAS} are applied.", field="loras"
        )
    for lora, weight in found.loras:
        _fits(lora, "LoRA", record, field="loras")
        _within("loras", weight, -MAX_LORA_WEIGHT, MAX_LORA_WEIGHT)
    for _, embedding in found.embeddings:
        _fits(embedding, "embedding", record, field="prompt")
    if found.vae is not None:
        _fits(found.vae, "VAE", record, field="vae")
    family = FAMILIES.get(record.family or "")
    if family is not None and not family.clip:
        if request.clip_skip is not None:
            raise BadRequest(
                f"clip_skip is {request.clip_skip}, but {family.title} is not led by CLIP alone.",
                field="clip_skip",
                hint="leave it out",
            )
        if found.embeddings:
            raise BadRequest(
                f"{family.title} reads no textual inversions; the prompt names {found.embeddings[0][0]!r}.",
                field="prompt",
            )


def _fits(part: ModelRecord, what: str, record: ModelRecord, *, field: str) -> None:
    """Raises unless the LoRA, embedding or VAE is sound and of the model's family (or of an unknown one,
    which the worker then finds out from its shapes)."""
    if part.problem is not None:
        raise ModelUnusable(f"The {what} {part.id} cannot be used: {part.problem}.", field=field)
    fits = part.fits or (() if part.family is None else (part.family,))
    if fits and record.family not in fits:
        wanted, here = " or ".join(map(_title, fits)), _title(record.family)
        raise BadRequest(
            f"The {what} {part.id} is for {wanted}; {record.id} is of the family {here}.",
            code=f"{part.kind}.incompatible",
            field=field,
            hint=f"leave it out, or choose a model of the family {wanted}",
        )


def _title(family: str | None) -> str:
    return FAMILIES[family].title if family in FAMILIES else str(family)


def _hires(
    request: ImageRequest, record: ModelRecord, limits: Limits, mode: Mode, size: SizePlan
) -> HiresPass | None:
    wanted = request.hires
    if wanted is None:
        return None
    assert record.image is not None
    _check_hires(wanted, mode, limits)
    if record.image.fixed:
        raise BadRequest(f"{record.id} draws one size only; it has no second pass.", field="hires")
    step = record.image.multiple
    width, height = (
        max(step, round(side * wanted.scale / step) * step) for side in (size.draw_w, size.draw_h)
    )
    if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
        raise BadRequest(
            f"The second pass would have {width}x{height} pixels: at most {limits.max_side_px} a side and "
            f"{limits.max_pixels} in all are drawn here.",
            field="hires",
            hint="ask for a smaller scale or size",
        )
    return HiresPass(width, height, wanted.steps, wanted.strength, wanted.upscaler)


def _check_hires(wanted: HiresFix, mode: Mode, limits: Limits) -> None:
    if mode is not Mode.TEXT:
        raise BadRequest("A second pass is drawn over pictures made from text only.", field="hires")
    if not (math.isfinite(wanted.scale) and 1 < wanted.scale <= MAX_HIRES_SCALE):
        raise BadRequest(
            f"hires.scale is {wanted.scale}; it must be above 1 and at most {MAX_HIRES_SCALE:g}.",
            field="hires",
        )
    if not 0 < wanted.strength <= 1:
        raise BadRequest(
            f"hires.strength is {wanted.strength}; it must be above 0 and at most 1.", field="hires"
        )
    _within("hires", wanted.steps, 1, limits.max_steps)
    if wanted.upscaler not in ("pixels", "latent"):
        raise BadRequest(f"hires.upscaler is {wanted.upscaler!r}; it is pixels or latent.", field="hires")


def _notes(
    request: ImageRequest, record: ModelRecord, mode: Mode, size: SizePlan, found: Found
) -> Iterator[str]:
    """What was changed in the request, or has no effect on this model."""
    defaults = record.image
    assert defaults is not None
    if size.note is not None:
        yield size.note
    if found.negative_prompt.strip() and not defaults.negative_prompt:
        yield "This model reads no negative prompt: it was left out."
    if request.guidance_scale and not defaults.guided:
        yield "This model is not guided: guidance_scale has no effect."
    if request.strength is not None and mode is Mode.EDIT:
        yield "This model follows the prompt, not a strength: strength has no effect."


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
