# SPDX-License-Identifier: Apache-2.0
"""ALICE's gallery over the real one: its fields, its paging, and what it got wrong."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.integration.test_gallery_doors import Doors, png

from inglenook.api.alice.gallery import gallery_router
from inglenook.api.errors import render_json
from inglenook.base.ids import OWNER, ModelId
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock


class Alice(Doors):
    def __init__(self, database: Database, folder: Path, clock: FakeClock) -> None:
        super().__init__(database, folder, clock)
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.include_router(gallery_router(gallery=self.gallery, clock=clock, page_size=50, public_hours=24))
        frame(
            app,
            identity=MachineOwner(),
            renderers={"": render_json},
            allowed_hosts=[],
            max_body_bytes=1_000_000,
            clock=clock,
        )
        self.http = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def alice(sqlite: Database, tmp_path: Path, clock: FakeClock) -> Iterator[Alice]:
    made = Alice(sqlite, tmp_path, clock)
    with made.http:
        yield made


def test_an_item_has_alices_fields_in_its_spelling(alice: Alice) -> None:
    loras = [{"model": "fur", "weight": 0.8}]
    known = {
        "negative_prompt": "dog",
        "steps": 25,
        "guidance_scale": 7.5,
        "scheduler": "euler",
        "loras": loras,
    }
    picture = alice.add(parameters={**known, "seconds": 1.5}, tags=["pets"], model=ModelId("dream"))
    answer = alice.http.get("/v1/gallery").json()
    assert {key: answer[key] for key in ("object", "total", "limit", "offset")} == {
        "object": "list",
        "total": 1,
        "limit": 100,
        "offset": 0,
    }
    assert answer["data"] == [
        {
            "id": picture.id,
            "filename": f"{picture.id}.png",
            "url": f"http://localhost/v1/pictures/{picture.id}/file",
            "thumbnailUrl": f"/v1/pictures/{picture.id}/thumbnail",
            "isPublic": False,
            "createdAt": picture.created_at.isoformat(),
            "expiresAt": None,
            "isOwner": True,
            "prompt": "a red fox",
            "negativePrompt": "dog",
            "model": "sd/dream",
            "steps": 25,
            "guidanceScale": 7.5,
            "width": 64,
            "height": 48,
            "seed": 7,
            "scheduler": "euler",
            "generationTime": 1.5,
            "loras": ["fur"],
            "loraScales": [0.8],
            "tags": ["pets"],
        }
    ]


def test_pages_go_by_offset_and_zero_means_all(alice: Alice) -> None:
    ids = [alice.add(png(colour=f"#0000{number:02x}")).id for number in range(5)][::-1]

    def page(query: str) -> tuple[list[str], int]:
        answer = alice.http.get(f"/v1/gallery?{query}").json()
        return [one["id"] for one in answer["data"]], answer["total"]

    assert page("limit=2") == (ids[:2], 5)
    assert page("limit=2&offset=3") == (ids[3:], 5)
    assert page("limit=0") == (ids, 5)
    assert page("limit=0&offset=4") == (ids[4:], 5)
    assert page("offset=99") == ([], 5)
    for wrong in ("limit=-1", "offset=-1", "limit=x"):
        assert alice.http.get(f"/v1/gallery?{wrong}").status_code == 400


def test_a_list_is_narrowed_by_privacy_tags_and_words(alice: Alice) -> None:
    fox = alice.add(tags=["a", "b"])
    owl = alice.add(png(colour="blue"), prompt="an owl", tags=["a"])
    alice.http.patch(f"/v1/gallery/{owl.id}/privacy", json={"isPublic": True})

    def ids(query: str) -> list[str]:
        answer = alice.http.get(f"/v1/gallery?{query}").json()
        assert answer["total"] == len(answer["data"])
        return [one["id"] for one in answer["data"]]

    assert ids("include_private=false") == [owl.id]
    assert ids("include_public=false") == [fox.id]
    assert ids("include_public=false&include_private=false") == []
    assert ids("tags=A,b") == [fox.id]
    assert ids("tags=a") == [owl.id, fox.id]
    assert ids("search=RED") == [fox.id]


@pytest.mark.parametrize("names", [("is_public", "expires_in_hours"), ("isPublic", "expiresInHours")])
def test_privacy_in_both_spellings(alice: Alice, clock: FakeClock, names: tuple[str, str]) -> None:
    picture = alice.add()
    address = f"/v1/gallery/{picture.id}/privacy"
    until = (clock.now() + timedelta(hours=3)).isoformat()
    answer = alice.http.patch(address, json={names[0]: True, names[1]: 3}).json()
    assert (answer["success"], answer["is_public"], answer["expires_at"]) == (True, True, until)
    default = alice.http.patch(address, json={names[0]: True}).json()
    assert default["expires_at"] == (clock.now() + timedelta(hours=24)).isoformat()
    private = alice.http.patch(address, json={names[0]: False}).json()
    assert (private["is_public"], private["expires_at"]) == (False, None)
    for wrong in ({}, {names[0]: "yes"}, {names[0]: True, names[1]: 169}, {names[0]: True, names[1]: 0}):
        assert alice.http.patch(address, json=wrong).status_code == 400


def test_a_public_picture_whose_time_is_over_is_kept_as_a_private_one(alice: Alice, clock: FakeClock) -> None:
    picture = alice.add()
    alice.http.patch(f"/v1/gallery/{picture.id}/privacy", json={"is_public": True, "expires_in_hours": 1})
    clock.set_wall(clock.now() + timedelta(hours=2))
    assert alice.http.get("/v1/gallery/stats").json() == {"total": 1, "public": 0, "private": 1, "expired": 1}
    assert alice.http.get("/v1/gallery").json()["data"][0]["isPublic"] is False
    assert alice.http.post("/v1/gallery/cleanup").json() == {"success": True, "cleaned": 1}
    assert alice.http.post("/v1/gallery/cleanup").json() == {"success": True, "cleaned": 0}
    assert alice.gallery.get(picture.id, caller=OWNER).is_public is False


def test_tags_are_cut_as_alice_cuts_them_and_private_ones_are_counted(alice: Alice) -> None:
    picture = alice.add()
    sent = [" Fox ", "fox", "x" * 80, "", *(f"t{number}" for number in range(30))]
    answer = alice.http.patch(f"/v1/gallery/{picture.id}/tags", json={"tags": sent}).json()
    assert answer["tags"][:2] == ["fox", "x" * 50]
    assert len(answer["tags"]) == 20
    found = alice.http.get("/v1/gallery/tags").json()
    assert found["total"] == 20
    assert {"name": "fox", "count": 1} in found["tags"]
    assert alice.http.patch(f"/v1/gallery/{picture.id}/tags", json={"tags": "fox"}).status_code == 400


def test_delete_takes_the_id_or_the_files_name_and_can_be_undone(alice: Alice) -> None:
    one, two = alice.add(), alice.add(png(colour="blue"))
    assert alice.http.delete(f"/v1/gallery/{one.id}").json() == {"success": True}
    assert alice.http.delete(f"/v1/gallery/{two.id}.png").json() == {"success": True}
    assert alice.http.get("/v1/gallery").json()["total"] == 0
    for wrong in (one.id, "abc123def456", "..%2f..", "pic_" + "0" * 60):
        assert alice.http.delete(f"/v1/gallery/{wrong}").status_code == 404
    assert list(alice.gallery.restore([one.id], caller=OWNER)) == [one.id]


def test_the_page_size_is_told(alice: Alice) -> None:
    assert alice.http.get("/v1/gallery/config").json()["page_size"] == 50
