# SPDX-License-Identifier: Apache-2.0
"""Frames as indices into one palette, exactly, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inglenook.base.errors import Invalid
from inglenook.pixels.histogram import counted, pack
from inglenook.pixels.model import MAX_COLORS
from inglenook.pixels.oklab import Bytes
from inglenook.pixels.palettes import Color


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """Frames that have few colours and hard alpha.

    Attributes:
        palette: uint8 (k, 3), at most 256.
        frames: uint16 (h, w) each; k is a transparent pixel.
        holes: whether any pixel is transparent.
    """

    palette: Bytes
    frames: tuple[npt.NDArray[np.uint16], ...]
    holes: bool

    @property
    def entries(self) -> int:
        """So many a file needs, with one for transparency."""
        return len(self.palette) + self.holes


def indexed(frames: Sequence[Bytes], palette: tuple[Color, ...] | None) -> Indexed | None:
    """None where there are more than 256 colours or partly transparent pixels.

    Without `palette` it is the colours that occur, by their value.

    Raises:
        Invalid: a pixel has a colour that is not in `palette`.
    """
    if any(((frame[..., 3] != 0) & (frame[..., 3] != 255)).any() for frame in frames):
        return None
    seen = [frame[..., 3] > 0 for frame in frames]
    own = counted(np.concatenate([frame[mask][:, :3] for frame, mask in zip(frames, seen, strict=True)])).rgb
    if palette is None and len(own) > MAX_COLORS:
        return None
    colours = own if palette is None else np.array(palette, np.uint8)
    order = np.argsort(pack(colours), kind="stable")
    packed = pack(colours)[order]
    _check_all_in(packed, own)
    found = []
    for frame, mask in zip(frames, seen, strict=True):
        at = (
            order[np.minimum(np.searchsorted(packed, pack(frame[..., :3])), len(order) - 1)]
            if len(order)
            else 0
        )
        found.append(np.where(mask, at, len(colours)).astype(np.uint16))
    return Indexed(colours, tuple(found), not all(mask.all() for mask in seen))


def _check_all_in(packed: npt.NDArray[np.uint32], own: Bytes) -> None:
    """`packed`: the palette's colours, sorted."""
    missing = own[~np.isin(pack(own), packed)]
    if len(missing):
        raise Invalid(
            f"{len(missing)} colours of the frames are not in the palette, #{bytes(missing[0]).hex()} first.",
            field="palette",
            hint="leave the palette out, or bring the frames to it first",
        )
