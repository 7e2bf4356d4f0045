# SPDX-License-Identifier: Apache-2.0
"""The main thread of our workers: what opens one comes first, then one piece of work after another.

It knows no library: what is opened, and what is done, is the worker's own.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar, cast

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Loaded, LoadFailed, Message, OutOfMemory, Shutdown
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)

OpenT = TypeVar("OpenT", bound=Message)
WorkT = TypeVar("WorkT", bound=Message)
ModelT = TypeVar("ModelT")


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class ServingWorker(ABC, Generic[OpenT, WorkT]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    """

    opens: ClassVar[type[Message]]
    """The message that comes first."""

    def __init__(self, *, channel: Sender, inbox: Inbox[OpenT, WorkT], clock: Clock) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock

    @abstractmethod
    def open(self, request: OpenT) -> bool:
        """Ready for work, and `Loaded` sent; or False, `LoadFailed` sent."""

    @abstractmethod
    def do(self, work: WorkT) -> Message:
        """One piece of work; returns its last word, and raises `PeerGone` only."""

    def put_away(self) -> None:
        """The job in hand is over, its last word not sent yet."""

    def close(self) -> None:
        """The process is about to end, and was opened."""

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, self.opens):
                return EXIT_DONE  # a Shutdown before anything was opened
            if not self.open(cast("OpenT", request)):
                return EXIT_LOAD_FAILED
            try:
                self._serve()
            finally:
                self.close()
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _opened(self, *, seconds: float = 0.0, weights_bytes: int = 0) -> None:
        """From now on a Shutdown is this thread's, and the server may ask for work."""
        self._inbox.loaded()
        self._channel.send(Loaded(seconds=seconds, weights_bytes=weights_bytes))

    def _serve(self) -> None:
        while not isinstance(work := self._inbox.next(), Shutdown):
            last_word = self.do(cast("WorkT", work))  # the inbox refuses a second one that opens
            self._inbox.finished()
            self.put_away()
            self._channel.send(last_word)


class FilesWorker(ServingWorker[OpenT, WorkT], Generic[OpenT, WorkT]):
    """One that holds no model: it opens files of strangers, within a bound of memory.

    Args:
        spool: this child's private folder.
        bound: limits the memory of this process to so many bytes.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[OpenT, WorkT],
        spool: Path,
        bound: Callable[[int], None],
        clock: Clock,
    ) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._spool = spool
        self._bound = bound

    def open(self, request: OpenT) -> bool:
        memory_bytes = request.memory_bytes  # type: ignore[attr-defined]  # what opens such a worker says it
        if memory_bytes is not None:
            self._bound(memory_bytes)
        self._opened()
        return True


class ModelWorker(ServingWorker[OpenT, WorkT], Generic[OpenT, WorkT, ModelT]):
    """One that holds a model."""

    failed_to_load: ClassVar[str] = "load.failed"
    """The code of a model that a library could not read."""

    @abstractmethod
    def read(self, request: OpenT) -> tuple[ModelT, int]:
        """The model in memory, and the bytes of its weights. Whatever it raises is told in words."""

    @abstractmethod
    def ready(self, model: ModelT, request: OpenT) -> None:
        """The model is there: keep what `do` needs."""

    @abstractmethod
    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:
        """What proves that memory ran out; None where nothing does."""

    def open(self, request: OpenT) -> bool:
        began = self._clock.monotonic()
        device = str(request.device)  # type: ignore[attr-defined]  # what loads a model names its device
        try:
            model, weights_bytes = self.read(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(self._load_failure(error, device))
            return False
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s, %d bytes of weights on %s", seconds, weights_bytes, device)
        self._opened(seconds=seconds, weights_bytes=weights_bytes)
        self.ready(model, request)
        return True

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
