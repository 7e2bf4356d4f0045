# SPDX-License-Identifier: Apache-2.0
"""Which files an order is written to, and what is refused before anything is drawn."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from inglenook.base.errors import Conflict, Failed
from inglenook.cli import program
from inglenook.cli.order import Size, check_files, choose_format, file_names, write_file


@pytest.mark.parametrize(
    ("out", "asked", "chosen"),
    [
        (None, None, "png"),
        (None, "webp", "webp"),
        ("fox", None, "png"),
        ("fox", "jpeg", "jpeg"),
        ("fox.PNG", None, "png"),
        ("fox.jpg", None, "jpeg"),
        ("fox.jpeg", "jpeg", "jpeg"),
        ("a.b/fox.webp", None, "webp"),
        ("fox.picture", "png", "png"),
    ],
)
def test_the_format_comes_from_the_suffix_or_the_option(
    out: str | None, asked: str | None, chosen: str
) -> None:
    assert choose_format(None if out is None else Path(out), asked) == chosen


@pytest.mark.parametrize(
    ("out", "asked", "message"),
    [
        ("fox.png", "jpeg", "fox.png and --format jpeg do not go together"),
        ("fox.gif", None, "fox.gif: no format has the suffix .gif; use .png, .jpg, .jpeg, .webp or --format"),
    ],
)
def test_a_suffix_that_does_not_fit_is_refused(out: str, asked: str | None, message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        choose_format(Path(out), asked)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("out", "n", "form", "names"),
    [
        ("fox.png", 1, "png", ["fox.png"]),
        ("in/fox.jpg", 3, "jpeg", ["in/fox-1.jpg", "in/fox-2.jpg", "in/fox-3.jpg"]),
        ("fox", 2, "jpeg", ["fox-1.jpg", "fox-2.jpg"]),
        (None, 1, "webp", ["a-red-fox-été.webp"]),
    ],
)
def test_each_picture_has_a_file(out: str | None, n: int, form: str, names: list[str]) -> None:
    found = file_names(None if out is None else Path(out), prompt="A red/fox… été!", n=n, output_format=form)
    assert found == [Path(name) for name in names]


@pytest.mark.parametrize(
    ("prompt", "name"), [("", "picture.png"), ("../../etc/passwd", "etc-passwd.png"), ("???", "picture.png")]
)
def test_a_file_named_after_a_prompt_stays_in_the_folder(prompt: str, name: str) -> None:
    assert file_names(None, prompt=prompt, n=1, output_format="png") == [Path(name)]


def test_a_file_named_after_a_long_prompt_is_short() -> None:
    (file,) = file_names(None, prompt="word " * 1000, n=1, output_format="png")
    assert len(file.name) <= 64
    (file,) = file_names(None, prompt="x" * 1000, n=1, output_format="png")
    assert file == Path("picture.png")


def test_a_file_that_exists_is_refused_without_force(tmp_path: Path) -> None:
    files = [tmp_path / "fox-1.png", tmp_path / "fox-2.png"]
    files[1].write_bytes(b"old")
    with pytest.raises(Conflict) as caught:
        check_files(files, force=False)
    assert caught.value.message == f"{files[1]} already exists."
    check_files(files, force=True)


def test_a_folder_that_is_not_there_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        check_files([tmp_path / "none" / "fox.png"], force=False)
    assert caught.value.hint == f"mkdir -p {tmp_path / 'none'}"


def test_a_file_that_appears_while_drawing_is_not_overwritten_and_the_picture_is_not_lost(
    tmp_path: Path,
) -> None:
    file = tmp_path / "fox.png"
    file.write_bytes(b"somebody else's")
    with pytest.raises(Conflict, match="the picture is kept as pic_1"):
        write_file(file, b"ours", force=False, kept_as="pic_1")
    assert file.read_bytes() == b"somebody else's"
    write_file(file, b"ours", force=True, kept_as="pic_1")
    assert file.read_bytes() == b"ours"


def test_a_full_disk_names_where_the_picture_is_kept() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(Failed) as caught:
        write_file(full, b"x" * 100_000, force=True, kept_as="pic_1")
    assert caught.value.message == (
        "/dev/full cannot be written: No space left on device; the picture is kept as pic_1."
    )


@pytest.mark.parametrize(("text", "size"), [("512x768", (512, 768)), ("64X64", (64, 64)), ("8×8", (8, 8))])
def test_a_size_is_read(text: str, size: tuple[int, int]) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["512", "x512", "512x", "1.5x2", "-1x2", "999999x1", "axb", ""])
def test_a_size_that_is_none_is_a_wrong_command_line(text: str) -> None:
    done = CliRunner().invoke(program, ["image", "a fox", "--size", text])
    assert done.exit_code == 2
    assert "is not a size: write it like 512x768" in done.stderr


@pytest.mark.parametrize("option", [["--strength", "0.5"], ["--mask", __file__]])
def test_options_of_a_change_need_a_picture_to_change(option: list[str]) -> None:
    done = CliRunner().invoke(program, ["image", "a fox", *option])
    assert done.exit_code == 2
    assert f"{option[0]} needs --image" in done.stderr
