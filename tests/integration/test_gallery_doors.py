# SPDX-License-Identifier: Apache-2.0
"""The doors of the gallery over the real service: lists, marks, trash, zip files, thumbnails, imports."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient
from tests.unit.api.services import Catalog, Jobs, Outgoing, Runtime

from inglenook.api.errors import render_json
from inglenook.api.studio import studio_router
from inglenook.base.ids import OWNER, JobId, ModelId
from inglenook.base.journal import Journal
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.gallery.model import Picture
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.images import metadata
from inglenook.images.importing import PictureImporter
from inglenook.images.thumbnails import Thumbnails
from inglenook.store.blobs import LocalBlobs
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

MAX_PIXELS = 4_000_000


def png(size: tuple[int, int] = (64, 48), colour: str = "red", **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name.replace("__", "-"), text)
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG", pnginfo=info)
    return out.getvalue()


class Doors:
    def __init__(self, database: Database, folder: Path, clock: FakeClock) -> None:
        self.blobs = LocalBlobs(folder / "blobs")
        self.thumbnails = Thumbnails(
            folder / "thumbnails", read=self.blobs.read, side_px=256, max_pixels=MAX_PIXELS
        )
        self.gallery = GalleryService(
            records=PictureRecords(database=database),
            blobs=self.blobs,
            clock=clock,
            in_use=lambda _: False,
            forget=self.thumbnails.forget,
        )
        importer = PictureImporter(gallery=self.gallery, max_bytes=10_000_000, max_pixels=MAX_PIXELS)
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.include_router(
            studio_router(
                jobs=Jobs(),
                gallery=self.gallery,
                thumbnails=self.thumbnails,
                importer=importer,
                runtime=Runtime(),
                catalog=Catalog(),
                outgoing=Outgoing(),
                journal=Journal(),
                public_hours=168,
            )
        )
        frame(
            app,
            identity=MachineOwner(),
            renderers={"": render_json},
            allowed_hosts=[],
            max_body_bytes=20_000_000,
            clock=clock,
        )
        self.http = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)

    def add(self, data: bytes | None = None, **fields: Any) -> Picture:
        known: dict[str, Any] = {
            "job": JobId("job_1"),
            "media_type": "image/png",
            "width": 64,
            "height": 48,
            "model": ModelId("starter"),
            "prompt": "a red fox",
            "seed": 7,
            "parameters": {"steps": 4},
        }
        return self.gallery.add(owner=OWNER, data=png() if data is None else data, **{**known, **fields})

    def listed(self, query: str = "") -> list[str]:
        answer = self.http.get(f"/v1/pictures?{query}")
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    def bring(self, *files: tuple[str, bytes], gallery: bytes | None = None) -> dict[str, Any]:
        parts: list[tuple[str, tuple[str, bytes]]] = [("file", file) for file in files]
        if gallery is not None:
            parts.append(("gallery", ("gallery.json", gallery)))
        answer = self.http.post("/v1/pictures/import", files=parts)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def doors(sqlite: Database, tmp_path: Path, clock: FakeClock) -> Iterator[Doors]:
    made = Doors(sqlite, tmp_path, clock)
    with made.http:
        yield made


def test_the_list_takes_every_filter_and_names_a_bad_one(doors: Doors) -> None:
    fox = doors.add(tags=["snow"], parameters={"mode": "text", "loras": [{"model": "x", "weight": 1}]})
    owl = doors.add(png(colour="blue"), prompt="an owl", width=48, height=64, parameters={"mode": "image"})
    assert doors.listed() == [owl.id, fox.id]
    assert doors.listed("order=oldest") == [fox.id, owl.id]
    for query in (
        *("search=red+fo", "tag=snow", "shape=landscape", "lora=true", "mode=text", "width=64&height=48"),
        *("model=starter&search=fox", "before=" + owl.id, "favourite=false&tag=SNOW"),
    ):
        assert doors.listed(query) == [fox.id], query
    assert doors.listed("after=" + fox.id) == [owl.id]
    day = fox.created_at.date().isoformat()
    assert doors.listed(f"since={day}&until={day}") == [owl.id, fox.id]
    assert doors.listed(f"until={fox.created_at.isoformat().replace('+', '%2B')}") == []
    for query in ("shape=round", "since=yesterday", "mode=x", "limit=0", "order=best", "width=-1", "lora=7"):
        answer = doors.http.get(f"/v1/pictures?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_a_page_goes_on_after_the_last_one(doors: Doors) -> None:
    pictures = [doors.add(png(colour=colour)).id for colour in ("red", "green", "blue")]
    first = doors.http.get("/v1/pictures?limit=2").json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (pictures[:0:-1], True)
    second = doors.http.get(f"/v1/pictures?limit=2&before={first['last_id']}").json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == (pictures[:1], False)


def test_a_picture_is_marked_all_or_nothing(doors: Doors) -> None:
    picture = doors.add()
    address = f"/v1/pictures/{picture.id}"
    body = {"favourite": True, "tags": ["Fox", "fox", "snow"], "public": True}
    changed = doors.http.patch(address, json=body).json()
    assert (changed["favourite"], changed["tags"], changed["is_public"]) == (True, ["fox", "snow"], True)
    assert changed["public_until"] is not None
    forever = doors.http.patch(address, json={"public": True, "public_hours": None}).json()
    assert forever["public_until"] is None
    for wrong in (
        {"favourite": "yes"},
        {"tags": "fox"},
        {"tags": ["x" * 51]},
        {"public_hours": 3},
        {"public": True, "public_hours": 0},
        {"public": True, "public_hours": 1.5},
        {"seed": 1},
    ):
        answer = doors.http.patch(address, json=wrong)
        assert answer.status_code == 400, wrong
    assert doors.gallery.get(picture.id, caller=OWNER).tags == ("fox", "snow")
    assert doors.http.get("/v1/pictures/tags").json()["data"] == [
        {"name": "fox", "count": 1},
        {"name": "snow", "count": 1},
    ]


def test_many_are_marked_thrown_away_and_brought_back(doors: Doors) -> None:
    ids = [doors.add(png(colour=colour)).id for colour in ("red", "green", "blue")]
    body = {"ids": ids[:2], "favourite": True, "add_tags": ["a"], "remove_tags": ["b"]}
    assert doors.http.post("/v1/pictures/mark", json=body).json() == {"changed": 2}
    assert doors.listed("favourite=true&tag=a") == ids[1::-1]
    assert doors.http.post("/v1/pictures/trash", json={"ids": ids[:2]}).json() == {"ids": ids[:2]}
    assert doors.listed() == ids[2:]
    assert doors.listed("trashed=true") == ids[1::-1]
    assert doors.http.get(f"/v1/pictures/{ids[0]}/file").status_code == 404
    assert doors.http.get(f"/v1/pictures/{ids[0]}/file?trashed=true").status_code == 200
    assert doors.http.get(f"/v1/pictures/{ids[0]}/thumbnail?trashed=true").status_code == 200
    assert doors.http.post("/v1/pictures/restore", json={"ids": ids[:1]}).json() == {"ids": ids[:1]}
    assert doors.listed() == [ids[2], ids[0]]
    assert doors.http.post("/v1/pictures/empty-trash").json() == {"changed": 1}
    assert doors.listed("trashed=true") == []


@pytest.mark.parametrize("ids", [None, [], "pic_1", ["x"], [1], ["pic_" + "0" * 26] * 1001])
def test_ids_that_are_none_are_refused(doors: Doors, ids: Any) -> None:
    for path in ("trash", "restore", "zip", "mark"):
        answer = doors.http.post(
            f"/v1/pictures/{path}", json={"ids": ids, **({"favourite": True} if path == "mark" else {})}
        )
        assert answer.status_code == 400, path
        assert answer.json()["error"]["param"] == "ids"


def test_delete_can_be_undone_unless_it_is_for_ever(doors: Doors) -> None:
    one, two = doors.add(), doors.add(png(colour="blue"))
    gone = doors.http.delete(f"/v1/pictures/{one.id}").json()
    assert gone == {"id": one.id, "deleted": True, "restorable": True}
    assert doors.http.delete(f"/v1/pictures/{one.id}").status_code == 404
    assert doors.blobs.exists(one.blob)
    assert doors.http.delete(f"/v1/pictures/{two.id}?forever=true").json()["restorable"] is False
    assert not doors.blobs.exists(two.blob)
    assert doors.http.delete(f"/v1/pictures/{one.id}?forever=true").status_code == 200
    assert doors.listed("trashed=true") == []


def test_a_thumbnail_is_small_kept_and_goes_with_the_picture(doors: Doors) -> None:
    large, small = doors.add(png((1024, 512))), doors.add(png((32, 16), "blue"))
    answer = doors.http.get(f"/v1/pictures/{large.id}/thumbnail")
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("WEBP", (256, 128))
    again = doors.http.get(
        f"/v1/pictures/{large.id}/thumbnail", headers={"if-none-match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    with Image.open(io.BytesIO(doors.http.get(f"/v1/pictures/{small.id}/thumbnail").content)) as image:
        assert image.size == (32, 16)
        assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    kept = doors.thumbnails.path(large)
    doors.gallery.delete(large.id, caller=OWNER)
    assert not kept.exists()


def test_a_zip_holds_the_files_as_they_are_under_safe_names(doors: Doors) -> None:
    hostile = doors.add(png(colour="blue"), prompt="../../etc/passwd\x00 <b>C:\\x</b>", tags=["t"])
    plain = doors.add(prompt="雪", media_type="image/jpeg")
    answer = doors.http.post("/v1/pictures/zip", json={"ids": [hostile.id, plain.id]})
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="inglenook-2-pictures.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.testzip() is None
        names = made.namelist()
        assert names[0] == f"etc-passwd-b-c-x-b-{hostile.id[4:]}.png"
        assert names[1] == f"picture-{plain.id[4:]}.jpg"
        assert made.read(names[0]) == png(colour="blue")
        told = json.loads(made.read("parameters.json"))
    assert [one["file"] for one in told] == names[:2]
    assert told[0]["tags"] == ["t"]


def test_a_form_can_ask_for_a_zip_and_what_is_missing_is_said_before_it_begins(doors: Doors) -> None:
    one, two = doors.add(), doors.add(png(colour="blue"))
    answer = doors.http.post("/v1/pictures/zip", data={"ids": f"{one.id},{two.id}"})
    assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) == 3
    doors.gallery.trash([two.id], caller=OWNER)
    assert doors.http.post("/v1/pictures/zip", data={"ids": f"{one.id},{two.id}"}).status_code == 404
    doors.blobs.delete(one.blob)
    with zipfile.ZipFile(
        io.BytesIO(doors.http.post("/v1/pictures/zip", json={"ids": [one.id]}).content)
    ) as made:
        assert json.loads(made.read("parameters.json"))[0]["file"] is None


def test_a_zip_is_sent_piece_by_piece(doors: Doors) -> None:
    noise = [doors.add(bytes([number]) * 3_000_000) for number in range(3)]
    pieces = doors.gallery.archive([picture.id for picture in noise], caller=OWNER)
    assert max(len(piece) for piece in pieces) < 1_000_000


def test_pictures_from_elsewhere_are_kept_byte_by_byte_with_what_they_tell(doors: Doors) -> None:
    a1111 = png(parameters="a fox <lora:style:0.5>\nNegative prompt: blur\nSteps: 9, Seed: 5, CFG scale: 6")
    bare = png((20, 10), "green")
    found = doors.bring(("shots\\a fox.png", a1111), ("b.png", bare))
    assert found["refused"] == []
    first, second = found["data"]
    assert (first["source"], first["job"], first["prompt"], first["seed"]) == ("imported", None, "a fox", 5)
    assert first["parameters"]["loras"] == [{"model": "style", "weight": 0.5}]
    assert first["parameters"]["file"] == "a fox.png"
    assert (second["prompt"], second["seed"], second["width"], second["height"]) == ("", None, 20, 10)
    assert doors.http.get(first["url"]).content == a1111
    assert doors.listed("source=imported&search=fox") == [first["id"]]
    assert doors.listed("lora=true") == [first["id"]]


def test_our_own_pictures_come_back_as_they_were_made(doors: Doors) -> None:
    parameters = {
        "software": "inglenook",
        "prompt": "a fox",
        "steps": 4,
        "seed": 9,
        "model": "lab/fox",
        "width": 64,
        "height": 48,
        "mode": "text",
    }
    data = metadata.embed(png(), "image/png", parameters)
    [picture] = doors.bring(("x.png", data))["data"]
    assert picture["model"] == "lab/fox"
    assert {name: picture["parameters"][name] for name in parameters} == parameters


@pytest.mark.parametrize("name", ["GIF", "WEBP"])
def test_an_animation_of_ours_comes_back_as_it_was_made(doors: Doors, name: str) -> None:
    frames = [Image.new("RGB", (16, 8), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:], duration=100, loop=0)
    parameters = {"software": "inglenook", "prompt": "a fox", "steps": 4, "seed": 9, "model": "lab/fox"}
    media_type = f"image/{name.lower()}"
    found = doors.bring((f"x.{name.lower()}", metadata.embed(file.getvalue(), media_type, parameters)))
    assert found["refused"] == []
    [picture] = found["data"]
    assert {name: picture["parameters"][name] for name in parameters} == parameters
    assert (picture["prompt"], picture["seed"], picture["width"], picture["height"]) == ("a fox", 9, 16, 8)
    answer = doors.http.get(picture["url"])
    assert answer.headers["content-type"] == media_type
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]


def test_each_file_is_kept_or_refused_by_itself(doors: Doors) -> None:
    found = doors.bring(
        ("ok.png", png()),
        ("cut.png", png()[:60]),
        ("page.html", b"<html>"),
        ("x.gif", b"GIF89a" + b"\0" * 20),
    )
    assert [one["parameters"]["file"] for one in found["data"]] == ["ok.png"]
    assert [one["name"] for one in found["refused"]] == ["cut.png", "page.html", "x.gif"]
    assert all(one["error"]["message"] for one in found["refused"])
    too_large = doors.bring(("big.png", png((3000, 2000))))
    assert too_large["refused"][0]["error"]["code"] == "picture.too_large"


def test_alices_gallery_comes_with_its_pictures(doors: Doors) -> None:
    record = {
        "id": "abc",
        "filename": "abc.png",
        "prompt": "a cat",
        "negativePrompt": "dog",
        "model": "sd/dream",
        "steps": 25,
        "guidanceScale": 7.5,
        "seed": None,
        "scheduler": "euler_ancestral",
        "loras": ["lora/fur"],
        "loraScales": [0.6],
        "tags": ["Pets", "x" * 80],
        "isPublic": True,
        "width": 64,
        "height": 48,
    }
    listed = json.dumps({"images": {"abc": record, "broken": 7}}).encode()
    [picture] = doors.bring(("abc.png", png()), gallery=listed)["data"]
    assert (picture["prompt"], picture["model"], picture["seed"]) == ("a cat", "dream", None)
    kept = picture["parameters"]
    assert (kept["scheduler"], kept["guidance_scale"], kept["negative_prompt"]) == ("euler_a", 7.5, "dog")
    assert kept["loras"] == [{"model": "fur", "weight": 0.6}]
    assert picture["tags"] == ["pets", "x" * 50]
    assert picture["is_public"] is False
    for wrong in (b"[]", b"not json", b'{"images": 3}', b"[" * 100_000):
        answer = doors.http.post(
            "/v1/pictures/import",
            files=[("file", ("a.png", png())), ("gallery", ("gallery.json", wrong))],
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "gallery"


def test_an_import_without_files_or_of_another_kind_is_refused(doors: Doors) -> None:
    assert doors.http.post("/v1/pictures/import", json={}).status_code == 400
    empty = doors.http.post("/v1/pictures/import", files=[("gallery", ("g", b'{"images": {}}'))])
    assert empty.json()["error"]["param"] == "file"


def test_an_idle_model_can_be_unloaded_and_no_other(doors: Doors) -> None:
    assert doors.http.post("/v1/runtime/residents/res_1/unload").json() == {"id": "res_1", "unloading": True}
    assert doors.http.post("/v1/runtime/residents/res_2/unload").status_code == 404
