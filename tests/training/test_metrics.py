# SPDX-License-Identifier: Apache-2.0
"""Evaluation measures on synthetic pictures whose answer is known."""

import numpy as np
import pytest
from training.starter import metrics
from training.starter.pictures import Array


def shape(
    kind: str, rgb: tuple[float, float, float], *, dx: int = 0, side: int = 16, paper: float = 1.0
) -> Array:
    """A bar, box or triangle of the given height on grey paper, moved dx pixels right."""
    picture = np.full((32, 32, 3), paper, np.float32)
    top, left = (32 - side) // 2, (32 - side) // 2 + dx
    for row in range(side):
        width = {"box": side, "bar": max(2, side // 4), "triangle": row + 1}[kind]
        picture[top + row, left : left + width] = rgb
    return picture


KINDS = ("box", "bar", "triangle")
RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def test_retrieval_finds_the_shape_whatever_its_place_size_and_background() -> None:
    bank = metrics.features([shape(kind, RED) for kind in KINDS])
    found = metrics.features([shape(kind, RED, dx=4, side=20, paper=0.6) for kind in KINDS])
    place = metrics.ranks(metrics.outline_overlap(found, bank), np.arange(3), np.arange(3))
    assert place.tolist() == [0, 0, 0]
    assert metrics.top(place, 1) == 1.0


def test_retrieval_of_the_wrong_shape_does_not_rank_first() -> None:
    bank = metrics.features([shape(kind, RED) for kind in KINDS])
    found = metrics.features([shape("bar", RED)])
    overlap = metrics.outline_overlap(found, bank)
    assert metrics.ranks(overlap, np.arange(3), np.array([1]))[0] == 0
    assert metrics.ranks(overlap, np.arange(3), np.array([0]))[0] > 0


def test_colour_overlap_is_one_for_the_same_colour_and_zero_for_another() -> None:
    found = metrics.features([shape("box", RED)])
    bank = metrics.features([shape("triangle", RED), shape("box", BLUE)])
    assert metrics.colour_overlap(found, bank)[0].tolist() == [1.0, 0.0]


def test_an_empty_picture_matches_nothing() -> None:
    found = metrics.features([np.ones((32, 32, 3), np.float32)])
    bank = metrics.features([shape("box", RED)])
    assert metrics.outline_overlap(found, bank)[0, 0] == 0
    assert metrics.colour_overlap(found, bank)[0, 0] == 0


def test_rmse_counts_in_steps_of_one_in_255() -> None:
    a = np.zeros((32, 32, 3), np.float32)
    assert metrics.rmse(a, a + 10 / 255) == pytest.approx(10, rel=1e-4)


def test_the_nearest_training_picture_is_found_through_a_shift() -> None:
    bank = np.stack([shape("box", RED), shape("bar", BLUE)])
    moved = shape("box", RED, dx=2)
    assert metrics.nearest_rmse(moved, bank) == pytest.approx(0, abs=0.1)
    assert metrics.nearest_rmse(moved, bank, reach_px=0) > 20


def test_the_background_is_read_from_the_border() -> None:
    picture = np.full((32, 32, 3), (0.3, 0.5, 0.95), np.float32)
    picture[8:24, 8:24] = (1, 0, 0)
    assert metrics.background_word(picture) == "blue"
    assert metrics.foreground(picture).sum() == 16 * 16
