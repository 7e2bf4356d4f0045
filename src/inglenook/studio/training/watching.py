# SPDX-License-Identifier: Apache-2.0
"""What an experiment does, as it happens and as far back as somebody has not seen it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from inglenook.base.events import Closed
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.model import Experiment
from inglenook.studio.training.news import Key, News, Newsroom, number, seen_epoch


class Watching:
    """Belongs to the event loop."""

    def __init__(self, *, documents: ExperimentDocuments, newsroom: Newsroom) -> None:
        self._documents = documents
        self._newsroom = newsroom

    async def stream(
        self, project_id: str, experiment_id: str, last: int | None = None
    ) -> AsyncGenerator[News, None]:
        """Its status, the epochs after event `last`, that it is parked if it is, and what happens from then
        on, until it has ended.

        A reader that falls behind misses some `batch`, and no epoch.

        Asks nobody who is reading: look with `ExperimentsService.get` first.

        Raises (at the first `anext`): ProjectNotFound, ExperimentNotFound, CorruptDocument.
        """
        key = (project_id, experiment_id)
        with self._newsroom.watched(key) as reader:
            now = await asyncio.to_thread(self._documents.read, *key)
            seen = seen_epoch(last, now.generation)
            yield News("status", status_json(project_id, now), number(now.generation, seen))
            for record in await asyncio.to_thread(self._documents.epochs, *key):
                if record.epoch > seen:
                    seen = record.epoch
                    yield News("epoch_end", record.as_json(), number(now.generation, seen))
            if not now.is_running:
                yield News("complete", status_json(project_id, now), number(now.generation, seen))
                return
            parked = self._newsroom.parked(key)
            if parked is not None:
                yield parked
            try:
                while True:
                    news = await reader.get()
                    if news.kind == "epoch_end":
                        async for told in self._epochs_since(key, news, now.generation, seen):
                            seen = int(told.data["epoch"])
                            yield told
                        continue
                    yield news
                    if news.kind == "complete":
                        return
            except Closed:
                return

    async def _epochs_since(
        self, key: Key, news: News, generation: int, seen: int
    ) -> AsyncGenerator[News, None]:
        """The epoch that is told of, and those before it that the reader has missed."""
        epoch = int(news.data["epoch"])
        if epoch <= seen:
            return
        if epoch > seen + 1:
            for record in await asyncio.to_thread(self._documents.epochs, *key):
                if seen < record.epoch < epoch:
                    yield News("epoch_end", record.as_json(), number(generation, record.epoch))
        yield news


def tell_status(newsroom: Newsroom, project_id: str, experiment: Experiment) -> None:
    """To those who watch it; whoever watches what has ended is told so, and leaves."""
    key = (project_id, experiment.id)
    said = status_json(project_id, experiment)
    newsroom.tell(key, News("status", said))
    if not experiment.is_running:
        newsroom.tell(key, News("complete", said))


def status_json(project_id: str, experiment: Experiment) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "experiment_id": experiment.id,
        "status": experiment.status.value,
        "error": None if experiment.error is None else experiment.error.message,
    }
