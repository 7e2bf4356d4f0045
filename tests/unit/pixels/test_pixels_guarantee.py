# SPDX-License-Identifier: Apache-2.0
"""What a sprite promises, held against any picture and any recipe.

The proof is counted again here, in plain Python over the pixels, so that neither the pipeline nor the proof
is taken at its word.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.pixels.model import (
    Alpha,
    Background,
    Dither,
    Fit,
    GridMode,
    Outline,
    Quantiser,
    Recipe,
    Reduction,
    Sprite,
    Symmetry,
    Tile,
)
from inglenook.pixels.oklab import to_oklab
from inglenook.pixels.pipeline import Rgba, pixelate
from inglenook.pixels.proof import LEAST_INSIDE
from inglenook.pixels.tile import TILES

triples = st.tuples(*[st.integers(0, 255)] * 3)
colors = st.sampled_from([0, 1, 2, 3, 16, 255, 256])


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    palette = draw(st.none() | st.lists(triples, min_size=1, max_size=9).map(tuple))
    return Recipe(
        width=draw(st.none() | st.integers(1, 24)),
        height=draw(st.none() | st.integers(1, 24)),
        fit=draw(st.sampled_from(Fit)),
        grid=draw(st.sampled_from(GridMode)),
        reduction=draw(st.sampled_from(Reduction)),
        colors=draw(colors if palette is None else st.none() | st.integers(1, 9)),
        palette=palette,
        quantiser=draw(st.sampled_from(Quantiser)),
        dither=draw(st.sampled_from(Dither)),
        dither_strength=draw(st.sampled_from([0.0, 0.4, 1.0])),
        merge_rare=draw(st.sampled_from([0.0, 0.02, 0.5])),
        alpha=draw(st.sampled_from(Alpha)),
        alpha_threshold=draw(st.sampled_from([1, 128, 255])),
        background=draw(st.sampled_from(Background)),
        background_color=draw(triples),
        despeckle=draw(st.sampled_from([0, 1, 4, 4096])),
        fill_holes=draw(st.sampled_from([0, 1, 4, 4096])),
        clean_edges=draw(st.booleans()),
        outline=draw(st.sampled_from(Outline)),
        outline_color=draw(st.none() | triples),
        keep_outline=draw(st.booleans()),
        symmetry=draw(st.sampled_from(Symmetry)),
        tile=draw(st.sampled_from(Tile)),
        trim=draw(st.booleans()),
        seed=draw(st.integers(0, 3)),
    )


@st.composite
def pictures(draw: st.DrawFn) -> Rgba:
    """Noise, blocks, slopes and plain ones, opaque or not, down to a single pixel."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "blocks", "slope", "plain"]))
    if kind == "noise":
        rgba = rng.integers(0, 256, (height, width, 4))
    elif kind == "blocks":
        cell = draw(st.integers(1, 6))
        few = rng.integers(0, 256, (height // cell + 1, width // cell + 1, 4))
        rgba = few.repeat(cell, 0).repeat(cell, 1)[:height, :width]
    elif kind == "slope":
        down, right = np.mgrid[:height, :width]
        rgba = np.stack([down * 6, right * 6, (down + right) * 3, 255 - right * 5], axis=2) % 256
    else:
        rgba = np.broadcast_to(rng.integers(0, 256, 4), (height, width, 4)).copy()
    alpha = draw(st.sampled_from(["as it is", "opaque", "clear", "hard"]))
    if alpha in ("opaque", "clear"):
        rgba[..., 3] = 255 if alpha == "opaque" else 0
    elif alpha == "hard":
        rgba[..., 3] = np.where(rgba[..., 3] > 127, 255, 0)
    return rgba.astype(np.uint8)


def require_promises(sprite: Sprite, recipe: Recipe) -> None:
    pixels, proof = sprite.pixels, sprite.proof
    height, width = pixels.shape[:2]
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 4
    assert (proof.width, proof.height) == (width, height)
    require_size(sprite, recipe)
    every = [tuple(int(level) for level in pixel) for row in pixels for pixel in row]
    assert proof.alphas == tuple(sorted({alpha for *_, alpha in every}))
    assert set(proof.alphas) <= ({255} if recipe.alpha is Alpha.OPAQUE else {0, 255})
    assert all(pixel == (0, 0, 0, 0) for pixel in every if pixel[3] == 0)
    opaque = [pixel[:3] for pixel in every if pixel[3]]
    assert proof.colors == len(set(opaque))
    require_palette(sprite, recipe, opaque)
    for axis, seam in ((1, proof.seam_x), (0, proof.seam_y)):
        expected = counted_seam(pixels, axis)
        assert seam == (None if expected is None else pytest.approx(expected, rel=1e-4, abs=1e-6))
    require_tile(sprite, recipe)


def require_size(sprite: Sprite, recipe: Recipe) -> None:
    proof, (left, top) = sprite.proof, sprite.offset
    assert proof.width >= 1
    assert proof.height >= 1
    for asked, offset, got in ((recipe.width, left, proof.width), (recipe.height, top, proof.height)):
        assert offset >= 0
        if recipe.trim and asked is not None:
            assert offset + got <= asked
        elif not recipe.trim:
            assert offset == 0
            assert asked in (None, got)
    across, down = sprite.pivot
    assert 0 <= across < proof.width
    assert 0 <= down < proof.height


def require_palette(sprite: Sprite, recipe: Recipe, opaque: list[tuple[int, ...]]) -> None:
    proof, palette = sprite.proof, sprite.palette
    if recipe.palette is None and not recipe.colors:
        assert palette is None
        assert (proof.within_palette, proof.counts) == (None, None)
        return
    assert palette is not None
    assert set(opaque) <= set(palette)
    assert proof.within_palette is True
    assert proof.off_palette == 0
    assert proof.counts is not None
    first = {color: place for place, color in reversed(list(enumerate(palette)))}
    expected = [opaque.count(color) if first[color] == place else 0 for place, color in enumerate(palette)]
    assert list(proof.counts) == expected
    if recipe.colors is not None:
        assert len(palette) <= recipe.colors
    if recipe.palette is not None:
        assert set(palette) <= set(recipe.palette)
        if recipe.colors is None:
            assert palette == recipe.palette


def require_tile(sprite: Sprite, recipe: Recipe) -> None:
    """It tiles, or it is said that it does not."""
    proof = sprite.proof
    across = recipe.tile in (Tile.X, Tile.BOTH)
    down = recipe.tile in (Tile.Y, Tile.BOTH)
    for wanted, seam, ends in (
        (across, proof.seam_x, "left and right"),
        (down, proof.seam_y, "top and bottom"),
    ):
        said = any(ends in note for note in sprite.notes)
        assert said == (wanted and seam is not None and seam > TILES)


def counted_seam(pixels: Rgba, axis: int) -> float | None:
    """Pixel by pixel, as the contract of `Proof` has it."""
    turned = pixels if axis == 0 else pixels.transpose(1, 0, 2)
    if len(turned) < 2:
        return None
    lab = to_oklab(turned[..., :3])
    points = [
        [(*(float(v) * a[3] / 255 for v in c), a[3] / 255) for c, a in zip(colors_, alphas, strict=True)]
        for colors_, alphas in zip(lab, turned.astype(float), strict=True)
    ]

    def step(one: int, other: int) -> float:
        return sum(math.dist(a, b) for a, b in zip(points[one], points[other], strict=True)) / len(points[0])

    inside = sum(step(row, row + 1) for row in range(len(points) - 1)) / (len(points) - 1)
    return step(-1, 0) / max(inside, LEAST_INSIDE)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(picture=pictures(), recipe=recipes())
def test_a_few_pictures_and_recipes_every_day(picture: Rgba, recipe: Recipe) -> None:
    require_promises(pixelate([picture], [None], recipe)[0], recipe)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(picture=pictures(), recipe=recipes())
def test_whatever_the_picture_and_the_recipe_the_sprite_is_what_was_promised(
    picture: Rgba, recipe: Recipe
) -> None:
    before = picture.copy()
    (sprite,) = pixelate([picture], [None], recipe)
    require_promises(sprite, recipe)
    assert (picture == before).all()
    (again,) = pixelate([picture], [None], recipe)
    assert (again.pixels == sprite.pixels).all()
    assert (again.palette, again.proof, again.notes) == (sprite.palette, sprite.proof, sprite.notes)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames=st.lists(pictures(), min_size=1, max_size=4), recipe=recipes(), whole=st.booleans())
def test_the_frames_of_an_animation_have_one_size_one_palette_and_one_crop(
    frames: list[Rgba], recipe: Recipe, whole: bool
) -> None:
    mattes: list[Any] = [
        np.full(one.shape[:2], 200, np.uint8) if n % 2 else None for n, one in enumerate(frames)
    ]
    sprites = pixelate(frames, mattes, recipe, whole_animation=whole)
    assert len(sprites) == len(frames)
    for sprite in sprites:
        require_promises(sprite, recipe)
    if whole:
        assert len({(one.palette, one.offset, one.pixels.shape) for one in sprites}) == 1


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(picture=pictures(), recipe=recipes())
def test_a_sprite_that_is_to_be_symmetric_is_whatever_else_is_done_to_it(
    picture: Rgba, recipe: Recipe
) -> None:
    (sprite,) = pixelate([picture], [None], replace(recipe, trim=False))
    if recipe.symmetry in (Symmetry.LEFT, Symmetry.RIGHT):
        assert (sprite.pixels == sprite.pixels[:, ::-1]).all()
    elif recipe.symmetry in (Symmetry.TOP, Symmetry.BOTTOM):
        assert (sprite.pixels == sprite.pixels[::-1]).all()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(picture=pictures(), recipe=recipes())
def test_what_the_matte_takes_away_altogether_leaves_an_empty_sprite_and_no_colour(
    picture: Rgba, recipe: Recipe
) -> None:
    recipe = replace(recipe, alpha=Alpha.BINARY)
    (sprite,) = pixelate([picture], [np.zeros(picture.shape[:2], np.uint8)], recipe)
    assert not sprite.pixels.any()
    assert sprite.proof.colors == 0
    assert sprite.palette in (None, (), recipe.palette) or recipe.colors
