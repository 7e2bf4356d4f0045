# SPDX-License-Identifier: Apache-2.0
"""The terminal against a server that answers slowly, wrongly, or not to the end.

The server here is a real one on a real port that says what each test tells it to; the data folder's lock is
held as a server holds it. What the true server does is tested in `tests/e2e/test_cli.py`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inglenook.cli import program
from inglenook.store.lock import DataLock, this_process

JOB = "job_01"
SIZE_AND_SEED = {"picture_id": "pic_01", "seed": 7, "width": 64, "height": 64}
PART = {**SIZE_AND_SEED, "index": 0, "engine": "torch", "model": "starter"}


def job(state: str, **more: Any) -> dict[str, Any]:
    said = {
        "id": JOB,
        "kind": "image",
        "state": state,
        "work_class": "interactive",
        "title": "a fox",
        "progress": 0.5 if state == "running" else 0.0,
        "created_at": "2026-01-02T03:04:05+00:00",
        "started_at": None,
        "finished_at": None,
        "cost_s": 1.5,
        "result": {},
        "error": None,
        "receipt": None,
        "explanation": None,
    }
    return said | more


class Script:
    """What the server says, and what it was asked."""

    def __init__(self) -> None:
        self.submit: tuple[int, Any] = (202, job("queued"))
        self.events: list[tuple[str, Any]] = []
        self.cancelled: tuple[int, Any] = (200, job("cancelled"))
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.following = threading.Event()
        self.hold = threading.Event()
        self.hold.set()


class Handler(BaseHTTPRequestHandler):
    script: Script

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._note()
        if self.path.endswith("/events"):
            self._stream()
        elif self.path.startswith("/v1/pictures/"):
            self._send(200, b"\x89PNG picture", "image/png")
        elif self.path.startswith("/v1/jobs?"):
            self._send(200, {"data": [job("running"), job("succeeded")], "has_more": False})
        else:
            self._send(*self.script.submit)

    def do_POST(self) -> None:
        self._note()
        if self.path.endswith("/cancel"):
            self._send(*self.script.cancelled)
            self.script.hold.set()
        else:
            self._send(*self.script.submit)

    def _note(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.script.asked.append((self.command, self.path, body))
        self.script.headers.append(dict(self.headers.items()))

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b":\n\n")
        for kind, data in self.script.events:
            text = json.dumps(data, ensure_ascii=False)
            self.wfile.write(f"id: 1\nevent: {kind}\ndata: {text}\n\n".encode())
        self.wfile.flush()
        self.script.following.set()
        self.script.hold.wait(30)

    def _send(self, status: int, content: Any, media_type: str = "application/json") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A server on the data folder `data` in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("INGLENOOK_SERVER__DATA", str(tmp_path / "data"))
    told = Script()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Handler,), {"script": told}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    lock = DataLock(tmp_path / "data")
    lock.acquire(this_process(f"http://127.0.0.1:{server.server_port}", datetime.now(UTC)))
    try:
        yield told
    finally:
        lock.release()
        told.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, list(arguments))


def succeeded() -> list[tuple[str, Any]]:
    return [
        ("state", job("queued")),
        ("wait", {"position": 2, "waiting": 3, "reason": {"kind": "turn", "text": "others come first"}}),
        ("state", job("running")),
        ("progress", {"progress": 0.5, "stage": "denoise", "step": 4, "steps": 8, "picture": 0}),
        ("notice", {"text": "size rounded to 64x64\u2028as the model can"}),
        ("result", PART),
        ("state", job("succeeded", result={"parts": [PART]})),
    ]


def test_a_picture_is_ordered_followed_and_fetched_once(script: Script, tmp_path: Path) -> None:
    script.events = succeeded()
    done = run("image", "a fox", "-o", "fox.png", "--steps", "8", "--guidance", "0", "--seed", "7")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "fox.png\n"
    assert (tmp_path / "fox.png").read_bytes() == b"\x89PNG picture"
    lines = done.stderr.splitlines()
    assert lines[:3] == [
        "waiting (number 2 of 3): others come first",
        "note: size rounded to 64x64�as the model can",
        "picture 1: 64x64, seed 7",
    ]
    assert lines[3].startswith("done in ")
    assert [path for _, path, _ in script.asked] == [
        "/v1/images/generations",
        f"/v1/jobs/{JOB}/events",
        "/v1/pictures/pic_01/file",
    ]
    assert json.loads(script.asked[0][2]) == {
        "prompt": "a fox",
        "model": "auto",
        "steps": 8,
        "guidance_scale": 0.0,
        "seed": 7,
        "n": 1,
        "output_format": "png",
    }
    assert script.headers[0]["prefer"] == "respond-async"


def test_a_change_sends_both_files(script: Script, tmp_path: Path) -> None:
    script.events = succeeded()
    (tmp_path / "in.png").write_bytes(b"the picture")
    (tmp_path / "mask.png").write_bytes(b"the mask")
    done = run(
        "image", "a fox", "-o", "out.png", "--image", "in.png", "--mask", "mask.png", "--strength", "0.5"
    )
    assert done.exit_code == 0, done.stderr
    method, path, body = script.asked[0]
    assert (method, path) == ("POST", "/v1/images/edits")
    for part in (b'name="image[]"', b"the picture", b'name="mask"', b"the mask", b'name="strength"', b"0.5"):
        assert part in body


def test_every_option_of_a_picture_is_sent(script: Script) -> None:
    script.events = succeeded()
    words = ["--lora", "watercolour:0.8", "--lora", "ink", "--vae", "soft", "--sigmas", "karras"]
    more = ["--clip-skip", "2", "--hires", "1.5", "--transparent", "--scheduler", "euler", "--size", "64x96"]
    more += ["--engine", "torch"]
    done = run("image", "a fox", "-o", "fox.png", *words, *more)
    assert done.exit_code == 0, done.stderr
    sent = json.loads(script.asked[0][2])
    assert sent["loras"] == [{"model": "watercolour", "weight": 0.8}, {"model": "ink", "weight": 1.0}]
    assert (sent["vae"], sent["sigmas"], sent["clip_skip"]) == ("soft", "karras", 2)
    assert (sent["hires"], sent["background"], sent["size"]) == ({"scale": 1.5}, "transparent", "64x96")
    assert sent["engine"] == "torch"


def test_several_pictures_are_sent_in_their_order(script: Script, tmp_path: Path) -> None:
    script.events = succeeded()
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(name.encode())
    pictures = ["--image", "one.png", "--image", "two.png", "--lora", "ink:-0.5"]
    done = run("image", "both", "-o", "out.png", *pictures)
    assert done.exit_code == 0, done.stderr
    body = script.asked[0][2]
    assert body.index(b"one.png") < body.index(b"two.png")
    assert b'[{"model": "ink", "weight": -0.5}]' in body


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--lora", "ink:strong"), "'strong' is no number"),
        (("--hires", "1"), "1"),
        (("--clip-skip", "0"), "0"),
        (("--image", "in.png", "--hires", "2"), "text only"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_asked(
    script: Script, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "in.png").write_bytes(b"the picture")
    done = run("image", "a fox", "-o", "fox.png", *words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert script.asked == []


def test_what_was_made_is_told_as_json(script: Script) -> None:
    script.events = succeeded()
    done = run("image", "a fox", "-o", "fox.png", "--json")
    assert json.loads(done.stdout) == {
        "job": JOB,
        "pictures": [{"file": "fox.png", "engine": "torch", "model": "starter", **SIZE_AND_SEED}],
    }


def test_an_existing_file_is_refused_before_the_server_is_asked(script: Script, tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"old")
    done = run("image", "a fox", "-o", "fox.png")
    assert done.exit_code == 1
    assert done.stderr == ("error: fox.png already exists.\nhint: use --force to overwrite, or another -o\n")
    assert script.asked == []
    script.events = succeeded()
    assert run("image", "a fox", "-o", "fox.png", "--force").exit_code == 0
    assert (tmp_path / "fox.png").read_bytes() == b"\x89PNG picture"


def test_a_refusal_of_the_server_is_told_in_its_words(script: Script) -> None:
    error = {
        "message": "There is no model 'x'. Hint: nearest: starter-339.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "hint": "nearest: starter-339",
    }
    script.submit = (404, {"error": error})
    done = run("image", "a fox", "-o", "fox.png", "--model", "x")
    assert done.exit_code == 1
    assert done.stderr == "error: There is no model 'x'.\nhint: nearest: starter-339\n"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"error": 3}', b"\xff", b""])
def test_an_answer_that_makes_no_sense_is_told_with_its_status(script: Script, body: bytes) -> None:
    script.submit = (502, body)
    done = run("image", "a fox", "-o", "fox.png")
    assert done.exit_code == 1
    assert done.stderr == "error: The server answered 502 without saying why.\n"


def test_a_job_that_fails_is_told_and_its_finished_pictures_are_kept(script: Script, tmp_path: Path) -> None:
    error = {"code": "draw.out_of_memory", "kind": "failed", "message": "No memory.", "hint": "draw smaller"}
    script.events = [
        ("result", PART),
        ("state", job("failed", result={"parts": [PART]}, error=error)),
    ]
    done = run("image", "a fox", "-n", "2", "-o", "fox.png")
    assert done.exit_code == 1
    assert done.stdout == "fox-1.png\n"
    assert (tmp_path / "fox-1.png").exists()
    assert not (tmp_path / "fox-2.png").exists()
    assert done.stderr.endswith("error: No memory.\nhint: draw smaller\n")


def test_a_job_that_was_interrupted_can_be_begun_again(script: Script) -> None:
    script.events = [("state", job("interrupted"))]
    done = run("image", "a fox", "-o", "fox.png")
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: The job {JOB} was interrupted.\nhint: begin it again with `inglenook jobs retry {JOB}`\n"
    )


def test_a_job_that_somebody_else_cancels_ends_with_130(script: Script) -> None:
    script.events = [("state", job("running")), ("state", job("cancelled"))]
    done = run("image", "a fox", "-o", "fox.png")
    assert done.exit_code == 130
    assert done.stderr == f"error: The job {JOB} was cancelled.\n"


def test_news_that_end_too_early_are_an_error(script: Script) -> None:
    script.events = [("state", job("running"))]
    done = run("image", "a fox", "-o", "fox.png")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: The news of job {JOB} ended before the job did.\n")


def test_an_interrupt_cancels_the_job_and_tells_the_receipt(script: Script, tmp_path: Path) -> None:
    script.events = [("state", job("running"))]
    script.hold.clear()  # the stream stays open until the job is cancelled
    receipt = {
        "how": "stopped before step 5",
        "seconds": 0.25,
        "before_bytes": 2 << 30,
        "after_bytes": 1 << 30,
    }
    script.cancelled = (200, job("cancelled", receipt=receipt))
    command = [sys.executable, "-m", "inglenook", "image", "a fox", "-o", "fox.png"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert script.following.wait(30)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130
    assert out == ""
    assert err == (
        "cancelling …\n"
        "stopped in 0.2 s: stopped before step 5, 2 GiB → 1 GiB\n"
        f"error: The job {JOB} was cancelled.\n"
    )
    assert ("POST", f"/v1/jobs/{JOB}/cancel") in [(method, path) for method, path, _ in script.asked]


def test_jobs_are_listed_as_a_table_and_as_json(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    done = run("jobs", "list", "--state", "running", "--state", "succeeded")
    assert done.stdout == (
        "job     state            kind   created              title\n"
        "job_01  running    50 %  image  2026-01-02 03:04:05  a fox\n"
        "job_01  succeeded        image  2026-01-02 03:04:05  a fox\n"
    )
    assert script.asked[0][1] == "/v1/jobs?limit=20&state=running&state=succeeded"
    assert [one["state"] for one in json.loads(run("jobs", "list", "--json").stdout)] == [
        "running",
        "succeeded",
    ]
    assert run("jobs").stdout == done.stdout


def test_a_job_is_shown_with_its_error_and_its_pictures(script: Script) -> None:
    error = {"code": "draw.failed", "kind": "failed", "message": "It broke.", "hint": "again"}
    script.submit = (200, job("failed", error=error, result={"parts": [PART]}))
    lines = run("jobs", "show", JOB).stdout.splitlines()
    assert "state     failed" in lines
    assert "error     It broke. [draw.failed]" in lines
    assert "hint      again" in lines
    assert "picture   pic_01  64x64, seed 7" in lines


def test_a_job_is_cancelled_and_done_again_from_the_terminal(script: Script) -> None:
    receipt = {"how": "it left the queue", "seconds": 0.0, "before_bytes": None, "after_bytes": None}
    script.cancelled = (200, job("cancelled", receipt=receipt))
    assert run("jobs", "cancel", JOB).stdout == f"{JOB}: stopped in 0.0 s: it left the queue\n"
    script.submit = (200, job("queued", id="job_02"))
    assert run("jobs", "retry", JOB).stdout == "job_02\n"
    assert [path for _, path, _ in script.asked] == [f"/v1/jobs/{JOB}/cancel", f"/v1/jobs/{JOB}/retry"]


def test_without_a_server_jobs_say_how_to_start_one(tmp_path: Path) -> None:
    done = run("jobs", "--help")
    assert done.exit_code == 0
    done = run("jobs", "list", "--data", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: No server is running on the data folder {tmp_path}.\n"
        "hint: start one with `inglenook serve`, or name its folder with --data\n"
    )


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.acquire(this_process("http://127.0.0.1:9", datetime.now(UTC)))  # the discard port: nobody listens
    try:
        done = run("jobs", "list", "--data", str(tmp_path))
    finally:
        lock.release()
    assert done.exit_code == 1
    assert done.stderr.startswith("error: The server at http://127.0.0.1:9 does not answer (ConnectError).\n")


def test_another_terminal_that_draws_is_named(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.acquire(this_process("", datetime.now(UTC)))
    try:
        done = run("image", "a fox", "-o", str(tmp_path / "fox.png"), "--data", str(tmp_path))
    finally:
        lock.release()
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: Process {os.getpid()} is drawing in the data folder {tmp_path}")


def test_a_proxy_in_the_environment_is_not_used_for_this_machine(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert run("jobs", "list").exit_code == 0
