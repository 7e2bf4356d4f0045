# SPDX-License-Identifier: Apache-2.0
"""A transcript as text, as subtitles, and as OpenAI's JSON. Pure."""

import json
import math
from collections.abc import Collection
from typing import Any

from inglenook.speech.languages import name_of
from inglenook.speech.model import TextFormat, Transcript
from inglenook.wire.speech import Segment


def written(transcript: Transcript, form: TextFormat, granularities: Collection[str] = ("segment",)) -> str:
    """Args:
    granularities: of `verbose_json`: `segment`, `word` or both.
    """
    match form:
        case "text":
            return f"{transcript.text}\n"
        case "srt":
            return srt(transcript)
        case "vtt":
            return vtt(transcript)
        case "json":
            return json.dumps(brief_json(transcript), ensure_ascii=False)
        case "verbose_json":
            return json.dumps(verbose_json(transcript, granularities), ensure_ascii=False)


def srt(transcript: Transcript) -> str:
    """SubRip. It knows no escapes; an empty line would end a subtitle, so there is none in it."""
    return "".join(
        f"{number}\n{_srt_time(segment.start)} --> {_srt_time(segment.end)}\n{_one_line(segment.text)}\n\n"
        for number, segment in enumerate(transcript.segments, 1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT. `&`, `<` and `>` are escaped: the last also where `-->` would look like a time."""
    cues = (
        f"{_time(segment.start)} --> {_time(segment.end)}\n{_escaped(_one_line(segment.text))}\n\n"
        for segment in transcript.segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float) -> str:
    """`HH:MM:SS.mmm`; hours have as many digits as they need."""
    whole, ms = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{ms:03d}"


def _srt_time(seconds: float) -> str:
    return _time(seconds).replace(".", ",")


def brief_json(transcript: Transcript) -> dict[str, Any]:
    """`response_format: json`."""
    return {
        "text": transcript.text,
        "languages": [{"code": transcript.language}],
        "usage": usage(transcript),
    }


def verbose_json(transcript: Transcript, granularities: Collection[str]) -> dict[str, Any]:
    """Args:
    granularities: `segment`, `word` or both.
    """
    translated = transcript.task == "translate"
    answer: dict[str, Any] = {
        "task": transcript.task,
        "language": "english" if translated else name_of(transcript.language),
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
    }
    if "word" in granularities:
        answer["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end, "probability": word.probability}
            for word in transcript.words
        ]
    if "segment" in granularities:
        answer["segments"] = [_segment(segment) for segment in transcript.segments]
    return answer | {"usage": usage(transcript)}


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }


def usage(transcript: Transcript) -> dict[str, Any]:
    """As OpenAI bills its Whisper: seconds, rounded up. Here nothing is billed."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}
