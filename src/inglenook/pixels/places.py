# SPDX-License-Identifier: Apache-2.0
"""Which formats have a place for what can be asked of a file. Pure, without numpy: every door asks here."""

from collections.abc import Iterable, Mapping
from typing import Final

from inglenook.base.errors import Invalid

FORMATS: Final = (
    "png",
    "gif",
    "webp",
    "aseprite",
    "sheet-aseprite",
    "sheet-texturepacker",
    "ico",
    "icons",
    "rgba",
)
_SHEETS: Final = ("sheet-aseprite", "sheet-texturepacker")
PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "durations_ms": ("gif", "webp", "aseprite", *_SHEETS),
    "tags": ("aseprite", *_SHEETS),
    "layers": ("aseprite",),
    "palette": ("png", "gif", "aseprite", *_SHEETS),
    "loop": ("gif", "webp"),
    "scale": ("png", "gif", "webp", *_SHEETS, "rgba"),
    "columns": _SHEETS,
    "padding": _SHEETS,
}
"""Fields of an order (`wire.pixels.WriteSprites`) that not every format can hold, and those that can."""


def has_place(format_: str, field: str) -> bool:
    """Whether a file of that format can hold what the field asks for."""
    return format_ in PLACES.get(field, FORMATS)


def require_places(format_: str, asked: Iterable[str]) -> None:
    """Nothing that was asked for is left out of the file in silence.

    Args:
        asked: names of the fields that ask for something else than what a file without them would be.

    Raises Invalid: the format has no place for one; `field` names it.
    """
    for field in asked:
        if not has_place(format_, field):
            raise Invalid(
                f"A file of format {format_} has no place for {field}.",
                field=field,
                hint=f"leave {field} out, or write {', '.join(PLACES[field])}",
            )
