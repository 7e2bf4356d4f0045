# SPDX-License-Identifier: Apache-2.0
"""What is asked of a picture model: one request of one kind, whichever door it came through. Pure."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from inglenook.base.ids import BlobId, ModelId


class Mode(StrEnum):
    TEXT = "text"  # from noise
    IMAGE = "image"  # from a picture, by strength
    INPAINT = "inpaint"  # a picture, changed where the mask is white


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


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request as the door understood it; None means "as the model likes it".

    Attributes:
        model: a catalogue id, or "auto" for the default picture model.
        width, height: pixels, 1 to `MAX_SIDE_PX`; both or neither. Rounded to what the model can do.
        steps: 1 to `MAX_STEPS`.
        guidance_scale: 0 to `MAX_GUIDANCE`; 0 is a value.
        seed: 0 to `MAX_SEED`; picture i gets `seed + i` (wrapping). None draws one at random.
        n: pictures, 1 to `MAX_PICTURES`.
        strength: in (0, 1]; only with `image`.
        image, mask: blobs that the door has stored (decoded, bounded, RGB / L PNG). Mask: white is redrawn.
        scheduler: a name from `wire.schedulers`, or None for the model's own.
        output_compression: quality 0 to 100 of JPEG and WebP; None for the format's default.
        previews: how many previews to send while a picture is made, 0 to 100.
    """

    model: ModelId
    prompt: str
    negative_prompt: str = ""
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
    output_format: OutputFormat = OutputFormat.PNG
    output_compression: int | None = None
    previews: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
