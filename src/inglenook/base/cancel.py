# SPDX-License-Identifier: Apache-2.0
"""A request to stop, handed down to whoever does the work. Stopping is the worker's own act."""

import asyncio
from collections.abc import Callable
from enum import StrEnum


class StopReason(StrEnum):
    CANCELLED = "cancelled"  # a person asked for it
    CLIENT_GONE = "client_gone"  # whoever waited for the answer has hung up
    SHUTDOWN = "shutdown"  # the server is stopping


class StopToken:
    """Set once, never cleared; the first reason stays. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._watchers: list[Callable[[StopReason], None]] = []
        self.reason: StopReason | None = None

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def stop(self, reason: StopReason) -> bool:
        """Return whether this call was the first."""
        if self._event.is_set():
            return False
        self.reason = reason
        self._event.set()
        for watcher in tuple(self._watchers):
            watcher(reason)
        return True

    def watch(self, watcher: Callable[[StopReason], None]) -> Callable[[], None]:
        """Have `watcher` called when it is set, at once where it is; what is returned takes that back. For
        whoever waits for something else as well: it costs no task."""
        self._watchers.append(watcher)
        if self.reason is not None:
            watcher(self.reason)
        return lambda: self._watchers.remove(watcher)

    async def wait(self) -> StopReason:
        await self._event.wait()
        assert self.reason is not None
        return self.reason
