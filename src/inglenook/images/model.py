# SPDX-License-Identifier: Apache-2.0
"""What is asked of a picture model: one request of one kind, whichever door it came through. Pure."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from inglenook.base.ids import BlobId, ModelId


class Mode(StrEnum):
    TEXT = "text"  # from noise
    IMAGE = "image"  # from a picture, by strength
    INPAINT = "inpaint"  # a picture, changed where the mask is white
    EDIT = "edit"  # what the prompt says about one or more pictures


class Engine(StrEnum):
    """Which program draws. `auto`: the best that is here and has the model."""

    AUTO = "auto"
    TORCH = "torch"
    MLX = "mlx"
    SDCPP = "sdcpp"


class OutputFormat(StrEnum):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


MAX_PROMPT_CHARS = 32_000
"""OpenAI's own limit for an image prompt; models read far less, and say so in a notice."""
MAX_STEPS = 500
MAX_GUIDANCE = 50.0
MAX_SEED = 2**63 - 1
MAX_PICTURES = 32
MAX_SIDE_PX = 4096
MAX_LORAS = 16
MAX_LORA_WEIGHT = 20.0
MAX_INPUT_PICTURES = 16
"""OpenAI's own limit for an edit; most models take one."""
MAX_CLIP_SKIP = 12


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """A LoRA by its name in the catalogue, and how strongly it counts: -20 to 20, 1 as it was trained."""

    model: ModelId
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class HiresFix:
    """A second, larger pass over the finished picture.

    Attributes:
        scale: times the size of the first pass, above 1, at most 4.
        strength: how much of it is drawn anew, in (0, 1].
        steps: of the second pass, 1 to `MAX_STEPS`; None takes those of the first.
        upscaler: `pixels` (Lanczos on the decoded picture) or `latent`.
    """

    scale: float = 2.0
    strength: float = 0.5
    steps: int | None = None
    upscaler: Literal["pixels", "latent"] = "pixels"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request as the door understood it; None means "as the model likes it".

    Attributes:
        model: a catalogue id, or "auto" for the default picture model.
        engine: which program draws.
        width, height: pixels, 1 to `MAX_SIDE_PX`; both or neither. Rounded to what the model can do.
        steps: 1 to `MAX_STEPS`.
        guidance_scale: 0 to `MAX_GUIDANCE`; 0 is a value.
        seed: 0 to `MAX_SEED`; picture i gets `seed + i` (wrapping). None draws one at random.
        n: pictures, 1 to `MAX_PICTURES`.
        strength: in (0, 1]; only with `image`.
        image, mask: blobs that the door has stored (decoded, bounded, RGB / L PNG). Mask: white is redrawn.
        more_images: further pictures that an instruction is about, for models that take several.
        scheduler: a name or an alias from `wire.schedulers`, or None for the model's own.
        sigmas: a sigma schedule from `wire.schedulers`, or None for the scheduler's own.
        loras: beside those that the prompt names as `<lora:name:weight>`; at most `MAX_LORAS` in all.
        vae: a VAE of the catalogue instead of the model's own.
        clip_skip: 1 to `MAX_CLIP_SKIP`; 1 reads CLIP's last layer. Only for families with CLIP alone.
        hires: draw over an enlarged picture; not with `image`.
        style: a name from `images.styles`, whose words are put around the prompt.
        transparent: cut the subject out: the plain background that joins the border becomes transparent.
        output_compression: quality 0 to 100 of JPEG and WebP; None for the format's default.
        previews: how many previews to send while a picture is made, 0 to 100.
    """

    model: ModelId
    prompt: str
    negative_prompt: str = ""
    engine: Engine = Engine.AUTO
    mode: Mode = Mode.TEXT
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    n: int = 1
    scheduler: str | None = None
    strength: float | None = None
    image: BlobId | None = None
    mask: BlobId | None = None
    more_images: tuple[BlobId, ...] = ()
    sigmas: str | None = None
    loras: tuple[LoraChoice, ...] = ()
    vae: ModelId | None = None
    clip_skip: int | None = None
    hires: HiresFix | None = None
    style: str | None = None
    transparent: bool = False
    output_format: OutputFormat = OutputFormat.PNG
    output_compression: int | None = None
    previews: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
