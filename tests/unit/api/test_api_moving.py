# SPDX-License-Identifier: Apache-2.0
"""OpenAI's moving pictures: `output_format` gif, over the whole of sprites, with the real SDK."""

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from PIL import Image
from tests.sprite_bench import Studio, sprite_studio
from tests.unit.api.services import Nothing

from inglenook.api.errors import render_json
from inglenook.api.openai.pictures import pictures_router
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.door.routes import add_routes
from inglenook.sprites.palettes import Palettes
from inglenook.testing.clock import FakeClock
from inglenook.testing.pixels import png_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with sprite_studio(tmp_path) as made:
        yield made


@pytest.fixture
async def sdk(studio: Studio) -> AsyncIterator[openai.AsyncOpenAI]:
    app = FastAPI(title="test", docs_url=None, redoc_url=None, openapi_url=None)
    clock = FakeClock()
    router = pictures_router(
        images=Nothing(),
        jobs=studio.jobs,
        gallery=studio.gallery,
        catalog=studio.catalog,
        clock=clock,
        sprites=studio.service,
        palettes=Palettes(),
    )
    add_routes(app.router, router)
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_json},
        allowed_hosts=(),
        max_body_bytes=1 << 20,
        clock=clock,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as http:
        url = "http://127.0.0.1:8190/v1"
        yield openai.AsyncOpenAI(api_key="x", base_url=url, http_client=http, max_retries=0)


def animation(answer: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))


async def test_a_gif_has_as_many_frames_as_were_asked_for(sdk: openai.AsyncOpenAI, studio: Studio) -> None:
    answer = await sdk.images.generate(
        prompt="a fox", output_format="gif", frame_count=3, frame_duration_ms=120, size="512x512"
    )
    assert answer.output_format == "gif"
    with animation(answer) as gif:
        assert (gif.format, gif.n_frames, gif.size) == ("GIF", 3, (512, 512))  # type: ignore[attr-defined]
        assert gif.info["duration"] == 120
    assert [drawing.prompt for drawing in studio.easel.drawings] == ["a fox"] * 3


async def test_what_is_not_asked_for_is_openai_s_default(sdk: openai.AsyncOpenAI, studio: Studio) -> None:
    await sdk.images.generate(prompt="a fox", output_format="gif")
    assert len(studio.easel.drawings) == 9
    assert studio.pixels.orders[0].durations_ms == (200,) * 9


async def test_with_a_recipe_the_frames_become_pixel_art(sdk: openai.AsyncOpenAI, studio: Studio) -> None:
    answer = await sdk.images.generate(
        prompt="a fox",
        output_format="gif",
        frame_count=2,
        extra_body={"pixel": {"width": 24, "height": 24, "colors": 4}, "motion": "walk"},
    )
    with animation(answer) as gif:
        assert gif.size == (24, 24)
    assert studio.pixels.recipes[0].colors == 4


async def test_a_picture_can_be_made_to_move(sdk: openai.AsyncOpenAI, studio: Studio) -> None:
    picture = png_of(Image.new("RGB", (64, 48), "red"))
    answer = await sdk.images.edit(
        image=("a.png", picture, "image/png"),
        prompt="a fox",
        output_format="gif",
        frame_count=2,
        extra_body={"strength": 0.5},
    )
    with animation(answer) as gif:
        assert gif.size == (64, 48)
    assert [drawing.mode.value for drawing in studio.easel.drawings] == ["image", "image"]
    assert studio.easel.drawings[0].strength == 0.5


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"stream": True}, "stream"),
        ({"output_compression": 50}, "output_compression"),
        ({"frame_count": 1}, "frame_count"),
        ({"frame_count": 17}, "frame_count"),
        ({"extra_body": {"scheduler": "euler"}}, "scheduler"),
        ({"extra_body": {"pixel": {"colors": 300}}}, "pixel.colors"),
        ({"output_format": "png", "frame_count": 4}, "frame_count"),
        ({"output_format": "png", "extra_body": {"motion": "walk"}}, "motion"),
    ],
)
async def test_what_a_gif_cannot_have_is_refused_by_name(
    sdk: openai.AsyncOpenAI, studio: Studio, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.images.generate(**{"prompt": "a fox", "output_format": "gif"} | fields)
    assert refused.value.param == field
    assert studio.easel.drawings == []


async def test_a_mask_is_not_taken_for_a_gif(sdk: openai.AsyncOpenAI) -> None:
    picture = ("a.png", png_of(Image.new("RGB", (64, 48), "red")), "image/png")
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.images.edit(image=picture, mask=picture, prompt="a fox", output_format="gif")
    assert refused.value.param == "mask"
