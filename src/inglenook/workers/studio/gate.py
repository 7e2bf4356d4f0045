# SPDX-License-Identifier: Apache-2.0
"""The gate that work passes at each boundary: stop here, or park here until told to go on.

The thread that reads the wire puts wishes in; the main thread looks at them when nothing is in flight. Every
`Park` gets one `Parked` and every `Unpark` one `Unparked`, in their order.
"""

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from inglenook.base.clock import Clock
from inglenook.wire.message import Message
from inglenook.wire.studio.training import Park, Parked, Unpark, Unparked
from inglenook.workers.studio.errors import Stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Where:
    """How far the work is: `batch` of `epoch` are done; both 0 before the first."""

    epoch: int = 0
    batch: int = 0


class Parkable(Protocol):
    """What holds the device."""

    def where(self) -> Where: ...

    def held_bytes(self) -> int | None:
        """Memory held for it now; None where that cannot be measured."""
        ...

    def park(self) -> None:
        """Free the device. Called only when it is not parked."""
        ...

    def unpark(self) -> None:
        """Take it again, with every value as it was."""
        ...

    def recover(self) -> None:
        """Parked, and to be stopped: bring what is kept where it can be read, without taking the device."""
        ...


class Gate:
    """Args:
    send: to the server.
    should_stop: whether the job in hand is to end.
    """

    def __init__(
        self, *, send: Callable[[Message], None], should_stop: Callable[[], bool], clock: Clock
    ) -> None:
        self._send = send
        self._should_stop = should_stop
        self._clock = clock
        self._wishes: queue.SimpleQueue[tuple[float, Message | None]] = queue.SimpleQueue()
        self._parked: Parked | None = None

    def wish(self, message: Message | None) -> None:
        """From the thread of the wire; None wakes who waits, because it is to stop."""
        self._wishes.put((self._clock.monotonic(), message))

    def clear(self) -> None:
        """Between two pieces of work: what was wished of the one before is void."""
        self._parked = None
        while not self._wishes.empty():
            self._wishes.get_nowait()

    def check(self, work: Parkable) -> None:
        """At a boundary. Returns when the work may go on, perhaps after hours. Raises `Stopped` when it is
        to end; then its state can be read, on the device or off it."""
        if self._should_stop():
            raise Stopped("Stopped on request.")
        while self._parked is not None or not self._wishes.empty():
            since, wish = self._wishes.get()
            if self._should_stop():
                if self._parked is not None:
                    work.recover()
                raise Stopped("Stopped on request.")
            if isinstance(wish, Park):
                self._park(work, wish, since)
            elif isinstance(wish, Unpark):
                self._unpark(work, wish, since)

    @property
    def parked(self) -> bool:
        return self._parked is not None

    def _park(self, work: Parkable, wish: Park, since: float) -> None:
        if self._parked is None:
            before, where = work.held_bytes(), work.where()
            work.park()
            seconds = self._clock.monotonic() - since
            self._parked = Parked(
                job=wish.job,
                seconds=seconds,
                before_bytes=before,
                after_bytes=work.held_bytes(),
                epoch=where.epoch,
                batch=where.batch,
            )
            log.info("parked in %.2f s", seconds)
        self._send(self._parked)

    def _unpark(self, work: Parkable, wish: Unpark, since: float) -> None:
        if self._parked is not None:
            work.unpark()
            self._parked = None
        seconds = self._clock.monotonic() - since
        self._send(Unparked(job=wish.job, seconds=seconds, memory_bytes=work.held_bytes()))
