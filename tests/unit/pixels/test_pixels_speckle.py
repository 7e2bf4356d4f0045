# SPDX-License-Identifier: Apache-2.0
"""Specks, holes and islands."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage  # an independent count of regions
from tests.unit.pixels.drawings import drawn, text

from inglenook.pixels.regions import CLEAR, Indices, Mask, regions
from inglenook.pixels.speckle import with_holes_filled, with_islands_joined, without_specks

EIGHT = np.ones((3, 3))
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
sprites = hnp.arrays(np.int32, shapes, elements=st.integers(-1, 2))


@settings(max_examples=30, deadline=None)
@given(sprites, st.booleans())
def test_regions_are_those_that_another_program_finds(values: Indices, diagonal: bool) -> None:
    labels, sizes = regions(values, diagonal=diagonal)
    count = 0
    for value in np.unique(values):
        theirs, number = ndimage.label(values == value, EIGHT if diagonal else None)
        count += number
        pairs = {(int(a), int(b)) for a, b in zip(labels[theirs > 0], theirs[theirs > 0], strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == number
    assert len(sizes) == count
    assert (np.bincount(labels.reshape(-1)) == sizes).all()


def test_a_long_spiral_is_one_region() -> None:
    side = 61
    spiral = np.zeros((side, side), np.int32)
    row, column, down, right = 0, 0, 0, 1
    for length in range(side - 1, 0, -2):
        for _ in range(4):
            for _ in range(length):
                spiral[row, column] = 1
                row, column = row + down, column + right
            down, right = right, -down
        row, column = row + 1, column + 1
    labels, _ = regions(spiral, diagonal=False)
    _, number = ndimage.label(spiral)
    assert len(np.unique(labels[spiral == 1])) == number


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, shapes), st.integers(1, 5))
def test_what_is_left_after_specks_has_only_larger_islands(solid: Mask, most: int) -> None:
    found = without_specks(solid, most)
    assert not (found & ~solid).any()
    labels, number = ndimage.label(found, EIGHT)
    assert all((labels == one).sum() > most for one in range(1, number + 1))
    gone, number = ndimage.label(solid & ~found, EIGHT)
    assert all((gone == one).sum() <= most for one in range(1, number + 1))


def test_a_hole_takes_the_colour_around_it_and_the_outside_is_no_hole() -> None:
    sprite = drawn("""
        .000.
        0.110
        00000
        .00..
    """)
    assert text(with_holes_filled(sprite, 1)).splitlines() == [".000.", "00110", "00000", ".00.."]


def test_a_hole_that_is_too_large_or_open_stays() -> None:
    ring = drawn("""
        1111
        1..1
        1111
    """)
    assert (with_holes_filled(ring, 1) == ring).all()
    assert (with_holes_filled(ring, 2) == 1).all()
    opened = ring.copy()
    opened[0, 1] = CLEAR
    assert (with_holes_filled(opened, 9) == opened).all()


def test_a_wide_hole_is_filled_from_its_rim_inwards() -> None:
    sprite = np.full((9, 9), CLEAR, np.int32)
    sprite[[0, -1]] = 2
    sprite[:, [0, -1]] = 2
    assert (with_holes_filled(sprite, 49) == 2).all()


def test_a_speck_of_another_colour_takes_that_of_its_surroundings() -> None:
    sprite = drawn("""
        0000
        0100
        0022
        0022
    """)
    assert text(with_islands_joined(sprite, 1)).splitlines() == ["0000", "0000", "0022", "0022"]


def test_an_island_joins_that_with_which_it_shares_most_of_its_rim() -> None:
    sprite = drawn("""
        00001111
        00001111
        00021111
        00001111
        00001111
    """)
    assert (with_islands_joined(sprite, 1)[2] == [0, 0, 0, 0, 1, 1, 1, 1]).all()


def test_a_line_of_single_pixels_of_many_colours_ends_as_one() -> None:
    assert len(np.unique(with_islands_joined(drawn("0120121"), 3))) == 1


@settings(max_examples=40, deadline=None)
@given(sprites, st.integers(1, 6))
def test_afterwards_whatever_touches_another_colour_is_larger_than_an_island(
    indices: Indices, most: int
) -> None:
    found = with_islands_joined(indices, most)
    assert ((found == CLEAR) == (indices == CLEAR)).all()
    assert set(np.unique(found)) <= set(np.unique(indices))
    for value in np.unique(found[found != CLEAR]):
        labels, number = ndimage.label(found == value, EIGHT)
        for one in range(1, number + 1):
            island = labels == one
            rim = ndimage.binary_dilation(island, EIGHT) & ~island & (found != CLEAR)
            assert island.sum() > most or not rim.any()
