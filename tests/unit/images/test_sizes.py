# SPDX-License-Identifier: Apache-2.0
"""Which size is drawn and delivered."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inglenook.base.errors import Invalid
from inglenook.catalog.model import ImageDefaults
from inglenook.images.sizes import Size, SizePlan, plan_size

ANY = ImageDefaults(native_px=512, multiple=8, width=512, height=512, steps=25, guidance_scale=7.5)
STARTER = replace(ANY, native_px=32, steps=14, guidance_scale=3.0, min_px=32, fixed=((32, 32),))
SIDE, PIXELS = 4096, 4096 * 2048


def plan(
    requested: Size | None, defaults: ImageDefaults = ANY, side: int = SIDE, pixels: int = PIXELS
) -> SizePlan:
    return plan_size(requested, defaults, max_side_px=side, max_pixels=pixels)


def test_a_size_that_the_model_can_do_is_drawn_as_asked_without_a_note() -> None:
    assert plan((640, 384)) == SizePlan(640, 384, 640, 384, 1, None)


def test_no_size_gives_the_models_own() -> None:
    assert plan(None) == SizePlan(512, 512, 512, 512, 1, None)


@pytest.mark.parametrize(
    ("asked", "given_size"),
    [((65, 67), (64, 64)), ((68, 71), (72, 72)), ((513, 511), (512, 512)), ((4096, 66), (4096, 64))],
)
def test_sides_are_rounded_to_the_nearest_multiple_and_it_is_said(asked: Size, given_size: Size) -> None:
    result = plan(asked)
    assert (result.draw_w, result.draw_h) == (result.out_w, result.out_h) == given_size
    assert result.note is not None
    assert f"{given_size[0]}x{given_size[1]} instead of {asked[0]}x{asked[1]}" in result.note
    assert "multiples of 8" in result.note


@pytest.mark.parametrize("asked", [(0, 512), (512, 0), (63, 63), (-8, 512), (512, 1)])
def test_a_side_below_the_smallest_is_refused_with_the_bounds(asked: Size) -> None:
    with pytest.raises(Invalid, match="smallest side is 64") as caught:
        plan(asked)
    assert (caught.value.code, caught.value.field) == ("picture.size", "size")
    assert caught.value.hint == "ask for 64 to 4096 pixels a side, as in 512x512"


@pytest.mark.parametrize("asked", [(10_000, 512), (512, 10_000), (4097, 64), (4096, 4096), (10**30, 10**30)])
def test_a_size_above_the_bounds_is_refused_with_them(asked: Size) -> None:
    with pytest.raises(Invalid, match=f"at most 4096 pixels a side and {PIXELS} pixels in all") as caught:
        plan(asked)
    assert caught.value.field == "size"


def test_rounding_up_never_passes_a_bound() -> None:
    assert plan((1023, 1023), pixels=1023 * 1023).draw_w == 1016
    assert plan((100, 100), side=100).draw_w == 96


def test_a_default_above_the_bounds_is_made_smaller_and_it_is_said() -> None:
    result = plan(None, replace(ANY, width=1024, height=512), side=4096, pixels=512 * 256)
    assert (result.out_w, result.out_h) == (512, 256)
    assert result.note is not None
    assert "instead of 1024x512" in result.note


def test_a_model_that_cannot_draw_anything_within_the_bounds_says_so() -> None:
    with pytest.raises(Invalid, match="smallest picture has 64 × 64"):
        plan(None, side=32)
    with pytest.raises(Invalid, match="smallest picture has 32 × 32"):
        plan(None, STARTER, pixels=1000)


def test_the_starter_model_draws_at_32_and_is_enlarged_to_what_is_asked() -> None:
    assert plan((512, 512), STARTER) == SizePlan(32, 32, 512, 512, 16, None)
    assert plan(None, STARTER) == SizePlan(32, 32, 512, 512, 16, None)
    assert plan((32, 32), STARTER) == SizePlan(32, 32, 32, 32, 1, None)


@pytest.mark.parametrize(
    ("asked", "out", "factor"),
    [((100, 100), (96, 96), 3), ((1024, 512), (512, 512), 16), ((33, 2000), (32, 32), 1)],
)
def test_a_fixed_model_fits_the_largest_whole_factor_into_the_request(
    asked: Size, out: Size, factor: int
) -> None:
    result = plan(asked, STARTER)
    assert (result.out_w, result.out_h, result.factor) == (*out, factor)
    assert result.note is not None
    assert "enlarges it by a whole factor" in result.note


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((512, 512), (64, 64)),
        ((48, 48), (32, 32)),
        ((512, 256), (64, 32)),
        ((200, 512), (32, 64)),
        ((96, 96), (32, 32)),
    ],
)
def test_of_several_fixed_sizes_the_nearest_in_shape_is_drawn_then_the_one_that_fills_most(
    asked: Size, drawn: Size
) -> None:
    defaults = replace(STARTER, fixed=((32, 32), (64, 64), (64, 32), (32, 64)))
    result = plan(asked, defaults)
    assert (result.draw_w, result.draw_h) == drawn


sides = st.integers(1, 5000)
multiples = st.sampled_from([1, 2, 8, 16, 64])


@given(
    width=sides,
    height=sides,
    multiple=multiples,
    min_px=st.integers(1, 128),
    side=sides,
    pixels=st.integers(1, 10**7),
)
def test_a_plan_keeps_every_promise(
    width: int, height: int, multiple: int, min_px: int, side: int, pixels: int
) -> None:
    defaults = replace(ANY, multiple=multiple, min_px=min_px)
    try:
        result = plan((width, height), defaults, side, pixels)
    except Invalid:
        lowest = -(-min_px // multiple) * multiple
        reasons = (min(width, height) < min_px, max(width, height) > side, width * height > pixels)
        assert (
            any(reasons)
            or max(lowest, 0) > min(side, width, height)
            or lowest * max(width, height) > pixels - multiple
        )
        return
    assert (result.out_w, result.out_h, result.factor) == (result.draw_w, result.draw_h, 1)
    for asked, got in ((width, result.draw_w), (height, result.draw_h)):
        assert got % multiple == 0
        assert got >= min_px
        assert abs(got - asked) < multiple or got == -(-min_px // multiple) * multiple
    assert max(result.out_w, result.out_h) <= side
    assert result.out_w * result.out_h <= pixels
    assert (result.note is None) == ((result.out_w, result.out_h) == (width, height))
    again = plan((result.out_w, result.out_h), defaults, side, pixels)
    assert (again.out_w, again.out_h, again.note) == (result.out_w, result.out_h, None)


fixed_sizes = st.lists(st.tuples(st.integers(8, 200), st.integers(8, 200)), min_size=1, max_size=5)


@given(width=sides, height=sides, fixed=fixed_sizes)
def test_a_plan_for_fixed_sizes_keeps_every_promise(width: int, height: int, fixed: list[Size]) -> None:
    defaults = replace(STARTER, fixed=tuple(fixed), min_px=1)
    assume(width <= SIDE and height <= SIDE and width * height <= PIXELS)
    result = plan((width, height), defaults)
    assert (result.draw_w, result.draw_h) in fixed
    assert (result.out_w, result.out_h) == (result.draw_w * result.factor, result.draw_h * result.factor)
    if result.factor > 1:
        assert result.out_w <= width
        assert result.out_h <= height
    larger = result.factor + 1
    assert result.draw_w * larger > width or result.draw_h * larger > height
    assert (result.note is None) == ((result.out_w, result.out_h) == (width, height))
