# SPDX-License-Identifier: Apache-2.0
"""The thread that reads the wire, so that a Cancel is seen while the main thread works.

It owns the one fact that both threads need: which job is in hand, and whether it should stop. When the
server's end closes there is nobody left to work for, and the process ends at once, whatever it is doing.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Cancel, Message, Shutdown, WireError

log = logging.getLogger(__name__)

EXIT_DONE = 0
EXIT_PEER_GONE = 3
EXIT_LOAD_FAILED = 4
EXIT_PROTOCOL = 5

LoadT = TypeVar("LoadT", bound=Message)
WorkT = TypeVar("WorkT", bound=Message)


class Receiver(Protocol):
    def receive(self) -> Message: ...


class Inbox(Generic[LoadT, WorkT]):
    """Args:
    channel: where messages come from.
    end: ends this process with a status, from any thread; `os._exit` in the worker.
    load: the message that loads the model, which comes once.
    work: the messages that ask for work; each has a `job`.
    control: messages about the job in hand, handed to `steer` on this thread, in their order; those about
        another job are dropped.
    steer: also called with None when the job in hand is to stop. It must not block.
    """

    def __init__(
        self,
        *,
        channel: Receiver,
        end: Callable[[int], None],
        load: type[LoadT],
        work: type[WorkT] | tuple[type[WorkT], ...],
        control: tuple[type[Message], ...] = (),
        steer: Callable[[Message | None], None] = lambda _: None,
    ) -> None:
        self._channel = channel
        self._end = end
        self._load = load
        self._work_types = work if isinstance(work, tuple) else (work,)
        self._control = control
        self._steer = steer
        self._work: queue.SimpleQueue[LoadT | WorkT | Shutdown] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._load_seen = False
        self._loaded = False
        self._job: str | None = None
        self._stop = False

    def start(self) -> None:
        threading.Thread(target=self.read, name="wire", daemon=True).start()

    def read(self) -> None:
        """Take messages until the wire closes; then end the process."""
        try:
            while True:
                self._take(self._channel.receive())
        except PeerGone:
            log.info("the server has closed the wire; ending")
            self._end(EXIT_PEER_GONE)
        except WireError:
            # The text of the error shows the line, and a line may hold somebody's prompt.
            log.error("a line on the wire was not a message of this protocol, or came out of turn; ending")  # noqa: TRY400
            self._end(EXIT_PROTOCOL)

    def next(self) -> LoadT | WorkT | Shutdown:
        """The next piece of work; blocks until there is one."""
        return self._work.get()

    def loaded(self) -> None:
        """The model is in memory: from now on a Shutdown is left to the main thread."""
        with self._lock:
            self._loaded = True

    def should_stop(self) -> bool:
        """Whether the job in hand has been cancelled, or the whole worker is to shut down."""
        with self._lock:
            return self._stop

    def finished(self) -> None:
        """The job in hand is over; called before its last word is sent, so that the next one is in turn."""
        with self._lock:
            self._job = None
            self._stop = False

    def _take(self, message: Message) -> None:
        if isinstance(message, Cancel):
            with self._lock:
                self._stop = self._stop or message.job == self._job
                if self._stop:
                    self._steer(None)
        elif isinstance(message, self._work_types):
            self._begin(message)
        elif isinstance(message, self._control):
            with self._lock:
                if message.job == self._job:  # type: ignore[attr-defined]  # what is about a job names it
                    self._steer(message)
        elif isinstance(message, self._load):
            if self._load_seen:
                raise WireError(f"A second {self._load.__name__}: a worker holds one model.")
            self._load_seen = True
            self._work.put(message)
        elif isinstance(message, Shutdown):
            self._shut_down(message)
        else:
            raise WireError(f"{type(message).__name__} is not for this worker.")

    def _begin(self, message: WorkT) -> None:
        with self._lock:
            if self._job is not None or not self._load_seen:
                raise WireError(f"A {type(message).__name__} came before the last word of the one before it.")
            self._job = str(message.job)  # type: ignore[attr-defined]  # what asks for work has one
        self._work.put(message)

    def _shut_down(self, message: Shutdown) -> None:
        with self._lock:
            self._stop = True
            self._steer(None)
            loading = self._load_seen and not self._loaded
        if loading:
            self._end(EXIT_DONE)  # nothing but memory is held yet, and loading cannot be interrupted
        self._work.put(message)
