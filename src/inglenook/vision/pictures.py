# SPDX-License-Identifier: Apache-2.0
"""Pictures of every mode as 8-bit RGB, and the hash by which pictures that look alike are found."""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

FLAT_LEVELS: Final = 3
"""A picture whose reduced greys (0 to 255) differ by less is the same everywhere: it has no hash."""
SIGNATURE_SIDE_PX: Final = 16
_WIDE_MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def viewable(image: "Image") -> "Image":
    """The picture in mode `L` or `RGB`; what is transparent becomes white, 16 bits become 8 by their range.

    Pillow's own conversion of 16-bit greys cuts everything above 255 off, which turns most of them white.
    """
    from PIL import Image as Pillow

    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _WIDE_MODES:
        return Pillow.fromarray(_narrowed(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        ground = Pillow.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(ground, with_alpha).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _narrowed(values: "np.ndarray") -> "np.ndarray":
    """Greys of 16 bits or more as bytes: 0 to 65535 by their high byte, floats by their own range."""
    if values.dtype.kind == "f":
        finite = np.nan_to_num(values.astype(np.float64))
        low, high = float(finite.min()), float(finite.max())
        if low >= 0 and high <= 1:
            return np.asarray(np.rint(finite * 255), np.uint8)
        if low >= 0 and high <= 255:
            return np.asarray(np.rint(finite), np.uint8)
        return np.asarray((finite - low) * (255 / max(high - low, 1e-12)), np.uint8)
    wide = values.astype(np.int64)
    if wide.max(initial=0) <= 255 and values.dtype.itemsize > 2:
        return np.asarray(np.clip(wide, 0, 255), np.uint8)
    return np.asarray(np.clip(wide, 0, 65535) // 257, np.uint8)


def signature(image: "Image") -> "npt.NDArray[np.float32]":
    """A 16 x 16 reduction in grey as a vector of mean 0 and length 1, shape (256,): the product of two is how
    much the pictures correlate. All zero for a flat picture.
    """
    from PIL.Image import Resampling

    side = SIGNATURE_SIDE_PX
    small = np.asarray(image.convert("L").resize((side, side), Resampling.BILINEAR), np.float32).reshape(-1)
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    return np.asarray(small / length if length > 0 else small, np.float32)


def dhash(image: "Image") -> str | None:
    """The 64-bit difference hash, 16 hexadecimal digits: of a 9 x 8 reduction in grey, whether each value is
    less than its right neighbour, row by row (N. Krawetz, "Kind of Like That", 2013). None for flat ones.
    """
    from PIL.Image import Resampling

    small = np.asarray(image.convert("L").resize((9, 8), Resampling.BOX), np.int16)
    if int(small.max()) - int(small.min()) < FLAT_LEVELS:
        return None
    bits = np.packbits((small[:, :-1] < small[:, 1:]).reshape(-1))
    return bits.tobytes().hex()
