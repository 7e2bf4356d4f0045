# SPDX-License-Identifier: Apache-2.0
"""Raw RGBA (four bytes a pixel, row by row, straight alpha) ↔ PNG. Blocks: call it in a thread."""

import io
from dataclasses import dataclass

from inglenook.base.errors import Failed, Invalid

SELECTED = 128
"""A pixel of a mask is drawn anew where its alpha and its brightness are at least this."""


@dataclass(frozen=True, slots=True)
class Raw:
    """`data`: `width` x `height` x 4 bytes."""

    width: int
    height: int
    data: bytes


def raw_of(picture: bytes) -> Raw:
    """A picture file of our own as raw RGBA; of several frames the first. Raises Failed where it is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(picture)) as image:
            pixels = image.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise Failed(f"A picture of ours cannot be read: {error}.", code="pixels.failed") from error
    return Raw(pixels.width, pixels.height, pixels.tobytes())


def png_of(raw: Raw) -> bytes:
    from PIL import Image

    image = Image.frombytes("RGBA", (raw.width, raw.height), raw.data)
    return _png(image)


def mask_png(raw: Raw) -> bytes:
    """A mask as `images.keep_mask` reads it: L, white where it is drawn anew.

    Raises:
        Invalid: nothing is selected.
    """
    from PIL import Image

    image = Image.frombytes("RGBA", (raw.width, raw.height), raw.data)
    bright = image.convert("RGB").convert("L").point(_cut)
    mask = Image.composite(bright, Image.new("L", image.size, 0), image.getchannel("A").point(_cut))
    if mask.getbbox() is None:
        raise Invalid(
            "The mask selects nothing: no pixel of it is opaque and white.",
            field="mask",
            code="picture.mask_empty",
            hint="white and opaque is drawn anew; black or transparent stays",
        )
    return _png(mask)


def _cut(value: int) -> int:
    return 255 if value >= SELECTED else 0


def _png(image: "object") -> bytes:
    from PIL import Image

    assert isinstance(image, Image.Image)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
