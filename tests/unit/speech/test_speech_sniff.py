# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.speech_files import FLAC

from inglenook.speech.errors import BadRecording
from inglenook.speech.sniff import HEAD_BYTES, container_of

TAGGED = b"ID3\x04\0\0\0\0\0\x23"
RIFF = b"RIFF\x24\0\0\0"


@pytest.mark.parametrize(
    ("suffix", "container"),
    [("flac", "flac"), ("ogg", "ogg"), ("mp3", "mp3"), ("webm", "webm"), ("m4a", "mp4")],
)
def test_a_recording_is_known_by_its_first_bytes(suffix: str, container: str) -> None:
    assert container_of(FLAC.with_suffix(f".{suffix}").read_bytes()[:HEAD_BYTES]) == container


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (RIFF + b"WAVEfmt ", "wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (TAGGED, "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xf3\x48\xc4", "mp3"),
    ],
)
def test_other_ways_to_begin(head: bytes, container: str) -> None:
    assert container_of(head) == container


@pytest.mark.parametrize(
    "head", [b"\xff\xff\xff\xff", b"\xff\xfe\x00\x00", b"\xff\xf1\x50\x80", RIFF + b"AVI "]
)
def test_what_only_looks_like_one_is_none(head: bytes) -> None:
    with pytest.raises(BadRecording):
        container_of(head)


def test_nothing_is_empty() -> None:
    with pytest.raises(BadRecording) as empty:
        container_of(b"")
    assert empty.value.code == "audio.empty"


@given(st.binary(max_size=200))
def test_no_bytes_break_it(head: bytes) -> None:
    refusal: BadRecording | None = None
    try:
        container_of(head)
    except BadRecording as error:
        refusal = error
    assert refusal is None or (refusal.field == "file" and len(refusal.message) < 200)
