# SPDX-License-Identifier: Apache-2.0
"""News from one writer to many readers inside the server, without a reader ever delaying the writer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The topic has ended: no more news will come."""


class Subscription(Generic[T]):
    """One reader's view. When it falls behind by more than `limit` items, the oldest are dropped."""

    def __init__(self, limit: int) -> None:
        self._items: deque[T] = deque(maxlen=limit)
        self._wake = asyncio.Event()
        self._closed = False

    def _push(self, item: T) -> None:
        self._items.append(item)
        self._wake.set()

    def _close(self) -> None:
        self._closed = True
        self._wake.set()

    async def get(self) -> T:
        """The next item. Raises `Closed` when the topic has ended and all was read."""
        while not self._items:
            if self._closed:
                raise Closed
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                yield await self.get()
            except Closed:
                return


class Topic(Generic[T]):
    """Publish to all present subscribers. Not thread-safe: use it from the event loop's thread."""

    def __init__(self, *, limit: int = 256) -> None:
        self._limit = limit
        self._readers: set[Subscription[T]] = set()
        self._closed = False

    def publish(self, item: T) -> None:
        for reader in self._readers:
            reader._push(item)

    def subscribe(self) -> Subscription[T]:
        reader: Subscription[T] = Subscription(self._limit)
        if self._closed:
            reader._close()
        else:
            self._readers.add(reader)
        return reader

    def unsubscribe(self, reader: Subscription[T]) -> None:
        self._readers.discard(reader)

    def close(self) -> None:
        self._closed = True
        for reader in self._readers:
            reader._close()
        self._readers.clear()

    @property
    def readers(self) -> int:
        return len(self._readers)
