# SPDX-License-Identifier: Apache-2.0
"""Small pictures: as they are meant to be looked at, in a format that browsers show, made once."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.studio_bench import ANNA, add, fill, png, project, studio_in

from inglenook.base.errors import Invalid, NotFound, TooLarge
from inglenook.studio.datasets.thumbnails import ThumbnailMaker, small

RED, BLUE = (255, 0, 0), (0, 0, 255)


def made(path: Path, side_px: int = 128) -> Image.Image:
    image = Image.open(BytesIO(small(path, side_px=side_px, max_pixels=10_000_000)))
    assert image.format == "WEBP"
    return image


def save(path: Path, image: Image.Image, format_: str, **options: Any) -> Path:
    image.save(path, format_, **options)
    return path


def test_a_thumbnail_fits_and_keeps_its_shape(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (1000, 500)), "JPEG")
    assert made(path).size == (128, 64)
    assert made(path, 256).size == (256, 128)
    tiny = save(tmp_path / "b.png", Image.new("RGB", (5, 3)), "PNG")
    assert made(tiny).size == (5, 3)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_what_a_camera_says_of_its_rotation_is_done(tmp_path: Path, format_: str) -> None:
    """Orientation 6: the upper half of the scene is the left half of the file."""
    image = Image.new("RGB", (400, 200), BLUE)
    image.paste(RED, (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    small_one = made(save(tmp_path / "a", image, format_, exif=exif)).convert("RGB")
    assert small_one.size == (64, 128)
    top, bottom = small_one.getpixel((32, 10)), small_one.getpixel((32, 118))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > top[2]
    assert bottom[2] > 200 > bottom[0]


@pytest.mark.parametrize(
    ("mode", "format_"),
    [
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "GIF"),
        ("1", "PNG"),
        ("CMYK", "JPEG"),
        ("RGBA", "WEBP"),
        ("F", "TIFF"),
    ],
)
def test_pictures_of_every_mode_are_made_small(tmp_path: Path, mode: str, format_: str) -> None:
    assert made(save(tmp_path / "a", Image.new(mode, (300, 300)), format_)).size == (128, 128)


def test_transparency_is_kept(tmp_path: Path) -> None:
    assert made(save(tmp_path / "a", Image.new("RGBA", (300, 300), (1, 2, 3, 0)), "PNG")).mode == "RGBA"


def test_sixteen_bits_of_grey_are_not_all_white(tmp_path: Path) -> None:
    ramp = np.linspace(20_000, 60_000, 300, dtype=np.uint16)[None, :].repeat(300, 0)
    values = np.asarray(made(save(tmp_path / "a", Image.fromarray(ramp), "TIFF")).convert("L"))
    assert values[:, 3].mean() < 20
    assert values[:, -4].mean() > 235
    assert 100 < values[:, 64].mean() < 155


def test_what_is_no_picture_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(Invalid, match=r"a\.png cannot be decoded"):
        small(tmp_path / "a.png", side_px=128, max_pixels=100)
    (tmp_path / "cut.png").write_bytes(png(64)[:60])
    with pytest.raises(Invalid):
        small(tmp_path / "cut.png", side_px=128, max_pixels=10_000)
    with pytest.raises(NotFound):
        small(tmp_path / "b.png", side_px=128, max_pixels=100)
    with pytest.raises(TooLarge, match="8 × 8 pixels; 50 are allowed"):
        small(save(tmp_path / "c.png", Image.new("1", (8, 8)), "PNG"), side_px=128, max_pixels=50)
    (tmp_path / "huge.png").write_bytes(with_sides(png(), 30_000))
    with pytest.raises(TooLarge, match="64000000"):
        small(tmp_path / "huge.png", side_px=128, max_pixels=64_000_000)


def with_sides(data: bytes, side_px: int) -> bytes:
    """A PNG whose header says that it is that large."""
    header = b"IHDR" + struct.pack(">II", side_px, side_px) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def test_a_thumbnail_is_made_once_and_kept(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        pets = project(studio)
        fill(studio, pets.id, {"cats": 1}, make=lambda *_: png(300))
        record = studio.datasets.get(pets.id, "cats_0.png")
        path = studio.datasets.thumbnail(pets.id, record, side_px=128).result()
        before = path.stat()
        assert studio.datasets.thumbnail(pets.id, record, side_px=128).result() == path
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert Image.open(path).size == (128, 128)
        assert Image.open(studio.datasets.thumbnail(pets.id, record).result()).size == (256, 256)


def test_many_who_ask_at_once_wait_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(2000))
    maker = ThumbnailMaker(max_pixels=10_000_000)
    try:
        futures = [maker.make(tmp_path / "a.png", tmp_path / "small.webp", 128) for _ in range(20)]
        assert {it.result() for it in futures} == {tmp_path / "small.webp"}
        assert not maker._under_way
    finally:
        maker.close()


def test_a_thumbnail_that_came_with_the_import_is_used(tmp_path: Path) -> None:
    with studio_in(tmp_path) as studio:
        pets = project(studio)
        staging = studio.datasets.begin(pets.id, "replace", by=ANNA, source_format="f", source_path="/")
        (staging.folder / "t.webp").write_bytes(b"given")
        add(staging, "a.png", png(), thumbnail="t.webp")
        staging.commit("1")
        record = studio.datasets.get(pets.id, "a.png")
        assert studio.datasets.thumbnail(pets.id, record).result().read_bytes() == b"given"
