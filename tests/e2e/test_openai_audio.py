# SPDX-License-Identifier: Apache-2.0
"""The `openai` package and the terminal against a real server with the speech starter."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI

from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.speech_files import FLAC, SECONDS, heard
from tests.starters import SPEECH, with_starters

pytestmark = pytest.mark.slow

DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, speech_model: Path) -> Iterator[RunningServer]:
    data = with_starters(tmp_path_factory.mktemp("data"), speech_model)
    with RunningServer.start(data, environ=ENVIRON) as running:
        yield running
        assert list((data / "spool").glob("recordings/*")) == [], "a recording was left"


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=DEADLINE_S
    ) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=DEADLINE_S, trust_env=False) as client:
        yield client


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """Two minutes of speech."""
    samples, rate = soundfile.read(FLAC, dtype="int16")
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(samples, 27), rate)
    return path


def until(done: Callable[[], object], what: str) -> None:
    """Wait for what another process does; there is nothing to subscribe to from here."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def test_the_sdk_gets_a_transcription(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(model="whisper-1", file=FLAC)
    assert heard(answer.text)
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.languages is not None
    assert answer.languages[0].code == "en"


def test_with_times_of_segments_and_words(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        model=SPEECH,
        file=("memo.mp3", FLAC.with_suffix(".mp3").read_bytes()),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
        prompt="A letter to a friend.",
        temperature=0.0,
    )
    assert heard(answer.text)
    assert answer.language == "english"
    assert answer.duration == pytest.approx(SECONDS, abs=0.1)
    assert answer.segments is not None
    assert answer.segments[0].avg_logprob < 0
    assert answer.words is not None
    assert answer.words[0].word.lower().startswith("good")
    assert 0 <= answer.words[0].start <= answer.words[-1].end <= answer.duration


def test_as_subtitles_and_as_a_text(client: OpenAI) -> None:
    srt = client.audio.transcriptions.create(model="auto", file=FLAC, response_format="srt")
    assert str(srt).startswith("1\n00:00:0")
    vtt = client.audio.transcriptions.create(model="auto", file=FLAC, response_format="vtt")
    assert str(vtt).startswith("WEBVTT\n\n00:00:0")
    assert heard(str(client.audio.transcriptions.create(model="auto", file=FLAC, response_format="text")))


def test_streamed(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(
        model="auto",
        file=FLAC.with_suffix(".webm"),
        stream=True,
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 2000},
    )
    events = list(stream)
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    last = events[-1]
    assert last.type == "transcript.text.done"
    assert heard(last.text)
    assert "".join(event.delta for event in events[:-1] if event.type == "transcript.text.delta") == last.text


def test_what_the_model_cannot_do_is_an_error_of_the_sdk(client: OpenAI) -> None:
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="English only"),
    ):
        client.audio.translations.create(model="auto", file=FLAC)  # OpenAI gives it up, other clients do not
    with pytest.raises(openai.BadRequestError, match="English only"):
        client.audio.transcriptions.create(model="auto", file=FLAC, language="de")
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="nothing", file=FLAC)
    with pytest.raises(openai.BadRequestError, match=r"cut short|cannot be read"):
        client.audio.transcriptions.create(model="auto", file=("a.flac", FLAC.read_bytes()[:30_000]))


def test_a_stream_of_a_broken_recording_ends_with_an_error(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(
        model="auto", file=("a.flac", FLAC.read_bytes()[:30_000]), stream=True
    )
    with pytest.raises(openai.APIError, match=r"cut short|cannot be read"):
        list(stream)


def test_the_model_is_listed_and_shares_the_ledger(client: OpenAI, http: httpx.Client) -> None:
    client.audio.transcriptions.create(model="auto", file=FLAC)
    runtime = http.get("/v1/runtime").json()
    (resident,) = [one for one in runtime["residents"] if one["model"] == SPEECH]
    assert resident["state"] == "ready"
    assert SPEECH in [model.id for model in client.models.list()]


def test_who_hangs_up_has_stopped_it(
    client: OpenAI, http: httpx.Client, server: RunningServer, long_recording: Path
) -> None:
    stream = client.audio.transcriptions.create(model="auto", file=long_recording, stream=True)
    assert next(iter(stream)).type == "transcript.text.delta"
    (lease,) = http.get("/v1/runtime").json()["leases"]
    assert lease["work"] == "transcription for owner"
    assert re.fullmatch(r"\d+ of 122 seconds heard", lease["progress"])
    stream.close()
    until(lambda: http.get("/v1/runtime").json()["leases"] == [], "the lease comes back")
    assert heard(client.audio.transcriptions.create(model="auto", file=FLAC).text), "the worker lives"
    files = [path for path in (server.data / "spool").rglob("*") if path.is_file()]
    assert files == [], "the recording is gone"


def test_a_body_that_is_too_large_is_refused_before_any_of_it_was_sent(server: RunningServer) -> None:
    head = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=DEADLINE_S) as connection:
        connection.sendall(head)
        answer = b""
        while b"max_upload_bytes" not in answer and (more := connection.recv(65536)):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"speech.max_upload_bytes" in answer


def run(server: RunningServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "inglenook", "transcribe", "--data", str(server.data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)


def test_the_terminal_asks_the_server(server: RunningServer, tmp_path: Path) -> None:
    done = run(server, str(FLAC))
    assert done.returncode == 0, done.stderr
    assert heard(done.stdout)
    out = tmp_path / "lunch.srt"
    assert run(server, str(FLAC), "--format", "srt", "-o", str(out), "--language", "English").returncode == 0
    assert out.read_text().startswith("1\n00:00:0")
    refused = run(server, str(FLAC), "--translate")
    assert refused.returncode == 1
    assert "English only" in refused.stderr
    assert "hint:" in refused.stderr


def test_the_terminal_does_it_alone_without_a_server(tmp_path: Path, speech_model: Path) -> None:
    data = with_starters(tmp_path / "data", speech_model)
    command = [sys.executable, "-m", "inglenook", "transcribe", "--data", str(data), str(FLAC)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    assert heard(done.stdout)
    assert FLAC.exists()
