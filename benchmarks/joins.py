# SPDX-License-Identifier: Apache-2.0
"""How well tiles join: a seam error, of those that `continue_tile` draws and of those that a recipe makes.

Seam error of two tiles side by side: the mean step across their seam over the mean step between neighbours
inside both. A step is Euclid's distance in OKLab with alpha, as in `pixels.proof`. That a step is judged by
those around it, and not by itself, is from "Graphcut Textures" (V. Kwatra and others, 2003: the cost of a
seam is divided by the gradients along it) and "Jigsaw Puzzles with Pieces of Unknown Orientation" (A.
Gallagher, 2012: the gradient across two pieces is compared with the distribution of those inside). As there,
the distribution counts too: `rank` is the share of the columns inside whose mean step is smaller than that
over the seam. A seam that nobody finds has an error of about 1 and a rank of about 50 %; one that is sharper
than whatever is inside has a rank of 100 %.
"""

import base64
import io
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from inglenook.pixels.model import GridMode, Recipe
from inglenook.pixels.pipeline import pixelate
from inglenook.pixels.proof import LEAST_INSIDE, weighted
from inglenook.testing.server import RunningServer

Rgba = npt.NDArray[np.uint8]

SIDES: Final = ("right", "down")
COLORS: Final = 16
ENVIRON: Final = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Join:
    """Attributes:
    error: about 1 or less joins; 0 where both ends are alike.
    rank: 0 to 1.
    """

    error: float
    rank: float


def join(first: Rgba, second: Rgba) -> Join:
    """Of two tiles, the second at the right of the first.

    Args:
        first, second: uint8 (h, w, 4) of one height, at least two columns each.
    """
    inside = np.concatenate([_steps(one[:, 1:], one[:, :-1]) for one in (first, second)])
    seam = float(_steps(first[:, -1:], second[:, :1])[0])
    return Join(seam / max(float(inside.mean()), LEAST_INSIDE), float((inside < seam).mean()))


def worst(tile: Rgba) -> Join:
    """Of a tile beside itself and below itself, the one that is seen more."""
    turned = tile.transpose(1, 0, 2)
    return max(join(tile, tile), join(turned, turned), key=lambda one: one.error)


def _steps(one: Rgba, other: Rgba) -> npt.NDArray[np.float64]:
    """The mean step of each column, float64 (w,)."""
    gap = weighted(one).astype(np.float64) - weighted(other)
    found: npt.NDArray[np.float64] = np.sqrt((gap**2).sum(axis=2)).mean(axis=0)
    return found


def continued(drawings: Mapping[str, Rgba]) -> dict[str, Any]:
    """Halves of drawings, continued by a real server with the model that drew them.

    Of each drawing (uint8 (side, side, 4), by its prompt) the middle rows of its left half are a tile, which
    cuts the subject; so is its upper half. The tile that belongs beside it is then known.

    Returns:
        `pictures`, and means by what lies beside it: what was drawn there, the tile itself, the other half.
    """
    seen: dict[str, list[Join]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as data,
        RunningServer.start(Path(data), environ=ENVIRON) as server,
        httpx.Client(base_url=server.base_url, timeout=600, trust_env=False) as http,
    ):
        for prompt, drawing in drawings.items():
            for side in SIDES:
                turn = (0, 1, 2) if side == "right" else (1, 0, 2)
                tile, other = (one.transpose(turn) for one in _halves(drawing.transpose(turn)))
                drawn = _drawn_beside(http, tile, prompt, side)
                for name, beside in (("drawn", drawn), ("itself", tile), ("other half", other)):
                    seen[name].append(join(tile.transpose(turn), beside.transpose(turn)))
    return {
        "pictures": len(drawings) * len(SIDES),
        "beside": {name: means(joins) for name, joins in seen.items()},
    }


def means(joins: Sequence[Join]) -> dict[str, float]:
    return {
        "error": statistics.mean(one.error for one in joins),
        "rank": statistics.mean(one.rank for one in joins),
    }


def _halves(drawing: Rgba) -> tuple[Rgba, Rgba]:
    """Left and right, square, in the colours of one sprite."""
    half = len(drawing) // 2
    (sprite,) = pixelate(
        [drawing[half // 2 : half // 2 + half]], [None], Recipe(colors=COLORS, grid=GridMode.OFF)
    )
    return sprite.pixels[:, :half], sprite.pixels[:, half:]


def _drawn_beside(http: httpx.Client, tile: Rgba, prompt: str, side: str) -> Rgba:
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "PNG")
    image = base64.b64encode(out.getvalue()).decode()
    asked = {"prompt": prompt, "seed": 1, "image": image, "continue_tile": side}
    answer = http.post("/v1/pixel/sprites?wait=true", json=asked)
    answer.raise_for_status()
    png = base64.b64decode(answer.json()["sprites"][0]["frames"][0]["png"])
    with Image.open(io.BytesIO(png)) as opened:
        return np.asarray(opened.convert("RGBA"))
