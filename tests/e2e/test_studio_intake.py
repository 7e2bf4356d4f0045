# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way into the studio by HTTP and from the terminal: a whole server, real data."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.dataset_trees import picture
from tests.unit.workers.dataset.reading import put

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's handwritten digits: 1,797 pictures of 8 x 8 greys (UCI, E. Alpaydin and C. Kaynak)."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("roots") / "digits"
    found = load_digits()
    for number, (values, target) in enumerate(zip(found.images, found.target, strict=True)):
        path = root / str(target) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(values * 15.9, np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Iterator[RunningServer]:
    environ = {
        "INGLENOOK_STUDIO__IMPORT_ROOTS": str(digits.parent),
        "INGLENOOK_STUDIO__MAX_UPLOAD_BYTES": str(32 * 2**20),
    }
    with RunningServer.start(tmp_path_factory.mktemp("data"), environ=environ) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=120, trust_env=False) as opened:
        yield opened


@pytest.fixture
def project(client: httpx.Client) -> str:
    made = client.post("/api/projects", json={"name": "Pets", "task": "classification"})
    return str(made.json()["data"]["id"])


def packed(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def done(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The job of a 202 when it is final."""
    assert answer.status_code == 202, answer.text
    job = answer.json()["data"]["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events") as events:
        for _ in events.iter_lines():
            pass
    found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
    return found


def labels(client: httpx.Client, project: str) -> dict[str, str | None]:
    page = client.get(f"/api/datasets/{project}/images?page_size=500").json()["data"]
    return {item["filename"]: item["class_name"] for item in page["items"]}


def test_digits_of_a_server_folder_answer_with_the_whole_data_set(
    client: httpx.Client, project: str, digits: Path
) -> None:
    answer = client.post(f"/api/datasets/{project}/import/local", json={"source_path": str(digits)})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert (data["classes"], data["source_format"]) == ([str(n) for n in range(10)], "image_folders")
    assert data["image_stats"]["num_images"] == len(data["images"]) == 1797
    checked = client.post(f"/api/datasets/{project}/checks?wait=true", json={"tiny_px": 9}).json()["data"]
    assert checked["checked_version"] == data["current"]
    kinds = {one["kind"]: one for one in checked["findings"]}
    assert kinds["tiny"]["pictures"] == 1797
    page = client.get(f"/api/datasets/{project}/checks/tiny?page=2&page_size=10").json()["data"]
    assert (page["total_items"], len(page["items"])) == (1797, 10)
    assert page["items"][0]["images"][0]["class_name"] == "0"


def test_other_requests_are_answered_during_an_import(
    client: httpx.Client, project: str, digits: Path
) -> None:
    path = f"/api/datasets/{project}/import/local?wait=false"
    answer = client.post(path, json={"source_path": str(digits)})
    assert answer.status_code == 202, answer.text
    job = f"/v1/jobs/{answer.json()['data']['id']}"
    states = []
    while not states or states[-1] in {"queued", "waiting", "running"}:
        assert client.get("/livez").status_code == 200
        states.append(client.get(job).json()["state"])
    assert states[-1] == "succeeded"
    assert states.count("running") > 10, "they waited for its end"


def test_a_zip_is_replaced_and_added_to(client: httpx.Client, project: str) -> None:
    path = f"/api/datasets/{project}/import/upload"
    first = packed({"set/cats/1.png": picture(1), "set/dogs/1.png": picture(2)})
    answer = client.post(path, files={"uploaded_file": ("pets.zip", first)})
    assert answer.json()["data"]["classes"] == ["cats", "dogs"]
    second = packed({"birds/1.png": picture(3), "cats/1.png": picture(1)})
    job = done(
        client,
        client.post(f"{path}?wait=false", files={"uploaded_file": ("b.zip", second)}, data={"mode": "add"}),
    )
    assert job["result"]["by_reason"]["duplicate"]["count"] == 1
    assert sorted(filter(None, labels(client, project).values())) == ["birds", "cats", "dogs"]
    report = client.get(f"/api/datasets/{project}/imports/{job['id']}/report")
    assert json.loads(report.text)["reason"] == "duplicate"
    assert "attachment" in report.headers["content-disposition"]


def test_hostile_and_broken_uploads_are_refused_with_words_and_leave_the_set(
    client: httpx.Client, project: str, server: RunningServer
) -> None:
    path = f"/api/datasets/{project}/import/upload"
    client.post(path, files={"uploaded_file": ("a.zip", packed({"cats/1.png": picture(1)}))})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/1.bmp", b"\0" * 70_000_000)
    slip = packed({"../../slip.png": picture(5), "/abs.png": picture(6)})
    for name, data, status, says in (
        ("bomb.zip", bomb.getvalue(), 413, "times its size"),
        ("slip.zip", slip, 422, "its name leads out of the archive"),
        ("no.zip", b"no archive", 422, "no zip archive"),
        ("no.txt", b"text", 422, "no zip, parquet"),
        ("large.zip", b"\0" * (33 * 2**20), 413, "max_upload_bytes"),
    ):
        answer = client.post(path, files={"uploaded_file": (name, data)})
        assert (answer.status_code, answer.json()["status"]) == (status, "error"), (name, answer.text)
        assert says in answer.json()["error"]["message"], name
    assert labels(client, project) == {"1.png": "cats"}
    assert not list((server.data / "studio" / "uploads").iterdir())
    assert not list(server.data.rglob("slip.png"))


def test_paths_out_of_the_folder_in_a_table_copy_nothing(
    client: httpx.Client, project: str, server: RunningServer
) -> None:
    secret = server.data / "secret.png"
    secret.write_bytes(picture(77))
    table = f"filename,label\n{secret},cat\n../secret.png,cat\na.png,cat\n"
    data = packed({"labels.csv": table.encode(), "a.png": picture(1)})
    answer = client.post(f"/api/datasets/{project}/import/upload", files={"uploaded_file": ("t.zip", data)})
    assert [image["filename"] for image in answer.json()["data"]["images"]] == ["a.png"]


def test_a_folder_outside_of_the_roots_is_refused(client: httpx.Client, project: str) -> None:
    answer = client.post(f"/api/datasets/{project}/import/local", json={"source_path": "/etc"})
    assert answer.status_code == 403
    assert "studio.import_roots" in answer.json()["error"]["message"]


def test_files_are_dropped_with_a_class_or_with_their_folders(client: httpx.Client, project: str) -> None:
    path = f"/api/datasets/{project}/import/files"
    files = [("files", (f"{n}.png", picture(n))) for n in range(3)]
    job = done(client, client.post(path, files=files, data={"class_name": "cats"}))
    assert (job["state"], job["result"]["imported"]) == ("succeeded", 3), job
    more = [("files[]", ("x.png", picture(10))), ("files[]", ("x.png", picture(11)))]
    paths = {"paths": ["dogs/x.png", "birds/x.png"]}
    job = done(client, client.post(path, files=more, data=paths))
    assert set(labels(client, project).values()) == {"cats", "dogs", "birds"}
    assert client.post(path, files=more, data={"paths": ["one"]}).status_code == 422
    assert client.post(path, data={"class_name": "cats"}).status_code == 422


def test_pictures_of_the_gallery_become_a_class_by_their_tags(client: httpx.Client, project: str) -> None:
    ids = []
    for number, tag in enumerate(("tabby", "poodle", "other")):
        kept = client.post(
            "/v1/pictures/import", files={"file": (f"{number}.png", picture(200 + number, size=(64, 64)))}
        )
        ids.append(kept.json()["data"][0]["id"])
        answer = client.patch(f"/v1/pictures/{ids[-1]}", json={"tags": [tag]})
        assert answer.status_code == 200, answer.text
    path = f"/api/datasets/{project}/import/gallery"
    job = done(client, client.post(path, json={"pictures": ids, "class_tags": ["poodle", "tabby"]}))
    assert job["state"] == "succeeded", job
    assert sorted(str(label) for label in labels(client, project).values()) == ["None", "poodle", "tabby"]
    job = done(
        client,
        client.post(path, json={"filter": {"tags": ["other"]}, "class_name": "x", "keep_duplicates": True}),
    )
    assert job["result"]["imported"] == 1
    assert client.post(path, json={"pictures": ["pic_nothing"]}).status_code == 404
    assert client.post(path, json={"pictures": []}).status_code == 422


def test_unknown_projects_formats_and_checks_are_told_apart(
    client: httpx.Client, project: str, digits: Path
) -> None:
    body = {"source_path": str(digits)}
    assert client.post("/api/datasets/proj-00000000/import/local", json=body).status_code == 404
    wrong = client.post(f"/api/datasets/{project}/import/local", json={**body, "source_format": "x"})
    assert wrong.status_code == 422
    none_yet = client.post(f"/api/datasets/{project}/checks", json={})
    assert (none_yet.status_code, none_yet.json()["error"]["code"]) == (422, "DATASET_NOT_IMPORTED")
    assert client.post(f"/api/datasets/{project}/checks", json={"distance": 99}).status_code == 422


def test_the_terminal_makes_a_project_of_a_folder_that_the_server_may_not_read(
    server: RunningServer, tmp_path: Path
) -> None:
    source = put(tmp_path / "mine", {"猫/1.png": picture(1), "dogs/2.png": picture(2), "dogs/bad.png": b"x"})
    command = [sys.executable, "-m", "inglenook", "studio", "import", "--data", str(server.data)]
    made = subprocess.run(
        [*command, "--new", "Mine", str(source)], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert "2 imported" in made.stdout
    assert "not_a_picture: 1" in made.stderr
    again = subprocess.run(
        [*command, "mine", str(source), "--json"], capture_output=True, text=True, timeout=120
    )
    assert json.loads(again.stdout)["by_reason"]["duplicate"]["count"] == 2
    wrong = subprocess.run([*command, "nobody's", str(source)], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 1
    assert "no project" in wrong.stderr
