# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.api.services import PNG, Workshop

from inglenook.base.ids import PersonId
from inglenook.images.styles import STYLES
from inglenook.jobs.model import EventType, JobState
from inglenook.wire.schedulers import FLOW_SCHEDULERS, ONLY_FLOW, SCHEDULERS, SIGMAS, fitting

NOBODYS = [
    "job_" + "0" * 26,
    "pic_" + "0" * 26,
    "x",
    "%00",
    "job_" + "u" * 26,
    "..%2F..%2Fetc",
    "job_" + "0" * 500,
]


def sent(text: str) -> list[dict[str, str]]:
    """The events of a stream; comments are left out."""
    blocks = (
        [line for line in block.split("\n") if not line.startswith(":")] for block in text.split("\n\n")
    )
    return [dict(line.split(": ", 1) for line in lines if line) for lines in blocks if any(lines)]


def test_jobs_come_newest_first_a_page_at_a_time(client: TestClient, workshop: Workshop) -> None:
    ids = [workshop.jobs.add({"n": n}).id for n in range(5)]
    first = client.get("/v1/jobs?limit=2").json()
    assert [job["id"] for job in first["data"]] == [ids[4], ids[3]]
    assert first["has_more"] is True
    second = client.get(f"/v1/jobs?limit=3&before={first['last_id']}").json()
    assert [job["id"] for job in second["data"]] == [ids[2], ids[1], ids[0]]
    assert second["has_more"] is False


def test_jobs_are_filtered_by_state(client: TestClient, workshop: Workshop) -> None:
    done, open_, failed = (workshop.jobs.add({}) for _ in range(3))
    workshop.jobs.end(done.id, JobState.SUCCEEDED)
    workshop.jobs.end(failed.id, JobState.FAILED)
    found = client.get("/v1/jobs?state=queued&state=failed").json()["data"]
    assert [job["id"] for job in found] == [failed.id, open_.id]
    assert client.get("/v1/jobs?kind=download").json()["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=asleep", "kind=%00", "kind=A B"])
def test_a_bad_filter_is_a_400_that_names_it(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert query.partition("=")[0] in error["message"]


@pytest.mark.parametrize("text", NOBODYS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{}"),
        ("GET", "/v1/jobs/{}/events"),
        ("POST", "/v1/jobs/{}/cancel"),
        ("POST", "/v1/jobs/{}/retry"),
        ("GET", "/v1/pictures/{}"),
        ("GET", "/v1/pictures/{}/file"),
        ("DELETE", "/v1/pictures/{}"),
        ("GET", "/v1/jobs?before={}"),
        ("GET", "/v1/pictures?before={}"),
    ],
)
def test_an_id_that_nobody_has_is_a_404_in_our_shape(
    refusing: TestClient, method: str, path: str, text: str
) -> None:
    answer = refusing.request(method, path.format(text))
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_another_persons_job_and_picture_are_not_there(client: TestClient, workshop: Workshop) -> None:
    job = workshop.jobs.add({}, owner=PersonId("somebody"))
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")):
        assert client.request(method, f"/v1/jobs/{job.id}{path}").status_code == 404
    assert client.get("/v1/jobs").json()["data"] == []


def test_cancel_answers_with_the_receipt(client: TestClient, workshop: Workshop) -> None:
    job = workshop.jobs.add({})
    body = client.post(f"/v1/jobs/{job.id}/cancel").json()
    assert body["state"] == "cancelled"
    assert body["receipt"]["how"] == "stopped"


def test_cancelling_what_is_over_is_a_409_that_no_client_repeats(
    client: TestClient, workshop: Workshop
) -> None:
    job = workshop.jobs.add({})
    workshop.jobs.end(job.id, JobState.SUCCEEDED)
    answer = client.post(f"/v1/jobs/{job.id}/cancel")
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"


def test_retry_answers_with_the_job_that_does_it_again(client: TestClient, workshop: Workshop) -> None:
    job = workshop.jobs.add({"prompt": "a fox"})
    workshop.jobs.end(job.id, JobState.FAILED)
    answer = client.post(f"/v1/jobs/{job.id}/retry")
    again = answer.json()
    assert again["id"] != job.id
    assert answer.headers["location"] == f"/v1/jobs/{again['id']}"


def finished(workshop: Workshop) -> str:
    job = workshop.jobs.add({})
    workshop.jobs.tell(job.id, EventType.PROGRESS, {"progress": 0.5, "stage": "denoise\u2028x"})
    workshop.jobs.end(job.id, JobState.SUCCEEDED)
    return job.id


def test_a_jobs_news_is_numbered_and_ends_with_the_job(client: TestClient, workshop: Workshop) -> None:
    job = finished(workshop)
    events = sent(client.get(f"/v1/jobs/{job}/events?last_event_id=0").text)
    assert [(event["id"], event["event"]) for event in events] == [("1", "progress"), ("2", "state")]
    assert json.loads(events[0]["data"])["stage"] == "denoise\u2028x"


def test_a_reader_that_comes_back_goes_on_where_it_was(client: TestClient, workshop: Workshop) -> None:
    job = finished(workshop)
    answer = client.get(f"/v1/jobs/{job}/events", headers={"last-event-id": "1"})
    assert [event["id"] for event in sent(answer.text)] == ["2"]


def test_a_reader_without_a_number_first_gets_the_job_as_it_is(
    client: TestClient, workshop: Workshop
) -> None:
    [event] = sent(client.get(f"/v1/jobs/{finished(workshop)}/events").text)
    assert json.loads(event["data"])["state"] == "succeeded"


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "9" * 40, "\u0663".encode()])
def test_a_number_that_is_none_is_refused(
    client: TestClient, workshop: Workshop, number: str | bytes
) -> None:
    answer = client.get(f"/v1/jobs/{finished(workshop)}/events", headers={"last-event-id": number})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "last_event_id"


def test_pictures_come_newest_first_a_page_at_a_time(client: TestClient, workshop: Workshop) -> None:
    ids = [workshop.gallery.add(bytes([n])).id for n in range(3)]
    first = client.get("/v1/pictures?limit=2").json()
    assert [picture["id"] for picture in first["data"]] == [ids[2], ids[1]]
    second = client.get(f"/v1/pictures?limit=2&before={first['last_id']}").json()
    assert [picture["id"] for picture in second["data"]] == [ids[0]]
    assert second["has_more"] is False


def test_a_pictures_record_has_everything_but_where_it_lies(client: TestClient, workshop: Workshop) -> None:
    picture = workshop.gallery.add(PNG)
    body = client.get(f"/v1/pictures/{picture.id}").json()
    assert body["prompt"] == "a red fox"
    assert body["parameters"] == {"steps": 4}
    assert client.get(body["url"]).content == PNG
    assert "blob" not in body


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_file_is_served_as_what_it_is_and_kept_by_browsers(
    client: TestClient, workshop: Workshop, tmp_path: Path, on_disk: bool
) -> None:
    picture = workshop.gallery.add(PNG)
    if on_disk:
        path = tmp_path / "blob"
        path.write_bytes(PNG)
        workshop.gallery.files[picture.id] = path
    url = f"/v1/pictures/{picture.id}/file"

    answer = client.get(url)

    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == f'inline; filename="a-red-fox-{picture.id[4:]}.png"'
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["etag"] == f'"{picture.blob}"'
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get(url, headers={"if-none-match": f'W/"x", "{picture.blob}"'})
    assert (again.status_code, again.content) == (304, b"")
    head = client.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG)))


def test_a_file_on_disk_is_served_in_ranges(client: TestClient, workshop: Workshop, tmp_path: Path) -> None:
    picture = workshop.gallery.add(PNG)
    path = tmp_path / "blob"
    path.write_bytes(PNG)
    workshop.gallery.files[picture.id] = path
    answer = client.get(f"/v1/pictures/{picture.id}/file", headers={"range": "bytes=1-3"})
    assert (answer.status_code, answer.content) == (206, PNG[1:4])


def test_a_file_of_no_safe_type_is_a_download(client: TestClient, workshop: Workshop) -> None:
    picture = workshop.gallery.add(b"<script>", media_type="image/svg+xml")
    answer = client.get(f"/v1/pictures/{picture.id}/file")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_file_that_is_gone_is_a_404(client: TestClient, workshop: Workshop, tmp_path: Path) -> None:
    picture = workshop.gallery.add(PNG)
    workshop.gallery.files[picture.id] = tmp_path / "nothing"
    answer = client.get(f"/v1/pictures/{picture.id}/file")
    assert answer.status_code == 404
    assert str(tmp_path) not in answer.text


def test_a_deleted_picture_is_gone(client: TestClient, workshop: Workshop) -> None:
    picture = workshop.gallery.add(PNG)
    assert client.delete(f"/v1/pictures/{picture.id}").json() == {
        "id": picture.id,
        "deleted": True,
        "restorable": True,
    }
    assert client.get(f"/v1/pictures/{picture.id}").status_code == 404
    assert client.delete(f"/v1/pictures/{picture.id}").status_code == 404


def test_the_runtime_is_shown_with_its_reasons(client: TestClient) -> None:
    body: dict[str, Any] = client.get("/v1/runtime").json()
    assert body["queue"][0]["reason"]["text"] == "no room"
    assert {"devices", "residents", "leases", "queue"} <= set(body)


def test_every_scheduler_is_listed_with_what_it_is(client: TestClient) -> None:
    body = client.get("/v1/schedulers").json()
    assert {each["id"]: each["description"] for each in body["data"]} == SCHEDULERS
    assert {each["id"]: each["description"] for each in body["sigmas"]} == SIGMAS
    euler, flow = (next(each for each in body["data"] if each["id"] == name) for name in ("euler_a", "unipc"))
    assert euler["aliases"] == ["euler_ancestral", "euler a"]
    assert (euler["flow"], euler["sigmas"], euler["sigmas_on_flow"]) == (False, ["sgm_uniform"], [])
    assert (flow["flow"], flow["only_flow"], flow["sigmas_on_flow"]) == (True, False, ["karras"])


def test_of_a_model_only_the_schedulers_are_listed_that_it_can_be_drawn_with(
    client: TestClient, workshop: Workshop
) -> None:
    noise = client.get("/v1/schedulers?model=starter").json()["data"]
    assert [each["id"] for each in noise] == [name for name in SCHEDULERS if name not in ONLY_FLOW]
    starter = workshop.catalog.records[0]
    assert starter.image is not None
    along = replace(starter.image, schedulers=fitting(flow=True))
    workshop.catalog.records[0] = replace(starter, image=along)
    body = client.get("/v1/schedulers?model=starter").json()
    assert {each["id"] for each in body["data"]} == FLOW_SCHEDULERS
    assert [each["sigmas"] for each in body["data"] if each["id"] == "euler"] == [
        ["karras", "exponential", "beta"]
    ]
    assert [each["id"] for each in body["sigmas"]] == ["karras", "exponential", "beta"]
    assert client.get("/v1/schedulers?model=no-such").status_code == 404


def test_every_style_is_listed_with_its_words(client: TestClient) -> None:
    data = client.get("/v1/styles").json()["data"]
    assert [each["id"] for each in data] == list(STYLES)
    assert all("{prompt}" in each["prompt"] and each["title"] for each in data)
