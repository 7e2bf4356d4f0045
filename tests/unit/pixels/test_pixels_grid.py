# SPDX-License-Identifier: Apache-2.0
"""Finding the grid of a picture that was made of enlarged pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.sprite_truth import blurred, enlarged, field, jittered, noisy, subject, through_jpeg

from inglenook.pixels.grid import LEAST_CONFIDENCE, cells, find_grid
from inglenook.pixels.model import Grid


def off(found: float, true: float, period: float) -> float:
    """How far two phases are apart, in pixels."""
    away = abs(found - true) % period
    return min(away, period - away)


@given(seed=st.integers(0, 10_000), side=st.integers(16, 40), factor=st.integers(2, 10))
@settings(max_examples=25, deadline=None)
def test_whole_factors_are_found_to_the_last_digit(seed: int, side: int, factor: int) -> None:
    grid = find_grid(enlarged(field(seed, side), side * factor, side * factor))
    assert grid is not None
    assert (grid.period_x, grid.period_y, grid.phase_x, grid.phase_y) == (factor, factor, 0.0, 0.0)


@pytest.mark.parametrize("factor", [2.5, 3.3, 7.37, 12.8])
@pytest.mark.parametrize("how", [Image.Resampling.NEAREST, Image.Resampling.LANCZOS])
def test_fractional_factors_are_found(factor: float, how: Image.Resampling) -> None:
    width = round(40 * factor)
    grid = find_grid(enlarged(field(3, 40), width, width, how))
    assert grid is not None
    assert grid.period_x == pytest.approx(width / 40, rel=0.005)
    assert grid.period_y == pytest.approx(width / 40, rel=0.005)


def test_both_axes_have_a_period_and_a_phase_of_their_own() -> None:
    picture = enlarged(subject(1, 48), 48 * 6, 48 * 9)[4:, 2:]
    grid = find_grid(picture)
    assert grid is not None
    assert (grid.period_x, grid.period_y, grid.phase_x, grid.phase_y) == (6.0, 9.0, 4.0, 5.0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: through_jpeg(a, 60),
        lambda a: through_jpeg(blurred(a, 2.0), 70),
        lambda a: noisy(a, 10),
        lambda a: through_jpeg(jittered(a, 1), 80),
    ],
    ids=["jpeg", "blur and jpeg", "noise", "jitter and jpeg"],
)
@pytest.mark.parametrize("make", [field, subject])
def test_the_grid_survives(make, spoil) -> None:
    width = 355  # 11.09 pixels a cell
    picture = spoil(enlarged(make(5, 32), width, width)[:, 3:])
    grid = find_grid(picture)
    assert grid is not None
    assert grid.period_x == pytest.approx(width / 32, rel=0.01)
    assert grid.period_y == pytest.approx(width / 32, rel=0.01)
    assert off(grid.phase_x, width / 32 - 3, width / 32) < 1.0
    assert off(grid.phase_y, 0, width / 32) < 1.0


@pytest.mark.parametrize("quality", [60, 75, 90])
@pytest.mark.parametrize("seed", range(4))
def test_the_ringing_of_jpeg_s_blocks_is_not_taken_for_cells(seed: int, quality: int) -> None:
    """A cell of four pixels is half of a block: what rings beside an outline lies at each second pixel."""
    grid = find_grid(through_jpeg(enlarged(subject(seed, 32), 128, 128), quality))
    assert grid is not None
    assert (grid.period_x, grid.period_y, grid.phase_x, grid.phase_y) == (4.0, 4.0, 0.0, 0.0)


def discs(seed: int, *, kind: str) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = Image.new("RGBA", (256, 256), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(20 if kind == "ellipse" else 6):
        x, y = (int(one) for one in random.integers(0, 256, 2))
        wide, tall = (int(one) for one in random.integers(5, 90, 2))
        getattr(draw, kind)(
            (x, y, x + wide, y + tall), fill=tuple(int(c) for c in random.integers(0, 256, 3))
        )
    return np.asarray(image)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_drawn_shapes_have_no_grid(seed: int, kind: str) -> None:
    assert find_grid(discs(seed, kind=kind)) is None


@pytest.mark.parametrize("seed", range(6))
def test_one_ball_before_a_sky_has_no_grid(seed: int) -> None:
    """Its two sides lie on some comb; a comb of two lines is none."""
    random = np.random.default_rng(seed)
    width, height = (int(one) for one in random.integers(200, 500, 2))
    sky = np.linspace((40, 60, 160, 255), (220, 235, 255, 255), height).astype(np.uint8)
    image = Image.fromarray(np.repeat(sky[:, None], width, axis=1))
    x, y, side = (int(one) for one in random.integers(40, 100, 3))
    ImageDraw.Draw(image).ellipse((x, y, x + side, y + side), fill=(200, 30, 30))
    assert find_grid(np.asarray(image)) is None


def test_a_ramp_and_noise_and_a_sprite_at_its_own_size_have_no_grid() -> None:
    ramp = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1))
    opaque = np.full_like(ramp, 255)
    assert find_grid(np.dstack([ramp, ramp, ramp, opaque])) is None
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert find_grid(np.dstack([noise, opaque[:128, :128]])) is None
    assert find_grid(field(0, 64)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (7, 9), (64, 64)])
def test_pictures_without_anything_in_them_have_none(shape: tuple[int, int]) -> None:
    assert find_grid(np.zeros((*shape, 4), np.uint8)) is None
    assert find_grid(np.full((*shape, 4), 255, np.uint8)) is None


def test_what_is_transparent_counts_for_nothing() -> None:
    sprite = subject(2, 32, background=(0, 0, 0, 0))
    picture = enlarged(sprite, 256, 256).copy()
    hidden = picture[..., 3] == 0
    picture[hidden, :3] = np.random.default_rng(1).integers(0, 256, (int(hidden.sum()), 3))
    assert find_grid(picture) == find_grid(enlarged(sprite, 256, 256))


def test_confidence_falls_as_the_picture_gets_worse_and_is_the_same_each_time() -> None:
    clean = enlarged(field(4, 32), 256, 256)
    grids = [find_grid(one) for one in (clean, blurred(clean, 1.5), through_jpeg(blurred(clean, 3.0), 30))]
    found = [grid.confidence for grid in grids if grid is not None]
    assert len(found) == 3
    assert found[0] >= found[1] > found[2] >= LEAST_CONFIDENCE
    assert find_grid(clean) == grids[0]


def test_cells_cut_by_the_border_count_from_one_half() -> None:
    x, y = cells((20, 22), Grid(8.0, 8.0, 3.0, 4.0, 1.0))
    assert x.tolist() == [3.0, 11.0, 19.0]  # 3 of 8 pixels at the left and at the right are less than a half
    assert y.tolist() == [0.0, 4.0, 12.0, 20.0]  # 4 of 8 are a half


@given(
    length=st.integers(2, 400),
    period=st.floats(1.0, 60.0),
    share=st.floats(0.0, 0.999),
)
def test_cells_ascend_inside_the_picture(length: int, period: float, share: float) -> None:
    x, _ = cells((length, length), Grid(period, period, period * share, period * share, 1.0))
    assert len(x) >= 2
    assert (np.diff(x) > 0).all()
    assert x[0] >= 0
    assert x[-1] <= length
