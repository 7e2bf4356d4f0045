# SPDX-License-Identifier: Apache-2.0
"""Opus out of WebM: against the same recording in Ogg, and against files that mean harm."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.speech_files import FLAC

from inglenook.workers.speech.errors import AudioUnreadable
from inglenook.workers.speech.webm import checksum, opus_to_ogg, samples

WEBM = FLAC.with_suffix(".webm").read_bytes()


def converted(tmp_path: Path, data: bytes) -> Path | None:
    source, into = tmp_path / "a.webm", tmp_path / "a.ogg"
    into.unlink(missing_ok=True)
    source.write_bytes(data)
    return into if opus_to_ogg(source, into) else None


def test_the_sound_is_that_of_the_same_recording(tmp_path: Path) -> None:
    made = converted(tmp_path, WEBM)
    assert made is not None
    ours, rate = soundfile.read(made)
    theirs, other_rate = soundfile.read(FLAC.with_suffix(".ogg"))
    assert rate == other_rate
    size = min(len(ours), len(theirs))
    assert size > 4.4 * rate
    assert np.corrcoef(ours[:size], theirs[:size])[0, 1] > 0.95


def test_the_checksum_is_oggs() -> None:
    page = bytearray(FLAC.with_suffix(".ogg").read_bytes()[: 27 + 1 + 19])
    written = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert checksum(bytes(page)) == written


@pytest.mark.parametrize(
    ("packet", "count"),
    [
        (b"\x08", 960),  # SILK, 20 ms, one frame
        (b"\x78\x00", 960),  # hybrid, 20 ms
        (b"\xfc", 960),  # CELT, 20 ms
        (b"\xe0", 120),  # CELT, 2.5 ms
        (b"\xfd", 1920),  # two frames
        (b"\xff\x03", 2880),  # three, told in the second byte
        (b"\xff", 0),
    ],
)
def test_a_packet_tells_how_long_it_is(packet: bytes, count: int) -> None:
    assert samples(packet) == count


def test_another_codec_is_left_to_another_reader(tmp_path: Path) -> None:
    assert converted(tmp_path, WEBM.replace(b"A_OPUS", b"A_FLAC")) is None
    assert not (tmp_path / "a.ogg").exists()


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    kind = WEBM.index(b"\x83\x81\x02")
    silent = WEBM[:kind] + b"\x83\x81\x01" + WEBM[kind + 3 :]
    with pytest.raises(AudioUnreadable, match="no sound"):
        converted(tmp_path, silent)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(WEBM)), at=st.integers(0, 600), junk=st.binary(max_size=12))
def test_no_bytes_break_it(tmp_path: Path, cut: int, at: int, junk: bytes) -> None:
    damaged = (WEBM[:at] + junk + WEBM[at + len(junk) :])[:cut]
    try:
        made = converted(tmp_path, damaged)
    except AudioUnreadable:
        return
    assert made is None or made.stat().st_size <= 2 * len(WEBM) + 200


def test_a_length_that_is_not_there_is_not_believed(tmp_path: Path) -> None:
    tracks = WEBM.index(b"\x16\x54\xae\x6b")
    huge = WEBM[: tracks + 4] + b"\x01\x00\x00\xff\xff\xff\xff\xff" + WEBM[tracks + 5 :]
    with pytest.raises(AudioUnreadable):
        converted(tmp_path, huge)
