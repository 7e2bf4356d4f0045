# SPDX-License-Identifier: Apache-2.0
"""The main thread of every worker that holds one model: load it, then one piece of work after another.

It knows no library: what reads a model, and what is done with it, is the worker's own.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar, cast

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Loaded, LoadFailed, Message, OutOfMemory, Shutdown
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)

LoadT = TypeVar("LoadT", bound=Message)
WorkT = TypeVar("WorkT", bound=Message)
ModelT = TypeVar("ModelT")


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class ModelWorker(ABC, Generic[LoadT, WorkT, ModelT]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    """

    loads: ClassVar[type[Message]]
    """The message that names the model."""
    failed_to_load: ClassVar[str] = "load.failed"
    """The code of a model that a library could not read."""

    def __init__(self, *, channel: Sender, inbox: Inbox[LoadT, WorkT], clock: Clock) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock

    @abstractmethod
    def read(self, request: LoadT) -> tuple[ModelT, int]:
        """The model in memory, and the bytes of its weights. Whatever it raises is told in words."""

    @abstractmethod
    def ready(self, model: ModelT, request: LoadT) -> Callable[[WorkT], Message]:
        """What does one piece of work with the model and returns its last word; it raises `PeerGone` only."""

    @abstractmethod
    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:
        """What proves that memory ran out; None where nothing does."""

    def close(self, model: ModelT) -> None:
        """The process is about to end."""

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, self.loads):
                return EXIT_DONE  # a Shutdown before anything was loaded
            request = cast("LoadT", request)
            model = self._loaded(request)
            if model is None:
                return EXIT_LOAD_FAILED
            try:
                self._serve(self.ready(model, request))
            finally:
                self.close(model)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _serve(self, last_word_of: Callable[[WorkT], Message]) -> None:
        while not isinstance(work := self._inbox.next(), Shutdown):
            last_word = last_word_of(cast("WorkT", work))  # the inbox refuses a second load
            self._inbox.finished()
            self._channel.send(last_word)

    def _loaded(self, request: LoadT) -> ModelT | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        device = str(request.device)  # type: ignore[attr-defined]  # what loads a model names its device
        try:
            model, weights_bytes = self.read(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(self._load_failure(error, device))
            return None
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s, %d bytes of weights on %s", seconds, weights_bytes, device)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=weights_bytes))
        return model

    def _load_failure(self, error: Exception, device: str) -> LoadFailed:
        if isinstance(error, InglenookError):
            return LoadFailed(code=error.code, message=str(error))
        log_failure(log, "loading failed", error)
        evidence = self.evidence(error, device)
        if evidence is not None:
            message = f"Memory ran out on {device} while the model was loaded: {error}"
            return LoadFailed(code="load.out_of_memory", message=message, out_of_memory=evidence)
        message = f"The model could not be loaded: {in_words(error)}"
        return LoadFailed(code=self.failed_to_load, message=message)
