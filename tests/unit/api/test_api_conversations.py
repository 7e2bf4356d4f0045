# SPDX-License-Identifier: Apache-2.0
"""/v1/conversations and /v1/presets: the routes over a real database and a scripted model."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.unit.chat.test_conversation_answers import Room, script, text

from inglenook.api.conversations import conversations_router
from inglenook.api.errors import render_json
from inglenook.base.ids import BlobId, PersonId
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

NOBODYS = ["cnv_" + "0" * 26, "x", "cnv_" + "u" * 26, "%00", "cnv_" + "0" * 300]


class Images:
    """Keeps what it is given, as it is."""

    def __init__(self, room: Room) -> None:
        self.room = room

    async def keep_input(self, data: bytes) -> BlobId:
        return BlobId(self.room.talks._blobs.put(data).id)

    async def input(self, blob: BlobId) -> bytes:
        return self.room.talks.file(blob)


@pytest.fixture
def room(sqlite: Database, tmp_path: Path, clock: FakeClock) -> Room:
    return Room(sqlite, tmp_path / "blobs", clock)


@pytest.fixture
def client(room: Room, clock: FakeClock) -> Iterator[TestClient]:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    images: Any = Images(room)
    app.include_router(
        conversations_router(
            conversations=room.talks, answers=room.answers, images=images, max_body_bytes=1_000_000
        )
    )
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_json},
        allowed_hosts=[],
        max_body_bytes=2_000_000,
        clock=clock,
    )
    with TestClient(app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client


def events(body: str) -> list[tuple[str, Any]]:
    found = []
    for block in body.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_conversation_is_made_changed_read_and_thrown_away(client: TestClient, room: Room) -> None:
    settings = {"temperature": 0, "stop": "E"}
    sent = {"title": " A  talk ", "model": "smol", "system": "S", "parameters": settings}
    made = client.post("/v1/conversations", json=sent).json()
    assert (made["title"], made["model"], made["parameters"]) == (
        "A talk",
        "smol",
        {"temperature": 0, "stop": ["E"]},
    )
    assert "owner" not in made
    path = f"/v1/conversations/{made['id']}"
    now = client.patch(path, json={"title": "B", "pinned": True, "parameters": {}}).json()
    assert (now["title"], now["pinned"], now["parameters"], now["system"]) == ("B", True, {}, "S")
    assert client.get(path).json()["messages"] == []
    listed = client.get("/v1/conversations?limit=1").json()
    assert [one["title"] for one in listed["data"]] == ["B"]
    assert listed["has_more"] is True
    assert len(client.get(f"/v1/conversations?before={listed['last_id']}").json()["data"]) == 1
    assert client.delete(path).json() == {"id": made["id"], "deleted": True, "restorable": True}
    assert [one["id"] for one in client.get("/v1/conversations?trashed=true").json()["data"]] == [made["id"]]
    assert client.post(f"{path}/restore").json()["deleted_at"] is None
    assert client.delete(f"{path}?forever=true").json()["restorable"] is False
    assert client.get(path).status_code == 404
    assert client.post("/v1/conversations/empty-trash").json() == {"changed": 0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"titel": "x"}, "titel"),
        ({"title": 7}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"model": "m" * 501}, "model"),
        ({"system": "s" * 100_001}, "system"),
        ({"parameters": []}, None),
        ({"parameters": [1]}, "parameters"),
        ({"parameters": {"temprature": 1}}, "parameters.temprature"),
        ({"parameters": {"top_p": 2}}, "parameters.top_p"),
        ({"pinned": True}, "pinned"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(
    client: TestClient, body: dict[str, Any], field: str | None
) -> None:
    answer = client.post("/v1/conversations", json=body)
    if field is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("name", NOBODYS)
def test_what_is_nobodys_is_not_found(client: TestClient, room: Room, name: str) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("POST", "/restore", None),
        ("GET", "/export", None),
        ("POST", "/messages", {"content": "x"}),
        ("POST", "/answers", {"message": room.asked}),
        ("POST", f"/messages/{room.asked}/stop", None),
    ):
        answer = client.request(method, f"/v1/conversations/{name}{path}", json=body)
        assert answer.status_code == 404, (method, path)


def test_another_persons_conversation_is_not_found(client: TestClient, room: Room) -> None:
    other = room.talks.create(owner=PersonId("bob"), title="secret").id
    assert client.get(f"/v1/conversations/{other}").status_code == 404
    assert client.get(f"/v1/conversations/{other}/export").status_code == 404
    assert "secret" not in client.get("/v1/conversations?archived=false").text
    assert (
        zipfile.ZipFile(io.BytesIO(client.get("/v1/conversations/export").content))
        .namelist()[0]
        .startswith("hi-")
    )


def test_something_is_said_and_answered_in_a_stream_of_events(client: TestClient, room: Room) -> None:
    path = f"/v1/conversations/{room.talk}"
    with client.stream("POST", f"{path}/answers", json={"message": room.asked, "model": "smol"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.read().decode())
    assert [kind for kind, _ in told] == ["message", "wait", "wait", "text", "done"]
    assert told[0][1]["state"] == "writing"
    assert told[-1][1]["parts"] == [{"type": "text", "text": "Hello"}]
    kept = client.get(path).json()
    assert kept["messages"][-1] == told[-1][1]
    assert kept["shown"] == told[-1][1]["id"]
    more = client.post(f"{path}/messages", json={"content": "more"}).json()
    assert more["parent"] == kept["shown"]  # the end of what is shown
    fresh = client.post(f"{path}/messages", json={"content": "anew", "parent": None}).json()
    assert fresh["parent"] is None
    assert client.patch(path, json={"shown": room.asked}).json()["shown"] == more["id"]


def test_what_cannot_be_said_or_answered_is_refused(client: TestClient, room: Room) -> None:
    path = f"/v1/conversations/{room.talk}"
    for body in (
        {"content": ""},
        {"content": 7},
        {"content": [7]},
        {"content": [{"type": "audio"}]},
        {"content": [{"type": "image", "picture": "x"}]},
        {"content": [{"type": "image", "blob": "0" * 64, "picture": "pic_" + "0" * 26}]},
        {"content": [{"type": "image", "blob": "0" * 64}]},  # never sent here
        {"content": "x", "parent": room.asked},
        {"content": "x", "role": "system"},
    ):
        assert client.post(f"{path}/messages", json=body).status_code == 400, body
    assert client.post(f"{path}/messages", json={"content": "x", "parent": "msg_none"}).status_code == 404
    assert client.post(f"{path}/answers", json={"message": room.asked, "model": "painter"}).status_code == 400
    assert client.post(f"{path}/answers", json={"message": room.asked, "model": "gone"}).status_code == 404
    assert client.post(f"{path}/answers", json={"message": None}).status_code == 404
    assert len(client.get(path).json()["messages"]) == 1


def test_stopping_what_is_not_being_written_says_so(client: TestClient, room: Room) -> None:
    answer = client.post(f"/v1/conversations/{room.talk}/messages/{room.asked}/stop")
    assert answer.json() == {"stopped": False}


def test_a_failed_answer_tells_its_reason(client: TestClient, room: Room) -> None:
    room.script = lambda _: script(text("half"))
    answer = client.post(f"/v1/conversations/{room.talk}/answers", json={"message": room.asked})
    assert events(answer.text)[-1][1]["error"]["code"] == "model.broke_off"


def test_pictures_are_kept_by_their_content_and_can_be_part_of_a_message(
    client: TestClient, room: Room
) -> None:
    kept = client.post("/v1/conversations/pictures", files=[("file", ("a.png", b"\x89PNG a"))]).json()["data"]
    blob = hashlib.sha256(b"\x89PNG a").hexdigest()
    assert kept == [{"blob": blob, "url": f"/v1/conversations/pictures/{blob}"}]
    answer = client.get(kept[0]["url"])
    assert (answer.content, answer.headers["content-type"]) == (b"\x89PNG a", "image/png")
    assert "sandbox" in answer.headers["content-security-policy"]
    content = [{"type": "image", "blob": blob}, {"type": "text", "text": "what?"}]
    said = client.post(f"/v1/conversations/{room.talk}/messages", json={"content": content, "parent": None})
    assert said.json()["parts"][0] == {"type": "image", "picture": None, "blob": blob}
    assert client.get(f"/v1/conversations/pictures/{'0' * 64}").status_code == 404
    assert client.get("/v1/conversations/pictures/..%2Fx").status_code == 404
    assert client.post("/v1/conversations/pictures", files=[("other", ("a", b"x"))]).status_code == 400


def test_a_conversation_leaves_as_json_and_markdown_and_comes_back(client: TestClient, room: Room) -> None:
    path = f"/v1/conversations/{room.talk}"
    document = client.get(f"{path}/export")
    assert document.headers["content-disposition"].startswith('attachment; filename="hi-')
    markdown = client.get(f"{path}/export?format=markdown")
    assert markdown.text.startswith("# hi\n")
    assert client.get(f"{path}/export?format=word").status_code == 400
    brought = client.post("/v1/conversations/import", files={"file": ("x.json", document.content)}).json()[
        "data"
    ]
    assert [one["title"] for one in brought] == ["hi"]
    everything = client.get("/v1/conversations/export")
    again = client.post("/v1/conversations/import", files={"file": ("x.zip", everything.content)}).json()[
        "data"
    ]
    assert len(again) == 2
    for bad in (b"{}", b"", b"PK\x03\x04", b"[" * 100_000):
        answer = client.post("/v1/conversations/import", files={"file": ("x", bad)})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    assert client.post("/v1/conversations/import", json={}).status_code == 400
    assert len(client.get("/v1/conversations").json()["data"]) == 4


def test_one_bad_document_in_an_archive_keeps_all_out(client: TestClient, room: Room) -> None:
    good = client.get(f"/v1/conversations/{room.talk}/export").content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.json", good)
        packed.writestr("b.json", b"{}")
    before = len(client.get("/v1/conversations").json()["data"])
    files = {"file": ("x.zip", out.getvalue())}
    assert client.post("/v1/conversations/import", files=files).status_code == 400
    assert len(client.get("/v1/conversations").json()["data"]) == before


def test_presets_are_kept_listed_and_forgotten(client: TestClient) -> None:
    kept = client.post("/v1/presets", json={"name": "Pirate", "text": "Arr."}).json()
    assert client.post("/v1/presets", json={"name": "Pirate", "text": "Ahoy."}).json()["id"] == kept["id"]
    assert client.get("/v1/presets").json()["data"] == [{**kept, "text": "Ahoy."}]
    assert client.post("/v1/presets", json={"name": "", "text": "x"}).json()["error"]["param"] == "name"
    assert client.post("/v1/presets", json={"name": "x", "words": "x"}).status_code == 400
    assert client.delete(f"/v1/presets/{kept['id']}").json()["deleted"] is True
    assert client.delete(f"/v1/presets/{kept['id']}").status_code == 404
    assert client.delete("/v1/presets/x").status_code == 404
