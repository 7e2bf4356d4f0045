# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.pixels.oklab import distances, from_linear, to_linear, to_oklab, to_srgb

# To the digits in which CSS Color 4 and colour pickers print them.
KNOWN = [
    ((255, 255, 255), (1.0, 0.0, 0.0)),
    ((0, 0, 0), (0.0, 0.0, 0.0)),
    ((255, 0, 0), (0.62796, 0.22486, 0.12585)),
    ((0, 255, 0), (0.86644, -0.23389, 0.17950)),
    ((0, 0, 255), (0.45201, -0.03246, -0.31153)),
]


@pytest.mark.parametrize(("rgb", "lab"), KNOWN)
def test_the_corners_of_srgb_have_the_known_coordinates(rgb, lab):
    assert to_oklab(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=2e-5)


def test_every_level_survives_linear_light():
    levels = np.arange(256, dtype=np.uint8)
    assert (from_linear(to_linear(levels)) == levels).all()


def test_light_outside_of_what_a_screen_shows_is_clipped():
    assert from_linear(np.array([-0.5, 1.5, 0.0, 1.0])).tolist() == [0, 255, 0, 255]


def test_mixing_black_and_white_in_linear_light_gives_the_grey_of_half_the_light():
    assert from_linear(np.float32([0.5])).tolist() == [188]


@given(st.tuples(*[st.integers(0, 255)] * 3), st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_come_back_and_different_ones_stay_different(one, other):
    lab = to_oklab(np.array([one, other], np.uint8))
    assert to_srgb(lab).tolist() == [list(one), list(other)]
    assert (distances(lab[0], lab[1]) == 0) == (one == other)


def test_a_colour_outside_of_srgb_is_clipped_per_channel():
    assert to_srgb(np.array([0.9, 0.4, 0.0])).tolist()[0] == 255


@pytest.mark.slow
def test_all_colours_come_back():
    green, blue = np.meshgrid(np.arange(256), np.arange(256))
    for red in range(256):
        rgb = np.stack([np.full_like(green, red), green, blue], -1).astype(np.uint8)
        assert (to_srgb(to_oklab(rgb)) == rgb).all()
