# SPDX-License-Identifier: Apache-2.0
"""What the dialog asks of the server, and what it says instead of asking."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.aseprite.host import GRAY, INDEXED, Aseprite, started
from tests.clients.aseprite.server import Server


def asked(aseprite: Aseprite, server: Server, **values: object) -> dict[str, Any]:
    aseprite.write(prompt="a fox", **values)
    aseprite.press("generate")
    return server.asked()[0]


def test_everything_that_is_written_is_sent(aseprite: Aseprite, server: Server) -> None:
    sent = asked(
        aseprite, server, negative_prompt="mud", size="64 x 96", base_size="1024 x 1024", fit="cover",
        steps=31, guidance=6.5, seed=99, colors=12, remove_background=True, variants=3, engine="torch",
        model="pixel-xl", lora="pixel-art-xl", lora_strength=1.25, style="8-bit", dither="bayer-4",
        outline="outside", reduction="k-centroid", tile="both",
    )  # fmt: skip
    work = sent.pop("id")
    assert len(work) == 36
    assert sent == {
        "type": "generate", "prompt": "a fox", "negative_prompt": "mud", "width": 1024, "height": 1024,
        "recipe": {"dither": "bayer-4", "outline": "outside", "reduction": "k-centroid", "tile": "both"},
        "pixel_width": 64, "pixel_height": 96, "fit_mode": "cover", "steps": 31, "guidance_scale": 6.5,
        "seed": 99, "style": "8-bit",
        "colors": 12, "remove_background": True, "n": 3, "frames": 1, "engine": "torch", "model": "pixel-xl",
        "lora_model": "pixel-art-xl", "lora_strength": 1.25, "previews": True,
    }  # fmt: skip


def test_what_is_left_to_the_server_is_not_sent(aseprite: Aseprite, server: Server) -> None:
    sent = asked(aseprite, server)
    assert sent["engine"] == "auto"
    own = ("width", "height", "steps", "guidance_scale")
    assert [sent[name] for name in own] == [None] * 4, "null is the model's own; left out, PixelAI's"
    assert sent.keys().isdisjoint(
        {"model", "seed", "lora_model", "lora_strength", "init_image", "mask", "strength", "palette",
         "recipe", "style", "continue_tile", "motion", "frame_ms"}
    )  # fmt: skip


def test_the_seed_nought_is_a_seed(aseprite: Aseprite, server: Server) -> None:
    assert asked(aseprite, server, seed=0)["seed"] == 0


@pytest.mark.parametrize(
    "prompt", ["café", "Ein Müllmännchen", "狐の剣士", "🦊 fox", 'a "quoted" \\ fox', "Ёж"]
)
def test_prompts_arrive_as_they_were_written(aseprite: Aseprite, server: Server, prompt: str) -> None:
    aseprite.write(prompt=prompt)
    aseprite.press("generate")
    assert server.asked()[0]["prompt"] == prompt


def test_a_walk_is_asked_for_with_its_frames_and_one_variant(aseprite: Aseprite, server: Server) -> None:
    aseprite.write(variants=4, motion="Walk", frames=6, frame_ms=80)
    sent = asked(aseprite, server)
    assert (sent["n"], sent["frames"], sent["motion"], sent["frame_ms"]) == (1, 6, "walk", 80)


def test_a_motion_in_words(aseprite: Aseprite, server: Server) -> None:
    sent = asked(aseprite, server, motion="In words", motion_words="waves its tail", frames=4)
    assert sent["motion"] == "waves its tail"


# Colours


def test_the_palette_of_the_sprite_is_sent_without_doubles_and_without_what_is_transparent(
    aseprite: Aseprite, server: Server
) -> None:
    palette = [(1, 2, 3, 255), (255, 0, 0, 255), (0, 255, 0, 255), (255, 0, 0, 255), (9, 9, 9, 0)]
    aseprite.open_sprite(8, 8, INDEXED, palette=palette)
    assert asked(aseprite, server, palette_source="Of the sprite")["palette"] == ["#ff0000", "#00ff00"]


def test_a_palette_of_the_server_is_sent_by_its_name(aseprite: Aseprite, server: Server) -> None:
    sent = asked(aseprite, server, palette_source="Of the server", server_palette="two")
    assert sent["palette"] == "two"
    assert "colors" not in sent


def test_a_palette_file_is_read_by_aseprite_and_sent(aseprite: Aseprite, server: Server) -> None:
    aseprite.lua(r'host.sprites.files["C:\\art\\möbius.gpl"] = {{16, 32, 48, 255}, {0, 0, 0, 255}}')
    sent = asked(aseprite, server, palette_source="From a file", palette_file="C:\\art\\möbius.gpl")
    assert sent["palette"] == ["#102030", "#000000"]


def test_every_colour_is_no_limit(aseprite: Aseprite, server: Server) -> None:
    assert asked(aseprite, server, palette_source="Every colour")["colors"] == 0


# The canvas and the selection


def colours(width: int, height: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    return pixels


@pytest.mark.parametrize("alignment", [1, 16])
def test_the_canvas_is_sent_as_it_looks_whatever_the_padding_of_rows(extension: Path, alignment: int) -> None:
    with started(extension, f"host.images.alignment = {alignment}") as aseprite:
        aseprite.command()
        server = Server(aseprite)
        server.welcome()
        pixels = colours(9, 5)
        aseprite.open_sprite(9, 5, pixels=pixels.tobytes())
        aseprite.write(prompt="x", input="The canvas", strength=35)
        aseprite.press("generate")
        sent, uploads = server.asked()
    assert (sent["init_image"], sent["strength"]) == ("canvas", 0.35)
    assert uploads["canvas"][0] == {
        "type": "upload",
        "name": "canvas",
        "width": 9,
        "height": 5,
        "format": "rgba",
    }
    assert uploads["canvas"][1] == pixels.tobytes()
    assert "mask" not in sent


def test_gray_and_indexed_sprites_are_sent_in_colour(aseprite: Aseprite, server: Server) -> None:
    aseprite.write(prompt="x", input="The canvas")
    aseprite.open_sprite(2, 1, GRAY, bytes([10, 255, 200, 255]))
    aseprite.press("generate")
    sent, uploads = server.asked()
    assert list(uploads["canvas"][1]) == [10, 10, 10, 255, 200, 200, 200, 255]
    server.say(type="error", id=sent["id"], code="CANCELED", error="")
    aseprite.open_sprite(2, 1, INDEXED, bytes([0, 1]), [(0, 0, 0, 255), (5, 6, 7, 255)])
    aseprite.press("generate")
    assert list(server.asked()[1]["canvas"][1]) == [0, 0, 0, 0, 5, 6, 7, 255]


def test_a_selection_is_sent_without_what_lies_between(aseprite: Aseprite, server: Server) -> None:
    """Of one with a hole and a part outside the canvas: its bounds on the canvas, the hole transparent."""
    pixels = colours(8, 6)
    aseprite.open_sprite(8, 6, pixels=pixels.tobytes())
    aseprite.select(5, 2, 10, 3)
    aseprite.lua("host.deselect(1, 6, 3)")
    aseprite.write(prompt="x", input="The selection", size="As the selection")
    aseprite.press("generate")
    sent, uploads = server.asked()
    assert (sent["pixel_width"], sent["pixel_height"]) == (3, 3)
    expected = pixels[2:5, 5:8].copy()
    expected[1, 1] = 0
    assert uploads["canvas"][1] == expected.tobytes()
    assert (uploads["canvas"][0]["width"], uploads["canvas"][0]["height"]) == (3, 3)


def test_inpainting_sends_the_canvas_and_a_mask_of_its_size(aseprite: Aseprite, server: Server) -> None:
    pixels = colours(6, 4)
    aseprite.open_sprite(6, 4, pixels=pixels.tobytes())
    aseprite.select(-3, 1, 5, 2)
    aseprite.lua("host.deselect(1, 0, 2)")
    aseprite.write(prompt="x", input="Inpaint the selection")
    aseprite.press("generate")
    sent, uploads = server.asked()
    assert (sent["init_image"], sent["mask"], sent["pixel_width"], sent["pixel_height"]) == (
        "canvas",
        "sel",
        6,
        4,
    )
    assert list(uploads) == ["canvas", "sel"]
    assert uploads["canvas"][1] == pixels.tobytes()
    mask = np.frombuffer(uploads["sel"][1], np.uint8).reshape(4, 6, 4)
    chosen = np.zeros((4, 6), bool)
    chosen[1:3, 0:2] = True
    chosen[2, 0] = False
    assert (mask == np.where(chosen, 255, 0)[..., None]).all()


def test_a_tile_is_continued_from_the_selection_or_the_canvas(aseprite: Aseprite, server: Server) -> None:
    pixels = colours(8, 6)
    aseprite.open_sprite(8, 6, pixels=pixels.tobytes())
    aseprite.write(prompt="x", input="Continue a tile", side="To the left")
    aseprite.press("generate")
    sent, uploads = server.asked()
    assert (sent["continue_tile"], sent["init_image"]) == ("left", "canvas")
    assert (sent["pixel_width"], sent["pixel_height"]) == (8, 6)
    assert sent.keys().isdisjoint({"strength", "mask"})
    assert uploads["canvas"][1] == pixels.tobytes()
    server.say(type="error", id=sent["id"], code="CANCELED", error="")
    aseprite.select(2, 2, 4, 4)
    aseprite.write(side="Downwards")
    aseprite.press("generate")
    sent, uploads = server.asked()
    assert (sent["continue_tile"], sent["pixel_width"], sent["pixel_height"]) == ("down", 4, 4)
    assert uploads["canvas"][1] == pixels[2:6, 2:6].tobytes()
    server.say(type="error", id=sent["id"], code="CANCELED", error="")
    aseprite.write(motion="Walk")
    aseprite.press("generate")
    assert "still picture" in aseprite.status()


# What is said instead


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompt": "  "}, "Write what should be drawn"),
        ({"size": "Other", "width": 0}, "1 to 4096 pixels a side, not 0 x 64"),
        ({"size": "Other", "height": 4097}, "not 64 x 4097"),
        ({"size": "As the canvas"}, "There is no sprite whose size could be taken"),
        ({"input": "The canvas"}, "There is no sprite to draw from"),
        ({"input": "Inpaint the selection"}, "There is no sprite whose size could be taken"),
        ({"colors": 0}, "1 to 256 colours, not 0"),
        ({"colors": 300}, "1 to 256 colours, not 300"),
        ({"palette_source": "Of the sprite"}, "There is no sprite with a palette"),
        ({"palette_source": "Of the server"}, "Choose one of the server's palettes"),
        ({"palette_source": "From a file"}, "Choose a palette file"),
        ({"variants": 0}, "1 to 32 variants"),
        ({"variants": 33}, "not 33"),
        ({"input": "Continue a tile"}, "There is no sprite to draw from"),
        ({"motion": "Walk", "frames": 1}, "2 to 64 frames, not 1"),
        ({"motion": "In words"}, "Say in words what moves"),
    ],
)
def test_what_cannot_be_asked_is_said_with_what_to_change(
    aseprite: Aseprite, server: Server, values: dict[str, object], words: str
) -> None:
    aseprite.write(**({"prompt": "a fox"} | values))
    aseprite.press("generate")
    assert words in aseprite.status()
    assert aseprite.taken() == []
    assert aseprite.look("generate")["enabled"]


def test_a_selection_is_wanted_where_it_is_used(aseprite: Aseprite, server: Server) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.write(prompt="x", input="The selection")
    aseprite.press("generate")
    assert aseprite.status().startswith("Nothing is selected")
    aseprite.select(20, 20, 4, 4)
    aseprite.press("generate")
    assert aseprite.status() == "The selection lies outside the canvas: nothing of it can be used."


def test_a_selection_whose_pixels_all_lie_outside_is_said_though_its_bounds_touch(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.open_sprite(8, 8)
    aseprite.select(-1, 0, 1, 1)
    aseprite.select(0, 8, 1, 1)
    aseprite.write(prompt="x", input="The selection")
    aseprite.press("generate")
    assert "no pixel on the canvas" in aseprite.status()


def test_a_huge_canvas_is_not_sent(aseprite: Aseprite) -> None:
    aseprite.command()
    Server(aseprite).welcome(limits={"max_upload_bytes": 4 * 99})
    aseprite.taken()
    aseprite.open_sprite(10, 10)
    aseprite.write(prompt="x", input="The canvas")
    aseprite.press("generate")
    assert aseprite.status() == (
        "The canvas is too large to be sent (10 x 10; at most 99 pixels in all). "
        "Use a smaller selection as input."
    )
    assert aseprite.taken() == []


def test_a_palette_file_that_cannot_be_read_is_said(aseprite: Aseprite, server: Server) -> None:
    aseprite.lua('host.sprites.files["/art/broken.gpl"] = false')
    aseprite.lua('host.sprites.files["/art/secret.gpl"] = "not allowed"')
    aseprite.write(prompt="x", palette_source="From a file")
    for name in ("broken.gpl", "secret.gpl"):
        aseprite.write(palette_file=f"/art/{name}")
        aseprite.press("generate")
        assert aseprite.status() == f"The palette could not be read from {name}."


def test_a_connection_that_breaks_while_the_request_is_sent_is_said(
    aseprite: Aseprite, server: Server
) -> None:
    aseprite.lua("host.sockets.made[1].open = false")
    aseprite.write(prompt="x")
    aseprite.press("generate")
    assert "nothing was drawn" in aseprite.status()
    assert aseprite.look("generate")["enabled"]
