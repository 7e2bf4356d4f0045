# SPDX-License-Identifier: Apache-2.0
"""Finished pictures in the sprite: pixel by pixel what the server sent, in one step of undo, and the artist's
work untouched."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.clients.aseprite.host import GRAY, INDEXED, RGB, Aseprite, started
from tests.clients.aseprite.server import Server

Pixels = npt.NDArray[np.uint8]


def sprite_pixels(width: int, height: int, colors: int = 6, seed: int = 1) -> Pixels:
    """Few colours, alpha 0 or 255, transparent black; as the server makes them."""
    random = np.random.default_rng(seed)
    palette = random.integers(1, 256, (colors, 4), dtype=np.uint8)
    palette[:, 3] = 255
    palette[0] = 0
    return palette[random.integers(0, colors, (height, width))]


def draw(
    aseprite: Aseprite,
    server: Server,
    pictures: list[Pixels],
    told: dict[str, Any] | None = None,
    **values: object,
) -> dict[str, Any]:
    """From the button to the layer; what was asked."""
    if values:
        aseprite.write(**values)
    aseprite.write(prompt="a fox")
    aseprite.press("generate")
    asked, _ = server.asked()
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        server.frame(
            asked["id"], picture.tobytes(), width, height, index=index, count=len(pictures), duration_ms=70
        )
    server.done(asked["id"], **(told or {}))
    return asked


def cel(sprite: dict[str, Any], layer: int, frame: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = sprite["layers"][layer]["cels"][str(frame)]
    return found


@pytest.mark.parametrize("alignment", [1, 16])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (32, 32)])
def test_a_layer_has_exactly_the_pixels_that_came(
    extension: Path, alignment: int, size: tuple[int, int]
) -> None:
    with started(extension, f"host.images.alignment = {alignment}") as aseprite:
        aseprite.command()
        server = Server(aseprite)
        server.welcome()
        aseprite.open_sprite(32, 32)
        picture = sprite_pixels(*size)
        draw(aseprite, server, [picture])
        sprite = aseprite.sprite()
    placed = cel(sprite, 1)
    assert placed["bytes"] == picture.tobytes()
    assert (placed["x"], placed["y"], placed["width"], placed["height"]) == (0, 0, *size)
    assert [layer["name"] for layer in sprite["layers"]] == ["Layer 1", "a fox | seed 7"]


def test_one_undo_takes_it_all_back(aseprite: Aseprite, server: Server) -> None:
    for mode, output in ((RGB, "New layer"), (INDEXED, "New frames"), (GRAY, "New layer")):
        number = aseprite.open_sprite(8, 8, mode)
        before = aseprite.sprite(number)
        draw(aseprite, server, [sprite_pixels(16, 16, seed=s) for s in range(3)], variants=3, output=output)
        after = aseprite.sprite(number)
        assert after["undo"] == 1
        assert (after["width"], after["height"]) == (16, 16)
        aseprite.lua(f"host.documents.undo(host.documents.open[{number}])")
        assert aseprite.sprite(number) == before


def test_what_the_artist_drew_stays_pixel_by_pixel(aseprite: Aseprite, server: Server) -> None:
    """The original scaled the artwork where the sizes differed."""
    own = sprite_pixels(20, 10, seed=9)
    aseprite.open_sprite(20, 10, pixels=own.tobytes())
    draw(aseprite, server, [sprite_pixels(32, 32)])
    sprite = aseprite.sprite()
    assert cel(sprite, 0)["bytes"] == own.tobytes()
    assert (cel(sprite, 0)["width"], cel(sprite, 0)["height"]) == (20, 10)
    assert (sprite["width"], sprite["height"]) == (32, 32)


def test_the_canvas_does_not_grow_where_that_is_not_wanted(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(20, 10)
    picture = sprite_pixels(32, 32)
    draw(aseprite, server, [picture], grow=False)
    sprite = aseprite.sprite()
    assert (sprite["width"], sprite["height"]) == (20, 10)
    assert cel(sprite, 1)["bytes"] == picture.tobytes()
    assert "larger than the canvas" in aseprite.status()


def test_the_middle_of_the_canvas_and_the_corner_of_the_selection(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(20, 10)
    draw(aseprite, server, [sprite_pixels(4, 4)], place="Centre")
    aseprite.select(3, 2, 5, 5)
    draw(aseprite, server, [sprite_pixels(4, 4)], place="At the selection")
    sprite = aseprite.sprite()
    assert [(cel(sprite, layer)["x"], cel(sprite, layer)["y"]) for layer in (1, 2)] == [(8, 3), (3, 2)]


def test_at_the_selection_without_one_is_said(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    draw(aseprite, server, [sprite_pixels(4, 4)], place="At the selection")
    assert "Nothing is selected: the picture is at the top left." in aseprite.status()


def test_an_indexed_sprite_shows_the_very_colours_and_its_palette_grows_for_them(
    aseprite: Aseprite, server: Server
) -> None:
    palette = [(1, 1, 1, 255), (10, 20, 30, 255)]
    aseprite.open_sprite(16, 16, INDEXED, bytes(256), palette)
    picture = sprite_pixels(16, 16)
    picture[0, 0] = (10, 20, 30, 255)
    picture[0, 1] = (1, 1, 1, 255)  # the colour of the entry that means transparent: it needs another
    draw(aseprite, server, [picture])
    assert aseprite.rendered() == picture.tobytes()
    sprite = aseprite.sprite()
    assert sprite["palette"][:2] == [list(color) for color in palette]
    assert len(cel(sprite, 1)["bytes"]) == 256
    assert len(sprite["palette"]) == 2 + 5 + 1
    assert "6 colours were added to the sprite's palette." in aseprite.status()


def test_another_transparent_index_is_kept_to(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(4, 4, INDEXED, None, [(0, 0, 0, 255), (255, 255, 255, 255), (9, 9, 9, 255)])
    aseprite.lua("host.documents.open[1].content.transparent = 2")
    picture = sprite_pixels(4, 4)
    draw(aseprite, server, [picture])
    assert aseprite.rendered() == picture.tobytes()


def test_a_full_palette_is_left_and_the_nearest_colours_are_said(aseprite: Aseprite, server: Server) -> None:
    palette = [(i, i, i, 255) for i in range(256)]
    aseprite.open_sprite(4, 4, INDEXED, bytes(16), palette)
    picture = np.zeros((4, 4, 4), np.uint8)
    picture[..., 3] = 255
    picture[..., :3] = (100, 101, 100)
    draw(aseprite, server, [picture])
    sprite = aseprite.sprite()
    assert set(cel(sprite, 1)["bytes"]) <= {100, 101}
    assert len(sprite["palette"]) == 256
    assert (
        "1 colour was not in the sprite's palette, which is full; the nearest was taken." in aseprite.status()
    )


def test_a_grayscale_sprite_gets_grays(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(4, 4, GRAY)
    picture = sprite_pixels(4, 4)
    draw(aseprite, server, [picture])
    grays = np.frombuffer(cel(aseprite.sprite(), 1)["bytes"], np.uint8).reshape(4, 4, 2)
    assert (grays[..., 1] == picture[..., 3]).all()
    assert (grays[..., 0] == picture[..., :3].astype(int) @ [2126, 7152, 722] // 10000).all()
    assert "grayscale" in aseprite.status()


def test_without_a_sprite_a_new_one_is_made_of_the_pictures_size_and_palette(
    aseprite: Aseprite, server: Server
) -> None:
    picture = sprite_pixels(24, 16)
    draw(aseprite, server, [picture], {"palette": ["#102030", "#ffffff"]})
    sprite = aseprite.sprite()
    assert (sprite["width"], sprite["height"], sprite["mode"]) == (24, 16, RGB)
    assert [layer["name"] for layer in sprite["layers"]] == ["a fox | seed 7"]
    assert cel(sprite, 0)["bytes"] == picture.tobytes()
    assert sprite["palette"] == [[16, 32, 48, 255], [255, 255, 255, 255]]
    assert len(sprite["frames"]) == 1


def test_a_new_sprite_can_be_asked_for_beside_an_open_one(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    pictures = [sprite_pixels(8, 8, seed=s) for s in range(3)]
    draw(aseprite, server, pictures, output="New sprite", variants=3)
    assert aseprite.sprite(1)["undo"] == 0
    sprite = aseprite.sprite(2)
    assert [layer["name"] for layer in sprite["layers"]] == [
        "a fox | seed 7 #3",
        "a fox | seed 7 #2",
        "a fox | seed 7 #1",
    ]
    assert [layer["visible"] for layer in sprite["layers"]] == [False, False, True]
    for layer, picture in zip(sprite["layers"], reversed(pictures), strict=True):
        assert layer["cels"]["1"]["bytes"] == picture.tobytes()


def test_variants_come_as_layers_of_which_the_first_is_seen(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    pictures = [sprite_pixels(8, 8, seed=s) for s in range(3)]
    asked = draw(aseprite, server, pictures, variants=3)
    assert asked["n"] == 3
    sprite = aseprite.sprite()
    assert [layer["visible"] for layer in sprite["layers"]] == [True, False, False, True]
    assert [cel(sprite, layer)["bytes"] for layer in (3, 2, 1)] == [picture.tobytes() for picture in pictures]
    assert len(sprite["frames"]) == 1


def test_variants_come_as_frames_behind_the_last(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    pictures = [sprite_pixels(8, 8, seed=s) for s in range(2)]
    draw(aseprite, server, pictures, variants=2, output="New frames")
    sprite = aseprite.sprite()
    assert len(sprite["frames"]) == 3
    assert [cel(sprite, 1, frame)["bytes"] for frame in (2, 3)] == [picture.tobytes() for picture in pictures]
    assert "1" not in sprite["layers"][1]["cels"]
    assert sprite["tags"] == []


WALK = {"tags": [{"name": "walk", "from": 0, "to": 3, "direction": "pingpong"}]}


def test_an_animation_is_frames_with_a_tag_and_durations(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    pictures = [sprite_pixels(8, 8, seed=s) for s in range(4)]
    draw(aseprite, server, pictures, WALK, motion="Walk", frames=4)
    sprite = aseprite.sprite()
    assert [frame["duration"] for frame in sprite["frames"]] == [0.1, 0.07, 0.07, 0.07, 0.07]
    assert sprite["tags"] == [{"name": "walk", "from": 2, "to": 5, "aniDir": 2}]
    assert [cel(sprite, 1, frame)["bytes"] for frame in (2, 3, 4, 5)] == [p.tobytes() for p in pictures]
    assert sprite["undo"] == 1


def test_the_artists_tags_stay_as_they_are(aseprite: Aseprite, server: Server) -> None:
    """Aseprite lets a tag grow that ends with the last frame."""
    aseprite.open_sprite(8, 8)
    aseprite.lua(
        "local content = host.documents.open[1].content"
        " content.frames = {{duration=.1}, {duration=.1}, {duration=.1}}"
        " content.tags = {{name='a', from=1, to=2, aniDir=0}, {name='b', from=3, to=3, aniDir=1}}"
    )
    draw(aseprite, server, [sprite_pixels(8, 8, seed=s) for s in range(4)], WALK, motion="Walk", frames=4)
    assert [(tag["name"], tag["from"], tag["to"]) for tag in aseprite.sprite()["tags"]] == [
        ("a", 1, 2),
        ("b", 3, 3),
        ("walk", 4, 7),
    ]
    assert aseprite.sprite()["undo"] == 1


def test_an_animation_in_a_new_sprite_begins_with_its_first_frame(aseprite: Aseprite, server: Server) -> None:
    pictures = [sprite_pixels(8, 8, seed=s) for s in range(4)]
    draw(aseprite, server, pictures, WALK, motion="Walk", frames=4)
    sprite = aseprite.sprite()
    assert len(sprite["frames"]) == 4
    assert sprite["tags"] == [{"name": "walk", "from": 1, "to": 4, "aniDir": 2}]
    assert [aseprite.rendered(1, frame) for frame in (1, 2, 3, 4)] == [p.tobytes() for p in pictures]


def test_frames_that_come_in_another_order_find_their_places(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.write(prompt="x", variants=2, output="New frames")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    first, second = sprite_pixels(8, 8, seed=1), sprite_pixels(8, 8, seed=2)
    server.frame(work, second.tobytes(), 8, 8, index=1, count=2)
    server.frame(work, first.tobytes(), 8, 8, index=0, count=2)
    server.done(work)
    sprite = aseprite.sprite()
    assert [cel(sprite, 1, frame)["bytes"] for frame in (2, 3)] == [first.tobytes(), second.tobytes()]


def test_inpainting_changes_nothing_outside_the_selection(aseprite: Aseprite, server: Server) -> None:
    own, new = sprite_pixels(10, 8, seed=5), sprite_pixels(10, 8, seed=6)
    aseprite.open_sprite(10, 8, pixels=own.tobytes())
    aseprite.select(2, 1, 4, 5)
    aseprite.lua("host.deselect(1, 3, 3)")
    draw(aseprite, server, [new], input="Inpaint the selection")
    placed = cel(aseprite.sprite(), 1)
    assert (placed["x"], placed["y"], placed["width"], placed["height"]) == (2, 1, 4, 5)
    chosen = np.zeros((8, 10), bool)
    chosen[1:6, 2:6] = True
    chosen[3, 3] = False
    opaque = chosen & (new[..., 3] == 255)
    expected = np.where(opaque[..., None], new, own)
    assert aseprite.rendered() == expected.tobytes()


def test_what_is_drawn_from_a_selection_lands_at_its_corner(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(10, 8)
    aseprite.select(4, 3, 3, 2)
    picture = sprite_pixels(3, 2)
    draw(aseprite, server, [picture], input="The selection", size="As the selection")
    placed = cel(aseprite.sprite(), 1)
    assert (placed["x"], placed["y"], placed["bytes"]) == (4, 3, picture.tobytes())


@pytest.mark.parametrize(
    ("side", "size", "own_at", "new_at"),
    [
        ("To the right", (20, 8), (0, 0), (10, 0)),
        ("To the left", (20, 8), (10, 0), (0, 0)),
        ("Downwards", (10, 16), (0, 0), (0, 8)),
        ("Upwards", (10, 16), (0, 8), (0, 0)),
    ],
)
def test_a_continued_tile_joins_and_the_canvas_grows_to_that_side(
    aseprite: Aseprite,
    server: Server,
    side: str,
    size: tuple[int, int],
    own_at: tuple[int, int],
    new_at: tuple[int, int],
) -> None:
    own, new = sprite_pixels(10, 8, seed=5), sprite_pixels(10, 8, seed=6)
    aseprite.open_sprite(10, 8, pixels=own.tobytes())
    draw(aseprite, server, [new], input="Continue a tile", side=side)
    sprite = aseprite.sprite()
    assert (sprite["width"], sprite["height"]) == size
    for layer, (x, y), pixels in ((0, own_at, own), (1, new_at, new)):
        placed = cel(sprite, layer)
        assert (placed["x"], placed["y"], placed["bytes"]) == (x, y, pixels.tobytes())
    assert sprite["undo"] == 1


def test_a_tile_in_the_middle_is_continued_without_growing(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(12, 12)
    aseprite.select(4, 4, 4, 4)
    draw(aseprite, server, [sprite_pixels(4, 4)], input="Continue a tile", side="Upwards")
    sprite = aseprite.sprite()
    assert (sprite["width"], sprite["height"]) == (12, 12)
    assert (cel(sprite, 1)["x"], cel(sprite, 1)["y"]) == (4, 0)


def test_a_sprite_that_was_closed_in_mid_job_loses_nothing(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.write(prompt="a fox")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    aseprite.lua("host.documents.close(host.documents.open[1])")
    picture = sprite_pixels(16, 16)
    server.frame(work, picture.tobytes(), 16, 16)
    server.done(work)
    assert cel(aseprite.sprite(1), 0)["bytes"] == picture.tobytes()
    assert "was closed in the meantime" in aseprite.status()


def test_an_inpainted_sprite_that_was_closed_loses_nothing_either(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.select(1, 1, 2, 2)
    aseprite.write(prompt="a fox", input="Inpaint the selection")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    aseprite.lua("host.documents.close(host.documents.open[1])")
    picture = sprite_pixels(8, 8)
    server.frame(work, picture.tobytes(), 8, 8)
    server.done(work)
    assert cel(aseprite.sprite(1), 0)["bytes"] == picture.tobytes()


def test_the_artist_may_go_on_in_another_sprite(aseprite: Aseprite, server: Server) -> None:
    first = aseprite.open_sprite(8, 8)
    aseprite.write(prompt="a fox")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    second = aseprite.open_sprite(30, 30)
    picture = sprite_pixels(8, 8)
    server.frame(work, picture.tobytes(), 8, 8)
    server.done(work)
    assert cel(aseprite.sprite(first), 1)["bytes"] == picture.tobytes()
    assert aseprite.sprite(first)["undo"] == 1
    assert aseprite.sprite(second)["undo"] == 0
    assert aseprite.lua(f"return host.documents.active == host.documents.open[{second}]")


def test_the_frame_that_was_active_gets_the_layer_and_a_deleted_one_the_last(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.open_sprite(8, 8)
    document = "host.documents.open[1]"
    aseprite.lua(f"{document}.content.frames = {{{{duration=.1}}, {{duration=.1}}, {{duration=.1}}}}")
    aseprite.lua(f"host.documents.frame[{document}] = 2")
    draw(aseprite, server, [sprite_pixels(8, 8)])
    assert list(aseprite.sprite()["layers"][1]["cels"]) == ["2"]
    aseprite.lua(f"host.documents.frame[{document}] = 3")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    aseprite.lua(f"table.remove({document}.content.frames); host.documents.frame[{document}] = 1")
    server.frame(work, sprite_pixels(8, 8).tobytes(), 8, 8)
    server.done(work)
    assert list(aseprite.sprite()["layers"][2]["cels"]) == ["2"]


def test_a_mode_that_changed_in_mid_job_is_followed(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.write(prompt="a fox")
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    aseprite.lua("host.documents.open[1].content.mode = 2")
    picture = sprite_pixels(8, 8)
    server.frame(work, picture.tobytes(), 8, 8)
    server.done(work)
    assert aseprite.rendered() == picture.tobytes()


def test_what_cannot_be_placed_leaves_no_half_and_comes_as_a_new_sprite(
    aseprite: Aseprite, server: Server
) -> None:
    """A tag behind the last frame: Aseprite would refuse it. All of it is taken back."""
    aseprite.open_sprite(8, 8)
    before = aseprite.sprite()
    aseprite.write(prompt="a fox", motion="Walk", frames=2)
    aseprite.press("generate")
    work = server.asked()[0]["id"]
    for index in range(2):
        server.frame(work, sprite_pixels(8, 8).tobytes(), 8, 8, index=index, count=2)
    server.done(work, tags=[{"name": "walk", "from": "x", "to": 1}])
    assert "It could not be placed in its sprite, and is in a new one" in aseprite.status()
    assert aseprite.sprite(1) == before
    assert len(aseprite.sprite(2)["frames"]) == 2
    assert aseprite.look("generate")["enabled"]


def test_long_and_foreign_prompts_name_their_layer_in_whole_characters(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.open_sprite(8, 8)
    for prompt in ("  die kleine Füchsin\n im Walde schläft und träumt von Mäusen ", "狐" * 50):
        aseprite.write(prompt=prompt)
        aseprite.press("generate")
        work = server.asked()[0]["id"]
        server.frame(work, sprite_pixels(8, 8).tobytes(), 8, 8)
        server.done(work, seed=3)
    names = [layer["name"] for layer in aseprite.sprite()["layers"][1:]]
    assert names == ["die kleine Füchsin im Walde schl… | seed 3", "狐" * 32 + "… | seed 3"]


def test_the_server_tells_what_it_did_and_the_dialog_says_it(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    draw(
        aseprite,
        server,
        [sprite_pixels(8, 8)],
        {"notes": ["The background was found by its border."], "seed": 42, "proof": {"colors": 5}},
    )
    assert (
        "seed 42, 5 colours, starter-339, torch. The background was found by its border." in aseprite.status()
    )
