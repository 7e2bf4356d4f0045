# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.pixels.fit import fitted, target_size
from inglenook.pixels.model import MAX_SIDE_PX, Fit, Grid, Recipe


def picture(height: int, width: int) -> np.ndarray:
    found = np.full((height, width, 4), 255, np.uint8)
    found[..., 0] = np.arange(width) % 256
    found[..., 1] = np.arange(height)[:, None] % 256
    return found


def test_contain_pads_with_nothing_on_both_sides() -> None:
    found = fitted(picture(60, 100), 32, 32, Fit.CONTAIN)
    assert found.shape == (100, 100, 4)
    assert np.array_equal(found[20:80], picture(60, 100))
    assert not found[:20].any()
    assert not found[80:].any()


def test_cover_cuts_evenly() -> None:
    assert np.array_equal(fitted(picture(60, 100), 32, 32, Fit.COVER), picture(60, 100)[:, 20:80])
    assert np.array_equal(fitted(picture(100, 60), 64, 32, Fit.COVER), picture(100, 60)[35:65])


def test_stretch_leaves_it_alone() -> None:
    assert fitted(picture(60, 100), 32, 32, Fit.STRETCH).shape == (60, 100, 4)


@pytest.mark.parametrize("fit", list(Fit))
def test_a_shape_that_differs_by_rounding_only_is_left_alone(fit: Fit) -> None:
    assert fitted(picture(650, 1024), 63, 40, fit).shape == (650, 1024, 4)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    fit=st.sampled_from(list(Fit)),
)
def test_what_comes_out_has_the_sprites_shape(
    height: int, width: int, rows: int, columns: int, fit: Fit
) -> None:
    found = fitted(picture(height, width), columns, rows, fit)
    assert min(found.shape) >= 1
    assert max(found.shape) <= 2 * MAX_SIDE_PX
    if fit is Fit.CONTAIN and min(found.shape[:2]) > 100:
        assert found.shape[1] / found.shape[0] * rows / columns == pytest.approx(
            1, abs=1.2 / min(rows, columns)
        )


def test_a_ribbon_does_not_become_a_square_as_wide_as_it_is_long() -> None:
    assert max(fitted(picture(2, 9000), 64, 64, Fit.CONTAIN).shape) == MAX_SIDE_PX


@pytest.mark.parametrize(
    ("recipe", "grid", "size"),
    [
        (Recipe(), None, (200, 100)),
        (Recipe(), Grid(8.0, 4.0, 0.0, 0.0, 1.0), (25, 25)),
        (Recipe(width=64), None, (64, 32)),
        (Recipe(height=64), None, (128, 64)),
        (Recipe(height=64), Grid(8.0, 4.0, 0.0, 0.0, 1.0), (64, 64)),
        (Recipe(width=3, height=500), None, (3, 500)),
        (Recipe(width=1), None, (1, 1)),
        (Recipe(height=4096), None, (4096, 4096)),
    ],
)
def test_the_size_is_what_is_asked_and_else_follows_the_cells(recipe, grid, size) -> None:
    assert target_size((100, 200, 4), recipe, grid) == size


def test_a_picture_larger_than_any_sprite_is_a_smaller_one() -> None:
    assert target_size((3000, 12000, 4), Recipe(), None) == (4096, 1024)
