# SPDX-License-Identifier: Apache-2.0
"""Bad luck that strikes pictures, language and speech alike: a server that is killed, a full disk, and files
whose names are paths."""

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.e2e.workbench import LONG, Workbench, all_gone, command, eventually
from tests.gguf_files import Shape, write_llama
from tests.speech_files import FLAC, heard
from tests.starters import SPEECH, with_starters

pytestmark = pytest.mark.slow

WORKERS = ("inglenook.workers.image", "inglenook.workers.llama", "inglenook.workers.speech")
TALK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "ignore_eos": True}


def workers(family: list[psutil.Process]) -> set[str]:
    lines = [line for line in map(command, family) if "guard.py" not in line]
    return {worker for worker in WORKERS if any(worker in line for line in lines)}


def transcribe(http: httpx.Client, recording: Path, name: str = "a.flac") -> httpx.Response:
    with recording.open("rb") as file:
        return http.post("/v1/audio/transcriptions", data={"model": SPEECH}, files={"file": (name, file)})


def ignoring_the_end(call: Callable[[], object]) -> Callable[[], None]:
    """The same, for a server that goes away meanwhile."""

    def calling() -> None:
        with contextlib.suppress(httpx.TransportError):
            call()

    return calling


def test_a_server_that_is_killed_leaves_none_of_its_children_and_starts_again(
    tmp_path: Path, speech_model: Path
) -> None:
    data = with_starters(tmp_path / "data", speech_model)
    write_llama(data / "models" / "tiny.gguf", shape=Shape(layers=4, width=256, context=16_384))
    long_recording = tmp_path / "long.flac"
    samples, rate = soundfile.read(FLAC, dtype="int16")
    soundfile.write(long_recording, np.tile(samples, 40), rate)
    with RunningServer.start(data, environ=ENVIRON, timeout_s=180) as server:
        bench = Workbench(server)
        # All three are loaded first: else one may have ended before another, still being loaded, has begun.
        bench.draw()
        assert bench.http.post("/v1/models/tiny/load").status_code == 200
        assert transcribe(bench.http, FLAC).status_code == 200
        talk = TALK | {"max_tokens": 12_000}
        asking = [
            threading.Thread(target=ignoring_the_end(lambda: transcribe(bench.http, long_recording))),
            threading.Thread(
                target=ignoring_the_end(lambda: bench.http.post("/v1/chat/completions", json=talk))
            ),
        ]
        job = bench.order(**LONG)
        for thread in asking:
            thread.start()
        eventually(lambda: len(bench.http.get("/v1/runtime").json()["leases"]) == 3, "all three work", 120)
        # A lease is held a moment before the job is written down as running; until then it only waits.
        eventually(lambda: bench.job(job["id"])["state"] == "running", "it is written down")
        family = bench.family()
        assert workers(family) == set(WORKERS)
        server.kill()
        for thread in asking:
            thread.join()
    eventually(lambda: all_gone(family), "a child outlived its server")

    with RunningServer.start(data, environ=ENVIRON, timeout_s=180) as server:
        bench = Workbench(server)
        assert bench.job(job["id"])["state"] == "interrupted"
        assert list((data / "spool").rglob("*")) == [], "what they had in hand is cleared away"
        assert bench.http.post("/v1/chat/completions", json=TALK | {"max_tokens": 3}).status_code == 200
        assert heard(transcribe(bench.http, FLAC).json()["text"])


def test_the_name_of_a_recording_is_no_path(tmp_path: Path, speech_model: Path) -> None:
    data = with_starters(tmp_path / "data", speech_model)
    victim = tmp_path / "victim.flac"
    victim.write_bytes(b"mine")
    with (
        RunningServer.start(data, environ=ENVIRON, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=120, trust_env=False) as http,
    ):
        before = {path for path in tmp_path.rglob("*") if "spool" not in path.parts}
        for name in (
            str(victim),
            "../../victim.flac",
            "../../../../../../etc/passwd",
            "a/b\\c.flac",
            "x" * 300,
        ):
            answer = transcribe(http, FLAC, name)
            assert answer.status_code == 200, answer.text
            assert heard(answer.json()["text"])
        assert victim.read_bytes() == b"mine"
        after = {path for path in tmp_path.rglob("*") if "spool" not in path.parts}
        assert {path for path in after - before if ".db" not in path.name} == set()
        assert list((data / "spool").rglob("*.flac")) == []


def test_a_full_disk_is_told_and_what_is_loaded_goes_on(small_disk: Path, speech_model: Path) -> None:
    with_starters(small_disk, speech_model)
    for name in ("tiny", "other"):
        write_llama(small_disk / "models" / f"{name}.gguf")
    with (
        RunningServer.start(small_disk, environ=ENVIRON, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=120, trust_env=False) as http,
    ):
        talk = TALK | {"max_tokens": 3}
        assert http.post("/v1/chat/completions", json=talk).status_code == 200
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            fill(file.write, shutil.disk_usage(small_disk).free)
        answer = http.post("/v1/chat/completions", json=talk)
        assert answer.status_code == 200, answer.text
        for answer in (
            http.post("/v1/chat/completions", json=talk | {"model": "other"}),
            transcribe(http, FLAC),
        ):
            error = answer.json()["error"]
            assert answer.status_code >= 400
            assert "No space left" in error["message"] or "room" in error["message"], error
            assert error["code"] != "internal"
            assert error["hint"]
        assert "Unexpected error" not in server.output
        filler.unlink()
        assert http.post("/v1/chat/completions", json=talk | {"model": "other"}).status_code == 200
        assert heard(transcribe(http, FLAC).json()["text"])


def fill(write: Callable[[bytes], int | None], free_bytes: int) -> None:
    """Until there is no room for one more byte."""
    for size in (free_bytes, 4096, 1):
        try:
            while write(b"\0" * size):
                pass
        except OSError:
            pass
