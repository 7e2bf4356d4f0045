# SPDX-License-Identifier: Apache-2.0
"""What tests/unit/images/test_cutout.py does not look at: pictures with alpha, and odd shapes."""

import numpy as np
import pytest
from tests.sprite_truth import enlarged, subject

from inglenook.pixels.border import border_matte


def test_the_subject_of_a_sprite_is_found() -> None:
    sprite = subject(1, 32)
    matte = border_matte(enlarged(sprite, 128, 128))
    assert matte is not None
    truth = (enlarged(subject(1, 32, background=(0, 0, 0, 0)), 128, 128)[..., 3] > 0) * 255
    assert np.array_equal(matte, truth)


def test_what_is_transparent_stays_so_and_does_not_vote() -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:15, 5:15] = (200, 0, 0, 255)
    matte = border_matte(rgba)
    assert matte is not None
    assert np.array_equal(matte, rgba[..., 3])


def test_half_transparent_pixels_keep_no_more_than_their_alpha() -> None:
    rgba = np.full((20, 20, 4), 255, np.uint8)
    rgba[5:15, 5:15] = (200, 0, 0, 100)
    matte = border_matte(rgba)
    assert matte is not None
    assert matte.max() == 100
    assert matte[0, 0] == 0


def test_a_busy_border_has_no_matte() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 4)).astype(np.uint8)
    noise[..., 3] = 255
    assert border_matte(noise) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_tiny_pictures_of_one_colour_are_all_background(shape: tuple[int, int]) -> None:
    matte = border_matte(np.full((*shape, 4), 255, np.uint8))
    assert matte is not None
    assert not matte.any()
