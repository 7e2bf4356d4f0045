# SPDX-License-Identifier: Apache-2.0
"""The palettes that have a name, and recipes that may name one. Loaded at the first call."""

from collections.abc import Mapping
from typing import Any

from inglenook.pixels.model import Recipe
from inglenook.pixels.palettes import NamedPalette, builtin


class Palettes:
    """The palettes that came with the program, and those in files that people send."""

    def palettes(self) -> Mapping[str, NamedPalette]:
        """By name, in the order in which they are offered."""
        return builtin()

    def recipe(self, fields: Mapping[str, Any]) -> Recipe:
        """The recipe that somebody asks for. Raises Invalid; its `field` names the field."""
        from inglenook.pixels.checking import read_recipe

        return read_recipe(fields, palettes=builtin())

    def read(self, data: bytes, name: str) -> NamedPalette:
        """The palette in a file (`.gpl`, `.pal`, `.hex`, `.act`, `.aseprite`, `.png`).

        Args:
            name: of the file, whose ending tells a format that has no mark of its own.

        Raises:
            Invalid, TooLarge: it holds no palette of 1 to 256 colours, or is broken.
        """
        from inglenook.pixels.palette_files import read_palette

        return read_palette(data, name)
