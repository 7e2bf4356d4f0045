# SPDX-License-Identifier: Apache-2.0
"""What reads which kind of file, as blocks of samples. No header is believed further than the next block.

libsndfile (LGPL, in the package soundfile) reads WAV, FLAC, MP3 and Ogg. Everything else is read by the
`ffmpeg` program as a child process, where there is one; its libraries are never loaded into this process.
"""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from inglenook.wire.speech import SAMPLE_RATE, Container
from inglenook.workers.speech.errors import AudioNoReader, AudioTooLong, AudioUnreadable

BLOCK_SAMPLES: Final = 65_536
MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS: Final = 64
SNDFILE: Final = {
    "wav": ("WAV", "WAVEX", "RF64"),
    "flac": ("FLAC",),
    "mp3": ("MP3",),
    "ogg": ("OGG", "FLAC"),  # there is FLAC in Ogg too
}
DEMUXERS: Final = {"webm": "matroska", "mp4": "mov", "wav": "wav", "flac": "flac", "mp3": "mp3", "ogg": "ogg"}
"""ffmpeg's words. Naming one keeps it from taking a file for a playlist that names other files."""
NAMES: Final = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "Ogg", "webm": "WebM", "mp4": "MP4"}

Blocks = tuple[int, Iterator[np.ndarray]]
"""Samples a second, and blocks of float32 (n,): one channel."""


def sndfile_blocks(path: Path, container: Container) -> Blocks:
    """Raises `AudioUnreadable`."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.SoundFileError as error:
        raise _unreadable(container, error) from error
    if file.format not in SNDFILE[container]:
        file.close()
        raise AudioUnreadable(f"The file begins like {NAMES[container]} but is {file.format}.")
    if not (MIN_RATE <= file.samplerate <= MAX_RATE and 1 <= file.channels <= MAX_CHANNELS):
        rate, channels = file.samplerate, file.channels
        file.close()
        raise AudioUnreadable(f"The recording has {channels} channels at {rate} samples a second.")
    return file.samplerate, _read_blocks(file, container)


def _read_blocks(file: soundfile.SoundFile, container: Container) -> Iterator[np.ndarray]:
    with file:
        announced, came = file.frames, 0
        try:
            while len(block := file.read(BLOCK_SAMPLES // file.channels, dtype="float32", always_2d=True)):
                came += len(block)
                yield np.nan_to_num(block.mean(axis=1), posinf=0.0, neginf=0.0)
        except soundfile.SoundFileError as error:
            raise _unreadable(container, error) from error
    if container == "flac" and came < announced < 2**62:
        there, whole = came / file.samplerate, announced / file.samplerate
        raise AudioUnreadable(f"The recording is cut short: {there:.1f} s of {whole:.1f} s are there.")


def _unreadable(container: Container, error: Exception) -> AudioUnreadable:
    why = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return AudioUnreadable(
        f"The {NAMES[container]} file cannot be read: {why}.", hint="it may be cut short or broken"
    )


def ffmpeg_blocks(
    path: Path, container: Container, *, program: str | None, max_seconds: float, timeout_s: float
) -> Blocks:
    """Raises `AudioNoReader` where there is no such program; the blocks raise `AudioUnreadable`."""
    if program is None:
        raise AudioNoReader(
            f"A {NAMES[container]} file of this kind is read by the program ffmpeg, which was not found.",
            hint="install ffmpeg, or send WAV, FLAC, MP3, Ogg or WebM with Opus",
        )
    command = [
        program, "-nostdin", "-hide_banner", "-v", "error", "-protocol_whitelist", "file,pipe",
        "-f", DEMUXERS[container], "-i", f"file:{path}", "-map", "0:a:0", "-vn", "-sn", "-dn",
        "-t", str(max_seconds + 1), "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "pipe:1",
    ]  # fmt: skip
    return SAMPLE_RATE, _program_blocks(command, container, timeout_s)


def _program_blocks(command: list[str], container: Container, timeout_s: float) -> Iterator[np.ndarray]:
    with tempfile.TemporaryFile() as said, _running(command, said.fileno(), timeout_s) as (process, late):
        assert process.stdout is not None
        while data := process.stdout.read(BLOCK_SAMPLES * 4):
            block = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
            yield np.nan_to_num(block, posinf=0.0, neginf=0.0)
        status = process.wait()
        if late.is_set():
            raise AudioTooLong(
                f"Reading the file took more than {timeout_s:.0f} s.", hint="send a shorter recording"
            )
        if status != 0:
            said.seek(0)
            raise AudioUnreadable(
                f"The {NAMES[container]} file cannot be read: {_last_line(said.read(4096), command)}.",
                hint="it may be cut short or broken, or hold no sound",
            )


@contextmanager
def _running(
    command: list[str], stderr: int, timeout_s: float
) -> "Iterator[tuple[subprocess.Popen[bytes], threading.Event]]":
    """The process, and what is set when it was ended for taking too long."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield process, late
    finally:
        timer.cancel()
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _last_line(said: bytes, command: list[str]) -> str:
    """What it said last, without the path of our own file."""
    path = command[command.index("-i") + 1]
    lines = said.decode("utf-8", "replace").replace(path, "the file").strip().splitlines()
    return lines[-1].strip().rstrip(".")[:200] if lines else "ffmpeg did not say why"
