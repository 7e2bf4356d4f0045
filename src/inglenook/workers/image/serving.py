# SPDX-License-Identifier: Apache-2.0
"""The main thread of every worker that draws: load one model, then one Draw after another until told to end.

It knows no library: what reads a model, and what draws with it, is the worker's own.
"""

import logging
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Draw, DrawFailed, LastWord, Loaded, LoadFailed, LoadImageModel
from inglenook.wire.message import Message, OutOfMemory
from inglenook.workers.image.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)

ModelT = TypeVar("ModelT")


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Drawing(Protocol):
    """What draws with a model that is in memory."""

    def execute(self, draw: Draw) -> LastWord: ...


class DrawingWorker(ABC, Generic[ModelT]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    """

    def __init__(self, *, channel: Sender, inbox: Inbox, clock: Clock) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock

    @abstractmethod
    def read(self, request: LoadImageModel) -> tuple[ModelT, int]:
        """The model in memory, and the bytes of its weights. Whatever it raises is told in words."""

    @abstractmethod
    def studio(self, model: ModelT, request: LoadImageModel) -> Drawing: ...

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:  # noqa: ARG002 - for those who know
        """What proves that memory ran out; None where nothing does."""
        return None

    def close(self, model: ModelT) -> None:
        """The process is about to end."""

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, LoadImageModel):
                return EXIT_DONE  # a Shutdown before anything was loaded
            model = self._loaded(request)
            if model is None:
                return EXIT_LOAD_FAILED
            try:
                self._serve(self.studio(model, request))
            finally:
                self.close(model)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _serve(self, studio: Drawing) -> None:
        while isinstance(work := self._inbox.next(), Draw):
            last_word = self._draw(studio, work)
            self._inbox.finished()
            self._channel.send(last_word)

    def _loaded(self, request: LoadImageModel) -> ModelT | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        try:
            model, weights_bytes = self.read(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(self._load_failure(error, request))
            return None
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s, %d bytes of weights on %s", seconds, weights_bytes, request.device)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=weights_bytes))
        return model

    def _draw(self, studio: Drawing, work: Draw) -> Message:
        try:
            return studio.execute(work)
        except PeerGone:
            raise
        except InglenookError as error:
            return DrawFailed(job=work.job, code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            log_failure(log, "a draw failed", error)
            return DrawFailed(job=work.job, code="draw.failed", message=in_words(error))

    def _load_failure(self, error: Exception, request: LoadImageModel) -> LoadFailed:
        if isinstance(error, InglenookError):
            return LoadFailed(code=error.code, message=str(error))
        log_failure(log, "loading failed", error)
        evidence = self.evidence(error, request.device)
        if evidence is not None:
            return LoadFailed(
                code="load.out_of_memory",
                message=f"Memory ran out on {request.device} while the model was loaded: {error}",
                out_of_memory=evidence,
            )
        return LoadFailed(
            code="load.unsupported", message=f"The model could not be loaded: {in_words(error)}"
        )
