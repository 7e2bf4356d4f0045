# SPDX-License-Identifier: Apache-2.0
import struct
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inglenook.base.errors import Invalid, TooLarge
from inglenook.pixels.palette_files import MAX_BYTES, PaletteFormat, read_palette, write_palette
from inglenook.pixels.palettes import NamedPalette, builtin

FORMATS = get_args(PaletteFormat)
SUFFIXES = {one: one for one in FORMATS} | {"riff": "pal"}
COLORS = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=256, unique=True)
RED_AND_BLUE = ((255, 0, 0), (0, 0, 255))


def grey(count):
    return [(one % 256, one // 256, 7) for one in range(count)]


def refused(data, name="p"):
    with pytest.raises((Invalid, TooLarge)) as caught:
        read_palette(data, name)
    assert caught.value.field == "palette"
    assert caught.value.code.startswith("palette.")
    return caught.value


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=15, deadline=None)
@given(colors=COLORS)
def test_what_is_written_is_read_again_in_its_order(kind, colors):
    data = write_palette(NamedPalette("mine", "Mine", tuple(colors)), kind)
    assert read_palette(data, f"mine.{SUFFIXES[kind]}").colors == tuple(colors)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_largest_palette_goes_through_every_format(kind):
    full = builtin()["rgb-332"]
    assert read_palette(write_palette(full, kind), f"x.{SUFFIXES[kind]}").colors == full.colors


def test_the_palette_is_called_what_the_file_says_or_else_what_the_file_is_called():
    gpl = write_palette(NamedPalette("x", "Héarth & Co", RED_AND_BLUE), "gpl")
    assert (read_palette(gpl, "a.gpl").title, read_palette(gpl, "a.gpl").name) == ("Héarth & Co", "h-arth-co")
    assert read_palette(b"ff0000\n", "C:\\art\\My Sea.hex").title == "My Sea"
    assert read_palette(b"ff0000\n", "\x1b[2J.hex").title == "[2J"
    assert read_palette(b"ff0000\n", "").name == "palette"


def test_gimps_files_are_read_with_comments_columns_and_names():
    text = b"GIMP Palette\r\nName: Two\r\nColumns: 4\r\n# red: warm\r\n255   0   0\tRed\r\n\r\n  0 0 255\r\n"
    assert read_palette(text, "x").colors == RED_AND_BLUE


def test_aseprites_gimp_files_with_alpha_leave_transparent_entries_out():
    text = b"GIMP Palette\nChannels: RGBA\n#\n0 0 0 0 mask\n255 0 0 255 red\n0 0 255 255\n"
    assert read_palette(text, "x").colors == RED_AND_BLUE


def test_gimps_files_in_latin_1_are_read():
    assert read_palette(b"GIMP Palette\nName: Grun\xfc\n255 0 0 rouge fonc\xe9\n", "x").title == "Grunü"


def test_hex_files_may_have_a_mark_a_hash_and_any_line_end():
    assert read_palette(b"\xef\xbb\xbf#FF0000\r\n0000ff", "x.hex").colors == RED_AND_BLUE


def test_photoshops_table_says_how_many_count_and_which_is_transparent():
    table = bytes((255, 0, 0, 9, 9, 9, 0, 0, 255)).ljust(768, b"\0")
    assert read_palette(table + struct.pack(">HH", 3, 1), "x.act").colors == RED_AND_BLUE
    assert read_palette(table, "x.ACT").colors == ((255, 0, 0), (9, 9, 9), (0, 0, 255), (0, 0, 0))


def test_microsofts_files_may_have_other_parts_before_the_colours():
    body = struct.pack("<HH", 0x300, 2) + bytes((255, 0, 0, 0, 0, 0, 255, 0))
    data = b"offl" + struct.pack("<I", 3) + b"abc\0" + b"data" + struct.pack("<I", len(body)) + body
    assert (
        read_palette(b"RIFF" + struct.pack("<I", 4 + len(data)) + b"PAL " + data, "x").colors == RED_AND_BLUE
    )


def palette_or_refusal(data, name):
    try:
        colors = read_palette(data, name).colors
    except (Invalid, TooLarge) as error:
        if error.field != "palette":
            raise
        return None
    assert 1 <= len(set(colors)) == len(colors) <= 256
    return colors


def picture(pixels, **how):
    out = BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(out, "PNG", **how)
    return out.getvalue()


def test_a_pictures_colours_come_in_the_order_in_which_they_are_met():
    rows = np.repeat(np.repeat([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 255, 255]]], 8, 0), 8, 1)
    assert read_palette(picture(rows), "x.png").colors == RED_AND_BLUE


def test_a_colour_that_comes_twice_counts_once():
    assert read_palette(b"ff0000\n0000ff\nff0000\n", "x").colors == RED_AND_BLUE
    assert len(read_palette(b"ff0000\n" * 1000, "x").colors) == 1


EMPTY = {
    "gpl": b"GIMP Palette\nName: nothing\n",
    "pal": b"JASC-PAL\n0100\n0\n",
    "riff": b"RIFF\x10\0\0\0PAL data\4\0\0\0\0\3\0\0",
    "hex": b"\n\n",
    "nothing": b"",
    "png": picture([[[1, 2, 3, 0]]]),
    "act": bytes(768) + struct.pack(">HH", 0, 0),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_palette_without_a_colour_is_refused(kind):
    assert refused(EMPTY[kind], f"x.{kind}").code == "palette.size"


@pytest.mark.parametrize(
    "data",
    [
        b"GIMP Palette\n" + b"".join(b"%d %d %d\n" % color for color in grey(257)),
        b"JASC-PAL\n0100\n257\n" + b"".join(b"%d %d %d\n" % color for color in grey(257)),
        b"".join(b"%02x%02x%02x\n" % color for color in grey(257)),
        b"RIFF\0\0\0\0PAL data" + struct.pack("<IHH", 4 + 4 * 257, 0x300, 257)
        + b"".join(bytes((*color, 0)) for color in grey(257)),
        picture([grey(257)]),
    ],
    ids=["gpl", "pal", "hex", "riff", "png"],
)  # fmt: skip
def test_257_colours_are_refused(data):
    assert refused(data).code == "palette.size"


@pytest.mark.parametrize("kind", ["riff", "act", "aseprite", "png"])
def test_a_binary_file_that_was_cut_off_is_refused_unless_all_colours_are_there(kind):
    palette = builtin()["pico-8"]
    whole = write_palette(palette, kind)
    for length in range(0, len(whole), 7):
        found = palette_or_refusal(whole[:length], f"x.{SUFFIXES[kind]}")
        assert found in (None, palette.colors)


@pytest.mark.parametrize("kind", ["gpl", "pal", "hex"])
def test_a_text_file_that_was_cut_off_has_at_most_the_colours_before_the_cut(kind):
    palette = builtin()["pico-8"]
    whole = write_palette(palette, kind)
    for length in range(0, len(whole), 7):
        found = palette_or_refusal(whole[:length], f"x.{SUFFIXES[kind]}") or ()
        # the last number may have lost a digit
        assert found[:-1] == palette.colors[: len(found)][:-1]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIMP Palette\n99999999999999999999999999 0 0\n", "x.gpl"),
        (b"GIMP Palette\n256 0 0\n", "x.gpl"),
        (b"GIMP Palette\n-1 0 0\n", "x.gpl"),
        (b"GIMP Palette\n" + b"9" * 10_000 + b"\n", "x.gpl"),
        (b"JASC-PAL\n0100\n99999999999999999999\n1 2 3\n", "x.pal"),
        (b"JASC-PAL\n0100\n99999\n1 2 3\n", "x.pal"),
        (b"JASC-PAL\n0100\n-1\n1 2 3\n", "x.pal"),
        (b"JASC-PAL\n", "x.pal"),
        (b"RIFF\xff\xff\xff\xffPAL data\xff\xff\xff\xff\0\3\xff\xff", "x.pal"),
        (b"RIFF\xff\xff\xff\xffPAL junk\xff\xff\xff\xff", "x.pal"),
        (b"RIFF\0\0\0\0WAVE", "x.pal"),
        (b"ff00", "x.hex"),
        (b"ff0000ff", "x.hex"),
        (b"gg0000", "x.hex"),
        (bytes(767), "x.act"),
        (bytes(range(256)) * 4, "x.bin"),
        (b"\x89PNG\r\n\x1a\n", "x.png"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "x.png"),
        (b"\0\0\0\0\xe0\xa5" + b"\xff" * 200, "x.aseprite"),
    ],
)
def test_what_is_no_palette_is_refused_in_words(data, name):
    assert refused(data, name).hint


def test_a_file_of_many_megabytes_is_refused_before_it_is_read():
    assert refused(bytes(MAX_BYTES + 1)).code == "palette.too_large"


def test_a_huge_picture_is_refused_before_it_is_unpacked():
    small = bytearray(picture([[[1, 2, 3]]]))
    small[16:24] = struct.pack(">II", 60_000, 60_000)
    assert refused(bytes(small)).code == "palette.too_large"


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from(
        [
            b"",
            b"GIMP Palette\n",
            b"JASC-PAL\n0100\n",
            b"RIFF\0\0\0\0PAL data",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        ]
    ),
    rest=st.binary(max_size=200) | st.text(alphabet="0123456789 -\n#abf:", max_size=80).map(str.encode),
    name=st.sampled_from(["x", "x.act", "x.hex", "x.gpl"]),
)
def test_whatever_the_bytes_are_a_palette_or_a_refusal_comes_out(start, rest, name):
    palette_or_refusal(start + rest, name)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(FORMATS), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_one_wrong_byte_in_a_good_file_does_no_harm(kind, at, byte):
    data = bytearray(write_palette(builtin()["pico-8"], kind))
    data[at % len(data)] = byte
    palette_or_refusal(bytes(data), f"x.{SUFFIXES[kind]}")
