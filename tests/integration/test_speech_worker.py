# SPDX-License-Identifier: Apache-2.0
"""The real speech worker with the starter, in every way that a recording may come, or not come."""

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.speech_files import FLAC, SECONDS, heard

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import ModelId
from inglenook.engines.whisper import SpeechChild, WhisperEngine, find_ffmpeg
from inglenook.runtime.contracts import ChildFailed, LoadPlan
from inglenook.testing import parts
from inglenook.testing.devices import fake_device
from inglenook.wire.message import Message
from inglenook.wire.speech import (
    Container,
    Heard,
    LastWord,
    Segment,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
    VoiceActivity,
)

pytestmark = pytest.mark.slow

CPU = fake_device("cpu", 10**9)


@dataclass
class Bench:
    child: SpeechChild
    numbers: int = 0
    messages: list[Message] = field(default_factory=list)

    async def transcribe(
        self, data: bytes, container: Container, *, stop: StopToken | None = None, **fields: Any
    ) -> LastWord:
        self.numbers += 1
        self.messages.clear()
        name = f"given-{self.numbers}.{container}"
        (self.child.spool / name).write_bytes(data)
        asked = {"job": f"job-{self.numbers}", "file": name, "container": container, "temperature": 0.0}
        asked |= {"max_seconds": 600.0, "decode_timeout_s": 60.0} | fields
        last = await self.child.transcribe(
            Transcribe(**asked), stop=StopToken() if stop is None else stop, tell=self._hear
        )
        (self.child.spool / name).unlink(missing_ok=True)
        left = [path.name for path in self.child.spool.iterdir() if path.name != "wire.sock"]
        assert left == [], "the worker has left files behind"
        return last

    async def _hear(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def segments(self) -> list[Segment]:
        return [message for message in self.messages if isinstance(message, Segment)]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


@asynccontextmanager
async def started(
    tmp_path: Path, model: Path, *, ffmpeg: bool = False, **options: Any
) -> AsyncIterator[Bench]:
    engine = WhisperEngine(
        spool_root=tmp_path / "spool",
        start_timeout_s=60,
        cancel_grace_s=20,
        stop_grace_s=2,
        cpu_threads=1,
        ffmpeg=find_ffmpeg if ffmpeg else lambda: None,
    )
    plan = LoadPlan(ModelId("m"), engine.name, {"cpu": 1}, options={"path": str(model), **options})
    child = await engine.start(plan, CPU)
    try:
        await child.ready()
        yield Bench(child)
    finally:
        await child.stop(2)
        await child.discard()
    assert list((tmp_path / "spool").iterdir()) == []


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 240))


def wav(samples: np.ndarray, rate: int) -> bytes:
    """float (n,) or (n, channels) as 16 bit WAV."""
    data = (samples * 32767).astype("<i2").tobytes()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def spoken() -> np.ndarray:
    samples, rate = soundfile.read(FLAC, dtype="float32")
    assert rate == 16_000
    return samples


def failed(last: LastWord, code: str) -> str:
    assert isinstance(last, TranscribeFailed), last
    assert last.code == code, last.message
    return last.message


def test_what_was_said_is_written_down_from_every_format(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            for container in ("flac", "ogg", "mp3", "webm"):
                data = FLAC.with_suffix(f".{container}").read_bytes()
                last = await bench.transcribe(data, container)
                assert isinstance(last, Transcribed), (container, last)
                assert heard(bench.text), (container, bench.text)
                assert abs(last.duration - SECONDS) < 0.1
                assert last.language == "en"
                assert {type(message) for message in bench.messages} == {Heard, Segment}
                assert bench.messages[-1].seconds == pytest.approx(last.duration)  # type: ignore[attr-defined]
            stereo = np.repeat(np.stack([spoken(), np.zeros_like(spoken())], axis=1), 2, axis=0)
            assert isinstance(await bench.transcribe(wav(stereo, 32_000), "wav"), Transcribed)
            assert heard(bench.text), bench.text

    run(main())


def test_words_have_times_within_their_segment(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            data = FLAC.read_bytes()
            assert isinstance(
                await bench.transcribe(data, "flac", words=True, keywords=("river", "lunch")), Transcribed
            )
            words = [word for segment in bench.segments for word in segment.words]
            assert len(words) > 8
            assert "".join(word.word for word in words) == bench.text
            times = [time for word in words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert 0 <= times[0] < times[-1] <= SECONDS + 0.1
            assert all(0 <= word.probability <= 1 for word in words)

    run(main())


def test_silence_is_left_out_when_that_is_asked_for(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            nothing = wav(np.zeros(16_000 * 3), 16_000)
            last = await bench.transcribe(nothing, "wav", voice_activity=VoiceActivity())
            assert isinstance(last, Transcribed)
            assert bench.segments == []
            late = wav(np.concatenate([np.zeros(16_000 * 4), spoken()]), 16_000)
            assert isinstance(
                await bench.transcribe(late, "wav", voice_activity=VoiceActivity(silence_ms=500)), Transcribed
            )
            assert heard(bench.text)
            assert bench.segments[0].start > 3, "times count from the beginning of the recording"

    run(main())


def test_a_recording_longer_than_a_piece_is_heard_to_its_end(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            samples = np.concatenate([np.zeros(16_000 * 301, dtype=np.float32), spoken()])
            last = await bench.transcribe(wav(samples, 16_000), "wav", voice_activity=VoiceActivity())
            assert isinstance(last, Transcribed)
            assert heard(bench.text), bench.text
            assert bench.segments[0].start > 300
            assert bench.segments[-1].end <= last.duration
            assert bench.segments[0].seek >= 30_000 - 1500

    run(main())


def test_it_stops_before_the_next_segment_and_goes_on_living(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            stop = StopToken()
            samples = np.tile(spoken(), 30)
            asked = asyncio.create_task(bench.transcribe(wav(samples, 16_000), "wav", stop=stop))
            while not bench.segments:
                assert not asked.done()
                await asyncio.sleep(0.01)
            stop.stop(StopReason.CLIENT_GONE)
            last = await asked
            assert isinstance(last, TranscribeCancelled)
            assert 0 <= last.heard < 100
            assert bench.child.alive
            assert isinstance(await bench.transcribe(FLAC.read_bytes(), "flac"), Transcribed)

    run(main())


def test_what_is_no_recording_is_refused_in_words_and_the_worker_lives(
    tmp_path: Path, speech_model: Path
) -> None:
    flac, webm = FLAC.read_bytes(), FLAC.with_suffix(".webm").read_bytes()
    cases: list[tuple[bytes, Container, str, str]] = [
        (b"fLaC" + b"\0" * 100, "flac", "audio.unreadable", "FLAC"),
        (flac[: len(flac) // 2], "flac", "audio.unreadable", "FLAC"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "wav", "audio.unreadable", "WAV"),
        (wav(np.zeros(16_000), 16_000)[:1000], "wav", "audio.unreadable", "cut short"),
        (wav(np.zeros(100), 16_000), "wav", "audio.empty", "0.01 s"),
        (b"\x1a\x45\xdf\xa3" + os.urandom(300), "webm", "audio.unreadable", "WebM"),
        (webm[:200], "webm", "audio.unreadable", "WebM"),
        (b"ID3" + b"\0" * 500, "mp3", "audio.unreadable", "MP3"),
        (flac, "mp3", "audio.unreadable", "MP3"),
        (FLAC.with_suffix(".m4a").read_bytes(), "mp4", "audio.no_reader", "ffmpeg"),
    ]

    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            for data, container, code, words in cases:
                message = failed(await bench.transcribe(data, container), code)
                assert words in message, message
                assert str(tmp_path) not in message, "a path of this machine"
            assert isinstance(await bench.transcribe(flac, "flac"), Transcribed)
            assert bench.child.alive

    run(main())


def test_a_recording_is_bounded_by_its_length_and_not_by_its_file(tmp_path: Path, speech_model: Path) -> None:
    """Three hours of silence are a small FLAC file."""
    bomb = tmp_path / "bomb.flac"
    with soundfile.SoundFile(bomb, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(180):
            file.write(np.zeros(8_000 * 60, dtype="int16"))
    assert bomb.stat().st_size < 2_000_000

    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            last = await bench.transcribe(bomb.read_bytes(), "flac", max_seconds=60.0)
            assert "longer than 60 s" in failed(last, "audio.too_long")

    run(main())


def test_ffmpeg_reads_what_nothing_else_does(tmp_path: Path, speech_model: Path) -> None:
    parts.require(find_ffmpeg() is not None, "ffmpeg is not installed")

    async def main() -> None:
        async with started(tmp_path, speech_model, ffmpeg=True) as bench:
            data = FLAC.with_suffix(".m4a").read_bytes()
            assert isinstance(await bench.transcribe(data, "mp4"), Transcribed)
            assert heard(bench.text), bench.text
            broken = await bench.transcribe(data[: len(data) // 2], "mp4")
            assert "MP4" in failed(broken, "audio.unreadable")
            assert "too_long" in (await bench.transcribe(data, "mp4", max_seconds=1.0)).code  # type: ignore[union-attr]

    run(main())


def test_a_crash_at_work_is_told_with_its_cause(tmp_path: Path, speech_model: Path) -> None:
    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            asked = asyncio.create_task(bench.transcribe(wav(np.tile(spoken(), 20), 16_000), "wav"))
            while not bench.messages:
                await asyncio.sleep(0.01)
            (pid,) = bench.child.pids
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ChildFailed) as died:
                await asked
            assert "while it wrote down a recording" in died.value.message
            assert not bench.child.alive

    run(main())


def test_a_folder_without_a_tokenizer_is_refused_before_anything_looks_for_one(
    tmp_path: Path, speech_model: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        (folder / name).symlink_to(speech_model / name)

    async def main() -> None:
        with pytest.raises(ChildFailed, match=r"lacks tokenizer\.json"):
            async with started(tmp_path, folder):
                pass

    run(main())


def test_no_part_of_ffmpeg_is_loaded_into_the_worker(tmp_path: Path, speech_model: Path) -> None:
    """PyAV's wheels hold x264 and x265, which are under the GPL."""

    async def main() -> None:
        async with started(tmp_path, speech_model) as bench:
            assert isinstance(await bench.transcribe(FLAC.read_bytes(), "flac"), Transcribed)
            (pid,) = bench.child.pids
            mapped = Path(f"/proc/{pid}/maps")
            parts.require(mapped.exists(), "this system does not tell which libraries a process has loaded")
            loaded = mapped.read_text()
            assert "libctranslate2" in loaded
            for library in ("libavcodec", "libx264", "libx265", "/av/"):
                assert library not in loaded

    run(main())
