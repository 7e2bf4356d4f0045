# SPDX-License-Identifier: Apache-2.0
"""/v1/pixel over the whole of sprites, with drawings and pixels made by Pillow."""

import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from tests.sprite_bench import Studio, sprite_studio
from tests.unit.api.services import Outgoing

from inglenook.api.description import description_router
from inglenook.api.errors import render_json
from inglenook.api.language.pictures import Pictures
from inglenook.api.pixel import pixel_router
from inglenook.base.errors import Failed
from inglenook.base.ids import OWNER
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.gallery.links import PictureLinks
from inglenook.pixels.model import known_fields
from inglenook.pixels.places import FORMATS, PLACES, has_place
from inglenook.sprites.palettes import Palettes
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import opened, png_of

pytestmark = pytest.mark.anyio


@dataclass
class Door:
    http: httpx.AsyncClient
    studio: Studio

    async def refused(self, path: str, *, status: int = 400, **request: Any) -> dict[str, Any]:
        answer = await self.http.post(path, **request)
        assert answer.status_code == status, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with sprite_studio(tmp_path) as studio:
        app = application(studio)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8190") as http:
            yield Door(http, studio)


def application(studio: Studio) -> FastAPI:
    app = FastAPI(title="test", docs_url=None, redoc_url=None, openapi_url=None)
    clock = FakeClock()
    pictures = Pictures(
        gallery=studio.gallery,
        links=PictureLinks(secret=b"s" * 32, lifetime_s=None, clock=clock),
        outgoing=Outgoing(),
        clock=clock,
        max_bytes=1 << 20,
        max_pixels=1 << 20,
    )
    add_routes(
        app.router,
        pixel_router(
            sprites=studio.service,
            jobs=studio.jobs,
            palettes=Palettes(),
            pictures=pictures,
            max_body_bytes=1 << 20,
        ),
        description_router(),
    )
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_json},
        allowed_hosts=(),
        max_body_bytes=1 << 20,
        clock=clock,
    )
    return app


def canvas(width: int = 64, height: int = 64) -> bytes:
    return png_of(Image.new("RGBA", (width, height), (20, 40, 60, 255)))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(encoded: str) -> Image.Image:
    return opened(base64.b64decode(encoded))


async def test_words_become_a_job(door: Door) -> None:
    answer = await door.http.post("/v1/pixel/sprites", json={"prompt": "a fox"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["kind"] == "sprite"
    done = await door.studio.jobs.wait(job["id"])
    assert done.state == "succeeded"


async def test_whoever_waits_gets_the_sprites(door: Door) -> None:
    asked = {"prompt": "a fox", "n": 2, "seed": 5, "recipe": {"width": 16, "height": 16, "colors": 4}}
    answer = await door.http.post("/v1/pixel/sprites?wait=true", json=asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["engine"], body["model"], body["seeds"]) == ("torch", "starter-339", [5, 6])
    assert len(body["sprites"]) == 2
    for sprite in body["sprites"]:
        (frame_json,) = sprite["frames"]
        assert picture(frame_json["png"]).size == (16, 16)
        assert sprite["proofs"][0]["within_palette"] is True
        assert all(color.startswith("#") for color in sprite["palette"])
    assert body["palette"] == body["sprites"][0]["palette"]


async def test_an_animation_comes_frame_by_frame_with_its_tag(door: Door) -> None:
    asked = {
        "prompt": "a fox",
        "frames": 4,
        "motion": "walk",
        "frame_ms": 80,
        "recipe": {"palette": "gameboy"},
    }
    names = [one["name"] for one in (await door.http.get("/v1/pixel/palettes")).json()["data"]]
    asked["recipe"] = {"palette": names[0]}
    body = (await door.http.post("/v1/pixel/sprites?wait=true", json=asked)).json()
    assert body["tags"] == [{"name": "walk", "first": 0, "last": 3}]
    frames = body["sprites"][0]["frames"]
    assert [one["duration_ms"] for one in frames] == [80] * 4
    assert body["sprites"][0]["media_type"] == "image/gif"


async def test_a_selection_of_a_canvas_is_redrawn(door: Door) -> None:
    selection = Image.new("RGBA", (64, 64))
    selection.paste("white", (8, 8, 24, 24))
    asked = {"prompt": "a fox", "image": text(canvas()), "mask": text(png_of(selection))}
    body = (await door.http.post("/v1/pixel/sprites?wait=true", json=asked)).json()
    assert body["sprites"][0]["width"] == 64


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"promt": "a fox"}, "promt", "did you mean prompt"),
        ({"width": 32}, "width", "belongs into recipe"),
        ({"recipe": 5}, "recipe", "must be an object; got 5"),
        ({"image": "abc"}, "image", "send the bytes of the picture's file"),
        ({"n": 0}, "n", "at least 1"),
        ({"frames": "4"}, "frames", "whole number"),
        ({"engine": "cuda"}, "engine", "must be one of"),
        ({"recipe": {"colors": 300}}, "recipe.colors", "0 to 256"),
        ({"recipe": {"palette": []}}, "recipe.palette", "0 colours"),
        ({"recipe": {"palette": ["#000000"] * 257}}, "recipe.palette", "257 colours"),
        ({"recipe": {"width": 0}}, "recipe.width", "1 to 4096"),
        ({"recipe": {"widht": 8}}, "recipe.widht", "did you mean width"),
        ({"motion": "walk"}, "frames", "frames is 1"),
        ({"prompt": "a\x00fox"}, "prompt", "NUL"),
        ({"image": "%%%"}, "image", "not base64"),
        ({"mask": text(canvas())}, "mask", "no image"),
    ],
)
async def test_bad_fields_are_refused_by_name(
    door: Door, fields: dict[str, Any], field: str, words: str
) -> None:
    error = await door.refused("/v1/pixel/sprites", json={"prompt": "a fox"} | fields)
    assert error["param"] == field
    assert words in error["message"]


async def test_an_engine_that_is_not_here_is_unavailable(door: Door) -> None:
    error = await door.refused("/v1/pixel/sprites", status=503, json={"prompt": "a fox", "engine": "sdcpp"})
    assert (error["code"], error["param"]) == ("engine.not_installed", "engine")
    assert error["hint"] is not None


async def test_a_job_that_fails_tells_why_to_whoever_waits(door: Door) -> None:
    door.studio.pixels.fails[0] = Failed("The pixel worker died.", code="pixels.failed")
    error = await door.refused("/v1/pixel/sprites?wait=true", status=500, json={"prompt": "a fox"})
    assert error["code"] == "pixels.failed"


async def test_a_picture_becomes_a_sprite(door: Door) -> None:
    files = {"image": ("a.png", canvas(), "image/png")}
    answer = await door.http.post(
        "/v1/pixel/convert", files=files, data={"recipe": json.dumps({"width": 8, "height": 8})}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["width"], body["height"], body["palette"]) == (8, 8, ["#14283c"])
    assert picture(body["png"]).size == (8, 8)
    assert set(body) == {
        "width", "height", "png", "palette", "proof", "grid", "offset", "pivot", "notes",
    }  # fmt: skip


async def test_several_pictures_become_frames(door: Door) -> None:
    files = [("image", ("a.png", canvas(), "image/png")), ("image", ("b.png", canvas(8, 8), "image/png"))]
    answer = await door.http.post("/v1/pixel/convert", files=files, data={"animation": "true"})
    assert len(answer.json()["frames"]) == 2


async def test_a_drawing_of_the_gallery_is_reduced_anew(door: Door) -> None:
    made = (await door.http.post("/v1/pixel/sprites?wait=true", json={"prompt": "a fox"})).json()
    fields = {"picture_id": made["sprites"][0]["picture_id"], "recipe": json.dumps({"width": 24})}
    answer = await door.http.post("/v1/pixel/convert", files={}, data=fields, headers=FORM)
    assert answer.status_code == 400, "no form at all"
    answer = await door.http.post("/v1/pixel/convert", files=texts(fields))
    assert answer.status_code == 200, answer.text
    assert answer.json()["width"] == 24


FORM = {"content-type": "application/x-www-form-urlencoded"}


def texts(fields: dict[str, str]) -> dict[str, tuple[None, str]]:
    """A multipart form without files."""
    return {name: (None, value) for name, value in fields.items()}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "image"),
        ({"picture_id": "pic_none"}, None),
        ({"picture_id": "../x"}, None),
        ({"recipe": "nonsense", "picture_id": "pic_none"}, "recipe"),
        ({"recipe": "[]", "picture_id": "pic_none"}, "recipe"),
        ({"animation": "perhaps", "picture_id": "pic_none"}, "animation"),
        ({"source": "memory", "picture_id": "pic_none"}, "source"),
        ({"recipies": "{}"}, "recipies"),
    ],
)
async def test_a_conversion_that_cannot_be_is_refused(
    door: Door, fields: dict[str, str], field: str | None
) -> None:
    status = 400 if field is not None else 404
    sent = texts(fields or {"recipe": "{}"})
    error = await door.refused("/v1/pixel/convert", status=status, files=sent)
    assert error["param"] == field


async def test_an_animation_of_the_gallery_is_exported_with_its_durations(door: Door) -> None:
    asked = {"prompt": "a fox", "frames": 3, "frame_ms": 70}
    made = (await door.http.post("/v1/pixel/sprites?wait=true", json=asked)).json()
    spec = json.dumps(
        {"format": "aseprite", "name": "my fox", "tags": [{"name": "run", "first": 0, "last": 2}]}
    )
    sent = texts({"picture_id": made["sprites"][0]["picture_id"], "spec": spec})
    answer = await door.http.post("/v1/pixel/export", files=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''my%20fox.gif"
    order = door.studio.pixels.orders[-1]
    assert order.durations_ms == (70, 70, 70)
    assert order.tags[0].name == "run"
    assert Image.open(io.BytesIO(answer.content)).format == "GIF"


async def test_frames_that_are_sent_are_exported(door: Door) -> None:
    files = [("frames", ("a.png", canvas(8, 8), "image/png"))] * 2
    spec = json.dumps({"format": "gif", "durations_ms": [10, 20], "scale": 2, "loop": False})
    answer = await door.http.post("/v1/pixel/export", files=files, data={"spec": spec})
    assert answer.status_code == 200
    order = door.studio.pixels.orders[-1]
    assert (order.durations_ms, order.scale, order.loop) == ((10, 20), 2, False)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.format"),
        ({"format": "bmp"}, "spec.format"),
        ({"format": "gif", "scale": 0}, "spec.scale"),
        ({"format": "gif", "durations_ms": [0]}, "spec.durations_ms.0"),
        ({"format": "gif", "palette": [[0, 0, 256]]}, "spec.palette.0.2"),
        ({"format": "gif", "name": "../up"}, "spec.name"),
        ({"format": "gif", "frame_ms": 80}, "spec.frame_ms"),
    ],
)
async def test_an_export_that_cannot_be_is_refused(door: Door, spec: dict[str, Any], field: str) -> None:
    files = {"frames": ("a.png", canvas(8, 8), "image/png")}
    error = await door.refused("/v1/pixel/export", files=files, data={"spec": json.dumps(spec)})
    assert error["param"] == field


ASKED: dict[str, Any] = {
    "durations_ms": [80],
    "tags": [{"name": "walk", "first": 0, "last": 0}],
    "layers": ["ink"],
    "palette": [[20, 40, 60]],
    "loop": False,
    "scale": 2,
    "columns": 3,
    "padding": 1,
}


@pytest.mark.parametrize("format_", FORMATS)
async def test_an_export_refuses_what_its_format_has_no_place_for(door: Door, format_: str) -> None:
    files = {"frames": ("a.png", canvas(8, 8), "image/png")}
    assert set(ASKED) == set(PLACES)
    for field, value in ASKED.items():
        spec = {"spec": json.dumps({"format": format_, field: value})}
        if has_place(format_, field):
            assert (await door.http.post("/v1/pixel/export", files=files, data=spec)).status_code == 200
            continue
        error = await door.refused("/v1/pixel/export", files=files, data=spec)
        assert error["param"] == f"spec.{field}"
        assert f"has no place for {field}" in error["message"]
        assert f"leave {field} out, or write {', '.join(PLACES[field])}" in error["hint"]


async def test_what_is_sent_as_it_would_be_anyway_is_no_wish(door: Door) -> None:
    files = {"frames": ("a.png", canvas(8, 8), "image/png")}
    spec = {"format": "ico", "loop": True, "scale": 1, "padding": 0, "tags": [], "palette": None}
    answer = await door.http.post("/v1/pixel/export", files=files, data={"spec": json.dumps(spec)})
    assert answer.status_code == 200


async def test_a_recipe_for_a_picture_is_refused_by_the_way_to_its_field(door: Door) -> None:
    files = {"image": ("a.png", canvas(), "image/png")}
    recipe = {"recipe": json.dumps({"dither": "bayer-3"})}
    assert (await door.refused("/v1/pixel/convert", files=files, data=recipe))["param"] == "recipe.dither"


async def test_a_size_that_cannot_be_drawn_is_told_by_the_fields_that_asked_for_it(door: Door) -> None:
    asked = {"prompt": "a fox", "base_width": 4096, "base_height": 4096}
    assert (await door.refused("/v1/pixel/sprites", json=asked))["param"] == "base_width"


async def test_the_lists_answer(door: Door) -> None:
    palettes = (await door.http.get("/v1/pixel/palettes")).json()["data"]
    assert len(palettes) > 5
    assert all(one["licence"] and one["colors"] for one in palettes)
    presets = (await door.http.get("/v1/pixel/presets")).json()
    assert {"presets", "styles", "motions", "sizes", "base_sizes"} <= set(presets)
    engines = (await door.http.get("/v1/pixel/engines")).json()["data"]
    assert [one["name"] for one in engines] == ["torch", "mlx", "sdcpp"]
    assert engines[2]["why_not"] == "sd-server is not here."


async def test_a_palette_file_is_read(door: Door) -> None:
    gpl = b"GIMP Palette\nName: two\n#\n0 0 0\tblack\n255 128 0\torange\n"
    answer = await door.http.post(
        "/v1/pixel/palettes/read", files={"file": ("two.gpl", gpl)}, data={"name": "two.gpl"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["colors"] == ["#000000", "#ff8000"]
    error = await door.refused("/v1/pixel/palettes/read", files={"file": ("x.gpl", b"GIMP Palette\n")})
    assert error["hint"]
    error = await door.refused("/v1/pixel/palettes/read", files=texts({"name": "x.gpl"}))
    assert error["param"] == "file"


async def test_the_description_knows_the_recipe(door: Door) -> None:
    described = (await door.http.get("/openapi.json")).json()
    body = described["paths"]["/v1/pixel/sprites"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    assert set(fields["recipe"]["properties"]) == known_fields()


async def test_what_is_made_belongs_to_the_caller(door: Door) -> None:
    await door.http.post("/v1/pixel/sprites?wait=true", json={"prompt": "a fox"})
    assert len(door.studio.gallery.list(OWNER, limit=10)) == 1


async def test_a_sprite_is_kept_where_that_is_asked_for(door: Door) -> None:
    files = [("image", ("a.png", canvas(), "image/png")), ("image", ("b.png", canvas(48, 48), "image/png"))]
    fields = {"recipe": json.dumps({"width": 8, "height": 8}), "animation": "true", "keep": "true"}
    answer = await door.http.post("/v1/pixel/convert", files=files, data=fields | {"frame_ms": "40"})
    assert answer.status_code == 200, answer.text
    kept = door.studio.gallery.get(answer.json()["picture_id"], caller=OWNER)
    assert kept.parameters["sprite"]["durations_ms"] == [40, 40]
    fields |= {"picture_id": kept.id}
    answer = await door.http.post("/v1/pixel/convert", files=texts(fields))
    assert len(answer.json()["frames"]) == 2
    assert answer.json()["picture_id"] != kept.id
    for wrong, field in (
        ({"frame_ms": "0.5"}, "frame_ms"),
        ({"keep": "maybe"}, "keep"),
        ({"animation": "no"}, "animation"),
    ):
        error = await door.refused("/v1/pixel/convert", files=files, data=fields | wrong)
        assert error["param"] == field
    error = await door.refused("/v1/pixel/convert", files=files, data={"keep": "true"})
    assert error["param"] == "keep"
