# SPDX-License-Identifier: Apache-2.0
"""Choosing a palette of few colours for a picture of many.

All three ways measure and mix in OKLab, weigh each colour with how often it occurs, and give the same palette
for the same picture. The colours of a picture that has more than `histogram.MAX_COLORS_APART` are put into
bins first: its palette may be off by a shade that nobody sees.
"""

import numpy as np
import numpy.typing as npt

from inglenook.pixels.histogram import MAX_COLORS_APART, Points, counted, points
from inglenook.pixels.kmeans import k_means
from inglenook.pixels.median_cut import median_cut
from inglenook.pixels.model import MAX_COLORS, Quantiser
from inglenook.pixels.nearest import check_length, nearest_points
from inglenook.pixels.octree import octree
from inglenook.pixels.oklab import Bytes, to_oklab, to_srgb
from inglenook.pixels.restoring import restored


def palette_of(
    rgb: Bytes,
    counts: npt.NDArray[np.int64],
    colors: int,
    how: Quantiser = Quantiser.K_MEANS,
    seed: int = 0,
    *,
    spoiled: bool = False,
) -> Bytes:
    """At most `colors` colours for a picture; its own where it has no more.

    Args:
        rgb: uint8 (n, 3), each colour once (`histogram.counted`).
        counts: int64 (n,), how often each occurs, at least 1.
        colors: 1 to 256.
        seed: 0 or more; only k-means makes use of it.
        spoiled: the picture had few colours before something spoiled it; k-means then looks for those.

    Returns:
        uint8 (k, 3), from dark to light, none twice; (0, 3) for a picture without colours.

    Raises:
        ValueError: `colors` is out of range.
    """
    if not 1 <= colors <= MAX_COLORS:
        raise ValueError(f"a palette has 1 to {MAX_COLORS} colours, {colors} were asked for")
    if len(rgb) <= colors:
        return ordered(rgb)
    if how is Quantiser.OCTREE:
        return ordered(octree(rgb, counts, colors))
    cloud = points(rgb, counts)
    if how is Quantiser.MEDIAN_CUT:
        return ordered(to_srgb(median_cut(cloud, colors)))
    centres = k_means(cloud, colors, seed)
    return ordered(to_srgb(restored(cloud, centres) if spoiled else centres))


def ordered(palette: Bytes) -> Bytes:
    """From dark to light, equally light ones by their value, each once."""
    once = counted(palette).rgb
    order: npt.NDArray[np.intp] = np.argsort(to_oklab(once)[:, 0], kind="stable")
    return once[order]


def best_of(palette: Bytes, rgb: Bytes, counts: npt.NDArray[np.int64], colors: int) -> npt.NDArray[np.intp]:
    """Which entries of a fixed palette to keep so that a picture needs only `colors` of them.

    Entries that no colour is nearest to go first; then, one after the other, the one whose colours lose least
    by moving to their second nearest.

    Returns:
        Indices into `palette`, ascending: at most `colors`, and none that the picture does not use. All of
        them for a picture without colours.
    """
    check_length(palette)
    if not len(rgb):
        return np.arange(min(colors, len(palette)))
    cloud, centres = points(rgb, counts), to_oklab(palette)
    kept = np.unique(nearest_points(centres, cloud.lab)[0])
    while len(kept) > colors:
        kept = np.delete(kept, _least_missed(cloud, centres[kept]))
    return kept


def _least_missed(cloud: Points, centres: npt.NDArray[np.float32]) -> int:
    index, first = nearest_points(centres, cloud.lab)
    second = np.empty_like(first)
    for number in range(len(centres)):
        mine = index == number
        second[mine] = nearest_points(np.delete(centres, number, 0), cloud.lab[mine])[1]
    loss = np.bincount(index, cloud.weights * (second - first), len(centres))
    return int(loss.argmin())


def is_binned(rgb: Bytes) -> bool:
    """Whether a palette chosen for these colours, each given once, comes from bins and not from each."""
    return len(rgb) > MAX_COLORS_APART
