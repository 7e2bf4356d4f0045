# SPDX-License-Identifier: Apache-2.0
"""Picture transforms: what they promise, on synthetic sprites."""

import numpy as np
import pytest
from training.starter import pictures
from training.starter.vocabulary import COLOUR_NAMES


def disc(rgb: tuple[float, float, float], radius: float = 24) -> pictures.Array:
    """A sprite (64, 64, 4): a disc with a darker lower half and a white highlight."""
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 31.5, x - 31.5)
    sprite = np.zeros((64, 64, 4), np.float32)
    sprite[..., :3] = np.array(rgb) * np.where(y > 36, 0.8, 1.0)[..., None]
    sprite[(y - 22) ** 2 + (x - 22) ** 2 < 20] = 1
    sprite[..., 3] = distance < radius
    return sprite


def test_hsv_and_back_gives_the_same_colours() -> None:
    rgb = np.random.default_rng(0).random((500, 3)).astype(np.float32)
    assert np.abs(pictures.hsv_to_rgb(pictures.rgb_to_hsv(rgb)) - rgb).max() < 1e-5


@pytest.mark.parametrize("colour", COLOUR_NAMES)
@pytest.mark.parametrize("start", [(0.2, 0.6, 0.9), (0.6, 0.6, 0.6)])
def test_a_recoloured_sprite_is_named_by_its_new_colour(
    colour: str, start: tuple[float, float, float]
) -> None:
    word, _, _ = pictures.main_colour(pictures.recolour(disc(start), colour))
    assert word == colour


def test_recolouring_leaves_alpha_and_secondary_colours_alone() -> None:
    sprite = disc((0.2, 0.6, 0.9))
    new = pictures.recolour(sprite, "red")
    assert np.array_equal(new[..., 3], sprite[..., 3])
    assert np.allclose(new[22, 22, :3], 1, atol=0.02), "the white highlight stays white"


def test_placing_scales_moves_and_cuts_at_the_edge() -> None:
    sprite = disc((1, 0, 0))
    whole = pictures.place(sprite, 32, 0, 0)
    small = pictures.place(sprite, 16, 2, 5)
    assert whole.shape == small.shape == (32, 32, 4)
    assert small[..., 3].sum() == pytest.approx(whole[..., 3].sum() / 4, rel=0.05)
    rows, columns = np.nonzero(small[..., 3] > 0.5)
    assert rows.mean() == pytest.approx(5 + 7.5, abs=0.3)
    assert columns.mean() == pytest.approx(2 + 7.5, abs=0.3)
    assert pictures.place(sprite, 32, -16, 0)[..., 3].sum() == pytest.approx(whole[..., 3].sum() / 2, rel=0.1)


def test_scaling_does_not_bleed_the_colour_of_invisible_pixels() -> None:
    sprite = disc((0, 0, 1))
    sprite[sprite[..., 3] == 0, :3] = (1, 1, 0)
    placed = pictures.over(pictures.place(sprite, 27, 2, 2), np.zeros(3, np.float32))
    assert placed[:5].max() < 0.05


def test_mirroring_twice_is_nothing() -> None:
    canvas = pictures.place(disc((0, 1, 0)), 32, 3, 0)
    assert not np.array_equal(pictures.mirror(canvas), canvas)
    assert np.array_equal(pictures.mirror(pictures.mirror(canvas)), canvas)


def test_a_background_shows_only_around_the_sprite() -> None:
    picture = pictures.over(pictures.place(disc((1, 0, 0)), 32, 0, 0), pictures.background_colour("blue"))
    assert picture[0, 0, 2] > picture[0, 0, 0]
    assert np.allclose(picture[14, 18], (1, 0, 0), atol=0.01)
