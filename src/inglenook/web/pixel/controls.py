# SPDX-License-Identifier: Apache-2.0
"""The fields of a recipe as controls of a form, in groups. Pure.

Names, bounds and values are those of `pixels.model.Recipe` and `pixels.checking`; the words are for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from inglenook.pixels.checking import MOST_SEED, MOST_SPECKS
from inglenook.pixels.model import (
    MAX_COLORS,
    MAX_SIDE_PX,
    Alpha,
    Background,
    Dither,
    Fit,
    GridMode,
    Outline,
    Quantiser,
    Recipe,
    Reduction,
    Symmetry,
    Tile,
)
from inglenook.pixels.places import PLACES, has_place

MOST_EXACT_SEED: Final = min(MOST_SEED, 2**53 - 1)
"""A larger whole number loses digits in a browser."""
_DEFAULT: Final = Recipe()


@dataclass(frozen=True, slots=True)
class Control:
    """One field.

    Attributes:
        kind: `select`, `number`, `slider` (a number of which every value makes sense), `check`, `color`.
        options: value → words, of a `select`.
        value: that the field has at first; "" leaves it out of the request.
        empty: what an empty number means.
    """

    name: str
    label: str
    kind: str
    value: Any = ""
    options: Mapping[str, str] | None = None
    low: float = 0
    high: float = 0
    step: float = 1
    empty: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    title: str
    controls: tuple[Control, ...]


def _select(name: str, label: str, words: Mapping[Any, str], about: str = "") -> Control:
    value: StrEnum = getattr(_DEFAULT, name)
    options = {one.value: said for one, said in words.items()}
    return Control(name, label, "select", value.value, options, help=about)


def _number(
    name: str,
    label: str,
    low: float,
    high: float,
    *,
    kind: str = "number",
    step: float = 1,
    empty: str = "",
    about: str = "",
) -> Control:
    value = getattr(_DEFAULT, name)
    first = "" if value is None else value
    return Control(name, label, kind, first, low=low, high=high, step=step, empty=empty, help=about)


def _check(name: str, label: str, about: str) -> Control:
    return Control(name, label, "check", getattr(_DEFAULT, name), help=about)


SIZE: Final = Group(
    "size",
    "Grid and size",
    (
        _number("width", "Width", 1, MAX_SIDE_PX, empty="auto"),
        _number("height", "Height", 1, MAX_SIDE_PX, empty="auto"),
        _select(
            "grid",
            "Grid",
            {GridMode.AUTO: "Look for one", GridMode.OFF: "Divide evenly"},
            "the pixels that the picture pretends to have",
        ),
        _select(
            "fit",
            "Fit",
            {
                Fit.CONTAIN: "All of the picture",
                Fit.COVER: "Fill, cut what stands over",
                Fit.STRETCH: "Stretch",
            },
        ),
        _select(
            "reduction",
            "Reduction",
            {
                Reduction.DOMINANT: "Most frequent colour",
                Reduction.MEDIAN: "Median",
                Reduction.K_CENTROID: "Largest cluster",
                Reduction.EDGE: "Edges win",
                Reduction.AREA: "Mean of the area",
                Reduction.NEAREST: "Middle pixel",
            },
            "how the many pixels of a cell become one",
        ),
        _check("keep_outline", "Keep thin dark lines", "lines thinner than a pixel survive"),
    ),
)
COLOURS: Final = Group(
    "colours",
    "How colours are chosen",
    (
        _select(
            "quantiser",
            "Method",
            {
                Quantiser.K_MEANS: "K-means",
                Quantiser.MEDIAN_CUT: "Median cut",
                Quantiser.OCTREE: "Octree",
            },
        ),
        _number("seed", "Seed", 0, MOST_EXACT_SEED, about="another start of k-means"),
        _number(
            "merge_rare",
            "Merge rare colours",
            0,
            0.5,
            kind="slider",
            step=0.001,
            about="those that cover less than this share",
        ),
    ),
)
DITHER: Final = Group(
    "dither",
    "Dithering",
    (
        _select(
            "dither",
            "Pattern",
            {
                Dither.NONE: "None",
                Dither.BAYER_2: "Bayer 2 × 2",
                Dither.BAYER_4: "Bayer 4 × 4",
                Dither.BAYER_8: "Bayer 8 × 8",
                Dither.FLOYD_STEINBERG: "Floyd–Steinberg",
                Dither.ATKINSON: "Atkinson",
            },
        ),
        _number("dither_strength", "Strength", 0, 1, kind="slider", step=0.05),
    ),
)
ALPHA: Final = Group(
    "alpha",
    "Background and alpha",
    (
        _select(
            "background",
            "Background",
            {
                Background.KEEP: "Keep",
                Background.MATTE: "Cut out the subject",
                Background.BORDER: "Cut out the border's colour",
            },
        ),
        _select("alpha", "Alpha", {Alpha.BINARY: "Clear or opaque", Alpha.OPAQUE: "All opaque"}),
        _number("alpha_threshold", "Threshold", 1, 255, kind="slider", about="what is below is clear"),
        Control(
            "background_color",
            "Colour behind",
            "color",
            "#{:02x}{:02x}{:02x}".format(*_DEFAULT.background_color),
            help="under what is made opaque",
        ),
    ),
)
EDGES: Final = Group(
    "edges",
    "Outline and cleaning",
    (
        _select(
            "outline",
            "Outline",
            {Outline.NONE: "None", Outline.INSIDE: "Inside", Outline.OUTSIDE: "Outside"},
        ),
        Control("outline_color", "Its colour", "optional-color", "", empty="the darkest"),
        _number("despeckle", "Remove specks", 0, MOST_SPECKS, about="of at most so many pixels"),
        _number("fill_holes", "Fill holes", 0, MOST_SPECKS, about="of at most so many pixels"),
        _check("clean_edges", "Clean edges", "one pixel wide blends take one of both colours"),
    ),
)
SHAPE: Final = Group(
    "shape",
    "Symmetry and tiles",
    (
        _select(
            "symmetry",
            "Symmetry",
            {
                Symmetry.NONE: "None",
                Symmetry.LEFT: "Left half to the right",
                Symmetry.RIGHT: "Right half to the left",
                Symmetry.TOP: "Top half down",
                Symmetry.BOTTOM: "Bottom half up",
            },
        ),
        _select(
            "tile",
            "Seamless",
            {Tile.NONE: "No", Tile.X: "Across", Tile.Y: "Down", Tile.BOTH: "Both ways"},
        ),
        _check("trim", "Trim", "cut to what is opaque"),
    ),
)
GROUPS: Final = (SIZE, COLOURS, DITHER, ALPHA, EDGES, SHAPE)
COLORS: Final = _number("colors", "Colours", 0, MAX_COLORS, empty="all of it", about="0 keeps every colour")
"""Beside the palette, which has an editor of its own."""
FORMATS: Final[Mapping[str, str]] = {
    "png": "PNG, indexed",
    "gif": "GIF",
    "webp": "WebP",
    "aseprite": "Aseprite file",
    "sheet-aseprite": "Sprite sheet, Aseprite's JSON (zip)",
    "sheet-texturepacker": "Sprite sheet, TexturePacker's JSON (zip)",
    "ico": "Icon (ico)",
    "icons": "Icon set for web and apps (zip)",
}
HOLDS: Final[Mapping[str, str]] = {
    format_: " ".join(field for field in PLACES if has_place(format_, field)) for format_ in FORMATS
}
"""What of an order each of them has a place for."""
