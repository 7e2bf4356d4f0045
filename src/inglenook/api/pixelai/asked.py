# SPDX-License-Identifier: Apache-2.0
"""What a client asks to be generated: the original's fields with its defaults, and ours beside them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inglenook.api.pixelai.reading import Fields, uuid_of
from inglenook.api.pixelai.shapes import NO_PROMPT, NotAnId
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown
from inglenook.images.model import (
    MAX_GUIDANCE,
    MAX_LORA_WEIGHT,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
    Engine,
)
from inglenook.images.model import MAX_SIDE_PX as MAX_BASE_PX
from inglenook.pixels.model import MAX_COLORS, MAX_SIDE_PX, Background, Fit
from inglenook.sprites.model import (
    MAX_FRAME_MS,
    MAX_FRAMES,
    MAX_MOTION_CHARS,
    MIN_FRAME_MS,
    Side,
)

NO_LORA: Final = "None"
RANDOM_SEED: Final = -1
MAX_REPLY_PIXELS: Final = MAX_SIDE_PX * MAX_SIDE_PX
"""Of all frames of an answer together: four bytes each, and a third more in base64."""
PREVIEWS: Final = 4
MOST_PREVIEWS: Final = 100

ORIGINAL: Final[Mapping[str, Any]] = {
    "width": 1024,
    "height": 1024,
    "pixel_width": 64,
    "pixel_height": 64,
    "steps": 30,
    "guidance_scale": 7.5,
    "colors": 16,
}
"""What a request that leaves them out gets, by whichever door it comes: what PixelAI gives. Null in place of
`width`, `height`, `steps` or `guidance_scale` means the model's own."""

FIELDS: Final = frozenset(
    {
        *("prompt", "negative_prompt", "width", "height", "pixel_width", "pixel_height", "steps"),
        *("guidance_scale", "seed", "colors", "lora_model", "lora_strength", "remove_background"),
        *("preserve_aspect", "fit_mode"),
        *("generation_id", "wait", "single_flight", "model", "engine", "n", "frames", "motion"),
        *("frame_strength", "frame_ms", "palette", "init_image", "mask", "strength", "continue_tile"),
        *("preset", "style", "previews", "recipe"),
    }
)
"""The first two lines are the original's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose every value was read, before anything was looked up.

    Attributes:
        generation_id: a UUID that the client chose, or None.
        wait: whether the answer is the picture; else the answer comes at once and holds the id.
        single_flight: the original's way: refused while another generation of the same person is under way.
        prompt: as sent; the words that lead a model to pixel art are put to it where its family wants them.
        negative_prompt: None for what its family is told then.
        model, engine: None where the caller's default counts.
        width, height, steps, guidance_scale: of the drawing; None for the model's own.
        recipe: fields for `pixels.checking.read_recipe`. own_recipe: those of them that the client put there.
        seed: None for any. seed_sent: as it was sent, where that was a text.
        lora: a name, or None.
        init_image, mask: base64 over HTTP, the name of an upload on a socket.
    """

    prompt: str
    negative_prompt: str | None
    width: int | None
    height: int | None
    pixel_width: int
    pixel_height: int
    fit_mode: str
    preserve_aspect: bool
    remove_background: bool
    recipe: Mapping[str, Any]
    steps: int | None
    guidance_scale: float | None
    seed: int | None
    seed_sent: str | None
    lora: str | None
    lora_strength: float
    generation_id: str | None = None
    wait: bool = field(default=True, compare=False)
    single_flight: bool = field(default=False, compare=False)
    model: str | None = None
    engine: str | None = None
    n: int = 1
    frames: int = 1
    motion: str | None = None
    frame_strength: float | None = None
    frame_ms: int | None = None
    init_image: str | None = None
    mask: str | None = None
    strength: float | None = None
    continue_tile: str | None = None
    preset: str | None = None
    style: str | None = None
    previews: int = 0
    notes: tuple[str, ...] = field(default=())
    own_recipe: frozenset[str] = frozenset()


def read(sent: Mapping[str, Any], *, previews: int = 0) -> Asked:
    """Args:
        sent: the JSON object.
        previews: how many, where nothing is said.

    Raises:
        Invalid: a value that cannot be accepted; `field` names it.
    """
    fields = Fields(sent)
    prompt = _prompt(fields)
    fields.require_known(FIELDS)
    fit, notes = _fit(fields)
    width, height = (_or_own(fields, side, MAX_BASE_PX) for side in ("width", "height"))
    final = [_side(fields, name) for name in ("pixel_width", "pixel_height")]
    n, frames = _count(fields, "n", MAX_PICTURES), _count(fields, "frames", MAX_FRAMES)
    _require_room(n, frames, *final)
    matte = fields.truth("remove_background", default=False)
    clear = matte or _leaves_room(fit, (width, height), (final[0], final[1]))
    seed, seed_sent = _seed(fields)
    lora = fields.words("lora_model")
    return Asked(
        prompt=prompt,
        negative_prompt=_negative(fields),
        width=width,
        height=height,
        pixel_width=final[0],
        pixel_height=final[1],
        fit_mode=fit.value,
        preserve_aspect=fields.truth("preserve_aspect", default=True),
        remove_background=matte,
        recipe=_recipe(fields, (final[0], final[1]), fit, matte, clear),
        steps=_or_own(fields, "steps", MAX_STEPS),
        guidance_scale=_guidance(fields),
        seed=seed,
        seed_sent=seed_sent,
        lora=None if lora == NO_LORA else lora,
        lora_strength=fields.number("lora_strength", 1.0, -MAX_LORA_WEIGHT, MAX_LORA_WEIGHT) or 0.0,
        generation_id=_id(fields),
        wait=fields.truth("wait", default=True),
        single_flight=fields.truth("single_flight", default=False),
        model=fields.words("model"),
        engine=fields.one_of("engine", None, Engine),
        n=n,
        frames=frames,
        motion=fields.words("motion", most=MAX_MOTION_CHARS),
        frame_strength=fields.number("frame_strength", None, 0.0, 1.0),
        frame_ms=fields.whole("frame_ms", None, MIN_FRAME_MS, MAX_FRAME_MS),
        init_image=_given(fields, "init_image"),
        mask=_given(fields, "mask"),
        strength=fields.number("strength", None, 0.0, 1.0),
        continue_tile=fields.one_of("continue_tile", None, Side),
        preset=fields.words("preset"),
        style=fields.words("style"),
        previews=_previews(fields, previews),
        notes=notes,
        own_recipe=frozenset(fields.mapping("recipe")),
    )


def _prompt(fields: Fields) -> str:
    """Empty only where a preset's words take its place."""
    prompt = fields.text("prompt", "", most=MAX_PROMPT_CHARS)
    if not prompt.strip():
        if fields.words("preset") is not None:
            return ""
        raise Invalid(NO_PROMPT, field="prompt", code="request.missing_field")
    return prompt


def _negative(fields: Fields) -> str | None:
    """Empty is a value: nothing is told not to be drawn."""
    if not fields.has("negative_prompt"):
        return None
    return fields.text("negative_prompt", "", most=MAX_PROMPT_CHARS)


def _fit(fields: Fields) -> tuple[Fit, tuple[str, ...]]:
    """An unknown word means contain, as in the original; the answer says so."""
    preserve = fields.truth("preserve_aspect", default=True)
    word = fields.text("fit_mode", Fit.CONTAIN, most=64)
    if not preserve:
        return Fit.STRETCH, ()
    if word in tuple(Fit):
        return Fit(word), ()
    return Fit.CONTAIN, (f"fit_mode {shown(word)} is not known; contain was taken.",)


def _or_own(fields: Fields, name: str, most: int) -> int | None:
    """None for the model's own."""
    return None if fields.is_null(name) else fields.whole(name, ORIGINAL[name], 1, most)


def _guidance(fields: Fields) -> float | None:
    name = "guidance_scale"
    return None if fields.is_null(name) else fields.number(name, ORIGINAL[name], 0.0, MAX_GUIDANCE)


def _side(fields: Fields, name: str) -> int:
    side = fields.whole(name, ORIGINAL[name], 1, MAX_SIDE_PX)
    assert side is not None
    return side


def _count(fields: Fields, name: str, most: int) -> int:
    return fields.whole(name, 1, 1, most) or 1


def _require_room(n: int, frames: int, width: int, height: int) -> None:
    pixels = n * frames * width * height
    if pixels > MAX_REPLY_PIXELS:
        raise Invalid(
            f"{n * frames} pictures of {width}x{height} have {pixels} pixels; an answer holds at most "
            f"{MAX_REPLY_PIXELS}.",
            field="n" if n > 1 else "frames",
            hint="ask for fewer, or for smaller ones",
        )


def _leaves_room(fit: Fit, drawn: tuple[int | None, int | None], final: tuple[int, int]) -> bool:
    """Whether a canvas that holds the whole picture has transparent margins."""
    width, height = drawn
    if fit is not Fit.CONTAIN:
        return False
    if width is None or height is None:
        return final[0] != final[1]
    return width * final[1] != height * final[0]


def _recipe(
    fields: Fields,
    size: tuple[int, int],
    fit: Fit,
    matte: bool,
    clear: bool,
) -> Mapping[str, Any]:
    """The recipe's fields: those of the original first, then the client's own `recipe` over them."""
    palette = fields.raw("palette")
    colors = _colors(fields, None if palette is not None else ORIGINAL["colors"])
    if clear and colors is not None and colors > 1:
        colors -= 1  # transparency counts as one of them, as in the original
    said: dict[str, Any] = {
        "width": size[0],
        "height": size[1],
        "fit": fit.value,
        "colors": colors,
        "background": (Background.MATTE if matte else Background.KEEP).value,
    }
    if palette is not None:
        said["palette"] = palette
    return said | dict(fields.mapping("recipe"))


def _colors(fields: Fields, default: int | None) -> int | None:
    """Nought and less keep every colour, as in the original."""
    colors = fields.whole("colors", default, None, MAX_COLORS)
    return None if colors is None else max(0, colors)


def _seed(fields: Fields) -> tuple[int | None, str | None]:
    sent = fields.raw("seed")
    seed = fields.whole("seed", RANDOM_SEED, RANDOM_SEED, MAX_SEED)
    if seed == RANDOM_SEED:
        return None, None
    return seed, sent if isinstance(sent, str) else None


def _id(fields: Fields) -> str | None:
    sent = fields.raw("generation_id")
    if sent is None:
        return None
    found = uuid_of(sent)
    if found is None:
        raise NotAnId(f"generation_id must be a UUID; got {shown(sent)}.", field="generation_id")
    return found


def _given(fields: Fields, name: str) -> str | None:
    value = fields.raw(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Invalid(f"{name} must be a text; got {shown(value)}.", field=name)
    return value


def _previews(fields: Fields, default: int) -> int:
    """A number, or true for a few."""
    sent = fields.raw("previews")
    if isinstance(sent, bool):
        return PREVIEWS if sent else 0
    return fields.whole("previews", default, 0, MOST_PREVIEWS) or 0
