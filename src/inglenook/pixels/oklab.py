# SPDX-License-Identifier: Apache-2.0
"""OKLab, the space in which distances between colours are measured here, and linear light, in which they mix.

Formulas and matrices: Björn Ottosson, "A perceptual color space for image processing", 2020 (in the public
domain); the transfer curve is that of IEC 61966-2-1 (sRGB).

Everything is summed term by term in float64 and rounded to float32 at the end: a matrix product may be fused
or split differently from one processor to the next, and then the last bit, and with it a tie between two
palette colours, would depend on the machine.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LMS: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_LMS_OF_LAB: Final = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_RGB_OF_LMS: Final = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


def _curve() -> npt.NDArray[np.float64]:
    level = np.arange(256) / 255.0
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


_LINEAR: Final = _curve().astype(np.float32)
"""Linear light of each of the 256 levels. float32, so that `**`'s last bit does not show."""
_BETWEEN: Final = _curve()[:-1] + np.diff(_curve()) / 2
"""Linear light halfway between two levels: what is below belongs to the lower one."""


def to_linear(rgb: Bytes) -> Floats:
    """Linear light, 0 to 1, of sRGB levels. Any shape."""
    light: Floats = _LINEAR[rgb]
    return light


def from_linear(light: npt.NDArray[np.floating]) -> Bytes:
    """The sRGB levels whose linear light is nearest; below 0 is 0, above 1 is 255. Any shape.

    `from_linear(to_linear(x)) == x` for each of the 256 levels.
    """
    return np.searchsorted(_BETWEEN, light, side="right").astype(np.uint8)


def to_oklab(rgb: Bytes) -> Floats:
    """L (0 to 1), a and b (about -0.3 to 0.3) of sRGB colours.

    Args:
        rgb: uint8 (..., 3).

    Returns:
        float32 (..., 3). No two of the 16,777,216 colours give the same one.
    """
    light = _LINEAR[rgb].astype(np.float64)
    lms = [np.cbrt(one) for one in _times(_LMS, light)]
    return np.stack(_times(_LAB, np.stack(lms, -1)), -1).astype(np.float32)


def to_srgb(lab: npt.NDArray[np.floating]) -> Bytes:
    """The sRGB colours nearest to `lab` (..., 3), each channel clipped where sRGB has no such colour.

    `to_srgb(to_oklab(x)) == x` for each of the 16,777,216 colours.
    """
    lms = [one * one * one for one in _times(_LMS_OF_LAB, lab.astype(np.float64))]
    return from_linear(np.stack(_times(_RGB_OF_LMS, np.stack(lms, -1)), -1))


def distances(one: Floats, other: Floats) -> Floats:
    """Euclidean distance between OKLab colours (..., 3), broadcast; about 0.02 is just noticeable."""
    gap = one - other
    square = gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1] + gap[..., 2] * gap[..., 2]
    root: Floats = np.sqrt(square)
    return root


def _times(
    matrix: tuple[tuple[float, float, float], ...], vectors: npt.NDArray[np.float64]
) -> list[npt.NDArray[np.float64]]:
    """The three components of `matrix @ vector` for vectors (..., 3), summed from left to right."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return [row[0] * x + row[1] * y + row[2] * z for row in matrix]
