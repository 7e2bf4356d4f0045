# SPDX-License-Identifier: Apache-2.0
"""Many pixels become one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.sprite_truth import enlarged, field, noisy, subject

from inglenook.pixels.grid import find_grid
from inglenook.pixels.model import Grid, Reduction
from inglenook.pixels.reduce import reduce

CLUSTERED = [Reduction.DOMINANT, Reduction.MEDIAN, Reduction.K_CENTROID, Reduction.EDGE]
every = pytest.mark.parametrize("how", list(Reduction))


@pytest.mark.parametrize("how", [*CLUSTERED, Reduction.NEAREST])
@pytest.mark.parametrize(("factor_x", "factor_y"), [(8, 8), (3, 5), (2.5, 2.5), (7.4, 6.1)])
def test_a_sprite_that_was_enlarged_comes_back_exactly(how, factor_x: float, factor_y: float) -> None:
    sprite = subject(6, 40)
    picture = enlarged(sprite, round(40 * factor_x), round(40 * factor_y))
    grid = find_grid(picture)
    assert grid is not None
    assert np.array_equal(reduce(picture, 40, 40, how, grid), sprite)


@given(seed=st.integers(0, 10_000), factor=st.integers(2, 9), left=st.integers(0, 8), top=st.integers(0, 8))
@settings(max_examples=15, deadline=None)
def test_a_sprite_comes_back_from_a_picture_that_was_cut(seed: int, factor: int, left: int, top: int) -> None:
    left, top = left % factor, top % factor
    sprite = field(seed, 24)
    picture = enlarged(sprite, 24 * factor, 24 * factor)[top:, left:]
    grid = find_grid(picture)
    assert grid is not None
    first_x, first_y = int(2 * left > factor), int(2 * top > factor)
    seen = sprite[first_y:, first_x:]
    assert np.array_equal(reduce(picture, seen.shape[1], seen.shape[0], Reduction.DOMINANT, grid), seen)


@pytest.mark.parametrize("how", CLUSTERED)
def test_noise_is_taken_out_to_a_few_levels(how) -> None:
    sprite = field(7, 32)
    picture = noisy(enlarged(sprite, 320, 320), 6)
    found = reduce(picture, 32, 32, how, Grid(10.0, 10.0, 0.0, 0.0, 1.0)).astype(int)
    away = np.abs(found - sprite).max(axis=2)
    assert np.median(away) <= 4
    assert away.max() <= 24


@every
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (64, 64), (200, 1)])
@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (5, 90)])
def test_any_size_comes_out_of_any_size(how, size: tuple[int, int], shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 4)).astype(np.uint8)
    found = reduce(picture, *size, how, None, keep_outline=True)
    assert found.shape == (size[1], size[0], 4)
    assert (found[found[..., 3] == 0] == 0).all()


@every
@given(colour=st.tuples(*[st.integers(0, 255)] * 3), width=st.integers(1, 40), height=st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_one_colour_stays_that_colour(how, colour, width: int, height: int) -> None:
    picture = np.full((23, 31, 4), (*colour, 255), np.uint8)
    assert (reduce(picture, width, height, how, None) == (*colour, 255)).all()


@pytest.mark.parametrize("how", [*CLUSTERED, Reduction.AREA])
def test_transparent_pixels_give_alpha_and_no_colour(how) -> None:
    picture = np.zeros((16, 16, 4), np.uint8)
    picture[..., :3] = (0, 255, 0)  # hidden green
    picture[:, :6] = (200, 10, 10, 255)
    found = reduce(picture, 2, 2, how, None)
    assert found[0, 0].tolist() == [200, 10, 10, 191]  # 6 of 8 columns
    assert found[0, 1].tolist() == [0, 0, 0, 0]


def test_nearest_keeps_the_alpha_of_the_pixel_it_takes() -> None:
    picture = np.zeros((9, 9, 4), np.uint8)
    picture[4, 4] = (1, 2, 3, 90)
    assert reduce(picture, 1, 1, Reduction.NEAREST, None).tolist() == [[[1, 2, 3, 90]]]


def test_area_is_exact_in_linear_light_for_fractional_cells() -> None:
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[..., 3] = 255
    picture[0, 1, :3] = 255  # black, white, black: each half holds half of the white one, a third of itself
    found = reduce(picture, 2, 1, Reduction.AREA, None)
    # 1/3 of the light is 0.6125 of the way in sRGB: 1.055 * (1/3) ** (1/2.4) - 0.055
    assert found[0, :, 0].tolist() == [156, 156]


def test_dominant_takes_the_mean_of_the_most_frequent_colours_and_median_one_that_is_there() -> None:
    picture = np.full((4, 4, 4), 255, np.uint8)
    picture[:, :2] = (100, 0, 0, 255)
    picture[:, 2] = (104, 0, 0, 255)
    picture[:, 3] = (0, 0, 255, 255)
    dominant = reduce(picture, 1, 1, Reduction.DOMINANT, None)[0, 0]
    assert dominant[0] in (101, 102)
    assert dominant[2] == 0
    assert reduce(picture, 1, 1, Reduction.MEDIAN, None)[0, 0].tolist() in (
        [100, 0, 0, 255],
        [104, 0, 0, 255],
    )


def test_with_a_grid_what_strayed_into_a_cell_leaves_its_colour_to_the_bit() -> None:
    picture = np.full((10, 10, 4), 255, np.uint8)
    picture[..., :3] = (90, 140, 200)
    picture[3:5, 3:7, :3] = (30, 10, 10)  # eight of the sixteen pixels in the cell's core, less one
    picture[3, 3, :3] = (90, 140, 200)
    found = reduce(picture, 1, 1, Reduction.DOMINANT, Grid(10.0, 10.0, 0.0, 0.0, 1.0))
    assert found.tolist() == [[[90, 140, 200, 255]]]


def test_with_a_grid_what_rings_to_all_sides_cancels_out() -> None:
    """Four samples, none of which has the colour and no two of which are alike: one alone would be off."""
    picture = np.full((4, 4, 4), 255, np.uint8)
    ringing = np.array([[-16, -6], [6, 16]])
    picture[1:3, 1:3, :3] = (120 + ringing)[..., None]
    (found,) = reduce(picture, 1, 1, Reduction.DOMINANT, Grid(4.0, 4.0, 0.0, 0.0, 1.0))[0]
    assert np.abs(found[:3].astype(int) - 120).max() <= 2


def test_edge_keeps_what_differs_from_its_surroundings() -> None:
    picture = np.full((24, 24, 4), 255, np.uint8)
    picture[8:16, 12:16] = (0, 0, 0, 255)  # three eighths of the middle cell, too few to be dominant
    picture[8:16, 12] = 255
    assert reduce(picture, 3, 3, Reduction.DOMINANT, None)[1, 1].tolist() == [255] * 4
    assert reduce(picture, 3, 3, Reduction.EDGE, None)[1, 1].tolist() == [0, 0, 0, 255]


def ring() -> np.ndarray:
    """An outline of one pixel around a light subject on nothing, eight pixels a cell."""
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((21, 21, 107, 107), fill=(240, 200, 160, 255), outline=(30, 10, 10, 255))
    return np.asarray(image)


def test_thin_dark_lines_are_lost_and_kept_on_demand() -> None:
    dark = np.array([30, 10, 10, 255])
    lost = reduce(ring(), 16, 16, Reduction.DOMINANT, None)
    assert not (lost == dark).all(axis=2).any()
    kept = (reduce(ring(), 16, 16, Reduction.DOMINANT, None, keep_outline=True) == dark).all(axis=2)
    assert kept[2, 3:13].all()  # row 21 of the picture is in the third row of cells
    assert kept[13, 3:13].all()
    assert kept[3:13, 2].all()
    assert not kept[4:12, 4:12].any()


def test_a_grid_of_nearly_the_size_asked_for_is_cut_and_not_scaled() -> None:
    sprite = field(8, 33)
    grid = Grid(4.0, 4.0, 0.0, 0.0, 1.0)
    found = reduce(enlarged(sprite, 132, 132), 32, 32, Reduction.DOMINANT, grid)
    assert np.array_equal(found, sprite[:32, :32])


def test_a_grid_of_half_the_size_asked_for_gives_two_pixels_a_cell() -> None:
    sprite = field(9, 16)
    grid = Grid(8.0, 8.0, 0.0, 0.0, 1.0)
    found = reduce(enlarged(sprite, 128, 128), 32, 32, Reduction.DOMINANT, grid)
    assert np.array_equal(found, enlarged(sprite, 32, 32))


@every
def test_the_same_picture_gives_the_same_bytes(how) -> None:
    picture = noisy(enlarged(subject(3), 200, 200), 20)
    first = reduce(picture, 30, 30, how, None, keep_outline=True)
    assert np.array_equal(first, reduce(picture.copy(), 30, 30, how, None, keep_outline=True))
