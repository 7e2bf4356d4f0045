# SPDX-License-Identifier: Apache-2.0
"""One half mirrored onto the other."""

from inglenook.pixels.model import Symmetry
from inglenook.pixels.regions import Indices


def mirrored(indices: Indices, which: Symmetry) -> Indices:
    """The named half stays, the other becomes its mirror image; an odd middle row or column stays."""
    if which is Symmetry.NONE:
        return indices
    found = indices.copy()
    height, width = indices.shape
    across, down = width // 2, height // 2
    match which:
        case Symmetry.LEFT:
            found[:, width - across :] = indices[:, :across][:, ::-1]
        case Symmetry.RIGHT:
            found[:, :across] = indices[:, width - across :][:, ::-1]
        case Symmetry.TOP:
            found[height - down :] = indices[:down][::-1]
        case Symmetry.BOTTOM:
            found[:down] = indices[height - down :][::-1]
    return found
