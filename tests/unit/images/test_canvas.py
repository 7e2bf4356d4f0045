# SPDX-License-Identifier: Apache-2.0
"""Pictures with room around them, and masks by numbers."""

import pytest
from PIL import Image

from inglenook.base.errors import InglenookError, TooLarge
from inglenook.images.canvas import BLEND_PX, Margins, Rectangle, extended, rectangle_mask
from inglenook.images.errors import BadRequest


def two_halves() -> Image.Image:
    """96 × 64, red on the left, blue on the right."""
    picture = Image.new("RGB", (96, 64), "red")
    picture.paste("blue", (48, 0, 96, 64))
    return picture


def test_the_picture_lies_inside_and_everything_around_it_is_new() -> None:
    picture = two_halves()
    canvas, mask = extended(picture, Margins(32, 16, 8, 24), None, max_pixels=10**6)
    assert canvas.size == mask.size == (96 + 40, 64 + 40)
    assert (canvas.mode, mask.mode) == ("RGB", "L")
    assert canvas.crop((32, 16, 128, 80)).tobytes() == picture.tobytes()
    kept = (32 + BLEND_PX, 16 + BLEND_PX, 128 - BLEND_PX, 80 - BLEND_PX)
    assert mask.crop(kept).getextrema() == (0, 0)
    around = Image.new("L", mask.size, 255)
    around.paste(0, kept)
    assert mask.tobytes() == around.tobytes()


def test_under_the_mask_lie_the_colours_of_the_edges() -> None:
    canvas, _ = extended(two_halves(), Margins(32, 16, 8, 24), None, max_pixels=10**6)
    red, blue = (255, 0, 0), (0, 0, 255)
    left, right = (0, 50, 31, 103), (135, 40, 90, 10)
    for x, y in zip(left[::2], left[1::2], strict=True):
        assert canvas.getpixel((x, y)) == red
    for x, y in zip(right[::2], right[1::2], strict=True):
        assert canvas.getpixel((x, y)) == blue
    assert [canvas.getpixel(corner) for corner in ((0, 0), (135, 0), (0, 103), (135, 103))] == [
        red, blue, red, blue,
    ]  # fmt: skip


def test_a_side_that_does_not_grow_is_kept_up_to_its_edge() -> None:
    _, mask = extended(two_halves(), Margins(right=8), None, max_pixels=10**6)
    assert mask.getpixel((0, 0)) == 0
    assert mask.getpixel((95 - BLEND_PX, 63)) == 0
    assert mask.getpixel((96 - BLEND_PX, 63)) == 255


def test_a_mask_of_the_picture_stays_where_it_was() -> None:
    mask = rectangle_mask((96, 64), Rectangle(40, 20, 10, 10))
    before = mask.tobytes()
    _, new = extended(two_halves(), Margins(left=16), mask, max_pixels=10**6)
    assert new.crop((56, 20, 66, 30)).getextrema() == (255, 255)
    assert new.getpixel((70, 25)) == 0
    assert mask.tobytes() == before


@pytest.mark.parametrize(
    ("margins", "kind"),
    [(Margins(), BadRequest), (Margins(left=-8, top=8), BadRequest), (Margins(bottom=10**6), TooLarge)],
)
def test_margins_that_cannot_be_are_refused_at_their_field(
    margins: Margins, kind: type[InglenookError]
) -> None:
    with pytest.raises(kind) as caught:
        extended(two_halves(), margins, None, max_pixels=10**6)
    assert caught.value.field == "extend"


def test_a_picture_of_one_pixel_can_be_extended() -> None:
    canvas, mask = extended(Image.new("RGB", (1, 1), "red"), Margins(3, 3, 3, 3), None, max_pixels=100)
    assert canvas.getcolors() == [(49, (255, 0, 0))]
    assert mask.getpixel((3, 3)) == 0


def test_a_rectangle_opens_its_pixels_and_no_others() -> None:
    mask = rectangle_mask((96, 64), Rectangle(90, 60, 50, 50))
    assert mask.getbbox() == (90, 60, 96, 64)
    with pytest.raises(BadRequest, match="lies outside the picture, which is 96x64"):
        rectangle_mask((96, 64), Rectangle(96, 0, 10, 10))
    with pytest.raises(BadRequest):
        rectangle_mask((96, 64), Rectangle(0, 0, 0, 10))
