# SPDX-License-Identifier: Apache-2.0
"""A recording, what is asked about it, and what was said in it, as values. Pure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from inglenook.wire.speech import Container, Segment, Task, VoiceActivity, Word

MAX_PROMPT_CHARS: Final = 4096
"""A model reads the last 223 tokens of it, which are fewer characters in every language."""
MAX_KEYWORDS: Final = 100
MAX_KEYWORD_CHARS: Final = 200

TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
FORMATS: Final[tuple[TextFormat, ...]] = ("json", "text", "srt", "verbose_json", "vtt")


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """Attributes:
    max_upload_bytes: of a recording's file. max_duration_s: of the recording.
    """

    max_upload_bytes: int
    max_duration_s: float


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What is asked; see `wire.speech.Transcribe`.

    Attributes:
        language: a code or a name in English; None detects it.
        languages: codes among which it is detected; empty for all.
    """

    task: Task = "transcribe"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    temperature: float | None = None
    words: bool = False
    voice_activity: VoiceActivity | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording that was received. `path` is ours, whatever the client called it."""

    path: Path
    container: Container


@dataclass(frozen=True, slots=True)
class Transcript:
    """Attributes:
    language: the code of what was spoken.
    duration: seconds of the recording. seconds: that the work took.
    """

    task: Task
    language: str
    duration: float
    seconds: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)
