# SPDX-License-Identifier: Apache-2.0
"""The circle closed: pictures that were drawn and kept here become a data set, a model is trained on them
through OpenAI's client, and the server tells with it what it draws next.
"""

import base64
import io
from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI
from PIL import Image

from inglenook.testing.server import RunningServer
from tests.dataset_trees import picture
from tests.studio_http import TINY, Http, Json

pytestmark = pytest.mark.slow

UPLOADED = 9
DRAWN = 3


@pytest.fixture(scope="module")
def openai(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=280) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[Http]:
    made = Http(server.base_url)
    body = {"name": "Drawn or noise", "task": "classification"}
    made.project = made.data("POST", "/api/projects", json=body)["id"]
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def drawn(openai: OpenAI, http: Http) -> list[str]:
    """Ids in the gallery of pictures that the starter drew."""
    extra = {"steps": 2, "seed": 5}
    openai.images.generate(prompt="a red circle", n=DRAWN, size="64x64", model="auto", extra_body=extra)
    found = [one["id"] for one in http.client.get("/v1/pictures?limit=50").json()["data"]]
    assert len(found) == DRAWN
    for one in found:
        http.client.patch(f"/v1/pictures/{one}", json={"tags": ["drawn"]}).raise_for_status()
    return found


@pytest.fixture(scope="module")
def noise(drawn: list[str], http: Http) -> list[str]:
    """Ids of pictures that were uploaded into the gallery."""
    found = []
    for number in range(UPLOADED):
        file = (f"n{number}.png", picture(300 + number, size=(32, 32)), "image/png")
        kept = http.client.post("/v1/pictures/import", files={"file": file}).raise_for_status().json()
        found.append(kept["data"][0]["id"])
        http.client.patch(f"/v1/pictures/{found[-1]}", json={"tags": ["noise"]}).raise_for_status()
    assert not set(found) & set(drawn)
    return found


def ended(http: Http, job: str) -> Json:
    with http.client.stream("GET", f"/v1/jobs/{job}/events") as events:
        for _ in events.iter_lines():
            pass
    found: Json = http.client.get(f"/v1/jobs/{job}").json()
    return found


@pytest.fixture(scope="module")
def dataset(http: Http, drawn: list[str], noise: list[str]) -> Json:
    path = f"/api/datasets/{http.project}/import/gallery"
    told = {"pictures": [*drawn, *noise], "class_tags": ["drawn", "noise"]}
    answer = http.client.post(path, json=told)
    assert answer.status_code == 202, answer.text
    assert ended(http, answer.json()["data"]["id"])["result"]["imported"] == DRAWN + UPLOADED
    split = {"name": "all", "ratios": {"train": 0.5, "val": 0.25, "test": 0.25}}
    http.data("POST", f"/api/splits/{http.project}", json=split)
    found: Json = http.data("GET", f"/api/datasets/{http.project}")
    return found


@pytest.fixture(scope="module")
def model(http: Http, openai: OpenAI, dataset: Json) -> Json:
    """What `/v1/models/{id}` says of the network that was trained on them."""
    assert dataset["classes"] == ["drawn", "noise"]
    job = openai.fine_tuning.jobs.create(
        model="small_cnn",
        training_file=f"{http.project}/all",
        suffix="drawn-or-noise",
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
        },
        extra_body={"spec": {key: TINY[key] for key in ("model", "augmentations")}},
    )
    experiment = f"exp-{job.id.rpartition('-')[2]}"
    assert http.until(experiment)["status"] == "completed", http.get(experiment)["error"]
    assert openai.fine_tuning.jobs.retrieve(job.id).status == "succeeded"
    kept = openai.fine_tuning.jobs.checkpoints.list(job.id).data
    assert {one.fine_tuned_model_checkpoint for one in kept} == {
        f"{http.project}/{experiment}/{name}" for name in ("best", "last")
    }
    export = http.data("POST", f"/api/export/{http.project}", json={"experiment_id": experiment})
    path = f"/api/export/{http.project}/{export['id']}/register"
    name = http.data("POST", path, json={"name": "drawn-or-noise"})["registered"]["model"]
    found: Json = http.client.get(f"/v1/models/{name}").json()
    return found | {"experiment": experiment}


def test_pictures_of_the_gallery_carry_their_tags_as_classes_into_the_data_set(
    dataset: Json, drawn: list[str], noise: list[str]
) -> None:
    classes = [one["class_name"] for one in dataset["images"]]
    assert (classes.count("drawn"), classes.count("noise")) == (len(drawn), len(noise))
    sizes = {one["class_name"]: (one["width"], one["height"]) for one in dataset["images"]}
    assert sizes == {"drawn": (64, 64), "noise": (32, 32)}


def test_the_model_is_listed_with_its_labels_and_where_it_came_from(
    http: Http, openai: OpenAI, model: Json
) -> None:
    assert model["id"] in [one.id for one in openai.models.list()]
    assert model["vision"]["labels"] == ["drawn", "noise"]
    lineage = model["vision"]["lineage"]
    assert (lineage["project"], lineage["experiment"]) == (http.project, model["experiment"])
    assert (lineage["split"], lineage["dataset_version"]) == ("all", 1)


def asked(http: Http, model: Json, **body: object) -> httpx.Response:
    return http.client.post("/v1/vision/predict", json={"model": model["id"], **body})


def test_it_tells_what_the_server_draws_next_by_id_by_bytes_and_by_address(
    http: Http, openai: OpenAI, model: Json, drawn: list[str], noise: list[str]
) -> None:
    again = openai.images.generate(
        prompt="a red circle", size="64x64", model="auto", extra_body={"steps": 2, "seed": 99}
    )
    data = again.data
    assert data is not None
    assert data[0].b64_json is not None
    file = base64.b64decode(data[0].b64_json)
    with Image.open(io.BytesIO(file)) as opened:
        assert opened.size == (64, 64)
    answers = [
        asked(http, model, image=data[0].b64_json),
        asked(http, model, image=f"data:image/png;base64,{data[0].b64_json}"),
        http.client.post("/v1/vision/predict", data={"model": model["id"]}, files={"image": ("a.png", file)}),
        asked(http, model, images=[drawn[0], noise[0]], top_k=1),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
    scores = [answer.json()["data"][0]["predictions"] for answer in answers[:3]]
    assert scores[0] == scores[1] == scores[2]
    assert sum(one["score"] for one in scores[0]) == pytest.approx(1, abs=1e-5)
    some = answers[3].json()["data"]
    assert [(one["width"], one["height"], len(one["predictions"])) for one in some] == [
        (64, 64, 1),
        (32, 32, 1),
    ]
    missing = asked(http, model, image="pic_nothing")
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "image")


def test_a_picture_that_is_deleted_from_the_gallery_stays_in_the_data_set(
    http: Http, dataset: Json, noise: list[str]
) -> None:
    assert http.client.delete(f"/v1/pictures/{noise[-1]}").is_success
    base = f"/api/datasets/{http.project}"
    assert http.data("GET", base)["images"] == dataset["images"]
    for one in dataset["images"]:
        assert http.client.get(f"{base}/images/{one['filename']}").is_success
