# SPDX-License-Identifier: Apache-2.0
"""The proof counts; it believes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inglenook.pixels.proof import Rgba, prove

BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def canvas(*rows: str) -> Rgba:
    """One letter a pixel: . is clear, k black, r red, g green."""
    values = {".": (0, 0, 0, 0), "k": (*BLACK, 255), "r": (*RED, 255), "g": (*GREEN, 255)}
    return np.array([[values[one] for one in row] for row in rows], np.uint8)


def test_size_colours_and_alphas_are_those_of_the_pixels() -> None:
    proof = prove(canvas("rr.", "gk."), None)
    assert (proof.width, proof.height, proof.colors, proof.alphas) == (3, 2, 3, (0, 255))
    assert (proof.within_palette, proof.off_palette, proof.counts) == (None, 0, None)


def test_what_lies_below_transparent_pixels_is_no_colour() -> None:
    rgba = canvas("r.")
    rgba[0, 1, :3] = 77
    proof = prove(rgba, [RED])
    assert (proof.colors, proof.within_palette) == (1, True)


def test_half_transparent_pixels_count_and_show_in_the_alphas() -> None:
    rgba = canvas("rg")
    rgba[0, 1, 3] = 9
    proof = prove(rgba, [RED])
    assert (proof.alphas, proof.off_palette, proof.within_palette) == ((9, 255), 1, False)


def test_each_entry_has_its_pixels_and_of_two_equal_ones_the_first() -> None:
    assert prove(canvas("rrg."), [GREEN, RED, BLACK, RED]).counts == (1, 2, 0, 0)


def test_a_picture_without_opaque_pixels_is_in_every_palette_also_an_empty_one() -> None:
    proof = prove(canvas("..", ".."), [])
    assert (proof.colors, proof.within_palette, proof.counts, proof.alphas) == (0, True, (), (0,))


def test_a_single_row_or_column_has_no_seam() -> None:
    assert prove(canvas("rgk"), None).seam_y is None
    assert prove(canvas("r", "g"), None).seam_x is None


def test_what_repeats_has_a_seam_like_its_inside_and_what_ends_abruptly_a_sharper_one() -> None:
    assert prove(canvas("rgrg", "rgrg"), None).seam_x == pytest.approx(1)
    assert prove(canvas("rrrg"), None).seam_x == pytest.approx(3)
    assert prove(canvas("rrrr", "rrrr"), None).seam_x == 0


def test_clear_pixels_differ_from_opaque_ones_also_from_black_and_not_from_each_other() -> None:
    rgba = canvas("kk.")
    assert prove(rgba, None).seam_x == pytest.approx(2)
    rgba[0, 2, :3] = 200
    assert prove(rgba, None).seam_x == pytest.approx(2)


def test_a_seam_has_a_finite_figure_where_the_inside_is_flat() -> None:
    rgba = canvas("rr", "rr")
    rgba[:, 1, 0] = 254
    assert 0 < (prove(rgba, None).seam_x or 0) <= 1


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).map(lambda s: (*s, 4))))
def test_any_pixels_have_a_proof_whose_counts_add_up(rgba: Rgba) -> None:
    opaque = rgba[..., 3] > 0
    seen = sorted({tuple(int(level) for level in one) for one in rgba[opaque][:, :3]})
    proof = prove(rgba, seen)
    assert proof.colors == len(seen)
    assert proof.within_palette
    assert sum(proof.counts or ()) == opaque.sum()
    assert all(seam is None or np.isfinite(seam) for seam in (proof.seam_x, proof.seam_y))
    without_last = prove(rgba, seen[:-1])
    assert without_last.off_palette == (proof.counts[-1] if proof.counts else 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5))
def test_strips_do_not_change_a_seam(height: int, width: int) -> None:
    rng = np.random.default_rng(height * 8 + width)
    rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
    tall = np.concatenate([rgba] * 3)
    turned = prove(tall.transpose(1, 0, 2), None)
    assert turned.seam_x == pytest.approx(prove(tall, None).seam_y)
