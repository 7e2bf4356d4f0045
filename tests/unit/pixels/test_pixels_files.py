# SPDX-License-Identifier: Apache-2.0
import io
import json
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image, ImageSequence

from inglenook.base.errors import Invalid
from inglenook.pixels.files import Spec, write
from inglenook.pixels.files.icons import icon
from inglenook.pixels.files.sheet import layout
from inglenook.pixels.files.spec import MAX_PIXELS_WRITTEN, Tag
from inglenook.testing.parts import require

PALETTE = ((255, 0, 77), (0, 0, 0), (41, 173, 255), (255, 241, 232))
FEW = nps.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(7), st.just(5)), elements=st.integers(0, 4))


def frames_of(indices, palette=PALETTE):
    """RGBA frames of indices (n, h, w); the index behind the last colour is transparent."""
    table = np.array([(*color, 255) for color in palette] + [(0, 0, 0, 0)], np.uint8)
    return list(table[indices])


def some(count, colors=5, shape=(7, 5), seed=0):
    return frames_of(np.random.default_rng(seed).integers(0, colors, (count, *shape)))


def any_pixels(count, shape=(6, 7), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape, 4), dtype=np.uint8))


def opened(data):
    return Image.open(io.BytesIO(data))


def same(found, wanted):
    """Whether both look the same: the colour under alpha 0 is never seen."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    seen = wanted[..., 3] > 0
    return (
        found.shape == wanted.shape and (found[seen] == wanted[seen]).all() and not found[~seen][:, 3].any()
    )


def played(data):
    """All frames of an animation as RGBA, and how long each is shown."""
    with opened(data) as image:
        frames = [
            (np.asarray(one.convert("RGBA")), one.info["duration"]) for one in ImageSequence.Iterator(image)
        ]
    return [one for one, _ in frames], [duration for _, duration in frames]


# PNG


@given(FEW)
@settings(max_examples=25, deadline=None)
def test_a_png_is_indexed_in_the_order_of_its_palette(indices):
    frame = frames_of(indices[:1])[0]
    with opened(write([frame], Spec("png", palette=PALETTE)).data) as image:
        assert image.mode == "P"
        assert image.getpalette()[: 3 * len(PALETTE)] == [level for color in PALETTE for level in color]
        assert (np.asarray(image) == indices[0]).all()
        assert same(image.convert("RGBA"), frame)


def test_256_opaque_colours_are_indexed_and_with_a_transparent_pixel_they_are_not():
    palette = tuple((level, 0, 255 - level) for level in range(256))
    frame = frames_of(np.arange(256).reshape(1, 16, 16), palette)[0]
    with opened(write([frame], Spec("png", palette=palette)).data) as image:
        assert image.mode == "P"
        assert same(image.convert("RGBA"), frame)
    frame[0, 0] = 0
    with opened(write([frame], Spec("png", palette=palette)).data) as image:
        assert image.mode == "RGBA"
        assert same(image, frame)


def test_more_colours_or_soft_alpha_make_an_rgba_png_that_is_exact():
    for frame in any_pixels(1, (40, 40)):
        with opened(write([frame], Spec("png")).data) as image:
            assert (np.asarray(image) == frame).all()


def test_a_transparent_png_and_one_of_one_colour_are_written():
    for frame in (np.zeros((3, 2, 4), np.uint8), np.full((3, 2, 4), 255, np.uint8)):
        with opened(write([frame], Spec("png")).data) as image:
            assert image.mode == "P"
            assert same(image.convert("RGBA"), frame)


def test_enlarging_makes_squares_of_pixels():
    frame = some(1)[0]
    with opened(write([frame], Spec("png", scale=3)).data) as image:
        large = np.asarray(image.convert("RGBA"))
    assert large.shape == (21, 15, 4)
    assert same(large[1::3, 2::3], frame)


# GIF and WebP


@pytest.mark.parametrize("kind", ["gif", "webp"])
@given(FEW)
@settings(max_examples=20, deadline=None)
def test_every_frame_of_an_animation_is_exact_even_if_two_are_alike(kind, indices):
    frames = [*frames_of(indices), frames_of(indices)[-1]]
    found, durations = played(write(frames, Spec(kind, palette=PALETTE if kind == "gif" else None)).data)
    assert len(found) == len(frames)
    assert durations == [100] * len(frames)
    assert all(same(one, frame) for one, frame in zip(found, frames, strict=True))


def test_a_gifs_durations_are_hundredths_whose_sum_stays():
    asked = (33, 33, 34, 16, 4, 1000)
    _, durations = played(write(some(6), Spec("gif", durations_ms=asked)).data)
    assert durations == [30, 40, 30, 20, 20, 1000]
    _, durations = played(write(some(6), Spec("webp", durations_ms=asked)).data)
    assert durations == list(asked)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_loops_if_asked(kind):
    with opened(write(some(2), Spec(kind, loop=True)).data) as image:
        assert image.info["loop"] == 0
    with opened(write(some(2), Spec(kind, loop=False)).data) as image:
        assert image.info.get("loop", 1) == 1


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_one_frame_is_a_picture(kind):
    with opened(write(some(1), Spec(kind, scale=2)).data) as image:
        assert not getattr(image, "is_animated", False)
        assert same(np.asarray(image.convert("RGBA"))[::2, ::2], some(1)[0])


def test_gif_frames_of_different_colours_have_palettes_of_their_own():
    rng = np.random.default_rng(3)
    frames = [
        np.dstack([rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), np.full((12, 12), 255)])
        for _ in range(3)
    ]
    frames = [frame.astype(np.uint8) for frame in frames]
    frames[1][3:5, 3:5] = 0
    found, _ = played(write(frames, Spec("gif")).data)
    assert all(same(one, frame) for one, frame in zip(found, frames, strict=True))


def test_what_a_gif_cannot_hold_is_refused_and_webp_holds_it():
    soft = any_pixels(2)
    with pytest.raises(Invalid, match="partly transparent") as caught:
        write(soft, Spec("gif"))
    assert caught.value.field == "frames"
    many = any_pixels(1, (20, 20))
    many[0][..., 3] = 255
    with pytest.raises(Invalid, match="more colours"):
        write(many, Spec("gif"))
    for frames in (soft, many):
        found, _ = played(write([*frames, frames[0]], Spec("webp")).data)
        assert all((one == frame).all() for one, frame in zip(found, [*frames, frames[0]], strict=True))


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("colors", [1, 2, 4, 5])
def test_ffmpeg_sees_the_same_pixels(kind, colors, tmp_path):
    ffmpeg = shutil.which("ffmpeg")
    require(ffmpeg is not None, "the program ffmpeg")
    if kind == "webp":
        listed = subprocess.run(
            [ffmpeg, "-hide_banner", "-demuxers"], capture_output=True, text=True, check=True
        )
        frames = some(1, colors)
        if "webp_anim" in listed.stdout:
            frames = some(3, colors)
    else:
        frames = some(3, colors)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(write(frames, Spec(kind)).data)
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        path,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgba",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    found = np.frombuffer(raw, np.uint8).reshape(-1, 7, 5, 4)
    assert len(found) == len(frames)
    assert all(same(one, frame) for one, frame in zip(found, frames, strict=True))


# Sheets


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_sheet_in_asepites_layout_says_where_each_frame_is_and_how_long_it_stays():
    frames = some(5)
    tags = (Tag("walk", 0, 2), Tag("turn", 3, 4, "ping-pong"))
    order = Spec(
        "sheet-aseprite", durations_ms=(10, 20, 30, 40, 50), tags=tags, padding=2, scale=2, name="hero"
    )
    files = unzipped(write(frames, order).data)
    told = json.loads(files["hero.json"])
    sheet = np.asarray(opened(files["hero.png"]).convert("RGBA"))
    assert told["meta"]["image"] == "hero.png"
    assert told["meta"]["size"] == {"w": sheet.shape[1], "h": sheet.shape[0]}
    assert told["meta"]["frameTags"] == [
        {"name": "walk", "from": 0, "to": 2, "direction": "forward"},
        {"name": "turn", "from": 3, "to": 4, "direction": "pingpong"},
    ]
    assert [one["duration"] for one in told["frames"]] == [10, 20, 30, 40, 50]
    for one, frame in zip(told["frames"], frames, strict=True):
        box = one["frame"]
        assert (box["w"], box["h"]) == (10, 14)
        assert same(sheet[box["y"] : box["y"] + 14, box["x"] : box["x"] + 10][::2, ::2], frame)
    between = np.ones(sheet.shape[:2], bool)
    for one in told["frames"]:
        box = one["frame"]
        between[box["y"] : box["y"] + 14, box["x"] : box["x"] + 10] = False
    assert not sheet[between].any()


def test_a_sheet_in_texturepackers_layout_names_frames_and_animations():
    frames = some(12)
    tags = (Tag("walk", 0, 2), Tag("back", 9, 11, "reverse"), Tag("idle", 3, 6, "ping-pong"))
    files = unzipped(write(frames, Spec("sheet-texturepacker", tags=tags, columns=12, name="hero")).data)
    told = json.loads(files["hero.json"])
    sheet = np.asarray(opened(files["hero.png"]).convert("RGBA"))
    assert sheet.shape == (7, 60, 4)
    assert list(told["frames"])[-1] == "hero_11.png"
    assert told["animations"] == {
        "walk": ["hero_00.png", "hero_01.png", "hero_02.png"],
        "back": ["hero_11.png", "hero_10.png", "hero_09.png"],
        "idle": ["hero_03.png", "hero_04.png", "hero_05.png", "hero_06.png", "hero_05.png", "hero_04.png"],
    }
    for name, frame in zip(sorted(told["frames"]), frames, strict=True):
        box = told["frames"][name]["frame"]
        assert same(sheet[:, box["x"] : box["x"] + 5], frame)


@given(
    st.integers(1, 256),
    st.integers(1, 64),
    st.integers(1, 64),
    st.none() | st.integers(1, 300),
    st.integers(0, 4),
)
def test_cells_never_overlap_and_never_leave_the_sheet(count, width, height, columns, padding):
    places, (across, down) = layout(count, width, height, columns, padding)
    assert len(set(places)) == len(places) == count
    assert all(x % (width + padding) == y % (height + padding) == 0 for x, y in places)
    assert max(x for x, _ in places) + width <= across
    assert max(y for _, y in places) + height == down
    if columns is None:
        assert across <= 2 * down + 2 * (width + padding) or count == 1


def test_the_same_frames_give_the_same_bytes():
    for kind in (
        "png",
        "gif",
        "webp",
        "aseprite",
        "sheet-aseprite",
        "sheet-texturepacker",
        "ico",
        "icons",
        "rgba",
    ):
        frames = some(1)
        assert write(frames, Spec(kind)).data == write(frames, Spec(kind)).data


# Icons


def test_an_ico_holds_each_size_by_whole_factors():
    sprite = some(1, shape=(24, 20))[0]
    with opened(write([sprite], Spec("ico")).data) as image:
        assert image.info["sizes"] == {(side, side) for side in (32, 48, 64, 128, 256)}
        for side in (32, 48, 64, 128, 256):
            image.size = (side, side)
            found = np.asarray(image.convert("RGBA"))
            factor = side // 24
            large = sprite.repeat(factor, 0).repeat(factor, 1)
            top, left = (side - 24 * factor) // 2, (side - 20 * factor) // 2
            assert same(found[top : top + 24 * factor, left : left + 20 * factor], large)
            assert (found[..., 3] > 0).sum() == (large[..., 3] > 0).sum()


def test_a_sprite_larger_than_the_largest_icon_is_refused():
    with pytest.raises(Invalid, match="257 x 3 pixels") as caught:
        write([np.zeros((3, 257, 4), np.uint8)], Spec("ico"))
    assert caught.value.field == "frames"


@pytest.mark.parametrize("side", [1, 33, 256])
def test_an_icon_set_has_what_web_android_and_apple_ask_for(side):
    sprite = np.full((side, side, 4), 255, np.uint8)
    sprite[..., :3] = PALETTE[0]
    files = unzipped(write([sprite], Spec("icons", name="hearth")).data)
    manifest = json.loads(files["web/site.webmanifest"])
    assert manifest["name"] == "hearth"
    for one in manifest["icons"]:
        size = tuple(map(int, one["sizes"].split("x")))
        assert opened(files[f"web/{one['src']}"]).size == size
    catalogue = json.loads(files["apple/AppIcon.appiconset/Contents.json"])
    for one in catalogue["images"]:
        points = float(one["size"].split("x")[0]) * int(one.get("scale", "1x")[0])
        assert opened(files[f"apple/AppIcon.appiconset/{one['filename']}"]).size == (points, points)
    for name, data in files.items():
        if name.endswith(".png"):
            pixels = np.asarray(opened(data).convert("RGBA"))
            opaque = name in ("web/icon-maskable-512.png", "web/apple-touch-icon.png") or "/ios-" in name
            assert (pixels[..., 3] == 255).all() or not opaque
            assert (pixels == (*PALETTE[0], 255)).all(-1).any()
    assert ("web/apple-touch-icon.png" in files) == (side <= 180)
    assert ("web/favicon-16.png" in files) == (side <= 16)


def test_the_corners_of_a_maskable_icon_lie_in_the_circle_that_is_never_cut():
    sprite = np.full((16, 16, 4), 255, np.uint8)
    sprite[..., :3] = 0
    pixels = icon(sprite, 512, 0.8 / 2**0.5, (255, 255, 255))
    y, x = np.nonzero(pixels[..., 0] == 0)
    assert np.hypot(y - 255.5, x - 255.5).max() < 0.4 * 512


# What is asked for wrongly


@pytest.mark.parametrize(
    ("frames", "order", "field"),
    [
        ([], {}, "frames"),
        (some(1) * 257, {}, "frames"),
        ([*some(1), *some(1, shape=(5, 5))], {}, "frames"),
        ([np.zeros((0, 4, 4), np.uint8)], {}, "frames"),
        ([np.zeros((1, 4097, 4), np.uint8)], {}, "frames"),
        (some(2), {"format": "png"}, "format"),
        (some(2), {"format": "ico"}, "format"),
        (some(2), {"format": "icons"}, "format"),
        (some(2), {"layers": ("a", "b")}, "layers"),
        (some(2), {"format": "aseprite", "layers": ("a",)}, "layers"),
        (some(2), {"format": "aseprite", "layers": ("a", "b"), "durations_ms": (1, 2)}, "durations_ms"),
        (some(2), {"durations_ms": (100,)}, "durations_ms"),
        (some(2), {"durations_ms": (100, 0)}, "durations_ms"),
        (some(2), {"durations_ms": (100, 65_536)}, "durations_ms"),
        (some(2), {"tags": (Tag("a", 0, 2),)}, "tags"),
        (some(2), {"tags": (Tag("a", 1, 0),)}, "tags"),
        (some(2), {"tags": (Tag("", 0, 1),)}, "tags"),
        (some(2), {"tags": (Tag("a\nb", 0, 1),)}, "tags"),
        (some(1), {"palette": ()}, "palette"),
        (some(1), {"palette": ((0, 0, 0),) * 257}, "palette"),
        (some(1), {"palette": ((1, 1, 1),)}, "palette"),
        (some(1), {"scale": 0}, "scale"),
        (some(1), {"scale": 65}, "scale"),
        (some(1), {"format": "aseprite", "scale": 2}, "scale"),
        ([np.zeros((4096, 4096, 4), np.uint8)], {"scale": 3}, "scale"),
        ([np.zeros((4, 4096, 4), np.uint8)], {"scale": 4}, "scale"),
        (some(1), {"padding": -1}, "padding"),
        (some(1), {"columns": 0}, "columns"),
        (some(1), {"name": ""}, "name"),
        (some(1), {"name": "../../etc/passwd"}, "name"),
        (some(1), {"name": "a\\b"}, "name"),
        (some(1), {"name": ".."}, "name"),
        (some(1), {"name": "x" * 65}, "name"),
    ],
)
def test_an_order_that_cannot_be_carried_out_names_its_field(frames, order, field):
    with pytest.raises(Invalid) as caught:
        write(frames, Spec(**{"format": "gif", **order}))
    assert caught.value.field == field


def test_raw_pixels_follow_row_by_row_and_frame_by_frame():
    frames = any_pixels(3)
    written = write(frames, Spec("rgba"))
    assert written.data == b"".join(frame.tobytes() for frame in frames)
    assert (written.media_type, written.suffix) == ("application/octet-stream", ".rgba")
    assert MAX_PIXELS_WRITTEN >= 4096 * 4096
