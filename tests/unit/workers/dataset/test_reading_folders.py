# SPDX-License-Identifier: Apache-2.0
"""Folders of this machine, read picture by picture."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.dataset_trees import picture, scene
from tests.unit.workers.dataset.reading import BOUNDS, put, read

from inglenook.wire.studio.dataset import FolderSource
from inglenook.workers.dataset.errors import Stopped, TooMuch
from inglenook.workers.telling import NoRoom


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_pictures_are_copied_with_size_hash_and_class(tmp_path):
    data = picture(1, size=(30, 20))
    source = put(tmp_path / "in", {"cats/a.png": data, "dogs/b.png": picture(2)})
    heard = read(source, tmp_path / "out")
    first = heard.pictures[0]
    assert (first.width, first.height, first.size_bytes) == (30, 20, len(data))
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    assert len(first.dhash or "") == 16
    assert (tmp_path / "out" / first.file).read_bytes() == data
    assert heard.labels == {"cats/a.png": "cats", "dogs/b.png": "dogs"}
    assert heard.last is not None
    assert (heard.last.classes, heard.last.pictures) == (("cats", "dogs"), 2)


def test_the_ending_follows_the_content(tmp_path):
    source = put(tmp_path / "in", {"c/a.png": picture(1, form="JPEG"), "c/b.jpeg": picture(2, form="JPEG")})
    heard = read(source, tmp_path / "out")
    assert [one.original for one in heard.pictures] == ["c/a.jpg", "c/b.jpeg"]
    assert all(one.file.endswith(".jpg") for one in heard.pictures)


def test_a_corrupt_picture_in_the_middle_is_left_out_alone(tmp_path):
    whole = saved(scene(3, size=(200, 200)), "JPEG")
    files = {
        "c/1.jpg": whole,
        "c/2.jpg": whole[: len(whole) // 2],
        "c/3.png": picture(2),
        "c/4.png": b"",
        "c/5.png": b"GIF? no",
    }
    heard = read(put(tmp_path / "in", files), tmp_path / "out")
    assert heard.reasons == {"c/2.jpg": "corrupt", "c/4.png": "not_a_picture", "c/5.png": "not_a_picture"}
    assert [one.original for one in heard.pictures] == ["c/1.jpg", "c/3.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        one.file for one in heard.pictures
    )


def test_a_picture_of_30000_squared_pixels_is_refused_by_its_header(tmp_path):
    """A PNG whose header claims the size, and whose body would not even fill its first row."""
    small = bytearray(picture(1))
    small[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    small[29:33] = zlib.crc32(bytes(small[12:29])).to_bytes(4, "big")
    heard = read(put(tmp_path / "in", {"c/huge.png": bytes(small), "c/1.png": picture()}), tmp_path / "out")
    assert heard.reasons == {"c/huge.png": "too_many_pixels"}
    assert "30000 × 30000" in heard.issues[0].message


@pytest.mark.parametrize(
    ("name", "image", "form"),
    [
        ("cmyk.jpg", scene(1).convert("CMYK"), "JPEG"),
        ("palette.png", scene(1).convert("P"), "PNG"),
        ("clear.png", scene(1).convert("RGBA"), "PNG"),
        ("grey16.png", Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20), "PNG"),
        ("grey16.tiff", Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20), "TIFF"),
        ("float.tif", Image.fromarray(np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)), "TIFF"),
        ("bits.bmp", scene(1).convert("1"), "BMP"),
        ("still.gif", scene(1).convert("P"), "GIF"),
        ("web.webp", scene(1), "WEBP"),
    ],
)
def test_pictures_of_every_mode_are_taken(tmp_path, name, image, form):
    source = put(tmp_path / "in", {f"c/{name}": saved(image, form)})
    heard = read(source, tmp_path / "out", thumbnail_px=32)
    assert heard.issues == []
    (one,) = heard.pictures
    assert (one.width, one.height, one.original) == (64, 48, f"c/{name}")
    assert one.dhash is not None
    with Image.open(tmp_path / "out" / str(one.thumbnail)) as small:
        assert (small.format, max(small.size)) == ("WEBP", 32)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animated_picture_is_taken_with_a_remark(tmp_path, form):
    frames = [scene(n) for n in range(3)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:])
    heard = read(put(tmp_path / "in", {f"c/a.{form.lower()}": data}), tmp_path / "out")
    assert len(heard.pictures) == 1
    assert [(one.reason, one.skipped) for one in heard.issues] == [("animated", False)]


def test_exif_tells_the_date_and_turns_hash_and_thumbnail_upright(tmp_path):
    upright = scene(5, size=(64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0132] = "2026:01:02 03:04:05"
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    files = {"c/1.png": saved(upright, "PNG"), "c/2.png": saved(turned, "PNG", exif=exif)}
    heard = read(put(tmp_path / "in", files), tmp_path / "out", thumbnail_px=32)
    first, second = heard.pictures
    assert (second.width, second.height) == (48, 64)  # as the file has them
    assert first.dhash == second.dhash
    assert second.taken_at == "2026-01-02T03:04:05"
    with Image.open(tmp_path / "out" / str(second.thumbnail)) as small:
        assert small.size == (32, 24)


def test_names_in_every_script_and_the_same_name_twice_are_kept_as_they_were(tmp_path):
    names = ["кот", "猫", "γάτα", "قط", "חתול", "แมว", "🐈", "Käthe #1 & co %20"]
    files = {f"{name}/{name}.png": picture(n) for n, name in enumerate(names)}
    files |= {"a/shared.png": picture(50), "b/shared.png": picture(51)}
    heard = read(put(tmp_path / "in", files), tmp_path / "out")
    assert {one.original for one in heard.pictures} == set(files)
    assert len({one.file for one in heard.pictures}) == len(files)
    assert heard.issues == []


def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    put(tmp_path / "in", {"c/1.png": picture()})
    strange = os.fsencode(tmp_path / "in" / "c") + b"/\xff\xfe.png"
    Path(os.fsdecode(strange)).write_bytes(picture())
    heard = read(tmp_path / "in", tmp_path / "out")
    assert list(heard.reasons.values()) == ["name"]
    assert len(heard.pictures) == 1


def test_a_link_out_of_the_root_is_not_followed_and_one_inside_is(tmp_path):
    put(tmp_path / "secret", {"s.png": picture(9), "more/t.png": picture(8)})
    root = put(tmp_path / "in", {"c/1.png": picture(1)})
    (root / "c" / "out.png").symlink_to(tmp_path / "secret" / "s.png")
    (root / "d").symlink_to(tmp_path / "secret" / "more")
    (root / "c" / "in.png").symlink_to(root / "c" / "1.png")
    (root / "c" / "round").symlink_to(root)
    (root / "c" / "none.png").symlink_to(root / "nothing")
    heard = read(root, tmp_path / "out")
    assert heard.reasons == {
        "c/out.png": "link_outside",
        "d": "link_outside",
        "c/round": "link_again",
        "c/none.png": "special_file",
    }
    assert set(heard.labels) == {"c/1.png", "c/in.png"}


def test_a_link_to_another_allowed_root_is_followed(tmp_path):
    other = put(tmp_path / "other", {"1.png": picture(1)})
    root = put(tmp_path / "in", {"d/2.png": picture(2)})
    (root / "c").symlink_to(other)
    source = FolderSource(path=str(root), roots=(str(root), str(other)))
    assert set(read(source, tmp_path / "out").labels) == {"c/1.png", "d/2.png"}


def test_what_is_no_file_is_left_out(tmp_path):
    root = put(tmp_path / "in", {"c/1.png": picture(1)})
    os.mkfifo(root / "c" / "pipe.png")
    heard = read(root, tmp_path / "out")
    assert heard.reasons == {"c/pipe.png": "special_file"}


def test_hidden_files_and_what_systems_put_there_are_passed_over(tmp_path):
    files = {
        "c/1.png": picture(),
        "c/.DS_Store": b"x",
        ".git/config": b"",
        "__MACOSX/c/._1.png": b"",
        "c/Thumbs.db": b"",
    }
    heard = read(put(tmp_path / "in", files), tmp_path / "out")
    assert heard.issues == []
    assert heard.last is not None
    assert heard.last.classes == ("c",)


def test_more_files_than_allowed_end_the_listing_and_nothing_was_decoded(tmp_path):
    """The bound that a million tiny files meet, at a smaller number."""
    source = put(tmp_path / "in", {f"c/{n}.png": b"x" for n in range(60)})
    few = type(BOUNDS)(images=10, files=50, pixels=10, file_bytes=10, unpacked_bytes=10)
    with pytest.raises(TooMuch, match="more than 50 files"):
        read(source, tmp_path / "out", bounds=few)
    assert list((tmp_path / "out").iterdir()) == []


def test_more_pictures_than_allowed_end_the_import(tmp_path):
    source = put(tmp_path / "in", {f"c/{n}.png": picture(n) for n in range(4)})
    few = type(BOUNDS)(images=3, files=50, pixels=10**6, file_bytes=10**6, unpacked_bytes=10)
    with pytest.raises(TooMuch, match="more than 3 pictures"):
        read(source, tmp_path / "out", bounds=few)


def test_a_file_that_is_too_large_is_left_out(tmp_path):
    source = put(tmp_path / "in", {"c/1.png": picture(1, size=(64, 64)), "c/2.png": picture(2, size=(4, 4))})
    few = type(BOUNDS)(images=9, files=9, pixels=10**6, file_bytes=1000, unpacked_bytes=10)
    heard = read(source, tmp_path / "out", bounds=few)
    assert heard.reasons == {"c/1.png": "too_large"}


def test_files_that_the_data_set_has_already_are_left_out(tmp_path):
    data = picture(1)
    (tmp_path / "known").write_text(hashlib.sha256(data).hexdigest() + "\n")
    source = put(tmp_path / "in", {"c/1.png": data, "c/2.png": picture(2)})
    heard = read(source, tmp_path / "out", known=str(tmp_path / "known"))
    assert heard.reasons == {"c/1.png": "duplicate"}
    assert set(heard.labels) == {"c/2.png"}


def test_a_full_disk_ends_the_import_with_words(tmp_path, monkeypatch):
    real_open = Path.open

    def full(self, mode="r", *args, **kwargs):
        if mode == "wb" and self.parent.name == "out" and self.name == "p0000002":
            raise OSError(28, "No space left on device")
        return real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    source = put(tmp_path / "in", {f"c/{n}.png": picture(n) for n in range(3)})
    with pytest.raises(NoRoom, match="No space left") as told:
        read(source, tmp_path / "out")
    assert "old data set is untouched" in (told.value.hint or "")


def test_reading_stops_before_the_next_picture(tmp_path):
    source = put(tmp_path / "in", {f"c/{n}.png": picture(n) for n in range(9)})
    answers = iter([False, False, True])
    with pytest.raises(Stopped):
        read(source, tmp_path / "out", should_stop=lambda: next(answers))
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_news_come_in_batches(tmp_path):
    source = put(tmp_path / "in", {f"c/{n}.png": picture(n, size=(4, 4)) for n in range(230)})
    heard = read(source, tmp_path / "out")
    assert len(heard.pictures) == 230
    assert heard.messages < 12


def test_yolo_boxes_are_in_pixels_of_the_picture(tmp_path):
    files = {
        "classes.txt": b"cat\n",
        "images/a.png": picture(1, size=(200, 100)),
        "labels/a.txt": b"0 0.5 0.5 0.4 0.2\n0 0.0 0.0 0.0 0.0\n",
    }
    heard = read(put(tmp_path / "in", files), tmp_path / "out", task="object_detection")
    assert [box.box for box in heard.pictures[0].boxes] == [(60, 40, 80, 20)]
    assert heard.issues[0].reason == "box"
