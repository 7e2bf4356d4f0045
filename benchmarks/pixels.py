# SPDX-License-Identifier: Apache-2.0
"""From pictures to pixels: how well, and how long, beside the plain way and two packages.

    python -m benchmarks.pixels                      prints one JSON object
    python -m benchmarks.pixels --sprites 1 --alone  a small run of ours and the plain way; installs nothing

*Truth*: sprites of `tests/sprite_truth.py`, whose pixels are known, are enlarged and spoiled as pictures are
on their way through the world, and asked back with no more than their number of colours told; the plain way
cannot find a size, so it is told, and ours once too. *The starter*: its drawings, cut out by the matting
model and enlarged smoothly, with the size told to everybody; their middles, which are no tiles, made into
tiles; and halves of them continued (`benchmarks.joins`). Seconds are CPU seconds, all ways in turn picture
by picture.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests import sprite_truth as truth
from tests import starters

from benchmarks import joins, pixel_ways
from benchmarks.pixel_ways import Asked, Made, Rgba, Way
from inglenook.base.errors import InglenookError
from inglenook.pixels.border import border_matte
from inglenook.pixels.model import Tile
from inglenook.pixels.oklab import distances, to_oklab

SIDE = 32
SPRITES = 2
"""Half of them patches from border to border, half a subject with an outline on a plain ground."""
FACTORS = (4.0, 8.0, 7.37, 11.09)
HELD_OUT = range(200, 202)
"""Seeds of sprites of other kinds, which nobody looked at before."""
OTHER_FACTORS = (4.0, 5.0, 6.5, 8.0, 10.3)
NOTICEABLE = 0.02
"""OKLab distance."""
JPEG = 75
PROMPTS = ("a red car", "a fox", "a penguin", "a house", "an apple", "a tree")
COLORS = 16
DRAWN_CELL_PX = 8
COUNTED = ("size", "colors", "alphas", "half", "seam", "rank", "off", "cpu_ms")
MIDDLE = slice(SIDE // 4, SIDE - SIDE // 4)
"""Of a drawing, along each axis: the subject reaches to its border, so that it does not tile."""
MATTED_SIDES = (512, 1024)
MATTED = 3


def _large(rgba: Rgba, cell_px: float, how: Image.Resampling = Image.Resampling.NEAREST) -> Rgba:
    return truth.enlarged(rgba, round(rgba.shape[1] * cell_px), round(rgba.shape[0] * cell_px), how)


SPOILS: Mapping[str, Callable[[Rgba, float], Rgba]] = {
    "sharp": _large,
    "sharp, cut by 0.3 cells": lambda rgba, cell: _cut(_large(rgba, cell), round(cell * 0.3)),
    "smooth (Lanczos)": lambda rgba, cell: _large(rgba, cell, Image.Resampling.LANCZOS),
    "blurred by 1/8 cell": lambda rgba, cell: truth.blurred(_large(rgba, cell), cell / 8),
    "rows jittered by 1 px": lambda rgba, cell: truth.jittered(_large(rgba, cell), 1),
    f"JPEG {JPEG}": lambda rgba, cell: truth.through_jpeg(_large(rgba, cell), JPEG),
    f"blurred, jittered, JPEG {JPEG}": lambda rgba, cell: truth.through_jpeg(
        truth.jittered(truth.blurred(_large(rgba, cell), cell / 8), 1), JPEG
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixels")
    parser.add_argument("--sprites", type=int, default=SPRITES, help="known sprites (%(default)s)")
    parser.add_argument("--alone", action="store_true", help="without the packages")
    chosen = parser.parse_args()
    model = Matting()
    drawings = dict(zip(PROMPTS, _drawings(), strict=True))
    with nullcontext({}) if chosen.alone else pixel_ways.packages() as packages:
        found = {
            "truth": synthetic(packages, chosen.sprites),
            "held_out": held_out(),
            "starter": drawn(drawings, packages, model),
            "joins": joins.continued(drawings),
            "matting": matting(model),
            "packages": {} if chosen.alone else pixel_ways.versions(),
        }
    print(json.dumps(found, indent=1))


# --- known sprites ---


def synthetic(packages: Mapping[str, Way], sprites: int) -> dict[str, Any]:
    """Figures of each way: over all pictures, by what was done to them, by how they were enlarged."""
    told = {"plain, told the size": pixel_ways.plain, "ours, told the size": pixel_ways.ours}
    ways: dict[str, tuple[Way, bool]] = {"ours": (pixel_ways.ours, False)}
    ways |= {name: (way, True) for name, way in told.items()}
    ways |= {name: (way, False) for name, way in packages.items()}
    looked = list(_looked_at(ways, sprites))
    by_spoil, by_factor = _parted(looked, "spoil"), _parted(looked, "factor")
    return {
        "pictures": len(looked),
        "ways": {name: _figures(looked, name) for name in ways},
        "by_spoil": {
            spoil: {name: _figures(some, name) for name in ways} for spoil, some in by_spoil.items()
        },
        "by_factor": {
            factor: {name: _figures(some, name) for name in ways} for factor, some in by_factor.items()
        },
    }


def _looked_at(ways: Mapping[str, tuple[Way, bool]], sprites: int) -> Iterator[dict[str, Any]]:
    """Of each picture: how it was made, and what each way made of it."""
    for way, _ in ways.values():  # the first picture of a process pays for imports
        way(Asked(_large(truth.field(99), 8), 8, side=SIDE))
    for seed in range(sprites):
        sprite = truth.field(seed, SIDE) if seed % 2 else truth.subject(seed, SIDE)
        colors = len(np.unique(sprite.reshape(-1, 4), axis=0))
        for factor in FACTORS:
            for spoil, spoiled in SPOILS.items():
                picture = spoiled(sprite, factor)
                made = {
                    name: _judged(way(Asked(picture, colors, side=SIDE if told else None)), sprite)
                    for name, (way, told) in ways.items()
                }
                yield {"spoil": spoil, "factor": f"{factor:g}", "made": made}


def _cut(rgba: Rgba, by_px: int) -> Rgba:
    return rgba[by_px:, by_px:]


def _judged(made: Made, sprite: Rgba) -> dict[str, float]:
    """A sprite of the wrong size is enlarged to the right one before its cells are counted: a kindness."""
    if made.rgba is None:
        return {"size": 0, "exact": 0, "cells": 0.0, "cpu_s": made.cpu_s, "gave_up": 1}
    right = made.rgba.shape == sprite.shape
    found = made.rgba if right else truth.enlarged(made.rgba, sprite.shape[1], sprite.shape[0])
    near = distances(to_oklab(found[..., :3]), to_oklab(sprite[..., :3])) <= NOTICEABLE
    alike = near & (found[..., 3] == sprite[..., 3])
    return {
        "size": right,
        "exact": bool((found == sprite).all()) and right,
        "cells": float(alike.mean()),
        "cpu_s": made.cpu_s,
        "gave_up": 0,
    }


def _parted(looked: Sequence[dict[str, Any]], by: str) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for one in looked:
        found[one[by]].append(one)
    return found


def _figures(looked: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    made = [one["made"][name] for one in looked]
    return {
        "size": statistics.mean(one["size"] for one in made),
        "exact": statistics.mean(one["exact"] for one in made),
        "cells": statistics.mean(one["cells"] for one in made),
        "cpu_ms": statistics.median(one["cpu_s"] for one in made) * 1000,
        "times_ours": statistics.median(
            one["made"][name]["cpu_s"] / one["made"]["ours"]["cpu_s"] for one in looked
        ),
        "gave_up": sum(one["gave_up"] for one in made),
    }


def held_out() -> dict[str, Any]:
    """Figures of ours over sprites of other kinds, by how they are made."""
    makers: dict[str, Any] = {}
    for maker in (truth.creature, truth.landscape, truth.icon):
        made = []
        for seed in HELD_OUT:
            sprite = maker(seed)
            colors = len(np.unique(sprite.reshape(-1, 4), axis=0))
            for factor in OTHER_FACTORS:
                for spoiled in SPOILS.values():
                    asked = Asked(spoiled(sprite, factor), colors)
                    made.append({"made": {"ours": _judged(pixel_ways.ours(asked), sprite)}})
        makers[maker.__name__] = _figures(made, "ours") | {"pictures": len(made)}
    return {"factors": OTHER_FACTORS, "makers": makers}


# --- drawings of the starter ---


def drawn(drawings: Mapping[str, Rgba], packages: Mapping[str, Way], model: "Matting") -> dict[str, Any]:
    """Means over the drawings. `ways` are given them cut out, `tiles` their middles; `before`: as drawn."""
    ways: dict[str, Way] = {"plain": pixel_ways.plain, "ours": pixel_ways.ours, **packages}
    tiles = {
        "plain": ways["plain"],
        "ours": ways["ours"],
        "ours, as a tile": partial(pixel_ways.ours, tile=Tile.BOTH),
    }
    seen: dict[str, list[dict[str, float]]] = defaultdict(list)
    seen_tiles: dict[str, list[dict[str, float]]] = defaultdict(list)
    for drawing in drawings.values():
        _look_at_a_drawing(model.cut_out(drawing), ways, seen)
        _look_at_a_drawing(drawing[MIDDLE, MIDDLE], tiles, seen_tiles)
    return {
        "pictures": len(drawings),
        "matted_by": model.name,
        "ways": {name: _means(some) for name, some in seen.items()},
        "tiles": {name: _means(some) for name, some in seen_tiles.items()},
    }


def _look_at_a_drawing(
    drawing: Rgba, ways: Mapping[str, Way], seen: dict[str, list[dict[str, float]]]
) -> None:
    seen["before"].append(_counted(Made(drawing, 0.0), drawing))
    side = len(drawing)
    large = truth.enlarged(drawing, side * DRAWN_CELL_PX, side * DRAWN_CELL_PX, Image.Resampling.LANCZOS)
    asked = Asked(large, COLORS, side=side, cell_px=DRAWN_CELL_PX)
    for name, way in ways.items():
        seen[name].append(_counted(way(asked), drawing))


def _drawings() -> Iterator[Rgba]:
    """Opaque, uint8 (32, 32, 4), by the worker itself."""
    import torch

    import inglenook.catalog as catalog
    from benchmarks.worker_side import Worker, loaded

    torch.set_num_threads(1)
    builtin = Path(catalog.__file__).parent / "builtin"
    worker = Worker(loaded(next(folder.parent for folder in builtin.glob("*/model_index.json")), "sd1"))
    for seed, prompt in enumerate(PROMPTS):
        rgb = worker.draw(prompt=prompt, width=SIDE, height=SIDE, steps=14, guidance_scale=3.0, seeds=(seed,))
        yield np.dstack([rgb, np.full((SIDE, SIDE), 255, np.uint8)])


def _counted(made: Made, before: Rgba) -> dict[str, float]:
    """`off`: mean OKLab distance to the drawing where both are opaque. NaN where there is nothing to tell."""
    if made.rgba is None:
        return dict.fromkeys(COUNTED, float("nan"))
    rgba = made.rgba
    alpha = rgba[..., 3]
    off = float("nan")
    if rgba.shape == before.shape:
        both = (alpha >= 128) & (before[..., 3] >= 128)
        off = float(distances(to_oklab(rgba[both][:, :3]), to_oklab(before[both][:, :3])).mean())
    seam = joins.worst(rgba)
    return {
        "size": float(rgba.shape == before.shape),
        "colors": len(np.unique(rgba[alpha > 0][:, :3], axis=0)),
        "alphas": len(np.unique(alpha)),
        "half": float(((alpha > 0) & (alpha < 255)).mean()),
        "seam": seam.error,
        "rank": seam.rank,
        "off": off,
        "cpu_ms": made.cpu_s * 1000,
    }


def _means(some: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """None where nothing could be told of any."""
    told = {key: [one[key] for one in some if not math.isnan(one[key])] for key in some[0]}
    return {key: statistics.mean(values) if values else None for key, values in told.items()}


# --- matting ---


class Matting:
    """The worker's own code on the real file, or the border where there is none.

    Attributes:
        name: `u2netp` or `border`.
    """

    def __init__(self) -> None:
        self._network: Any = _network()
        self.name = "border" if self._network is None else starters.MATTING

    def matte(self, rgba: Rgba) -> Rgba | None:
        """uint8 (h, w), 255 is the subject; None where the border tells nothing."""
        if self._network is None:
            return border_matte(rgba)
        from inglenook.workers.vision.pictures import read, save_matte

        height, width = rgba.shape[:2]
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "picture", Path(folder) / "matte"
            Image.fromarray(rgba[..., :3]).save(file, "PNG", compress_level=1)
            taken, _ = read(file, 0, self._network.preprocessing, max_pixels=width * height)
            save_matte(self._network.matte(taken), (width, height), out)
            with Image.open(out) as opened:
                return np.asarray(opened)

    def cut_out(self, rgba: Rgba) -> Rgba:
        matte = self.matte(rgba)
        return rgba if matte is None else np.dstack([rgba[..., :3], matte])


def _network() -> Any:
    """None where the model's package cannot be had."""
    from inglenook.catalog.model import ModelKind
    from inglenook.catalog.service import CatalogService
    from inglenook.catalog.starters.installing import install
    from inglenook.catalog.starters.listing import starter
    from inglenook.prediction.planning import load_plan
    from inglenook.wire.vision import LoadVisionModel
    from inglenook.workers.vision.network import Network

    one = starter(starters.MATTING)
    try:
        install(starters._ROOT, one)
    except InglenookError:
        return None
    library = CatalogService(roots=[one.model(starters._ROOT).parent], builtin=Path("none"))
    record = library.resolve("auto", kind=ModelKind.MATTING)
    plan = load_plan(record, pinned=False, max_pixels=10**7, devices={"cpu"})
    return Network(LoadVisionModel(device="cpu", threads=1, spool="", **plan.options["model"]))


def matting(model: Matting) -> dict[str, Any]:
    """CPU milliseconds by the side of the picture: of the model from PNG to PNG, of the border in memory."""
    found: dict[str, Any] = {}
    for side in MATTED_SIDES:
        picture = truth.enlarged(truth.subject(1, SIDE), side, side)
        found[str(side)] = {
            "u2netp_ms": _median_ms(partial(model.matte, picture)) if model.name != "border" else None,
            "border_ms": _median_ms(partial(border_matte, picture)),
        }
    return found


def _median_ms(act: Callable[[], object]) -> float:
    act()
    taken = []
    for _ in range(MATTED):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return statistics.median(taken) * 1000


if __name__ == "__main__":
    main()
