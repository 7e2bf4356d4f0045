# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.speech.formats import srt, verbose_json, vtt, written
from inglenook.speech.model import FORMATS, Transcript
from inglenook.wire.speech import Segment

SILENT = Transcript("transcribe", "en", 3.0, 0.1, ())


def transcript(*parts: tuple[float, float, str]) -> Transcript:
    segments = tuple(
        Segment(
            job="j",
            id=number,
            seek=0,
            start=start,
            end=end,
            text=text,
            tokens=(),
            temperature=0.0,
            avg_logprob=0.0,
            compression_ratio=1.0,
            no_speech_prob=0.0,
        )
        for number, (start, end, text) in enumerate(parts)
    )
    return Transcript("transcribe", "en", 10.0, 1.0, segments)


@pytest.mark.parametrize(
    ("seconds", "srt_time", "vtt_time"),
    [
        (0.0, "00:00:00,000", "00:00:00.000"),
        (59.9996, "00:01:00,000", "00:01:00.000"),
        (0.0004, "00:00:00,000", "00:00:00.000"),
        (3599.999, "00:59:59,999", "00:59:59.999"),
        (86_400.5, "24:00:00,500", "24:00:00.500"),
        (360_000.0, "100:00:00,000", "100:00:00.000"),
    ],
)
def test_times_carry_over(seconds: float, srt_time: str, vtt_time: str) -> None:
    one = transcript((seconds, seconds, "x"))
    assert srt(one) == f"1\n{srt_time} --> {srt_time}\nx\n\n"
    assert vtt(one) == f"WEBVTT\n\n{vtt_time} --> {vtt_time}\nx\n\n"


@given(st.text(min_size=1))
def test_no_text_ends_its_subtitle_or_begins_another(text: str) -> None:
    one = transcript((0.0, 1.0, text))
    assert len(srt(one).rstrip("\n").split("\n")) in (2, 3)
    cue = vtt(one).split("\n", 3)[3]
    assert "-->" not in cue
    assert "<" not in cue


def test_text_is_the_segments_in_a_row() -> None:
    assert transcript((0, 1, " Good"), (1, 2, " morning.")).text == "Good morning."


def test_when_nothing_was_said_every_format_is_whole() -> None:
    assert [written(SILENT, form) for form in ("text", "srt", "vtt")] == ["\n", "", "WEBVTT\n\n"]
    assert json.loads(written(SILENT, "json"))["text"] == ""
    assert json.loads(written(SILENT, "verbose_json"))["segments"] == []
    assert len(FORMATS) == 5


def test_a_language_that_has_no_name_is_told_by_its_code() -> None:
    odd = Transcript("transcribe", "xx", 1.0, 1.0, ())
    assert verbose_json(odd, ("segment",))["language"] == "xx"
