# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one model, then one Transcribe after another until told to end."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.speech import (
    LoadSpeechModel,
    Transcribe,
    TranscribeCancelled,
    Transcribed,
    TranscribeFailed,
)
from inglenook.workers.inbox import Inbox
from inglenook.workers.serving import ModelWorker, Sender
from inglenook.workers.speech.errors import AudioUnreadable, Stopped
from inglenook.workers.speech.memory import evidence_of
from inglenook.workers.speech.recording import Recording, read_recording
from inglenook.workers.speech.transcriber import Transcriber
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Worker(ModelWorker[LoadSpeechModel, Transcribe, Any]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model onto a device.
    """

    opens = LoadSpeechModel

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[LoadSpeechModel, Transcribe],
        load: Callable[[LoadSpeechModel], Any],
        clock: Clock,
    ) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._load = load

    def read(self, request: LoadSpeechModel) -> tuple[Any, int]:
        model = self._load(request)
        log.info("computing in %s", model.model.compute_type)
        return model, (Path(request.path) / "model.bin").stat().st_size

    def ready(self, model: Any, request: LoadSpeechModel) -> None:
        self._model, self._request = model, request

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:  # noqa: ARG002 - there is one
        return evidence_of(error)

    def do(self, work: Transcribe) -> Message:
        began, load = self._clock.monotonic(), self._request
        spool = Path(load.spool)
        into = spool / f"{work.job}.pcm"
        try:
            recording = self._read(spool, work, load.ffmpeg, into)
            transcriber = Transcriber(
                self._model, send=self._channel.send, should_stop=self._inbox.should_stop
            )
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
