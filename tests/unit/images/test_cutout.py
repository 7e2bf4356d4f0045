# SPDX-License-Identifier: Apache-2.0
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from inglenook.images.cutout import cut_out


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def cut(image: Image.Image) -> np.ndarray:
    freed = cut_out(png(image))
    assert freed is not None
    with Image.open(BytesIO(freed)) as opened:
        assert opened.mode == "RGBA"
        return np.asarray(opened)


def disc(background: str = "white", colour: str = "red", side: int = 64) -> Image.Image:
    large = Image.new("RGB", (side * 4, side * 4), background)
    ImageDraw.Draw(large).ellipse((side, side, side * 3, side * 3), fill=colour)
    return large.resize((side, side), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("background", ["white", "black", "#3060a0"])
def test_a_disc_loses_its_plain_background(background: str) -> None:
    rgba = cut(disc(background))
    assert rgba[0, 0, 3] == 0
    assert rgba[32, 32].tolist() == [255, 0, 0, 255]
    assert np.isin(rgba[..., 3], (0, 255)).mean() > 0.9


def test_the_seam_keeps_the_subjects_colour_and_not_the_walls() -> None:
    rgba = cut(disc("white")).astype(int)
    seam = (rgba[..., 3] > 40) & (rgba[..., 3] < 255)
    assert seam.any()
    assert (rgba[seam][:, 0] > 200).all()
    assert np.median(rgba[seam][:, 1]) < 90  # white mixed in would be near 128


def test_what_looks_like_the_background_inside_the_subject_stays() -> None:
    image = disc("white")
    ImageDraw.Draw(image).ellipse((28, 28, 36, 36), fill="white")
    assert cut(image)[32, 32].tolist() == [255, 255, 255, 255]


def test_noise_on_the_wall_does_not_stop_it() -> None:
    noisy = np.asarray(disc()).astype(int) + np.random.default_rng(0).integers(-8, 9, (64, 64, 3))
    rgba = cut(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    assert (rgba[:8, :, 3] == 0).all()


def test_a_busy_border_is_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert cut_out(png(Image.fromarray(noise))) is None


def test_a_winding_background_is_followed_to_its_end() -> None:
    spiral = Image.new("RGB", (65, 65), "black")
    pen = ImageDraw.Draw(spiral)
    for ring in range(0, 30, 4):  # corridors, one inside the other, joined at one gap each
        pen.rectangle((ring, ring, 64 - ring, 64 - ring), outline="white")
        pen.rectangle((ring + 1, ring + 1, 63 - ring, 63 - ring), outline="white")
        gap = (32, ring + 2, 33, ring + 3) if ring % 8 == 0 else (32, 61 - ring, 33, 62 - ring)
        pen.rectangle(gap, fill="white")
    rgba = cut(spiral)
    assert (rgba[..., 3][np.asarray(spiral)[..., 0] == 255] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_the_smallest_pictures_are_all_border(size: tuple[int, int]) -> None:
    assert (cut(Image.new("RGB", size, "white"))[..., 3] == 0).all()
