# SPDX-License-Identifier: Apache-2.0
"""Ways from a picture to pixels, side by side: ours, the plain one, and two packages that do the same job.

The packages (proper-pixel-art and unfake, both MIT) are installed once into `.benchmarks/pixels`, an
environment of its own: they bring OpenCV twice, and nothing of ours imports them. Each runs as a process that
is asked one picture at a time, so that all ways can take turns. What counts is the CPU time from the decoded
picture to the finished one, in every thread of the process; reading and writing files is left out everywhere.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image

from inglenook.pixels.model import Recipe, Tile
from inglenook.pixels.pipeline import pixelate

Rgba = npt.NDArray[np.uint8]

PACKAGES = ("proper-pixel-art", "unfake")
ENVIRONMENT = Path(__file__).parents[1] / ".benchmarks" / "pixels"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


@dataclass(frozen=True, eq=False)
class Asked:
    """A picture and what is told of it.

    Attributes:
        rgba: uint8 (h, w, 4).
        colors: that the sprite may have.
        side: of the sprite, for ways that are told it; None where it is to be found.
        cell_px: what a pixel of the sprite takes in the picture; None where it is to be found.
    """

    rgba: Rgba
    colors: int
    side: int | None = None
    cell_px: int | None = None


@dataclass(frozen=True, eq=False)
class Made:
    """`rgba`: None where the way gave up, with `why`."""

    rgba: Rgba | None
    cpu_s: float
    why: str = ""


Way = Callable[[Asked], Made]


def ours(asked: Asked, *, tile: Tile = Tile.NONE) -> Made:
    recipe = Recipe(width=asked.side, height=asked.side, colors=asked.colors, tile=tile)
    began = time.process_time()
    (sprite,) = pixelate([asked.rgba], [None], recipe)
    return Made(sprite.pixels, time.process_time() - began)


def plain(asked: Asked) -> Made:
    """Nearest neighbour and median cut, as anybody would with Pillow. It finds no size: `side` is needed."""
    assert asked.side is not None
    size = (asked.side, asked.side)
    began = time.process_time()
    small = Image.fromarray(asked.rgba).resize(size, Image.Resampling.NEAREST)
    few = small.convert("RGB").quantize(asked.colors, Image.Quantize.MEDIANCUT).convert("RGBA")
    few.putalpha(small.getchannel("A"))
    return Made(np.asarray(few), time.process_time() - began)


PROGRAM = """
import json, logging, os, sys, time
import cv2
import numpy as np
from PIL import Image
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
cv2.setNumThreads(1)
logging.disable(logging.WARNING)
{way}
for line in sys.stdin:
    asked = json.loads(line)
    with Image.open(asked["file"]) as opened:
        picture = opened.convert("RGBA")
    why = ""
    began = time.process_time()
    try:
        found = way(picture, asked["colors"], asked["cell_px"])
    except Exception as error:  # whatever it is, this picture was not made
        why = f"{{type(error).__name__}}: {{error}}"
    cpu_s = time.process_time() - began
    if not why:
        found.convert("RGBA").save(asked["out"])
    print(json.dumps({{"cpu_s": cpu_s, "why": why}}), file=answers, flush=True)
"""
WAYS = {
    "proper-pixel-art": """
from proper_pixel_art import ColorConfig, PaletteConfig, PixelateConfig, pixelate
def way(picture, colors, cell_px):
    palette = PaletteConfig(num_colors=colors)
    config = PixelateConfig(pixel_width=cell_px, colors=ColorConfig(method="palette", palette=palette))
    return pixelate(picture, config).image
""",
    "proper-pixel-art, any colours": """
from proper_pixel_art import PixelateConfig, pixelate
def way(picture, colors, cell_px):
    return pixelate(picture, PixelateConfig(pixel_width=cell_px)).image
""",
    "unfake": """
import asyncio
import unfake
def way(picture, colors, cell_px):
    options = {} if cell_px is None else {"manual_scale": cell_px, "snap_grid": False}
    return asyncio.run(unfake.process_image(picture, max_colors=colors, **options))["image"]
""",
}
"""As their documentation calls them, told the number of colours; one once more as it is by itself, which
holds to no number. Where unfake is told the cell it is kept from looking for the first one: it would cut some
off."""


@contextmanager
def packages() -> Iterator[Mapping[str, Way]]:
    """Every package as a way, in a process that lives as long as the context."""
    if not ENVIRONMENT.exists():
        install()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        yield {name: stack.enter_context(_package(name, folder)) for name in WAYS}


def install() -> None:
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(ENVIRONMENT)], check=True, stdout=sys.stderr)
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", str(ENVIRONMENT / "bin" / "python"), *PACKAGES],
        check=True,
        stdout=sys.stderr,
    )


def versions() -> dict[str, str]:
    """Of the packages."""
    asked = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    run = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-c", asked, *PACKAGES],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(zip(PACKAGES, run.stdout.split(), strict=True))


@contextmanager
def _package(name: str, folder: Path) -> Iterator[Way]:
    file, out = folder / f"{name}.png", folder / f"{name} made.png"
    process = subprocess.Popen(
        [ENVIRONMENT / "bin" / "python", "-c", PROGRAM.format(way=WAYS[name])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def made(asked: Asked) -> Made:
        Image.fromarray(asked.rgba).save(file, compress_level=1)
        told = {"file": str(file), "out": str(out), "colors": asked.colors, "cell_px": asked.cell_px}
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {name} ended with {process.wait()}")
        answer = json.loads(line)
        if answer["why"]:
            return Made(None, answer["cpu_s"], answer["why"])
        with Image.open(out) as opened:
            return Made(np.asarray(opened.convert("RGBA")), answer["cpu_s"])

    try:
        yield made
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30)
