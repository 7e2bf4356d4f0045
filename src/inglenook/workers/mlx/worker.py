# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one converted model, then one Draw after another until told to end."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import mlx.core as mx

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Draw, DrawFailed, Loaded, LoadFailed, LoadImageModel
from inglenook.wire.message import Message
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.image.spool import Spool
from inglenook.workers.mlx import memory
from inglenook.workers.mlx.drawing import Studio
from inglenook.workers.mlx.model import DEVICES, Model
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Worker:
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox,
        clock: Clock,
        load: Callable[[LoadImageModel], Model] = Model,
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock
        self._load = load

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, LoadImageModel):
                return EXIT_DONE  # a Shutdown before anything was loaded
            studio = self._loaded(request)
            if studio is None:
                return EXIT_LOAD_FAILED
            while isinstance(work := self._inbox.next(), Draw):
                last_word = self._draw(studio, work)
                self._inbox.finished()
                self._channel.send(last_word)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _loaded(self, request: LoadImageModel) -> Studio | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        try:
            _choose_device(request.device)
            model = self._load(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(_load_failure(error, request))
            return None
        studio = Studio(
            model=model,
            saving=request.saving,
            spool=Spool(Path(request.spool)),
            send=self._channel.send,
            should_stop=self._inbox.should_stop,
            clock=self._clock,
        )
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s, %d bytes of weights on %s", seconds, model.weights_bytes, request.device)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=model.weights_bytes))
        return studio

    def _draw(self, studio: Studio, work: Draw) -> Message:
        try:
            return studio.execute(work)
        except PeerGone:
            raise
        except InglenookError as error:
            return DrawFailed(job=work.job, code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            log_failure(log, "a draw failed", error)
            return DrawFailed(job=work.job, code="draw.failed", message=in_words(error))


def _choose_device(name: str) -> None:
    """Raises `LoadUnsupported` where MLX has no such device."""
    kind = DEVICES.get(name)
    if kind is None or not mx.is_available(mx.Device(kind)):
        raise LoadUnsupported(
            f"MLX has no device {name!r} on this machine.",
            hint="MLX draws on Apple silicon; elsewhere on the processor, which is slow",
        )
    mx.set_default_device(mx.Device(kind))


def _load_failure(error: Exception, request: LoadImageModel) -> LoadFailed:
    if isinstance(error, InglenookError):
        return LoadFailed(code=error.code, message=str(error))
    log_failure(log, "loading failed", error)
    evidence = memory.evidence_of(error)
    if evidence is not None:
        return LoadFailed(
            code="load.out_of_memory",
            message=f"Memory ran out on {request.device} while the model was loaded: {error}",
            out_of_memory=evidence,
        )
    return LoadFailed(code="load.unsupported", message=f"The model could not be loaded: {in_words(error)}")
