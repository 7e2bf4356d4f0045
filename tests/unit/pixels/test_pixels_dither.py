# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from inglenook.pixels.diffusion import ATKINSON, FLOYD_STEINBERG
from inglenook.pixels.dither import bayer, remap
from inglenook.pixels.mixing import within_reach
from inglenook.pixels.model import Dither
from inglenook.pixels.nearest import nearest
from inglenook.pixels.oklab import oklab_of_light, to_linear, to_oklab

BLACK_AND_WHITE = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
WAYS = [one for one in Dither if one is not Dither.NONE]
PICTURES = nps.arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14), st.just(4)))
PALETTES = nps.arrays(np.uint8, st.tuples(st.integers(1, 20), st.just(3)))


def flat(height, width, *rgb):
    return np.broadcast_to(np.array([*rgb, 255], np.uint8), (height, width, 4)).copy()


@pytest.mark.parametrize("dither", list(Dither))
@settings(max_examples=25, deadline=None)
@given(rgba=PICTURES, palette=PALETTES, strength=st.floats(0, 1))
def test_every_pixel_gets_an_entry_and_transparent_ones_the_first(dither, rgba, palette, strength):
    indices = remap(rgba, palette, dither, strength)
    assert indices.shape == rgba.shape[:2]
    assert indices.dtype == np.uint8
    assert indices.max() < len(palette)
    assert (indices[rgba[..., 3] == 0] == 0).all()
    assert (indices == remap(rgba, palette, dither, strength)).all()


@pytest.mark.parametrize("dither", list(Dither))
@settings(max_examples=25, deadline=None)
@given(rgba=PICTURES, palette=PALETTES)
def test_at_strength_0_nothing_is_dithered(dither, rgba, palette):
    plain = np.where(rgba[..., 3] > 0, nearest(palette, rgba[..., :3]), 0)
    assert (remap(rgba, palette, dither, 0) == plain).all()


@pytest.mark.parametrize("dither", list(Dither))
@settings(max_examples=25, deadline=None)
@given(palette=PALETTES, seed=st.integers(0, 99))
def test_a_picture_of_palette_colours_is_left_as_it_is(dither, palette, seed):
    rgb = palette[np.random.default_rng(seed).integers(0, len(palette), (9, 11))]
    rgba = np.dstack([rgb, np.full((9, 11), 255, np.uint8)])
    assert (palette[remap(rgba, palette, dither)] == rgb).all()


@pytest.mark.parametrize("dither", [Dither.BAYER_4, Dither.BAYER_8, Dither.FLOYD_STEINBERG])
@pytest.mark.parametrize("grey", [40, 90, 128, 188, 230])
def test_a_flat_grey_keeps_its_light(dither, grey):
    white = remap(flat(64, 64, grey, grey, grey), BLACK_AND_WHITE, dither).mean()
    assert white == pytest.approx(
        float(to_linear(np.uint8(grey))), abs=1 / 16 if dither is Dither.BAYER_4 else 0.02
    )


def test_atkinson_drops_a_quarter_of_the_error_so_light_greys_turn_white():
    grey = flat(64, 64, 230, 230, 230)
    kept = remap(grey, BLACK_AND_WHITE, Dither.FLOYD_STEINBERG).mean()
    assert remap(grey, BLACK_AND_WHITE, Dither.ATKINSON).mean() > kept + 0.03


@pytest.mark.parametrize("dither", WAYS)
def test_less_strength_dithers_less(dither):
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 32, 0)
    rgba = np.dstack([ramp, ramp, ramp, np.full_like(ramp, 255)])
    plain = remap(rgba, BLACK_AND_WHITE, Dither.NONE)
    differing = [int((remap(rgba, BLACK_AND_WHITE, dither, one) != plain).sum()) for one in (0, 0.5, 1)]
    assert differing[0] == 0 < differing[1] < differing[2]


@pytest.mark.parametrize("side", [2, 4, 8])
def test_bayers_matrix_holds_each_threshold_once(side):
    assert np.sort(bayer(side).ravel()).tolist() == [(one + 0.5) / side**2 for one in range(side**2)]


def test_bayers_matrix_of_two_is_the_published_one():
    assert (bayer(2) * 4 - 0.5).tolist() == [[0, 2], [3, 1]]


def test_ordered_dithering_repeats_with_its_matrix():
    indices = remap(flat(16, 16, 150, 150, 150), BLACK_AND_WHITE, Dither.BAYER_4)
    assert (indices[:4, :4] == indices[4:8, 8:12]).all()
    assert 0 < indices[:4, :4].sum() < 16


@pytest.mark.parametrize(
    ("dither", "kernel"), [(Dither.FLOYD_STEINBERG, FLOYD_STEINBERG), (Dither.ATKINSON, ATKINSON)]
)
@settings(max_examples=20, deadline=None)
@given(rgba=PICTURES, palette=PALETTES)
def test_the_waves_give_what_going_row_by_row_gives(dither, kernel, rgba, palette):
    assert (remap(rgba, palette, dither) == row_by_row(rgba, palette, kernel)).all()


def row_by_row(rgba, palette, kernel):
    height, width = rgba.shape[:2]
    errors = np.zeros((height + 2, width + 4, 3))
    entries = to_linear(palette).astype(np.float64)
    light = within_reach(rgba[..., :3].reshape(-1, 3), palette).reshape(height, width, 3)
    indices = np.zeros((height, width), int)
    incoming = [[[] for _ in range(width)] for _ in range(height)]
    for y in range(height):
        for x in range(width):
            if not rgba[y, x, 3]:
                continue
            # float sums depend on their order: the waves add in the order of x + 2 y, then of the kernel
            for _, error in sorted(incoming[y][x], key=lambda one: one[0]):
                errors[y, x] += error
            wanted = light[y, x] + np.clip(errors[y, x], -1, 1)
            gap = (oklab_of_light(wanted) - to_oklab(palette)) ** 2
            indices[y, x] = (gap[:, 0] + gap[:, 1] + gap[:, 2]).argmin()
            for number, (right, down, share) in enumerate(kernel.shares):
                if y + down < height and 0 <= x + right < width:
                    incoming[y + down][x + right].append(
                        ((x + 2 * y, number), (wanted - entries[indices[y, x]]) * share)
                    )
    return indices


def test_no_error_passes_through_transparent_pixels():
    rgba = flat(8, 8, 120, 120, 120)
    rgba[:, 4, 3] = 0
    rgba[:, 3, 3] = 0
    alone = rgba[:, 5:].copy()
    both = remap(rgba, BLACK_AND_WHITE, Dither.FLOYD_STEINBERG)
    assert (both[:, 5:] == remap(alone, BLACK_AND_WHITE, Dither.FLOYD_STEINBERG)).all()


@pytest.mark.parametrize("dither", WAYS)
def test_a_colour_that_the_palette_cannot_mix_piles_up_no_error(dither):
    rgba = np.concatenate([flat(20, 40, 255, 255, 0), flat(20, 40, 30, 30, 30)])
    palette = np.array([[20, 20, 20], [40, 40, 40]], np.uint8)
    below = remap(rgba, palette, dither)[30:]
    assert 0.2 < below.mean() < 0.8


def test_colours_that_the_palette_mixes_keep_their_light_and_others_go_to_its_edge():
    corners = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 0]], np.uint8)
    light = within_reach(np.array([[100, 100, 0], [255, 0, 0], [188, 188, 188]], np.uint8), corners)
    assert light[0] == pytest.approx(to_linear(np.uint8([100, 100, 0])))
    assert light[1] == pytest.approx([1, 0, 0])
    assert light[2, 2] == 0


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_of_0_to_1_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        remap(flat(2, 2, 0, 0, 0), BLACK_AND_WHITE, Dither.BAYER_2, strength)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 40), (40, 2)])
def test_a_strip_of_pixels_is_dithered_too(shape):
    white = remap(flat(*shape, 120, 120, 120), BLACK_AND_WHITE, Dither.FLOYD_STEINBERG)
    assert white.shape == shape
    assert 0.1 < white.mean() < 0.9
