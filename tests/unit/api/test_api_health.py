# SPDX-License-Identifier: Apache-2.0
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from tests.unit.api.services import NOW, Workshop

from inglenook.jobs.model import JobState


def meters(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics", headers={"accept": "text/plain"}).text.splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


def test_it_is_alive_before_it_is_ready(client: TestClient, workshop: Workshop) -> None:
    workshop.parts["scheduler"] = "it is starting"
    assert client.get("/livez").text == "ok"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "missing": {"scheduler": "it is starting"}}
    assert client.get("/health").json()["status"] == "starting"

    workshop.parts["scheduler"] = None
    assert client.get("/readyz").json() == {"ready": True, "missing": {}}


def test_health_tells_version_uptime_and_parts(client: TestClient, workshop: Workshop) -> None:
    workshop.clock.advance(12.5)
    assert client.get("/health").json() == {
        "status": "healthy",
        "service": "cyber-inference",
        "version": "1.2.3",
        "uptime_s": 12.5,
        "uptimeSeconds": 12.5,
        "parts": {"database": "ready"},
        "gpuAvailable": False,
        "gpuStatsAvailable": False,
        "modelsLoaded": 1,
        "backend": "PyTorch (CPU)",
    }
    assert client.get("/api/health").json() == client.get("/health").json() | {"status": "ok"}


def test_health_tells_of_an_accelerator(client: TestClient, workshop: Workshop) -> None:
    gpu = {"id": "cuda:0", "kind": "cuda", "name": "A card", "total_bytes": 8 << 30, "used_bytes": 2 << 30}
    workshop.runtime.devices.insert(0, gpu)
    said = client.get("/health").json()
    assert said["gpuAvailable"] is True
    assert said["gpuStatsAvailable"] is True
    assert said["backend"] == "PyTorch (CUDA - A card)"
    numbers = client.get("/metrics").json()
    assert numbers["gpuUtilization"] == 0.25
    assert (numbers["gpuMemoryUsed"], numbers["gpuMemoryTotal"]) == ("2.0 GB", "8.0 GB")


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("*/*", True),  # what a browser's fetch, curl and Python's clients send by themselves
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        (PROMETHEUS, False),
        ("text/plain;version=0.0.4", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/plain, application/json", False),
        ("text/plain;q=0.5, application/json", True),
        ("text/plain, application/json;q=0", False),
        ("application/json;q=nonsense, text/plain;q=0.1", False),
    ],
)
def test_meters_come_as_the_client_asks(client: TestClient, accept: str, json: bool) -> None:
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/json" if json else "text/plain")


def test_without_a_wish_meters_are_prometheus_text(client: TestClient) -> None:
    del client.headers["accept"]
    assert client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_summary_counts_drawings(client: TestClient, workshop: Workshop) -> None:
    workshop.jobs.add({})
    done = workshop.jobs.add({})
    workshop.jobs.end(done.id, JobState.SUCCEEDED, started_at=NOW - timedelta(seconds=3))
    workshop.jobs.end(workshop.jobs.add({}).id, JobState.FAILED)
    assert client.get("/metrics", headers={"accept": "application/json"}).json() == {
        "queueDepth": 1,
        "activeGenerations": 0,
        "gpuUtilization": 0.0,
        "gpuMemoryUsed": "0.0 GB",
        "gpuMemoryTotal": "0.0 GB",
        "modelsLoaded": 1,
        "totalGenerations": 1,
        "avgGenerationTime": 3.0,
    }


def test_answers_are_counted_by_route_never_by_path(client: TestClient) -> None:
    client.get("/v1/jobs/job_secret")
    client.get("/v1/jobs/job_other")
    client.get("/somewhere/else")
    client.get("/v1/models/family/with/slashes")
    found = meters(client)
    assert found['inglenook_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}'] == 2
    assert found['inglenook_http_requests_total{method="GET",route="unmatched",status="404"}'] == 1
    assert (
        found['inglenook_http_requests_total{method="GET",route="/v1/models/{model_id:path}",status="200"}']
        == 1
    )
    assert not any("secret" in name or "somewhere" in name for name in found)


def test_mounted_files_are_counted_under_their_folder(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("a {}")
    workshop.app.mount("/static", StaticFiles(directory=tmp_path))
    client = TestClient(workshop.app, base_url="http://localhost")
    client.get("/static/page.css")
    assert meters(client)['inglenook_http_requests_total{method="GET",route="/static",status="200"}'] == 1


def test_a_refusal_at_the_threshold_is_counted(client: TestClient) -> None:
    client.get("/livez", headers={"host": "evil.example"})
    client.request("BREW", "/livez")
    found = meters(client)
    assert found['inglenook_http_requests_total{method="GET",route="unmatched",status="421"}'] == 1
    assert found['inglenook_http_requests_total{method="other",route="/livez",status="405"}'] == 1


def test_the_time_to_the_first_byte_is_measured(
    client: TestClient, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop.catalog, "list", lambda: workshop.clock.advance(3.0) or [])
    client.get("/v1/models")
    found = meters(client)
    assert found['inglenook_http_first_byte_seconds_sum{method="GET",route="/v1/models"}'] == 3.0
    assert found['inglenook_http_first_byte_seconds_bucket{le="2.5",method="GET",route="/v1/models"}'] == 0


def test_jobs_queue_devices_and_residents_are_metered(client: TestClient, workshop: Workshop) -> None:
    workshop.jobs.add({})
    workshop.jobs.end(workshop.jobs.add({}).id, JobState.FAILED)
    found = meters(client)
    assert found['inglenook_jobs{state="queued"}'] == 1
    assert found['inglenook_jobs{state="failed"}'] == 1
    assert found['inglenook_jobs{state="running"}'] == 0
    assert found["inglenook_queue_length"] == 1
    assert found['inglenook_device_bytes{device="cpu",what="reserved"}'] == 30
    assert found['inglenook_device_bytes{device="cpu",what="used"}'] == 40
    assert found['inglenook_residents{state="ready"}'] == 1
