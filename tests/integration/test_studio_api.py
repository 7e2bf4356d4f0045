# SPDX-License-Identifier: Apache-2.0
"""/api/projects, /api/datasets and /api/splits over the whole application in this process."""

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.testclient import TestClient
from tests.ai_studio import write_workspace
from tests.studio_bench import add, fill, label, png

from inglenook.app import Workshop, create_app, open_workshop
from inglenook.base.errors import Conflict, Failed
from inglenook.base.ids import OWNER
from inglenook.base.journal import Journal
from inglenook.door.caller import Caller
from inglenook.door.fragments import Fragments
from inglenook.settings import load
from inglenook.store.lock import DataLock, this_process
from inglenook.studio.foreign.bringing import bring_ai_studio
from inglenook.studio.projects.model import Share

BASE = "http://127.0.0.1:8190"
THIRDS = {"train": 0.8, "val": 0.1, "test": 0.1}
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Opened on a loop of its own, which stands still: nothing here waits for jobs or models."""
    loop = asyncio.new_event_loop()
    folder = tmp_path_factory.mktemp("data")
    opened = open_workshop(load(file=None, environ={}, flags={"server.data": str(folder)}))
    made = loop.run_until_complete(opened.__aenter__())
    yield made
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()


@pytest.fixture(scope="module")
def client(workshop: Workshop) -> Iterator[TestClient]:
    app = create_app(workshop, journal=Journal())

    async def grid(request: Request, caller: Caller, data: Any) -> Response:
        return HTMLResponse(f"<div id='project-grid'>{caller.person} {len(data)}</div>")

    app.state.fragments = Fragments()  # instead of what the pages have registered
    app.state.fragments.register("projects.create", grid)
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def pets(workshop: Workshop, client: TestClient) -> str:
    """A project with 20 cats and 20 dogs."""
    made: str = new_project(client)
    fill(workshop.studio, made, {"cats": 20, "dogs": 20})
    return made


def new_project(client: TestClient, **more: Any) -> str:
    answer = client.post("/api/projects", json={"name": "Pets", "task": "classification", **more})
    assert answer.status_code == 200
    made: str = answer.json()["data"]["id"]
    return made


def data_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "ok"
    assert set(body) == {"status", "data"}
    return body["data"]


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, "error"), answer.text
    assert body["error"]["code"] == code
    error: dict[str, Any] = body["error"]
    return error


# -- projects --------------------------------------------------------------------------------------------


def test_projects_are_made_listed_renamed_and_deleted(client: TestClient) -> None:
    made = data_of(
        client.post("/api/projects", json={"name": " My  pets ", "task": "classification", "description": ""})
    )
    assert made["id"].startswith("proj-")
    assert (made["name"], made["description"]) == ("My pets", None)
    assert made["created_at"].endswith("Z")
    assert made in data_of(client.get("/api/projects"))["projects"]
    assert data_of(client.get(f"/api/projects/{made['id']}")) == made
    renamed = data_of(client.patch(f"/api/projects/{made['id']}", json={"name": "Others"}))
    assert renamed["name"] == "Others"
    assert data_of(client.delete(f"/api/projects/{made['id']}")) == {
        "project_id": made["id"],
        "deleted": True,
    }
    error_of(client.get(f"/api/projects/{made['id']}"), 404, "NOT_FOUND")
    error_of(client.delete(f"/api/projects/{made['id']}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "bad!name", "task": "classification"},
        {"name": "", "task": "classification"},
        {"name": "x" * 81, "task": "classification"},
        {"name": "ok", "task": "magic"},
        {"name": "ok"},
        {"name": 5, "task": "classification"},
        {"name": "ok", "task": "classification", "description": "x" * 281},
        [],
        "text",
    ],
)
def test_what_cannot_be_is_a_422_in_the_envelope(client: TestClient, body: Any) -> None:
    error = error_of(client.post("/api/projects", json=body), 422, "VALIDATION_ERROR")
    assert error["message"] == "Request validation failed."
    assert error["details"]
    assert set(error["details"][0]) >= {"loc", "msg", "type"}


@pytest.mark.parametrize("body", [b"{", b"", b'{"name": "x", "name"}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_422(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/projects", content=body, headers={"content-type": "application/json"})
    error_of(answer, 422, "VALIDATION_ERROR")


def test_a_form_counts_as_a_body_and_htmx_gets_its_fragment(client: TestClient) -> None:
    form = {"name": "Pets", "task": "classification", "description": "Cats, dogs."}
    made = data_of(client.post("/api/projects", data=form))
    assert made["description"] == "Cats, dogs."
    answer = client.post("/api/projects", data=form, headers=HTMX)
    assert "project-grid" in answer.text
    assert f"{OWNER} " in answer.text
    assert answer.headers["hx-redirect"].startswith("/projects/proj-")
    assert answer.headers["hx-redirect"].endswith("/dataset")


def test_errors_for_htmx_are_a_toast_with_the_same_status(client: TestClient) -> None:
    answer = client.get("/api/projects/proj-<b>", headers=HTMX)
    assert answer.status_code == 404
    assert answer.text.startswith('<div class="error-toast" role="alert">')
    assert "<b>" not in answer.text
    answer = client.post("/api/projects", data={"name": "bad!", "task": "x"}, headers=HTMX)
    assert answer.status_code == 422
    assert "error-toast" in answer.text


def test_a_project_is_shared_and_says_what_it_holds(client: TestClient, pets: str) -> None:
    people = [{"person": "bert", "write": True}]
    shared = data_of(client.put(f"/api/projects/{pets}/sharing", json={"people": people}))
    assert shared["shared_with"] == people
    error_of(client.put(f"/api/projects/{pets}/sharing", json={"people": [{}]}), 422, "VALIDATION_ERROR")
    assert data_of(client.get(f"/api/projects/{pets}/counts"))["images"] == 40


def test_what_was_copied_from_an_ai_studio_can_be_looked_at(
    workshop: Workshop, client: TestClient, pets: str, tmp_path: Path
) -> None:
    error_of(client.get(f"/api/projects/{pets}/ai-studio"), 404, "NOT_FOUND")
    report = bring_ai_studio(workshop.studio, write_workspace(tmp_path), person=OWNER)
    data = data_of(client.get(f"/api/projects/{report.projects[0].project.id}/ai-studio"))
    assert [it["name"] for it in data["experiments"]] == ["Experiment 1", "Two"]
    assert data["experiments"][0]["checkpoints"][0]["problem"] is None


def test_unknown_paths_below_are_in_the_envelope_too(client: TestClient) -> None:
    error_of(client.get("/api/projects/a/b/c"), 404, "NOT_FOUND")
    assert client.put("/api/projects").status_code == 405


# -- data sets -------------------------------------------------------------------------------------------


def test_a_data_set_that_is_not_there_is_a_404_but_a_422_for_splits(client: TestClient) -> None:
    empty = new_project(client)
    error_of(client.get(f"/api/datasets/{empty}"), 404, "NOT_FOUND")
    error_of(client.get(f"/api/datasets/{empty}/images"), 404, "NOT_FOUND")
    error_of(
        client.post(f"/api/splits/{empty}/preview", json={"ratios": THIRDS}), 422, "DATASET_NOT_IMPORTED"
    )
    error_of(client.get(f"/api/splits/{empty}/preview?ratios=0.8,0.1,0.1"), 422, "DATASET_NOT_IMPORTED")
    assert data_of(client.get(f"/api/splits/{empty}")) == {"splits": []}
    assert data_of(client.delete(f"/api/datasets/{empty}")) == {"project_id": empty, "cleared": True}


def test_the_data_set_comes_with_every_picture(client: TestClient, pets: str) -> None:
    data = data_of(client.get(f"/api/datasets/{pets}"))
    assert data["classes"] == ["cats", "dogs"]
    assert data["image_stats"]["num_images"] == len(data["images"]) == 40
    assert data["split_names"] == []
    first = data["images"][0]
    assert first["filename"] == "cats_0.png"
    assert first["annotations"] == [{"type": "label", "class_id": 0, "class_name": "cats"}]
    assert first["split"] == []
    assert "images" not in data_of(client.get(f"/api/datasets/{pets}?images=false"))


def test_a_data_set_of_many_pictures_is_one_sound_answer(workshop: Workshop, client: TestClient) -> None:
    made = new_project(client)
    for count in (499, 2, 498):  # so many that chunks end everywhere
        fill(workshop.studio, made, {"cats": count}, mode="add", make=lambda *_: b"x")
        data = data_of(client.get(f"/api/datasets/{made}"))
        assert len({it["id"] for it in data["images"]}) == data["image_stats"]["num_images"]


def test_pages_have_ai_studios_numbers(client: TestClient, pets: str) -> None:
    page = data_of(client.get(f"/api/datasets/{pets}/images"))
    assert (page["page"], page["page_size"], page["total_items"], page["total_pages"]) == (1, 50, 40, 1)
    assert page["selected_split_name"] == ""
    item = page["items"][0]
    assert (item["filename"], item["class_name"], item["annotation_count"]) == ("cats_0.png", "cats", 1)
    assert (item["width"], item["height"], item["split"], item["selected_split_value"]) == (8, 8, [], None)
    assert data_of(client.get(f"/api/datasets/{pets}/images?page_size=500"))["page_size"] == 500
    past = data_of(client.get(f"/api/datasets/{pets}/images?page=9&page_size=7"))
    assert (past["items"], past["total_pages"]) == ([], 6)
    for wrong in ("page=0", "page_size=501", "page_size=x", "sort_by=magic", "sort_order=up", "subset=all"):
        error_of(client.get(f"/api/datasets/{pets}/images?{wrong}"), 422, "VALIDATION_ERROR")


def test_pictures_are_filtered_searched_and_sorted(client: TestClient, pets: str) -> None:
    def names(query: str) -> list[str]:
        items = data_of(client.get(f"/api/datasets/{pets}/images?{query}"))["items"]
        return [it["filename"] for it in items]

    assert names("filter_class=DOGS&search=_1&sort_order=desc")[:2] == ["dogs_19.png", "dogs_18.png"]
    assert len(names("filter_class=&search=")) == 40
    assert names("sort_by=class&sort_order=desc&page_size=1") == ["dogs_9.png"]
    assert names("search=%23") == []


def test_the_first_split_is_selected_unless_another_or_none_is_named(client: TestClient, pets: str) -> None:
    for name in ("first", "second"):
        data_of(client.post(f"/api/splits/{pets}", json={"name": name, "ratios": THIRDS}))

    def selected(query: str) -> tuple[str, Any]:
        page = data_of(client.get(f"/api/datasets/{pets}/images?page_size=1&{query}"))
        return page["selected_split_name"], page["items"][0]["selected_split_value"]

    values = data_of(client.get(f"/api/datasets/{pets}/images?page_size=1"))["items"][0]["split"]
    assert selected("") == ("first", values[0])
    assert selected("split_name=second") == ("second", values[1])
    assert selected("split_name=unknown") == ("first", values[0])
    assert selected("split_name=") == ("", None)
    page = data_of(client.get(f"/api/datasets/{pets}/images?split_name=second&subset=val"))
    assert page["total_items"] == 4
    assert {it["selected_split_value"] for it in page["items"]} == {"val"}
    data = data_of(client.get(f"/api/datasets/{pets}"))
    assert data["split_names"] == ["first", "second"]
    assert all(len(it["split"]) == 2 for it in data["images"])


def test_pages_by_key_hold_every_picture_once(client: TestClient, pets: str) -> None:
    seen: list[str] = []
    after = ""
    while after is not None:
        page = data_of(
            client.get(
                f"/api/datasets/{pets}/images", params={"page_size": 7, "after": after, "sort_by": "class"}
            )
        )
        seen += [it["id"] for it in page["items"]]
        after = page["after"]
    assert len(seen) == len(set(seen)) == 40
    error_of(client.get(f"/api/datasets/{pets}/images?after=x"), 422, "VALIDATION_ERROR")


NAMES = ["a b#1&c%20?.png", "Кот.jpg", "猫'\"+;.webp", "..%2f.png"]


@pytest.mark.anyio
async def test_files_are_served_under_names_of_every_kind(workshop: Workshop, anyio_backend: str) -> None:
    """Not by Starlette's client, which decodes an address twice."""
    made = workshop.studio.projects.create(OWNER, "Names", "classification").id
    staging = workshop.studio.datasets.begin(made, "replace", by=OWNER, source_format="f", source_path="/")
    for place, name in enumerate(NAMES):
        add(staging, name, png(300, place), label("x"))
    staging.commit("some")
    app = create_app(workshop, journal=Journal())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as http:
        for item in data_of(await http.get(f"/api/datasets/{made}/images"))["items"]:
            await _look_at(http, f"/api/datasets/{made}/images/{quote(item['filename'], safe='')}")
        for name in ("nothing.png", "..%2f..%2fproject.json", "%00"):
            error_of(await http.get(f"/api/datasets/{made}/images/{name}"), 404, "NOT_FOUND")
        wrong = await http.get(f"/api/datasets/{made}/thumbnails/x?size=999")
        error_of(wrong, 422, "VALIDATION_ERROR")


async def _look_at(http: httpx.AsyncClient, path: str) -> None:
    whole = await http.get(path)
    assert whole.status_code == 200
    assert whole.content.startswith(b"\x89PNG")
    part = await http.get(path, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    for known in (
        {"If-None-Match": whole.headers["etag"]},
        {"If-None-Match": f'"other", W/{whole.headers["etag"]}'},
        {"If-Modified-Since": whole.headers["last-modified"]},
    ):
        again = await http.get(path, headers=known)
        assert (again.status_code, again.content) == (304, b"")
    assert (await http.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await http.head(path)).headers["content-length"] == whole.headers["content-length"]
    info = data_of(await http.get(f"{path}/info"))
    assert quote(info["image"]["filename"], safe="") == path.rpartition("/")[2]
    assert info["split_names"] == []
    thumbnail = await http.get(path.replace("/images/", "/thumbnails/"), params={"size": 128})
    assert thumbnail.headers["content-type"] == "image/webp"
    assert Image.open(BytesIO(thumbnail.content)).size == (128, 128)


def test_pictures_are_relabelled_tagged_and_removed(client: TestClient, pets: str) -> None:
    path = f"/api/datasets/{pets}"
    note = data_of(client.post(f"{path}/relabel", json={"ids": ["cats_0.png"], "class_name": "birds"}))
    assert (note["number"], note["changed"], note["summary"]) == (2, 1, "1 picture labelled birds")
    form = {"ids[]": ["cats_1.png", "cats_2.png"], "class_name": ""}
    assert data_of(client.post(f"{path}/relabel", data=form))["summary"] == "2 pictures without a class"
    assert data_of(client.get(f"{path}/classes"))["classes"] == {"cats": 17, "dogs": 20, "birds": 1, "": 2}
    note = data_of(client.post(f"{path}/tags", json={"filter": {"filter_class": "dogs"}, "add": ["good"]}))
    assert note["changed"] == 20
    assert data_of(client.get(f"{path}/tags")) == {"tags": {"good": 20}}
    assert data_of(client.get(f"{path}/images?tag=good"))["total_items"] == 20
    assert data_of(client.get(f"{path}/images?unlabelled=true"))["total_items"] == 2
    data_of(client.post(f"{path}/remove", json={"filter": {"unlabelled": True}}))
    data_of(client.delete(f"{path}/images/dogs_0.png"))
    data_of(client.post(f"{path}/classes/rename", json={"old": "birds", "new": "parrots"}))
    data_of(client.post(f"{path}/classes/merge", json={"names": ["cats", "dogs"], "into": "mammals"}))
    assert data_of(client.get(f"{path}/classes"))["classes"] == {"mammals": 36, "parrots": 1}
    error_of(client.post(f"{path}/relabel", json={"ids": ["x"], "class_name": "y"}), 404, "NOT_FOUND")
    for body in (
        {"ids": [], "class_name": "x"},
        {"ids": ["cats_3.png"]},
        {"ids": ["cats_3.png"], "class_name": "x" * 300},
        {"ids": ["cats_3.png"], "filter": {}, "class_name": "x"},
        {"filter": {"magic": 1}, "class_name": "x"},
    ):
        error_of(client.post(f"{path}/relabel", json=body), 422, "VALIDATION_ERROR")


def test_versions_are_listed_and_returned_to(client: TestClient, pets: str) -> None:
    path = f"/api/datasets/{pets}"
    data_of(client.post(f"{path}/remove", json={"filter": {"filter_class": "cats"}}))
    versions = data_of(client.get(f"{path}/versions"))
    assert [it["kind"] for it in versions["versions"]] == ["import", "remove"]
    assert versions["current"] == 2
    assert data_of(client.post(f"{path}/versions/1/return"))["added"] == 20
    error_of(client.post(f"{path}/versions/9/return"), 404, "NOT_FOUND")
    assert data_of(client.post(f"{path}/purge"))["files_deleted"] == 0
    assert len(data_of(client.get(f"{path}/versions"))["versions"]) == 1
    data_of(client.delete(path))
    error_of(client.get(path), 404, "NOT_FOUND")


# -- splits ----------------------------------------------------------------------------------------------


def test_a_split_is_previewed_made_listed_and_deleted(client: TestClient, pets: str) -> None:
    path = f"/api/splits/{pets}"
    preview = data_of(client.post(f"{path}/preview", json={"ratios": THIRDS, "seed": 42}))
    assert preview["stats"] == {"train": 32, "val": 4, "test": 4, "none": 0}
    assert preview["class_distribution"]["cats"] == {"train": 16, "val": 2, "test": 2, "none": 0}
    assert (preview["ratios"], preview["seed"], preview["warnings"]) == (THIRDS, 42, [])
    made = data_of(client.post(path, json={"name": "First", "ratios": THIRDS, "seed": 42}))
    assert (made["name"], made["index"], made["immutable"], made["seed"]) == ("First", 0, True, 42)
    assert (made["stats"], made["warnings"]) == (preview["stats"], [])
    assert data_of(client.get(path)) == {"splits": [made]}
    assert data_of(client.get(f"{path}/First")) == made
    error_of(client.post(path, json={"name": "First", "ratios": THIRDS}), 409, "CONFLICT")
    error_of(client.get(f"{path}/Second"), 404, "SPLIT_NOT_FOUND")
    assert data_of(client.delete(f"{path}/First")) == {
        "project_id": pets,
        "split_name": "First",
        "deleted": True,
    }
    error_of(client.delete(f"{path}/First"), 404, "SPLIT_NOT_FOUND")


@pytest.mark.parametrize(
    "ratios",
    [
        '{"train": 0.8, "val": 0.1, "test": 0.1}',
        "[0.8, 0.1, 0.1]",
        "0.8,0.1,0.1",
        None,
    ],
)
def test_ratios_may_be_written_in_four_ways(client: TestClient, pets: str, ratios: str | None) -> None:
    query = THIRDS if ratios is None else {"ratios": ratios}
    preview = data_of(client.get(f"/api/splits/{pets}/preview", params={**query, "seed": "42"}))
    assert preview["stats"]["train"] == 32


@pytest.mark.parametrize(
    "query",
    [
        "ratios=0.8,0.1,0.3",
        "ratios=0.8,0.2",
        "ratios=a,b,c",
        "ratios={",
        "ratios=2,-0.5,-0.5",
        "ratios=nan,0.5,0.5",
        "train=x",
        "",
        "ratios=0.8,0.1,0.1&seed=-1",
        "ratios=0.8,0.1,0.1&seed=x",
        "ratios=0.8,0.1,0.1&method=magic",
        "method=time&ratios=0.8,0.1,0.1",
        "method=kfold&options={}x",
        'method=kfold&options={"folds":1}',
        'method=manual&options={"assignments":{"x.png":"val"}}',
    ],
)
def test_a_plan_that_cannot_be_is_a_422(client: TestClient, pets: str, query: str) -> None:
    error_of(client.get(f"/api/splits/{pets}/preview?{query}"), 422, "VALIDATION_ERROR")


def test_k_fold_makes_k_splits_and_a_form_makes_one(client: TestClient, pets: str) -> None:
    body = {"name": "Fold", "method": "kfold", "options": {"folds": 4}}
    made = data_of(client.post(f"/api/splits/{pets}", json=body))
    assert [it["name"] for it in made["splits"]] == [f"Fold {it}" for it in range(1, 5)]
    assert made["name"] == "Fold 1"
    form = {"name": "Form", "train": "0.5", "val": "0.25", "test": "0.25", "seed": ""}
    made = data_of(client.post(f"/api/splits/{pets}", data=form))
    assert (made["stats"]["train"], made["seed"], made["index"]) == (20, 0, 4)


def test_a_grouped_split_by_http_keeps_folders_together(client: TestClient, pets: str) -> None:
    body = {
        "method": "grouped",
        "ratios": {"train": 0.5, "val": 0.5, "test": 0},
        "options": {"group_by": ["folder"]},
    }
    preview = data_of(client.post(f"/api/splits/{pets}/preview", json=body))
    assert sorted(map(str, preview["class_distribution"]["cats"].values())) == ["0", "0", "0", "20"]


# -- who, and when ---------------------------------------------------------------------------------------


def test_a_project_of_somebody_else_is_not_there(workshop: Workshop, client: TestClient) -> None:
    theirs = workshop.studio.projects.create("bert", "Theirs", "classification").id
    fill(workshop.studio, theirs, {"cats": 1})
    for path in (f"projects/{theirs}", f"datasets/{theirs}", f"datasets/{theirs}/images", f"splits/{theirs}"):
        error_of(client.get(f"/api/{path}"), 404, "NOT_FOUND")
    for path in ("images/cats_0.png", "thumbnails/cats_0.png", "images/cats_0.png/info"):
        error_of(client.get(f"/api/datasets/{theirs}/{path}"), 404, "NOT_FOUND")
    workshop.studio.projects.share("bert", theirs, [Share(person=OWNER)])
    data_of(client.get(f"/api/datasets/{theirs}/images"))
    error_of(client.delete(f"/api/datasets/{theirs}"), 403, "FORBIDDEN")
    error_of(client.post(f"/api/splits/{theirs}", json={"name": "x", "ratios": THIRDS}), 403, "FORBIDDEN")
    workshop.studio.projects.delete("bert", theirs)


def test_a_corrupt_document_is_an_error_that_names_it(
    workshop: Workshop, client: TestClient, pets: str
) -> None:
    path = workshop.studio.workspace.project_folder(pets) / "dataset" / "dataset.json"
    path.write_text("{")
    error = error_of(client.get(f"/api/datasets/{pets}/images"), 422, "VALIDATION_ERROR")
    assert "dataset.json cannot be read" in error["message"]


def test_a_full_disk_is_an_error_and_not_an_accident(
    workshop: Workshop, client: TestClient, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise Failed("There is no room on the disk.", code="store.disk_full")

    monkeypatch.setattr("inglenook.studio.workspace.write_document", full)
    error_of(client.patch(f"/api/projects/{pets}", json={"name": "x"}), 507, "DISK_FULL")


def test_a_field_that_there_is_not_is_refused_with_the_nearest_name(client: TestClient, pets: str) -> None:
    wrong = [
        ("PATCH", f"/api/projects/{pets}", {"descripton": "x"}, "did you mean description?"),
        ("POST", f"/api/datasets/{pets}/checks", {"tinypx": 3}, "did you mean tiny_px?"),
        ("POST", f"/api/datasets/{pets}/checks", {"zzzzzz": 3}, "there are distance, tiny_px"),
        ("POST", f"/api/datasets/{pets}/relabel", {"ids": [], "clas_name": "a"}, "did you mean class_name?"),
        ("POST", "/api/projects", {"name": "A", "task": "classification", "taks": 1}, "did you mean task?"),
        ("POST", "/api/projects", {"name": "A", "task": "clasification"}, "Did you mean classification?"),
        ("POST", f"/api/training/{pets}/experiments", {"hyperparams": {}}, "did you mean hyperparameters?"),
        ("POST", f"/api/splits/{pets}", {"name": "A", "ratio": THIRDS}, "did you mean ratios?"),
        ("POST", f"/api/splits/{pets}/preview", {"ratios": THIRDS, "sead": 1}, "did you mean seed?"),
        ("POST", f"/api/splits/{pets}/preview", {"options": {"fold_s": 3}}, "did you mean folds?"),
        ("POST", f"/api/datasets/{pets}/import/local", {"sourcepath": "x"}, "did you mean source_path?"),
        ("POST", f"/api/datasets/{pets}/import/gallery", {"picture": ["x"]}, "did you mean pictures?"),
        ("POST", f"/api/datasets/{pets}/import/gallery", {"filter": {"tag": ["x"]}}, "did you mean tags?"),
    ]
    for method, path, body, says in wrong:
        error = error_of(client.request(method, path, json=body), 422, "VALIDATION_ERROR")
        assert any(says in one["msg"] for one in error["details"]), error


def test_a_field_beside_a_file_that_there_is_not_is_refused_and_nothing_is_kept(
    workshop: Workshop, client: TestClient, pets: str
) -> None:
    wrong = [
        ("upload", "uploaded_file", {"mod": "add"}, "did you mean mode?"),
        ("upload", "uploaded_file", {"class_name": "cats"}, "There is no field 'class_name'"),
        ("upload", "uploaded_file", {"paths": "a/b.png"}, "There is no field 'paths'"),
        ("files", "files", {"clas_name": "cats"}, "did you mean class_name?"),
    ]
    for way, field, texts, says in wrong:
        sent = {field: ("a.zip", b"x")}
        answer = client.post(f"/api/datasets/{pets}/import/{way}", files=sent, data=texts)
        error = error_of(answer, 422, "VALIDATION_ERROR")
        assert any(says in one["msg"] for one in error["details"]), error
    assert not list((workshop.studio.workspace.root / "uploads").iterdir())


def test_versions_come_in_pages_from_either_end(client: TestClient, pets: str) -> None:
    names = [one["filename"] for one in data_of(client.get(f"/api/datasets/{pets}/images"))["items"]]
    for word in ("x", "y", "z"):
        data_of(client.post(f"/api/datasets/{pets}/tags", json={"ids": names[:1], "add": [word]}))
    path = f"/api/datasets/{pets}/versions"
    first = data_of(client.get(path, params={"page_size": 3}))
    second = data_of(client.get(path, params={"page_size": 3, "page": 2}))
    assert [one["number"] for one in (*first["versions"], *second["versions"])] == [1, 2, 3, 4]
    assert (first["total_items"], first["total_pages"], first["current"], second["current"]) == (4, 2, 4, 4)
    newest = data_of(client.get(path, params={"page_size": 2, "sort_order": "desc"}))
    assert [one["number"] for one in newest["versions"]] == [4, 3]
    error_of(client.get(path, params={"page_size": 5000}), 422, "VALIDATION_ERROR")


@pytest.mark.anyio
async def test_other_requests_are_answered_while_a_data_set_is_changed(
    workshop: Workshop, anyio_backend: str
) -> None:
    """Held up inside a change, with the project locked, the server still answers for everything else."""
    app = create_app(workshop, journal=Journal())
    made = workshop.studio.projects.create(OWNER, "Slow", "classification").id
    fill(workshop.studio, made, {"cats": 2})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as http:
        with workshop.studio.workspace.locked(made):
            change = asyncio.create_task(
                http.post(f"/api/datasets/{made}/relabel", json={"ids": ["cats_0.png"], "class_name": "x"})
            )
            for path in ("/api/projects", f"/api/datasets/{made}/images", f"/api/splits/{made}"):
                assert (await asyncio.wait_for(http.get(path), 10)).status_code == 200
            assert not change.done()
        assert (await change).status_code == 200


@pytest.mark.anyio
async def test_a_second_server_on_one_workspace_does_not_start(
    workshop: Workshop, tmp_path: Path, anyio_backend: str
) -> None:
    flags = {"server.data": str(tmp_path), "studio.workspace": str(workshop.settings.studio_folder)}
    with pytest.raises(Conflict, match="already uses the studio's workspace"):
        async with open_workshop(load(file=None, environ={}, flags=flags)):
            pass
    lock = DataLock(tmp_path)  # and it has given back what it took
    lock.acquire(this_process("", workshop.clock.now()))
    lock.release()
