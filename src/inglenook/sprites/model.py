# SPDX-License-Identifier: Apache-2.0
"""What is asked for when a sprite is to be made, and what comes of it. Pure values."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from inglenook.base.ids import BlobId, ModelId, PictureId
from inglenook.images.model import Engine, LoraChoice
from inglenook.pixels.checking import read_recipe
from inglenook.pixels.model import Recipe, known_fields

KIND: Final = "sprite"
"""Of jobs that make sprites."""
ANY_MODEL: Final = ModelId("auto")
MAX_FRAMES: Final = 64
MAX_MOTION_CHARS: Final = 200
MIN_FRAME_MS: Final = 10
MAX_FRAME_MS: Final = 65_535
"""What an Aseprite file can say of a frame."""
DEFAULT_FRAME_MS: Final = 120
DEFAULT_FRAME_STRENGTH: Final = 0.45


class Side(StrEnum):
    """On which side of a tile the next one is to lie."""

    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"


class Stage(StrEnum):
    """Of a running sprite job. While it draws, the stages of the image worker stand in their place:
    `encode`, `denoise`, `decode`."""

    MATTE = "matte"
    PIXELS = "pixels"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class SpriteRequest:
    """A request as the door understood it; None means "as the model likes it".

    Attributes:
        prompt: what to draw, 1 to 32 000 characters. The words for pixel art are put to it where the model's
            family wants them (`sprites.presets.words_for`).
        model: a catalogue id, or "auto" for the default picture model.
        engine: which program draws.
        preset: a name of `sprites.presets.PRESETS`, whose words stand in for an empty prompt.
        style: a name of `sprites.presets.STYLES`, whose words are put around the prompt.
        base_width, base_height: pixels as drawn, before the reduction; both or neither.
        recipe: how the drawn picture becomes the sprite. Without width and height: the size of the input
            picture where there is one, `DEFAULT_SIZE` otherwise.
        n: variants, each with a seed of its own.
        frames: of an animation, 1 to `MAX_FRAMES`; 1 is a still sprite.
        motion: a name of `sprites.presets.MOTIONS` (`walk`, `idle`, `rotate`), or free words that are put to
            every frame's prompt; None: the frames differ by chance only.
        frame_strength: how much of a frame is drawn anew from the one before, in (0, 1].
        frame_ms: how long a frame is shown, `MIN_FRAME_MS` to `MAX_FRAME_MS`.
        steps, guidance_scale, seed, strength, loras: as in `images.model.ImageRequest`.
        image: what is drawn from, kept by `SpritesService.keep_input`: a canvas, a selection, a tile.
        mask: what of it is drawn anew (white), kept by `keep_mask`. Outside of it every pixel of the
            sprite is that of the canvas.
        continue_tile: draw the tile that joins `image` on that side; neither mask nor frames then.
        previews: how many previews to send while a picture is drawn, 0 to 100.
        plain: the words for pixel art are left out: the frames of an animation that is not to be any.
    """

    prompt: str
    negative_prompt: str | None = None
    model: ModelId = ANY_MODEL
    engine: Engine = Engine.AUTO
    preset: str | None = None
    style: str | None = None
    base_width: int | None = None
    base_height: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
    n: int = 1
    frames: int = 1
    motion: str | None = None
    frame_strength: float = DEFAULT_FRAME_STRENGTH
    frame_ms: int = DEFAULT_FRAME_MS
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    loras: tuple[LoraChoice, ...] = ()
    image: BlobId | None = None
    mask: BlobId | None = None
    strength: float | None = None
    continue_tile: Side | None = None
    previews: int = 0
    plain: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> "SpriteRequest":
        """A field that the payload lacks has its default: it was written by an older program."""
        known = {name: payload[name] for name in cls.__slots__ if name in payload}
        side = known.get("continue_tile")
        return cls(
            **known
            | {
                "engine": Engine(known.get("engine", Engine.AUTO)),
                "recipe": recipe_from_json(known.get("recipe", {})),
                "loras": tuple(LoraChoice(**lora) for lora in known.get("loras", ())),
                "continue_tile": None if side is None else Side(side),
            }
        )


def recipe_from_json(kept: dict[str, Any]) -> Recipe:
    """A recipe as `Recipe.as_json` wrote it, perhaps in another version: unknown fields are passed over."""
    return read_recipe({name: kept[name] for name in kept if name in known_fields()}, palettes={})


@dataclass(frozen=True, slots=True)
class SpritePart:
    """One finished variant, as it stands in the job's `result["parts"]`.

    Attributes:
        picture_id: in the gallery: an indexed PNG (RGBA where every colour is kept), or a GIF.
        index: of the variant, from 0.
        frames: blobs of the frames' PNGs in their order, one for a still sprite.
        durations_ms: one a frame.
        drawings: blobs of the pictures that they were made of, one a frame, for whoever wants another
            recipe: as drawn, without what stood over a canvas; the frames where a part of one was redrawn.
        proofs: one a frame, `pixels.model.Proof.as_json()`.
        grid: that was found in the first drawing, or None.
        offset, pivot, notes: as in `pixels.model.Sprite`; notes of all frames, each once.
        matted_by: `u2netp` or `border`; None where the background was kept.
    """

    picture_id: PictureId
    index: int
    seed: int
    width: int
    height: int
    media_type: str
    size_bytes: int
    url: str
    frames: tuple[BlobId, ...]
    durations_ms: tuple[int, ...]
    drawings: tuple[BlobId, ...]
    palette: tuple[tuple[int, int, int], ...] | None
    proofs: tuple[dict[str, Any], ...]
    grid: dict[str, float] | None
    offset: tuple[int, int]
    pivot: tuple[int, int]
    notes: tuple[str, ...]
    matted_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SpriteResult:
    """What stands in the job's result beside the parts once it has succeeded.

    Attributes:
        engine: `torch`, `mlx` or `sdcpp`. model: that drew. device: `cpu`, `cuda`, `mps` …
        seconds: from the lease to the last part.
        palette, proof: those of the first part's first frame.
        notes: of the request, the drawing and all parts, each once.
        durations_ms: one a frame, the same for every variant.
        tags: `{"name", "first", "last"}`, frames from 0, of one variant; empty for a still sprite.
        seeds: one a variant.
    """

    engine: str
    model: ModelId
    device: str
    seconds: float
    palette: tuple[tuple[int, int, int], ...] | None
    proof: dict[str, Any] | None
    notes: tuple[str, ...]
    durations_ms: tuple[int, ...]
    tags: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
