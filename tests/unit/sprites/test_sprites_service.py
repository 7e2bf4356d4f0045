# SPDX-License-Identifier: Apache-2.0
"""What a door asks of sprites, over a real queue, catalogue and gallery; drawings and pixels are Pillow's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inglenook.base.cancel import StopToken
from inglenook.base.errors import InglenookError, Invalid, NotFound
from inglenook.base.ids import OWNER, BlobId, JobId, ModelId, PersonId
from inglenook.engines.pixels import MadePicture, WriteOrder
from inglenook.gallery.model import Source
from inglenook.images import metadata
from inglenook.images.model import Engine, LoraChoice
from inglenook.jobs.model import Job, JobState
from inglenook.pixels.model import Background, Proof, Recipe
from inglenook.sprites.keeping import moving_format
from inglenook.sprites.model import Side, SpriteRequest
from inglenook.testing.pixels import opened, png_of
from tests.sprite_bench import Studio, sprite_studio

pytestmark = pytest.mark.anyio


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with sprite_studio(tmp_path) as made:
        yield made


async def done(studio: Studio, asked: SpriteRequest, **fields: Any) -> Job:
    job = await studio.jobs.wait((await studio.service.submit(asked, owner=OWNER, **fields)).id)
    assert job.state is JobState.SUCCEEDED, job.error
    return job


def canvas(width: int = 64, height: int = 64) -> bytes:
    picture = Image.new("RGBA", (width, height), (20, 40, 60, 255))
    picture.paste((200, 0, 0, 255), (0, 0, 4, height))
    return png_of(picture)


def mask(box: tuple[int, int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    """As an editor sends a selection: opaque white on nothing."""
    picture = Image.new("RGBA", size)
    picture.paste((255, 255, 255, 255), box)
    return png_of(picture)


async def test_a_sprite_from_words_alone_with_the_starter(studio: Studio) -> None:
    job = await done(studio, SpriteRequest("a fox"))
    (frame,) = await studio.service.frames(job.id, person=OWNER)
    assert opened(frame).size == (32, 32)
    assert job.title == "a fox"
    assert job.result["model"] == "starter-339"
    assert job.payload["drawing"]["prompt"] == "a fox"


async def test_frames_come_variant_by_variant(studio: Studio) -> None:
    job = await done(studio, SpriteRequest("a fox", n=2, frames=3, motion="idle", seed=1))
    frames = await studio.service.frames(job.id, person=OWNER)
    assert len(frames) == 6
    kept = [blob for part in job.result["parts"] for blob in part["frames"]]
    assert [studio.blobs.read(BlobId(blob)) for blob in kept] == list(frames)
    with pytest.raises(NotFound):
        await studio.service.frames(job.id, person=PersonId("somebody"))
    with pytest.raises(NotFound):
        await studio.service.frames(JobId("job_none"), person=OWNER)


async def test_a_canvas_is_drawn_over_and_keeps_its_size(studio: Studio) -> None:
    kept = await studio.service.keep_input(canvas(48, 40))
    job = await done(studio, SpriteRequest("a fox", image=kept, strength=0.6))
    assert studio.easel.drawings[0].mode.value == "image"
    assert studio.easel.drawings[0].strength == 0.6
    assert opened((await studio.service.frames(job.id, person=OWNER))[0]).size == (48, 40)


async def test_a_selection_is_redrawn_pixel_for_pixel_and_the_rest_stays(studio: Studio) -> None:
    before = canvas()
    kept = await studio.service.keep_input(before)
    opens = await studio.service.keep_mask(mask((20, 20, 40, 40)))
    job = await done(studio, SpriteRequest("a fox", image=kept, mask=opens, seed=3))
    drawing = studio.easel.drawings[0]
    assert (drawing.mode.value, drawing.width, drawing.height) == ("inpaint", 32, 32)
    after = opened((await studio.service.frames(job.id, person=OWNER))[0]).convert("RGBA")
    changed = [
        (x, y)
        for y in range(64)
        for x in range(64)
        if after.getpixel((x, y)) != opened(before).getpixel((x, y))
    ]
    assert changed
    assert {x for x, _ in changed} == {y for _, y in changed} == set(range(20, 40))


async def test_a_tile_is_continued(studio: Studio) -> None:
    kept = await studio.service.keep_input(canvas(32, 32))
    job = await done(studio, SpriteRequest("grass", image=kept, continue_tile=Side.RIGHT))
    assert job.payload["recipe"]["palette"] == [[20, 40, 60], [200, 0, 0]]
    assert len(studio.easel.drawings) == 2


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"model": ModelId("nothing")}, "model.not_found", "model"),
        ({"engine": Engine.MLX}, "model.not_converted", "model"),
        ({"engine": Engine.SDCPP}, "engine.not_installed", "engine"),
        ({"loras": (LoraChoice(ModelId("nothing")),)}, "model.not_found", "loras"),
        ({"style": "cubist"}, "sprite.invalid", "style"),
        ({"image": BlobId("0" * 64)}, "sprite.invalid", "image"),
        ({"prompt": ""}, "image.invalid", "prompt"),
        ({"n": 9}, "image.invalid", "n"),
        ({"steps": 151}, "image.invalid", "steps"),
    ],
)
async def test_what_cannot_be_made_never_enters_the_queue(
    studio: Studio, fields: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(InglenookError) as refused:
        await studio.service.submit(SpriteRequest(**{"prompt": "a fox"} | fields), owner=OWNER)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert await studio.jobs.list(OWNER) == []


async def test_a_selection_that_is_empty_or_of_another_size_is_refused(studio: Studio) -> None:
    kept = await studio.service.keep_input(canvas())
    for bad in (mask((0, 0, 0, 0)), mask((0, 0, 8, 8), (32, 32))):
        opens = await studio.service.keep_mask(bad)
        with pytest.raises(Invalid) as refused:
            await studio.service.submit(SpriteRequest("a fox", image=kept, mask=opens), owner=OWNER)
        assert refused.value.field == "mask"


async def test_what_is_no_picture_is_not_kept(studio: Studio) -> None:
    with pytest.raises(Invalid) as refused:
        await studio.service.keep_input(b"hello")
    assert refused.value.code == "picture.unsupported"
    with pytest.raises(Invalid) as refused:
        await studio.service.keep_mask(b"hello")
    assert refused.value.field == "mask"


async def test_the_same_key_is_the_same_job(studio: Studio) -> None:
    first = await studio.service.submit(SpriteRequest("a fox"), owner=OWNER, idempotency_key="k")
    again = await studio.service.submit(SpriteRequest("a fox"), owner=OWNER, idempotency_key="k")
    assert first.id == again.id


async def test_a_picture_becomes_a_sprite_without_a_drawing(studio: Studio) -> None:
    recipe = Recipe(width=8, height=8, background=Background.MATTE)
    made = await studio.service.convert([canvas(), canvas()], recipe, person=OWNER, stop=StopToken())
    assert [(one.width, one.height) for one in made] == [(8, 8), (8, 8)]
    assert studio.pixels.mattes == [(True, True)]
    assert studio.easel.drawings == []
    assert [one.notes for one in made] == [(), ()]


async def test_a_sprite_that_no_model_cut_out_says_so(studio: Studio) -> None:
    studio.matting.by = "border"
    recipe = Recipe(width=8, height=8, background=Background.MATTE)
    (made,) = await studio.service.convert([canvas()], recipe, person=OWNER, stop=StopToken())
    assert [note for note in made.notes if "starters install matting" in note]


async def test_a_sprite_of_the_gallery_gives_its_frames_and_its_drawings_again(studio: Studio) -> None:
    job = await done(
        studio, SpriteRequest("a fox", frames=3, frame_ms=50, recipe=Recipe(width=16, height=16))
    )
    picture = job.result["parts"][0]["picture_id"]
    kept = await studio.service.kept(picture, person=OWNER)
    assert kept.durations_ms == (50, 50, 50)
    assert [opened(one).size for one in kept.frames] == [(16, 16)] * 3
    assert [opened(one).size for one in kept.drawings] == [(32, 32)] * 3
    written = await studio.service.export(
        kept.frames, WriteOrder("gif", durations_ms=kept.durations_ms), person=OWNER, stop=StopToken()
    )
    assert written.suffix == ".gif"
    assert metadata.read(written.data) is None, "nobody asked for what it was made with"


async def test_a_file_of_a_sprite_carries_what_the_sprite_was_made_with(studio: Studio) -> None:
    recipe = Recipe(width=16, height=16)
    job = await done(studio, SpriteRequest("a fox", frames=2, seed=5, recipe=recipe))
    kept = await studio.service.kept(job.result["parts"][0]["picture_id"], person=OWNER)
    assert kept.parameters is not None
    written = await studio.service.export(
        kept.frames,
        WriteOrder("gif", scale=4),
        person=OWNER,
        stop=StopToken(),
        parameters=kept.parameters,
    )
    told = metadata.read(written.data)
    assert told == {**kept.parameters, "width": 64, "height": 64}, "enlarged, it is of another size"
    assert told["seed"] == 5


async def test_what_an_imported_picture_says_of_blobs_is_not_believed(studio: Studio) -> None:
    secret = studio.blobs.put(png_of(Image.new("RGB", (9, 9), "red"))).id
    names = {"frames": [secret], "drawings": [secret], "durations_ms": [100]}
    imported = studio.gallery.add(
        owner=OWNER,
        job=None,
        data=canvas(8, 8),
        media_type="image/png",
        width=8,
        height=8,
        model=ModelId("x"),
        prompt="x",
        seed=1,
        parameters={"sprite": names},
        source=Source.IMPORTED,
    )
    kept = await studio.service.kept(imported.id, person=OWNER)
    assert [opened(one).size for one in kept.frames] == [(8, 8)]


async def test_what_was_kept_beside_a_sprite_goes_with_it_and_not_with_its_twin(studio: Studio) -> None:
    asked = SpriteRequest("a fox", seed=1, frames=2)
    parts = []
    for _ in range(2):
        studio.easel.drawings.clear()  # it counts them, and draws the same again
        parts.append((await done(studio, asked)).result["parts"][0])
    beside = [BlobId(blob) for blob in (*parts[0]["frames"], *parts[0]["drawings"])]
    studio.gallery.delete(parts[0]["picture_id"], caller=OWNER)
    again = studio.gallery.get(parts[1]["picture_id"], caller=OWNER).beside
    assert set(again) == set(beside)
    assert all(map(studio.blobs.exists, again))
    studio.gallery.delete(parts[1]["picture_id"], caller=OWNER)
    assert not any(map(studio.blobs.exists, again))


async def test_preloading_loads_what_a_request_would_draw_with(studio: Studio) -> None:
    loaded = await studio.service.preload(ModelId("auto"), person=OWNER, stop=StopToken())
    assert (loaded, studio.loaded.models) == ("starter-339", ["starter-339"])
    with pytest.raises(InglenookError) as refused:
        await studio.service.preload(ModelId("auto"), Engine.SDCPP, person=OWNER, stop=StopToken())
    assert refused.value.code == "engine.not_installed"


async def test_the_matrix_names_every_engine(studio: Studio) -> None:
    rows = {row.name.value: row for row in await studio.service.engines()}
    assert set(rows) == {"torch", "mlx", "sdcpp"}
    assert rows["torch"].models == ("starter-339",)
    assert rows["mlx"].models == ()
    assert not rows["sdcpp"].available


async def test_a_sprite_of_a_picture_is_kept_with_its_frames_and_what_they_were_made_of(
    studio: Studio,
) -> None:
    recipe, pictures = Recipe(width=8, height=8), [canvas(), canvas(48, 48)]
    stop = StopToken()
    made = await studio.service.convert(pictures, recipe, person=OWNER, stop=stop, whole_animation=True)
    kept = await studio.service.keep(made, pictures, recipe, frame_ms=70, of=None, person=OWNER, stop=stop)
    assert (kept.source, kept.job, kept.media_type) == (Source.MADE, None, "image/gif")
    assert kept.parameters["sprite"]["recipe"]["width"] == 8
    again = await studio.service.kept(kept.id, person=OWNER)
    assert again.frames == tuple(one.png for one in made)
    assert again.durations_ms == (70, 70)
    assert [opened(one).size for one in again.drawings] == [(64, 64), (48, 48)]


async def test_a_sprite_that_is_made_anew_of_a_drawn_one_keeps_its_words(studio: Studio) -> None:
    job = await done(studio, SpriteRequest("a fox", seed=7))
    drawn = job.result["parts"][0]["picture_id"]
    before = await studio.service.kept(drawn, person=OWNER)
    recipe, stop = Recipe(width=8, height=8), StopToken()
    made = await studio.service.convert(before.drawings, recipe, person=OWNER, stop=stop)
    kept = await studio.service.keep(
        made, before.drawings, recipe, frame_ms=100, of=drawn, person=OWNER, stop=stop
    )
    assert (kept.prompt, kept.seed, kept.model) == ("a fox", 7, "starter-339")
    assert (kept.width, kept.media_type) == (8, "image/png")
    assert kept.parameters["sprite"]["drawings"] == job.result["parts"][0]["drawings"]
    with pytest.raises(NotFound):
        await studio.service.keep(
            made, before.drawings, recipe, frame_ms=100, of=drawn, person=PersonId("somebody"), stop=stop
        )


def test_frames_are_shown_as_a_gif_where_their_colours_fit_into_one() -> None:
    def frame(colors: int, alphas: tuple[int, ...]) -> MadePicture:
        proof = Proof(16, 16, colors, None, 0, alphas, None, None, None)
        return MadePicture(b"", 16, 16, None, proof, None, (0, 0), (0, 0), ())

    assert moving_format([frame(256, (255,)), frame(255, (0, 255))]) == "gif"
    assert moving_format([frame(4, (255,)), frame(256, (0, 255))]) == "webp"


async def test_the_default_model_is_the_one_that_auto_draws_with(studio: Studio) -> None:
    assert studio.service.default_model() == "starter-339"
