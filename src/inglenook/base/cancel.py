# SPDX-License-Identifier: Apache-2.0
"""A request to stop, handed down to whoever does the work. Stopping is the worker's own act."""

import asyncio
from enum import StrEnum


class StopReason(StrEnum):
    CANCELLED = "cancelled"  # a person asked for it
    CLIENT_GONE = "client_gone"  # whoever waited for the answer has hung up
    SHUTDOWN = "shutdown"  # the server is stopping


class StopToken:
    """Set once, never cleared; the first reason stays. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
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
        return True

    async def wait(self) -> StopReason:
        await self._event.wait()
        assert self.reason is not None
        return self.reason
