# SPDX-License-Identifier: Apache-2.0
"""The colours that a spoiled sprite had are found among those of its cells."""

import numpy as np
import pytest
from PIL import Image
from tests.sprite_truth import blurred, creature, enlarged, field

from inglenook.pixels.histogram import counted
from inglenook.pixels.model import Recipe
from inglenook.pixels.oklab import distances, to_oklab
from inglenook.pixels.pipeline import pixelate
from inglenook.pixels.quantise import palette_of
from inglenook.pixels.restoring import agreement

SMOOTH = Image.Resampling.LANCZOS


def away(found: np.ndarray, colors: np.ndarray) -> int:
    """How far the colour that is missed most is from the nearest one that was found, in levels."""
    gaps = np.abs(found[:, None].astype(int) - colors[None]).max(axis=2)
    return int(gaps.min(axis=0).max())


def test_neighbours_of_one_colour_count_more_and_a_transparent_one_is_none() -> None:
    rgba = np.zeros((1, 5, 4), np.uint8)
    rgba[0, :, 0] = [100, 103, 200, 200, 200]
    rgba[0, :4, 3] = 255
    assert agreement(rgba).tolist() == [[9, 9, 9, 9, 1]]
    assert agreement(rgba[:, 1:3]).tolist() == [[1, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_a_colour_that_ringing_pulls_to_one_side_is_where_most_of_it_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    colors = np.array([[40, 60, 90], [200, 80, 60], [90, 180, 120]])
    tight = colors[random.integers(0, 3, 400)] + random.integers(-2, 3, (400, 3))
    pulled = colors[random.integers(0, 3, 160)] + random.integers(8, 30, (160, 1))
    seen = counted(np.concatenate([tight, pulled]).astype(np.uint8))
    plain, restored = (palette_of(seen.rgb, seen.counts, 3, spoiled=one) for one in (False, True))
    assert away(restored, colors) <= 2
    assert away(plain, colors) >= 4


def test_a_colour_that_many_pixels_have_to_the_bit_is_that_colour() -> None:
    near = np.array([[100, 50, 50]] * 40 + [[103, 51, 49], [99, 52, 53], [104, 48, 50]] * 20, np.uint8)
    seen = counted(np.concatenate([near, near + np.uint8(100)]))
    assert palette_of(seen.rgb, seen.counts, 2, spoiled=True).tolist() == [[100, 50, 50], [200, 150, 150]]


def test_a_slightly_blurred_sprite_comes_back_to_the_bit() -> None:
    sprite = creature(5)
    picture = blurred(enlarged(sprite, sprite.shape[1] * 8, sprite.shape[0] * 8), 1.0)
    (found,) = pixelate([picture], [None], Recipe(colors=len(np.unique(sprite.reshape(-1, 4), axis=0))))
    assert np.array_equal(found.pixels, sprite)


def test_most_cells_of_a_smoothly_enlarged_sprite_have_their_colour_again() -> None:
    """Patches of one or two cells, so that something rings in nearly all."""
    sprite = field(1)
    (found,) = pixelate([enlarged(sprite, 256, 256, SMOOTH)], [None], Recipe(colors=8))
    near = distances(to_oklab(found.pixels[..., :3]), to_oklab(sprite[..., :3])) <= 0.02
    assert near.mean() > 0.95
