# SPDX-License-Identifier: Apache-2.0
"""The routes for speech over a service that hears what a test says."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.speech_files import FLAC, speech_record

from inglenook.api.errors import render_json
from inglenook.api.speech import FORM_BYTES, speech_router
from inglenook.api.speech.fields import NOT_HERE, TranscriptionFields
from inglenook.base.cancel import StopToken
from inglenook.base.errors import NotFound
from inglenook.base.ids import PersonId
from inglenook.catalog.model import ModelRecord
from inglenook.door.caller import MachineOwner
from inglenook.door.frame import frame
from inglenook.speech.errors import BadRecording
from inglenook.speech.model import Recorded, SpeechLimits, SpeechRequest, Transcript
from inglenook.speech.service import SpeechService
from inglenook.testing.clock import FakeClock
from inglenook.wire.message import Message
from inglenook.wire.speech import Heard, Segment, VoiceActivity, Word

MAX_FILE = 100_000
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
WORDS = (
    Word(start=0.0, end=0.5, word=" Good", probability=0.9),
    Word(start=0.5, end=1.0, word=" morning,", probability=0.8),
)


def segment(number: int, text: str, start: float, end: float, words: tuple[Word, ...] = ()) -> Segment:
    return Segment(
        job="j",
        id=number,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(1, 2),
        temperature=0.0,
        avg_logprob=-0.25,
        compression_ratio=1.2,
        no_speech_prob=0.01,
        words=words,
    )


class Speech:
    """Hears the same in every recording."""

    def __init__(self, folder: Path) -> None:
        self.limits = SpeechLimits(max_upload_bytes=MAX_FILE, max_duration_s=60.0)
        self.folder = folder
        self.requests: list[SpeechRequest] = []
        self.received: list[tuple[Recorded, bytes]] = []
        self.people: list[PersonId] = []
        self.models: list[str | None] = []
        self.record = speech_record(folder, languages=("en", "de"))
        self.fault: Exception | None = None
        self.hang: asyncio.Event | None = None
        self.stopped: list[StopToken] = []

    def resolve(self, name: str | None) -> ModelRecord:
        self.models.append(name)
        if name == "missing":
            raise NotFound("There is no model 'missing'.", code="model.not_found", field="model")
        return self.record

    @contextmanager
    def receive(self) -> Iterator[Path]:
        path = self.folder / "ours"
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def check(self, request: SpeechRequest, model: ModelRecord) -> SpeechRequest:
        return SpeechService.check(self, request, model)  # type: ignore[arg-type]  # it needs nothing of itself

    async def transcribe(
        self,
        request: SpeechRequest,
        recorded: Recorded,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        hear: Callable[[Any], Awaitable[None]] | None = None,
        tell: Callable[[Message], Awaitable[None]] | None = None,
    ) -> Transcript:
        self.requests.append(request)
        self.people.append(person)
        self.received.append((recorded, recorded.path.read_bytes()))
        if hear is not None:
            await hear({"position": 2, "reason": {"text": "a picture\nis being drawn"}})
        if self.fault is not None:
            raise self.fault
        segments = (
            segment(0, " Good morning,", 0.0, 1.0, WORDS if request.words else ()),
            segment(1, " a < b --> c & d", 1.0, 3661.5),
        )
        for one in segments if tell is not None else ():
            await tell(one)
            await tell(Heard(job="j", seconds=one.end, duration=3662.0, language="de"))
        return Transcript(request.task, "de", 3662.0, 1.5, segments)


@pytest.fixture
def speech(tmp_path: Path) -> Speech:
    return Speech(tmp_path)


@pytest.fixture
def client(speech: Speech) -> Iterator[TestClient]:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(speech_router(speech=speech))
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_json},
        allowed_hosts=[],
        max_body_bytes=1000,
        clock=FakeClock(),
        body_limits={"/v1/audio/": (MAX_FILE + FORM_BYTES, "speech.max_upload_bytes")},
    )
    with TestClient(app, base_url="http://127.0.0.1:8190", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_recording_is_left(speech: Speech) -> Iterator[None]:
    yield
    assert not (speech.folder / "ours").exists()


def send(client: TestClient, path: str = TRANSCRIPTIONS, name: str = "x.flac", **fields: Any) -> Any:
    data = {key: value if isinstance(value, list) else str(value) for key, value in fields.items()}
    return client.post(path, data=data, files={"file": (name, FLAC.read_bytes(), "audio/flac")})


def refused(answer: Any, field: str | None, *words: str, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == field, error
    for word in words:
        assert word in error["message"], error
    return dict(error)


def test_what_was_said_comes_as_json(client: TestClient, speech: Speech) -> None:
    answer = send(client, model="whisper-1")
    assert answer.status_code == 200
    assert answer.json() == {
        "text": "Good morning, a < b --> c & d",
        "languages": [{"code": "de"}],
        "usage": {"type": "duration", "seconds": 3662},
    }
    assert speech.models == ["whisper-1"]
    ((recorded, data),) = speech.received
    assert data == FLAC.read_bytes()
    assert recorded.container == "flac"
    assert speech.requests == [SpeechRequest()]


def test_as_a_text(client: TestClient) -> None:
    answer = send(client, response_format="text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "Good morning, a < b --> c & d\n"


def test_as_subtitles(client: TestClient) -> None:
    srt = send(client, response_format="srt").text
    assert srt == (
        "1\n00:00:00,000 --> 00:00:01,000\nGood morning,\n\n"
        "2\n00:00:01,000 --> 01:01:01,500\na < b --> c & d\n\n"
    )
    answer = send(client, response_format="vtt")
    assert answer.headers["content-type"].startswith("text/vtt")
    assert answer.text == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGood morning,\n\n"
        "00:00:01.000 --> 01:01:01.500\na &lt; b --&gt; c &amp; d\n\n"
    )


def test_with_segments_or_words_or_both(client: TestClient, speech: Speech) -> None:
    plain = send(client, response_format="verbose_json").json()
    assert plain["task"] == "transcribe"
    assert plain["language"] == "german"
    assert plain["duration"] == 3662.0
    assert "words" not in plain
    assert plain["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 1.0,
        "text": " Good morning,",
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.01,
    }
    words = send(client, response_format="verbose_json", **{"timestamp_granularities[]": ["word"]}).json()
    assert "segments" not in words
    assert words["words"][1] == {"word": "morning,", "start": 0.5, "end": 1.0, "probability": 0.8}
    assert speech.requests[-1].words
    both = send(client, response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]})
    assert {"words", "segments"} <= set(both.json())


def test_a_stream_tells_the_text_as_it_comes_and_why_it_waits(client: TestClient) -> None:
    answer = send(client, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ": waiting, place 2: a picture is being drawn\n\n" in answer.text
    assert ": 1.0 of 3662.0 seconds are done\n\n" in answer.text
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event["delta"] for event in events[:2]) == events[2]["text"]
    assert events[2]["languages"] == [{"code": "de"}]


def test_a_stream_that_fails_ends_with_an_error(client: TestClient, speech: Speech) -> None:
    speech.fault = BadRecording("The recording is cut short.", field="file")
    answer = send(client, stream="true")
    assert answer.status_code == 200
    assert '"type":"error"' in answer.text
    assert "The recording is cut short." in answer.text
    assert "transcript.text.done" not in answer.text


def test_every_field_reaches_the_service(client: TestClient, speech: Speech) -> None:
    answer = send(
        client,
        language="German",
        prompt="Dear diary",
        temperature="0.4",
        **{
            "keywords[]": ["Inglenook", "ingle"],
            "chunking_strategy[type]": "server_vad",
            "chunking_strategy[threshold]": "0.7",
            "chunking_strategy[silence_duration_ms]": "300",
        },
    )
    assert answer.status_code == 200, answer.text
    assert speech.requests == [
        SpeechRequest(
            language="de",
            prompt="Dear diary",
            keywords=("Inglenook", "ingle"),
            temperature=0.4,
            voice_activity=VoiceActivity(threshold=0.7, silence_ms=300, padding_ms=400),
        )
    ]
    assert send(client, chunking_strategy="auto").status_code == 200
    assert speech.requests[-1].voice_activity == VoiceActivity()
    send(client, chunking_strategy='{"type": "server_vad", "prefix_padding_ms": 5}')
    assert speech.requests[-1].voice_activity == VoiceActivity(padding_ms=5)
    assert send(client, **{"languages[]": ["de", "en-GB"]}).status_code == 200
    assert speech.requests[-1].languages == ("de", "en")


def test_a_translation_is_in_english(client: TestClient, speech: Speech) -> None:
    answer = send(client, TRANSLATIONS, response_format="verbose_json")
    assert answer.json()["task"] == "translate"
    assert answer.json()["language"] == "english"
    assert speech.requests[0].task == "translate"
    refused(send(client, TRANSLATIONS, language="de"), "language", "detected")


def test_an_english_model_says_what_it_cannot_do(client: TestClient, speech: Speech) -> None:
    speech.record = speech_record(speech.folder)
    refused(send(client, TRANSLATIONS), "model", "English only")
    refused(send(client, language="de"), "language", "English only")
    assert send(client, language="en").status_code == 200


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"language": "xx"}, "language", "known are de, en"),
        ({"language": "fr"}, "language", "known are de, en"),
        ({"language": ""}, "language", "empty"),
        ({"temperature": "2"}, "temperature", "at most 1"),
        ({"temperature": "-0.1"}, "temperature", "at least 0"),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"temperature": "nan"}, "temperature", "finite"),
        ({"temperature": ["0", "1"]}, "temperature", "twice"),
        ({"response_format": "xml"}, "response_format", "one of"),
        ({"response_format": "diarized_json"}, "response_format", "tell speakers apart"),
        ({"known_speaker_names[]": ["a"]}, "known_speaker_names", "tell speakers apart"),
        ({"timestamp_granularities[]": ["word"]}, "timestamp_granularities", "verbose_json"),
        (
            {"timestamp_granularities[]": ["hour"], "response_format": "verbose_json"},
            "timestamp_granularities.0",
            "one of",
        ),
        ({"include[]": ["logprobs"]}, "include", "avg_logprob"),
        ({"include[]": ["secrets"]}, "include.0", "logprobs"),
        ({"stream": "maybe"}, "stream", "true or false"),
        ({"stream": "true", "response_format": "srt"}, "stream", "srt"),
        ({"chunking_strategy": "never"}, "chunking_strategy", "auto"),
        ({"chunking_strategy": "{"}, "chunking_strategy", "JSON"),
        (
            {"chunking_strategy": '{"type": "server_vad", "threshold": 7}'},
            "chunking_strategy.threshold",
            "less than 1",
        ),
        ({"prompt": "x" * 5000}, "prompt", "4096"),
        ({"prompt": "a\0b"}, "prompt", "NUL"),
        ({"model": "missing"}, "model", "missing"),
        ({"langauge": "en"}, "langauge", "language"),
        ({"language": "en", "languages[]": ["de"]}, "languages", "exclude"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    client: TestClient, speech: Speech, fields: dict[str, Any], field: str, words: str
) -> None:
    status = 404 if fields.get("model") == "missing" else 400
    refused(send(client, **fields), field, words, status=status)
    assert speech.requests == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a\0b.wav", "C:\\x.wav", "x" * 3000, "evil.exe", "..", "é.flac"],
)
def test_a_file_name_says_nothing(client: TestClient, speech: Speech, name: str) -> None:
    body, boundary = form_of(name)
    answer = client.post(TRANSCRIPTIONS, content=body, headers=multipart(boundary))
    assert answer.status_code == 200, answer.text
    ((recorded, data),) = speech.received
    assert recorded.path == speech.folder / "ours"
    assert data == FLAC.read_bytes()


def form_of(name: str, *, data: bytes | None = None, field: str = "file") -> tuple[bytes, str]:
    boundary = "b0undary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    content = FLAC.read_bytes() if data is None else data
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), boundary


def multipart(boundary: str) -> dict[str, str]:
    return {"content-type": f"multipart/form-data; boundary={boundary}"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"Dear diary, today", "a text"),
        ("grüße".encode() * 1000, "a text"),
        (b"PK\x03\x04" + b"\0" * 50, "ZIP"),
        (b"\x1f\x8b\x08" + b"\0" * 50, "gzip"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "PNG"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "playlist"),
        (b"\x7fELF\x02\x01\x01\0", "7f 45 4c 46"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(client: TestClient, data: bytes, words: str) -> None:
    body, boundary = form_of("a.wav", data=data)
    refused(client.post(TRANSCRIPTIONS, content=body, headers=multipart(boundary)), "file", words)


def test_a_form_without_its_file_or_with_two_is_refused(client: TestClient) -> None:
    refused(client.post(TRANSCRIPTIONS, data={"model": "m"}, files={"image": b"x"}), "image", "not a file")
    refused(client.post(TRANSCRIPTIONS, files={"model": (None, "m")}), "file", "required")
    refused(client.post(TRANSCRIPTIONS, files={"file": (None, "text")}), "file", "must be a file")
    both = [("file", ("a", FLAC.read_bytes())), ("file", ("b", FLAC.read_bytes()))]
    refused(client.post(TRANSCRIPTIONS, files=both), "file", "Two files")
    refused(client.post(TRANSCRIPTIONS, json={"file": "x"}), None, "multipart/form-data")


def test_a_broken_form_is_refused(client: TestClient) -> None:
    body, boundary = form_of("a.flac")
    for broken in (body[:-10], body[:50], b"", b"nonsense"):
        refused(client.post(TRANSCRIPTIONS, content=broken, headers=multipart(boundary)), None, "form")
    refused(client.post(TRANSCRIPTIONS, content=body, headers={"content-type": "multipart/form-data"}), None)


def test_a_file_that_is_too_large_is_refused(client: TestClient) -> None:
    body, boundary = form_of("a.flac", data=b"fLaC" + b"\0" * MAX_FILE)
    answer = client.post(TRANSCRIPTIONS, content=body, headers=multipart(boundary))
    error = refused(answer, "file", "larger than", status=413)
    assert "speech.max_upload_bytes" in error["hint"]


def test_a_body_that_says_it_is_too_large_is_refused_unread(client: TestClient, speech: Speech) -> None:
    asked = client.build_request("POST", TRANSCRIPTIONS, content=b"", headers=multipart("b"))
    asked.headers["content-length"] = str(MAX_FILE + FORM_BYTES + 1)
    answer = client.send(asked)
    assert answer.status_code == 413
    assert "speech.max_upload_bytes" in answer.json()["error"]["message"]
    assert speech.models == []


def test_other_routes_keep_their_own_limit(client: TestClient) -> None:
    answer = client.post("/v1/elsewhere", content=b"x" * 2000)
    assert answer.status_code == 413
    assert "server.max_upload_bytes" in answer.json()["error"]["message"]


def test_many_fields_are_refused(client: TestClient) -> None:
    refused(send(client, **{"keywords[]": ["a"] * 70}), None, "64 fields")


def test_a_fault_of_the_recording_is_the_clients(client: TestClient, speech: Speech) -> None:
    speech.fault = BadRecording("The FLAC file cannot be read.", code="audio.unreadable", field="file")
    assert refused(send(client), "file", "FLAC")["code"] == "audio.unreadable"


def test_the_reference_page_has_every_word_of_a_request() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for word in [*TranscriptionFields.model_fields, *NOT_HERE, TRANSCRIPTIONS, TRANSLATIONS, "verbose_json"]:
        assert word in page, word
