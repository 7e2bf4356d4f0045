# SPDX-License-Identifier: Apache-2.0
"""What part of a canvas is drawn on, how it is laid for a model, and what comes back of it."""

import pytest
from PIL import Image

from inglenook.sprites.canvas import (
    Window,
    beside,
    colors_of,
    composed,
    is_free_standing,
    joined,
    laid,
    laid_mask,
    moved,
    selected,
    selection,
    step_of,
    taken,
    window,
)
from inglenook.testing.pixels import opened, png_of

SD = {"native_px": 512, "multiple": 8, "min_px": 64, "fixed": None}
STARTER = {"native_px": 512, "multiple": 8, "min_px": 32, "fixed": (32, 32)}


def checker(width: int, height: int) -> Image.Image:
    """Every pixel has a colour of its own."""
    image = Image.new("RGBA", (width, height))
    image.putdata(
        [(x * 7 % 256, y * 11 % 256, (x + y) % 256, 255) for y in range(height) for x in range(width)]
    )
    return image


def test_each_pixel_of_a_canvas_is_drawn_as_a_square_near_the_models_own_size() -> None:
    place = window((64, 48), None, **SD)
    assert place == Window((0, 0, 64, 48), (512, 384), (512, 384))


def test_a_side_that_the_model_cannot_draw_is_filled_up_and_cut_off_again() -> None:
    place = window((50, 30), None, **SD)
    assert place.used == (500, 300)
    assert place.base == (504, 304)
    drawn = laid(png_of(checker(50, 30)), place, (255, 255, 255))
    assert opened(drawn).size == (504, 304)
    small = opened(taken(drawn, place)).resize((50, 30), Image.Resampling.NEAREST)
    assert small.tobytes() == checker(50, 30).convert("RGB").tobytes()


def test_a_selection_of_a_large_canvas_is_drawn_with_what_surrounds_it() -> None:
    place = window((900, 500), (400, 200, 440, 240), **SD)
    left, top, right, bottom = place.box
    assert (left, top) < (400, 200)
    assert (right, bottom) > (440, 240)
    assert right - left < 200, "and not with all of it"
    assert place.used[0] == (right - left) * 6


def test_a_selection_at_the_edge_stays_inside_the_canvas() -> None:
    assert window((900, 500), (0, 460, 40, 500), **SD).box == (0, 420, 80, 500)


def test_a_model_of_one_size_draws_a_small_selection_pixel_for_pixel() -> None:
    place = window((64, 64), (40, 40, 60, 60), **STARTER)
    assert place.box == (32, 32, 64, 64)
    assert place.used == place.base == (32, 32)


def test_a_model_of_one_size_draws_a_canvas_that_is_larger_smaller_and_one_that_is_smaller_larger() -> None:
    assert window((64, 48), None, **STARTER).used == (32, 24)
    assert window((16, 10), None, **STARTER).used == (32, 20)


def test_a_huge_canvas_is_not_drawn_at_its_size() -> None:
    place = window((4096, 2048), None, **SD)
    assert place.used == (1024, 512)


def test_a_selection_is_what_is_opaque_and_light() -> None:
    canvas = Image.new("RGBA", (4, 1))
    canvas.putdata([(255, 255, 255, 255), (255, 255, 255, 0), (0, 0, 0, 255), (200, 100, 100, 128)])
    mask = opened(selection(png_of(canvas)))
    assert mask.mode == "L"
    assert list(mask.get_flattened_data()) == [255, 0, 0, 255]
    assert selected(selection(png_of(canvas))) == (0, 0, 4, 1)
    assert selected(png_of(Image.new("L", (4, 4), 0))) is None


def test_a_mask_is_laid_as_the_canvas_is() -> None:
    mask = Image.new("L", (50, 30), 0)
    mask.putpixel((10, 5), 255)
    place = window((50, 30), None, **SD)
    assert opened(laid_mask(png_of(mask), place)).getbbox() == (100, 50, 110, 60)


def test_a_mask_that_is_shrunk_opens_whatever_it_touches() -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.putpixel((11, 11), 255)
    place = Window((0, 0, 64, 64), (32, 32), (32, 32))
    assert opened(laid_mask(png_of(mask), place)).getbbox() == (5, 5, 6, 6)


def test_outside_the_selection_every_pixel_stays_what_it_was() -> None:
    canvas = checker(40, 40)
    canvas.putpixel((0, 0), (1, 2, 3, 77))
    mask = Image.new("L", (40, 40), 0)
    mask.paste(255, (12, 12, 20, 20))
    place = Window((8, 8, 24, 24), (128, 128), (128, 128))
    sprite = Image.new("RGBA", (16, 16), (250, 0, 0, 255))
    result = opened(composed(png_of(canvas), png_of(mask), png_of(sprite), place))
    for y in range(40):
        for x in range(40):
            inside = 12 <= x < 20 and 12 <= y < 20
            assert result.getpixel((x, y)) == ((250, 0, 0, 255) if inside else canvas.getpixel((x, y)))


def test_what_is_transparent_lies_on_the_ground_that_was_chosen() -> None:
    canvas = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    drawn = laid(png_of(canvas), window((32, 32), None, **STARTER), (10, 20, 30))
    assert opened(drawn).getcolors() == [(1024, (10, 20, 30))]


def test_a_canvas_stands_free_when_its_border_is_mostly_transparent() -> None:
    canvas = Image.new("RGBA", (16, 16))
    canvas.paste((255, 0, 0, 255), (4, 4, 12, 16))
    assert is_free_standing(png_of(canvas))
    assert not is_free_standing(png_of(checker(16, 16)))


def test_the_colours_of_a_canvas_are_those_that_are_seen() -> None:
    canvas = Image.new("RGBA", (3, 1))
    canvas.putdata([(9, 9, 9, 255), (1, 1, 1, 255), (77, 77, 77, 0)])
    assert colors_of(png_of(canvas), 256) == ((1, 1, 1), (9, 9, 9))
    assert colors_of(png_of(canvas), 1) is None


def test_a_picture_that_is_moved_shows_its_edge_where_it_was() -> None:
    picture = Image.new("RGB", (4, 2))
    picture.putdata([(x, 0, 0) for _ in range(2) for x in range(4)])
    shifted, bare = moved(png_of(picture), 1, 0)
    assert [pixel[0] for pixel in opened(shifted).crop((0, 0, 4, 1)).get_flattened_data()] == [0, 0, 1, 2]
    assert list(opened(bare).crop((0, 0, 4, 1)).get_flattened_data()) == [255, 0, 0, 0]


@pytest.mark.parametrize("side", ["left", "right", "up", "down"])
@pytest.mark.parametrize("size", [(32, 32), (33, 20)])
def test_two_halves_make_the_tile_on_that_side(side: str, size: tuple[int, int]) -> None:
    """The world is one large picture; a drawing is what a perfect model would see through each mask."""
    width, height = size
    world = checker(3 * width, 3 * height).convert("RGB")
    place = Window((0, 0, width, height), size, size)
    tile = world.crop((width, height, 2 * width, 2 * height))
    step = step_of(size, side)

    def drawn(count: int, before: bytes) -> bytes:
        picture, bare = beside(before, place, side)
        left, top = width - count * step[0], height - count * step[1]
        perfect = world.crop((left, top, left + width, top + height))
        kept = opened(picture)
        kept.paste(perfect, mask=opened(bare))
        assert kept.tobytes() == perfect.tobytes(), "what was not masked was in its place"
        return png_of(kept)

    first = drawn(1, png_of(tile))
    second = drawn(2, first)
    right, down = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[side]
    left, top = width * (1 + right), height * (1 + down)
    wanted = world.crop((left, top, left + width, top + height))
    assert opened(joined(first, second, side, step)).tobytes() == wanted.tobytes()
