# SPDX-License-Identifier: Apache-2.0
"""The pages of projects, their data and their splits, over the whole application in this process."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.studio_bench import fill

from inglenook.app import Workshop, create_app, open_workshop
from inglenook.base.journal import Journal
from inglenook.settings import load
from inglenook.web import csrf

BASE = "http://127.0.0.1:8190"
HTMX = {"HX-Request": "true"}
PARTS = ("", "/label", "/import", "/classes", "/checks", "/versions", "/map")


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
    with TestClient(app, base_url=BASE, raise_server_exceptions=False, follow_redirects=False) as made:
        yield made


def new_project(client: TestClient, name: str = "Pets") -> str:
    answer = client.post("/api/projects", json={"name": name, "task": "classification"})
    made: str = answer.json()["data"]["id"]
    return made


@pytest.fixture
def pets(workshop: Workshop, client: TestClient) -> str:
    """A project with 40 cats and 40 dogs."""
    made = new_project(client)
    fill(workshop.studio, made, {"cats": 40, "dogs": 40})
    return made


def page(client: TestClient, path: str, status: int = 200, **more: Any) -> str:
    answer = client.get(path, **more)
    assert answer.status_code == status, answer.text
    return answer.text


def sent(client: TestClient, **fields: str) -> Any:
    """The form of a new project, with the token that the page gave."""
    page(client, "/projects")
    return client.post("/projects", data={"csrf": client.cookies[csrf.COOKIE], **fields})


def test_a_form_makes_a_project_and_leads_to_its_data(client: TestClient) -> None:
    answer = sent(client, name="Ripe fruit", task="classification", description="Red ones")
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert re.fullmatch(r"/projects/proj-[0-9a-f]{8}/dataset", where)
    text = page(client, where)
    assert '<h1 dir="auto">Ripe fruit</h1>' in text
    assert "No dataset imported." in text
    assert page(client, where.removesuffix("/dataset"), status=303) == ""
    listed = page(client, "/projects")
    assert "Ripe fruit" in listed
    assert "Red ones" in listed


def test_a_form_without_its_token_makes_nothing(client: TestClient) -> None:
    before = client.get("/api/projects").json()["data"]["projects"]
    assert client.post("/projects", data={"name": "X", "task": "classification"}).status_code == 403
    assert client.get("/api/projects").json()["data"]["projects"] == before


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "<b>", "task": "classification"}, "name", "A name"),
        ({"name": "Boxes", "task": "object_detection"}, "task", "cannot be trained"),
        ({"name": "Boxes", "task": "nonsense"}, "task", "is no task"),
    ],
)
def test_what_a_form_cannot_mean_is_told_at_its_field(
    client: TestClient, fields: dict[str, str], field: str, words: str
) -> None:
    answer = sent(client, **fields)
    assert answer.status_code == 422
    error = re.search(rf'<p id="error-{field}"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    assert error is not None
    assert words in error[1]
    assert f'value="{fields["name"].replace("<", "&lt;").replace(">", "&gt;")}"' in answer.text
    assert "data-open-now" in answer.text


@pytest.mark.parametrize("part", PARTS)
def test_every_page_of_the_data_is_whole_and_names_its_place(
    client: TestClient, pets: str, part: str
) -> None:
    text = page(client, f"/projects/{pets}/dataset{part}")
    assert f'<a class="quiet" href="/projects/{pets}/dataset{part}" aria-current="page">' in text
    assert f'<a href="/projects/{pets}/dataset" aria-current="page">Data</a>' in text
    assert " style=" not in text
    assert "<script>" not in text


@pytest.mark.parametrize("part", ["/label", "/classes", "/checks", "/versions", "/map"])
def test_without_pictures_every_page_leads_to_where_they_come_in(client: TestClient, part: str) -> None:
    project = new_project(client)
    answer = client.get(f"/projects/{project}/dataset{part}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/projects/{project}/dataset")


@pytest.mark.parametrize("path", ["", "/dataset", "/dataset/import", "/split"])
def test_a_project_that_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    assert "There is nothing here" in page(client, f"/projects/proj-00000000{path}", status=404)


def test_the_grid_goes_on_where_the_last_page_ended(client: TestClient, pets: str) -> None:
    path, seen = f"/projects/{pets}/dataset", []
    while path:
        text = page(client, path, headers=HTMX)
        seen += re.findall(r'data-picture="(img-\w+)"', text)
        more = re.search(r'hx-get="([^"]+after=[^"]+)"', text)
        path = more[1].replace("&amp;", "&") if more else ""
    assert len(seen) == len(set(seen)) == 80
    assert "dataset-summary" not in text  # only the pictures are sent


def test_without_scripts_the_next_pictures_are_a_whole_page(client: TestClient, pets: str) -> None:
    first = page(client, f"/projects/{pets}/dataset")
    more = re.search(r'href="([^"]+after=[^"]+)"', first)
    assert more is not None
    text = page(client, more[1].replace("&amp;", "&"))
    assert "dataset-summary" in text
    assert len(set(re.findall(r'data-picture="(img-\w+)"', text))) == 20


def test_filters_narrow_the_grid_and_say_what_all_of_it_would_be(client: TestClient, pets: str) -> None:
    text = page(client, f"/projects/{pets}/dataset?filter_class=cats&sort_by=size")
    assert len(set(re.findall(r'data-picture="(img-\w+)"', text))) == 40
    shelf = re.search(r'data-total="(\d+)" data-selection="([^"]*)"', text)
    assert shelf is not None
    assert (shelf[1], json.loads(shelf[2].replace("&#34;", '"'))) == ("40", {"filter_class": "cats"})
    assert "No picture fits" in page(client, f"/projects/{pets}/dataset?search=nothing-is-called-so")


def test_a_cursor_of_another_list_is_refused(client: TestClient, pets: str) -> None:
    assert client.get(f"/projects/{pets}/dataset?after=nonsense").status_code == 400


def test_a_picture_is_shown_with_its_part_of_each_split(client: TestClient, pets: str) -> None:
    body = {"name": "first", "ratios": {"train": 1, "val": 0, "test": 0}}
    assert client.post(f"/api/splits/{pets}", json=body).status_code == 200
    image = client.get(f"/api/datasets/{pets}/images?page_size=1").json()["data"]["items"][0]
    text = page(client, f"/projects/{pets}/dataset/view/{image['id']}")
    assert "<div><dt>Split first</dt><dd>train</dd></div>" in text
    assert client.get(f"/projects/{pets}/dataset/view/img-000000000000").status_code == 404


def test_htmx_gets_pieces_of_pages_from_the_api(client: TestClient, pets: str) -> None:
    for path, piece in (
        ("/api/projects", '<div id="project-grid">'),
        (f"/api/projects/{pets}", f'<li id="{pets}" class="panel project"'),
        (f"/api/datasets/{pets}", '<div id="dataset-summary"'),
        (f"/api/datasets/{pets}/images", '<div id="dataset-image-list">'),
        (f"/api/splits/{pets}", '<div id="split-grid">'),
        (f"/api/splits/{pets}/preview?train=0.5&val=0.25&test=0.25", "split-parts"),
    ):
        answer = client.get(path, headers=HTMX)
        assert answer.headers["content-type"].startswith("text/html"), path
        assert piece in answer.text, path


def test_a_split_is_told_with_its_method_its_seed_and_its_classes(client: TestClient, pets: str) -> None:
    body = {"name": "halves", "ratios": {"train": 0.5, "val": 0.5, "test": 0}, "seed": 7}
    made = client.post(f"/api/splits/{pets}", json=body, headers=HTMX)
    assert "halves" in json.loads(made.headers["hx-trigger"])["split-created"]["name"]
    text = page(client, f"/projects/{pets}/split")
    assert "By class · 50 % / 50 % / 0 % · seed 7" in text
    assert "Immutable" in text
    assert f"/projects/{pets}/dataset?split_name=halves&amp;subset=train" in text
    for name in ("train", "val", "test"):
        assert f'id="split-ratio-{name}"' in text
    assert 'id="split-seed-input"' in text
    gone = client.delete(f"/api/splits/{pets}/halves", headers=HTMX)
    assert "There are no splits yet" in gone.text


def test_names_are_written_as_they_are_and_never_run(client: TestClient, workshop: Workshop) -> None:
    project = new_project(client)
    fill(workshop.studio, project, {"<script>alert(1)</script>": 2})
    for part in ("", "/classes", "/label"):
        assert "<script>alert" not in page(client, f"/projects/{project}/dataset{part}")
