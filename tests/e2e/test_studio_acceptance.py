# SPDX-License-Identifier: Apache-2.0
"""What a client of AI Studio expects of its API, asked of a whole server over HTTP. Nothing is trained.

These are the ten checks of AI Studio's own suite that need nothing but HTTP, and what its unit tests say
about imports and splits.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.dataset_trees import picture
from tests.studio_http import Http

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
EIGHTY = {"train": 0.8, "val": 0.1, "test": 0.1}
NO_EXPERIMENT = "exp-00000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=ENVIRON) as running:
        yield running


@pytest.fixture(scope="module")
def before_anything(server: RunningServer) -> dict[str, Any]:
    """The answer of a server on which nobody has made a project."""
    found: dict[str, Any] = httpx.get(f"{server.base_url}/api/projects", trust_env=False).json()
    return found


@pytest.fixture
def http(server: RunningServer, before_anything: dict[str, Any]) -> Iterator[Http]:
    """A client with a project of its own, which is empty."""
    assert before_anything["status"] == "ok"
    made = Http(server.base_url)
    made.project = made.data("POST", "/api/projects", json={"name": "Pets", "task": "classification"})["id"]
    yield made
    made.client.close()


def small_picture(seed: int) -> bytes:
    return picture(seed, size=(16, 16))


def pet_files(each: int = 20) -> dict[str, bytes]:
    return {
        f"{name}/{name}_{number:02d}.png": small_picture(100 * place + number)
        for place, name in enumerate(("cats", "dogs"))
        for number in range(each)
    }


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(http: Http, files: Mapping[str, bytes], **fields: str) -> Any:
    sent = {"uploaded_file": ("pictures.zip", zipped(files), "application/zip")}
    return http.data("POST", f"/api/datasets/{http.project}/import/upload", files=sent, data=fields)


@pytest.fixture(scope="module")
def shared(server: RunningServer, before_anything: dict[str, Any]) -> Iterator[Http]:
    """A project of 20 cats and 20 dogs without a split, which tests only read or leave as it was."""
    assert before_anything["status"] == "ok"
    made = Http(server.base_url)
    made.project = made.data("POST", "/api/projects", json={"name": "Shared", "task": "classification"})["id"]
    upload(made, pet_files())
    yield made
    made.client.close()


# -- the ten ---------------------------------------------------------------------------------------------


def test_a_project_is_made_listed_renamed_and_deleted(http: Http, before_anything: dict[str, Any]) -> None:
    assert before_anything == {"status": "ok", "data": {"projects": []}}
    body = {"name": "  My   Project ", "task": "classification", "description": "Cats, and dogs."}
    made = http.data("POST", "/api/projects", json=body)
    path = f"/api/projects/{made['id']}"
    assert made["id"].startswith("proj-")
    assert (made["name"], made["task"], made["description"]) == (
        "My Project",
        "classification",
        "Cats, and dogs.",
    )
    assert made["created_at"].endswith("Z")
    assert made["id"] in [one["id"] for one in http.data("GET", "/api/projects")["projects"]]
    assert http.data("PATCH", path, json={"name": "Renamed"})["name"] == "Renamed"
    assert http.data("GET", path)["name"] == "Renamed"
    assert http.data("DELETE", path) == {"project_id": made["id"], "deleted": True}
    assert http.data("GET", path, 404)["code"] == "NOT_FOUND"
    assert http.data("DELETE", path, 404)["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "body", [{}, {"name": "", "task": "classification"}, {"name": "bad!name", "task": "classification"},
             {"name": "Good", "task": "nosuch"}, {"name": "x" * 81, "task": "classification"}],
)  # fmt: skip
def test_what_does_not_fit_is_a_422_in_the_envelope_with_details(http: Http, body: dict[str, str]) -> None:
    answer = http.client.post("/api/projects", json=body)
    assert answer.status_code == 422
    said = answer.json()
    assert (said["status"], said["error"]["code"]) == ("error", "VALIDATION_ERROR")
    assert said["error"]["message"] == "Request validation failed."
    assert all(set(one) >= {"loc", "msg", "type"} for one in said["error"]["details"])
    assert said["error"]["details"]


def test_a_folder_on_the_server_is_imported_and_browsed(http: Http, server: RunningServer) -> None:
    folder = server.data / "studio" / "incoming" / "pets"
    for name, content in pet_files(2).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    base = f"/api/datasets/{http.project}"
    assert http.data("GET", base, 404)["code"] == "NOT_FOUND"
    made = http.data("POST", f"{base}/import/local", json={"source_path": str(folder)})
    assert made["id"].startswith("dataset-")
    assert (made["classes"], made["source_format"], made["split_names"]) == (
        ["cats", "dogs"],
        "image_folders",
        [],
    )
    assert made["image_stats"]["num_images"] == len(made["images"]) == 4
    assert (made["image_stats"]["min_width"], made["image_stats"]["formats"]) == (16, ["png"])
    assert made == http.data("GET", base)
    page = http.data("GET", f"{base}/images", params={"page_size": 500})
    assert {name: page[name] for name in ("page", "page_size", "total_items", "total_pages")} == {
        "page": 1,
        "page_size": 500,
        "total_items": 4,
        "total_pages": 1,
    }
    assert [one["filename"] for one in page["items"]] == [
        "cats_00.png",
        "cats_01.png",
        "dogs_00.png",
        "dogs_01.png",
    ]
    assert [one["class_name"] for one in page["items"]] == ["cats", "cats", "dogs", "dogs"]
    http.data("GET", f"{base}/images", 422, params={"page_size": 501})
    found = http.data(
        "GET", f"{base}/images", params={"filter_class": "CATS", "search": "_01", "sort_order": "desc"}
    )
    assert [one["filename"] for one in found["items"]] == ["cats_01.png"]
    beyond = http.data("GET", f"{base}/images", params={"page": 9})
    assert (beyond["items"], beyond["total_items"]) == ([], 4)
    told = http.data("GET", f"{base}/images/dogs_00.png/info")
    assert told["image"]["annotations"] == [{"type": "label", "class_id": 1, "class_name": "dogs"}]
    assert told["split_names"] == []
    file = http.client.get(f"{base}/images/dogs_00.png")
    assert file.content == pet_files(1)["dogs/dogs_00.png"]
    again = http.client.get(f"{base}/images/dogs_00.png", headers={"if-none-match": file.headers["etag"]})
    assert again.status_code == 304
    with Image.open(io.BytesIO(http.client.get(f"{base}/thumbnails/dogs_00.png?size=128").content)) as small:
        assert max(small.size) <= 128
    assert http.data("GET", f"{base}/images/nothing.png/info", 404)["code"] == "NOT_FOUND"
    assert http.data("DELETE", base) == {"project_id": http.project, "cleared": True}
    assert http.data("GET", base, 404)["code"] == "NOT_FOUND"


def test_the_list_of_pictures_selects_the_first_split_another_or_none(http: Http) -> None:
    upload(http, pet_files())
    path = f"/api/datasets/{http.project}/images"
    for name, seed in (("first", 1), ("second", 2)):
        http.data("POST", f"/api/splits/{http.project}", json={"name": name, "ratios": EIGHTY, "seed": seed})
    shown = {
        asked: http.data("GET", path, params={} if asked is None else {"split_name": asked})
        for asked in (None, "second", "", "unknown")
    }
    assert [one["selected_split_name"] for one in shown.values()] == ["first", "second", "", "first"]
    items = shown[None]["items"]
    assert all(one["selected_split_value"] == one["split"][0] for one in items)
    assert all(one["selected_split_value"] == one["split"][1] for one in shown["second"]["items"])
    assert {one["selected_split_value"] for one in shown[""]["items"]} == {None}
    values = [one["split"][0] for one in items]
    assert [values.count(part) for part in ("train", "val", "test", "none")] == [32, 4, 4, 0]


def test_a_split_is_previewed_made_listed_shown_and_deleted(http: Http) -> None:
    upload(http, pet_files())
    path = f"/api/splits/{http.project}"
    assert http.client.get(path).json() == {"status": "ok", "data": {"splits": []}}
    query = {"ratios": json.dumps(EIGHTY), "seed": 42}
    preview = http.data("GET", f"{path}/preview", params=query)
    stats = {"train": 32, "val": 4, "test": 4, "none": 0}
    classes = {name: {"train": 16, "val": 2, "test": 2, "none": 0} for name in ("cats", "dogs")}
    assert (preview["seed"], preview["stats"], preview["class_distribution"], preview["warnings"]) == (
        42,
        stats,
        classes,
        [],
    )
    assert preview == http.data("POST", f"{path}/preview", json={"ratios": EIGHTY, "seed": 42})
    made = http.data("POST", path, json={"name": "80/10/10".replace("/", "-"), "ratios": EIGHTY, "seed": 42})
    assert (made["index"], made["immutable"], made["stats"], made["class_distribution"], made["seed"]) == (
        0,
        True,
        stats,
        classes,
        42,
    )
    assert http.data("GET", path)["splits"] == [made] == [http.data("GET", f"{path}/80-10-10")]
    assert http.data("POST", path, 409, json={"name": "80-10-10", "ratios": EIGHTY})["code"] == "CONFLICT"
    for wrong in ("0.5,0.1,0.1", "[0.8,0.1]", "a,b,c", '{"train":2,"val":-1,"test":0}'):
        error = http.data("GET", f"{path}/preview", 422, params={"ratios": wrong})
        assert error["code"] == "VALIDATION_ERROR", wrong
    gone = {"project_id": http.project, "split_name": "80-10-10", "deleted": True}
    assert http.data("DELETE", f"{path}/80-10-10") == gone
    assert http.data("GET", f"{path}/80-10-10", 404)["code"] == "SPLIT_NOT_FOUND"


def test_without_pictures_there_is_nothing_to_split_to_train_or_to_export(http: Http) -> None:
    preview = {"ratios": "0.8,0.1,0.1"}
    for method, path, more in (
        ("GET", f"/api/splits/{http.project}/preview", {"params": preview}),
        ("POST", f"/api/splits/{http.project}", {"json": {"name": "s", "ratios": EIGHTY}}),
        ("POST", http.path, {"json": {}}),
    ):
        assert http.data(method, path, 422, **more)["code"] == "DATASET_NOT_IMPORTED", path
    upload(http, pet_files(2))
    assert http.data("POST", http.path, 404, json={})["code"] == "SPLIT_NOT_FOUND"


def test_an_experiment_is_made_shown_changed_and_deleted(http: Http) -> None:
    upload(http, pet_files(5))
    assert http.client.get(http.path).json() == {"status": "ok", "data": {"experiments": []}}
    http.data("POST", f"/api/splits/{http.project}", json={"name": "s", "ratios": EIGHTY})
    made = http.data("POST", http.path, json={})
    path = f"{http.path}/{made['id']}"
    assert made["id"].startswith("exp-")
    told = ("name", "status", "split_name", "best_epoch", "best_metric", "error", "started_at")
    assert [made[name] for name in told] == ["Experiment 1", "created", "s", None, None, None, None]
    shown = {name: made["hyperparameters"][name] for name in ("optimizer", "learning_rate", "batch_size")}
    assert shown == {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 32}
    assert http.data("POST", http.path, json={})["name"] == "Experiment 2"
    assert http.data("POST", f"{path}/duplicate", 422, json={"hyperparameters": {}})["details"]
    assert http.data("POST", f"{path}/duplicate", json={"name": "Copy"})["name"] == "Copy"
    changed = http.data(
        "PATCH", path, json={"name": "Mine", "hyperparameters": {"max_epochs": 3, "dropout": 0.4}}
    )
    assert (changed["name"], changed["model"]["dropout"]) == ("Mine", 0.4)
    assert http.data("GET", path) == changed
    assert http.client.get(f"{path}/metrics").json() == {"status": "ok", "data": {"epochs": []}}
    events = list(http.events(made["id"]))
    news = {"project_id": http.project, "experiment_id": made["id"], "status": "created"}
    assert [(name, {key: said[key] for key in news}) for name, _, said in events] == [
        ("status", news),
        ("complete", news),
    ]
    for action in ("stop", "resume"):
        assert http.data("POST", f"{path}/{action}", 409)["code"] == "CONFLICT", action
    gone = {"project_id": http.project, "experiment_id": made["id"], "deleted": True}
    assert http.data("DELETE", path) == gone
    assert http.data("GET", path, 404)["code"] == "EXPERIMENT_NOT_FOUND"


@pytest.mark.parametrize("name", [NO_EXPERIMENT, "nonsense", "EXP-1", "x" * 200])
def test_an_experiment_that_is_not_there_is_a_404_whatever_is_asked_of_it(shared: Http, name: str) -> None:
    asked = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/metrics"), ("GET", "/stream")]
    asked += [("POST", f"/{action}") for action in ("train", "stop", "resume", "restart")]
    for method, tail in asked:
        body = {"json": {"name": "x"}} if method == "PATCH" else {}
        error = shared.data(method, f"{shared.path}/{name}{tail}", 404, **body)
        assert error["code"] == "EXPERIMENT_NOT_FOUND", (method, tail)


def test_only_a_completed_experiment_is_exported_and_an_export_that_is_not_there_is_not_found(
    http: Http,
) -> None:
    path = f"/api/export/{http.project}"
    assert http.client.get(path).json()["data"]["exports"] == []
    upload(http, pet_files(5))
    http.data("POST", f"/api/splits/{http.project}", json={"name": "s", "ratios": EIGHTY})
    made = http.data("POST", http.path, json={})
    error = http.data("POST", path, 409, json={"experiment_id": made["id"]})
    assert error["code"] == "CONFLICT"
    assert "must be completed" in error["message"]
    assert (
        http.data("POST", path, 404, json={"experiment_id": NO_EXPERIMENT})["code"] == "EXPERIMENT_NOT_FOUND"
    )
    for tail in ("", "/download"):
        assert http.data("GET", f"{path}/export-00000000{tail}", 404)["code"] == "NOT_FOUND"
    assert http.data("DELETE", f"{path}/export-00000000", 404)["code"] == "NOT_FOUND"
    formats = {one["name"]: one for one in http.data("GET", "/api/export/formats")["formats"]}
    assert formats["onnx"]["available"] is True
    assert set(formats["onnx"]) == {"name", "display_name", "available"}


def test_the_root_stays_home_and_projects_have_their_page(http: Http) -> None:
    rooms = ("dataset", "split", "training", "evaluation", "export")
    for path in ("/", "/projects", *(f"/projects/{http.project}/{room}" for room in rooms)):
        page = http.client.get(path)
        assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html"), path
    assert "/projects" in http.client.get("/").text


# -- imports and splits ----------------------------------------------------------------------------------


def test_the_same_name_in_two_folders_gives_two_pictures(http: Http) -> None:
    made = upload(
        http, {f"{name}/shared_name.png": small_picture(n) for n, name in enumerate(("cat", "dog"))}
    )
    assert {one["filename"]: one["class_name"] for one in made["images"]} == {
        "shared_name.png": "cat",
        "shared_name_1.png": "dog",
    }


def test_classes_of_coco_are_numbered_by_the_number_of_their_category(http: Http) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 8, "name": "dog"}, {"id": 5, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 8, "bbox": [0, 0, 4, 4]},
            {"id": 2, "image_id": 2, "category_id": 5, "bbox": [0, 0, 4, 4]},
        ],
    }
    files = {
        "annotations.json": json.dumps(coco).encode(),
        "a.png": small_picture(1),
        "b.png": small_picture(2),
    }
    made = upload(http, files)
    assert (made["source_format"], made["classes"]) == ("coco", ["cat", "dog"])
    numbers = {one["filename"]: one["annotations"][0]["class_id"] for one in made["images"]}
    assert numbers == {"a.png": 1, "b.png": 0}


def test_boxes_of_yolo_are_in_pixels_and_a_picture_without_a_file_has_none(http: Http) -> None:
    http.project = http.data("POST", "/api/projects", json={"name": "Boxes", "task": "object_detection"})[
        "id"
    ]
    wide = {f"images/{name}.png": picture(n, size=(200, 100)) for n, name in enumerate("ab")}
    made = upload(http, wide | {"classes.txt": b"thing\n", "labels/a.txt": b"0 0.5 0.5 0.4 0.2\n"})
    assert made["source_format"] == "yolo"
    boxes = {one["filename"]: [it["bbox"] for it in one["annotations"]] for one in made["images"]}
    assert boxes == {"a.png": [[60, 40, 80, 20]], "b.png": []}


def test_what_is_anomalous_never_trains(http: Http) -> None:
    http.project = http.data("POST", "/api/projects", json={"name": "Odd", "task": "anomaly_detection"})["id"]
    files = {f"good/{n}.png": small_picture(n) for n in range(14)}
    files |= {f"defect/{n}.png": small_picture(50 + n) for n in range(6)}
    assert upload(http, files)["classes"] == ["normal", "anomalous"]
    made = http.data(
        "POST",
        f"/api/splits/{http.project}",
        json={"name": "s", "ratios": {"train": 0.7, "val": 0.2, "test": 0.1}},
    )
    assert made["class_distribution"]["anomalous"] == {"train": 0, "val": 4, "test": 2, "none": 0}
    assert made["class_distribution"]["normal"] == {"train": 9, "val": 3, "test": 2, "none": 0}


# -- beyond the ten --------------------------------------------------------------------------------------


def test_forty_projects_and_experiments_made_by_eight_at_once_are_all_listed(
    http: Http, server: RunningServer
) -> None:
    upload(http, pet_files(5))
    http.data("POST", f"/api/splits/{http.project}", json={"name": "s", "ratios": EIGHTY})

    def make(number: int) -> tuple[list[str], list[str]]:
        one = Http(server.base_url, http.project)
        body = {"name": f"Crowd {number}", "task": "classification"}
        projects = [one.data("POST", "/api/projects", json=body)["id"] for _ in range(5)]
        experiments = [one.data("POST", one.path, json={})["id"] for _ in range(5)]
        one.client.close()
        return projects, experiments

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    projects = {one for some, _ in made for one in some}
    experiments = {one for _, some in made for one in some}
    assert (len(projects), len(experiments)) == (40, 40)
    assert projects <= {one["id"] for one in http.data("GET", "/api/projects")["projects"]}
    listed = http.data("GET", http.path)["experiments"]
    assert {one["id"] for one in listed} == experiments
    assert {one["name"] for one in listed} == {f"Experiment {n}" for n in range(1, 41)}
    for one in projects:
        http.data("DELETE", f"/api/projects/{one}")


JSON = {"content-type": "application/json"}
NONSENSE: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"{", b'"x"', b'{"a":' * 300, b'{"name":"\\ud800"}', b'{"name":"\\u0000"}',
    b'{"name":1}', b'{"ratios":[1e400,0,0],"name":"x"}', b'{"ratios":{"train":0.5,"val":0.1,"test":0.1}}',
    b'{"model":[]}', b'{"model":{"backbone":"resnet81"}}', b'{"hardware":{"selected_devices":["tpu"]}}',
    b'{"hyperparameters":{"learning_rate":-1}}', b'{"hyperparameters":{"max_epochs":1e30}}',
    b'{"augmentations":{"train":[{"name":"Nope"}]}}', b'{"experiment_id":"..","checkpoint":"../x"}',
    b'{"experiment_id":1}', b'{"source_path":"\\u0000"}', b'{"source_path":"/etc"}',
    b'{"ids":["nothing"],"class_name":"x"}', b'{"pictures":["../x"]}', b'{"people":1}', b"\xff\xfe",
)  # fmt: skip


def test_nonsense_is_refused_in_the_envelope_and_never_an_accident(shared: Http) -> None:
    """Every address of the studio, with names and bodies that are none: always an envelope, never a 500."""
    before = shared.data("GET", f"/api/datasets/{shared.project}")
    asked = 0
    for method, path in studio_routes(shared):
        for name in ("proj-00000000", "%00", "日本", "x" * 300, "..%2f.."):
            filled = path.replace("{project_id}", name)
            told(shared.client.request(method, _filled(filled, "nothing")))
            asked += 1
        for name in ("nothing", "%00", "..%2f..%2fproject.json", "-1", "9" * 30):
            filled = _filled(path.replace("{project_id}", shared.project), name)
            told(shared.client.request(method, filled))
            for body in NONSENSE if method in ("POST", "PATCH", "PUT") and name == "nothing" else ():
                told(shared.client.request(method, filled, content=body, headers=JSON))
                asked += 1
            asked += 1
    assert asked > 500
    assert shared.data("GET", f"/api/datasets/{shared.project}") == before


def studio_routes(http: Http) -> list[tuple[str, str]]:
    """Method and path of each route of the studio; without those that delete or empty the project itself."""
    prefixes = (
        "/api/projects",
        "/api/datasets",
        "/api/splits",
        "/api/training",
        "/api/evaluation",
        "/api/export",
    )
    paths = http.client.get("/openapi.json").json()["paths"]
    found = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith(prefixes) and "{project_id}" in path
    ]
    own = {("DELETE", f"/api/{part}/{{project_id}}") for part in ("projects", "datasets")}
    return [one for one in found if one not in own]


def _filled(path: str, name: str) -> str:
    return "/".join(name if part.startswith("{") else part for part in path.split("/"))


def told(answer: httpx.Response) -> None:
    """Not an accident; and an error has AI Studio's shape."""
    where = f"{answer.request.method} {answer.request.url} {answer.request.content!r:.80}"
    assert answer.status_code < 500, (where, answer.text)
    if answer.status_code >= 400:
        said = answer.json()
        assert said["status"] == "error", (where, said)
        assert said["error"]["code"].isupper(), (where, said)
        assert said["error"]["message"], where


def test_htmx_gets_a_toast_with_the_words_and_the_same_status(shared: Http) -> None:
    headers = {"hx-request": "anything"}
    missing = shared.client.get("/api/projects/proj-00000000", headers=headers)
    assert missing.status_code == 404
    assert missing.text.startswith('<div class="error-toast" role="alert">')
    wrong = shared.client.post(
        "/api/projects", data={"name": "<b>", "task": "classification"}, headers=headers
    )
    assert wrong.status_code == 422
    assert "<b>" not in wrong.text


def test_a_second_server_on_the_same_workspace_is_refused_in_words(
    server: RunningServer, tmp_path: Path
) -> None:
    environ = ENVIRON | {"INGLENOOK_STUDIO__WORKSPACE": str(server.data / "studio")}
    with pytest.raises(RuntimeError, match=r"already uses the studio.s workspace"):
        RunningServer.start(tmp_path / "other", environ=environ)
