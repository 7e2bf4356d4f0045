# SPDX-License-Identifier: Apache-2.0
"""From what was asked to what is drawn and made of it. Pure.

The result is an `Order`: all that a job needs, which is what it keeps as its payload.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from inglenook.base.ids import BlobId
from inglenook.catalog.model import ImageDefaults, ModelRecord
from inglenook.images.model import Engine, ImageRequest, Mode
from inglenook.images.request import Drawing
from inglenook.pixels.model import MAX_COLORS, Alpha, Background, Fit, GridMode, Recipe
from inglenook.sprites.canvas import Size, Window
from inglenook.sprites.errors import BadSprite
from inglenook.sprites.model import (
    MAX_FRAME_MS,
    MAX_FRAMES,
    MAX_MOTION_CHARS,
    MIN_FRAME_MS,
    Side,
    SpriteRequest,
    recipe_from_json,
)
from inglenook.sprites.presets import MOTIONS, Pose, is_tiny, posed, worded, words_for
from inglenook.wire.families import IMAGE, INPAINT

DEFAULT_SIZE: Final = 64
"""Side of a sprite of which neither the request nor an input picture tells the size."""
MOST_PICTURES: Final = 256
"""Variants times frames: what the pixel worker takes at a time."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is drawn on: a canvas, or a tile that is continued.

    Attributes:
        canvas: RGBA, as it was kept. mask: L, white where it is redrawn; None for all of it.
        place: the part that is drawn on.
        side: on which the tile is continued; None for a canvas.
    """

    canvas: BlobId
    mask: BlobId | None
    place: Window
    side: Side | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Ground":
        side = kept["side"]
        place = Window.from_json(kept["place"])
        return cls(kept["canvas"], kept["mask"], place, None if side is None else Side(side))


@dataclass(frozen=True, slots=True)
class Order:
    """A request with nothing left open.

    Attributes:
        drawing: of the first frame, with a seed a variant.
        prompts: one a frame. moves: how far a frame is moved from the one before, in pixels (right, down) of
            the drawing.
        notes: what was changed in the request, or should be expected, in words.
    """

    request: SpriteRequest
    engine: Engine
    drawing: Drawing
    recipe: Recipe
    ground: Ground | None
    prompts: tuple[str, ...]
    moves: tuple[Size, ...]
    notes: tuple[str, ...]

    @property
    def frames(self) -> int:
        return len(self.prompts)

    @property
    def base(self) -> Size | None:
        """(width, height) that the request wants to be drawn, where it says so."""
        width, height = self.request.base_width, self.request.base_height
        return None if width is None or height is None else (width, height)

    @property
    def pictures(self) -> int:
        """That are drawn in all."""
        tile = self.ground is not None and self.ground.side is not None
        return len(self.drawing.seeds) * (2 if tile else self.frames)

    def follow(self, frame: int, seed: int, image: BlobId, mask: BlobId | None) -> Drawing:
        """The drawing of a frame that is drawn over another picture, or inside a mask of it."""
        strength = 1.0 if self.ground is not None and self.ground.side is not None else None
        return replace(
            self.drawing,
            prompt=self.prompts[frame],
            mode=Mode.IMAGE if mask is None else Mode.INPAINT,
            seeds=(seed,),
            image=image,
            mask=mask,
            strength=self.request.frame_strength if strength is None else strength,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "request": self.request.as_json(),
            "engine": self.engine.value,
            "drawing": self.drawing.as_json(),
            "recipe": self.recipe.as_json(),
            "ground": None if self.ground is None else self.ground.as_json(),
            "prompts": list(self.prompts),
            "moves": [list(move) for move in self.moves],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Order":
        return cls(
            request=SpriteRequest.from_json(kept["request"]),
            engine=Engine(kept["engine"]),
            drawing=Drawing.from_json(kept["drawing"]),
            recipe=recipe_from_json(kept["recipe"]),
            ground=None if kept["ground"] is None else Ground.from_json(kept["ground"]),
            prompts=tuple(kept["prompts"]),
            moves=tuple((move[0], move[1]) for move in kept["moves"]),
            notes=tuple(kept["notes"]),
        )


def check(request: SpriteRequest, *, max_frames: int) -> None:
    """What can be told without a model. Raises BadSprite; its `field` names the field."""
    _within("frames", request.frames, 1, min(max_frames, MAX_FRAMES))
    _within("frame_ms", request.frame_ms, MIN_FRAME_MS, MAX_FRAME_MS)
    _within("n", request.n, 1, MOST_PICTURES)
    if request.n * request.frames > MOST_PICTURES:
        raise BadSprite(
            f"{request.n} variants of {request.frames} frames are {request.n * request.frames} pictures; at "
            f"most {MOST_PICTURES} are made at a time.",
            field="n",
            hint="ask for fewer variants or frames",
        )
    if not (math.isfinite(request.frame_strength) and 0 < request.frame_strength <= 1):
        raise BadSprite(
            f"frame_strength is {request.frame_strength}; it must be above 0 and at most 1.",
            field="frame_strength",
            hint="0.3 keeps a frame near the one before, 0.6 lets it differ",
        )
    _check_motion(request)
    if (request.base_width is None) != (request.base_height is None):
        raise BadSprite("Give both base_width and base_height, or neither.", field="base_width")
    _check_inputs(request)


def _check_motion(request: SpriteRequest) -> None:
    if request.motion is None:
        return
    if len(request.motion) > MAX_MOTION_CHARS:
        raise BadSprite(
            f"motion has {len(request.motion)} characters; at most {MAX_MOTION_CHARS} are accepted.",
            field="motion",
        )
    if request.frames == 1:
        raise BadSprite(
            f"motion is {request.motion[:40]!r}, but frames is 1.",
            field="frames",
            hint=f"ask for 2 or more frames; {' and '.join(MOTIONS)} have 4 or 8 poses",
        )


def _check_inputs(request: SpriteRequest) -> None:
    if request.image is None:
        for name in ("mask", "strength", "continue_tile"):
            if getattr(request, name) is not None:
                raise BadSprite(
                    f"{name} is given, but no image.", field=name, hint="send the canvas as image"
                )
    if request.continue_tile is None:
        return
    for name, usual in (("mask", None), ("strength", None), ("frames", 1)):
        if getattr(request, name) != usual:
            raise BadSprite(
                f"continue_tile and {name} exclude each other.", field=name, hint=f"leave {name} out"
            )


def require_modes(request: SpriteRequest, record: ModelRecord) -> None:
    """Raises BadSprite where the model cannot draw what frames and tiles are drawn from."""
    able = frozenset() if record.image is None else record.image.modes
    if request.continue_tile is not None and INPAINT not in able:
        raise BadSprite(
            f"{record.id} cannot continue a tile: it does not draw inside a mask.",
            field="continue_tile",
            hint="choose another model",
        )
    if request.frames > 1 and request.mask is None and IMAGE not in able:
        raise BadSprite(
            f"{record.id} cannot draw frames: it does not draw over a picture.",
            field="frames",
            hint="choose another model, or ask for 1 frame",
        )


# -- sizes and recipe --------------------------------------------------------------------------------------


def sprite_recipe(
    request: SpriteRequest,
    record: ModelRecord,
    canvas: Size | None,
    *,
    ground: Window | None,
    free: bool = False,
    colors: tuple[tuple[int, int, int], ...] | None = None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with its size settled, and what was changed in it.

    Args:
        canvas: size of the input picture, where there is one. ground: the part of it that is redrawn.
        free: the canvas' subject stands free on a transparent ground.
        colors: of a tile that is continued, for a request that names no palette.
    """
    recipe, notes = request.recipe, []
    if ground is not None:
        given = recipe.width, recipe.height
        if any(side is not None and side != own for side, own in zip(given, canvas or (0, 0), strict=True)):
            notes.append(
                f"The sprite has the size of its canvas: a part of it cannot be {_sides(given)} instead."
            )
        recipe = replace(
            recipe, width=ground.size[0], height=ground.size[1], fit=Fit.STRETCH, grid=GridMode.OFF
        )
        if recipe.trim:
            recipe = replace(recipe, trim=False)
            notes.append("trim has no effect where a part of a canvas is redrawn, or a tile continued.")
    elif recipe.width is None and recipe.height is None:
        side = min(DEFAULT_SIZE, record.image.native_px if record.image is not None else DEFAULT_SIZE)
        width, height = (side, side) if canvas is None else canvas
        recipe = replace(recipe, width=width, height=height)
    kept = recipe.background is Background.KEEP and recipe.alpha is not Alpha.OPAQUE
    if free and kept and request.mask is None:
        recipe = replace(recipe, background=Background.BORDER)
        notes.append("The canvas stands free, so the plain ground around the drawing was cut away too.")
    if colors is not None and recipe.palette is None and recipe.colors != 0:
        recipe = replace(recipe, palette=colors, colors=None)
        notes.append(f"The tile keeps to the {len(colors)} colours of the one that it continues.")
    return recipe, tuple(notes)


def base_size(request: SpriteRequest, record: ModelRecord, recipe: Recipe, *, most_px: int) -> Size | None:
    """Pixels to draw for a sprite from words alone; None leaves it to the model.

    Args:
        most_px: of a side that may be drawn here.

    About the model's own area in the sprite's shape, each pixel of the sprite a whole number of drawn ones
    where that can be: a wide sprite is not cut from a square.
    """
    if request.base_width is not None and request.base_height is not None:
        return request.base_width, request.base_height
    defaults = record.image
    if defaults is None or defaults.fixed or recipe.width is None or recipe.height is None:
        return None
    return _shaped(recipe.width, recipe.height, defaults, most_px)


def _shaped(width: int, height: int, defaults: ImageDefaults, most_px: int) -> Size | None:
    area = defaults.width * defaults.height
    cell = math.sqrt(area / (width * height))
    step = defaults.multiple
    # A whole cell whose multiples of both sides can be drawn, within a fifth of the model's own area.
    for factor in sorted(range(1, math.ceil(cell * 1.2) + 1), key=lambda one: abs(one - cell)):
        sides = width * factor, height * factor
        near = 0.8 <= factor / cell <= 1.2
        if near and all(side % step == 0 and defaults.min_px <= side <= most_px for side in sides):
            return sides
    sides = round(width * cell / step) * step, round(height * cell / step) * step
    return sides if min(sides) >= defaults.min_px and max(sides) <= most_px else None


def image_request(
    request: SpriteRequest,
    record: ModelRecord,
    *,
    engine: Engine,
    size: Size | None,
    ground: BlobId | None = None,
    mask: BlobId | None = None,
) -> ImageRequest:
    """What the pictures' part is asked for.

    Args:
        engine: that was chosen, and draws with the record.
        size: of the drawing.
        ground, mask: prepared for that size.

    Raises:
        BadSprite: no such preset or style.
    """
    usual = "" if request.plain else words_for(record).negative
    negative = usual if request.negative_prompt is None else request.negative_prompt
    mode = Mode.TEXT if ground is None else Mode.IMAGE if mask is None else Mode.INPAINT
    return ImageRequest(
        model=record.id,
        engine=engine,
        prompt=worded(
            request.prompt, record, preset=request.preset, style=request.style, plain=request.plain
        ),
        negative_prompt=negative,
        mode=mode,
        width=None if size is None else size[0],
        height=None if size is None else size[1],
        steps=request.steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        n=request.n,
        strength=request.strength,
        image=ground,
        mask=mask,
        loras=request.loras,
        previews=request.previews,
    )


def order(
    request: SpriteRequest,
    record: ModelRecord,
    drawing: Drawing,
    *,
    engine: Engine,
    recipe: Recipe,
    ground: Ground | None,
    notes: tuple[str, ...],
) -> Order:
    """Everything together.

    Args:
        record: as `engine` draws with it. notes: those of the recipe.
    """
    frames = range(request.frames)
    poses = [posed(drawing.prompt, record, request.motion, frame, request.frames) for frame in frames]
    told = [note for note in drawing.notes if not (is_tiny(record) and request.base_width is None)]
    if request.frames > 1:
        told.append(words_for(record).expect)
    return Order(
        request=request,
        engine=engine,
        drawing=replace(drawing, prompt=poses[0][0], notes=(), engine=record.engine),
        recipe=recipe,
        ground=ground,
        prompts=tuple(prompt for prompt, _ in poses),
        moves=_moves([pose for _, pose in poses], (drawing.width, drawing.height)),
        notes=tuple(dict.fromkeys((*told, *notes))),
    )


def _moves(poses: Sequence[Pose], size: Size) -> tuple[Size, ...]:
    """How far each frame is moved from the one before, in pixels of the drawing; the first stays."""
    at = [(round(pose.right * size[0]), round(pose.down * size[1])) for pose in poses]
    before = [at[0], *at[:-1]]
    return tuple((x - was_x, y - was_y) for (x, y), (was_x, was_y) in zip(at, before, strict=True))


def final_recipe(recipe: Recipe, colors: tuple[tuple[int, int, int], ...] | None) -> Recipe:
    """How a canvas with a redrawn part becomes an indexed sprite without a pixel being changed.

    Args:
        colors: of all frames together, or None where there are more than a palette holds.
    """
    exact = Recipe(
        grid=GridMode.OFF,
        colors=0 if colors is None else MAX_COLORS,
        alpha=recipe.alpha,
        background_color=recipe.background_color,
    )
    if colors is not None and recipe.palette is not None and set(colors) <= set(recipe.palette):
        return replace(exact, palette=recipe.palette, colors=None)
    return exact


def _sides(given: tuple[int | None, int | None]) -> str:
    return "x".join("any" if side is None else str(side) for side in given)


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadSprite(f"{field} is {value}; it must be between {low} and {high}.", field=field)
