# SPDX-License-Identifier: Apache-2.0
"""`inglenook pixel` as somebody types it, with the real child."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.integration.test_matting import ball
from tests.integration.test_pixels_worker import claiming, encoded, png
from tests.starters import with_starters

from inglenook.cli import program
from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with two pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGLENOOK_SERVER__DATA", str(tmp_path / "data"))
    (tmp_path / "fox.png").write_bytes(png(seed=1))
    (tmp_path / "fox2.png").write_bytes(png(seed=2))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(program, ["pixel", *words])


def colors_of(file: Path) -> set[tuple[int, ...]]:
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGBA")).reshape(-1, 4)
    return {tuple(map(int, one)) for one in pixels}


def require_refusal(result: Result, *texts: str, code: int = 1) -> None:
    """What is wrong on one line, what to do on another, and nothing of the inside."""
    assert result.exit_code == code
    for text in texts:
        assert text in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    if code == 1:
        first, second = result.stderr.strip().splitlines()
        assert first.startswith("error: ")
        assert second.startswith("hint: ")


def test_a_picture_becomes_a_sprite_of_its_size_and_colours(here: Path) -> None:
    result = run("fox.png", "--size", "32x24", "--colors", "6", "-o", "sprite.png", "--proof")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "sprite.png"
    with Image.open(here / "sprite.png") as opened:
        assert (opened.mode, opened.size) == ("P", (32, 24))
    assert len(colors_of(here / "sprite.png") - {(0, 0, 0, 0)}) <= 6
    assert "32 x 24" in result.stdout
    assert "every pixel in the palette of" in result.stdout


def test_without_a_name_the_file_is_named_after_the_picture_and_its_size(here: Path) -> None:
    result = run("fox.png", "--size", "16")
    assert (result.exit_code, result.stdout) == (0, "fox-16x16.png\n")
    assert (here / "fox-16x16.png").is_file()


def test_a_palette_may_be_a_name_a_file_or_colours(here: Path) -> None:
    (here / "my.gpl").write_text("GIMP Palette\nName: mine\n#\n0 0 0 black\n255 255 255 white\n")
    allowed = {(0, 0, 0, 255), (255, 255, 255, 255)}
    for palette in ("my.gpl", "#000,#ffffff"):
        assert run("fox.png", "--size", "8", "--palette", palette, "-o", "two.png", "--force").exit_code == 0
        assert colors_of(here / "two.png") <= allowed
    result = run("fox.png", "--size", "8", "--palette", "pico-8", "-o", "pico.png", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["sprites"][0]["palette"]) == 16


def test_several_pictures_are_the_frames_of_an_animation(here: Path) -> None:
    common = ("fox.png", "fox2.png", "--size", "16", "--colors", "5", "--frame-ms", "70")
    for name in ("walk.gif", "walk.webp", "walk.aseprite", "walk.zip"):
        tag = ("--tag", "walk:1-2") if name.endswith((".aseprite", ".zip")) else ()
        result = run(*common, *tag, "-o", name)
        assert result.exit_code == 0, result.output
    with Image.open(here / "walk.gif") as opened:
        assert opened.n_frames == 2  # type: ignore[attr-defined]
        assert opened.info["duration"] == 70
    assert (here / "walk.aseprite").read_bytes()[4:6] == b"\xe0\xa5"
    with zipfile.ZipFile(here / "walk.zip") as archive:
        assert {Path(one).suffix for one in archive.namelist()} == {".png", ".json"}


def test_layers_and_a_larger_scale(here: Path) -> None:
    result = run("fox.png", "fox2.png", "--layers", "--size", "8", "-o", "both.ase")
    assert result.exit_code == 0, result.output
    result = run("fox.png", "--size", "8", "--scale", "4", "-o", "large.png")
    assert result.exit_code == 0, result.output
    with Image.open(here / "large.png") as opened:
        assert opened.size == (32, 32)


def test_json_holds_the_proof_and_where_the_sprite_was_cut(here: Path) -> None:
    result = run("fox.png", "--size", "16", "--colors", "4", "-o", "a.png", "--json", "--trim")
    found = json.loads(result.stdout)
    assert found["file"] == "a.png"
    (sprite,) = found["sprites"]
    assert sprite["proof"]["within_palette"] is True
    assert sum(sprite["proof"]["counts"]) == 16 * 16
    assert sprite["palette"][0].startswith("#")
    assert sprite["offset"] == [0, 0]


def test_the_same_command_writes_the_same_bytes(here: Path) -> None:
    run("fox.png", "--size", "16", "-o", "a.png")
    run("fox.png", "--size", "16", "-o", "b.png")
    assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (("--size", "0"), ("width is 0", "1 to 4096")),
        (("--size", "4097x3"), ("width is 4097", "1 to 4096")),
        (("--size", "3x0"), ("height is 0",)),
        (("--colors", "300"), ("colors is 300", "1 to 256")),
        (("--colors", "-1"), ("colors is -1",)),
        (("--palette", "pico8"), ("no palette", "pico-8")),
        (("--palette", "gone.gpl"), ("gone.gpl", "No such file")),
        (("--palette", "#12345"), ("#12345",)),
        (("--palette", ",".join(["#000000"] * 257)), ("257",)),
        (("--palette", "#000", "--colors", "0"), ("colors",)),
        (("--outline-color", "red"), ("outline_color",)),
        (("--dither-strength", "7"), ("dither_strength",)),
        (("-o", "gone/x.png"), ("gone", "mkdir")),
        (("-o", "fox.png"), ("exists", "--force")),
    ],
    ids=lambda value: " ".join(value)[:30],
)
def test_what_cannot_be_is_said_on_one_line_with_what_to_do(
    here: Path, words: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    before = sorted(here.iterdir())
    require_refusal(run("fox.png", *words), *texts)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nothing.png",), "nothing.png"),
        (("fox.png", "--size", "big"), "64x96"),
        (("fox.png", "-o", "x.bmp"), ".bmp"),
        (("fox.png", "fox2.png", "-o", "x.png"), "one picture"),
        (("fox.png", "-o", "x.gif", "--format", "png"), "do not go together"),
        (("fox.png", "--layers", "-o", "x.gif"), "--layers"),
        (("fox.png", "--tag", "walk", "-o", "x.gif"), "walk:1-4"),
        (("fox.png", "fox2.png", "--tag", "walk:1-2", "-o", "x.gif"), "no place for --tag"),
        (("fox.png", "--columns", "2", "-o", "x.png"), "no place for --columns"),
        (("fox.png", "--padding", "1", "-o", "x.png"), "no place for --padding"),
        (("fox.png", "--once", "-o", "x.aseprite"), "no place for --once"),
        (("fox.png", "--frame-ms", "9", "-o", "x.png"), "no place for --frame-ms"),
        (("fox.png", "--fit", "fill"), "contain"),
        ((), "FILES"),
    ],
    ids=lambda value: " ".join(value)[:30],
)
def test_a_command_line_that_is_wrong_is_told_so(here: Path, words: tuple[str, ...], text: str) -> None:
    require_refusal(run(*words), text, code=2)


def test_a_broken_picture_and_a_huge_one_are_told_by_name(here: Path) -> None:
    (here / "broken.png").write_bytes(png()[:90])
    (here / "huge.png").write_bytes(claiming(60_000, 60_000))
    require_refusal(run("fox.png", "broken.png", "-o", "x.gif"), "broken.png: ", "cannot be read")
    require_refusal(run("huge.png", "-o", "x.png"), "huge.png: ", "60000 x 60000")
    assert not (here / "x.png").exists()


@pytest.mark.parametrize("colors", [0, 257])
def test_a_palette_file_of_no_or_too_many_colours_is_refused(here: Path, colors: int) -> None:
    rows = [f"{n % 256} {n // 256} 7" for n in range(colors)]
    (here / "bad.gpl").write_text("\n".join(["GIMP Palette", "#", *rows]))
    require_refusal(run("fox.png", "--palette", "bad.gpl", "-o", "x.png"))


def test_a_tag_beyond_the_frames_is_refused_and_nothing_is_written(here: Path) -> None:
    result = run("fox.png", "fox2.png", "--tag", "walk:1-3", "-o", "x.aseprite", "--size", "8")
    require_refusal(result, "walk:1-3", "the last is 2", code=2)
    assert not (here / "x.aseprite").exists()


def test_a_clear_picture_is_a_clear_sprite_and_one_colour_is_one(here: Path) -> None:
    for name, color, words in (("clear", (0, 0, 0, 0), "0 colours"), ("one", (9, 8, 7, 255), "1 colour,")):
        Image.new("RGBA", (20, 20), color).save(here / f"{name}.png")
        result = run(f"{name}.png", "--size", "8", "-o", f"{name}-8.png", "--proof")
        assert result.exit_code == 0, result.output
        assert words in result.stdout
        assert colors_of(here / f"{name}-8.png") == {color}


@pytest.mark.parametrize("data", [b"no picture", b"\x89PNG\r\n\x1a\n000"])
def test_what_is_no_picture_is_told_without_the_inside(here: Path, data: bytes) -> None:
    (here / "no.png").write_bytes(data)
    picture = run("no.png", "-o", "x.png")
    require_refusal(picture, "no.png: ", "cannot be read")
    palette = run("fox.png", "--palette", "no.png", "-o", "x.png")
    require_refusal(palette, "no.png: ")
    for result in (picture, palette):
        assert "BytesIO" not in result.stderr
        assert "worker-" not in result.stderr


def test_what_could_not_be_done_is_noted_beside_the_data(here: Path) -> None:
    slope = np.zeros((32, 32, 3), np.uint8)
    slope[..., 0] = np.arange(32) * 8
    (here / "one.png").write_bytes(encoded(slope[:, :3]))
    result = run("one.png", "--size", "2x2", "--tile", "x", "-o", "t.png", "--colors", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout == "t.png\n"


def covered(file: Path) -> float:
    """The share of the sprite that is opaque."""
    with Image.open(file) as opened:
        return float((np.asarray(opened.convert("RGBA"))[..., 3] > 0).mean())


def test_the_matting_model_cuts_a_subject_out_with_and_without_a_server(
    here: Path, matting_model: Path
) -> None:
    ball().save(here / "ball.png")
    with_starters(here / "data", matting_model)
    words = ("ball.png", "--size", "40", "--background", "matte")
    alone = run(*words, "-o", "alone.png", "--json")
    assert alone.exit_code == 0, alone.output
    assert 0.05 < covered(here / "alone.png") < 0.15  # a ball of radius 60 in 400 x 300 covers 0.094
    with RunningServer.start(here / "data"):
        served = run(*words, "-o", "served.png", "--json")
    assert served.exit_code == 0, served.output
    assert (here / "served.png").read_bytes() == (here / "alone.png").read_bytes()
    one, other = (json.loads(result.stdout)["sprites"] for result in (alone, served))
    assert one == other
    assert one[0]["notes"] == []


def test_without_a_matting_model_the_border_tells_or_it_says_what_to_install(here: Path) -> None:
    Image.new("RGB", (60, 60), "white").save(here / "plain.png")
    with Image.open(here / "plain.png") as plain:
        plain.paste((0, 0, 200), (20, 20, 40, 40))
        plain.save(here / "plain.png")
    result = run("plain.png", "--size", "30", "--background", "matte", "-o", "cut.png")
    assert result.exit_code == 0, result.output
    assert "starters install matting" in result.stderr
    assert covered(here / "cut.png") == pytest.approx(100 / 900)
    ball().save(here / "ball.png")
    refused = run("ball.png", "--size", "30", "--background", "matte", "-o", "ball-cut.png")
    assert refused.exit_code == 1
    assert "no matting model" in refused.stderr
