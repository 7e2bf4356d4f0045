# SPDX-License-Identifier: Apache-2.0
"""Mattes and hard alpha."""

import numpy as np
import pytest

from inglenook.pixels.alpha import hardened, with_matte
from inglenook.pixels.model import Alpha


def ramp() -> np.ndarray:
    rgba = np.full((1, 256, 4), 90, np.uint8)
    rgba[0, :, 3] = np.arange(256)
    return rgba


def test_a_matte_takes_away_and_never_gives() -> None:
    rgba = ramp()
    assert (with_matte(rgba, np.full((1, 256), 255, np.uint8)) == rgba).all()
    assert (with_matte(rgba, np.zeros((1, 256), np.uint8))[..., 3] == 0).all()
    half = with_matte(rgba, np.full((1, 256), 128, np.uint8))[0, :, 3]
    assert half[255] == 128
    assert (half <= rgba[0, :, 3]).all()


def test_a_matte_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="matte"):
        with_matte(ramp(), np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize("threshold", [1, 128, 255])
def test_binary_alpha_is_cut_at_the_threshold(threshold: int) -> None:
    found = hardened(ramp(), Alpha.BINARY, threshold=threshold)
    assert (found[0, :threshold] == 0).all()
    assert (found[0, threshold:, 3] == 255).all()
    assert (found[0, threshold:, :3] == 90).all()


def test_opaque_alpha_lays_the_picture_on_its_background_in_light() -> None:
    rgba = np.array([[[0, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 128], [9, 8, 7, 255]]], np.uint8)
    found = hardened(rgba, Alpha.OPAQUE, threshold=128, background=(255, 255, 255))
    assert (found[..., 3] == 255).all()
    assert found[0, 0].tolist() == [255, 255, 255, 255]
    assert found[0, 1].tolist() == [255, 0, 0, 255]
    assert found[0, 2].tolist() == [187, 187, 187, 255]  # half the light of white, not level 127
    assert found[0, 3].tolist() == [9, 8, 7, 255]


def test_the_picture_that_was_handed_in_stays_as_it_was() -> None:
    rgba = ramp()
    before = rgba.copy()
    hardened(rgba, Alpha.BINARY, threshold=100)
    hardened(rgba, Alpha.OPAQUE, threshold=100)
    with_matte(rgba, np.zeros((1, 256), np.uint8))
    assert (rgba == before).all()
