# SPDX-License-Identifier: Apache-2.0
"""A recording as the model hears it: one channel, 16,000 samples a second, 16 bits, on disk.

Memory does not grow with its length: samples are written as they are read, and read again piece by piece.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from inglenook.base.clock import Clock
from inglenook.wire.speech import SAMPLE_RATE, Container
from inglenook.workers.speech.errors import AudioEmpty, AudioTooLong, AudioUnreadable, Stopped
from inglenook.workers.speech.readers import SNDFILE, Blocks, ffmpeg_blocks, sndfile_blocks
from inglenook.workers.speech.resample import Resampler
from inglenook.workers.speech.webm import opus_to_ogg

MIN_SECONDS: Final = 0.1
"""OpenAI's own lower bound; there is no word that is shorter."""

MAX_CHUNKS: Final = 1000
"""So many parts of a WAV file are looked at to find the samples."""


class Recording:
    """Samples in a file. Use `read_recording` to make one."""

    def __init__(self, path: Path, samples: int) -> None:
        self._path = path
        self.samples = samples

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def read(self, start: int, count: int) -> np.ndarray:
        """float32 (at most `count`,) in [-1, 1)."""
        found = np.fromfile(self._path, dtype="<i2", count=count, offset=start * 2)
        return found.astype(np.float32) / 32768.0


def read_recording(
    path: Path,
    container: Container,
    *,
    into: Path,
    ffmpeg: str | None,
    max_seconds: float,
    timeout_s: float,
    should_stop: Callable[[], bool],
    clock: Clock,
) -> Recording:
    """Read `path` into the new file `into`.

    Raises:
        AudioUnreadable, AudioNoReader, AudioTooLong, AudioEmpty: as their names say.
        Stopped: `should_stop` said so.
    """
    deadline = clock.monotonic() + timeout_s
    rate, blocks = _blocks(path, container, ffmpeg=ffmpeg, max_seconds=max_seconds, timeout_s=timeout_s)
    resampler = Resampler(rate)
    written = 0
    with into.open("xb") as file:

        def write(samples: np.ndarray) -> None:
            nonlocal written
            file.write((np.clip(samples, -1.0, 32767 / 32768) * 32768.0).round().astype("<i2").tobytes())
            written += len(samples)
            if written > max_seconds * SAMPLE_RATE:
                raise AudioTooLong(
                    f"The recording is longer than {max_seconds:.0f} s.",
                    hint="send it in parts; speech.max_duration_s sets the limit",
                )

        for block in blocks:
            write(resampler.push(block))
            if should_stop():
                raise Stopped(0.0)
            if clock.monotonic() > deadline:
                raise AudioTooLong(
                    f"Reading the file took more than {timeout_s:.0f} s.", hint="send a shorter recording"
                )
        write(resampler.flush())
    if written < MIN_SECONDS * SAMPLE_RATE:
        raise AudioEmpty(
            f"The recording is {written / SAMPLE_RATE:.2f} s long; the shortest is {MIN_SECONDS} s."
        )
    return Recording(into, written)


def _blocks(
    path: Path, container: Container, *, ffmpeg: str | None, max_seconds: float, timeout_s: float
) -> Blocks:
    if container in SNDFILE:
        _whole(path, container)
        return sndfile_blocks(path, container)
    if container == "webm":
        ogg = path.with_suffix(".ogg")
        if opus_to_ogg(path, ogg):
            return sndfile_blocks(ogg, "ogg")
    return ffmpeg_blocks(path, container, program=ffmpeg, max_seconds=max_seconds, timeout_s=timeout_s)


def _whole(path: Path, container: Container) -> None:
    """libsndfile reads as much of a WAV file as there is and does not tell. Raises `AudioUnreadable`."""
    if container != "wav":
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 12
        for _ in range(MAX_CHUNKS):
            if at + 8 > size:
                return
            file.seek(at)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            if name == b"data":
                # Programs that write into a pipe put 0 or the largest number there.
                if length < 0x7FFF_0000 and at + 8 + length > size + 1:
                    there, announced = size - at - 8, length
                    raise AudioUnreadable(
                        f"The recording is cut short: {there} bytes of {announced} are there.",
                        hint="send the whole file",
                    )
                return
            at += 8 + length + length % 2
