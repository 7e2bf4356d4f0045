# SPDX-License-Identifier: Apache-2.0
"""A recipe out of fields that somebody has sent: JSON of a door, options of a command, a message on the wire.

Every value is looked at, nothing is bent to fit: what cannot be done is refused with the field's name.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from inglenook.base.errors import Invalid
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
    known_fields,
)

Rgb = tuple[int, int, int]
MOST_SPECKS: Final = 4096
"""Pixels of the largest island, and of the largest hole, that may be cleaned away."""
MOST_SEED: Final = 2**63 - 1
SHOWN: Final = 60
"""Characters of a bad value that are shown."""


class Palette(Protocol):
    """A palette with a name."""

    @property
    def colors(self) -> Sequence[Rgb]: ...


def read_recipe(fields: Mapping[str, Any], *, palettes: Mapping[str, Palette]) -> Recipe:
    """The recipe that `fields` describe; what is missing has its default.

    `colors` that is missing where `palette` is given means all of the palette. `Recipe.as_json()` of any
    valid recipe gives that recipe again.

    Args:
        fields: as in `Recipe`. A colour is "#rrggbb", "#rgb" or three whole numbers; a palette is a list of
            colours or a name out of `palettes`.
        palettes: those with a name.

    Raises Invalid: a field is not known, or a value is not one that it takes; `field` names it.
    """
    for name in fields:
        if name not in known_fields():
            raise _unknown(name)
    given = {name: _READ[name](name, value) for name, value in fields.items() if name != "palette"}
    palette = fields.get("palette")
    if palette is not None:
        given["palette"] = read_palette_field(palette, palettes=palettes)
        given.setdefault("colors", None)
        if given["colors"] == 0:
            raise Invalid(
                "colors = 0 keeps every colour, and palette allows only its own.",
                hint="leave one of both out",
                field="colors",
            )
    return Recipe(**given)


def read_palette_field(value: object, *, palettes: Mapping[str, Palette]) -> tuple[Rgb, ...]:
    """The colours of a list of colours, or of the palette that has this name.

    Raises Invalid (`palette`).
    """
    if isinstance(value, str):
        found = palettes.get(value)
        if found is None:
            near = difflib.get_close_matches(value.lower(), list(palettes), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(palettes))}"
            raise Invalid(
                f"There is no palette {_show(value)}.",
                hint=hint if near or palettes else "send its colours as a list",
                field="palette",
            )
        return tuple(found.colors)
    if not isinstance(value, list | tuple):
        raise _bad("palette", value, "a list of colours like #1a1c2c, or the name of a palette")
    if not 1 <= len(value) <= MAX_COLORS:
        raise Invalid(
            f"The palette has {len(value)} colours.", hint=f"send 1 to {MAX_COLORS} colours", field="palette"
        )
    return tuple(_color("palette", one) for one in value)


def _unknown(name: str) -> Invalid:
    near = difflib.get_close_matches(str(name), sorted(known_fields()), n=1)
    hint = f"did you mean {near[0]}?" if near else f"a recipe has {', '.join(sorted(known_fields()))}"
    return Invalid(f"A recipe has no field {_show(name)}.", hint=hint, field=str(name)[:SHOWN])


def _bad(field: str, value: object, takes: str, *, hint: str | None = None) -> Invalid:
    return Invalid(
        f"{field} is {_show(value)}; it takes {takes}.", hint=hint or f"set {field} to {takes}", field=field
    )


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _whole(low: int, high: int, *, hint: str | None = None, none: bool = False) -> Callable[[str, Any], Any]:
    """Reads a whole number; 16.0 is one, since some clients know no other numbers."""
    takes = f"a whole number from {low} to {high}"

    def read(field: str, value: Any) -> int | None:
        if value is None and none:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _bad(field, value, takes, hint=hint)
        return value

    return read


def _share(low: float, high: float) -> Callable[[str, Any], Any]:
    takes = f"a number from {low:g} to {high:g}"

    def read(field: str, value: Any) -> float:
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise _bad(field, value, takes)
        return float(value)

    return read


E = TypeVar("E", bound=StrEnum)


def _choice(kind: type[E]) -> Callable[[str, Any], Any]:
    def read(field: str, value: Any) -> E:
        names = [one.value for one in kind]
        if not isinstance(value, str) or value not in names:
            near = difflib.get_close_matches(str(value).lower(), names, n=1)
            hint = f"did you mean {near[0]}?" if near else None
            raise _bad(field, value, f"one of {', '.join(names)}", hint=hint)
        return kind(value)

    return read


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _bad(field, value, "true or false")
    return value


def _color(field: str, value: Any) -> Rgb:
    found = _hex(value) if isinstance(value, str) else _triple(value)
    if found is None:
        raise _bad(field, value, "a colour like #1a1c2c or [26, 28, 44]")
    return found


def _color_or_none(field: str, value: Any) -> Rgb | None:
    return None if value is None else _color(field, value)


def _hex(text: str) -> Rgb | None:
    digits = text.strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(one * 2 for one in digits)
    if len(digits) != 6 or any(one not in "0123456789abcdefABCDEF" for one in digits):
        return None
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _triple(value: Any) -> Rgb | None:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    levels = [int(one) if isinstance(one, float) and one.is_integer() else one for one in value]
    if any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= 255 for one in levels):
        return None
    return levels[0], levels[1], levels[2]


_side = _whole(1, MAX_SIDE_PX, none=True, hint=f"a sprite has 1 to {MAX_SIDE_PX} pixels a side")
_specks = _whole(0, MOST_SPECKS)

_READ: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "width": _side,
    "height": _side,
    "fit": _choice(Fit),
    "grid": _choice(GridMode),
    "reduction": _choice(Reduction),
    "colors": _whole(
        0,
        MAX_COLORS,
        none=True,
        hint=f"ask for 1 to {MAX_COLORS}, as many as an indexed sprite holds; 0 keeps every colour",
    ),
    "quantiser": _choice(Quantiser),
    "dither": _choice(Dither),
    "dither_strength": _share(0, 1),
    "merge_rare": _share(0, 0.5),
    "alpha": _choice(Alpha),
    "alpha_threshold": _whole(1, 255),
    "background": _choice(Background),
    "background_color": _color,
    "despeckle": _specks,
    "fill_holes": _specks,
    "clean_edges": _flag,
    "outline": _choice(Outline),
    "outline_color": _color_or_none,
    "keep_outline": _flag,
    "symmetry": _choice(Symmetry),
    "tile": _choice(Tile),
    "trim": _flag,
    "seed": _whole(0, MOST_SEED),
}
