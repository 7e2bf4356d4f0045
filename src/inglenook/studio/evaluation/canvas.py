# SPDX-License-Identifier: Apache-2.0
"""A sheet to draw plots on, with Pillow: twice as large as it is given out, so that lines are smooth."""

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw

from inglenook.studio.evaluation.fonts import Font, font_for

Colour = tuple[int, int, int]
Point = tuple[float, float]

FINER: Final = 2
INK: Final[Colour] = (32, 32, 36)
FAINT: Final[Colour] = (222, 222, 226)
MIDDLE: Final[Colour] = (140, 140, 148)
PAPER: Final[Colour] = (255, 255, 255)
PALETTE: Final[tuple[Colour, ...]] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167),
    (86, 180, 233), (148, 103, 20), (112, 80, 160), (90, 90, 90), (20, 60, 90),
)  # fmt: skip
"""The first six can be told apart by people who do not see all colours (Okabe and Ito, 2008)."""


class Sheet:
    """Everything is given in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._picture = Image.new("RGB", (width * FINER, height * FINER), PAPER)
        self._draw = ImageDraw.Draw(self._picture)

    def line(self, points: Sequence[Point], colour: Colour = INK, width: float = 1.0) -> None:
        scaled = [(x * FINER, y * FINER) for x, y in points]
        if len(scaled) > 1:
            self._draw.line(scaled, fill=colour, width=max(1, round(width * FINER)), joint="curve")

    def dashed(self, start: Point, end: Point, colour: Colour = MIDDLE, pieces: int = 40) -> None:
        across, down = (end[0] - start[0]) / pieces, (end[1] - start[1]) / pieces
        for piece in range(0, pieces, 2):
            first = (start[0] + piece * across, start[1] + piece * down)
            self.line([first, (first[0] + across, first[1] + down)], colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Filled; a side at least."""
        edges = [round(edge * FINER) for edge in (left, top, right, bottom)]
        self._draw.rectangle(
            (edges[0], edges[1], max(edges[2] - 1, edges[0]), max(edges[3] - 1, edges[1])), colour
        )

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: int = 13,
        colour: Colour = INK,
        anchor: str = "la",
        turned: bool = False,
    ) -> None:
        """Args:
        anchor: which point of the words lies at `at`, as Pillow names it: `mm` is the middle.
        turned: from bottom to top; `at` is its middle.
        """
        if not turned:
            self._draw.text(
                (at[0] * FINER, at[1] * FINER), words, fill=colour, font=_font(words, size), anchor=anchor
            )
            return
        wide, high = round(self.measure(words, size) * FINER) + 4, size * FINER * 2
        piece = Image.new("RGB", (wide, high), PAPER)
        ImageDraw.Draw(piece).text(
            (wide / 2, high / 2), words, fill=colour, font=_font(words, size), anchor="mm"
        )
        up = piece.rotate(90, expand=True)
        self._picture.paste(up, (round(at[0] * FINER - high / 2), round(at[1] * FINER - wide / 2)))

    def measure(self, words: str, size: int) -> float:
        return float(_font(words, size).getlength(words)) / FINER

    def fitted(self, words: str, size: int, most: float) -> str:
        """Cut with an ellipsis where it is wider."""
        if self.measure(words, size) <= most:
            return words
        while len(words) > 1 and self.measure(words + "…", size) > most:
            words = words[:-1]
        return words + "…"

    def png(self) -> bytes:
        made = io.BytesIO()
        small = self._picture.resize((self.width, self.height), Image.Resampling.BOX)
        small.save(made, "PNG", optimize=False)
        return made.getvalue()


def _font(words: str, size: int) -> Font:
    return font_for(words, size * FINER)
