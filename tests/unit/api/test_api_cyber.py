# SPDX-License-Identifier: Apache-2.0
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.unit.api.dialects import House, fresh_database, language_model

from inglenook.api.cyber.keys import SETTINGS, as_setting, setting_of
from inglenook.api.cyber.models import suggested_projector
from inglenook.base.errors import InglenookError
from inglenook.base.ids import OWNER
from inglenook.catalog.model import ModelKind
from inglenook.door.administrator import COOKIE
from inglenook.settings import Settings
from inglenook.store.database import Database

MODEL = "smollm2-135m-instruct"
PASSWORD = "a long enough word"
HERE = {"host": "127.0.0.1:8190"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = fresh_database(tmp_path_factory.mktemp("shared"))
    yield database
    database.close()


@pytest.fixture
def house(shared: Database, tmp_path: Path) -> House:
    return House(shared, own_models=tmp_path)


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with open_at(house) as client:
        yield client


def open_at(house: House) -> TestClient:
    return TestClient(house.app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False)


# -- status ----------------------------------------------------------------------------------------------


def test_status_and_resources_hold_what_its_clients_read(client: TestClient, house: House) -> None:
    house.clock.advance(12)
    status = client.get("/admin/status").json()
    assert (status["version"], status["status"], status["uptime_seconds"]) == ("1.2.3", "running", 12.0)
    assert (status["running_models"], status["loaded_model_count"], status["gpu_available"]) == ([], 0, False)
    resources = client.get("/admin/resources").json()
    assert isinstance(resources["platform"], str)
    assert resources["cpu_count"] > 0
    assert 0 <= resources["memory_percent"] <= 100
    assert resources["gpu_info"] is None


def test_a_graphics_card_is_told(client: TestClient, house: House) -> None:
    gib = 1 << 30
    card = {"id": "cuda:0", "kind": "cuda", "name": "A card", "total_bytes": 8 * gib, "used_bytes": 2 * gib}
    house.runtime.devices.insert(0, card)
    resources = client.get("/admin/resources").json()
    assert (resources["gpu_info"], resources["gpu_memory_total_gb"]) == ("A card", 8.0)
    assert resources["gpu_memory_used_gb"] == 2.0
    assert client.get("/admin/status").json()["gpu_available"] is True


# -- models ----------------------------------------------------------------------------------------------


def test_models_are_listed_with_every_field(client: TestClient) -> None:
    listed = client.get("/admin/models").json()
    assert [one["name"] for one in listed] == [MODEL, "family/thinker", "minilm", "broken"]
    first = listed[0]
    assert {
        name: first[name] for name in ("model_type", "engine_type", "quantization", "context_length")
    } == {
        "model_type": "chat",
        "engine_type": "llama",
        "quantization": "Q4_1",
        "context_length": 2048,
    }
    assert listed[2]["model_type"] == "embedding"
    assert [one["is_enabled"] for one in listed] == [True, True, True, False]
    assert first["id"] == client.get("/admin/models").json()[0]["id"]


def test_a_model_that_sees_is_told_with_its_projector(client: TestClient, house: House) -> None:
    assert {one["mmproj_path"] for one in client.get("/admin/models").json()} == {None}
    projector = replace(language_model("mmproj-seer"), kind=ModelKind.PROJECTOR, language=None)
    house.language.projectors[MODEL] = projector
    first = client.get("/admin/models").json()[0]
    assert (first["model_type"], first["mmproj_path"]) == ("vlm", str(projector.path))


def test_a_model_that_is_loaded_twice_runs_once(client: TestClient, house: House) -> None:
    client.post(f"/admin/models/{MODEL}/load")
    house.runtime.residents.append(house.runtime.residents[0] | {"id": "res_embedding"})
    status = client.get("/admin/status").json()
    assert (status["running_models"], status["loaded_model_count"]) == ([MODEL], 1)
    assert len(client.get("/admin/sessions").json()) == 2


def test_a_speech_model_is_loaded_and_unloaded_as_any_other(client: TestClient, house: House) -> None:
    house.catalog.records.append(replace(language_model("whisper"), kind=ModelKind.SPEECH, language=None))
    assert client.get("/admin/models").json()[-1]["model_type"] == "transcription"
    session = client.post("/admin/models/whisper/load").json()
    assert (session["model_name"], session["status"], session["context_size"]) == (
        "whisper",
        "running",
        None,
    )
    assert client.post("/admin/models/whisper/load", json={"context_size": 512}).status_code == 400
    assert client.get("/admin/models/whisper/config").status_code == 400
    assert client.post("/admin/models/whisper/unload").json()["status"] == "unloaded"
    assert client.get("/admin/sessions").json() == []


def test_a_load_waits_and_gives_a_session_and_honours_the_context(client: TestClient, house: House) -> None:
    session = client.post(f"/admin/models/{MODEL}/load", json={"context_size": 512}).json()
    assert (session["model_name"], session["status"], session["context_size"]) == (MODEL, "running", 512)
    assert (session["port"], session["memory_mb"]) == (8190, 200.0)
    assert house.language.held[0]["context"] == 512
    assert client.get("/admin/sessions").json() == [session]
    assert client.get("/admin/status").json()["running_models"] == [MODEL]
    assert client.post(f"/admin/models/{MODEL}/load").status_code == 200, "a body is not needed"


def test_gpu_layers_of_a_load_are_kept_with_the_model_and_load_it_anew(
    client: TestClient, house: House
) -> None:
    client.post(f"/admin/models/{MODEL}/load")
    house.language.stale = ("gpu_layers",)
    assert client.post(f"/admin/models/{MODEL}/load", json={"gpu_layers": 3}).status_code == 200
    assert house.language.options(house.catalog.records[0].id).options.gpu_layers == 3
    assert house.language.unloading == [MODEL]
    client.post(f"/admin/models/{MODEL}/load", json={"gpu_layers": -1})
    assert house.language.options(house.catalog.records[0].id).options.gpu_layers is None


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("nope", None, 404),
        ("broken", None, 409),
        (MODEL, {"context_size": 0}, 400),
        (MODEL, {"context_size": "many"}, 400),
        (MODEL, {"gpu_layers": -2}, 400),
        (MODEL, [], 400),
        ("family/nope/load", None, 404),
    ],
)
def test_a_load_that_cannot_be_is_refused_in_words(
    client: TestClient, house: House, name: str, body: Any, status: int
) -> None:
    answer = client.post(f"/admin/models/{name}/load", **({} if body is None else {"json": body}))
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert house.language.held == []


def test_names_may_hold_slashes(client: TestClient, house: House) -> None:
    assert client.post("/admin/models/family/thinker/load").json()["model_name"] == "family/thinker"
    assert client.get("/admin/models/family/thinker/config").json()["model"] == "family/thinker"
    assert client.post("/admin/models/family/thinker/unload").json()["status"] == "unloaded"
    assert house.runtime.residents == []


def test_an_unload_of_a_busy_model_says_that_it_is_under_way(client: TestClient, house: House) -> None:
    client.post(f"/admin/models/{MODEL}/load")
    house.runtime.residents[0]["leases"].append("somebody")
    assert client.post(f"/admin/models/{MODEL}/unload").json() == {"status": "unloading", "model": MODEL}
    assert len(house.runtime.residents) == 1
    house.runtime.residents.clear()
    assert client.post(f"/admin/models/{MODEL}/unload").json()["status"] == "unloaded"
    assert client.post("/admin/models/nope/unload").status_code == 404


def test_options_are_set_cleared_and_checked(client: TestClient, house: House) -> None:
    wanted = {
        "default_context_size": 1024,
        "default_temperature": 0.2,
        "default_top_p": 0.9,
        "default_top_k": 40,
        "default_max_tokens": 100,
        "default_repeat_penalty": 1.1,
    }
    put = client.put(f"/admin/models/{MODEL}/config", json=wanted | {"something": "else"})
    assert put.json() == {"model": MODEL, **wanted}
    assert client.get(f"/admin/models/{MODEL}/config").json() == {
        "model": MODEL,
        "context_length": 2048,
        **wanted,
    }
    assert (
        client.put(f"/admin/models/{MODEL}/config", json={"default_top_k": None}).json()["default_top_k"]
        is None
    )
    for bad in ("warm", [], -1, 1e300, True):
        refused = client.put(f"/admin/models/{MODEL}/config", json={"default_temperature": bad})
        assert refused.status_code == 400
    assert client.get(f"/admin/models/{MODEL}/config").json()["default_temperature"] == 0.2


def test_only_what_lies_in_our_own_folder_is_deleted_and_by_its_whole_name(
    client: TestClient, house: House, tmp_path: Path
) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"x")
    house.catalog.records.append(language_model("folder/mine", path=file))
    assert client.delete(f"/admin/models/{MODEL}").status_code == 403
    assert client.delete("/admin/models/mine").status_code == 404, "nothing is guessed"
    assert client.delete("/admin/models/..%2f..%2fetc/passwd").status_code == 404
    assert client.delete("/admin/models/folder/mine").json() == {"status": "deleted", "model": "folder/mine"}
    assert not file.exists()


def test_a_download_of_what_is_here_is_answered_and_everything_else_refused(client: TestClient) -> None:
    for body in ({"name": MODEL, "hf_repo_id": "a/b"}, {"hf_repo_id": "a/b", "hf_filename": f"{MODEL}.gguf"}):
        assert client.post("/admin/models/download", json=body).json()["name"] == MODEL
    for path in ("/admin/models/download", "/admin/models/download-transformers"):
        refused = client.post(path, json={"hf_repo_id": "bartowski/Some-GGUF"})
        assert (refused.status_code, "'bartowski/Some-GGUF' is not here" in refused.json()["detail"]) == (
            501,
            True,
        )
    assert client.post("/admin/models/download", json={}).status_code == 400
    assert client.get("/admin/models/repo-files", params={"repo_id": "a/b"}).status_code == 501


@pytest.mark.parametrize(
    ("model", "files", "found"),
    [
        ("Qwen-VL-7B-Q4.gguf", ["mmproj-llava.gguf", "mmproj-Qwen-VL-7B.gguf"], "mmproj-Qwen-VL-7B.gguf"),
        ("anything.gguf", ["mmproj-f16.gguf"], "mmproj-f16.gguf"),
        ("a.gguf", ["b.gguf", "c.gguf"], None),
        ("a.gguf", [], None),
    ],
)
def test_a_projector_is_suggested_by_its_name(model: str, files: list[str], found: str | None) -> None:
    assert suggested_projector(model, files) == found


# -- configuration ---------------------------------------------------------------------------------------


def test_the_values_that_count_are_told_by_its_keys(client: TestClient) -> None:
    told = client.get("/admin/config").json()
    assert told["host"] == "127.0.0.1"
    assert (told["port"], told["log_level"], told["admin_password_set"]) == (8190, "INFO", False)
    assert (told["model_idle_timeout"], told["max_loaded_models"], told["max_memory_percent"]) == (
        300,
        -1,
        70,
    )


@pytest.mark.parametrize(
    ("key", "value", "setting", "kept"),
    [
        ("default_context_size", 4096, "language.context", "4096"),
        ("default_context_size", -1, "language.context", "auto"),
        ("max_context_size", "8192", "language.max_context", "8192"),
        ("model_idle_timeout", 120.5, "runtime.idle_unload_s", "120.5"),
        ("model_idle_timeout", -1, "runtime.idle_unload_s", "never"),
        ("max_loaded_models", 2, "runtime.max_loaded", "2"),
        ("max_memory_percent", 50, "runtime.budgets", "cpu=5 GiB"),
        ("llama_threads", 3, "runtime.cpu_threads", "3"),
        ("jobs.max_active", 7, "jobs.max_active", "7"),
    ],
)
def test_a_key_is_kept_as_a_setting_of_ours(
    client: TestClient, house: House, key: str, value: Any, setting: str, kept: str
) -> None:
    answer = client.put(f"/admin/config/{key}", json={"value": value}).json()
    assert (answer["key"], answer["value"], answer["setting"], answer["kept"]) == (key, value, setting, kept)
    changes = answer["running"] != kept
    assert answer["takes_effect"] == ("after a restart" if changes else "now")
    assert house.configuration.entry(setting).changed_by == OWNER
    assert client.delete(f"/admin/config/{key}").status_code == 200
    assert house.configuration.entry(setting).changed_at is None


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("model_idle_timeout", {"value": None}, 400),
        ("model_idle_timeout", {}, 400),
        ("model_idle_timeout", {"value": "None"}, 400),
        ("model_idle_timeout", {"value": True}, 400),
        ("model_idle_timeout", {"value": float("inf")}, 400),
        ("max_memory_percent", {"value": 0}, 400),
        ("max_memory_percent", {"value": 101}, 400),
        ("max_context_size", {"value": 1}, 400),
        ("max_loaded_models", {"value": 0}, 400),
        ("max_loaded_models", {"value": 1.5}, 400),
        ("port", {"value": 1}, 403),
        ("admin_password", {"value": "new password"}, 403),
        ("server.admin_password", {"value": "new password"}, 403),
        ("llama_gpu_layers", {"value": 3}, 400),
        ("nonsense", {"value": 3}, 404),
        ("runtime.nonsense", {"value": 3}, 404),
        ("x" * 5000, {"value": 3}, 404),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_is_kept(
    client: TestClient, house: House, key: str, body: Any, status: int
) -> None:
    content = json.dumps(body)
    answer = client.put(f"/admin/config/{key}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert all(entry.changed_at is None for entry in house.configuration.entries())


def test_a_mistyped_key_gets_the_nearest(client: TestClient) -> None:
    detail = client.put("/admin/config/model_idle_timout", json={"value": 3}).json()["detail"]
    assert "did you mean model_idle_timeout?" in detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from([*SETTINGS, "port", "hf_token"]) | st.text(max_size=30), value=json_values)
def test_no_key_and_no_value_end_in_anything_but_an_answer(key: str, value: Any) -> None:
    try:
        setting = setting_of(key)
        made = as_setting(key, value, Settings(), {"cpu": 1 << 34})
    except InglenookError:
        return
    assert setting in SETTINGS.values()
    assert made is not None


# -- the password ----------------------------------------------------------------------------------------

CLOSED = (
    ("GET", "/admin/status"),
    ("GET", "/admin/resources"),
    ("GET", "/admin/models"),
    ("GET", "/admin/sessions"),
    ("GET", "/admin/config"),
    ("PUT", "/admin/config/max_context_size"),
    ("DELETE", "/admin/config/max_context_size"),
    ("POST", f"/admin/models/{MODEL}/load"),
    ("POST", f"/admin/models/{MODEL}/unload"),
    ("GET", f"/admin/models/{MODEL}/config"),
    ("PUT", f"/admin/models/{MODEL}/config"),
    ("DELETE", f"/admin/models/{MODEL}"),
    ("POST", "/admin/models/download"),
    ("GET", "/admin/models/repo-files"),
    ("POST", "/admin/shutdown"),
)


def test_with_a_password_everything_under_admin_needs_a_token(shared: Database) -> None:
    house = House(shared, password=PASSWORD)
    with open_at(house) as client:
        for method, path in CLOSED:
            answer = client.request(method, path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["detail"].startswith("Authentication required.")
        told = client.post("/admin/login", json={"password": PASSWORD}).json()
        assert (told["token_type"], told["expires_in"]) == ("bearer", 86400)
        client.cookies.clear()
        bearer = {"authorization": f"Bearer {told['access_token']}"}
        assert client.get("/admin/status", headers=bearer).status_code == 200
        assert client.get("/admin/config", headers=bearer).json()["admin_password_set"] is True
        house.clock.advance(86400)
        expired = client.get("/admin/status", headers=bearer)
        assert (expired.status_code, expired.json()["detail"][:25]) == (401, "Invalid or expired token.")


def test_the_login_leaves_a_session_that_scripts_cannot_read(shared: Database) -> None:
    with open_at(House(shared, password=PASSWORD)) as client:
        answer = client.post("/admin/login", json={"password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert COOKIE in cookie
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/admin/status").status_code == 200


@pytest.mark.parametrize("body", [{}, {"password": None}, {"password": 7}, [], "x"])
def test_a_login_without_a_password_is_refused(shared: Database, body: Any) -> None:
    with open_at(House(shared, password=PASSWORD)) as client:
        assert client.post("/admin/login", json=body).status_code == 400


def test_a_login_says_when_there_is_nothing_to_log_in_to_and_slows_guessing_down(
    client: TestClient, shared: Database
) -> None:
    assert client.post("/admin/login", json={"password": "x"}).status_code == 400
    with open_at(House(shared, password=PASSWORD)) as guessing:
        answers = [guessing.post("/admin/login", json={"password": "guess"}) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0
        assert "guess" not in answers[0].text


def test_the_server_is_stopped_only_by_who_has_shown_a_password(
    client: TestClient, house: House, shared: Database
) -> None:
    assert client.post("/admin/shutdown").status_code == 403
    assert house.stopped == 0
    closed = House(shared, password=PASSWORD)
    with open_at(closed) as inside:
        inside.post("/admin/login", json={"password": PASSWORD})
        assert inside.post("/admin/shutdown").json() == {"status": "shutting_down"}
    assert closed.stopped == 1


# -- sockets ---------------------------------------------------------------------------------------------


def test_the_log_is_replayed_and_goes_on(client: TestClient, house: House) -> None:
    def say(text: str) -> None:
        house.journal.emit(logging.LogRecord("inglenook.test", logging.WARNING, "", 0, text, (), None))

    say("before")
    with client.websocket_connect("/ws/logs", headers=HERE) as socket:
        first = socket.receive_json()
        assert (first["level"], first["module"], first["message"]) == ("WARNING", "inglenook.test", "before")
        say("after, with token=abcdefgh")
        assert socket.receive_json()["message"] == "after, with token=…"
        socket.send_text("ping")
        assert socket.receive_json() == {"type": "pong"}


def test_the_state_comes_at_once_and_tells_of_models(shared: Database) -> None:
    house = House(shared, status_every_s=0.01)
    with open_at(house) as client, client.websocket_connect("/ws/status", headers=HERE) as socket:
        first = socket.receive_json()
        assert (first["type"], first["models"]) == ("status_update", {"loaded": [], "count": 0})
        assert set(first["resources"]) == {
            "cpu_percent", "memory_percent", "memory_used_gb", "memory_total_gb",
        }  # fmt: skip
        client.post(f"/admin/models/{MODEL}/load")
        while (event := socket.receive_json())["type"] != "model_loaded":
            assert event["type"] == "status_update"
        assert event["model"] == MODEL
        assert socket.receive_json()["models"] == {"loaded": [MODEL], "count": 1}
        client.post(f"/admin/models/{MODEL}/unload")
        while (event := socket.receive_json())["type"] == "status_update":
            pass
        assert (event["type"], event["model"]) == ("model_unloaded", MODEL)


def test_silence_is_broken(shared: Database) -> None:
    house = House(shared, keepalive_after_s=0.01)
    with open_at(house) as client, client.websocket_connect("/ws/logs", headers=HERE) as socket:
        assert socket.receive_json() == {"type": "keepalive"}


@pytest.mark.parametrize("path", ["/ws/logs", "/ws/status"])
def test_a_socket_is_refused_before_it_is_accepted(shared: Database, path: str) -> None:
    house = House(shared, password=PASSWORD)
    with open_at(house) as client:
        for headers in (HERE, HERE | {"origin": "https://evil.example"}, {"host": "evil.example"}):
            with (
                pytest.raises(WebSocketDisconnect) as caught,
                client.websocket_connect(path, headers=headers),
            ):
                pass
            assert caught.value.code == 1008
        client.post("/admin/login", json={"password": PASSWORD})
        mine = HERE | {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        foreign = mine | {"origin": "https://evil.example"}
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=foreign):
            pass
        with client.websocket_connect(path, headers=mine) as socket:
            socket.send_text("ping")
            while "pong" not in socket.receive_json().values():
                pass
