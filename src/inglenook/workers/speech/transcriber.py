# SPDX-License-Identifier: Apache-2.0
"""faster-whisper on a recording, piece by piece.

faster-whisper computes the spectrogram of all that it is given before it begins, which takes a gigabyte for
an hour. So it gets pieces of five minutes, cut where it is quietest, each told how the text went so far.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from inglenook.wire.message import Message
from inglenook.wire.speech import (
    SAMPLE_RATE,
    Heard,
    LoadSpeechModel,
    Segment,
    Transcribe,
    VoiceActivity,
    Word,
)
from inglenook.workers.speech import without_av
from inglenook.workers.speech.errors import LoadCorrupt, Stopped
from inglenook.workers.speech.recording import Recording

without_av.keep_out()

from faster_whisper import WhisperModel  # noqa: E402 - only now

PIECE_S: Final = 300
CUT_S: Final = 15
"""A piece ends at the quietest place in its last so many seconds."""
QUIET_S: Final = 0.2
BEAMS: Final = 5
TEMPERATURES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried one after another where the text repeats itself or is improbable, as Whisper's authors do it."""
DETECT_S: Final = 30
CARRIED_CHARS: Final = 400
REPEATS: Final = 2.4  # compression ratio above which a text repeats itself
NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")


def load_model(load: LoadSpeechModel) -> WhisperModel:
    """Raises `LoadCorrupt`, and what CTranslate2 raises."""
    missing = [name for name in NEEDED if not (Path(load.path) / name).is_file()]
    if missing:  # faster-whisper would look for a tokenizer on a hub
        raise LoadCorrupt(f"The folder lacks {', '.join(missing)}.")
    compute = load.compute_type
    if compute == "auto" and load.device == "cuda":
        compute = "float16"  # CTranslate2's own "auto" would take 8-bit integers there too
    return WhisperModel(
        load.path,
        device=load.device,
        compute_type=compute,
        cpu_threads=load.threads or 0,
        local_files_only=True,
    )


class Transcriber:
    """Args:
    send: every message but the last word.
    should_stop: asked before each segment.
    """

    def __init__(
        self, model: WhisperModel, *, send: Callable[[Message], None], should_stop: Callable[[], bool]
    ) -> None:
        self._model = model
        self._send = send
        self._should_stop = should_stop

    def write_down(self, asked: Transcribe, recording: Recording) -> str:
        """Send every `Segment`, and `Heard` along the way; return the language.

        Raises:
            Stopped: between two segments.
        """
        language = self._language(asked, recording)
        heard = 0.0

        def tell() -> None:
            if self._should_stop():
                raise Stopped(heard)
            self._send(Heard(job=asked.job, seconds=heard, duration=recording.seconds, language=language))

        tell()
        numbers = itertools.count()
        before = asked.prompt
        for start, samples in pieces(recording):
            offset = start / SAMPLE_RATE
            for found in self._piece(asked, samples, language, before):
                segment = _segment(asked.job, next(numbers), found, offset, recording.seconds)
                before = _carried(before, segment)
                self._send(segment)
                heard = max(heard, segment.end)
                tell()
            heard = offset + len(samples) / SAMPLE_RATE
            tell()
        return language

    def _piece(self, asked: Transcribe, samples: np.ndarray, language: str, before: str) -> Iterator[Any]:
        found, _ = self._model.transcribe(
            samples,
            language=language,
            task=asked.task,
            beam_size=BEAMS,
            temperature=TEMPERATURES if asked.temperature is None else (asked.temperature,),
            initial_prompt=before or None,
            hotwords=", ".join(asked.keywords) or None,
            word_timestamps=asked.words,
            vad_filter=asked.voice_activity is not None,
            vad_parameters=_vad(asked.voice_activity),
        )
        return iter(found)

    def _language(self, asked: Transcribe, recording: Recording) -> str:
        if asked.language is not None:
            return asked.language
        if not self._model.model.is_multilingual:
            return "en"
        found, _, ranked = self._model.detect_language(audio=recording.read(0, DETECT_S * SAMPLE_RATE))
        allowed = [code for code, _ in ranked if code in asked.languages]  # the most probable first
        return allowed[0] if allowed else str(found)


def pieces(recording: Recording) -> Iterator[tuple[int, np.ndarray]]:
    """The first sample and the samples of each piece."""
    start = 0
    while start < recording.samples:
        samples = recording.read(start, PIECE_S * SAMPLE_RATE)
        if recording.samples - start > PIECE_S * SAMPLE_RATE:
            samples = samples[: _quietest(samples)]
        yield start, samples
        start += len(samples)


def _quietest(samples: np.ndarray) -> int:
    """Where to cut: the middle of the quietest moment near the end."""
    step = int(QUIET_S * SAMPLE_RATE)
    tail = samples[-CUT_S * SAMPLE_RATE :]
    energy = np.square(tail[: len(tail) // step * step].reshape(-1, step)).mean(axis=1)
    return len(samples) - len(tail) + int(energy.argmin()) * step + step // 2


def _vad(asked: VoiceActivity | None) -> dict[str, Any] | None:
    if asked is None:
        return None
    return {
        "threshold": asked.threshold,
        "min_silence_duration_ms": asked.silence_ms,
        "speech_pad_ms": asked.padding_ms,
    }


def _carried(before: str, segment: Segment) -> str:
    """What the next piece is told; nothing of a text that went astray, or it would go on astray."""
    if segment.compression_ratio > REPEATS or segment.temperature > 0.5:
        return ""
    return (before + segment.text)[-CARRIED_CHARS:]


def _segment(job: str, number: int, found: Any, offset: float, duration: float) -> Segment:
    """With times in the whole recording, and within it: the model's windows reach beyond its end."""

    def at(seconds: float) -> float:
        return round(min(max(offset + float(seconds), 0.0), duration), 3)

    start = at(found.start)
    words = tuple(
        Word(
            start=at(word.start),
            end=max(at(word.start), at(word.end)),
            word=word.word,
            probability=_finite(word.probability),
        )
        for word in found.words or ()
    )
    return Segment(
        job=job,
        id=number,
        seek=int(found.seek + offset * 100),
        start=start,
        end=max(start, at(found.end)),
        text=found.text,
        tokens=tuple(found.tokens),
        temperature=_finite(found.temperature or 0.0),
        avg_logprob=_finite(found.avg_logprob),
        compression_ratio=_finite(found.compression_ratio),
        no_speech_prob=_finite(found.no_speech_prob),
        words=words,
    )


def _finite(value: float) -> float:
    """JSON has no infinity; a probability of nothing at all is the logarithm of a very small number."""
    return float(value) if math.isfinite(value) else -100.0
