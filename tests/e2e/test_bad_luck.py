# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a server: each time a clear word, no finished picture is lost, no child is left
behind, and the next request works."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.workbench import LONG, Workbench, all_gone, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(server: RunningServer) -> Workbench:
    return Workbench(server)


def assert_all_can_be_fetched(bench: Workbench, parts: list[dict[str, object]]) -> None:
    assert parts
    for part in parts:
        response = bench.http.get(str(part["url"]))
        assert response.status_code == 200
        assert len(response.content) == part["size_bytes"]


def test_a_worker_killed_in_mid_picture_fails_its_job_only(bench: Workbench) -> None:
    job = bench.order(**LONG)
    bench.until_a_picture_is_finished(job["id"])
    (worker,) = bench.workers()
    worker.kill()
    after = bench.finished(job["id"])
    assert after["state"] == "failed"
    assert "signal 9" in after["error"]["message"]
    assert "memory" not in after["error"]["message"]
    assert after["error"]["hint"]
    assert_all_can_be_fetched(bench, after["result"]["parts"])
    assert bench.draw(seed=1)["data"]
    assert len(bench.workers()) == 1


def test_a_client_that_hangs_up_while_its_picture_is_drawn_stops_the_drawing(bench: Workbench) -> None:
    bench.draw()
    known = {job["id"] for job in bench.http.get("/v1/jobs").json()["data"]}
    connection = _post_and_keep_open(bench.server, LONG)
    job_id = _new_job(bench, known)
    bench.until_a_picture_is_finished(job_id)
    connection.close()
    after = bench.finished(job_id)
    assert after["state"] == "cancelled"
    assert after["receipt"]["how"].startswith("stopped before step")
    assert after["receipt"]["before_bytes"] > 0
    assert 0 < len(after["result"]["parts"]) < 10
    assert bench.draw()["data"]


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue_at_once(bench: Workbench) -> None:
    first = bench.order(**LONG)
    bench.until(first["id"], lambda kind, _: kind == "progress")
    known = {job["id"] for job in bench.http.get("/v1/jobs").json()["data"]}
    connection = _post_and_keep_open(bench.server, LONG)
    job_id = _new_job(bench, known)
    bench.until(job_id, lambda kind, data: data.get("state") == "waiting")
    explained = bench.job(job_id)["explanation"]
    assert explained["position"] == 1
    assert "1 picture" in explained["reason"]["text"] or "10 pictures" in explained["reason"]["text"]
    connection.close()
    after = bench.finished(job_id)
    assert after["state"] == "cancelled"
    assert "left the queue" in after["receipt"]["how"]
    assert bench.http.get("/v1/runtime").json()["queue"] == []
    bench.http.post(f"/v1/jobs/{first['id']}/cancel")
    assert bench.draw()["data"]


def test_a_cancel_answers_with_a_receipt_and_frees_the_model_for_the_next(bench: Workbench) -> None:
    job = bench.order(**LONG)
    bench.until(job["id"], lambda kind, _: kind == "progress")
    answer = bench.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200
    receipt = answer.json()["receipt"]
    assert receipt["how"].startswith("stopped before step")
    assert receipt["after_bytes"] is not None
    again = bench.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert again.status_code == 409
    assert bench.draw()["data"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_in_mid_picture_loses_nothing_that_was_finished(
    end: signal.Signals, tmp_path: Path
) -> None:
    with RunningServer.start(tmp_path, environ=ENVIRON) as server:
        bench = Workbench(server)
        running = bench.order(**LONG)
        waiting = bench.order(seed=5)
        bench.until_a_picture_is_finished(running["id"])
        finished = bench.parts(running["id"])
        family = bench.family()
        assert family
        server.signal(end)
        status = server.wait()
    assert status == (0 if end is signal.SIGTERM else -signal.SIGKILL)
    eventually(lambda: all_gone(family), "a child outlived its server")

    with RunningServer.start(tmp_path, environ=ENVIRON) as server:
        bench = Workbench(server)
        interrupted = bench.job(running["id"])
        assert interrupted["state"] == "interrupted"
        assert "server" in interrupted["error"]["message"]
        kept = interrupted["result"]["parts"]
        assert [part["picture_id"] for part in kept][: len(finished)] == [p["picture_id"] for p in finished]
        assert_all_can_be_fetched(bench, kept)
        assert bench.finished(waiting["id"])["state"] == "succeeded"
        again = bench.http.post(f"/v1/jobs/{running['id']}/retry")
        assert again.status_code in (200, 202)
        job_id = again.json()["id"]
        bench.until(job_id, lambda kind, _: kind == "progress")
        bench.http.post(f"/v1/jobs/{job_id}/cancel")


def test_a_worker_that_ignores_sigterm_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    environ = ENVIRON | {"INGLENOOK_RUNTIME__STOP_GRACE_S": "1"}
    with RunningServer.start(tmp_path, environ=environ) as server:
        bench = Workbench(server)
        bench.draw()
        family = bench.family()
        for worker in bench.workers():
            worker.suspend()  # a stopped process acts on nothing but SIGKILL
        assert server.stop() == 0
    eventually(lambda: all_gone(family), "a suspended worker outlived its server")


def test_a_worker_that_is_never_ready_is_given_up_and_ended(tmp_path: Path) -> None:
    environ = ENVIRON | {"INGLENOOK_RUNTIME__START_TIMEOUT_S": "1"}
    with RunningServer.start(tmp_path, environ=environ) as server:
        bench = Workbench(server)
        after = bench.finished(bench.order()["id"])
        assert after["state"] == "failed"
        assert after["error"]["code"] == "child.never_ready"
        assert "1.0 s" in after["error"]["message"]
        assert "start_timeout_s" in after["error"]["hint"]
        eventually(lambda: bench.family() == [], "the child that was given up is still there")
        assert bench.http.get("/readyz").status_code == 200


def test_a_second_server_on_the_same_folder_is_refused_with_the_first_ones_address(
    server: RunningServer,
) -> None:
    command = [sys.executable, "-m", "inglenook", "serve", "--port", "0", "--data", str(server.data)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert server.base_url in second.stderr
    assert str(server.pid) in second.stderr
    assert "hint:" in second.stderr
    assert httpx.get(f"{server.base_url}/readyz", trust_env=False, timeout=60).status_code == 200


def test_a_port_that_is_taken_is_named(server: RunningServer, tmp_path: Path) -> None:
    port = server.base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "inglenook", "serve", "--port", port, "--data", str(tmp_path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"Port {port}" in second.stderr
    assert "--port" in second.stderr


def test_a_full_disk_fails_the_job_clearly_and_what_was_kept_stays(small_disk: Path) -> None:
    with RunningServer.start(small_disk, environ=ENVIRON) as server:
        bench = Workbench(server)
        first = bench.finished(bench.order()["id"])
        filler = small_disk / "filler"
        free = shutil.disk_usage(small_disk).free
        # Enough for the small writes of the database, too little for a picture of 2048 pixels a side.
        with filler.open("wb") as file:
            file.write(b"\0" * (free - 400_000))
        job = bench.order(size="2048x2048", n=10, steps=4, prompt="a castle")
        bench.until(job["id"], lambda kind, data: kind == "progress")

        def ended() -> bool:  # the end itself may find no room: then it is written when there is some
            return "the end of" in server.output or bench.job(job["id"])["state"] == "failed"

        eventually(ended, "the full disk did not end the drawing", timeout_s=180)  # for one large picture
        filler.unlink()
        eventually(lambda: bench.job(job["id"])["state"] == "failed", "the end was not written")
        after = bench.job(job["id"])
        assert after["error"]["code"] == "store.disk_full"
        assert "room" in (after["error"]["message"] + str(after["error"]["hint"])).lower()
        assert_all_can_be_fetched(bench, first["result"]["parts"])
        assert not list(small_disk.rglob("*.part")), "half a file was left behind"
        assert bench.draw()["data"]


def test_the_running_server_has_no_tensor_library_in_its_memory(bench: Workbench) -> None:
    bench.draw()
    mapped = {Path(region.path).name for region in psutil.Process(bench.server.pid).memory_maps()}
    assert any(name.startswith(("libc.so", "libc-")) for name in mapped)
    assert not [name for name in mapped if "torch" in name or "onnx" in name or "cudart" in name]


def test_an_environment_of_secrets_does_not_reach_a_worker(tmp_path: Path) -> None:
    environ = ENVIRON | {"HF_TOKEN": "hf_secret", "AWS_SECRET_ACCESS_KEY": "aws_secret"}
    with RunningServer.start(tmp_path, environ=environ) as server:
        bench = Workbench(server)
        bench.draw()
        for process in bench.family():
            assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & process.environ().keys()


def _post_and_keep_open(server: RunningServer, body: dict[str, object]) -> socket.socket:
    import json

    host, _, port = server.base_url.removeprefix("http://").partition(":")
    text = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n".encode()
        + text
    )
    return connection


def _new_job(bench: Workbench, known: set[str]) -> str:
    found: list[str] = []

    def there() -> bool:
        jobs = bench.http.get("/v1/jobs").json()["data"]
        found[:] = [job["id"] for job in jobs if job["id"] not in known]
        return bool(found)

    eventually(there, "the job did not appear")
    return found[0]
