# SPDX-License-Identifier: Apache-2.0
"""The worker's loop and its pieces, with a model that hears what a test says."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.speech_files import FLAC

from inglenook.testing.clock import FakeClock
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Cancel, Loaded, LoadFailed, Message, Shutdown, encode
from inglenook.wire.speech import (
    Heard,
    LoadSpeechModel,
    Segment,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
)
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, Inbox
from inglenook.workers.speech.memory import evidence_of
from inglenook.workers.speech.recording import Recording
from inglenook.workers.speech.transcriber import Transcriber, pieces
from inglenook.workers.speech.worker import Worker

RATE = 16_000


class Model:
    """Says `text` once a piece. `calls`: what it was asked with."""

    def __init__(self, text: str = " hello", **fields: Any) -> None:
        self.text = text
        self.fields = {"avg_logprob": -0.2, "compression_ratio": 1.0, "temperature": 0.0, **fields}
        self.model = SimpleNamespace(is_multilingual=False, compute_type="float32")
        self.calls: list[dict[str, Any]] = []
        self.ranked = [("fr", 0.6), ("de", 0.3)]
        self.fault: Exception | None = None
        self.during: Any = None

    def transcribe(self, samples: np.ndarray, **asked: Any) -> tuple[Iterator[Any], None]:
        self.calls.append(asked | {"samples": len(samples)})
        return self._found(len(samples) / RATE), None

    def _found(self, seconds: float) -> Iterator[Any]:
        for number in range(2):
            if self.fault is not None:
                raise self.fault
            if self.during is not None:
                self.during()
            start = number * seconds / 2
            yield SimpleNamespace(
                seek=int(start * 100),
                start=start,
                end=start + 80.0,
                text=self.text,
                tokens=[1],
                no_speech_prob=0.1,
                words=None,
                **self.fields,
            )

    def detect_language(self, **_: Any) -> tuple[str, float, list[tuple[str, float]]]:
        return self.ranked[0][0], self.ranked[0][1], self.ranked


def recording(tmp_path: Path, seconds: float, quiet_at: float | None = None) -> Recording:
    samples = np.full(int(seconds * RATE), 8000, dtype="<i2")
    if quiet_at is not None:
        samples[int(quiet_at * RATE) : int((quiet_at + 0.4) * RATE)] = 0
    path = tmp_path / "samples"
    path.write_bytes(samples.tobytes())
    return Recording(path, len(samples))


def asked(**fields: Any) -> Transcribe:
    given = {"job": "a", "file": "given.flac", "container": "flac", "max_seconds": 60.0}
    return Transcribe(**({"decode_timeout_s": 60.0} | given | fields))


def heard(model: Model, given: Recording, request: Transcribe) -> tuple[str, list[Message]]:
    sent: list[Message] = []
    transcriber = Transcriber(model, send=sent.append, should_stop=lambda: False)
    language = transcriber.write_down(request, given)
    return language, sent


def test_a_short_recording_is_one_piece(tmp_path: Path) -> None:
    assert [(start, len(samples)) for start, samples in pieces(recording(tmp_path, 299))] == [(0, 299 * RATE)]


def test_a_long_one_is_cut_where_it_is_quiet_and_nothing_is_lost(tmp_path: Path) -> None:
    found = list(pieces(recording(tmp_path, 400, quiet_at=291)))
    assert found[0][0] == 0
    assert 291 <= found[1][0] / RATE <= 291.4
    assert sum(len(samples) for _, samples in found) == 400 * RATE


def test_times_and_numbers_go_on_over_the_pieces_and_stay_within(tmp_path: Path) -> None:
    _, sent = heard(Model(), recording(tmp_path, 400, quiet_at=291), asked())
    segments = [message for message in sent if isinstance(message, Segment)]
    assert [segment.id for segment in segments] == [0, 1, 2, 3]
    assert segments[2].start == pytest.approx(291.2, abs=0.3)
    assert segments[2].seek == pytest.approx(29_120, abs=30)
    assert segments[-1].end == 400.0, "the model's windows reach beyond the end"
    told = [message.seconds for message in sent if isinstance(message, Heard)]
    assert told[0] == 0
    assert told[-1] == 400.0


def test_each_piece_is_told_how_the_text_went_but_not_one_that_went_astray(tmp_path: Path) -> None:
    model = Model()
    heard(model, recording(tmp_path, 400), asked(prompt="Once upon a time,"))
    assert model.calls[0]["initial_prompt"] == "Once upon a time,"
    assert model.calls[1]["initial_prompt"] == "Once upon a time, hello hello"
    astray = Model(compression_ratio=3.0)
    heard(astray, recording(tmp_path, 400), asked())
    assert astray.calls[1]["initial_prompt"] is None


def test_a_temperature_of_none_may_rise_and_another_stays(tmp_path: Path) -> None:
    model = Model()
    heard(model, recording(tmp_path, 1), asked())
    heard(model, recording(tmp_path, 1), asked(temperature=0.4))
    assert [call["temperature"] for call in model.calls] == [(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.4,)]


def test_the_language_is_detected_among_those_that_were_named(tmp_path: Path) -> None:
    model = Model()
    model.model.is_multilingual = True
    assert heard(model, recording(tmp_path, 1), asked())[0] == "fr"
    assert heard(model, recording(tmp_path, 1), asked(languages=("de", "en")))[0] == "de"
    assert heard(model, recording(tmp_path, 1), asked(language="ja"))[0] == "ja"
    assert model.calls[-1]["language"] == "ja"


def test_a_number_that_json_has_not_does_not_end_the_wire(tmp_path: Path) -> None:
    _, sent = heard(Model(avg_logprob=-math.inf), recording(tmp_path, 1), asked())
    (first, *_) = [message for message in sent if isinstance(message, Segment)]
    assert first.avg_logprob == -100.0
    encode(first)


class Wire:
    """Says these messages, then waits for none; keeps what it is told."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []

    def receive(self) -> Message:
        if not self.messages:
            raise PeerGone("closed")
        return self.messages.pop(0)

    def send(self, message: Message) -> None:
        self.sent.append(message)


def worked(tmp_path: Path, model: Any, *requests: Message) -> tuple[int, Wire]:
    """The worker's exit status, and what it has said."""
    (tmp_path / "model.bin").touch()
    (tmp_path / "given.flac").write_bytes(FLAC.read_bytes())
    load = LoadSpeechModel(path=str(tmp_path), device="cpu", spool=str(tmp_path))
    wire = Wire(load, *requests)
    inbox: Inbox[LoadSpeechModel, Transcribe] = Inbox(
        channel=wire, end=lambda _: None, load=LoadSpeechModel, work=Transcribe
    )
    inbox.read()
    inbox._work.put(Shutdown())

    def loading(_: LoadSpeechModel) -> Any:
        if isinstance(model, Exception):
            raise model
        return model

    status = Worker(channel=wire, inbox=inbox, load=loading, clock=FakeClock()).run()
    return status, wire


def test_one_recording_is_loaded_heard_and_told(tmp_path: Path) -> None:
    status, wire = worked(tmp_path, Model(), asked())
    assert status == EXIT_DONE
    assert [type(message) for message in wire.sent] == [
        Loaded,
        Heard,
        Segment,
        Heard,
        Segment,
        Heard,
        Heard,
        Transcribed,
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.flac", "model.bin"], (
        "only what was given"
    )


def test_a_cancel_takes_effect_before_the_next_segment(tmp_path: Path) -> None:
    _, wire = worked(tmp_path, Model(), asked(), Cancel(job="a"))
    assert isinstance(wire.sent[-1], TranscribeCancelled)
    assert not any(isinstance(message, Segment) for message in wire.sent)


@pytest.mark.parametrize("name", ["../given.flac", "/etc/passwd", "..", "", "a/b"])
def test_a_file_outside_of_the_spool_is_not_read(tmp_path: Path, name: str) -> None:
    _, wire = worked(tmp_path, Model(), asked(file=name))
    last = wire.sent[-1]
    assert isinstance(last, TranscribeFailed)
    assert last.code == "audio.unreadable"


def test_memory_that_runs_out_is_said_with_evidence_and_nothing_else_is(tmp_path: Path) -> None:
    model = Model()
    model.fault = RuntimeError("CUDA failed with error out of memory")
    _, wire = worked(tmp_path, model, asked())
    last = wire.sent[-1]
    assert isinstance(last, TranscribeFailed)
    assert (last.code, last.out_of_memory is not None) == ("transcribe.out_of_memory", True)
    assert evidence_of(MemoryError()) is not None
    assert evidence_of(RuntimeError("out of memory, said somebody")) is None


def test_a_mistake_fails_its_own_recording_and_no_other(tmp_path: Path) -> None:
    model = Model()
    model.fault = ValueError("boom")
    status, wire = worked(tmp_path, model, asked())
    assert status == EXIT_DONE
    last = wire.sent[-1]
    assert isinstance(last, TranscribeFailed)
    assert last.message == "ValueError: boom"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("Unsupported model binary version."), "load.failed"),
        (RuntimeError("std::bad_alloc"), "load.out_of_memory"),
        (MemoryError(), "load.out_of_memory"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_why(tmp_path: Path, error: Exception, code: str) -> None:
    status, wire = worked(tmp_path, error)
    assert status == EXIT_LOAD_FAILED
    (last,) = wire.sent
    assert isinstance(last, LoadFailed)
    assert last.code == code
