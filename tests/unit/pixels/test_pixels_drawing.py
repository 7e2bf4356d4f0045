# SPDX-License-Identifier: Apache-2.0
"""Outline, symmetry, edges and trimming, on sprites that can be read here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.unit.pixels.drawings import drawn, text

from inglenook.pixels.edges import cleaned
from inglenook.pixels.model import Outline, Symmetry
from inglenook.pixels.outline import outlined, touches_border
from inglenook.pixels.regions import CLEAR, Indices
from inglenook.pixels.symmetry import mirrored
from inglenook.pixels.trim import box_of, pivot_of

sprites = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-1, 2)
)
GREYS = np.array([[0] * 3, [128] * 3, [255] * 3], np.uint8)
RAMP = np.array([[0] * 3, [64] * 3, [128] * 3, [192] * 3, [255] * 3], np.uint8)


def test_an_outline_outside_lies_on_clear_pixels_beside_opaque_ones() -> None:
    sprite = drawn("""
        .....
        ..1..
        .11..
        .....
    """)
    assert text(outlined(sprite, 0, Outline.OUTSIDE)).splitlines() == ["..0..", ".010.", "0110.", ".00.."]


def test_an_outline_inside_recolours_what_touches_clear_pixels_or_the_border() -> None:
    sprite = drawn("""
        .....
        11111
        11111
        11111
    """)
    assert text(outlined(sprite, 0, Outline.INSIDE)).splitlines() == [".....", "00000", "01110", "00000"]


def test_the_outline_of_a_tile_goes_on_at_the_other_side() -> None:
    sprite = drawn("""
        1..
        ...
        1..
    """)
    plain = outlined(sprite, 0, Outline.OUTSIDE)
    assert text(plain).splitlines() == ["10.", "0..", "10."]
    round_ = outlined(sprite, 0, Outline.OUTSIDE, wrap_x=True, wrap_y=True)
    assert text(round_).splitlines() == ["100", "0..", "100"]
    full = drawn("11\n11")
    assert text(outlined(full, 0, Outline.INSIDE, wrap_x=True, wrap_y=True)) == "11\n11"


@settings(max_examples=60, deadline=None)
@given(sprites, st.sampled_from([Outline.INSIDE, Outline.OUTSIDE]), st.booleans(), st.booleans())
def test_an_outline_follows_the_shape_wherever_it_lies_in_a_tile(
    indices: Indices, which: Outline, x: bool, y: bool
) -> None:
    found = outlined(indices, 7, which, wrap_x=x, wrap_y=y)
    solid = indices != CLEAR
    assert ((found != CLEAR) >= solid).all()
    if which is Outline.INSIDE:
        assert ((found != CLEAR) == solid).all()
    if x and y:
        moved = outlined(np.roll(indices, (1, 2), (0, 1)), 7, which, wrap_x=True, wrap_y=True)
        assert (np.roll(found, (1, 2), (0, 1)) == moved).all()


def test_it_is_told_whether_a_sprite_touches_the_border() -> None:
    assert touches_border(drawn("1..\n..."))
    assert not touches_border(drawn("...\n.1.\n..."))
    assert not touches_border(drawn("...\n1..\n..."), wrap_x=True)
    assert touches_border(drawn("...\n1..\n..."), wrap_y=True)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Symmetry.NONE, "012\n345\n678"),
        (Symmetry.LEFT, "010\n343\n676"),
        (Symmetry.RIGHT, "212\n545\n878"),
        (Symmetry.TOP, "012\n345\n012"),
        (Symmetry.BOTTOM, "678\n345\n678"),
    ],
)
def test_the_named_half_is_mirrored_and_the_middle_stays(which: Symmetry, expected: str) -> None:
    assert text(mirrored(drawn("012\n345\n678"), which)) == expected


@settings(max_examples=60, deadline=None)
@given(sprites, st.sampled_from(Symmetry))
def test_what_is_mirrored_is_symmetric_and_stays_so(indices: Indices, which: Symmetry) -> None:
    found = mirrored(indices, which)
    if which in (Symmetry.LEFT, Symmetry.RIGHT):
        assert (found == found[:, ::-1]).all()
    elif which is not Symmetry.NONE:
        assert (found == found[::-1]).all()
    assert (mirrored(found, which) == found).all()


def test_a_blend_of_one_pixel_takes_the_nearer_colour() -> None:
    assert text(cleaned(drawn("001222"), GREYS)) in ("000222", "002222")
    assert text(cleaned(drawn("000\n000\n111\n222\n222"), GREYS)).splitlines()[2] in ("000", "222")


def test_the_blends_of_a_thin_line_go_and_the_line_stays() -> None:
    assert text(cleaned(drawn("00121000"), GREYS)) in ("00020000", "00222000", "00220000", "00022000")


def test_a_ramp_that_somebody_drew_stays() -> None:
    ramp = drawn("0012344")
    assert (cleaned(ramp, RAMP) == ramp).all()
    wide = drawn("0001122")
    assert (cleaned(wide, GREYS) == wide).all()


def test_a_colour_between_clear_and_opaque_is_no_blend_of_both() -> None:
    sprite = drawn("..1222")
    assert (cleaned(sprite, GREYS) == sprite).all()


@settings(max_examples=60, deadline=None)
@given(sprites)
def test_cleaning_makes_no_colour_and_leaves_the_shape(indices: Indices) -> None:
    found = cleaned(indices, GREYS)
    assert ((found == CLEAR) == (indices == CLEAR)).all()
    assert set(np.unique(found)) <= set(np.unique(indices))


def test_the_box_holds_what_is_opaque_in_any_frame() -> None:
    one, other = drawn("...\n.1.\n..."), drawn("...\n...\n..1")
    assert box_of([one]) == (1, 1, 2, 2)
    assert box_of([one, other]) == (1, 1, 3, 3)
    assert box_of([drawn("..\n..")]) is None


def test_the_pivot_is_the_middle_of_the_lowest_opaque_row() -> None:
    assert pivot_of(drawn(".1...\n.111.\n.....")) == (2, 1)
    assert pivot_of(drawn("...\n...\n...")) == (1, 1)
    assert pivot_of(drawn("1")) == (0, 0)
