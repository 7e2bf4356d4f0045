# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one model, then one Transcribe after another until told to end."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Loaded, LoadFailed, Message
from inglenook.wire.speech import (
    LoadSpeechModel,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
)
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.speech.errors import AudioUnreadable, Stopped
from inglenook.workers.speech.memory import evidence_of
from inglenook.workers.speech.recording import Recording, read_recording
from inglenook.workers.speech.transcriber import Transcriber
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Worker:
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model onto a device.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[LoadSpeechModel, Transcribe],
        load: Callable[[LoadSpeechModel], Any],
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._load = load
        self._clock = clock

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, LoadSpeechModel):
                return EXIT_DONE  # a Shutdown before anything was loaded
            model = self._loaded(request)
            if model is None:
                return EXIT_LOAD_FAILED
            while isinstance(work := self._inbox.next(), Transcribe):
                last_word = self._transcribe(model, request, work)
                self._inbox.finished()
                self._channel.send(last_word)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _loaded(self, request: LoadSpeechModel) -> Any | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        try:
            model = self._load(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(_load_failure(error, request.device))
            return None
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        weights = (Path(request.path) / "model.bin").stat().st_size
        log.info("loaded in %.1f s on %s, computing in %s", seconds, request.device, model.model.compute_type)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=weights))
        return model

    def _transcribe(self, model: Any, load: LoadSpeechModel, work: Transcribe) -> Message:
        began = self._clock.monotonic()
        spool = Path(load.spool)
        into = spool / f"{work.job}.pcm"
        try:
            recording = self._read(spool, work, load.ffmpeg, into)
            transcriber = Transcriber(model, send=self._channel.send, should_stop=self._inbox.should_stop)
            language = transcriber.write_down(work, recording)
        except PeerGone:
            raise
        except Stopped as stopped:
            return TranscribeCancelled(job=work.job, heard=stopped.heard)
        except InglenookError as error:
            return TranscribeFailed(job=work.job, code=error.code, message=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            return _failure(work.job, error)
        finally:
            for left in (into, spool / f"{Path(work.file).stem}.ogg"):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
        seconds = self._clock.monotonic() - began
        return Transcribed(job=work.job, duration=recording.seconds, language=language, seconds=seconds)

    def _read(self, spool: Path, work: Transcribe, ffmpeg: str | None, into: Path) -> Recording:
        if work.file != Path(work.file).name or work.file in {"", ".", ".."}:
            raise AudioUnreadable(f"{work.file!r} is not the name of a file in the spool folder.")
        return read_recording(
            spool / work.file,
            work.container,
            into=into,
            ffmpeg=ffmpeg,
            max_seconds=work.max_seconds,
            timeout_s=work.decode_timeout_s,
            should_stop=self._inbox.should_stop,
            clock=self._clock,
        )


def _load_failure(error: Exception, device: str) -> LoadFailed:
    if isinstance(error, InglenookError):
        return LoadFailed(code=error.code, message=str(error))
    log_failure(log, "loading failed", error)
    evidence = evidence_of(error)
    if evidence is not None:
        message = f"Memory ran out on {device} while the model was loaded: {error}"
        return LoadFailed(code="load.out_of_memory", message=message, out_of_memory=evidence)
    return LoadFailed(code="load.failed", message=f"The model could not be loaded: {in_words(error)}")


def _failure(job: str, error: Exception) -> TranscribeFailed:
    log_failure(log, "a transcription failed", error)
    evidence = evidence_of(error)
    if evidence is not None:
        return TranscribeFailed(
            job=job,
            code="transcribe.out_of_memory",
            message="Memory ran out while the recording was written down.",
            hint="use a smaller model, or a smaller speech.compute_type",
            out_of_memory=evidence,
        )
    return TranscribeFailed(job=job, code="transcribe.failed", message=in_words(error))
