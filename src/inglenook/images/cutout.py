# SPDX-License-Identifier: Apache-2.0
"""The subject of a PNG without its background, where the background is plain: `pixels.border` on bytes."""

from io import BytesIO

from PIL import Image


def cut_out(png: bytes) -> bytes | None:
    """An RGBA PNG with a transparent background, or None where the border has no colour of its own.

    Args:
        png: RGB, 8 bit.
    """
    import numpy as np  # a tenth of a second: only when it is needed

    from inglenook.pixels.border import border_cut

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        rgba = border_cut(np.asarray(image.convert("RGBA")))
    if rgba is None:
        return None
    out = BytesIO()
    Image.fromarray(rgba).save(out, "PNG", compress_level=4)
    return out.getvalue()
