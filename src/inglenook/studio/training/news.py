# SPDX-License-Identifier: Apache-2.0
"""What happens to experiments, for those who watch. Belongs to the event loop's thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from inglenook.base.events import Subscription, Topic

Kind = Literal["status", "epoch_end", "batch", "samples", "notice", "parking", "complete"]
Key = tuple[str, str]
GENERATION: int = 1_000_000
"""Numbers of events count a restart as so many epochs, so that they rise over a restart too."""


@dataclass(frozen=True, slots=True)
class News:
    """`id` is given where it is a place to go on from; the others only tell how things stand now."""

    kind: Kind
    data: dict[str, Any]
    id: int | None = None


def number(generation: int, epoch: int) -> int:
    """The number of an epoch's event."""
    return generation * GENERATION + epoch


def seen_epoch(last: int | None, generation: int) -> int:
    """The last epoch of this generation that a reader has seen, who has read up to event `last`."""
    if last is None or last // GENERATION != generation:
        return 0
    return last % GENERATION


class Newsroom:
    """One topic for each experiment that somebody watches."""

    def __init__(self) -> None:
        self._topics: dict[Key, Topic[News]] = {}
        self._parked: dict[Key, News] = {}
        self._closed = False

    def tell(self, key: Key, news: News) -> None:
        if news.kind == "parking" and news.data["parked"]:
            self._parked[key] = news
        elif news.kind in ("parking", "complete"):
            self._parked.pop(key, None)
        topic = self._topics.get(key)
        if topic is not None:
            topic.publish(news)

    def parked(self, key: Key) -> News | None:
        """Why it stands still now, for those who begin to watch."""
        return self._parked.get(key)

    def close(self) -> None:
        """Everybody who watches is told that nothing more will come."""
        self._closed = True
        for topic in self._topics.values():
            topic.close()

    @contextmanager
    def watched(self, key: Key) -> Iterator[Subscription[News]]:
        """What is told from now on; its `get` raises `Closed` at the end."""
        topic = self._topics.setdefault(key, Topic())
        if self._closed:
            topic.close()
        reader = topic.subscribe()
        try:
            yield reader
        finally:
            topic.unsubscribe(reader)
            if not topic.readers:
                self._topics.pop(key, None)
