# SPDX-License-Identifier: Apache-2.0
"""/pixel/ws, as the Aseprite extension speaks it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from tests.databases import fresh_sqlite
from tests.unit.api.pixel_house import PASSWORD, ROOT_PORT, PixelHouse, calling

from inglenook.api.pixelai.rgba import Raw, png_of, raw_of
from inglenook.api.pixelai.uploads import MAX_BYTES
from inglenook.base.errors import Failed, Invalid
from inglenook.store.database import Database

HERE = {"host": "127.0.0.1:8190"}
HELLO = {"type": "hello", "key": None, "client": "aseprite", "version": 1}
ID = "6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a0001"
SECOND = "6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a0002"
GENERATE = {"type": "generate", "id": ID, "prompt": "dog", "pixel_width": 16, "pixel_height": 8, "colors": 4}


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


class Dialog:
    """One open socket that has been let in."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self.socket = socket
        self.send({**HELLO})
        self.ready = self.hear()

    def send(self, message: Any, pixels: bytes | None = None) -> None:
        self.socket.send_text(json.dumps(message))
        if pixels is not None:
            self.socket.send_bytes(pixels)

    def hear(self) -> dict[str, Any]:
        """The next message, with its pixels where it announces some."""
        told: dict[str, Any] = self.socket.receive_json()
        if "bytes" in told:
            told["pixels"] = self.socket.receive_bytes()
            assert len(told["pixels"]) == told["bytes"] == told["width"] * told["height"] * 4
        return told

    def until(self, *kinds: str, id: str | None = None) -> list[dict[str, Any]]:  # noqa: A002 - the field's name
        heard = []
        while True:
            heard.append(self.hear())
            if heard[-1]["type"] in kinds and id in (None, heard[-1]["id"]):
                return heard

    def upload(self, name: str, width: int, height: int, pixels: bytes) -> None:
        self.send(
            {"type": "upload", "name": name, "width": width, "height": height, "format": "rgba"}, pixels
        )


@pytest.fixture
def dialog(client: TestClient) -> Iterator[Dialog]:
    with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
        yield Dialog(socket)


# -- the hello -------------------------------------------------------------------------------------------


def test_a_hello_is_answered_with_what_a_dialog_offers(dialog: Dialog) -> None:
    ready = dialog.ready
    assert (ready["type"], ready["protocol"], ready["version"]) == ("ready", 1, "1.2.3")
    assert [one["name"] for one in ready["models"]] == ["starter", "family/with/slashes"]
    assert {"name", "title", "family", "loaded", "can"} <= set(ready["models"][0])
    assert ready["loras"][0] == {
        "name": "a-lora",
        "families": ["sd1"],
        "models": ["starter", "family/with/slashes"],
    }
    assert [(one["name"], one["available"]) for one in ready["engines"]] == [("torch", True), ("mlx", False)]
    assert "not installed" in ready["engines"][1]["why"]
    four = next(one for one in ready["palettes"] if one["name"] == "game-boy")
    assert len(four["colors"]) == 4
    assert all(color.startswith("#") for color in four["colors"])
    assert ready["presets"]
    assert [32, 32] in ready["sizes"]
    assert [512, 512] in ready["base_sizes"]
    assert ready["chosen"] == {"model": "auto", "engine": "auto"}
    assert ready["limits"]["max_upload_bytes"] == MAX_BYTES


@pytest.mark.parametrize(
    "first",
    [
        "nonsense",
        "[]",
        json.dumps({"type": "generate"}),
        json.dumps(HELLO | {"version": 2}),
        json.dumps(HELLO | {"key": 7}),
        json.dumps(HELLO | {"token": "x"}),
        "[" * 100_000,
    ],
)
def test_whoever_does_not_say_hello_is_sent_away(client: TestClient, first: str) -> None:
    with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
        socket.send_text(first)
        assert socket.receive_json()["code"] == "VALIDATION_ERROR"
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1008


def test_whoever_says_nothing_is_sent_away(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path, hello_within_s=0.01)
    with house.open() as client, client.websocket_connect("/pixel/ws", headers=HERE) as socket:
        assert "hello" in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_a_wrong_key_is_unauthorized_and_the_right_one_is_let_in(database: Database, tmp_path: Path) -> None:
    house = PixelHouse(database, tmp_path, password=PASSWORD)
    token = house.app.state.administration.log_in(PASSWORD)
    with house.open() as client:
        for key in ("wrong", token[:-2]):
            with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
                socket.send_json(HELLO | {"key": key})
                told = socket.receive_json()
                assert (told["type"], told["code"]) == ("error", "UNAUTHORIZED")
                with pytest.raises(WebSocketDisconnect) as caught:
                    socket.receive_json()
                assert caught.value.code == 1008
        for key in (PASSWORD, token, None):
            with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
                socket.send_json(HELLO | {"key": key})
                assert socket.receive_json()["type"] == "ready"


@pytest.mark.parametrize(
    "headers", [HERE | {"origin": "https://evil.example"}, {"host": "evil.example"}], ids=["origin", "host"]
)
def test_another_sites_page_opens_no_socket(client: TestClient, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/pixel/ws", headers=headers),
    ):
        pass
    assert caught.value.code == 1008


def test_the_editors_own_origin_is_let_in(client: TestClient) -> None:
    headers = HERE | {"origin": "ws://127.0.0.1:8190"}
    with client.websocket_connect("/pixel/ws", headers=headers) as socket:
        assert Dialog(socket).ready["type"] == "ready"


def test_the_socket_stands_at_the_root_of_its_own_port(client: TestClient) -> None:
    address = f"ws://127.0.0.1:{ROOT_PORT}/ws"
    with client.websocket_connect(address, headers={"host": f"127.0.0.1:{ROOT_PORT}"}) as socket:
        assert Dialog(socket).ready["type"] == "ready"


# -- a sprite --------------------------------------------------------------------------------------------


def test_a_sprite_comes_with_progress_preview_frame_and_facts(dialog: Dialog) -> None:
    dialog.send(GENERATE | {"previews": True, "seed": 3})
    heard = dialog.until("done")
    kinds = [one["type"] for one in heard]
    assert kinds[0] == "queued"
    assert kinds[-2:] == ["frame", "done"]
    assert "preview" in kinds
    progress = [one["progress"] for one in heard if one["type"] == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert {one["id"] for one in heard} == {ID}
    frame, last = heard[-2:]
    assert (frame["index"], frame["count"], frame["width"], frame["height"]) == (0, 1, 16, 8)
    assert (last["seed"], last["engine"], last["model"]) == (3, "torch", "starter")
    assert {"seconds", "palette", "tags", "proof", "notes"} <= set(last)


def test_without_previews_none_come(dialog: Dialog) -> None:
    dialog.send(GENERATE)
    assert "preview" not in [one["type"] for one in dialog.until("done")]


def test_null_is_the_models_own(dialog: Dialog, house: PixelHouse) -> None:
    own = dict.fromkeys(("width", "height", "steps", "guidance_scale"))
    dialog.send({"type": "generate", "id": ID, "prompt": "dog"} | own)
    dialog.until("done")
    made = house.work.asked[0]
    assert (made.base_width, made.base_height, made.steps, made.guidance_scale) == (None, None, None, None)
    assert (made.recipe.width, made.recipe.height) == (64, 64)


@pytest.mark.parametrize(
    "more", [{}, {"steps": None, "guidance_scale": None}, {"width": None, "height": None}]
)
def test_the_same_words_and_seed_ask_for_the_same_picture_as_over_http(
    client: TestClient, dialog: Dialog, house: PixelHouse, more: dict[str, Any]
) -> None:
    asked = {"prompt": "dog", "seed": 5} | more
    dialog.send({"type": "generate", "id": ID} | asked)
    dialog.until("done")
    assert client.post("/pixel/generate", json=asked).status_code == 200
    by_socket, by_http = house.work.asked
    assert by_socket == by_http


def test_frames_come_variant_by_variant_with_their_tags(dialog: Dialog) -> None:
    dialog.send(GENERATE | {"n": 2, "frames": 3, "motion": "walk", "frame_ms": 90})
    heard = dialog.until("done")
    frames = [one for one in heard if one["type"] == "frame"]
    assert [(one["index"], one["count"], one["duration_ms"]) for one in frames] == [
        (index, 6, 90) for index in range(6)
    ]
    assert len({one["pixels"] for one in frames}) == 6
    assert heard[-1]["tags"] == [{"name": "walk", "from": 0, "to": 2, "direction": "forward"}]
    assert len(heard[-1]["variants"]) == 2


def test_a_canvas_and_a_selection_are_drawn_from(dialog: Dialog, house: PixelHouse) -> None:
    canvas = bytes([10, 20, 30, 255]) * 2 + bytes([0, 0, 0, 0]) * 2
    selection = bytes([255, 255, 255, 255]) + bytes([0, 0, 0, 0]) * 3
    dialog.upload("canvas", 2, 2, canvas)
    dialog.upload("sel", 2, 2, selection)
    dialog.send(GENERATE | {"init_image": "canvas", "mask": "sel", "strength": 0.6})
    assert dialog.until("done", "error")[-1]["type"] == "done"
    made = house.work.asked[0]
    assert made.image
    assert made.mask
    assert made.strength == 0.6
    assert raw_of(house.sprites.inputs[0]) == Raw(2, 2, canvas)
    assert raw_of(house.sprites.masks[0]) == Raw(2, 2, selection)


def test_an_upload_that_comes_again_replaces_the_one_before(dialog: Dialog, house: PixelHouse) -> None:
    for level in (1, 2):
        dialog.upload("canvas", 1, 1, bytes([level] * 3 + [255]))
    dialog.send(GENERATE | {"init_image": "canvas"})
    dialog.until("done")
    assert raw_of(house.sprites.inputs[0]).data[0] == 2


def test_a_cancel_is_answered_and_ends_in_an_error(
    dialog: Dialog, client: TestClient, house: PixelHouse
) -> None:
    calling(client, house.work.hold)
    dialog.send(GENERATE)
    while dialog.hear().get("stage") != "denoise":
        pass
    dialog.send({"type": "cancel", "id": ID})
    heard = dialog.until("error")
    assert "cancelling" in [one["type"] for one in heard]
    assert (heard[-1]["id"], heard[-1]["code"]) == (ID, "CANCELED")
    calling(client, house.work.release)
    dialog.send(GENERATE | {"id": SECOND})
    assert dialog.until("done")[-1]["id"] == SECOND, "the dialog goes on"


def test_a_cancel_in_the_same_breath_makes_nothing(
    dialog: Dialog, client: TestClient, house: PixelHouse
) -> None:
    calling(client, house.work.hold)  # between two messages a machine may find the time for a whole sprite
    dialog.send(GENERATE)
    dialog.send({"type": "cancel", "id": ID})
    heard = dialog.until("error", "done")
    assert heard[-1]["code"] == "CANCELED"
    dialog.send({"type": "cancel", "id": ID})
    assert dialog.until("error")[-1]["code"] == "NOT_FOUND"


def test_a_dialog_that_closes_calls_off_what_it_asked_for(client: TestClient, house: PixelHouse) -> None:
    calling(client, house.work.hold)
    with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
        dialog = Dialog(socket)
        dialog.send(GENERATE)
        while dialog.hear().get("stage") != "denoise":
            pass
    for _ in range(2000):
        told = client.get(f"/pixel/progress/{ID}").json()
        if told["status"] != "generating":
            break
    assert told["status"] == "canceled"


def test_two_dialogs_take_turns_and_hear_only_their_own(
    client: TestClient, dialog: Dialog, house: PixelHouse
) -> None:
    calling(client, house.work.hold)
    dialog.send(GENERATE)
    while dialog.hear().get("stage") != "denoise":
        pass
    with client.websocket_connect("/pixel/ws", headers=HERE) as socket:
        other = Dialog(socket)
        other.send(GENERATE | {"id": SECOND, "prompt": "fish"})
        assert other.hear()["type"] == "queued"
        calling(client, house.work.release)
        assert {one["id"] for one in other.until("done")} == {SECOND}
    assert {one["id"] for one in dialog.until("done")} == {ID}


# -- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "not-a-uuid"}, "id"),
        ({"prompt": ""}, "prompt"),
        ({"pixel_width": 0}, "pixel_width"),
        ({"pixel_height": 4097}, "pixel_height"),
        ({"colors": 300}, "colors"),
        ({"palette": ["#000"] * 257}, "palette"),
        ({"palette": []}, "palette"),
        ({"init_image": "canvas"}, "init_image"),
        ({"mask": "sel"}, "mask"),
        ({"engine": "cuda"}, "engine"),
        ({"colours": 3}, "colours"),
        ({"wait": "no"}, "wait"),
    ],
)
def test_a_request_that_cannot_be_is_told_and_the_dialog_goes_on(
    dialog: Dialog, house: PixelHouse, change: dict[str, Any], field: str
) -> None:
    dialog.send(GENERATE | change)
    heard = dialog.until("error")[-1]
    assert (heard["code"], heard["field"]) == ("VALIDATION_ERROR", field)
    assert heard["id"] == (None if field == "id" else ID)
    dialog.send({"type": "ping"})
    assert dialog.hear() == {"type": "pong"}
    assert house.work.asked == []


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [
        (0, 4, "VALIDATION_ERROR"),
        (4, -1, "VALIDATION_ERROR"),
        (10**9, 10**9, "VALIDATION_ERROR"),
        (2049, 2048, "VALIDATION_ERROR"),
        ("x", 1, "VALIDATION_ERROR"),
        (None, 1, "VALIDATION_ERROR"),
    ],
)
def test_a_canvas_that_is_not_taken_is_refused_once(
    dialog: Dialog, width: Any, height: Any, code: str
) -> None:
    """Its pixels come all the same: they are thrown away without another word."""
    dialog.send({"type": "upload", "name": "canvas", "width": width, "height": height, "format": "rgba"})
    dialog.send({"type": "ping"})
    assert dialog.hear()["code"] == code, "before the pixels have come"
    assert dialog.hear() == {"type": "pong"}
    dialog.socket.send_bytes(b"\0" * 16)
    dialog.send({"type": "ping"})
    assert dialog.hear() == {"type": "pong"}
    dialog.send(GENERATE | {"init_image": "canvas"})
    assert dialog.hear()["field"] == "init_image"


def test_pixels_of_another_size_and_pixels_of_nobody_are_refused(dialog: Dialog) -> None:
    dialog.upload("canvas", 2, 2, b"\0" * 15)
    assert "15 came" in dialog.hear()["error"]
    dialog.socket.send_bytes(b"\0")
    assert "no upload was announced" in dialog.hear()["error"]


def test_a_selection_that_lies_elsewhere_is_refused(dialog: Dialog) -> None:
    dialog.upload("canvas", 2, 2, b"\xff" * 16)
    dialog.upload("sel", 3, 2, b"\xff" * 24)
    dialog.send(GENERATE | {"init_image": "canvas", "mask": "sel"})
    assert dialog.until("error")[-1]["field"] == "mask"


def test_uploads_are_bounded_together(dialog: Dialog) -> None:
    for number in range(8):
        dialog.upload(f"layer {number}", 1, 1, b"\0" * 4)
    dialog.upload("one too many", 1, 1, b"\0" * 4)
    assert dialog.hear()["code"] == "VALIDATION_ERROR"
    dialog.upload("layer 0", 1, 1, b"\xff" * 4)
    dialog.send({"type": "ping"})
    assert dialog.hear() == {"type": "pong"}, "a name that is there may be used again"


@pytest.mark.parametrize("text", ["{", "7", '{"type": "genrate"}', '{"type": null}', "[" * 100_000])
def test_nonsense_is_told_and_the_dialog_goes_on(dialog: Dialog, text: str) -> None:
    dialog.socket.send_text(text)
    assert dialog.hear()["code"] == "VALIDATION_ERROR"
    dialog.send(GENERATE)
    assert dialog.until("done")


def test_an_id_that_is_under_way_and_one_too_many_are_refused(
    dialog: Dialog, client: TestClient, house: PixelHouse
) -> None:
    calling(client, house.work.hold)
    dialog.send(GENERATE)
    dialog.send(GENERATE)
    assert dialog.until("error")[-1]["code"] == "CONFLICT"
    for number in range(7):
        dialog.send(GENERATE | {"id": f"6f1e3a9e-4f0b-4d53-9f04-3f2d8a6a001{number}"})
    dialog.send(GENERATE | {"id": SECOND})
    assert dialog.until("error")[-1]["code"] == "BUSY"


def test_what_fails_is_told_with_its_code(dialog: Dialog, house: PixelHouse) -> None:
    house.work.fails = lambda _: Failed("It has 4 GiB.", code="draw.out_of_memory_mps", hint="draw smaller")
    dialog.send(GENERATE)
    told = dialog.until("error")[-1]
    assert (told["id"], told["code"], told["hint"]) == (ID, "MPS_OOM", "draw smaller")
    assert told["error"] == "It has 4 GiB.", "the client puts the hint behind it"
    house.sprites.refuses = lambda _: Invalid("no", code="model.not_converted")
    dialog.send(GENERATE | {"id": SECOND})
    assert dialog.until("error")[-1]["code"] == "MODEL_NOT_CONVERTED"


def test_a_server_that_stops_says_so(dialog: Dialog, client: TestClient, house: PixelHouse) -> None:
    calling(client, house.work.hold)
    dialog.send(GENERATE)
    while dialog.hear().get("stage") != "denoise":
        pass
    stop: Callable[..., Any] = house.jobs.stop
    calling(client, stop, 5.0)
    told = dialog.until("error")[-1]
    assert (told["id"], told["code"]) == (ID, "INTERRUPTED")


# -- pixels ----------------------------------------------------------------------------------------------


def test_raw_pixels_survive_the_way_there_and_back() -> None:
    raw = Raw(3, 2, bytes(range(24)))
    assert raw_of(png_of(raw)) == raw
