# SPDX-License-Identifier: Apache-2.0
"""Drawings of models that draw one shape only, in the shape that was asked for."""

import io

import pytest
from PIL import Image

from inglenook.sprites.shape import shaped


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def drawing() -> Image.Image:
    """A red square before a ground that is green on the left and blue on the right."""
    image = Image.new("RGB", (32, 32), "green")
    image.paste("blue", (16, 0, 32, 32))
    image.paste("red", (8, 8, 24, 24))
    return image


@pytest.mark.parametrize(
    ("base", "size"),
    [
        ((128, 64), (64, 32)),
        ((64, 128), (32, 64)),
        ((848, 480), (57, 32)),
        ((512, 512), (32, 32)),
        ((500, 512), (32, 32)),
        (None, (32, 32)),
    ],
)
def test_a_drawing_gets_the_proportions_that_were_asked_for(
    base: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(shaped(png(drawing()), base))) as made:
        assert made.size == size
        left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
        whole = made.crop((left, top, left + 32, top + 32)).convert("RGB")
        assert whole.tobytes() == drawing().tobytes(), "nothing of it is cut or pressed"


def test_its_ground_goes_on_to_the_edge() -> None:
    with Image.open(io.BytesIO(shaped(png(drawing()), (128, 64)))) as made:
        colours = [made.convert("RGB").getpixel((x, 5)) for x in (0, 15, 48, 63)]
    assert colours == [(0, 128, 0), (0, 128, 0), (0, 0, 255), (0, 0, 255)]


def test_a_drawing_that_fits_is_left_as_it_is() -> None:
    assert shaped(png(drawing()), (1024, 1024)) == png(drawing())
