# SPDX-License-Identifier: Apache-2.0
"""What is asked for (`Recipe`), what comes out (`Sprite`), and what it guarantees (`Proof`). Pure values."""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_SIDE_PX: Final = 4096
"""Of a sprite; a larger one is no sprite."""
MAX_COLORS: Final = 256
"""Entries of a palette in an indexed PNG, a GIF and an Aseprite sprite."""


class Fit(StrEnum):
    CONTAIN = "contain"  # all of the picture, centred on a transparent canvas
    COVER = "cover"  # all of the canvas, what stands over is cut off evenly
    STRETCH = "stretch"  # the sides scaled apart


class Reduction(StrEnum):
    """How the many pixels of a cell become one."""

    DOMINANT = "dominant"  # the most frequent colour cluster; with a grid the geometric median of the core
    MEDIAN = "median"  # the pixel nearest to the median in OKLab
    K_CENTROID = "k-centroid"  # the centre of the largest of k clusters
    EDGE = "edge"  # as dominant, but what differs from its surroundings (outlines) wins
    AREA = "area"  # the mean, alpha-weighted, in linear light
    NEAREST = "nearest"  # the pixel in the middle


class GridMode(StrEnum):
    AUTO = "auto"  # find a grid; cells follow it where there is one
    OFF = "off"  # cells are the even division of the picture


class Quantiser(StrEnum):
    K_MEANS = "k-means"  # in OKLab, seeded from the picture itself
    MEDIAN_CUT = "median-cut"
    OCTREE = "octree"


class Dither(StrEnum):
    NONE = "none"
    BAYER_2 = "bayer-2"
    BAYER_4 = "bayer-4"
    BAYER_8 = "bayer-8"
    FLOYD_STEINBERG = "floyd-steinberg"
    ATKINSON = "atkinson"


class Alpha(StrEnum):
    BINARY = "binary"  # 0 or 255, cut at `alpha_threshold`
    OPAQUE = "opaque"  # laid on `background_color`, all 255


class Background(StrEnum):
    KEEP = "keep"
    MATTE = "matte"  # the subject, by the matting model; by the border where there is none
    BORDER = "border"  # the plain colour that joins the border


class Outline(StrEnum):
    NONE = "none"
    INSIDE = "inside"  # the outermost opaque pixels are recoloured
    OUTSIDE = "outside"  # one pixel around what is opaque; the canvas does not grow


class Symmetry(StrEnum):
    NONE = "none"
    LEFT = "left"  # the left half is mirrored to the right
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


class Tile(StrEnum):
    NONE = "none"
    X = "x"
    Y = "y"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixels that a picture pretends to have.

    Attributes:
        period_x, period_y: side of a cell, in pixels of the picture; at least 1, fractional.
        phase_x, phase_y: where the first whole cell begins, in [0, period).
        confidence: 0 to 1; below `pixels.grid.LEAST_CONFIDENCE` there is no grid.
    """

    period_x: float
    period_y: float
    phase_x: float
    phase_y: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture becomes a sprite. Every field has a default that an artist would leave.

    Attributes:
        width, height: of the sprite, 1 to `MAX_SIDE_PX`; None for both: as many as the grid has cells, or
            as the picture has pixels where there is no grid. One alone: the other follows from the shape.
        colors: most colours, 1 to 256, transparency not counted; 0 keeps every colour (RGBA, no palette).
            Where `palette` is given: at most so many of it, None for all.
        palette: fixed colours as (r, g, b), 1 to 256; None has them chosen from the picture.
        dither_strength: 0 to 1.
        merge_rare: colours that cover less than this share of the opaque pixels join their nearest, 0 to 0.5.
        alpha_threshold: 1 to 255; what is below is transparent.
        background_color: under what is made opaque.
        despeckle: islands of at most so many pixels (8-connected, one colour) join their surroundings.
        fill_holes: transparent holes of at most so many pixels are filled from around them.
        clean_edges: blends of two neighbours' colours along edges take the nearer of both.
        outline_color: None takes the darkest colour of the palette.
        keep_outline: dark lines of the picture that are thinner than a cell survive the reduction.
        trim: cut to what is opaque; `Sprite.offset` tells from where.
        seed: for whatever needs a choice (k-means); the same seed gives the same bytes.
    """

    width: int | None = None
    height: int | None = None
    fit: Fit = Fit.CONTAIN
    grid: GridMode = GridMode.AUTO
    reduction: Reduction = Reduction.DOMINANT
    colors: int | None = 16
    palette: tuple[tuple[int, int, int], ...] | None = None
    quantiser: Quantiser = Quantiser.K_MEANS
    dither: Dither = Dither.NONE
    dither_strength: float = 1.0
    merge_rare: float = 0.0
    alpha: Alpha = Alpha.BINARY
    alpha_threshold: int = 128
    background: Background = Background.KEEP
    background_color: tuple[int, int, int] = (255, 255, 255)
    despeckle: int = 0
    fill_holes: int = 0
    clean_edges: bool = False
    outline: Outline = Outline.NONE
    outline_color: tuple[int, int, int] | None = None
    keep_outline: bool = False
    symmetry: Symmetry = Symmetry.NONE
    tile: Tile = Tile.NONE
    trim: bool = False
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted on the finished sprite, never what was meant.

    Attributes:
        colors: colours (r, g, b) that opaque pixels have.
        within_palette: whether every opaque pixel is in the palette; None where there is no palette.
        off_palette: opaque pixels that are not.
        alphas: alpha values that occur, ascending.
        seam_x, seam_y: mean OKLab distance across the wrapped border over the mean distance between
            neighbours inside, in that axis: about 1 or less tiles; None for one row or column.
        counts: opaque pixels of each palette entry, in its order; None where there is no palette.
    """

    width: int
    height: int
    colors: int
    within_palette: bool | None
    off_palette: int
    alphas: tuple[int, ...]
    seam_x: float | None
    seam_y: float | None
    counts: tuple[int, ...] | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A finished sprite.

    Attributes:
        pixels: uint8 (height, width, 4); transparent pixels are (0, 0, 0, 0).
        palette: (r, g, b) of each entry, or None where every colour was kept.
        grid: that was found in the picture, or None.
        offset: x, y of the upper left pixel in the untrimmed sprite.
        pivot: x, y in the sprite: the middle of the lowest opaque row; the middle for an empty one.
        notes: what could not be done as asked, in words.
    """

    pixels: "npt.NDArray[np.uint8]"
    palette: tuple[tuple[int, int, int], ...] | None
    proof: Proof
    grid: Grid | None = None
    offset: tuple[int, int] = (0, 0)
    pivot: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = field(default=())


def known_fields() -> frozenset[str]:
    """Names that a recipe takes, for whoever reads one."""
    return frozenset(one.name for one in fields(Recipe))
