# SPDX-License-Identifier: Apache-2.0
"""Asking a running server for things, and watching it, as a client without an SDK would."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil

from inglenook.testing.server import RunningServer

WORKER = "inglenook.workers.image"
LONG = {"model": "auto", "prompt": "a red fox", "n": 10, "steps": 150, "size": "256x256"}
"""Ten pictures that take several seconds together: there is a middle to hit."""
SHORT = {"model": "auto", "prompt": "a red fox", "size": "128x128"}


class Workbench:
    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.base_url, trust_env=False, timeout=180)

    def order(self, **fields: Any) -> dict[str, Any]:
        """Ask for pictures and come back at once with the job."""
        body = SHORT | fields
        response = self.http.post("/v1/images/generations", json=body, headers={"Prefer": "respond-async"})
        assert response.status_code == 202, response.text
        job: dict[str, Any] = response.json()
        return job

    def draw(self, **fields: Any) -> dict[str, Any]:
        """Ask for pictures and wait for them."""
        response = self.http.post("/v1/images/generations", json=SHORT | fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return answer

    def events(self, job_id: str, last: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, data) until the stream ends."""
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))

    def until(self, job_id: str, wanted: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        """The data of the first event that is `wanted`. Fails when the stream ends before."""
        seen = []
        for kind, data in self.events(job_id):
            seen.append(kind)
            if wanted(kind, data):
                return data
        raise AssertionError(f"the stream ended without it: {seen}\n{self.job(job_id)}")

    def until_a_picture_is_finished(self, job_id: str) -> dict[str, Any]:
        return self.until(job_id, lambda kind, _: kind == "result")

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job; what it is then."""
        for _ in self.events(job_id):
            pass
        return self.job(job_id)

    def parts(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.job(job_id)["result"].get("parts", [])
        return found

    def workers(self) -> list[psutil.Process]:
        """The image workers of the server, without their guards."""
        return [
            child for child in self.family() if WORKER in command(child) and "guard.py" not in command(child)
        ]

    def family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.server.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def eventually(true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Look again and again, for as long as it may take; fail with `what` after that."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(at_work(process) for process in processes)


def at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it went between the two questions
        return False
