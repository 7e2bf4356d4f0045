# SPDX-License-Identifier: Apache-2.0
"""Servers of the studio that end at a bad moment, want what another has, or find the disk full. The next
start is readable, nothing is computed for ever, no process stays."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import all_gone, eventually
from tests.studio_http import Http
from tests.studio_luck import (
    DATASET,
    ENVIRON,
    RATIOS,
    STUDIO,
    assert_in_words,
    ended,
    family,
    project_with,
    trained,
    workers,
    zipped,
)

pytestmark = pytest.mark.slow

LEFT_OVER = (".new-*", ".gone-*", ".*.tmp", "*.part")


@contextmanager
def killed(data: Path) -> Iterator[RunningServer]:
    """A server that gets SIGKILL when the block ends, and whose children must not outlive it."""
    server = RunningServer.start(data, environ=ENVIRON)
    children: list[psutil.Process] = []
    try:
        yield server
        children = family(server)
        assert children, "nothing was at work"
    finally:
        server.kill()
    eventually(lambda: all_gone(children), "a child outlived its server")


def assert_swept(data: Path) -> None:
    projects = data / "studio" / "projects"
    left = [path for pattern in LEFT_OVER for path in projects.rglob(pattern)]
    assert not left


def pictures(http: Http) -> int:
    found: int = http.data("GET", f"/api/datasets/{http.project}/images?page_size=1")["total_items"]
    return found


def begun(server: RunningServer, module: str) -> None:
    eventually(lambda: bool(workers(server, module)), f"no {module} began")


def test_a_server_that_is_killed_in_an_import_and_in_an_evaluation_leaves_nothing_half_done(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with killed(data) as server:
        http = project_with(server.base_url, {"a": 6, "b": 6}, RATIOS)
        files = {"uploaded_file": ("pictures.zip", zipped({"c": 3000}), "application/zip")}
        path = f"/api/datasets/{http.project}/import/upload?wait=false"
        answer = http.client.post(path, files=files)
        assert answer.status_code == 202, answer.text
        imported = answer.json()["data"]["id"]
        begun(server, DATASET)
    with killed(data) as server:
        http = Http(server.base_url, http.project)
        job = ended(http, imported)
        assert job["state"] in ("interrupted", "failed", "succeeded"), job
        whole = 3012 if job["state"] == "succeeded" else 12
        assert pictures(http) == whole
        assert_swept(data)
        experiment = http.make()
        assert trained(http, experiment)["status"] == "completed"
        path = f"/api/evaluation/{http.project}/{experiment}?wait=false"
        answer = http.client.post(path, json={"split_subsets": ["train", "test"]})
        assert answer.status_code == 202, answer.text
        told = answer.json()["data"]
        eventually(lambda: bool(workers(server, STUDIO)), "no evaluation began", 60)
    with RunningServer.start(data, environ=ENVIRON) as server:
        http = Http(server.base_url, http.project)
        assert ended(http, told["id"])["state"] in ("succeeded", "interrupted", "failed")
        (record,) = http.data("GET", f"/api/evaluation/{http.project}/{experiment}/evaluations")[
            "evaluations"
        ]
        assert record["status"] in ("completed", "failed"), record
        if record["status"] == "failed":
            assert_in_words(record["error"])
        assert_swept(data)


def test_a_server_that_is_killed_while_many_write_is_readable_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = RunningServer.start(data, environ=ENVIRON)
    kept: list[str] = []
    try:
        http = project_with(server.base_url, {"a": 6, "b": 6}, RATIOS)
        enough = threading.Event()

        def write(number: int) -> None:
            one = Http(server.base_url, http.project)
            try:  # from the first question on: the server may be gone before one of four has begun
                with_images = one.data("GET", f"/api/datasets/{http.project}/images?page_size=12")["items"]
                names = [it["filename"] for it in with_images]
                for turn in itertools.count():
                    made = one.make(f"{number}-{turn}")
                    kept.append(made)
                    one.data("PATCH", f"{one.path}/{made}", json={"description": f"turn {turn}"})
                    body = {"ids": names[number::4], "class_name": "ab"[turn % 2]}
                    one.client.post(f"/api/datasets/{http.project}/relabel", json=body)
                    if len(kept) >= 40:
                        enough.set()
            except httpx.HTTPError:
                pass  # the server is gone

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(120)
    finally:
        server.kill()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    with RunningServer.start(data, environ=ENVIRON) as server:
        http = Http(server.base_url, http.project)
        listed = {one["id"] for one in http.data("GET", http.path)["experiments"]}
        assert set(kept) <= listed, "what was answered is there"
        assert all(http.get(one)["status"] == "created" for one in listed)
        assert pictures(http) == 12
        assert http.data("GET", f"/api/datasets/{http.project}/versions")["versions"]
        assert_swept(data)
        assert "cannot be read" not in server.output


def test_a_second_server_on_the_same_workspace_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with RunningServer.start(
        tmp_path / "one", environ=ENVIRON | {"INGLENOOK_STUDIO__WORKSPACE": str(shared)}
    ) as first:
        second = subprocess.run(
            [sys.executable, "-m", "inglenook", "serve", "--port", "0", "--data", str(tmp_path / "two")],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **ENVIRON, "INGLENOOK_STUDIO__WORKSPACE": str(shared)},
        )
        assert second.returncode == 1
        assert first.base_url in second.stderr
        assert str(first.pid) in second.stderr
        assert "workspace" in second.stderr
        assert "Traceback" not in second.stderr
        assert Http(first.base_url).data("GET", "/api/projects") is not None


def fill(file: Path) -> None:
    """With more bytes, until there is room for none."""
    with suppress(OSError), file.open("ab", buffering=0) as out:
        while True:
            out.write(b"\0" * 65_536)


def test_a_full_disk_in_a_checkpoint_and_in_a_document_is_said_and_nothing_is_lost(
    small_disk: Path, tmp_path: Path
) -> None:
    environ = ENVIRON | {"INGLENOOK_STUDIO__WORKSPACE": str(small_disk / "studio")}
    with RunningServer.start(tmp_path / "data", environ=environ) as server:
        http = project_with(server.base_url, {"a": 6, "b": 6}, RATIOS)
        experiment = http.make(max_epochs=400)
        http.act(experiment, "train")
        http.until(experiment, event="epoch_end", epoch=2)  # the last checkpoint of the first is written down
        filler = small_disk / "filler"

        def over() -> bool:
            """Again and again: a checkpoint that is being written gives room back when it is given up, and
            one that takes the place of the last gives back that one's."""
            fill(filler)
            return not workers(server)

        eventually(over, "the full disk did not end the training", 60)
        fill(filler)
        other = http.client.post(http.path, json={"name": "no room"})
        assert other.status_code == 507, other.text
        assert other.json()["error"]["code"] == "DISK_FULL"
        assert "room" in other.text.lower() or "space" in other.text.lower()
        filler.unlink()
        http.until(experiment)
        found = http.get(experiment)
        assert found["status"] == "failed", found
        assert_in_words(found["error"]["message"])
        assert "disk" in (found["error"]["message"] + str(found["error"]["hint"])).lower()
        assert [one["name"] for one in http.data("GET", http.path)["experiments"]] == [found["name"]]
        assert not [path for pattern in LEFT_OVER for path in small_disk.rglob(pattern)]
        assert pictures(http) == 12
        http.act(experiment, "resume")
        http.until(experiment, event="epoch_end", epoch=found["epoch"] + 1)
        http.act(experiment, "stop")
        assert "Traceback" not in server.output
