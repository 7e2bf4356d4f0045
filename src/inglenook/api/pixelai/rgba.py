# SPDX-License-Identifier: Apache-2.0
"""Raw RGBA (four bytes a pixel, row by row, straight alpha) ↔ PNG. Blocks: call it in a thread."""

import io
from dataclasses import dataclass

from inglenook.base.errors import Failed


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
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
