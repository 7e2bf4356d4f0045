# SPDX-License-Identifier: Apache-2.0
"""Named palettes, and those that come with the program. Starts without NumPy: the server lists them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class NamedPalette:
    """A palette that a person can choose.

    Attributes:
        name: short, lower case; what a recipe calls it by.
        title: for people.
        colors: sRGB (r, g, b), 1 to 256, none twice.
        source: where the colours come from; "" for one out of a file.
        licence: under what they may be used; "" for one out of a file.
    """

    name: str
    title: str
    colors: tuple[Color, ...]
    source: str = ""
    licence: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "colors": [hex_of(color) for color in self.colors],
            "source": self.source,
            "licence": self.licence,
        }


def hex_of(color: Color) -> str:
    """`#rrggbb`, lower case."""
    return "#{:02x}{:02x}{:02x}".format(*color)


@cache
def builtin() -> Mapping[str, NamedPalette]:
    """The palettes of `builtin.toml` by name, in the order of the file."""
    text = resources.files(__name__).joinpath("builtin.toml").read_text("utf-8")
    found = {
        name: NamedPalette(
            name=name,
            title=one["title"],
            colors=tuple(_color(word) for word in one["colors"].split()),
            source=one["source"],
            licence=one["licence"],
        )
        for name, one in tomllib.loads(text).items()
    }
    return MappingProxyType(found)


def _color(word: str) -> Color:
    red, green, blue = bytes.fromhex(word)
    return red, green, blue
