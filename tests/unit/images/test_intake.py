# SPDX-License-Identifier: Apache-2.0
"""Uploads of every kind, made safe or refused by name."""

import struct
import tracemalloc
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from inglenook.base.errors import InglenookError, Invalid, TooLarge
from inglenook.base.units import MIB
from inglenook.images import png
from inglenook.images.intake import Intake, fit_png, fit_to, intake, mask_from, overlaid, to_png

BYTES, PIXELS = 8 * MIB, 1_000_000


def take(data: bytes, max_bytes: int = BYTES, max_pixels: int = PIXELS) -> Intake:
    return intake(data, max_bytes=max_bytes, max_pixels=max_pixels)


def mask(data: bytes) -> np.ndarray[Any, Any]:
    """The mask's pixels, (height, width), 255 = redraw."""
    result = mask_from(data, max_bytes=BYTES, max_pixels=PIXELS)
    image = opened(result.png)
    assert image.mode == "L"
    assert image.size == (result.width, result.height)
    return np.asarray(image)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def pixels(result: Intake) -> np.ndarray[Any, Any]:
    image = opened(result.png)
    assert (image.mode, image.format, image.size) == ("RGB", "PNG", (result.width, result.height))
    return np.asarray(image)


def saved(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format_name, **options)
    return out.getvalue()


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: png.Chunk) -> bytes:
    """A PNG written by hand. `rows`: each row after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return png.join(
        [png.Chunk(b"IHDR", header), *extra, png.Chunk(b"IDAT", zlib.compress(rows)), png.Chunk(b"IEND", b"")]
    )


RAINBOW = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))


# formats that are taken


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (saved(RAINBOW), 0),
        (saved(RAINBOW, "BMP"), 0),
        (saved(RAINBOW, "WEBP", lossless=True), 0),
        (saved(RAINBOW.resize((8, 8)).resize((64, 64)), "JPEG", quality=100, subsampling=0), 3),
    ],
    ids=["png", "bmp", "webp", "jpeg"],
)
def test_a_picture_comes_out_as_it_was_as_plain_png(data: bytes, tolerance: int) -> None:
    result = take(data)
    expected = np.asarray(opened(data).convert("RGB")).astype(int)
    assert np.abs(pixels(result).astype(int) - expected).max() <= tolerance
    assert (result.had_alpha, result.own_mask, result.notes) == (False, None, ())


def test_what_comes_out_carries_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    data = saved(
        RAINBOW, exif=exif, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert [chunk.kind for chunk in png.chunks(take(data).png)] == [b"IHDR", b"IDAT", b"IEND"]


def test_only_the_first_picture_of_an_animation_is_used_and_it_is_said() -> None:
    red, green = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "lime")
    for format_name in ("GIF", "WEBP"):
        options = {"lossless": True} if format_name == "WEBP" else {}
        result = take(saved(red, format_name, save_all=True, append_images=[green], duration=50, **options))
        assert pixels(result)[0, 0].tolist() == [255, 0, 0]
        assert result.notes == ("only the first of its pictures was used",)
    still = take(saved(red, "GIF"))
    assert still.notes == ()


def test_an_animated_png_shows_its_default_picture() -> None:
    red, green = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "lime")
    result = take(saved(red, save_all=True, append_images=[green], duration=50))
    assert pixels(result)[0, 0].tolist() == [255, 0, 0]


def test_grey_in_16_bits_is_scaled_and_not_cut_off() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    result = take(saved(Image.fromarray(values)))
    assert pixels(result)[0, :, 0].tolist() == [0, 1, 1, 128, 255]
    assert result.notes == ("16 bits a pixel became 8",)


def test_colour_in_16_bits_is_scaled_and_not_cut_off() -> None:
    row = struct.pack(">6H", 0, 32768, 65535, 300, 300, 300)
    result = take(raw_png(2, 1, 16, 2, b"\0" + row, png.Chunk(b"tRNS", struct.pack(">3H", 1, 1, 1))))
    assert pixels(result)[0].tolist() == [[0, 128, 255], [1, 1, 1]]
    assert not result.had_alpha


def test_a_transparent_grey_in_16_bits_is_transparent() -> None:
    row = struct.pack(">2H", 500, 501)
    result = take(raw_png(2, 1, 16, 0, b"\0" + row, png.Chunk(b"tRNS", struct.pack(">H", 500))))
    assert result.had_alpha
    assert result.own_mask is not None
    assert np.asarray(opened(result.own_mask))[0].tolist() == [255, 0]


def test_a_cmyk_jpeg_has_its_colours_the_right_way_round() -> None:
    result = take(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    red = pixels(result)[8, 8].astype(int)
    assert red[0] > 240
    assert red[1:].max() < 20
    assert result.notes == ("its printing colours (CMYK) became RGB",)


def test_palette_grey_and_bilevel_pictures_become_rgb() -> None:
    for mode, expected in (("P", [255, 0, 0]), ("L", [76, 76, 76]), ("1", [0, 0, 0])):
        source = Image.new("RGB", (4, 4), "red").convert(mode, dither=Image.Dither.NONE)
        assert pixels(take(saved(source)))[0, 0].tolist() == expected


def test_transparency_of_every_kind_goes_onto_white_and_becomes_the_pictures_own_mask() -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([9, 9, 9, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    grey = Image.new("LA", (2, 1), (76, 255))
    grey.putpixel((0, 0), (0, 0))
    for data in (
        saved(rgba),
        saved(palette, transparency=0),
        saved(grey),
        saved(rgba, "WEBP", lossless=True),
        saved(rgba, "GIF"),
    ):
        result = take(data)
        assert pixels(result)[0, 0].tolist() == [255, 255, 255]
        assert pixels(result)[0, 1].tolist() in ([255, 0, 0], [76, 76, 76])
        assert result.had_alpha
        assert result.own_mask is not None
        assert np.asarray(opened(result.own_mask))[0].tolist() == [255, 0]
        assert "transparent parts were put on white" in result.notes


def test_an_alpha_channel_that_hides_nothing_is_no_transparency() -> None:
    result = take(saved(RAINBOW.convert("RGBA")))
    assert (result.had_alpha, result.own_mask) == (False, None)
    assert (pixels(result) == np.asarray(RAINBOW)).all()


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_by_its_exif_orientation(format_name: str, orientation: int) -> None:
    """Three colours, stored so that turning them back gives red top left, green top right, blue below."""
    upright = Image.new("RGB", (64, 32), "blue")
    upright.paste("red", (0, 0, 32, 16))
    upright.paste("lime", (32, 0, 64, 16))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = take(saved(stored, format_name, exif=exif, quality=100))
    assert (result.width, result.height) == (64, 32)
    seen = [pixels(result)[y, x].argmax() for y, x in ((4, 8), (4, 56), (28, 32))]
    assert seen == [0, 1, 2]
    assert result.notes == (() if orientation == 1 else ("it was turned upright",))


def test_broken_exif_turns_nothing_and_does_no_harm() -> None:
    good = list(png.chunks(saved(RAINBOW)))
    photograph = saved(RAINBOW, "JPEG")
    for block in (b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"\0" * 100):
        result = take(png.join([good[0], png.Chunk(b"eXIf", block), *good[1:]]))
        assert (pixels(result) == np.asarray(RAINBOW)).all()
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
        assert take(photograph[:2] + segment + photograph[2:]) == take(photograph)


# what is refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg>', "SVG"),
        ('<?xml version="1.0"?><svg>'.encode("utf-16-le"), "SVG"),
        (b"<!DOCTYPE html><html><script>alert(1)</script>", "HTML"),
        (b"  <html>", "HTML"),
        (b"<?xml version='1.0'?><rss/>", "XML"),
        (b"%PDF-1.7", "PDF"),
        (saved(RAINBOW, "TIFF"), "TIFF"),
        (saved(RAINBOW, "ICO"), "icon"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "film"),
        (b"PK\x03\x04", "zip"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound"),
        (b"data:image/png;base64,iVBORw0KGgo", "base64"),
        (b'{"image": 1}', "JSON"),
        (b"BM but no picture at all, only words", "not known"),
        (b"\x01\x02\x03\x04", "not known"),
    ],
)
def test_what_is_no_picture_that_we_take_is_called_by_its_name(data: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        take(data)
    assert (caught.value.code, caught.value.field) == ("picture.unsupported", "image")


def test_a_bomb_of_30000_by_30000_pixels_is_refused_from_its_header() -> None:
    """All of its 900 million pixels are there, packed into 110 kB a row of zeros at a time."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 30_000 // 8)
    body = b"".join(packer.compress(row) for _ in range(30_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    bomb = png.join([png.Chunk(b"IHDR", header), png.Chunk(b"IDAT", body), png.Chunk(b"IEND", b"")])
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="30000 × 30000") as caught:
            take(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "picture.too_large"
    assert peak < MIB


@pytest.mark.parametrize(
    "bomb",
    [
        b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0" + b";",
        b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\0\0\0\0"
        + b"\xff\x3f\0" * 2,
        b"RIFF" + struct.pack("<I", 18) + b"WEBPVP8L" + struct.pack("<I", 5) + b"\x2f\xff\xff\xff\x0f\0",
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + b"\1\x11\0" * 3 + b"\xff\xda\0\x02",
        b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 50_000, -50_000) + b"\0" * 60,
    ],
    ids=["gif", "webp", "webp lossless", "jpeg", "bmp"],
)
def test_a_bomb_of_every_format_is_refused_from_its_header(bomb: bytes) -> None:
    with pytest.raises(TooLarge) as caught:
        take(bomb)
    assert caught.value.code == "picture.too_large"


def test_a_gif_whose_frame_is_larger_than_its_screen_is_measured_by_the_frame() -> None:
    data = bytearray(saved(Image.new("P", (1200, 1200)), "GIF"))
    struct.pack_into("<HH", data, 6, 1, 1)
    with pytest.raises(TooLarge, match="1200 × 1200"):
        take(bytes(data))


def test_packed_text_and_profiles_that_are_bombs_never_reach_the_decoder() -> None:
    million = zlib.compress(b"\0" * (64 * MIB))
    good = list(png.chunks(saved(RAINBOW)))
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        bomb = png.join([good[0], *[png.Chunk(kind, head + million)] * 20, *good[1:]])
        tracemalloc.start()
        try:
            assert (pixels(take(bomb)) == np.asarray(RAINBOW)).all()
            assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 7_000_000,
        b"\xff\xd8" + b"\xff\x01" * 3_500_000,
        b"\xff\xd8" + b"\xff\xfe\0\2" * 1_700_000,
        b"\xff\xd8\xff" + b"\0" * 7_000_000,
        raw_png(1, 1, 8, 2, b"", *[png.Chunk(b"IDAT", b"")] * 600_000),
        b"RIFF" + struct.pack("<I", 8 * 800_000 + 4) + b"WEBP" + struct.pack("<4sI", b"ALPH", 0) * 800_000,
    ],
    ids=["padding", "bare markers", "segments", "stray bytes", "png chunks", "webp chunks"],
)
def test_a_file_of_a_million_parts_is_refused_without_a_million_objects(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Invalid) as caught:
            take(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code in {"picture.corrupt", "picture.truncated"}
    assert peak < 48 * MIB


def test_more_bytes_than_allowed_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(TooLarge, match="at most 100 B") as caught:
        take(b"not even a picture" * 10, max_bytes=100)
    assert caught.value.code == "picture.too_large"


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_picture_that_is_cut_off_is_called_so(format_name: str, share: float) -> None:
    data = saved(RAINBOW.resize((200, 200)), format_name)
    with pytest.raises(Invalid) as caught:
        take(data[: int(len(data) * share)])
    assert caught.value.code == "picture.truncated"
    assert caught.value.field == "image"


def test_a_png_without_its_last_byte_is_truncated() -> None:
    with pytest.raises(Invalid, match="cut off") as caught:
        take(saved(RAINBOW)[:-1])
    assert caught.value.code == "picture.truncated"


def test_a_png_whose_pixels_run_out_is_truncated_or_corrupt_and_never_half_a_picture() -> None:
    with pytest.raises(Invalid) as caught:
        take(raw_png(100, 100, 8, 2, b"\0" * 500))
    assert caught.value.code in {"picture.truncated", "picture.corrupt"}


def test_a_size_of_zero_is_corrupt() -> None:
    with pytest.raises(Invalid, match="0 × 5") as caught:
        take(raw_png(0, 5, 8, 2, b""))
    assert caught.value.code == "picture.corrupt"


seeds = st.sampled_from(
    [
        saved(RAINBOW),
        saved(RAINBOW.convert("P")),
        saved(RAINBOW, "JPEG"),
        saved(RAINBOW, "JPEG", progressive=True),
        saved(RAINBOW, "GIF"),
        saved(RAINBOW, "WEBP"),
        saved(RAINBOW, "WEBP", lossless=True),
        saved(RAINBOW, "BMP"),
        saved(RAINBOW.convert("RGBA"), "WEBP", save_all=True, append_images=[RAINBOW.convert("RGBA")]),
    ]
)
changes = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4)


@settings(max_examples=400, deadline=None)
@given(data=seeds, edits=changes, cut=st.integers(0, 3000))
def test_a_damaged_picture_is_decoded_or_refused_and_nothing_else(
    data: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(data)
    for at, value in edits:
        damaged[at % len(damaged)] = value
    refused = None
    try:
        result = take(bytes(damaged[: len(damaged) - cut % len(damaged)]))
    except InglenookError as error:
        refused = error.code
    if refused is not None:
        assert refused.startswith("picture.")
        return
    assert result.width * result.height <= PIXELS
    pixels(result)


@settings(max_examples=200)
@given(data=st.binary(max_size=100))
@example(data=b"GIF89a")
@example(data=b"BM" + b"\0" * 12 + b"\x28" + b"\0" * 30)
@example(data=b"RIFF\x04\0\0\0WEBP")
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InglenookError) as caught:
        take(data)
    assert caught.value.code.startswith("picture.")


# masks


def half_transparent() -> Image.Image:
    """Left half transparent, right half opaque; white everywhere."""
    image = Image.new("RGBA", (4, 2), (255, 255, 255, 255))
    image.paste((255, 255, 255, 0), (0, 0, 2, 2))
    return image


def test_what_is_transparent_is_redrawn() -> None:
    assert mask(saved(half_transparent())).tolist() == [[255, 255, 0, 0]] * 2


def test_without_transparency_white_is_redrawn() -> None:
    drawn = Image.new("L", (4, 2), 0)
    drawn.paste(255, (2, 0, 4, 2))
    for mode in ("L", "RGB", "P", "1", "RGBA"):
        assert mask(saved(drawn.convert(mode))).tolist() == [[0, 0, 255, 255]] * 2


def test_a_soft_edge_is_kept() -> None:
    soft = Image.fromarray(np.array([[0, 100, 200, 255]], np.uint8))
    assert mask(saved(soft)).tolist() == [[0, 100, 200, 255]]
    assert mask(saved(Image.merge("RGBA", [*RAINBOW.resize((4, 1)).split(), soft]))).tolist() == [
        [255, 155, 55, 0]
    ]


def test_a_mask_of_everything_is_allowed() -> None:
    assert mask(saved(Image.new("L", (2, 2), 255))).tolist() == [[255, 255]] * 2
    assert mask(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))).tolist() == [[255, 255]] * 2


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (4, 4), 0),
        Image.new("RGB", (4, 4), (90, 90, 90)),
        Image.new("RGBA", (4, 4), (0, 0, 0, 255)),
        Image.new("RGBA", (4, 4), (255, 255, 255, 255)),
        RAINBOW.convert("RGBA"),
        Image.new("LA", (4, 4), (255, 200)),
    ],
    ids=["black", "grey", "opaque black", "opaque white", "opaque photograph", "hardly transparent"],
)
def test_a_mask_that_would_redraw_nothing_is_refused(image: Image.Image) -> None:
    with pytest.raises(Invalid, match="nothing would be redrawn") as caught:
        mask(saved(image))
    assert (caught.value.code, caught.value.field) == ("picture.mask_empty", "mask")


def test_an_error_in_a_mask_names_the_mask() -> None:
    for bad in (b"", saved(RAINBOW)[:-5]):
        with pytest.raises(Invalid) as caught:
            mask(bad)
        assert caught.value.field == "mask"


# fitting


def test_fitting_keeps_shapes_and_cuts_the_overhang_evenly() -> None:
    """A red square in the middle of a wide picture stays a square, in the middle."""
    wide = Image.new("RGB", (400, 100), "white")
    wide.paste("red", (175, 25, 225, 75))
    fitted = np.asarray(fit_to(wide, 200, 200))
    red = np.argwhere(fitted[:, :, 1] < 128)
    assert np.abs(red.min(axis=0) - 50).max() <= 1
    assert np.abs(red.max(axis=0) - 149).max() <= 1


def test_a_mask_and_its_picture_stay_aligned() -> None:
    picture = Image.new("RGB", (90, 50), "black")
    picture.paste("white", (30, 10, 60, 40))
    fitted, fitted_mask = fit_to(picture, 64, 64), fit_to(picture.convert("L"), 64, 64)
    both = (np.asarray(fitted.convert("L")) > 128) == (np.asarray(fitted_mask) > 128)
    assert both.mean() > 0.99
    assert fitted_mask.mode == "L"


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    to_width=st.integers(1, 64),
    to_height=st.integers(1, 64),
)
@example(width=1, height=20_000, to_width=64, to_height=64)
def test_any_picture_fits_any_size_without_a_detour_over_a_huge_one(
    width: int, height: int, to_width: int, to_height: int
) -> None:
    assert fit_to(Image.new("RGB", (width, height), "red"), to_width, to_height).size == (to_width, to_height)


def test_a_file_of_the_right_size_is_handed_through() -> None:
    data = to_png(RAINBOW)
    assert fit_png(data, 30, 20) is data
    assert opened(fit_png(data, 8, 8)).size == (8, 8)


def _scribble(
    size: tuple[int, int] = (40, 30), background: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> bytes:
    image = Image.new("RGBA", size, background)
    image.paste((255, 0, 0, 255), (5, 5, 15, 15))
    return encoded(image)


def encoded(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_scribble_lies_on_the_picture() -> None:
    picture = encoded(Image.new("RGB", (40, 30), "blue"))
    joined = Image.open(BytesIO(overlaid(picture, _scribble(), max_bytes=10**6, max_pixels=10**6)))
    assert joined.mode == "RGB"
    assert joined.getpixel((10, 10)) == (255, 0, 0)
    assert joined.getpixel((30, 20)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("markup", "says"),
    [
        (_scribble((30, 40)), "30x40"),
        (_scribble(background=(0, 0, 0, 255)), "no transparent pixel"),
        (encoded(Image.new("RGBA", (40, 30), (0, 0, 0, 0))), "is empty"),
        (encoded(Image.new("RGB", (40, 30), "red")), "no transparent pixel"),
    ],
)
def test_a_markup_that_does_not_fit_is_refused(markup: bytes, says: str) -> None:
    picture = encoded(Image.new("RGB", (40, 30), "blue"))
    with pytest.raises(Invalid, match=says) as refused:
        overlaid(picture, markup, max_bytes=10**6, max_pixels=10**6)
    assert refused.value.field == "markup"
