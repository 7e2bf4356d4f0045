# SPDX-License-Identifier: Apache-2.0
"""What the server and the speech worker say to each other.

    server                         worker
      │  ◄──────── Hello ────────────│   after connecting
      │ ──────── LoadSpeechModel ──► │
      │  ◄──────── Loaded / LoadFailed
      │ ───────── Transcribe ──────► │
      │  ◄──────── Heard …           │   how much of the recording is done; the first names the language
      │  ◄──────── Segment …         │   as they are written down
      │ ───────── Cancel ──────────► │   takes effect before the next segment
      │  ◄──────── Transcribed / TranscribeFailed / TranscribeCancelled   exactly one, last
      │ ───────── Shutdown ────────► │

One `Transcribe` at a time: a second one before the last word of the first is a protocol error.
Times are seconds from the beginning of the recording.
"""

from typing import Final, Literal

import msgspec

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, OutOfMemory, Shutdown

Container = Literal["wav", "flac", "mp3", "ogg", "webm", "mp4"]
Task = Literal["transcribe", "translate"]
ComputeType = Literal["auto", "float32", "float16", "bfloat16", "int8", "int8_float16", "int8_float32"]

SAMPLE_RATE: Final = 16_000
"""Samples a second that every speech model hears; the worker converts to it."""


class LoadSpeechModel(Message, frozen=True, kw_only=True, tag="load_speech_model"):
    """Load one model. Sent once.

    Attributes:
        path: a folder of CTranslate2: `model.bin`, `config.json`, `tokenizer.json`.
        device: `cpu` or `cuda`; the child sees only its own.
        compute_type: how weights are computed with; `auto` takes the fastest that the device has.
        threads: CPU threads; None leaves it to the library.
        ffmpeg: the program that reads what our own readers do not; None where there is none.
        spool: an existing folder, private to this child, where recordings are put.
    """

    path: str
    device: Literal["cpu", "cuda"]
    compute_type: ComputeType = "auto"
    threads: int | None = None
    ffmpeg: str | None = None
    spool: str


class VoiceActivity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How speech is told from silence, which is then left out.

    Attributes:
        threshold: of the probability of speech, in (0, 1).
        silence_ms: a pause of this length ends a stretch of speech.
        padding_ms: kept before and after each stretch.
    """

    threshold: float = 0.5
    silence_ms: int = 2000
    padding_ms: int = 400


class Transcribe(Message, frozen=True, kw_only=True, tag="transcribe"):
    """Write down one recording.

    Attributes:
        job: the server's id for it, echoed in every answer.
        file: a name in the spool folder. container: what its first bytes say that it is.
        language: a code; None detects it, among `languages` where some are given.
        prompt: text that comes before the recording; "" for none.
        keywords: words that are likely in it.
        temperature: of sampling, in [0, 1]; None begins at 0 and rises where the result looks wrong.
        words: also the time of each word.
        voice_activity: leave silence out; None hears everything.
        max_seconds: a longer recording is refused. decode_timeout_s: so long may reading the file take.
    """

    job: str
    file: str
    container: Container
    task: Task = "transcribe"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    words: bool = False
    voice_activity: VoiceActivity | None = None
    max_seconds: float
    decode_timeout_s: float


class Heard(Message, frozen=True, kw_only=True, tag="heard"):
    """So many seconds of the recording are done. `language`: a code, given or detected."""

    job: str
    seconds: float
    duration: float
    language: str


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`word` with its leading space, as the model wrote it; `probability` in [0, 1]."""

    start: float
    end: float
    word: str
    probability: float


class Segment(Message, frozen=True, kw_only=True, tag="segment"):
    """What was said in a stretch of the recording.

    Attributes:
        id: from 0. seek: the hundredth of a second at which the window that it was found in begins.
        text: with its leading space. tokens: of the model's vocabulary.
        temperature: at which it was found.
        avg_logprob: mean logarithm of the tokens' probabilities, at most 0.
        compression_ratio: of the text; above 2.4 it repeats itself.
        no_speech_prob: that nothing was said at all.
        words: empty unless they were asked for.
    """

    job: str
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()


class Transcribed(Message, frozen=True, kw_only=True, tag="transcribed"):
    """All of it is written down. `duration` of the recording, `seconds` that the work took."""

    job: str
    duration: float
    language: str
    seconds: float


class TranscribeFailed(Message, frozen=True, kw_only=True, tag="transcribe_failed"):
    """It failed; the worker is still alive and ready.

    `code` is stable: `audio.unreadable`, `audio.no_reader`, `audio.too_long`, `audio.empty` (the recording's
    fault), `transcribe.out_of_memory`, `transcribe.failed`.
    """

    job: str
    code: str
    message: str
    hint: str | None = None
    out_of_memory: OutOfMemory | None = None


class TranscribeCancelled(Message, frozen=True, kw_only=True, tag="transcribe_cancelled"):
    """It stopped on request, `heard` seconds into the recording; -1 where the worker could not tell."""

    job: str
    heard: float


ToSpeechWorker = LoadSpeechModel | Transcribe | Cancel | Shutdown
FromSpeechWorker = (
    Hello | Loaded | LoadFailed | Heard | Segment | Transcribed | TranscribeFailed | TranscribeCancelled
)
LastWord = Transcribed | TranscribeFailed | TranscribeCancelled

__all__ = [
    "SAMPLE_RATE",
    "Cancel",
    "ComputeType",
    "Container",
    "FromSpeechWorker",
    "Heard",
    "Hello",
    "LastWord",
    "LoadFailed",
    "LoadSpeechModel",
    "Loaded",
    "OutOfMemory",
    "Segment",
    "Shutdown",
    "Task",
    "ToSpeechWorker",
    "Transcribe",
    "TranscribeCancelled",
    "TranscribeFailed",
    "Transcribed",
    "VoiceActivity",
    "Word",
]
