# SPDX-License-Identifier: Apache-2.0
"""PixelAI's HTTP API: every row of its table, and what the original does wrong."""

import base64
import concurrent.futures
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.databases import fresh_sqlite
from tests.unit.api.pixel_house import ADDRESS, PASSWORD, ROOT_PORT, PixelHouse, calling, pixels_of

from inglenook.api.pixelai.codes import code_of
from inglenook.api.pixelai.tracks import DONE_S, FAILED_S, FORGET_S
from inglenook.base.errors import Failed, InglenookError, Invalid, Unavailable
from inglenook.base.ids import OWNER, ModelId
from inglenook.sprites.model import SpriteRequest
from inglenook.store.database import Database

ID = "6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a0001"
OTHER = "00000000-0000-4000-8000-000000000000"
CAT = {
    "prompt": "cat", "steps": 3, "width": 128, "height": 64, "pixel_width": 32, "pixel_height": 32,
    "colors": 8, "seed": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = fresh_sqlite(tmp_path_factory.mktemp("pixels") / "inglenook.db")
    yield database
    database.close()


@pytest.fixture
def house(database: Database, tmp_path: Path) -> PixelHouse:
    return PixelHouse(database, tmp_path)


@pytest.fixture
def client(house: PixelHouse) -> Iterator[TestClient]:
    with house.open() as client:
        yield client


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield pool


def said(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert body["success"] is False
    assert body["error"]
    return answer.status_code, body["code"]


def begin(client: TestClient, house: PixelHouse, **fields: Any) -> str:
    """A generation that runs until it is released or called off; its id."""
    calling(client, house.work.hold)
    answer = client.post("/pixel/generate", json={**CAT, "wait": False, **fields})
    assert answer.status_code == 202, answer.text
    generation_id = str(answer.json()["generation_id"])
    until(client, generation_id, lambda told: told["progress"] >= 40)
    return generation_id


def until(client: TestClient, generation_id: str, wanted: Any) -> dict[str, Any]:
    """Asks for its progress until that is as wanted: every answer lets the application's loop turn."""
    for _ in range(2000):
        told: dict[str, Any] = client.get(f"/pixel/progress/{generation_id}").json()
        if wanted(told):
            return told
    raise AssertionError(f"it never came to that: {told}")


def done(told: dict[str, Any]) -> bool:
    return bool(told["status"] != "generating")


# -- the table, row by row -------------------------------------------------------------------------------


def test_health_has_its_six_keys(client: TestClient) -> None:
    answer = client.get("/pixel/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "model_loaded": True,
        "current_model": "starter",
        "device": "cpu",
        "engine": "auto",
        "version": "1.2.3",
    }


def test_models_and_loras_are_lists_with_none_first(client: TestClient) -> None:
    assert client.get("/pixel/models").json()["models"] == ["starter", "family/with/slashes"]
    loras = client.get("/pixel/loras").json()
    assert set(loras) == {"loras", "compatible_loras", "incompatible_loras"}
    assert loras["loras"] == ["None", "a-lora", "loras/Water_Colour v2"]
    assert loras["compatible_loras"][0] == "None"


def test_a_request_without_a_prompt_is_a_400(client: TestClient) -> None:
    for body in ({}, {"prompt": ""}, {"prompt": "  "}, {"prompt": None}):
        answer = client.post("/pixel/generate", json=body)
        assert said(answer) == (400, "VALIDATION_ERROR")
        assert answer.json()["error"] == "No prompt provided"


def test_where_nothing_draws_no_model_is_loaded(client: TestClient, house: PixelHouse) -> None:
    house.catalog.records = []

    def resolve(_: str) -> Any:
        raise house_not_found()

    house.catalog.resolve = resolve  # type: ignore[method-assign]
    assert said(client.post("/pixel/generate", json={"prompt": "cat"})) == (500, "NO_MODEL_LOADED")
    health = client.get("/pixel/health").json()
    assert (health["status"], health["model_loaded"], health["current_model"]) == ("healthy", False, None)
    assert health["problem"]


def house_not_found() -> InglenookError:
    from inglenook.catalog.errors import ModelNotFound

    return ModelNotFound("There is no usable model of kind image.", field="model")


def test_a_wide_picture_on_a_square_canvas_keeps_its_shape_in_eight_colours(client: TestClient) -> None:
    answer = client.post("/pixel/generate", json=CAT)
    assert answer.status_code == 200
    told = answer.json()
    image = told["image"]
    assert len(base64.b64decode(image["base64"])) == 32 * 32 * 4
    assert {name: image[name] for name in ("width", "height", "mode", "fit_mode", "preserve_aspect")} == {
        "width": 32,
        "height": 32,
        "mode": "rgba",
        "fit_mode": "contain",
        "preserve_aspect": True,
    }
    assert (told["success"], told["seed"], told["prompt"]) == (True, 5, "cat")
    assert told["generation_time"] >= 0
    assert told["generation_id"]
    pixels = pixels_of(image)
    rows = [pixels[row * 32 : (row + 1) * 32] for row in range(32)]
    margins = [*rows[:8], *rows[24:]]
    assert all(alpha == 0 for row in margins for *_, alpha in row)
    assert all(alpha == 255 for row in rows[8:24] for *_, alpha in row)
    assert len(set(pixels)) <= 8


@pytest.mark.parametrize("how", [{"fit_mode": "cover"}, {"fit_mode": "stretch"}, {"preserve_aspect": False}])
def test_a_picture_that_fills_the_canvas_leaves_nothing_transparent(
    client: TestClient, how: dict[str, Any]
) -> None:
    image = client.post("/pixel/generate", json=CAT | how).json()["image"]
    assert {alpha for *_, alpha in pixels_of(image)} == {255}
    assert len(set(pixels_of(image))) <= 8


@pytest.mark.parametrize("colors", [0, -1])
def test_no_colours_means_all_of_them(client: TestClient, house: PixelHouse, colors: int) -> None:
    image = client.post("/pixel/generate", json=CAT | {"colors": colors}).json()["image"]
    assert len(set(pixels_of(image))) > 8
    assert house.work.asked[0].recipe.colors == 0


def test_too_many_colours_are_told_the_most_alone(client: TestClient) -> None:
    answer = client.post("/pixel/generate", json=CAT | {"colors": 300}).json()
    assert answer["error"] == "colors must be at most 256; got 300."


def test_two_at_once_are_refused_where_the_client_wants_it_so(
    client: TestClient, house: PixelHouse, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    first = begin(client, house)
    answer = client.post("/pixel/generate", json=CAT | {"single_flight": True})
    assert said(answer) == (409, "CONFLICT")
    assert first in answer.json()["hint"]
    assert answer.json()["error"] == "another generation in progress"
    waiting = pool.submit(client.post, "/pixel/generate", json=CAT)
    calling(client, house.work.release)
    assert waiting.result(60).status_code == 200, "and queue where it does not"
    again = client.post("/pixel/generate", json=CAT | {"single_flight": True})
    assert again.status_code == 200, "at once, not a second later"


@pytest.mark.parametrize(
    ("prompt", "drawn"),
    [
        ("cat", "cat, pixel art, 8bit style, game sprite"),
        ("Pixel Art of a cat", "Pixel Art of a cat"),
        ("café 猫", "café 猫, pixel art, 8bit style, game sprite"),
    ],
)
def test_a_prompt_says_pixel_art_once(client: TestClient, prompt: str, drawn: str) -> None:
    told = client.post("/pixel/generate", json=CAT | {"prompt": prompt}).json()
    assert (told["prompt"], told["full_prompt"]) == (prompt, drawn)


def test_a_cancel_is_heard_and_the_waiting_call_answers_499(
    client: TestClient, house: PixelHouse, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    calling(client, house.work.hold)
    waiting = pool.submit(client.post, "/pixel/generate", json=CAT | {"generation_id": ID})
    for _ in range(2000):
        if client.get(f"/pixel/progress/{ID}").status_code == 200:
            break
    answer = client.post(f"/pixel/cancel/{ID}")
    assert (answer.status_code, answer.json()) == (
        202,
        {"success": True, "generation_id": ID, "status": "canceling"},
    )
    ended = waiting.result(60)
    assert said(ended) == (499, "CANCELED")
    assert ended.json()["error"] == "generation canceled"
    assert ended.json()["generation_id"] == ID
    again = client.post(f"/pixel/cancel/{ID}")
    assert again.status_code == 409
    assert again.json()["error"] == "already canceled"
    assert client.get(f"/pixel/progress/{ID}").json()["status"] == "canceled"


def test_an_id_is_a_uuid_and_an_unknown_one_is_not_found(client: TestClient) -> None:
    for ask in (client.get, client.post):
        path = "progress" if ask == client.get else "cancel"
        assert said(ask(f"/pixel/{path}/not-a-uuid")) == (400, "VALIDATION_ERROR")
        assert said(ask(f"/pixel/{path}/{OTHER}")) == (404, "NOT_FOUND")
    assert said(client.post("/pixel/generate", json=CAT | {"generation_id": "7"})) == (
        400,
        "VALIDATION_ERROR",
    )


@pytest.mark.parametrize("body", [{}, {"engine": "x"}, {"engine": 1}, {"engine": None}])
def test_an_engine_that_is_none_is_a_400(client: TestClient, body: dict[str, Any]) -> None:
    assert said(client.post("/pixel/set_engine", json=body)) == (400, "VALIDATION_ERROR")


def test_mlx_without_its_package_says_so(client: TestClient, house: PixelHouse) -> None:
    house.sprites.refuses = lambda request: (
        Unavailable("The package mlx is not installed.", code="engine.not_installed")
        if request.engine == "mlx"
        else None
    )
    assert said(client.post("/pixel/generate", json=CAT | {"engine": "mlx"})) == (500, "MLX_NOT_INSTALLED")
    assert client.post("/pixel/set_engine", json={"engine": "mlx"}).json()["success"] is True
    assert client.post("/pixel/generate", json=CAT).json()["code"] == "MLX_NOT_INSTALLED"
    assert client.post("/pixel/generate", json=CAT | {"engine": "torch"}).status_code == 200


# -- progress while it runs, ids at once ------------------------------------------------------------------


def test_progress_never_goes_back_and_ends_at_100(client: TestClient, house: PixelHouse) -> None:
    generation_id = begin(client, house, steps=5)
    seen = [client.get(f"/pixel/progress/{generation_id}").json()]
    assert (seen[0]["status"], seen[0]["total_steps"]) == ("generating", 5)
    assert seen[0]["current_step"] in (3, 4)
    calling(client, house.work.release)
    until(client, generation_id, lambda told: seen.append(told) or done(told))
    progress = [told["progress"] for told in seen]
    assert progress == sorted(progress)
    assert (progress[-1], seen[-1]["status"]) == (100, "completed")
    assert {
        *("success", "generation_id", "progress", "status", "message", "timestamp", "current_step"),
        *("total_steps", "elapsed_seconds", "eta_seconds", "seconds_per_it", "width", "height", "steps"),
        *("expires_at", "expired_at"),
    } <= set(seen[0])
    assert (seen[0]["width"], seen[0]["height"], seen[0]["steps"]) == (128, 64, 5)


def test_an_id_is_known_at_once_and_its_sprite_can_be_fetched_later(
    client: TestClient, house: PixelHouse
) -> None:
    generation_id = begin(client, house)
    early = client.get(f"/pixel/result/{generation_id}")
    assert (early.status_code, early.json()["status"]) == (202, "generating")
    calling(client, house.work.release)
    until(client, generation_id, done)
    late = client.get(f"/pixel/result/{generation_id}").json()
    assert late["image"]["base64"] == client.post("/pixel/generate", json=CAT).json()["image"]["base64"]


def test_a_request_that_is_sent_again_is_not_made_twice(client: TestClient, house: PixelHouse) -> None:
    first = client.post("/pixel/generate", json=CAT | {"generation_id": ID}).json()
    again = client.post("/pixel/generate", json=CAT | {"generation_id": ID.upper()}).json()
    assert again["image"] == first["image"]
    assert len(house.work.asked) == 1
    other = client.post("/pixel/generate", json=CAT | {"generation_id": ID, "seed": 6})
    assert said(other) == (409, "CONFLICT")
    assert other.json()["field"] == "generation_id"


def test_a_mistake_during_a_job_touches_nothing(client: TestClient, house: PixelHouse) -> None:
    running = begin(client, house)
    assert client.post("/pixel/generate", content=b"{", headers=JSON).status_code == 400
    assert client.post("/pixel/generate", json={"prompt": 7}).status_code == 400
    assert client.post("/pixel/set_engine", json={"engine": "torch"}).status_code == 200
    assert client.get(f"/pixel/progress/{running}").json()["status"] == "generating"
    answer = client.post("/pixel/generate", json=CAT | {"single_flight": True})
    assert answer.status_code == 409, "the running one still counts"
    calling(client, house.work.release)
    assert until(client, running, done)["status"] == "completed"


def test_ended_generations_expire_one_by_one_and_are_forgotten(client: TestClient, house: PixelHouse) -> None:
    house.work.fails = lambda request: Failed("no", code="draw.failed") if request.seed == 9 else None
    good = client.post("/pixel/generate", json=CAT).json()["generation_id"]
    bad = client.post("/pixel/generate", json=CAT | {"seed": 9}).json()["generation_id"]
    running = begin(client, house)
    assert client.get(f"/pixel/progress/{good}").json()["expires_at"]
    house.clock.advance(DONE_S + 1)
    gone = client.get(f"/pixel/progress/{good}")
    assert (gone.status_code, gone.json()["status"], gone.json()["success"]) == (410, "expired", False)
    assert client.get(f"/pixel/result/{good}").status_code == 200, "the sprite itself is there for longer"
    assert client.get(f"/pixel/progress/{bad}").json()["status"] == "error"
    house.clock.advance(FAILED_S - DONE_S)
    assert client.get(f"/pixel/progress/{bad}").status_code == 410
    house.clock.advance(FORGET_S)
    for generation_id in (good, bad):
        assert client.get(f"/pixel/progress/{generation_id}").status_code == 404
    assert client.get(f"/pixel/progress/{running}").json()["status"] == "generating", (
        "the live one is not lost"
    )


def test_a_cancel_while_it_waits_leaves_the_queue(client: TestClient, house: PixelHouse) -> None:
    first = begin(client, house)
    second = client.post("/pixel/generate", json=CAT | {"wait": False}).json()["generation_id"]
    assert client.get(f"/pixel/progress/{second}").json()["progress"] == 0
    assert client.post(f"/pixel/cancel/{second}").status_code == 202
    assert until(client, second, done)["status"] == "canceled"
    calling(client, house.work.release)
    assert until(client, first, done)["status"] == "completed"
    assert len(house.work.asked) == 1


def test_several_variants_and_frames_come_as_images(client: TestClient) -> None:
    told = client.post("/pixel/generate", json=CAT | {"n": 2, "frames": 3, "motion": "walk"}).json()
    assert len(told["images"]) == 6
    assert told["image"] == told["images"][0]
    assert told["seeds"] == [5, 6]
    assert told["tags"] == [{"name": "walk", "from": 0, "to": 2, "direction": "forward"}]
    assert len(told["durations_ms"]) == 3


# -- what cannot be ---------------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(
            ("width", "height", "pixel_width", "pixel_height"), (0, -1, 4097, 10**30, 1.5, "x", True)
        ),
        *itertools.product(("colors",), (257, 300, 1.5, "many")),
        *itertools.product(("steps",), (0, 501, "ten")),
        *itertools.product(("guidance_scale",), (-1, 51, "nan", "x")),
        *itertools.product(("seed",), (-2, 2**63, 1.5, "x", "")),
        *itertools.product(("n", "frames"), (0, 65, "x")),
        *itertools.product(("strength", "frame_strength"), (-0.1, 1.1)),
        *itertools.product(("remove_background", "preserve_aspect", "wait", "single_flight"), ("yes", 1)),
        *itertools.product(
            ("palette",), ([], ["#000"] * 257, ["red"], "no-such", 7, [[1, 2]], [[0, 0, 256]])
        ),
        ("lora_strength", 21),
        ("prompt", 7),
        ("prompt", "x" * 32_001),
        ("negative_prompt", "a\x00b"),
        ("engine", "cuda"),
        ("continue_tile", "inside"),
        ("mask", "aGk="),
        ("strength", 0.5),
        ("recipe", []),
        ("recipe", {"dithering": "none"}),
        ("recipe", {"dither": "much"}),
        ("recipe", {"alpha_threshold": 0}),
        ("pixel_widht", 3),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(
    client: TestClient, house: PixelHouse, field: str, value: Any
) -> None:
    answer = client.post("/pixel/generate", json=CAT | {field: value})
    assert said(answer) == (400, "VALIDATION_ERROR")
    inner = f"recipe.{next(iter(value))}" if field == "recipe" and value else field
    assert answer.json()["field"] == inner
    assert house.work.asked == []


def test_more_pixels_than_an_answer_holds_are_refused(client: TestClient) -> None:
    answer = client.post("/pixel/generate", json=CAT | {"pixel_width": 4096, "pixel_height": 4096, "n": 2})
    assert said(answer) == (400, "VALIDATION_ERROR")
    assert answer.json()["field"] == "n"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (300, 1), (33, 17)])
def test_odd_sizes_are_made_exactly(client: TestClient, width: int, height: int) -> None:
    size = {"pixel_width": str(width), "pixel_height": height}
    image = client.post("/pixel/generate", json=CAT | size).json()["image"]
    assert (image["width"], image["height"]) == (width, height)
    assert len(base64.b64decode(image["base64"])) == width * height * 4


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"prompt=cat", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b'{"prompt": "cat"}', {"content-type": "text/plain"}, 415),
        (b"", {}, 415),
        (b"{", JSON, 400),
        (b"[1]", JSON, 400),
        (b"null", JSON, 400),
        (b"\xff", JSON, 400),
        (b'{"prompt": "\\ud800"}', JSON, 400),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", JSON, 400),
        (b'{"prompt": "' + b"x" * (1 << 20) + b'"}', JSON, 413),
    ],
)
def test_a_body_that_is_no_request_is_said_so(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    assert said(client.post("/pixel/generate", content=content, headers=headers)) == (
        status,
        "VALIDATION_ERROR",
    )


def test_seeds_may_be_texts_and_come_back_as_they_were_sent(client: TestClient, house: PixelHouse) -> None:
    assert client.post("/pixel/generate", json=CAT | {"seed": "12"}).json()["seed"] == "12"
    assert client.post("/pixel/generate", json=CAT | {"seed": 12}).json()["seed"] == 12
    assert [one.seed for one in house.work.asked] == [12, 12]
    assert isinstance(client.post("/pixel/generate", json=CAT | {"seed": -1}).json()["seed"], int)
    assert isinstance(client.post("/pixel/generate", json=CAT | {"seed": "-1"}).json()["seed"], int)


def test_one_colour_and_256_can_be_asked_for(client: TestClient, house: PixelHouse) -> None:
    square = CAT | {"width": 64}
    for colors, expected in ((1, 1), (256, 256)):
        image = client.post("/pixel/generate", json=square | {"colors": colors}).json()["image"]
        assert len(set(pixels_of(image))) <= expected
    assert [one.recipe.colors for one in house.work.asked] == [1, 256], (
        "nothing is transparent: no entry is lost"
    )


def test_transparency_counts_as_one_of_the_colours(client: TestClient, house: PixelHouse) -> None:
    for fields, expected in (
        ({}, 7),
        ({"remove_background": True, "width": 64}, 7),
        ({"colors": 1}, 1),
        ({"fit_mode": "cover"}, 8),
    ):
        client.post("/pixel/generate", json=CAT | fields)
        assert house.work.asked.pop().recipe.colors == expected


def test_an_unknown_fit_means_contain_and_is_told(client: TestClient) -> None:
    told = client.post("/pixel/generate", json=CAT | {"fit_mode": "squeeze"}).json()
    assert told["image"]["fit_mode"] == "contain"
    assert "squeeze" in told["notes"][0]


def test_a_palette_is_named_or_listed(client: TestClient, house: PixelHouse) -> None:
    client.post("/pixel/generate", json=CAT | {"palette": ["#102030", "#fff"], "colors": None})
    client.post("/pixel/generate", json={"prompt": "x", "palette": "game-boy"})
    first, second = (one.recipe for one in house.work.asked)
    assert (first.palette, first.colors) == (((16, 32, 48), (255, 255, 255)), None)
    assert second.palette is not None
    assert len(second.palette) == 4


def test_a_recipe_says_what_the_original_has_no_field_for(client: TestClient, house: PixelHouse) -> None:
    recipe = {"dither": "bayer-4", "outline": "outside", "symmetry": "left"}
    assert client.post("/pixel/generate", json=CAT | {"recipe": recipe}).status_code == 200
    made = house.work.asked[0].recipe
    assert (made.dither, made.outline, made.symmetry, made.width) == ("bayer-4", "outside", "left", 32)


def test_defaults_are_the_originals(client: TestClient, house: PixelHouse) -> None:
    assert client.post("/pixel/generate", json={"prompt": "x"}).status_code == 200
    made: SpriteRequest = house.work.asked[0]
    assert (made.base_width, made.base_height, made.steps, made.guidance_scale) == (1024, 1024, 30, 7.5)
    assert (made.recipe.width, made.recipe.height, made.recipe.colors) == (64, 64, 16)
    assert made.negative_prompt is None, "the family's own, which is the original's for those that it knows"


def test_null_is_the_models_own(client: TestClient, house: PixelHouse) -> None:
    own = dict.fromkeys(("width", "height", "steps", "guidance_scale"))
    assert client.post("/pixel/generate", json={"prompt": "x"} | own).status_code == 200
    made: SpriteRequest = house.work.asked[0]
    assert (made.base_width, made.base_height, made.steps, made.guidance_scale) == (None,) * 4


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"recipe": {"dither": "bayer-3"}}, "recipe.dither"),
        ({"recipe": {"palette": "none-such"}}, "recipe.palette"),
        ({"palette": "none-such"}, "palette"),
    ],
)
def test_an_error_of_a_recipe_names_the_way_to_its_field(
    client: TestClient, more: dict[str, Any], field: str
) -> None:
    answer = client.post("/pixel/generate", json=CAT | more)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


# -- pictures to begin from --------------------------------------------------------------------------------


def png(color: str = "red", size: tuple[int, int] = (8, 8)) -> str:
    out = io.BytesIO()
    Image.new("RGBA", size, color).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_a_picture_and_a_mask_are_kept_and_named(client: TestClient, house: PixelHouse) -> None:
    body = CAT | {"init_image": f"data:image/png;base64,{png()}", "mask": png("white"), "strength": 0.4}
    assert client.post("/pixel/generate", json=body).status_code == 200
    made = house.work.asked[0]
    assert made.image
    assert made.mask
    assert made.strength == 0.4
    assert (len(house.sprites.inputs), len(house.sprites.masks)) == (1, 1)


def test_a_picture_that_is_none_is_refused(client: TestClient) -> None:
    answer = client.post("/pixel/generate", json=CAT | {"init_image": "not base64!"})
    assert said(answer) == (400, "VALIDATION_ERROR")


# -- models, LoRAs, engines --------------------------------------------------------------------------------


def test_a_model_is_loaded_and_then_drawn_with_also_after_a_restart(
    client: TestClient, house: PixelHouse, database: Database, tmp_path: Path
) -> None:
    answer = client.post("/pixel/load_model", json={"model_name": "family/with/slashes"})
    assert answer.json() == {"success": True, "model": "family/with/slashes", "device": "cpu"}
    assert house.sprites.loaded == [("family/with/slashes", "auto")]
    client.post("/pixel/generate", json=CAT)
    assert house.work.asked[0].model == "family/with/slashes"
    again = PixelHouse(database, tmp_path)
    with again.open() as other:
        assert other.get("/pixel/health").json()["current_model"] == "family/with/slashes"
        assert other.post("/pixel/generate", json=CAT | {"model": "starter"}).json()["model"] == "starter"


def test_auto_takes_a_choice_back(client: TestClient, house: PixelHouse) -> None:
    client.post("/pixel/load_model", json={"model_name": "family/with/slashes"})
    assert client.post("/pixel/load_model", json={"model_name": "auto"}).json()["model"] == "starter"
    assert house.desk.choices.of(OWNER).model == "auto", "whatever that will be"
    assert client.get("/pixel/health").json()["current_model"] == "starter"
    assert client.post("/pixel/generate", json=CAT).json()["model"] == "starter"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "VALIDATION_ERROR"),
        ({"model_name": ""}, 400, "VALIDATION_ERROR"),
        ({"model_name": "no/such"}, 404, "MODEL_LOAD_ERROR"),
        ({"model_name": "../../etc/passwd"}, 404, "MODEL_LOAD_ERROR"),
        ({"model": "starter"}, 400, "VALIDATION_ERROR"),
    ],
)
def test_a_model_that_cannot_be_loaded_changes_nothing(
    client: TestClient, house: PixelHouse, body: dict[str, Any], status: int, code: str
) -> None:
    assert said(client.post("/pixel/load_model", json=body)) == (status, code)
    assert client.get("/pixel/health").json()["current_model"] == "starter"
    assert house.sprites.loaded == []


def test_an_engine_is_chosen_and_told(client: TestClient, house: PixelHouse) -> None:
    assert client.post("/pixel/set_engine", json={"engine": "torch"}).json() == {
        "success": True,
        "engine": "torch",
        "changed": True,
    }
    assert client.post("/pixel/set_engine", json={"engine": "torch"}).json()["changed"] is False
    assert client.get("/pixel/health").json()["engine"] == "torch"
    told = client.post("/pixel/set_engine", json={"engine": "mlx"}).json()
    assert (told["changed"], told["available"]) == (True, False)
    assert "mlx" in told["why_not"]
    client.post("/pixel/generate", json=CAT)
    assert house.work.asked[0].engine == "mlx"


def test_the_matrix_says_what_each_engine_can_do(client: TestClient) -> None:
    told = client.get("/pixel/engines").json()
    torch, mlx = told["engines"]
    assert torch["name"] == "torch"
    assert torch["available"]
    assert "lora" in torch["can"]
    assert not mlx["available"]
    assert mlx["why"]
    assert client.get("/pixel/mlx_models").json() == {
        "models": [],
        "available": False,
        "why_not": "The package mlx is not installed.",
    }


def test_the_models_for_mlx_are_the_converted_ones_alone(client: TestClient, house: PixelHouse) -> None:
    """A model that has a conversion is drawn with it; it is not one itself."""
    starter = house.catalog.records[0]
    house.catalog.records.append(replace(starter, id=ModelId("mlx/starter"), engine="mlx"))
    house.catalog.records.append(
        replace(starter, id=ModelId("mlx/torn"), engine="mlx", problem="a file of it is missing")
    )
    assert client.get("/pixel/mlx_models").json()["models"] == ["mlx/starter"]


@pytest.mark.parametrize("name", ["a-lora", "nerijs/a-lora", "loras/a-lora.safetensors"])
def test_a_lora_is_found_as_the_original_writes_it(client: TestClient, house: PixelHouse, name: str) -> None:
    assert (
        client.post("/pixel/generate", json=CAT | {"lora_model": name, "lora_strength": 0}).status_code == 200
    )
    [lora] = house.work.asked[0].loras
    assert (lora.model, lora.weight) == ("a-lora", 0.0)


@pytest.mark.parametrize("name", ["None", "", None])
def test_no_lora_has_three_spellings(client: TestClient, house: PixelHouse, name: str | None) -> None:
    client.post("/pixel/generate", json=CAT | {"lora_model": name})
    assert house.work.asked[0].loras == ()


def test_a_lora_that_is_not_here_is_not_fetched(client: TestClient) -> None:
    for name in ("nerijs/pixel-art-xl", "/etc/passwd", "../x.safetensors"):
        assert said(client.post("/pixel/generate", json=CAT | {"lora_model": name})) == (
            404,
            "MODEL_LOAD_ERROR",
        )


# -- codes from causes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code", "engine", "expected"),
    [
        ("failed", "draw.out_of_memory", None, "OUT_OF_MEMORY"),
        ("failed", "draw.out_of_memory_mps", None, "MPS_OOM"),
        ("failed", "child.out_of_memory", None, "OUT_OF_MEMORY"),
        ("failed", "load.out_of_memory", None, "OUT_OF_MEMORY"),
        ("failed", "load.unsupported", None, "MODEL_LOAD_ERROR"),
        ("invalid", "model.unusable", None, "MODEL_LOAD_ERROR"),
        ("invalid", "catalog.corrupt", None, "VALIDATION_ERROR"),
        ("failed", "draw.failed", None, "ENGINE_INTERNAL"),
        ("failed", "draw.not_finite", None, "ENGINE_INTERNAL"),
        ("failed", "child.killed", None, "ENGINE_INTERNAL"),
        ("failed", "wire.malformed", None, "ENGINE_INTERNAL"),
        ("invalid", "draw.invalid", None, "VALIDATION_ERROR"),
        ("invalid", "model.not_converted", "mlx", "MODEL_NOT_CONVERTED"),
        ("invalid", "lora.unsupported_engine", "mlx", "LORA_UNSUPPORTED_ENGINE"),
        ("invalid", "lora.incompatible", None, "INCOMPATIBLE_LORA"),
        ("unavailable", "engine.not_installed", "mlx", "MLX_NOT_INSTALLED"),
        ("unavailable", "engine.not_installed", "sdcpp", "ENGINE_NOT_INSTALLED"),
        ("cancelled", "job.cancelled", None, "CANCELED"),
        ("unavailable", "job.interrupted", None, "INTERRUPTED"),
        ("failed", "internal", None, "UNKNOWN_ERROR"),
        ("failed", "store.disk_full", None, "UNKNOWN_ERROR"),
        ("busy", "job.queue_full", None, "BUSY"),
    ],
)
def test_a_cause_has_its_code(kind: str, code: str, engine: str | None, expected: str) -> None:
    assert code_of(kind, code, engine=engine) == expected


def test_words_in_a_message_decide_nothing(client: TestClient, house: PixelHouse) -> None:
    """The original looks for "size mismatch", "out of memory", "cuda" in the text."""
    house.work.fails = lambda _: Failed(
        "size mismatch: cuda out of memory, no base model loaded", code="draw.failed"
    )
    answer = client.post("/pixel/generate", json=CAT | {"generation_id": ID})
    assert said(answer) == (500, "ENGINE_INTERNAL")
    told = client.get(f"/pixel/progress/{ID}").json()
    assert (told["status"], told["code"]) == ("error", "ENGINE_INTERNAL")


def test_a_cause_of_a_job_keeps_its_code_and_field(client: TestClient, house: PixelHouse) -> None:
    house.sprites.refuses = lambda _: Invalid("It is for SDXL.", code="lora.incompatible", field="loras")
    answer = client.post("/pixel/generate", json=CAT)
    assert said(answer) == (400, "INCOMPATIBLE_LORA")
    assert answer.json()["field"] == "lora_model", "as it is called here"


# -- who may -----------------------------------------------------------------------------------------------


def test_no_page_of_another_site_gets_in(client: TestClient) -> None:
    evil = {"origin": "https://evil.example"}
    assert said(client.post("/pixel/generate", json=CAT, headers=evil)) == (403, "FORBIDDEN")
    assert client.get("/pixel/health", headers=evil).status_code == 403
    answer = client.options("/pixel/generate", headers=evil | {"access-control-request-method": "POST"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.get("/pixel/health", headers={"host": "evil.example"}).status_code == 421


def test_a_key_that_is_shown_must_be_right_and_loading_needs_one(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path, password=PASSWORD)
    token = house.app.state.administration.log_in(PASSWORD)
    right, wrong = ({"authorization": f"Bearer {one}"} for one in (token, "wrong"))
    body = {"model_name": "starter"}
    with house.open() as client:
        assert said(client.get("/pixel/health", headers=wrong)) == (401, "UNAUTHORIZED")
        assert said(client.post("/pixel/generate", json=CAT, headers=wrong)) == (401, "UNAUTHORIZED")
        assert said(client.post("/pixel/load_model", json=body)) == (401, "UNAUTHORIZED")
        assert client.post("/pixel/load_model", json=body, headers=right).status_code == 200
        assert client.post("/pixel/generate", json=CAT, headers=right).status_code == 200
        assert client.post("/pixel/generate", json=CAT).status_code == 200, "as at every door that draws"


# -- at the root of a port of its own ----------------------------------------------------------------------


def test_the_same_stands_at_the_root_of_its_own_port(client: TestClient) -> None:
    root = f"http://127.0.0.1:{ROOT_PORT}"
    assert client.get(f"{root}/health").json()["status"] == "healthy"
    assert client.post(f"{root}/generate", json=CAT).json()["success"] is True
    assert said(client.get(f"{root}/v1/jobs")) == (404, "NOT_FOUND"), "and nothing else is there"
    assert said(client.get(f"{root}/")) == (404, "NOT_FOUND")
    assert said(client.get(f"{root}/generate"))[0] == 405
    assert client.get(f"{ADDRESS}/health").status_code == 404
    assert client.get(f"{root}/health", headers={"origin": "https://evil.example"}).status_code == 403
